#!/usr/bin/env python3
"""Our in-memory DataLoader against one index_select a batch, and against torch.utils.data.

    python bench/loader.py                   print the table
    python bench/loader.py --json FILE       write it, with every run, to FILE too

One shuffled epoch of 20,000 rows of 784 numbers in batches of 64, with labels, on one thread. The loaders take
turns (A B C A B C …), and each figure is a median; ratios to the limit are taken round by round.
"""
from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from torch.utils import data as torch_data

from common import against, cpu_name

from exp.data_loading import DataLoader, Dataset

BAR = 1.2                      # times the limit: the most that our loader may take


def epochs(n: int, d: int, batch_size: int) -> dict:
    """Name -> a function that goes through one shuffled epoch."""
    g = torch.Generator().manual_seed(0)
    ours = Dataset(torch.rand(n, d, generator=g), torch.randint(10, (n,), generator=g))
    theirs = torch_data.TensorDataset(*ours.tensors)
    x, y = ours.tensors

    def limit():
        for i in torch.randperm(n).split(batch_size):
            x.index_select(0, i), y.index_select(0, i)

    def through(loader):
        def epoch():
            for _ in loader:
                pass
        return epoch

    return {"one index_select a batch (limit)": limit,
            "exp.data_loading": through(DataLoader(ours, batch_size, shuffle=True)),
            "exp.data_loading, one by one": through(
                DataLoader(list(ours), batch_size, shuffle=True)),
            "torch.utils.data": through(torch_data.DataLoader(theirs, batch_size, shuffle=True))}


def measure(calls: dict, repeats: int) -> dict[str, list[float]]:
    """Name -> seconds of each run; the calls take turns, after one warm-up each."""
    for call in calls.values():
        call()
    seconds = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def summarise(seconds: dict[str, list[float]]) -> list[dict]:
    """A row a loader: median milliseconds, ratio to the limit of the same round, its spread."""
    limit = next(iter(seconds.values()))
    rows = []
    for name, runs in seconds.items():
        rows.append({"loader": name, "ms an epoch": 1e3 * statistics.median(runs),
                     **against(runs, limit)})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    parser.add_argument("--repeats", type=int, default=15, help="rounds (default 15)")
    parser.add_argument("--rows", type=int, default=20_000, help="samples (default 20,000)")
    args = parser.parse_args()
    if args.repeats < 1 or args.rows < 64:
        parser.error("need at least 1 round and 64 rows")
    torch.set_num_threads(1)
    rows = summarise(measure(epochs(args.rows, 784, 64), args.repeats))
    print(f"{args.rows:,} × 784, batch 64, shuffled; one thread; {args.repeats} rounds; {cpu_name()}; "
          f"torch {torch.__version__}\n")
    print(f"{'loader':34} {'ms an epoch':>12} {'ratio':>7}   middle half")
    for row in rows:
        low, high = row["quartiles"]
        print(f"{row['loader']:34} {row['ms an epoch']:12.1f} {row['ratio to the limit']:7.2f}"
              f"   {low:.2f} to {high:.2f}")
    ratio = rows[1]["ratio to the limit"]
    print(f"\nbar: at most {BAR} times the limit; measured {ratio:.2f}: "
          + ("met" if ratio <= BAR else f"missed by {ratio / BAR - 1:.0%}"))
    if args.json:
        result = {"what": "in-memory loader", "rows": args.rows, "batch_size": 64, "threads": 1,
                  "bar": BAR, "machine": cpu_name(), "python": platform.python_version(),
                  "torch": torch.__version__, "system": sys.platform, "results": rows}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
