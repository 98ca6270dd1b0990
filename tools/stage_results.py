"""Measured results: what each lesson's saved run found, and every file in results/, by one renderer for all of them.

A file is a dictionary: title and machine, settings, and rows. Rows become tables; single values become name and value;
a value and its `… std` become `0.485 ± 0.008`; long lists of numbers become their range; long texts are cut.
"""

from __future__ import annotations

import ast
import json
import math
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from notebooks import Notebook
from run import headline
from settings import ROOT
from stage_pages import show, table

ELSEWHERE = {"bench.json"}  # has a page of its own
HEAD = ("title", "what", "machine", "threads", "python", "torch", "system", "date", "commit")
PLAIN = {"results", "rows"}  # rows that need no heading
RUNS = "runs"  # single runs of a row: they are counted here, and stand in the file
LONG = 160  # letters of a text that are shown
SHORT = 4  # numbers of a list that are shown one by one


# --- values ---------------------------------------------------------------------------------------


def is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def with_spread(value: float, std: float) -> str:
    """`0.4854 ± 0.0079`: two digits of the spread, and as many decimals of the value."""
    digits = max(0, 1 - math.floor(math.log10(std))) if std > 0 else 3
    return f"{value:,.{digits}f} ± {std:,.{digits}f}" if std else f"{show(float(value))} ± 0"


def text(value: Any) -> str:
    """A value in a few words."""
    if value is None or value == []:
        return "none"
    if is_rows(value):
        return str(len(value))
    if isinstance(value, dict):
        return "; ".join(f"{label(k)} {text(v)}" for k, v in value.items())
    if isinstance(value, list):
        if len(value) > SHORT and all(map(is_number, value)):
            return f"{show(min(value))} to {show(max(value))} ({len(value)})"
        return ", ".join(map(text, value))
    if isinstance(value, str) and len(value) > LONG:
        value = value[:LONG].rsplit(" ", 1)[0] + " …"
    return show(value)


def label(key: str) -> str:
    """A key in words."""
    return show(str(key).replace("_", " "))


def cells(row: dict) -> dict[str, str]:
    """A row as column and text; a deviation goes to the value that it belongs to."""
    found, last = {}, ""
    for key, value in row.items():
        of = last if key == "std" else re.sub(r"[ _]std$", "", key)
        if of != key and is_number(row.get(of)) and is_number(value):
            found[label(of)] = with_spread(row[of], value)
        elif value is not None:
            found[label(key)] = text(value)
            last = key
    return found


def render(data: dict, level: int) -> list[str]:
    """Settings as name and value, rows as tables, dictionaries under headings of their own."""
    single = {k: v for k, v in data.items() if not is_rows(v) and not isinstance(v, dict)}
    facts = [f"- **{label(k)}** {text(v)}" for k, v in single.items()]
    parts = ["::::{container} facts", *facts, "::::", ""] if facts else []
    for key, value in data.items():
        heading = [] if key in PLAIN else [f"{'#' * level} {label(key).capitalize()}", ""]
        if isinstance(value, dict):
            parts += heading + render(value, level + 1)
        elif is_rows(value) and any(is_rows(v) for r in value for k, v in r.items() if k != RUNS):
            for row in value:  # each row holds rows
                name = next((k for k, v in row.items() if isinstance(v, str)), "")
                rest = {k: v for k, v in row.items() if k != name}
                inner = [*(k for k in rest if is_rows(rest[k]))]
                rest = {"rows" if [k] == inner else k: v for k, v in rest.items()}
                parts += [f"{'#' * level} {text(row.get(name, key)).capitalize()}", "", *render(rest, level + 1)]
        elif is_rows(value):
            parts += [*heading, table([cells(r) for r in value], str), ""]
    return parts


# --- where a file comes from, and who reads it ------------------------------------------------------


def patterns(nb: Notebook) -> set[str]:
    """Names of JSON files in cells that speak of `results`; `*` stands for what is filled in."""
    found = set()
    for cell in nb.code:
        spoken = "results" in cell.source and ".json" in cell.source
        nodes = list(ast.walk(cell.tree)) if spoken and cell.tree else []
        inside = {id(v) for n in nodes if isinstance(n, ast.JoinedStr) for v in n.values}
        for node in nodes:
            if isinstance(node, ast.JoinedStr):
                words = (v.value if isinstance(v, ast.Constant) else "*" for v in node.values)
                found.add("".join(words))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                found.add(node.value)
    names = {f.rsplit("/", 1)[-1] for f in found if f.endswith(".json") and "\n" not in f}
    return {n for n in names if n[:1].isalpha()}


def readers(file: str, pages: list[Notebook]) -> list[Notebook]:
    """The lessons that read a file of results."""
    return [nb for nb in pages if any(fnmatch(file, p) for p in patterns(nb))]


def command(file: str, bench: Path) -> str:
    """The command line in a benchmark's docstring that makes the file; empty if there is no such benchmark."""
    stem = Path(file).stem
    owners = [f for f in bench.glob("*.py") if stem == f.stem or stem.startswith(f.stem + "_")]
    if not owners:
        return ""
    script = max(owners, key=lambda f: len(f.stem))
    doc = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    lines = [re.split(r" {2,}", line.strip())[0] for line in doc.splitlines() if line.strip().startswith("python bench/")]
    variant = stem[len(script.stem) + 1 :]
    named = [line for line in lines if file in line]
    special = [line for line in lines if variant and re.search(rf"\b{re.escape(variant)}\b", line)]
    general = [line for line in lines if "--json FILE" in line]
    chosen = next(iter(named or special or general), "")
    if chosen and "--json" not in chosen:
        chosen += " --json FILE"
    return chosen.replace("--json FILE", f"--json results/{file}")


def machine(data: dict) -> str:
    """Where and when, in one line; what the file does not say is said to be missing."""
    threads = data.get("threads")
    where = [
        str(data.get("machine", "machine not noted")),
        f"{threads} thread{'' if threads == 1 else 's'}" if threads else "threads not noted",
        f"PyTorch {data['torch']}" if "torch" in data else "PyTorch not noted",
        f"Python {data['python']}" if "python" in data else "",
        str(data.get("system", "")),
        str(data.get("date", "date not noted")).replace("-", "\u2011"),
        f"commit {data['commit']}" if "commit" in data else "commit not noted",
    ]
    return show(", ".join(filter(None, where)))


def load(file: Path) -> dict:
    data = json.loads(file.read_text(encoding="utf-8"))
    return data if isinstance(data, dict) else {"rows": data}


def title(data: dict, file: Path) -> str:
    found = str(data.get("title") or data.get("what") or file.stem.replace("_", " "))
    return found[:1].upper() + found[1:]


def result_file(file: Path, pages: list[Notebook], bench: Path, heading: str) -> list[str]:
    """One file: what, where, who reads it, how it is made, and its numbers."""
    data = load(file)
    links = [f"[{nb.number} {nb.title.split(':')[0]}]({nb.path.name})" for nb in readers(file.name, pages)]
    how = command(file.name, bench)
    return [
        f"## {heading}",
        "",
        f"{machine(data)}. {'Read by ' + ', '.join(links) if links else 'No lesson reads it'}. "
        f"Every run: {{download}}`{file.name} <results/{file.name}>`.",
        "",
        *([f"```sh\n{how}\n```", ""] if how else ["How it was made is not noted.", ""]),
        *render({k: v for k, v in data.items() if k not in HEAD}, 3),
    ]


def lesson_runs(pages: list[Notebook]) -> list[str]:
    """What the cell marked `#| headline` says in each lesson, and the machines that it was said on."""
    rows, machines = [], []
    for nb in pages:
        if run := nb.metadata.get("exp_run"):
            words = [run.get("cpu"), f"{run.get('cores')} cores", f"Python {run.get('python')}"]
            words += [f"PyTorch {run.get('torch')}", f"{run.get('data')} data"]
            where = ", ".join(w for w in words if w and "None" not in w)
            machines += [where] if where not in machines else []
            rows.append(
                {
                    "lesson": f"[{nb.number} {nb.title.split(':')[0]}]({nb.path.name})",
                    "result": show(headline(nb)),
                    "seconds": show(round(run["seconds"])) if "seconds" in run else "",
                    "date": str(run.get("date", "")).replace("-", "\u2011"),
                    "machine": str(machines.index(where) + 1),
                }
            )
    if len(machines) < 2:
        rows = [{k: v for k, v in row.items() if k != "machine"} for row in rows]
    where = [f"{i}. {m}" for i, m in enumerate(machines, 1)] if len(machines) > 1 else machines
    return [table(rows, str), "", "\n".join(["Measured on:", "", *where]), ""] if rows else ["No run is recorded yet."]


def files(folder: Path) -> list[Path]:
    """The files of results that the page shows."""
    return [f for f in sorted(folder.glob("*.json")) if f.name not in ELSEWHERE]


def results(pages: list[Notebook], folder: Path, bench: Path = ROOT / "bench") -> str:
    """The page: the lessons' own runs, then every file of results."""
    found = [(f, title(load(f), f)) for f in files(folder)] if folder.exists() else []
    titles = [t for _, t in found]
    parts = [
        "# Measured results",
        "",
        "No number on this page is typed by hand. The lessons' results are the saved outputs of their pages, each from "
        "one run from top to bottom in a fresh kernel. Below them stand the longer runs of the benchmarks.",
        "",
        "## The lessons' own runs",
        "",
        *lesson_runs(pages),
    ]
    for file, name in found:
        twin = f" ({show(file.stem)})" if titles.count(name) > 1 else ""
        parts += result_file(file, pages, bench, show(name) + twin)
    return "\n".join(parts) + "\n"
