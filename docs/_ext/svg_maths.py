"""Maths set at build time as SVG by ziamath: a page needs no script, web font or network for it.

What cannot be set is a warning (and `-W` makes it an error), with the formula and the reason.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import ziamath
from docutils import nodes
from sphinx.util import logging
from ziamath.tex import tex2mml

log = logging.getLogger(__name__)
SIZE = 18  # pixels an em; the page scales the pictures in em
NS = "{http://www.w3.org/1998/Math/MathML}"
CHILDREN = {
    "mfrac": 2,
    "msub": 2,
    "msup": 2,
    "mover": 2,
    "munder": 2,
    "mroot": 2,
    "msubsup": 3,
    "munderover": 3,
}
BARS = ("|", "‖", "∣", "∥")
SPACES = {"∂": ("0em", "0em"), "∇": ("0em", "0em"), "∀": ("0em", "0em"), ",": ("0em", "0.17em")}
ziamath.config.svg2 = True  # a glyph is defined once and used often
ziamath.config.precision = 2
ziamath.config.math.color = "currentColor"


def check(tree: ET.Element, tex: str) -> None:
    """Raise ValueError for what the parser let through: unknown commands, missing parts."""
    bare = re.sub(r"\\[\\{}]", "", tex)
    if bare.count("{") != bare.count("}"):
        raise ValueError("braces do not match")
    if len(re.findall(r"\\left\b", tex)) != len(re.findall(r"\\right\b", tex)):
        raise ValueError(r"\left and \right do not match")
    for node in tree.iter():
        name, text = node.tag.removeprefix(NS), node.text or ""
        if name != "mtext" and (m := re.search(r"\\[A-Za-z]+|&", text)):
            raise ValueError(f"{m[0]} is not understood here")
        if name in CHILDREN and len(node) != CHILDREN[name]:
            raise ValueError(f"{name} needs {CHILDREN[name]} parts and has {len(node)}")


def mend(tree: ET.Element) -> None:
    """Small repairs of the parser's MathML, for the look."""
    for node in tree.iter():
        name, text = node.tag.removeprefix(NS), (node.text or "").strip()
        if name == "mo" and len(node):  # \mathop{...}: a group, not an operator sign
            node.tag = NS + "mrow"
        elif name == "mo" and text in BARS and "stretchy" not in node.attrib:
            node.set("stretchy", "false")                   # a bar grows only as \left and \right
        elif name == "mo" and text in SPACES:  # the operator table is too generous with these
            for key, value in zip(("lspace", "rspace"), SPACES[text]):
                node.set(key, value)
        elif name == "mover" and len(node) == 2 and node[1].text in ("\u0302", "\u0303", "^", "~"):
            if len("".join(node[0].itertext())) == 1:  # a hat over one letter stays narrow
                node[1].text = {"\u0302": "\u02c6", "^": "\u02c6"}.get(node[1].text, "\u02dc")
                node[1].set("stretchy", "false")


def svg(tex: str, inline: bool) -> str:
    """The formula as an <svg> element, sized in em, sitting on the baseline of the text."""
    tree = ET.fromstring(tex2mml(tex, inline=inline))
    check(tree, tex)
    mend(tree)
    picture = ziamath.Math(ET.tostring(tree, encoding="unicode"), size=SIZE, title=None)
    text, drop = picture.svg(), picture.getyofst()
    width, height = (
        float(re.search(rf'<svg[^>]* {k}="([\d.]+)"', text)[1]) for k in ("width", "height")
    )
    width, height, drop = width / SIZE, height / SIZE, drop / SIZE
    style = f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{drop:.3f}em"
    text = re.sub(r' width="[\d.]+" height="[\d.]+"', "", text, count=1)
    label = (
        re.sub(r"\s+", " ", tex).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    )
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" style="{style}" ', 1)


def dedupe(text: str, seen: set[str]) -> str:
    """Leave out the glyphs that the page has already."""

    def keep(m: re.Match) -> str:
        new = m[1] not in seen
        seen.add(m[1])
        return m[0] if new else ""

    return re.sub(r'<symbol id="([^"]+)".*?</symbol>', keep, text, flags=re.S)


def html(self, node: nodes.Element, inline: bool) -> str:
    tex = node.astext().strip()
    try:
        text = svg(tex, inline)
    except (
        Exception
    ) as e:  # whatever the parser or the setter trips over: the writer must hear of it
        log.warning("cannot set the formula %r: %s", tex, e, location=node)
        return f"<code>{self.encode(tex)}</code>"
    if not hasattr(self, "glyphs"):
        self.glyphs = set()
    return dedupe(text, self.glyphs)


def visit_inline(self, node: nodes.math) -> None:
    self.body.append(f'<span class="maths">{html(self, node, True)}</span>')
    raise nodes.SkipNode


def visit_block(self, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="maths-block"))
    if node.get("number"):
        self.body.append(f'<span class="eqno">({node["number"]})</span>')
    self.body.append(f'<div class="maths">{html(self, node, False)}</div></div>\n')
    raise nodes.SkipNode


def setup(app) -> dict:
    app.add_html_math_renderer("svg_maths", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
