"""Link names in lesson code to the API: those that the notebook imports from the library or exports.

The position of each comes from the syntax tree of the cell, so that a same-spelled attribute,
keyword argument, parameter, word in a string or comment stays as it is.
"""

from __future__ import annotations

import ast
import html
import json
import re
from pathlib import Path

CELL = re.compile(
    r'(<div class="highlight-i?python[^"]*[^>]*><div class="highlight"><pre>)(.*?)(</pre>)', re.S
)
PIECE = re.compile(r"(<[^>]+>)|([^<]+)")
SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def own_names(scope: ast.AST) -> set[str]:
    """Parameters of a function and names that it assigns."""
    a = scope.args
    names = {arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg) if arg}
    return names | {
        n.id for n in ast.walk(scope) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }


def positions(code: str, known: set[str]) -> set[tuple[int, int]]:
    """(line, column), from 0, of every use of a known name in a cell of plain Python."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return set()
    found, lines = set(), code.split("\n")

    def add(line: int, column: int, name: str) -> None:
        at = len(lines[line - 1].encode()[:column].decode(errors="ignore"))
        at = lines[line - 1].find(
            name, at
        )  # `def name`, `class name`, `import name`: the name comes later
        if at >= 0:
            found.add((line - 1, at))

    def walk(node: ast.AST, names: set[str]) -> None:
        if (
            isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            and node.name in names
        ):
            add(node.lineno, node.col_offset, node.name)
        elif isinstance(node, ast.Name) and node.id in names:
            add(node.lineno, node.col_offset, node.id)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.name in names:
                    add(alias.lineno, alias.col_offset, alias.name)
        if isinstance(node, ast.JoinedStr):  # positions inside f-strings differ between Pythons
            return
        inner = names - own_names(node) if isinstance(node, SCOPES) else names
        for child in ast.iter_child_nodes(node):
            walk(child, inner)

    walk(tree, known)
    return found


def link_cell(marked: str, targets: dict[str, str]) -> str:
    """The highlighted HTML of one cell, with links."""
    text = html.unescape(re.sub(r"<[^>]+>", "", marked))
    places, out, line, column = positions(text, set(targets)), [], 0, 0
    for tag, words in PIECE.findall(marked):
        plain = html.unescape(words)
        if plain in targets and (line, column) in places:
            words = f'<a class="name" href="{targets[plain]}">{words}</a>'
        out.append(tag or words)
        line += plain.count("\n")
        column = len(plain) - plain.rfind("\n") - 1 if "\n" in plain else column + len(plain)
    return "".join(out)


def link_page(app, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Link the code of one page."""
    if not hasattr(app, "code_names"):
        file = Path(app.srcdir) / "code_names.json"
        app.code_names = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    names = app.code_names.get(pagename)
    if names and context.get("body"):
        up = "../" * pagename.count("/")
        targets = {name: up + target for name, target in names.items()}
        context["body"] = CELL.sub(
            lambda m: m[1] + link_cell(m[2], targets) + m[3], context["body"]
        )


def setup(app) -> dict:
    app.connect("html-page-context", link_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
