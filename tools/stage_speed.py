"""The page on speed: every bar with its limit, what was reached, the peers, and where it was measured."""

from __future__ import annotations

from typing import Any

from stage_pages import table

ABOUT = """# Speed

Each row is a bar that the project set itself, as a ratio to a limit measured in the same run, in turns; so it holds for machines
of other speeds too, as far as ratios do. For most rows less is better: a ratio of 1.05 takes 5 % more time than the limit. Rows with
"at least" are speeds. In brackets: the middle half of the rounds, or the slowest and the fastest. `make bench` runs them all.

The overhead of a training loop matters for small models only. PyTorch's own defaults are not its fastest code, so both are
given. The compiled steps need a C compiler, and a second or so when they are first used.
"""


def number(x: float) -> str:
    """Three digits that count, and no more than two behind the point."""
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def reached(row: dict[str, Any]) -> str:
    """Our number with its spread, and a word on it."""
    if row["ours"] is None:
        return "not measured"
    spread = f" ({' to '.join(number(x) for x in row['spread'])})" if row["spread"] else ""
    return f"**{number(row['ours'])}**{spread}" + ("" if row["met"] else ", not met")


def where(row: dict[str, Any]) -> str:
    """Machine, threads, PyTorch, date; the same for most rows."""
    return f"{row['machine']}, {row['threads']} threads, {row['system']}, Python {row['python']}, torch {row['torch']}, {row['date']}"


def speed_page(rows: list[dict[str, Any]], lessons: set[str]) -> str:
    """The page, from the rows of results/bench.json; `lessons`: names of the pages that there are."""
    lines: list[dict[str, str]] = []
    notes = []
    for row in rows:
        work = f"[{row['work']}]({row['lesson']}.ipynb)" if row["lesson"] in lessons else row["work"]
        bar = f"{'at least' if row['at least'] else 'at most'} {row['bar']:g}"
        peers = "<br>".join(f"{name} {number(x)}" for name, x in row.get("peers", {}).items())
        lines.append({"work": work, "1.00 is": row["limit"], "bar": bar, "ours": reached(row), "others": peers})
        if row["ours"] is not None and not row["met"] and row["why"]:
            notes.append(f"- **{row['work']}** ({row['limit']}). {row['why']}")
    found: dict[str, list[str]] = {}
    for row in rows:
        if row["ours"] is not None:
            found.setdefault(where(row), []).append(f"`{row['command']}`")
    places = [f"- {place}: {', '.join(dict.fromkeys(commands))}" for place, commands in found.items()]
    missed = ["## Not met", "", *notes, ""] if notes else []
    return "\n".join([ABOUT, table(lines, str), "", *missed, "## Where it was measured", "", *places, "",
                      "Not measured on a GPU. Frameworks that were not installed where a row was measured are not in it.", ""])
