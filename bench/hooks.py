#!/usr/bin/env python3
"""What it costs to watch a network's activations: a training step with `ActivationStats` against one without.

    python bench/hooks.py                    print the table
    python bench/hooks.py --json FILE        write it, with every run, to FILE too

The CNN of lesson 06, four convolutions of 8, 16, 32 and 32 channels, in training on images of 28 × 28; one thread.
The four activation layers are watched. The variants take turns (A B C A B C …), each with a runner of its own, and
each figure is a
median of CPU seconds; ratios to the runner that watches nothing are taken round by round.
"""
from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from common import against, cpu_name

from exp.callbacks import Callback, Runner
from exp.cnn import GeneralReLU, init_cnn, simple_cnn
from exp.data_loading import DataLoader, Dataset
from exp.hooks import ActivationStats, Hooks
from exp.minibatch_training import SGD, DataLoaders

BAR = 1.10                     # times the step without hooks: the most that means, deviations, dead channels may take


def is_act(module: torch.nn.Module) -> bool:
    return isinstance(module, GeneralReLU)


class FetchEachBatch(Callback):
    """The way not to do it: Welford deviations and histograms of all numbers, fetched at each batch."""

    def before_fit(self) -> None:
        self.rows = []
        self.hooks = Hooks(filter(is_act, self.learn.model.modules()), self.hear)

    def hear(self, hook, module, inputs, output) -> None:
        x = output.detach().cpu()
        self.rows.append((x.mean().item(), x.std().item(), x.histc(40, 0, 10)))

    def cleanup_fit(self) -> None:
        self.hooks.remove()


def runners(batch_size: int, steps: int) -> dict[str, Runner]:
    """Name -> a runner that has the network, the data and what watches it."""
    g = torch.Generator().manual_seed(0)
    n = batch_size * steps
    data = Dataset(torch.randn(n, 1, 28, 28, generator=g), torch.randint(10, (n,), generator=g))
    watch = {"nothing (limit)": [], "means, deviations, dead": [ActivationStats(is_act)],
             "and histograms": [ActivationStats(is_act, bins=40)],
             "fetched at each batch": [FetchEachBatch()]}
    found = {}
    for name, cbs in watch.items():
        torch.manual_seed(0)
        model = init_cnn(simple_cnn([8, 16, 32, 32]))
        dls = DataLoaders(DataLoader(data, batch_size, shuffle=True, seed=0), None)
        found[name] = Runner(model, dls, F.cross_entropy, partial(SGD, lr=0.01), cbs)
    return found


def measure(found: dict[str, Runner], rounds: int) -> dict[str, list[float]]:
    """Name -> CPU seconds of each epoch; the runners take turns, after one warm-up each."""
    for runner in found.values():
        runner.fit(1)
    seconds = {name: [] for name in found}
    for _ in range(rounds):
        for name, runner in found.items():
            start = time.process_time()
            runner.fit(1)
            seconds[name].append(time.process_time() - start)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")
    parser.add_argument("--repeats", type=int, default=31, help="rounds (default 31)")
    parser.add_argument("--steps", type=int, default=4, help="batches in a round (default 4)")
    args = parser.parse_args()
    if args.repeats < 1 or args.steps < 1:
        parser.error("need at least 1 round and 1 step")
    torch.set_num_threads(1)
    rows = []
    for batch_size in (512, 64):
        seconds = measure(runners(batch_size, args.steps), args.repeats)
        limit = next(iter(seconds.values()))
        rows += [{"batch size": batch_size, "watched": name,
                  "ms a step": 1e3 * statistics.median(runs) / args.steps,
                  **against(runs, limit)} for name, runs in seconds.items()]
    print(f"CNN 8-16-32-32, one thread; {args.repeats} rounds of {args.steps} steps; {cpu_name()}; "
          f"torch {torch.__version__}\n")
    print(f"{'batch':>5}  {'watched':26} {'ms a step':>10} {'ratio':>7}   middle half")
    for row in rows:
        low, high = row["quartiles"]
        print(f"{row['batch size']:5}  {row['watched']:26} {row['ms a step']:10.2f} "
              f"{row['ratio to the limit']:7.3f}   {low:.3f} to {high:.3f}")
    ratio = rows[1]["ratio to the limit"]
    print(f"\nbar: at most {BAR} times the step at batch 512; measured {ratio:.3f}: "
          + ("met" if ratio <= BAR else f"missed by {ratio / BAR - 1:.1%}"))
    if args.json:
        result = {"title": "What watching activations costs", "network": "CNN 8-16-32-32", "bar": BAR,
                  "steps a round": args.steps, "threads": 1, "machine": cpu_name(),
                  "python": platform.python_version(), "torch": torch.__version__,
                  "system": sys.platform, "results": rows}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
