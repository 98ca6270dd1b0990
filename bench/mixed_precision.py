#!/usr/bin/env python3
"""Lesson 10c: what a training step costs in 16 bits, with and without `channels_last`, against 32 bits.

    python bench/mixed_precision.py                 print the tables
    python bench/mixed_precision.py --json FILE     write them, with every run, to FILE too

Two networks: a residual one of 3×3 convolutions with batch norm on images of 128 pixels (`--side`, `--batch`), and a small
one of three linear layers. Random inputs, SGD with momentum, through a fit of a `Learner`, so that the callback's own cost
is in it; the limit is the same fit in float32. With `channels_last` the model is turned as well, once, before. Each way is
measured in turns with all the others; the first fit of each only warms up. float16 is measured on a GPU alone, where the
clock waits for the device. The bars are those of the course: at most 0.50 of float32 for the residual network, at most 1.05
for the small one. Without instructions for 16-bit numbers a processor cannot reach the former; the file says which it has.
"""
from __future__ import annotations

import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from common import cpu_name, options, print_ratios, summarise, take_turns, verdict, write_result

from exp.cnn import Lambda, conv_layer, default_device
from exp.learner import Learner
from exp.minibatch_training import DataLoaders
from exp.mixed_precision import MixedPrecision
from exp.optimizers import sgd

BARS = {"residual": 0.50, "small": 1.05}


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.convs = nn.Sequential(conv_layer(c_in, c_out, 3, stride, nn.ReLU, nn.BatchNorm2d),
                                   conv_layer(c_out, c_out, 3, 1, None, nn.BatchNorm2d))
        straight = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if straight else conv_layer(c_in, c_out, 1, stride, None, nn.BatchNorm2d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.convs(x) + self.shortcut(x))


def residual() -> nn.Module:
    """Like a ResNet-18, with one block a stage."""
    stem = [conv_layer(3, 64, 7, 2, nn.ReLU, nn.BatchNorm2d), nn.MaxPool2d(3, 2, 1)]
    blocks = [Block(i, o, 1 if i == o else 2) for i, o in [(64, 64), (64, 128), (128, 256), (256, 512)]]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), Lambda(partial(torch.flatten, start_dim=1)),
                         nn.Linear(512, 10))


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))


class ChannelsLast(MixedPrecision):
    """The order of the channels alone, in 32 bits."""

    def _call(self, model: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return model(x.contiguous(memory_format=torch.channels_last))


def ways(device: torch.device, images: bool) -> dict[str, list]:
    """Name -> the callbacks of a fit."""
    bf16 = partial(MixedPrecision, torch.bfloat16)
    found = {"float32": [], "bfloat16": [bf16()]}
    if device.type == "cuda":
        found["float16"] = [MixedPrecision()]
    if images:
        found["float32, channels_last"] = [ChannelsLast(torch.bfloat16)]
        found["bfloat16, channels_last"] = [bf16(channels_last=True)]
        if device.type == "cuda":
            found["float16, channels_last"] = [MixedPrecision(channels_last=True)]
    return found


def make_fit(model_func, x: torch.Tensor, cbs: list, steps: int, device: torch.device, last: bool):
    """A function that trains for so many steps; with the weights' channels last too, or not."""
    torch.manual_seed(0)
    model = model_func().to(memory_format=torch.channels_last if last else torch.preserve_format)
    batch = (x.to(device), torch.randint(10, (len(x),), device=device))
    learn = Learner(model, DataLoaders([batch] * steps, None), F.cross_entropy,
                    partial(sgd, momentum=0.9), 1e-3, cbs=cbs, device=device)

    def fit() -> None:
        learn.fit(1)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return fit


def measure(name: str, model_func, x: torch.Tensor, steps: int, rounds: int, device: torch.device) -> dict:
    """One network: every way in turns."""
    calls = {way: make_fit(model_func, x, cbs, steps, device, "channels_last" in way)
             for way, cbs in ways(device, x.ndim == 4).items()}
    seconds = {way: [t / steps for t in runs] for way, runs in take_turns(calls, rounds).items()}
    rows = summarise(seconds, "step", "ms", 1e3)
    print(f"\n{name}: batch {tuple(x.shape)}, {steps} steps a fit, on {device}")
    print_ratios(rows)
    best = "bfloat16, channels_last" if x.ndim == 4 else "bfloat16"
    ratio = next(row["ratio to the limit"] for row in rows if row["step"] == best)
    print(text := f"{name}, {best}: {verdict(ratio, BARS[name], 'float32')}")
    return {"network": name, "batch": list(x.shape), "device": str(device), "steps a fit": steps, "steps": rows,
            "bar": BARS[name], "verdict": text}


def main() -> int:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--side", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument("--batch", type=int, default=16, help="images a batch (default 16)")
    parser.add_argument("--threads", type=int, help="of the CPU (default: torch's)")
    args = parser.parse_args()
    if min(args.side, args.batch, args.repeats) < 1 or (args.threads or 1) < 1:
        parser.error("need sizes, rounds and threads of 1 or more")
    torch.set_num_threads(args.threads or torch.get_num_threads())
    capability = torch.backends.cpu.get_cpu_capability()
    ask = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    bf16 = bool(ask()) if ask else None
    print(f"{cpu_name()}, {capability}, bfloat16 instructions: {bf16}; torch {torch.__version__}")
    torch.manual_seed(0)
    images, rows = torch.randn(args.batch, 3, args.side, args.side), torch.randn(64, 784)
    devices = dict.fromkeys([torch.device("cpu"), default_device()])
    parts = [measure(name, func, x, steps if device.type == "cpu" else 10 * steps, args.repeats, device)
             for device in devices if device.type in ("cpu", "cuda")
             for name, func, x, steps in [("residual", residual, images, 1), ("small", small, rows, 50)]]
    write_result(args.json, "Training steps in 16 bits, lesson 10c", capability=capability,
                 **{"bfloat16 instructions": bf16}, rounds=args.repeats, parts=parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
