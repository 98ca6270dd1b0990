"""API pages from the generated modules: signatures, parameter comments, links to the lessons.

The modules are read, not imported: no page depends on what is installed, and nothing runs.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path
from typing import Callable

from notebooks import DEFS, Notebook
from settings import LIB

LABELLED = re.compile(r"^(Like|Raises|Source): *(.*)$")
Function = ast.FunctionDef | ast.AsyncFunctionDef


def comments(source: str) -> dict[int, tuple[str, bool]]:
    """{line number: (comment, does it have the line for itself?)}."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        t.start[0]: (t.string.lstrip("# ").strip(), t.line.lstrip().startswith("#"))
        for t in tokens
        if t.type == tokenize.COMMENT
    }


def comment_for(line: int, notes: dict[int, tuple[str, bool]]) -> str:
    """The comment behind `line` and its continuation below, or else the one above."""

    def run(at: int, step: int) -> list[str]:
        found = []
        while at in notes and notes[at][1]:
            found.append(notes[at][0])
            at += step
        return found

    if line in notes:
        return " ".join([notes[line][0], *run(line + 1, 1)])
    return " ".join(reversed(run(line - 1, -1)))


def parameters(function: Function, is_method: bool) -> list[tuple[ast.arg, str, ast.expr | None]]:
    """(argument, stars, default) of every parameter, without self and cls."""
    a = function.args
    plain = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(plain) - len(a.defaults)) + list(a.defaults)
    found = [(arg, "", default) for arg, default in zip(plain, defaults)]
    found += [(a.vararg, "*", None)] if a.vararg else []
    found += [(arg, "", default) for arg, default in zip(a.kwonlyargs, a.kw_defaults)]
    found += [(a.kwarg, "**", None)] if a.kwarg else []
    static = any(
        isinstance(d, ast.Name) and d.id == "staticmethod" for d in function.decorator_list
    )
    return found[1:] if is_method and not static else found


def signature(function: Function | None, is_method: bool) -> str:
    """`(a: Tensor, b: Tensor = 1) -> Tensor`, as the source writes it."""
    if function is None:
        return "()"
    parts, star = [], bool(function.args.vararg)
    for arg, stars, default in parameters(function, is_method):
        if arg in function.args.kwonlyargs and not star:
            parts.append("*")
            star = True
        text = stars + arg.arg + (f": {ast.unparse(arg.annotation)}" if arg.annotation else "")
        if default is not None:
            text += f" = {ast.unparse(default)}" if arg.annotation else f"={ast.unparse(default)}"
        parts.append(text)
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"({', '.join(parts)}){returns}"


def fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    """The fields of a dataclass; none for another class."""
    if not any("dataclass" in ast.unparse(d) for d in node.decorator_list):
        return []
    return [
        f
        for f in node.body
        if isinstance(f, ast.AnnAssign)
        and isinstance(f.target, ast.Name)
        and not f.target.id.startswith("_")
    ]


def plain(text: str, signs: str = "*<$") -> str:
    """A comment as Markdown: `signs` outside backticks are meant literally."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if i % 2 else re.sub(f"([{signs}])", r"\\\1", p) for i, p in enumerate(parts))


def docstring(node: ast.AST) -> tuple[str, list[tuple[str, str]]]:
    """The text of a docstring, and its labelled lines with their continuations."""
    text, labelled = [], []
    for line in (ast.get_docstring(node) or "").splitlines():
        if m := LABELLED.match(line):
            labelled.append((m[1], m[2]))
        elif labelled and line.startswith(" "):
            labelled[-1] = (labelled[-1][0], f"{labelled[-1][1]} {line.strip()}")
        else:
            text.append(line)
    return "\n".join(text).strip(), labelled


def page(
    file: Path,
    nb: Notebook,
    symbols: dict[str, tuple[str, str]],
    anchor: Callable[[str], str],
    markdown: Callable[[str], str],
) -> str:
    """The API page of one module as MyST Markdown."""
    source, module = file.read_text(encoding="utf-8"), file.stem
    tree, notes = ast.parse(source), comments(source)

    def entry(node: ast.AST, name: str, kind: str, inner: list[str]) -> str:
        init = (
            next((m for m in node.body if isinstance(m, DEFS) and m.name == "__init__"), None)
            if kind == "class"
            else node
        )
        is_method, rows = "." in name or kind == "class", []
        if kind == "class" and (members := fields(node)):
            parts = [ast.unparse(f).replace("\n", " ") for f in members]
            call = f"({', '.join(parts)})"
            rows = [(f.target.id, comment_for(f.lineno, notes)) for f in members]
        else:
            call = "" if kind == "property" else signature(init, is_method)
            rows = (
                [(a.arg, comment_for(a.lineno, notes)) for a, _, _ in parameters(init, is_method)]
                if init
                else []
            )
        text, labelled = docstring(node)
        body = [f":param {n}: {markdown(plain(c))}" for n, c in rows if c]
        if init is not None and init.returns and kind != "class":
            last = init.returns.end_lineno
            used = {a.lineno for a, _, _ in parameters(init, is_method)}
            note = comment_for(last, notes) if last in notes and last not in used else ""
            body += [f":returns: {markdown(plain(note))}"] if note else []
        body += [f":{label}: {markdown(plain(what, '<$'))}" for label, what in labelled]
        if name in symbols and "." not in name:
            body.append(f":Built in: [{nb.title}](#{anchor(name)})")
        fence = ":::" if "." in name else "::::"
        options = [f":module: {LIB.name}.{module}"]
        flags = {ast.unparse(d) for d in getattr(node, "decorator_list", [])}
        options += [f":{f}:" for f in ("staticmethod", "classmethod") if f in flags]
        return "\n".join(
            [
                f"(api-{anchor(name)})=",
                f"{fence}{{py:{kind}}} {name}{call}",
                *options,
                "",
                markdown(plain(text, "<$")),
                "",
                *body,
                "",
                *inner,
                fence,
                "",
            ]
        )

    def kind_of(method: ast.AST) -> str:
        return (
            "property"
            if any(ast.unparse(d).endswith("property") for d in method.decorator_list)
            else "method"
        )

    parts = [
        f"(api-mod-{module})=",
        f"# {LIB.name}.{module}",
        "",
        markdown(plain(docstring(tree)[0], "<$")),
        "",
        f"Written by the lesson [{nb.title}](../{nb.path.name}).",
        "",
        f"```{{py:module}} {LIB.name}.{module}\n```",
        "",
    ]
    for node in tree.body:
        if not isinstance(node, DEFS) or node.name.startswith("_"):
            continue
        kind = "class" if isinstance(node, ast.ClassDef) else "function"
        inner = (
            [
                entry(m, f"{node.name}.{m.name}", kind_of(m), [])
                for m in node.body
                if isinstance(m, DEFS) and m.name[0] != "_"
            ]
            if kind == "class"
            else []
        )
        parts += [f"## {node.name}", "", entry(node, node.name, kind, inner)]
    return "\n".join(parts)


def contents(modules: dict[str, Notebook], anchor: Callable[[str], str]) -> str:
    """The page above all API pages."""
    rows = "\n".join(
        f"| [`{LIB.name}.{m}`](#api-mod-{m}) | [{nb.title}]({nb.path.name}) | "
        + ", ".join(f"[`{n}`](#api-{anchor(n)})" for n in nb.exported)
        + " |"
        for m, nb in modules.items()
    )
    tree = "\n".join(f"api/{m}" for m in modules)
    return (
        f"# The `{LIB.name}` package\n\nEach module is written by one notebook. A name leads to "
        "its "
        f"signature, and from there to the cell that builds it.\n\n"
        f"| module | lesson | names |\n|---|---|---|\n{rows}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )
