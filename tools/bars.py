"""Measure every notebook against the project's bars: prose, checks, length of cells, what is left in the outputs.

    python tools/bars.py                    a table of all notebooks, and below it what is missed
    python tools/bars.py --check            the same; exit status 1 if a bar is missed
    python tools/bars.py nbs/01_matmul.ipynb

What is counted
    code line       a line of a code cell that is neither blank nor only a comment
    word            a run of characters with a letter or a digit in it, once images, HTML tags, link targets and maths
                    are taken out of the Markdown
    checked cell    a code cell that stops the run if a result is wrong: it asserts, or calls a check, outside of
                    function and class bodies
    exported name   a public function or class that an exported cell defines; it is checked when a checked cell names it
    chart cell      a cell that calls a drawing method of matplotlib; it is labelled when it also names both axes
"""
from __future__ import annotations

import argparse
import ast
import io
import math
import re
import statistics
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

from notebooks import DEFS, Cell, Notebook, called_name, count_checks, lessons, read_notebook, solutions, top_nodes
from settings import NBS

MATHS = re.compile(r"\$\$.+?\$\$|(?<![\\$])\$(?!\s)[^$\n]+?(?<!\s)\$|\\begin\{", re.S)
NOT_PROSE = re.compile(r"<!--.*?-->|!\[[^\]]*\]\([^)]*\)|<[^>]+>|^```.*?^```", re.S | re.M)
DRAWS = set("plot scatter bar barh hist errorbar semilogx semilogy loglog fill_between".split())
EXPORTS = {"export", "exports", "exporti"}
CLOSING = ("What we built", "What is different from", "You may now use", "Exercises", "References")
FOLDERS = "home|root|Users|tmp|var|opt|mnt|usr|srv|private|work|content"
MACHINE_PATH = re.compile(rf"(?<![\w.~:/-])/(?:{FOLDERS})/\w|site-packages|\b[A-Z]:\\\\?\w")


@dataclass(frozen=True)
class Bar:
    """The range in which a figure has to be, ends included."""
    figure: str
    low: float = -math.inf
    high: float = math.inf
    advice: str = ""

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        if self.low == -math.inf:
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if self.high == math.inf else f"{self.low:g} to {self.high:g}"


CLEAN = (
    Bar("KB", high=600, advice="smaller or fewer pictures"),
    Bar("H1 first", 1, 1, "the first cell is Markdown and starts with `# Title`"),
    Bar("not plain Python", 0, 0, "no magics: the tools parse every cell"),
    Bar("star imports", 0, 0, "name what you import"),
    Bar("seed calls", high=1, advice="one seed call a notebook, in the setup"),
    Bar("machine paths", 0, 0, "saved outputs name no folder of a machine: show the name, not the path"),
    Bar("addresses", 0, 0, "a saved output says `object at 0x…`: show something that means something"),
    Bar("warnings", 0, 0, "a saved output was written to stderr: cure the cause, then save again"),
    Bar("errors", 0, 0, "a saved output is an error: use `expect_fail`, then save again"),
    Bar("images without alt", 0, 0, "every picture has alternative text (`Chart.alt`, or `![text](file)`)"),
    Bar("lines over 100", 0, 0, "break the line"),
    Bar("lines/cell max", high=40, advice="split the cell"),
)
STYLE = (
    Bar("promise", 1, 1, "the first cell holds the title and, below it, the `>` promise"),
    Bar("closing", 1, 1, "level-2 headings at the end, in this order: " + ", ".join(CLOSING)),
    Bar("words", 900, 2500, "a page is read in one sitting, and explains what it does"),
    Bar("opening words", 100, 250, "say the problem before the first code cell"),
    Bar("words/code line", 5, 10, "prose and code in balance"),
    Bar("checked cells %", 30, 100, "assert what the cell shows"),
    Bar("exported names checked %", 100, 100, "name it in a checked cell"),
    Bar("exported names documented %", 100, 100, "one sentence as docstring"),
    Bar("exported functions typed %", 100, 100, "types on the signature"),
    Bar("signatures whole %", 100, 100, "every parameter and the result typed, functions and public methods alike"),
    Bar("parameters commented %", 100, 100, "a comment on its own line for every parameter, result and field"),
    Bar("charts labelled %", 100, 100, "name both axes in the cell that draws"),
    Bar("lines/cell median", 3, 6, "one idea a cell"),
    Bar("lines/cell p90", high=15, advice="split the long cells"),
    Bar("line p95", high=92, advice="break the long lines"),
    Bar("exercises", 3, 5, "three to five cells `#| exercise: name`"),
)
AIM = Bar("lines/cell max", high=30, advice="worth splitting")      # told, not failed


# --- counting ------------------------------------------------------------------------------------

def code_lines(source: str) -> list[str]:
    """The lines that hold code; the lines of a docstring count."""
    return [line for line in source.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def count_words(markdown: str) -> int:
    """Words of the running text."""
    text = NOT_PROSE.sub(" ", markdown)
    text = MATHS.sub(" ", re.sub(r"\]\([^)]*\)", "] ", text))
    return sum(re.search(r"\w", word) is not None for word in text.split())


def quantile(values: list[int], q: float) -> int:
    """The value below which a share `q` of the sorted values lies."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else 0


def percent(part: int, whole: int) -> float | None:
    """A share in per cent; None where there is nothing to share."""
    return 100 * part / whole if whole else None


def calls(tree: ast.AST) -> list[ast.Call]:
    return [n for n in ast.walk(tree) if isinstance(n, ast.Call)]


def draws_chart(cell: Cell) -> bool:
    return any(isinstance(c.func, ast.Attribute) and c.func.attr in DRAWS for c in calls(cell.tree))


def names_both_axes(cell: Cell) -> bool:
    words = {called_name(c) for c in calls(cell.tree)} | {k.arg or "" for c in calls(cell.tree) for k in c.keywords}
    return all(any(axis in w for w in words) for axis in ("xlabel", "ylabel"))


def count_seeds(cell: Cell) -> int:
    """Calls that set a global random state where the cell runs; a generator of one's own does not count."""
    found = [ast.unparse(n.func) for n in top_nodes(cell.tree) if isinstance(n, ast.Call)]
    return sum(re.search(r"^(torch(\.cuda|\.mps)?\.(manual_)?seed(_all)?|random\.seed|(np|numpy)\.random\.seed"
                         r"|(\w+\.)?(set_seed|seed_everything))$", f) is not None for f in found)


def is_typed(f: ast.FunctionDef) -> bool:
    """Does the function have any type at all?"""
    return bool(f.returns or any(a.annotation for a in [*f.args.args, *f.args.kwonlyargs]))


def signatures(definitions: list[ast.AST]) -> list[tuple[str, ast.FunctionDef]]:
    """(name, function) of exported functions and of the public methods and `__init__` of exported classes."""
    found = []
    for d in definitions:
        if not isinstance(d, ast.ClassDef):
            found.append((d.name, d))
            continue
        found += [(f"{d.name}.{m.name}", m) for m in d.body if isinstance(m, DEFS[:2])
                  and (not m.name.startswith("_") or m.name in ("__init__", "__call__"))]
    return found


def own_parameters(f: ast.FunctionDef, is_method: bool) -> list[ast.arg]:
    """The parameters that a caller gives: without self and cls."""
    args = [*f.args.posonlyargs, *f.args.args]
    static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in f.decorator_list)
    rest = [a for a in (f.args.vararg, *f.args.kwonlyargs, f.args.kwarg) if a]
    return [*(args[1:] if is_method and not static else args), *rest]


def is_whole(name: str, f: ast.FunctionDef) -> bool:
    """Are every parameter and the result typed?"""
    typed = all(a.annotation for a in own_parameters(f, "." in name))
    return typed and (f.returns is not None or f.name == "__init__")


def comment_lines(source: str) -> set[int]:
    """Numbers of the lines that end in a comment."""
    return {t.start[0] for t in tokenize.generate_tokens(io.StringIO(source).readline) if t.type == tokenize.COMMENT}


def comment_places(definitions: list[ast.AST]) -> list[tuple[str, int]]:
    """(name, line) of everything that needs a comment on its line: parameters and result of exported functions,
    parameters of `__init__`, fields of a dataclass."""
    places = []
    for d in definitions:
        if isinstance(d, ast.ClassDef):
            if any("dataclass" in ast.unparse(x) for x in d.decorator_list):
                fields = [f for f in d.body if isinstance(f, ast.AnnAssign)]
                places += [(f"{d.name}.{ast.unparse(f.target)}", f.end_lineno) for f in fields]
            places += [(f"{d.name}({a.arg})", a.end_lineno) for f in d.body if isinstance(f, DEFS[:2]) and
                       f.name == "__init__" for a in own_parameters(f, True)]
            continue
        places += [(f"{d.name}({a.arg})", a.end_lineno) for a in own_parameters(d, False)]
        if d.returns is not None and ast.unparse(d.returns) != "None":
            places.append((f"the result of {d.name}", d.returns.end_lineno))
    return places


def uncommented(definitions: list[ast.AST], source: str) -> list[str]:
    """Those that have no comment on their line, or share it with another."""
    places, comments = comment_places(definitions), comment_lines(source)
    lines = [line for _, line in places]
    return [name for name, line in places if line not in comments or lines.count(line) > 1]


def output_texts(out: dict) -> list[str]:
    """Everything of one output that a reader can read."""
    parts = [out.get("text", ""), *(v for k, v in out.get("data", {}).items() if k.startswith("text/")),
             out.get("traceback", [])]
    texts = ["".join(p) for p in parts]
    return [re.sub(r"data:[\w/+.-]+;base64,[\w+/=]+", "", t) for t in texts]


def images_without_alt(cell: Cell) -> int:
    """Pictures of one cell, in its outputs or its Markdown, that say nothing to those who cannot see them."""
    if cell.kind == "markdown":
        text = re.sub(r"^```.*?^```|`[^`\n]*`", "", cell.source, flags=re.S | re.M)
        return len(re.findall(r"!\[\s*\]\(", text)) + html_without_alt(text)
    bad = 0
    for out in cell.outputs:
        meta = out.get("metadata", {})
        kinds = [k for k in out.get("data", {}) if k.startswith("image/")]
        bad += sum(not str(meta.get(k, {}).get("alt", "")).strip() for k in kinds)
        bad += sum(html_without_alt("".join(v)) for k, v in out.get("data", {}).items() if k == "text/html")
    return bad


def html_without_alt(html: str) -> int:
    return sum(not re.search(r"\balt\s*=\s*([\"'])\s*[^\"'\s]", tag) for tag in re.findall(r"<img\b[^>]*>", html))


def closes_in_order(nb: Notebook) -> bool:
    """Are the closing headings there, in their order, with no other level-2 heading after the first of them?"""
    heads = [h for c in nb.prose for h in re.findall(r"^## +(.+?)\s*$", c.source, re.M)]
    start = next((i for i, h in enumerate(heads) if h.startswith(CLOSING[0])), len(heads))
    last = heads[start:]
    return len(last) == len(CLOSING) and all(h.startswith(c) for h, c in zip(last, CLOSING))


def figures(nb: Notebook) -> dict[str, float | None]:
    """Every figure of one notebook."""
    cells = [c for c in nb.cells if c.source.strip() and c.kind in ("code", "markdown")]
    code = [c for c in cells if c.kind == "code"]
    python = [c for c in code if c.tree]
    words = [count_words(c.source) if c.kind == "markdown" else 0 for c in cells]
    first = next((i for i, c in enumerate(cells) if c.kind == "code"), len(cells))
    lines = [code_lines(c.source) for c in code]
    lengths = [len(line) for ls in lines for line in ls]

    checked = [c for c in python if count_checks(c)]
    tests = "\n".join(c.source for c in checked)
    exports = [(c, [n for n in c.tree.body if isinstance(n, DEFS) and not n.name.startswith("_")])
               for c in python if EXPORTS & c.directives.keys()]
    defined = [d for _, ds in exports for d in ds]
    functions = [d for d in defined if not isinstance(d, ast.ClassDef)]
    names = {d.name for d in defined}
    signs = signatures(defined)
    n_places = len(comment_places(defined))
    n_bare = sum(len(uncommented(ds, c.source)) for c, ds in exports)
    charts = [c for c in python if draws_chart(c)]

    outputs = [o for c in code for o in c.outputs]
    texts = [t for o in outputs for t in output_texts(o)]
    head = cells[0].source if cells and cells[0].kind == "markdown" else ""
    return {
        "KB": nb.path.stat().st_size / 1024, "code cells": len(code), "code lines": len(lengths),
        "words": sum(words), "opening words": sum(words[:first]), "words/code line": sum(words) / max(1, len(lengths)),
        "lines/cell median": statistics.median(map(len, lines)) if lines else 0,
        "lines/cell p90": quantile([*map(len, lines)], .9), "lines/cell max": max(map(len, lines), default=0),
        "checked cells %": percent(len(checked), len(code)),
        "exported names checked %": percent(sum(bool(re.search(rf"\b{n}\b", tests)) for n in names), len(names)),
        "exported names documented %": percent(sum(bool(ast.get_docstring(d)) for d in defined), len(defined)),
        "exported functions typed %": percent(sum(map(is_typed, functions)), len(functions)),
        "signatures whole %": percent(sum(is_whole(n, f) for n, f in signs), len(signs)),
        "parameters commented %": percent(n_places - n_bare, n_places),
        "charts labelled %": percent(sum(map(names_both_axes, charts)), len(charts)),
        "line p95": quantile(lengths, .95), "lines over 100": sum(n > 100 for n in lengths),
        "exercises": len(nb.with_directive("exercise")),
        "H1 first": head.startswith("# "), "promise": head.startswith("# ") and bool(re.search(r"^> *\S", head, re.M)),
        "closing": closes_in_order(nb), "not plain Python": len(code) - len(python),
        "star imports": sum(isinstance(n, ast.ImportFrom) and n.names[0].name == "*"
                            for c in python for n in ast.walk(c.tree)),
        "seed calls": sum(map(count_seeds, python)),
        "machine paths": sum(MACHINE_PATH.search(t) is not None for t in texts),
        "addresses": sum(re.search(r"\bat 0x[0-9a-fA-F]{6,}", t) is not None for t in texts),
        "warnings": sum(o.get("output_type") == "stream" and o.get("name") == "stderr" for o in outputs),
        "errors": sum(o.get("output_type") == "error" for o in outputs),
        "images without alt": sum(map(images_without_alt, cells)),
    }


# --- judging -------------------------------------------------------------------------------------

def label(nb: Notebook) -> str:
    """`01_matmul`, or `solutions/01_matmul`."""
    return ("solutions/" if nb.path.parent.name == "solutions" else "") + nb.name


def bars_of(nb: Notebook) -> tuple[Bar, ...]:
    """A lesson meets all bars; the solutions and the index only have to be clean."""
    is_lesson = label(nb)[0].isdigit()
    return CLEAN + STYLE if is_lesson else CLEAN


def show(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{float(value):.{digits}f}".rstrip("0").rstrip(".") or "0"


def misses(nb: Notebook, bars: tuple[Bar, ...] | None = None) -> list[str]:
    """One line for each bar that the notebook misses: figure, value, bar, what to do, and where it helps, which."""
    found, values = [], figures(nb)
    for bar in bars_of(nb) if bars is None else bars:
        value = values[bar.figure]
        if value is not None and not bar.low <= value <= bar.high:
            which = ", ".join(culprits(nb, bar.figure))
            found.append(f"{label(nb)}: {bar.figure} is {show(value, 2)}, the bar is {bar} ({bar.advice})"
                         + (f": {which}" if which else ""))
    return found


def culprits(nb: Notebook, figure: str) -> list[str]:
    """Which names or cells make the notebook miss the bar."""
    code = [c for c in nb.code if c.tree]
    exported = [(c, n) for c in code if EXPORTS & c.directives.keys()
                for n in c.tree.body if isinstance(n, DEFS) and not n.name.startswith("_")]
    if figure == "exported names checked %":
        tests = "\n".join(c.source for c in code if count_checks(c))
        return [n.name for _, n in exported if not re.search(rf"\b{n.name}\b", tests)]
    if figure == "exported names documented %":
        return [n.name for _, n in exported if not ast.get_docstring(n)]
    if figure == "signatures whole %":
        return [name for _, n in exported for name, f in signatures([n]) if not is_whole(name, f)]
    if figure == "parameters commented %":
        return [name for c, n in exported for name in uncommented([n], c.source)]
    test = {"lines/cell max": lambda c: len(code_lines(c.source)) > 40,
            "lines over 100": lambda c: any(len(line) > 100 for line in code_lines(c.source)),
            "not plain Python": lambda c: c.tree is None,
            "charts labelled %": lambda c: c.tree and draws_chart(c) and not names_both_axes(c),
            "seed calls": lambda c: c.tree and count_seeds(c),
            "machine paths": lambda c: any(MACHINE_PATH.search(t) for o in c.outputs for t in output_texts(o)),
            "addresses": lambda c: any("at 0x" in t for o in c.outputs for t in output_texts(o)),
            "warnings": lambda c: any(o.get("name") == "stderr" for o in c.outputs),
            "errors": lambda c: any(o.get("output_type") == "error" for o in c.outputs),
            "images without alt": images_without_alt}.get(figure)
    kinds = ("code", "markdown") if figure == "images without alt" else ("code",)
    return [f"cell {c.id or i}" for i, c in enumerate(nb.cells) if c.kind in kinds and test(c)] if test else []


COLUMNS = {"KB": "KB", "words": "words", "opening words": "opening", "code lines": "lines",
           "words/code line": "words/line", "code cells": "cells", "checked cells %": "checked %",
           "exported names checked %": "names %", "lines/cell median": "median", "lines/cell p90": "p90",
           "lines/cell max": "max", "line p95": "p95", "exercises": "exercises"}


def table(notebooks: list[Notebook]) -> str:
    """The figures that vary, one line a notebook."""
    rows = [["notebook", *COLUMNS.values(), "missed"]]
    for nb in notebooks:
        values = figures(nb)
        rows.append([label(nb), *(show(values[k]) for k in COLUMNS), str(len(misses(nb)))])
    wide = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(x.rjust(w) if i else x.ljust(w) for i, (x, w) in enumerate(zip(r, wide))) for r in rows)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("notebooks", nargs="*", type=Path, help="notebook files; all of the project if none is given")
    p.add_argument("--check", action="store_true", help="exit status 1 if a bar is missed")
    a = p.parse_args()
    index = NBS / "index.ipynb"
    found = [read_notebook(f.resolve()) for f in a.notebooks] or [
        *lessons(), *solutions(), *([read_notebook(index)] if index.exists() else [])]
    print(table(found))
    for nb in found:
        for line in misses(nb, (AIM,)):
            print(f"worth a look: {line}")
    bad = [line for nb in found for line in misses(nb)]
    print("\n" + ("\n".join(f"MISSED {line}" for line in bad) if bad else "Every bar is met."))
    return bool(bad) and a.check


if __name__ == "__main__":
    sys.exit(main())
