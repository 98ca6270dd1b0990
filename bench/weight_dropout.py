#!/usr/bin/env python3
"""Lesson 12a: what weight dropout costs, a forward and a backward pass of one LSTM against the same without it.

    python bench/weight_dropout.py                 print the table
    python bench/weight_dropout.py --json FILE     write it, with every run, to FILE too

The sizes of the course: 64 rows of 70 words, 400 -> 1150 features. The contestants take turns, and each row of the table is a
ratio within the same rounds. All use `nn.LSTM` and the CPU.

    nn.LSTM            the limit: nothing is dropped
    ours               `WeightDropout`: the weights from state to state, dropped anew at each call
    ours, p = 0        the wrapper alone
    overwritten        what the predecessors did: the dropped weight in the place of the parameter
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from common import options, print_ratios, summarise, take_turns, verdict, write_result

from exp.awd_lstm import WeightDropout

BAR = 1.05


class Overwritten(nn.Module):
    """Put the dropped weight where the parameter was; the whole one has another name."""

    def __init__(self, module: nn.LSTM, p: float):
        super().__init__()
        self.module, self.p = module, p
        self.raw = nn.Parameter(module.weight_hh_l0.detach().clone())

    def forward(self, x):
        del self.module._parameters["weight_hh_l0"]
        self.module._parameters["weight_hh_l0"] = F.dropout(self.raw, self.p, self.training)
        return self.module(x)


def main() -> None:
    parser = options(__doc__, repeats=15)
    parser.add_argument("--sizes", type=int, nargs=4, default=[64, 70, 400, 1150], metavar=("N", "T", "IN", "HID"))
    args = parser.parse_args()
    rows, words, size, hidden = args.sizes
    torch.manual_seed(0)
    x = torch.randn(rows, words, size)
    def lstm():
        return nn.LSTM(size, hidden, batch_first=True)
    models = {"nn.LSTM": lstm(), "ours": WeightDropout(lstm(), 0.5), "ours, p = 0": WeightDropout(lstm(), 0.0),
              "overwritten": Overwritten(lstm(), 0.5)}

    def both_passes(model):
        def call():
            for p in model.parameters():
                p = p if p.is_leaf else p.detach()      # the overwritten one is no leaf
                p.grad = None
            model(x)[0].sum().backward()
        return call

    seconds = take_turns({name: both_passes(model) for name, model in models.items()}, args.repeats)
    rows_ = summarise(seconds, "way", "ms", 1000)
    print(f"forward + backward, {rows} x {words}, {size} -> {hidden}, {torch.get_num_threads()} threads")
    print_ratios(rows_)
    print(verdict(rows_[1]["ratio to the limit"], BAR, "plain nn.LSTM"))
    write_result(args.json, "Weight dropout: forward and backward of one LSTM", sizes=args.sizes, bar=BAR,
                 rounds=args.repeats, rows=rows_)


if __name__ == "__main__":
    main()
