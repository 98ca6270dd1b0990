#!/usr/bin/env python3
"""Our in-memory DataLoader against one index_select a batch, and against torch.utils.data.

    python bench/loader.py                   print the table
    python bench/loader.py --json FILE       write it, with every run, to FILE too

One shuffled epoch of 20,000 rows of 784 numbers in batches of 64, with labels, on one thread. The loaders take
turns (A B C, C B A …), and each figure is a median; ratios to the limit are taken round by round.
"""
from __future__ import annotations

import sys

import torch
from torch.utils import data as torch_data

from common import cpu_name, options, print_ratios, summarise, take_turns, verdict, write_result

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


def main() -> int:
    parser = options(__doc__, repeats=15)
    parser.add_argument("--rows", type=int, default=20_000, help="samples (default 20,000)")
    args = parser.parse_args()
    if args.repeats < 1 or args.rows < 64:
        parser.error("need at least 1 round and 64 rows")
    torch.set_num_threads(1)
    print(f"{args.rows:,} × 784, batch 64, shuffled; one thread; {args.repeats} rounds; {cpu_name()}; "
          f"torch {torch.__version__}\n")
    rows = summarise(take_turns(epochs(args.rows, 784, 64), args.repeats), "loader", "ms an epoch", 1e3)
    print_ratios(rows)
    print("\n" + verdict(rows[1]["ratio to the limit"], BAR))
    write_result(args.json, "The in-memory loader", rows=args.rows, **{"batch size": 64}, bar=BAR, results=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
