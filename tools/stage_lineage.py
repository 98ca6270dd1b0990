"""The lineage: for each public name, the lesson that builds it, what it stands in for, and everything that uses it.

    python tools/stage_lineage.py           modules that nobody uses, and why they are there all the same

All is read from the syntax trees of exp/*.py, bench/*.py, the lessons and the solutions; nothing is imported. A use is
an import of the name (`from exp.cnn import Lambda`), or an attribute of an imported module (`datasets.fetch`).
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ledger import read_unlocks
from notebooks import DEFS, Notebook, lessons
from settings import CFG, LIB, ROOT
from stage_api import docstring
from stage_pages import table
from stretches import stretch

BENCH = ROOT / "bench"
# Modules that nothing else imports, and why they are part of the course.
ALONE = {
    "matmul": "later lessons multiply with PyTorch's `@`, which this one unlocks.",
    "foundations": "a page on the Python and the statistics that the lessons rest on; its class is the example.",
    "convolution": "later lessons take PyTorch's convolutions, which this one unlocks.",
    "number_formats": "the lesson on mixed precision needs what it teaches, not its functions.",
    "subwords": "the text lessons that follow go on with whole words.",
    "averaged_sgd": "pretraining goes on with AdamW and one cycle of the rate.",
}


@dataclass
class Name:
    """A public name, and who uses it: modules, lessons, solutions and benchmarks, each in order."""

    name: str
    module: str
    like: str = ""  # the `Like:` line of its docstring
    modules: list[str] = field(default_factory=list)
    lessons: list[str] = field(default_factory=list)
    solutions: list[str] = field(default_factory=list)
    bench: list[str] = field(default_factory=list)


def listed(tree: ast.Module) -> list[str]:
    """The names in `__all__`, in the order of their definitions."""
    return next(
        (
            ast.literal_eval(n.value)
            for n in tree.body
            if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"
        ),
        [],
    )


def imports(trees: Iterable[ast.AST]) -> set[tuple[str, str]]:
    """(module, name) of everything of ours that the trees use; the name is empty where a module is imported whole."""
    found, whole = set(), {}
    nodes = [node for tree in trees for node in ast.walk(tree)]
    for node in nodes:
        if isinstance(node, ast.Import):
            for a in node.names:
                if a.name.startswith(f"{LIB.name}."):
                    found.add((a.name.split(".")[1], ""))
                    whole[a.asname or a.name] = a.name.split(".")[1]
        elif isinstance(node, ast.ImportFrom):
            base = [*([LIB.name] if node.level else []), *filter(None, (node.module or "").split("."))]
            if base == [LIB.name]:  # `from exp import datasets as ds`
                found |= {(a.name, "") for a in node.names}
                whole |= {a.asname or a.name: a.name for a in node.names}
            elif base[0] == LIB.name:
                found |= {(base[1], a.name) for a in node.names}
    found |= {
        (whole[ast.unparse(n.value)], n.attr)
        for n in nodes
        if isinstance(n, ast.Attribute) and whole and ast.unparse(n.value) in whole
    }
    return found


def trees(notebook: Notebook) -> list[ast.Module]:
    """The syntax trees of a notebook's code cells."""
    return [cell.tree for cell in notebook.code if cell.tree]


def read(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def users(
    pages: list[Notebook], answers: list[Notebook], lib: Path = LIB, bench: Path = BENCH
) -> list[tuple[str, str, str, set[tuple[str, str]]]]:
    """(kind, user, its own module, what it imports) of all modules, lessons, solutions and benchmarks, in order."""
    files = {nb.module: f for nb in pages if nb.module and (f := lib / f"{nb.module}.py").exists()}
    found = [("modules", m, m, imports([read(f)])) for m, f in files.items()]
    found += [("lessons", nb.name, nb.module or "", imports(trees(nb))) for nb in pages]
    found += [("solutions", nb.name, "", imports(trees(nb))) for nb in answers]
    found += [("bench", f.stem, "", imports([read(f)])) for f in sorted(bench.glob("*.py"))]
    return found


def lineage(
    pages: list[Notebook], answers: list[Notebook], lib: Path = LIB, bench: Path = BENCH
) -> dict[str, list[Name]]:
    """{module: its public names with their users}, modules in the order of the course."""
    found: dict[str, list[Name]] = {}
    for nb in pages:
        if nb.module and (lib / f"{nb.module}.py").exists():
            tree = read(lib / f"{nb.module}.py")
            like = {n.name: dict(docstring(n)[1]).get("Like", "") for n in tree.body if isinstance(n, DEFS)}
            found[nb.module] = [Name(name, nb.module, like.get(name, "")) for name in listed(tree)]
    known = {n.name: n for names in found.values() for n in names}  # no name is defined twice
    for kind, user, own, imported in users(pages, answers, lib, bench):
        used = {name for module, name in imported if module in found and name in known}
        for name in used:  # also one that comes through another module: `from .data_block import Transform`
            if known[name].module != own:
                getattr(known[name], kind).append(user)
    return found


def commands(scripts: str = CFG["console_scripts"]) -> set[str]:
    """The modules behind the commands that an installation brings."""
    return {line.partition("=")[2].partition(":")[0].split(".")[-1] for line in scripts.split()}


def unused(
    pages: list[Notebook], lib: Path = LIB, bench: Path = BENCH, scripts: str = CFG["console_scripts"]
) -> list[str]:
    """Modules that no other module, no other lesson, no benchmark and no command imports."""
    used = commands(scripts)
    for _, _, own, imported in users(pages, [], lib, bench):
        used |= {module for module, _ in imported if module != own}
    return [nb.module for nb in pages if nb.module and nb.module not in used]


def unlocks(nb: Notebook) -> list[str]:
    """What the lesson unlocks of PyTorch."""
    return [name for cell in nb.with_directive("unlocks") for name in read_unlocks(cell) or []]


def page(
    pages: list[Notebook],
    answers: list[Notebook],
    markdown: Callable[[str], str],
    anchor: Callable[[str], str],
) -> str:
    """The page: one table a lesson, in the order of the course."""
    names, by_name = lineage(pages, answers), {nb.name: nb for nb in pages}

    def notebooks_of(users: list[str], folder: str = "") -> str:
        return ", ".join(
            f'[{by_name[u].number}]({folder}{u}.ipynb "{by_name[u].title.split(":")[0]}")' for u in users if u in by_name
        )

    def row(n: Name) -> dict[str, str]:
        entry = f"#api-{anchor(n.name)}" if n.name in by_module[n.module].exported else f"#api-mod-{n.module}"
        places = [notebooks_of(n.lessons)]
        places += [f"solutions: {notebooks_of(n.solutions, 'solutions/')}"] if n.solutions else []
        places += [f"bench: {', '.join(n.bench)}"] if n.bench else []
        return {
            "name": f"[`{n.name}`]({entry})",
            "stands in for": markdown(n.like).replace("|", "\\|"),
            "imported by": ", ".join(f"[{m}](#api-mod-{m})" for m in n.modules),
            "used in": "; ".join(filter(None, places)),
        }

    by_module = {nb.module: nb for nb in pages}
    count = sum(map(len, names.values()))
    parts = [
        f"# Lineage\n\nThe {count} public names of the package: which lesson builds them, what they stand in for, "
        "which later modules import them, and which lessons, solutions and benchmarks use them. "
        "Read from the imports in the code.\n"
    ]
    last = ""
    for module, rows in names.items():
        nb = by_module[module]
        part = stretch(nb.name).title
        parts += [f"## {part}\n"] if part != last else []
        last = part
        free = ", ".join(f"`{n}`" for n in unlocks(nb))
        parts.append(
            f"### {nb.number} {nb.title.split(':')[0]}\n\n[The lesson]({nb.path.name}) writes "
            f"[`{LIB.name}.{module}`](#api-mod-{module})" + (f" and unlocks {free}" if free else "") + ".\n"
        )
        parts.append(table([row(n) for n in rows], str) + "\n")
    if ALONE:
        reasons = "\n".join(f"- [`{LIB.name}.{m}`](#api-mod-{m}): {why}" for m, why in ALONE.items())
        parts.append(f"## Ends of the line\n\nNo other module, lesson, benchmark or command uses these.\n\n{reasons}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    alone = unused(lessons())
    print("\n".join(f"{m}: {ALONE.get(m, 'is used by nobody')}" for m in alone) or "Every module is used.")
    sys.exit(bool(set(alone) ^ ALONE.keys()))
