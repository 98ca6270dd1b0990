#!/usr/bin/env python3
"""Our LSTM layers, readable and written by hand, against torch.nn.LSTM, and what weight dropout adds to it.

    python bench/lstm.py                    print the table
    python bench/lstm.py --json FILE        write it, with every run, to FILE too
    python bench/lstm.py --repeats 2 --rows 4 --steps 5 --features 8 16      a quick try

Forward and backward of one layer, with gradients for inputs and weights: 64 rows, 70 steps, 400 features in and 1,150
in the state, on one thread. The layers take turns, to and fro; each figure is a median of CPU seconds, and ratios to
nn.LSTM are taken round by round. `torch.compile` compiles the step of the readable layer, before the clock runs; it is
left out where there is no compiler, as is weight dropout where the package has none.
"""
from __future__ import annotations

import importlib
import importlib.util
import shutil
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from common import cpu_name, options, print_ratios, summarise, take_turns, verdict, write_result

from exp.fast_lstm import FastLSTM
from exp.recurrent import LSTM

BARS = {"by hand": 2.0, "nn.LSTM in WeightDropout": 1.05}      # times nn.LSTM: at most


def compiled(d: int, h: int) -> nn.Module:
    """The readable layer, whose step is compiled."""
    layer = LSTM(d, h)
    layer._step = torch.compile(LSTM._step)
    return layer


def layers(d: int, h: int) -> tuple[dict[str, nn.Module], list[str]]:
    """Name -> layer, with equal weights, the limit first; and what is left out here."""
    torch.manual_seed(0)
    found, missing = {"nn.LSTM (limit)": nn.LSTM(d, h), "by hand": FastLSTM(d, h), "readable": LSTM(d, h)}, []
    if shutil.which("g++") or shutil.which("clang++"):
        found["readable, step compiled"] = compiled(d, h)
    else:
        missing.append("torch.compile: no C++ compiler")
    for layer in found.values():
        layer.load_state_dict(found["nn.LSTM (limit)"].state_dict())
    if importlib.util.find_spec("exp.awd_lstm"):
        dropout = importlib.import_module("exp.awd_lstm").WeightDropout
        found["nn.LSTM in WeightDropout"] = dropout(nn.LSTM(d, h), 0.5)
    else:
        missing.append("WeightDropout: no exp.awd_lstm")
    return found, missing


def both_passes(layer: nn.Module, x: Tensor, up: Tensor) -> Callable[[], None]:
    """A function that goes forward and backward once."""
    wanted = [x, *layer.parameters()]

    def run() -> None:
        torch.autograd.grad(layer(x)[0], wanted, up)
    return run


def main() -> int:
    parser = options(__doc__, repeats=9)
    parser.add_argument("--rows", type=int, default=64, help="sequences in a batch (default 64)")
    parser.add_argument("--steps", type=int, default=70, help="length of a sequence (default 70)")
    parser.add_argument("--features", type=int, nargs=2, default=[400, 1150], metavar=("IN", "STATE"),
                        help="features of input and state (default 400 1150)")
    args = parser.parse_args()
    if args.repeats < 1 or min(args.rows, args.steps, *args.features) < 1:
        parser.error("need at least 1 round, row, step and feature")
    torch.set_num_threads(1)
    d, h = args.features
    print(f"LSTM, {args.rows}×{args.steps}, {d}→{h}, forward and backward, one thread; {args.repeats} rounds; "
          f"{cpu_name()}; torch {torch.__version__}")
    found, missing = layers(d, h)
    x, up = torch.randn(args.steps, args.rows, d, requires_grad=True), torch.randn(args.steps, args.rows, h)
    calls = {name: both_passes(layer, x, up) for name, layer in found.items()}
    rows = summarise(take_turns(calls, args.repeats, time.process_time), "layer", "ms", 1e3)
    print_ratios(rows)
    for row in rows:
        row["bar"] = BARS.get(row["layer"])
        if row["bar"]:
            print(f"{row['layer']}: " + verdict(row["ratio to the limit"], row["bar"], "nn.LSTM"))
    for reason in missing:
        print(f"left out: {reason}")
    write_result(args.json, "What an LSTM layer costs, forward and backward", rounds=args.repeats, rows=args.rows,
                 steps=args.steps, features=args.features, results=rows, **{"left out": missing})
    return 0


if __name__ == "__main__":
    sys.exit(main())
