"""Build the site from the notebooks' saved outputs. Nothing is executed.

    python tools/stage.py                   the site, in docs/_build/html
    python tools/stage.py --out /tmp/site   in /tmp/site/_build/html; the working tree stays clean
    python tools/stage.py --stage-only      only the pages that Sphinx reads (docs/_src)

nbs/01_matmul.ipynb -> _src/01_matmul.ipynb   directives honoured, names linked, outputs kept
exp/matmul.py       -> _src/api/matmul.md     signatures and comments, linked to the lesson
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import stage_api
import stage_bibliography
import stage_errors
import stage_lineage
import stage_pages
import stage_results
import stage_speed
from notebooks import DEFS, DIRECTIVE, Cell, Notebook, lessons, read_notebook, solutions
from settings import CFG, LIB, NBS, ROOT, SOLUTIONS
from stretches import stretch

# Pages of docs/ that come before the lessons, in this order; the others are for reference.
FIRST = ("tutorial", "troubleshooting")
TICKED = re.compile(r"(?<![\[`\w])`(\w[\w.]*)(?:\(\))?`(?![\]`])")
LEAVING = re.compile(
    r"(!?)\[([^\]]*)\]\((?:\.\./)+(?!images/)([\w./-]+\.\w+|[\w/-]+/?)((?:#[\w-]*)?)\)"
)
SOLUTION = re.compile(r"(?<!\[)`(solutions/[\w-]+\.ipynb)`(?!\])")
STYLE_ONLY = re.compile(r"\s*(<style>.*</style>\s*)?", re.S)


def anchor(name: str) -> str:
    """The label of the lesson cell that defines `name`; the API entry has `api-` before it."""
    kind = "class" if name[0].isupper() else "sym"  # labels know no case: chart is not Chart
    return f"{kind}-" + re.sub(r"[._]+", "-", name.lower()).strip("-")


def defined(cell: Cell) -> list[str]:
    """Public functions, classes and methods (`Class.method`) that a cell defines."""
    names = []
    for node in cell.tree.body if cell.tree else []:
        if isinstance(node, DEFS) and not node.name.startswith("_"):
            names.append(node.name)
            names += [
                f"{node.name}.{m.name}"
                for m in node.body
                if isinstance(node, ast.ClassDef) and isinstance(m, DEFS) and m.name[0] != "_"
            ]
    return names


def is_exported(cell: Cell) -> bool:
    return bool({"export", "exports"} & cell.directives.keys())


def symbols(notebooks: list[Notebook]) -> dict[str, tuple[str, str]]:
    """{name: (module, notebook)} for everything that the notebooks export."""
    return {
        name: (nb.module, nb.name)
        for nb in notebooks
        if nb.module
        for cell in nb.code
        if is_exported(cell)
        for name in defined(cell)
    }


class Stage:
    """One staging: the notebooks, what they export, and where the pages go."""

    def __init__(self, out: Path, git_url: str = "") -> None:
        self.out, self.git_url = out, git_url.rstrip("/")
        self.lessons, self.solutions = lessons(), solutions()
        self.pages = {nb.name for nb in self.lessons}
        self.symbols = symbols(self.lessons)
        self.modules = {
            nb.module: nb for nb in self.lessons if nb.module and (LIB / f"{nb.module}.py").exists()
        }
        self.names: dict[str, dict[str, str]] = {}  # page -> {name in its code: API entry}

    # --- Markdown ---------------------------------------------------------------------------------

    def lookup(self, name: str) -> str | None:
        """The link target of `matmul`, `exp.matmul.matmul`, `exp.matmul`, `01_matmul`; else None."""
        if name in self.pages:
            return f"#notebook-{name}"
        if name in self.symbols:
            return "#" + anchor(name)
        parts = name.split(".")
        if parts[0] == LIB.name and len(parts) > 1 and parts[1] in self.modules:
            short = ".".join(parts[2:])
            return f"#api-mod-{parts[1]}" if not short else self.lookup(short)
        return None

    def _tick(self, m: re.Match) -> str:
        target = self.lookup(m[1])
        return f"[{m[0]}]({target})" if target else m[0]

    def _leave(self, m: re.Match) -> str:
        """A link out of nbs/: to the API page, a page of docs/, to the public repository, or only its text."""
        bang, text, path, tail = m.groups()
        if path.startswith(f"{LIB.name}/") and (mod := Path(path).stem) in self.modules:
            return f"[{text}](#api-mod-{mod})"
        if re.fullmatch(r"docs/[\w-]+\.md", path) and (ROOT / path).exists():
            return f"[{text}](/{Path(path).name}{tail})"
        if (NBS / path).exists():
            return m[0]
        url = f"{self.git_url}/blob/{CFG['branch']}/{path}{tail}"
        return f"{bang}[{text}]({url})" if self.git_url else text

    def markdown(self, text: str) -> str:
        """Link names in backticks and mend links out of nbs/, not in headings and code blocks."""
        lines, fenced = text.splitlines(), False
        for i, line in enumerate(lines):
            if line.lstrip().startswith(("```", "~~~", "$$")):
                fenced ^= not (line.strip().startswith("$$") and line.count("$$") > 1)
            elif not fenced and not line.startswith(("    ", "#")):
                line = SOLUTION.sub(
                    lambda m: f"[{m[0]}]({m[1]})" if (NBS / m[1]).exists() else m[0], line
                )
                lines[i] = LEAVING.sub(self._leave, TICKED.sub(self._tick, line))
        return "\n".join(lines)

    # --- notebooks --------------------------------------------------------------------------------

    def code_cell(self, cell: Cell) -> dict | None:
        """A code cell for the site; None for one that only gives orders to the tools."""
        orders, tags = cell.directives, set(cell.metadata.get("tags", []))
        lines = cell.source.splitlines()
        while lines and (not lines[0].strip() or DIRECTIVE.match(lines[0])):
            lines.pop(0)
        if "hide" in orders or not lines:
            return None
        tags |= {"exported"} if is_exported(cell) else set()
        tags |= {
            tag
            for order, value, tag in (
                ("echo", "false", "remove-input"),
                ("output", "false", "remove-output"),
            )
            if orders.get(order) == value
        }
        metadata: dict = {"tags": sorted(tags)}
        if "check" in orders:  # folded, so that a reader may try first
            metadata = {
                "tags": sorted(tags | {"hide-input"}),
                "mystnb": {
                    "code_prompt_show": "Show the check",
                    "code_prompt_hide": "Hide the check",
                },
            }
        outputs = [
            o
            for o in copy.deepcopy(
                cell.outputs
            )  # fastprogress's style sheet, and its empty bars, go
            if not STYLE_ONLY.fullmatch("".join(o.get("data", {}).get("text/html", "keep")))
        ]
        for data in (o["data"] for o in outputs if "text/markdown" in o.get("data", {})):
            if "text/html" not in data:
                data["text/markdown"] = self.markdown("".join(data["text/markdown"]))
        return {
            "cell_type": "code",
            "id": cell.id,
            "metadata": metadata,
            "execution_count": None,
            "source": "\n".join(lines),
            "outputs": outputs,
        }

    def label(self, cell: Cell, module: str) -> str:
        """What stands over an exported cell: anchors, the file, and links to the API entries."""
        names = defined(cell)
        links = ", ".join(f"[`{n}`](#api-{anchor(n)})" for n in names if "." not in n)
        return "\n".join(
            [f"({anchor(n)})=" for n in names]
            + [
                ":::{container} exported",
                f"[{LIB.name}/{module}.py](#api-mod-{module})",
                f"· {links}" if links else "",
                ":::",
            ]
        )

    def notebook(self, nb: Notebook, target: Path) -> None:
        """Write one notebook for the site."""
        cells: list[dict] = []

        def add(text: str, key: str) -> None:
            cells.append({"cell_type": "markdown", "id": key, "metadata": {}, "source": text})

        labelled = nb.module in self.modules and nb.path.parent == NBS
        for i, cell in enumerate(nb.cells):
            if cell.kind != "code":
                mark = f"(notebook-{nb.name})=\n" if i == 0 and nb.path.parent == NBS else ""
                add(mark + self.markdown(cell.source), cell.id)
                if (
                    (SOLUTIONS / nb.path.name).exists()
                    and nb.path.parent == NBS
                    and re.match(r"#+ .*Exercises", cell.source)
                ):
                    add(
                        f"Every exercise has a [solution that is run and checked]"
                        f"(solutions/{nb.path.name}). "
                        "Try first.",
                        f"solutions-{i}",
                    )
            elif staged := self.code_cell(cell):
                if labelled and is_exported(cell):
                    add(self.label(cell, nb.module), f"label-{i}")
                cells.append(staged)
        page = target.relative_to(self.out).with_suffix("").as_posix()
        self.names[page] = {n: f"api/{m}.html#api-{anchor(n)}" for n, m in self.used(nb).items()}
        raw = {
            "cells": cells,
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {
                "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python"},
            },
        }
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(raw, ensure_ascii=False), encoding="utf-8")

    def used(self, nb: Notebook) -> dict[str, str]:
        """{name: module} for what the notebook imports from the library or exports."""
        found = {n: nb.module for n in nb.exported if n in self.symbols}
        for cell in nb.code:
            for node in ast.walk(cell.tree) if cell.tree else ():
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                    f"{LIB.name}."
                ):
                    module = node.module.partition(".")[2]
                    found |= {
                        a.name: module
                        for a in node.names
                        if a.asname is None and self.symbols.get(a.name, ("",))[0] == module
                    }
        return found

    # --- the whole site ---------------------------------------------------------------------------

    def page(self, name: str, text: str) -> None:
        """Write one Markdown page."""
        file = self.out / f"{name}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def index(self) -> None:
        """The front page (the index notebook, or a plain list) with the tables of contents."""
        trees: dict[str, list[str]] = {"First hour": [*FIRST]}
        for nb in self.lessons:
            trees.setdefault(stretch(nb.name).title, []).append(nb.name)
        handwritten = [f.stem for f in sorted((ROOT / "docs").glob("*.md")) if f.stem not in FIRST]
        trees["Reference"] = [
            *(["api"] if self.modules else []),
            *handwritten,
            "lineage",
            *(["speed"] if (ROOT / "results" / "bench.json").exists() else []),
            "results",
            "errors",
            "bibliography",
            *(["solutions"] if self.solutions else []),
        ]
        toc = "\n\n".join(
            "```{{toctree}}\n:hidden:\n:caption: {}\n\n{}\n```".format(caption, "\n".join(pages))
            for caption, pages in trees.items()
        )
        path = NBS / "index.ipynb"
        if path.exists():
            nb = read_notebook(path)
            nb.cells.append(Cell("markdown", toc, "contents"))
            self.notebook(nb, self.out / "index.ipynb")
        else:
            rows = "\n".join(f"- [{nb.title}]({nb.path.name}): {nb.promise}" for nb in self.lessons)
            self.page("index", f"# {CFG['title']}\n\n{CFG['description']}.\n\n{rows}\n\n{toc}\n")

    def reference(self) -> None:
        """The pages that are collected from lessons, modules and results."""
        self.page("bibliography", stage_bibliography.bibliography(self.lessons, self.markdown))
        self.page(
            "lineage",
            stage_lineage.page(self.lessons, self.solutions, self.markdown, anchor),
        )
        self.page("results", stage_results.results(self.lessons, ROOT / "results"))
        self.page("errors", stage_errors.errors_page())
        if (bench := ROOT / "results" / "bench.json").exists():
            rows = json.loads(bench.read_text(encoding="utf-8"))
            self.page("speed", stage_speed.speed_page(rows, {nb.name for nb in self.lessons}))
        for file in stage_results.files(ROOT / "results"):  # to download
            (self.out / "results").mkdir(exist_ok=True)
            shutil.copy2(file, self.out / "results")

    def run(self) -> None:
        """Write every page."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        if (NBS / "images").exists():
            shutil.copytree(NBS / "images", self.out / "images")
        for nb in self.lessons:
            self.notebook(nb, self.out / nb.path.name)
        for nb in self.solutions:
            self.notebook(nb, self.out / "solutions" / nb.path.name)
        for file in sorted((ROOT / "docs").glob("*.md")):
            self.page(file.stem, self.markdown(file.read_text(encoding="utf-8")))
        self.reference()
        if self.solutions:
            self.page("solutions", stage_pages.solutions(self.solutions))
        if self.modules:
            self.page("api", stage_api.contents(self.modules, anchor))
        for module, nb in self.modules.items():
            self.page(
                f"api/{module}",
                stage_api.page(LIB / f"{module}.py", nb, self.symbols, anchor, self.markdown),
            )
        self.index()
        (self.out / "code_names.json").write_text(json.dumps(self.names), encoding="utf-8")


def build(base: Path, jobs: int = 2, quiet: bool = True) -> int:
    """Run Sphinx over `base`/_src into `base`/_build/html; warnings are errors."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-n",
        "-W",
        "--keep-going",
        "-E",
        "-j",
        str(jobs),
        "-b",
        "html",
        *(["-q"] if quiet else []),
        "-c",
        str(ROOT / "docs"),
        "-d",
        str(base / "_build" / "doctrees"),
        str(base / "_src"),
        str(base / "_build" / "html"),
    ]
    return subprocess.run(command, cwd=ROOT).returncode


def main(clock: Callable[[], float] = time.perf_counter) -> int:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument(
        "--out", type=Path, default=ROOT / "docs", help="folder for _src and _build (default: docs)"
    )
    p.add_argument(
        "--stage-only", action="store_true", help="write the pages and stop before Sphinx"
    )
    p.add_argument("-j", type=int, default=2, help="processes")
    p.add_argument("-v", action="store_true", help="let Sphinx say what it does")
    a = p.parse_args()
    base, start = a.out.resolve(), clock()
    stage = Stage(base / "_src", os.environ.get("EXP_GIT_URL", CFG["git_url"]))
    stage.run()
    print(
        f"{len(stage.lessons)} lessons, {len(stage.solutions)} solutions and "
        f"{len(stage.modules)} modules "
        f"staged in {clock() - start:.1f} s",
        flush=True,
    )
    if a.stage_only:
        return 0
    shutil.rmtree(base / "_build" / "html", ignore_errors=True)
    failed = build(base, a.j, not a.v)
    print(
        f"site {'FAILED' if failed else 'built'} in {clock() - start:.1f} s: "
        f"{base / '_build' / 'html' / 'index.html'}"
    )
    return failed


if __name__ == "__main__":
    sys.exit(main())
