"""What the generated pages share: values and tables as Markdown; and the list of solutions."""

from __future__ import annotations

import re
from typing import Any, Callable

from notebooks import Notebook


def show(value: Any) -> str:
    """A value as text: four digits of a number, and no sign of Markdown that it does not mean."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return re.sub(r"([|*<$\[\]])", r"\\\1", str(value).replace("\n", " "))


def table(rows: list[dict], cell: Callable[[Any], str] = show) -> str:
    """Rows as a Markdown table; a column is there if any row has it.

    Each cell holds its column's name too. The style sheet shows it on a phone, where a row is a block of lines.
    """
    named = dict.fromkeys(k for r in rows for k in r)
    columns = [c for c in named if any(r.get(c) not in ("", None) for r in rows)]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        texts = {c: cell(row[c]) for c in columns if row.get(c) not in ("", None)}
        full = (f"[{c}]{{.column}} {texts[c]}" if c in texts else "" for c in columns)
        lines.append("| " + " | ".join(full) + " |")
    return "\n".join(["::::{container} stacked", *lines, "::::"])


def solutions(notebooks: list[Notebook]) -> str:
    """The page above the solutions."""
    rows = "\n".join(f"- [{nb.title}](solutions/{nb.path.name})" for nb in notebooks)
    tree = "\n".join(f"solutions/{nb.name}" for nb in notebooks)
    return (
        "# Solutions\n\nOne page a lesson: each exercise with its solution, the reason why it is "
        f"right, and a wrong answer that the check must catch. Try first.\n\n{rows}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )
