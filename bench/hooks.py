#!/usr/bin/env python3
"""What it costs to watch a network's activations: a training step with `ActivationStats` against one without.

    python bench/hooks.py                    print the table
    python bench/hooks.py --json FILE        write it, with every run, to FILE too

The CNN of lesson 06, four convolutions of 8, 16, 32 and 32 channels, in training on images of 28 × 28; one thread.
The four activation layers are watched. The variants take turns (A B C, C B A …), each with a runner of its own, and
each figure is a median of CPU seconds; ratios to the runner that watches nothing are taken round by round.
"""
from __future__ import annotations

import sys
import time
from functools import partial

import torch
import torch.nn.functional as F

from common import cpu_name, options, print_ratios, summarise, take_turns, verdict, write_result

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


def main() -> int:
    parser = options(__doc__, repeats=31)
    parser.add_argument("--steps", type=int, default=4, help="batches in a round (default 4)")
    args = parser.parse_args()
    if args.repeats < 1 or args.steps < 1:
        parser.error("need at least 1 round and 1 step")
    torch.set_num_threads(1)
    print(f"CNN 8-16-32-32, one thread; {args.repeats} rounds of {args.steps} steps; {cpu_name()}; "
          f"torch {torch.__version__}")
    found = []
    for batch_size in (512, 64):
        calls = {name: partial(run.fit, 1) for name, run in runners(batch_size, args.steps).items()}
        seconds = take_turns(calls, args.repeats, time.process_time)
        rows = summarise(seconds, "watched", "ms a step", 1e3 / args.steps)
        print(f"\nbatch {batch_size}")
        print_ratios(rows)
        found += [{"batch size": batch_size, **row} for row in rows]
    print("\nbatch 512: " + verdict(found[1]["ratio to the limit"], BAR, "the step without hooks"))
    write_result(args.json, "What watching activations costs", network="CNN 8-16-32-32", bar=BAR,
                 **{"steps a round": args.steps}, results=found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
