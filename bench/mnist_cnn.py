#!/usr/bin/env python3
"""Lesson 06 at full length: the CNN's accuracy after 8 epochs, and six activations against each other.

    python bench/mnist_cnn.py                    print the tables
    python bench/mnist_cnn.py --json FILE        write them, with every run, to FILE too
    python bench/mnist_cnn.py --only activations

EXP_DATA chooses the data, as in the lessons. The record: a CNN of 8, 16, 32 and 32 channels with the general ReLU of the
lesson, 8 epochs of all training images, one-cycle rate, weights normal or even. The activations: the same CNN with
each of them, three epochs of the first 8,000 images, at a low and a high rate. With `--only`, the other part of FILE
stays as it is. Validation accuracy of the last epoch; the best of all epochs is
not what is reported. One thread; a seed sets both the weights and the order of the images.
"""
from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from common import cpu_name, options, write_result

from exp.anneal import ParamScheduler, one_cycle
from exp.callbacks import MetricsCallback, Runner
from exp.cnn import BatchTransform, DeviceCallback, GeneralReLU, default_device, init_cnn, simple_cnn
from exp.datasets import choose_data
from exp.minibatch_training import SGD, DataLoaders, accuracy

BAR = 0.983                    # validation accuracy after 8 epochs: to beat
CHANNELS, BATCH, RATE = [8, 16, 32, 32], 64, 0.8
RATES = (0.2, RATE)            # of the activations

general = partial(GeneralReLU, leak=0.1, shift=0.4, clamp=6.0)
ACTIVATIONS = {"ReLU": (GeneralReLU, 0.0), "leaky ReLU": (partial(GeneralReLU, leak=0.1), 0.1),
               "general ReLU": (general, 0.1), "GELU": (nn.GELU, 0.0), "SELU": (nn.SELU, 1.0),
               "Mish": (nn.Mish, 0.0)}      # what makes the layer; slope that `init_cnn` reckons with


def train(data, seed: int, epochs: int, act: Callable, leak: float, uniform: bool = False,
          rate: float = RATE) -> tuple[float, float]:
    """Accuracy of the last epoch, and seconds."""
    torch.manual_seed(seed)
    model = init_cnn(simple_cnn(CHANNELS, act=act), uniform=uniform, leak=leak)
    cbs = [DeviceCallback(), BatchTransform(lambda x: x.view(-1, 1, 28, 28)),
           MetricsCallback(accuracy=accuracy), ParamScheduler("lr", one_cycle(rate))]
    run = Runner(model, DataLoaders.from_arrays(data, BATCH, seed=seed), F.cross_entropy,
                 partial(SGD, lr=rate), cbs)
    start = time.perf_counter()
    history = run.fit(epochs)
    return history[-1]["valid_accuracy"], time.perf_counter() - start


def row(name: str, runs: list[tuple[float, float]], **more) -> dict:
    """One row of a table: mean, standard deviation and every run."""
    accuracies = [a for a, _ in runs]
    found = {**more, "accuracy": statistics.mean(accuracies), "std": statistics.stdev(accuracies),
             "every run": accuracies, "seconds a run": statistics.median(s for _, s in runs)}
    print(f"{name:16} {found['accuracy']:.4f} ± {found['std']:.4f}   "
          f"{' '.join(f'{a:.4f}' for a in accuracies)}   {found['seconds a run']:.0f} s a run", flush=True)
    return found


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--epochs", type=int, default=8, help="of the record (default 8)")
    parser.add_argument("--only", choices=["record", "activations"], help="one of the two parts")
    args = parser.parse_args()
    if args.seeds < 2 or args.epochs < 1:
        parser.error("need at least 2 seeds and 1 epoch")
    torch.set_num_threads(1)
    data, device = choose_data("mnist", "digits"), default_device()
    few = dataclasses.replace(data, x_train=data.x_train[:8000], y_train=data.y_train[:8000],
                              x_valid=data.x_valid[:2000], y_valid=data.y_valid[:2000])
    print(f"{data.title}, {len(data.x_train):,} images, batch {BATCH}, rate up to {RATE}; "
          f"{device}, {cpu_name()}; torch {torch.__version__}\n")
    result = {"data": data.title, "device": str(device), "bar": BAR, "batch size": BATCH,
              "highest rate": RATE, "seeds": list(range(args.seeds))}
    if args.only != "activations":
        result["epochs"] = args.epochs
        result["record"] = [
            row(name, [train(data, seed, args.epochs, general, 0.1, uniform) for seed in range(args.seeds)],
                weights=name) for name, uniform in [("normal", False), ("uniform", True)]]
        best = result["record"][0]["accuracy"]
        print(f"\nbar: above {BAR} on MNIST; measured on {data.title}: {best:.4f}\n")
    if args.only != "record":
        result["epochs of the activations"] = 3
        result["activations"] = [
            row(name, [train(few, seed, 3, act, leak, rate=rate) for seed in range(args.seeds)],
                activation=name, rate=rate) for rate in RATES for name, (act, leak) in ACTIVATIONS.items()]
    if args.only and args.json and args.json.exists():
        result = json.loads(args.json.read_text(encoding="utf-8")) | result
    write_result(args.json, "The convolutional network of lesson 06", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
