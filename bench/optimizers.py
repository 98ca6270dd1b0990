#!/usr/bin/env python3
"""Our optimizers' steps against torch's fused Adam, its default, and fastai's where it is installed.

    python bench/optimizers.py                    print the tables
    python bench/optimizers.py --json FILE        write them, with every run, to FILE too
    python bench/optimizers.py --only resnet18    one of the two lists of parameters

One step on given gradients, on one thread: for the 62 parameters of ResNet-18 with ten classes (11.2 million numbers),
and for the 4 of an MLP 784-50-10. Gradients stay as they are, parameters move. The optimizers take turns, to and fro;
each figure is a median of CPU seconds, and ratios to the fused Adam are taken round by round. Compiled steps have
been compiled before the clock runs; what that costs is measured apart.
"""
from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from common import against, cpu_name, options, print_ratios, summarise, take_turns, verdict, write_result

from exp.compiled_step import compile_step
from exp.large_batch import lamb
from exp.optimizers import adam, sgd

BARS = {("resnet18", "our Adam"): 3.0, ("resnet18", "our Adam, compiled"): 1.0,
        ("resnet18", "our LAMB, compiled"): 2.5, ("mlp", "our Adam"): 1.9,
        ("mlp", "our Adam, compiled"): 0.6}      # times torch's fused Adam: at most
AGAINST_DEFAULT = 1.25                           # times torch's default Adam: the most our plain one may take
STEPS = {"resnet18": 2, "mlp": 100}              # in one measurement


def resnet18() -> list[tuple[int, ...]]:
    """The shapes of its parameters: convolutions, scales and shifts of the norms, one linear layer."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            c_in = before if block == 0 else width
            shapes += [(width, c_in, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            if c_in != width:
                shapes += [(width, c_in, 1, 1), (width,), (width,)]
        before = width
    return [*shapes, (10, 512), (10,)]


LISTS = {"resnet18": resnet18(), "mlp": [(50, 784), (50,), (10, 50), (10,)]}


def parameters(shapes: list[tuple[int, ...]]) -> list[nn.Parameter]:
    """Parameters with gradients."""
    g = torch.Generator().manual_seed(0)
    params = [nn.Parameter(0.05 * torch.randn(shape, generator=g)) for shape in shapes]
    for p in params:
        p.grad = 0.01 * torch.randn(p.shape, generator=g)
    return params


def fastai_adam(params: list[nn.Parameter]):
    from fastai.optimizer import Adam
    return Adam(params, lr=1e-3)


def optimizers(shapes: list[tuple[int, ...]], steps: int) -> dict[str, Callable[[], None]]:
    """Name -> a function that makes some steps; the limit comes first."""
    made = {"torch Adam, fused (limit)": lambda p: torch.optim.Adam(p, fused=True),
            "torch Adam, default": torch.optim.Adam,
            "torch Adam, foreach": lambda p: torch.optim.Adam(p, foreach=True),
            "our Adam": adam,
            "our Adam, compiled": lambda p: compile_step(adam(p)),
            "our LAMB": lamb,
            "our LAMB, compiled": lambda p: compile_step(lamb(p)),
            "torch SGD, momentum, fused": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, fused=True),
            "torch SGD, momentum, default": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9),
            "our SGD, momentum": lambda p: sgd(p, 0.01, momentum=0.9),
            "our SGD, momentum, compiled": lambda p: compile_step(sgd(p, 0.01, momentum=0.9))}
    if importlib.util.find_spec("fastai"):
        made["fastai Adam"] = fastai_adam
    return {name: several(make(parameters(shapes)).step, steps) for name, make in made.items()}


def several(step: Callable, n: int) -> Callable[[], None]:
    """A function that makes `n` steps; the first ones, which compile, are made here."""
    def run() -> None:
        for _ in range(n):
            step()
    for _ in range(3):
        step()
    return run


def compile_seconds() -> float:
    """What the first compiled step of Adam takes, with nothing in the cache."""
    from exp import compiled_step
    compiled_step._compile.cache_clear()
    step = compile_step(adam(parameters(LISTS["mlp"]))).step
    step()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> int:
    parser = options(__doc__, repeats=30)
    parser.add_argument("--only", choices=LISTS, help="one of the two lists of parameters")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("need at least 1 round")
    torch.set_num_threads(1)
    compiling, found = compile_seconds(), []
    print(f"{cpu_name()}; torch {torch.__version__}; one thread; {args.repeats} rounds; "
          f"compiling took {compiling:.2f} s")
    for name, shapes in LISTS.items():
        if args.only in (None, name):
            seconds = take_turns(optimizers(shapes, STEPS[name]), args.repeats, time.process_time)
            rows = summarise(seconds, "optimizer", "us a step", 1e6 / STEPS[name])
            print(f"\n{name}: {len(shapes)} parameters, {sum(torch.Size(s).numel() for s in shapes):,} numbers")
            print_ratios(rows)
            for row in rows:
                row["bar"] = BARS.get((name, row["optimizer"]))
                if row["bar"]:
                    print(f"{row['optimizer']}: " + verdict(row["ratio to the limit"], row["bar"], "torch's fused Adam"))
            default = against(seconds["our Adam"], seconds["torch Adam, default"])["ratio to the limit"]
            print("our Adam: " + verdict(default, AGAINST_DEFAULT, "torch's default Adam"))
            found += [{"list": name, "to the default": default if row["optimizer"] == "our Adam" else None, **row}
                      for row in rows]
    write_result(args.json, "What a step of an optimizer costs", rounds=args.repeats, results=found,
                 **{"seconds to compile": compiling, "bar against the default": AGAINST_DEFAULT,
                    "not installed": [] if importlib.util.find_spec("fastai") else ["fastai"]})
    return 0


if __name__ == "__main__":
    sys.exit(main())
