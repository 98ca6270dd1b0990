"""Pages collected from the notebooks: bibliography, measured results, list of solutions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Callable

from notebooks import Notebook

WORK = re.compile(r"(?:arxiv[:./\w]*?|doi\.org/)(\d{4}\.\d{4,5}|10\.\S+?(?=[)\s>]|$))", re.I)


def references(nb: Notebook) -> list[str]:
    """The list items below the heading *References*, one string each."""
    found, inside = [], False
    for cell in nb.prose:
        for line in cell.source.splitlines():
            if line.startswith("#"):
                inside = "References" in line
            elif inside and (m := re.match(r"(?:[-*]|\d+\.) +(.*)", line)):
                found.append(m[1].strip())
            elif inside and found and line.startswith("  ") and line.strip():
                found[-1] += " " + line.strip()
    return found


def work(text: str) -> str:
    """What two entries for the same work share: its arXiv number or DOI, else its first words."""
    bare = re.sub(r"[^a-z0-9 ]", "", text.lower())
    return m[1].lower() if (m := WORK.search(text)) else " ".join(bare.split()[:8])


def bibliography(notebooks: list[Notebook], markdown: Callable[[str], str]) -> str:
    """Every work that a notebook refers to, with the places that use it."""
    entries: dict[str, tuple[str, list[str]]] = {}
    for nb in notebooks:
        for text in references(nb):
            place = f"[{nb.title}]({nb.path.name}#references)"
            places = entries.setdefault(work(text), (text, []))[1]
            places += [place] if place not in places else []

    def author(entry: tuple[str, list[str]]) -> tuple[str, str]:
        """The first author's last name, then the rest."""
        plain = re.sub(r"\]\([^)]*\)|[^\w, ]", "", entry[0]).lower()
        return (plain.partition(",")[0].removesuffix(" et al").split() or [""])[-1], plain

    rows = [
        f"- {markdown(text)}\n\n  Used in {'; '.join(places)}\n"
        for text, places in sorted(entries.values(), key=author)
    ]
    return (
        "# Bibliography\n\nThe works that the lessons build on, collected from their *References*. "
        "Each entry names the lessons that use it.\n\n"
        + (
            "::::{container} works\n" + "\n".join(rows) + "::::"
            if rows
            else "No work is cited yet."
        )
        + "\n"
    )


def show(value: Any) -> str:
    """A value as text in a table cell."""
    text = f"{value:,.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ").replace("*", "\\*").replace("<", "\\<")


def table(rows: list[dict]) -> str:
    """Rows as a Markdown table; a column is there if any row has it."""
    columns = list(dict.fromkeys(k for r in rows for k in r if r[k] not in ("", None)))
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join(
        lines + ["| " + " | ".join(show(r.get(c, "")) for c in columns) + " |" for r in rows]
    )


def results(notebooks: list[Notebook], folder: Path) -> str:
    """What the saved runs measured: the notebooks' own stamps, then every file in `results/`."""
    rows, machines = [], []
    for nb in notebooks:
        if run := nb.metadata.get("exp_run"):
            machine = ", ".join(
                filter(
                    None,
                    [
                        run.get("cpu", ""),
                        f"{run['cores']} cores" if run.get("cores") else "",
                        f"Python {run['python']}" if run.get("python") else "",
                        f"PyTorch {run['torch']}" if run.get("torch") else "",
                    ],
                )
            )
            machines += [machine] if machine and machine not in machines else []
            rows.append(
                {
                    "lesson": "LINK" + nb.name,
                    "seconds": run.get("seconds", ""),
                    "checks": run.get("checks", ""),
                    "result": run.get("headline", ""),
                    "data": run.get("data", ""),
                    "date": run.get("date", "").replace("-", "\u2011"),
                    "machine": machines.index(machine) + 1 if machine and len(machines) > 1 else "",
                }
            )
    titles = {nb.name: f"[{nb.title}]({nb.path.name})" for nb in notebooks}
    text = (
        re.sub(r"LINK(\w+)", lambda m: titles[m[1]], table(rows))
        if rows
        else "No run is recorded yet."
    )
    where = (
        "\n".join(f"{i}. {m}" for i, m in enumerate(machines, 1))
        if len(machines) > 1
        else "".join(machines)
    )
    parts = [
        "# Measured results",
        "",
        "No number on this page is typed by hand. The outputs on the lessons' pages come "
        "from the runs below, each from top to bottom in a fresh kernel.",
        "",
        "## The lessons' own runs",
        "",
        text,
        "",
        *(
            [f"Measured on: {where}" if len(machines) == 1 else f"Machines:\n\n{where}", ""]
            if where
            else []
        ),
    ]
    for file in sorted(folder.glob("*.json")) if folder.exists() else []:
        parts += result_file(file)
    return "\n".join(parts) + "\n"


def result_file(file: Path) -> list[str]:
    """One file of measured runs: single values as a list, lists of rows as tables."""
    data = json.loads(file.read_text(encoding="utf-8"))
    data = data if isinstance(data, dict) else {"runs": data}
    parts = [f"## {show(data.pop('title', file.stem.replace('_', ' ')))}", ""]
    for key, value in data.items():
        if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            parts += ["", f"**{key}**", "", table(value), ""]
        else:
            if isinstance(value, dict):
                value = ", ".join(f"{k} {show(v)}" for k, v in value.items())
            elif isinstance(value, list):
                value = ", ".join(map(show, value))
            parts.append(f"- {key}: {show(value)}")
    return [*parts, ""]


def solutions(notebooks: list[Notebook]) -> str:
    """The page above the solutions."""
    rows = "\n".join(f"- [{nb.title}](solutions/{nb.path.name})" for nb in notebooks)
    tree = "\n".join(f"solutions/{nb.name}" for nb in notebooks)
    return (
        "# Solutions\n\nOne page a lesson: each exercise with its solution, the reason why it is "
        f"right, and a wrong answer that the check must catch. Try first.\n\n{rows}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )
