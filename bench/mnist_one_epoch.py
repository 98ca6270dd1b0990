#!/usr/bin/env python3
"""One epoch of MNIST: how far does a small network get, with batch normalization and without?

    python bench/mnist_one_epoch.py                   print the table
    python bench/mnist_one_epoch.py --json FILE       write it, with every run, to FILE too
    python bench/mnist_one_epoch.py --seeds 5         more runs of each
    python bench/mnist_one_epoch.py --choose          how the rates were chosen: each of a few, on a seed of its own

Four convolutions (16, 32, 64, 64 channels, stride 2), batches of 32, SGD with momentum, one cycle of the rate, no
augmentation. 50,000 images to train on; the accuracy is that of 10,000 others, and of the 10,000 of the test set, which
nothing was chosen by.
"""
from __future__ import annotations

import statistics
import sys
import time
from functools import partial

import torch
import torch.nn.functional as F

from common import cpu_name, options, write_result

from exp.anneal import ParamScheduler, one_cycle
from exp.batchnorm import BatchNorm
from exp.callbacks import MetricsCallback
from exp.cnn import init_cnn, simple_cnn
from exp.data_loading import DataLoader, Dataset
from exp.datasets import load_data
from exp.early_stopping import CancellableRunner
from exp.minibatch_training import DataLoaders, accuracy, evaluate

CHANNELS, BATCH, MOMENTUM = [16, 32, 64, 64], 32, 0.9
KINDS = {"BatchNorm": (BatchNorm, 0.2), "no normalization": (None, 0.05)}     # norm, highest rate of the cycle
RATES, OTHER_SEED = (0.01, 0.02, 0.05, 0.1, 0.2), 100
TO_BEAT = 0.9818                # best accuracy after one epoch in the course of 2019


def images() -> dict[str, Dataset]:
    """Normalized images (n, 1, 28, 28) with labels."""
    data = load_data("mnist")
    mean, std = data.x_train.float().mean(), data.x_train.float().std()
    return {part: Dataset((getattr(data, f"x_{part}")[:, None].float() - mean) / std, getattr(data, f"y_{part}"))
            for part in ("train", "valid", "test")}


def run(parts: dict[str, Dataset], norm, lr: float, seed: int) -> dict:
    """Train one epoch; accuracies and seconds."""
    torch.manual_seed(seed)
    model = init_cnn(simple_cnn(CHANNELS, norm=norm))
    dls = DataLoaders(DataLoader(parts["train"], BATCH, shuffle=True, seed=seed), DataLoader(parts["valid"], 500))
    sgd = partial(torch.optim.SGD, lr=lr, momentum=MOMENTUM)
    cbs = [ParamScheduler("lr", one_cycle(lr)), MetricsCallback(accuracy=accuracy)]
    start, cpu = time.perf_counter(), time.process_time()
    row = CancellableRunner(model, dls, F.cross_entropy, sgd, cbs).fit(1)[-1]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    test = evaluate(model, F.cross_entropy, DataLoader(parts["test"], 500))
    return {"seed": seed, "valid_accuracy": row["valid_accuracy"], "test_accuracy": test["accuracy"],
            "seconds": seconds, "cpu_seconds": cpu}


def summarise(name: str, lr: float, runs: list[dict]) -> dict:
    """Means and standard deviations of a kind's runs, and the runs."""
    row = {"norm": name, "lr": lr}
    for key in ("valid_accuracy", "test_accuracy", "seconds", "cpu_seconds"):
        values = [r[key] for r in runs]
        row |= {key: statistics.mean(values), f"{key}_std": statistics.stdev(values) if len(values) > 1 else 0.0}
    return row | {"runs": runs}


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--choose", action="store_true", help="try several rates instead")
    args = parser.parse_args()
    if args.seeds < 1:
        parser.error("need at least 1 seed")
    parts, rows = images(), []
    if args.choose:
        for name, (norm, _) in KINDS.items():
            for lr in RATES:
                row = run(parts, norm, lr, OTHER_SEED)
                print(f"{name:20} rate {lr:<5} validation {row['valid_accuracy']:.2%} {row['seconds']:6.1f} s", flush=True)
        return 0
    print(f"channels {CHANNELS}, batch {BATCH}, one epoch; {args.seeds} seeds; {cpu_name()}, "
          f"{torch.get_num_threads()} threads; torch {torch.__version__}\n")
    print(f"{'':20} {'validation':>16} {'test':>16} {'seconds':>8}")
    for name, (norm, lr) in KINDS.items():
        row = summarise(name, lr, [run(parts, norm, lr, seed) for seed in range(args.seeds)])
        rows.append(row)
        print(f"{name:20} {row['valid_accuracy']:8.2%} ± {row['valid_accuracy_std']:.2%} "
              f"{row['test_accuracy']:8.2%} ± {row['test_accuracy_std']:.2%} {row['seconds']:8.1f}", flush=True)
    write_result(args.json, "One epoch of MNIST", channels=CHANNELS, batch_size=BATCH, momentum=MOMENTUM,
                 to_beat=TO_BEAT, results=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
