"""What every tool needs to know about the notebooks: order, cells, directives, exported names, checks."""
from __future__ import annotations

import ast
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from settings import LIB, NBS, SOLUTIONS

DIRECTIVE = re.compile(r"^\s*#\s*\|\s*([\w-]+)\s*:?\s*(.*?)\s*$")
CHECK_CALL = re.compile(r"^(tests?|test_\w+|assert\w*|check_\w+|raises|ExceptionExpected|expect_fail)$")
DEFS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass
class Cell:
    """One cell of a notebook."""
    kind: str                       # "code" or "markdown"
    source: str
    id: str = ""
    outputs: list = field(default_factory=list)
    metadata: dict = field(default_factory=dict)

    @property
    def directives(self) -> dict[str, str]:
        """`#| name: value` lines at the top of a code cell, as {name: value}."""
        found: dict[str, str] = {}
        for line in self.source.splitlines() if self.kind == "code" else []:
            if not line.strip():
                continue
            if not (m := DIRECTIVE.match(line)):
                break
            found[m[1]] = m[2]
        return found

    @property
    def tree(self) -> ast.Module | None:
        """The cell's syntax tree; None where it is no plain Python (a magic)."""
        try:
            return ast.parse(self.source)
        except SyntaxError:
            return None


@dataclass
class Notebook:
    """A notebook file, read."""
    path: Path
    cells: list[Cell]
    metadata: dict

    @property
    def code(self) -> list[Cell]:
        return [c for c in self.cells if c.kind == "code"]

    @property
    def prose(self) -> list[Cell]:
        return [c for c in self.cells if c.kind == "markdown"]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def number(self) -> str:
        """`02a` of `02a_why_sqrt5`."""
        return self.name.split("_", 1)[0]

    @property
    def is_support(self) -> bool:
        """The 00 notebooks: tools for the lessons, no lessons themselves."""
        return self.number.startswith("00")

    @property
    def title(self) -> str:
        """The H1."""
        return next((m[1].strip() for c in self.prose if (m := re.search(r"^# (.+)$", c.source, re.M))), self.name)

    @property
    def promise(self) -> str:
        """The one-line `>` promise below the title."""
        lines = re.findall(r"^> ?(.+)$", self.prose[0].source, re.M) if self.prose else []
        return " ".join(lines[:1])

    @property
    def module(self) -> str | None:
        """The module that the notebook exports to."""
        return next((c.directives["default_exp"] for c in self.code if c.directives.get("default_exp")), None)

    def with_directive(self, name: str) -> list[Cell]:
        return [c for c in self.code if name in c.directives]

    @property
    def exported(self) -> list[str]:
        """Public functions and classes that exported cells define, in order."""
        return [n.name for c in self.code if {"export", "exports"} & c.directives.keys() and c.tree
                for n in c.tree.body if isinstance(n, DEFS) and not n.name.startswith("_")]

    @property
    def n_checks(self) -> int:
        """How many assertions and calls of a check stand at the top level of the cells (loops count once)."""
        return sum(count_checks(c) for c in self.code)


def read_notebook(path: Path) -> Notebook:
    """Read an .ipynb file (nbformat 4)."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    def join(source):
        return "".join(source) if isinstance(source, list) else source
    cells = [Cell(c["cell_type"], join(c["source"]), c.get("id", ""), c.get("outputs", []), c.get("metadata", {}))
             for c in raw["cells"]]
    return Notebook(path, cells, raw.get("metadata", {}))


def lessons(folder: Path = NBS) -> list[Notebook]:
    """Every numbered notebook, in the order of the curriculum."""
    return [read_notebook(p) for p in sorted(folder.glob("[0-9]*.ipynb"))]


def solutions() -> list[Notebook]:
    """The solutions notebooks, in the order of the curriculum."""
    return lessons(SOLUTIONS)


# --- checks --------------------------------------------------------------------------------------

def top_nodes(node: ast.AST):
    """Walk a tree without going into functions and classes: what is only defined there is not run there."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (*DEFS, ast.Lambda)):
            yield child
            yield from top_nodes(child)


def called_name(node: ast.Call) -> str:
    f = node.func
    return f.id if isinstance(f, ast.Name) else f.attr if isinstance(f, ast.Attribute) else ""


def count_checks(cell: Cell) -> int:
    """Assertions and calls of a check that this cell runs."""
    return sum(isinstance(n, ast.Assert) or isinstance(n, ast.Call) and bool(CHECK_CALL.match(called_name(n)))
               for n in top_nodes(cell.tree)) if cell.tree else 0


# --- do the saved outputs belong to the code? ------------------------------------------------------

def imported_modules(code: str) -> set[str]:
    """Modules of the library that `code` imports, as `exp.name`; relative imports count as the library's."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [LIB.name if node.level else "", node.module or ""]))
            found |= {base} | {f"{base}.{a.name}" for a in node.names}
    return {m for m in found if m.split(".")[0] == LIB.name}


def digest(nb: Notebook) -> str:
    """A hash of the code cells, in order, and of every library module they import, directly or not."""
    h, todo, seen = hashlib.sha256(), set(), set()
    for cell in nb.code:
        h.update(cell.source.encode() + b"\0")
        todo |= imported_modules(cell.source)
    while todo:
        file = LIB / f"{todo.pop().partition('.')[2]}.py"
        if file in seen or not file.exists():
            continue
        seen.add(file)
        todo |= imported_modules(file.read_text(encoding="utf-8"))
    for file in sorted(seen):
        h.update(file.name.encode() + b"\0" + file.read_bytes())
    return h.hexdigest()[:16]


def stale(nb: Notebook) -> str:
    """Why the saved outputs do not belong to the code as it is now; empty when they do."""
    stamp = nb.metadata.get("exp_run", {})
    if not stamp:
        return "was never run and saved"
    if stamp.get("digest") != digest(nb):
        return f"was changed, or a module that it imports was, since the outputs were saved on {stamp.get('date')}"
    return ""
