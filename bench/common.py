"""What the benchmarks share: options, runs in turns, ratios to a limit of the same rounds, and the file of results."""
from __future__ import annotations

import argparse
import datetime
import json
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from exp.data_loading import Dataset
from exp.items import get_files

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from run import cpu_name

__all__ = ["against", "class_folders", "cpu_name", "machine", "options", "photo_set", "print_ratios",
           "summarise", "take_turns", "verdict", "write_result"]


def options(doc: str, repeats: int | None = None) -> argparse.ArgumentParser:
    """A parser with `--json FILE`, and with `--repeats` if the benchmark has rounds."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    if repeats:
        parser.add_argument("--repeats", type=int, default=repeats, help=f"rounds (default {repeats})")
    return parser


def take_turns(
    calls: dict[str, Callable], rounds: int, clock: Callable[[], float] = time.perf_counter, twice: bool = False
) -> dict[str, list[float]]:
    """Name -> seconds of each run, after one warm-up each; to and fro, so that no one always comes first.

    With `twice` a call runs two times in a row and the second counts: what ran just before it is then always the same.
    """
    for call in calls.values():
        call()
    seconds = {name: [] for name in calls}
    for i in range(rounds):
        for name in list(calls)[::1 if i % 2 else -1]:
            if twice:
                calls[name]()
            start = clock()
            calls[name]()
            seconds[name].append(clock() - start)
    return seconds


def against(runs: list[float], limit: list[float]) -> dict:
    """The median ratio to the limit, round by round, with its middle half and every run in seconds."""
    ratios = sorted(run / base for run, base in zip(runs, limit))
    quartiles = [ratios[int(q * (len(ratios) - 1))] for q in (0.25, 0.75)]
    return {"ratio to the limit": statistics.median(ratios), "quartiles": quartiles, "seconds": runs}


def summarise(seconds: dict[str, list[float]], what: str, unit: str, scale: float) -> list[dict]:
    """A row a name: the median in `unit` (`scale` of it make a second), the ratio to the first, its spread."""
    limit = next(iter(seconds.values()))
    return [{what: name, unit: scale * statistics.median(runs), **against(runs, limit)}
            for name, runs in seconds.items()]


def print_ratios(rows: list[dict]) -> None:
    """The rows of `summarise` as a table."""
    what, unit = list(rows[0])[:2]
    width = max(len(row[what]) for row in rows)
    print(f"{what:{width}} {unit:>12} {'ratio':>7}   middle half")
    for row in rows:
        low, high = row["quartiles"]
        print(f"{row[what]:{width}} {row[unit]:12.2f} {row['ratio to the limit']:7.3f}   {low:.3f} to {high:.3f}")


def verdict(ratio: float, bar: float, what: str = "the limit") -> str:
    """One line: the bar, what was measured, and by how much it was missed."""
    return (f"bar: at most {bar} times {what}; measured {ratio:.3f}: "
            + ("met" if ratio <= bar else f"missed by {ratio / bar - 1:.1%}"))


def class_folders(path: Path) -> list[Path]:
    """The folders of the classes, in the order of their labels."""
    return sorted(folder for folder in path.iterdir() if folder.is_dir())


def photo_set(folders: list[Path], per_class: int | None, load: Callable[[Path], torch.Tensor]) -> Dataset:
    """Photos of each folder as `load` makes them, the same ones each time; None: all."""
    xs, ys = [], []
    for label, folder in enumerate(folders):
        files = get_files(folder)
        random.Random(42).shuffle(files)
        xs += [load(file) for file in files[:per_class]]
        ys += [label] * len(files[:per_class])
    return Dataset(torch.stack(xs), torch.tensor(ys))


def machine() -> dict:
    """What a result must say of where it was measured."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent,
                            capture_output=True, text=True).stdout.strip()
    return {"machine": cpu_name(), "threads": torch.get_num_threads(), "python": platform.python_version(),
            "torch": torch.__version__, "system": sys.platform, "commit": commit,
            "date": str(datetime.date.today())}


def write_result(path: Path | None, title: str, /, **result) -> None:
    """Write a result with its title and the machine; nothing if there is no path."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"title": title, **machine(), **result}, indent=1, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
