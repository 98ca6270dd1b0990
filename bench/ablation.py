#!/usr/bin/env python3
"""Lesson 11, the tricks of the residual network: each taken away, by itself, from a network that has them all.

    python bench/ablation.py                  print the table
    python bench/ablation.py --json FILE      write it, with every run, to FILE too

EXP_DATA chooses the data, as in the lessons. A network of bottlenecks, two in each group and half as wide as ResNet-50's, on a
part of the training photos at 48 pixels, with mirror images and small changes of scale; each run is judged once, at its end,
on the whole test folder. The rows of one seed begin with the same generators, and see the same photos in the same order. A
row: what is changed, the accuracies, and the mean and deviation of the differences to the first row, seed by seed.
"""
from __future__ import annotations

import statistics
import sys
import time
from functools import partial

import torch
import torch.nn.functional as F

from common import class_folders, cpu_name, options, photo_set, write_result

from exp.batch_augmentation import RandomGeometry
from exp.data_loading import DataLoader, Dataset
from exp.datasets import choose_data
from exp.decoding import open_bytes
from exp.minibatch_training import DataLoaders
from exp.vision import cnn_learner
from exp.xresnet import XResNet

SIDE, PER_CLASS, BATCH, EPOCHS, RATE = 48, 150, 64, 8, 4e-3
DEPTHS, WIDTHS, STEM = (2, 2, 2, 2), (32, 64, 128, 256), (16, 16, 32)

ROWS = {
    "all tricks": {},
    "7 × 7 stem": {"net": {"stem": STEM[-1]}},
    "stride in the first 1 × 1": {"net": {"early_stride": True}},
    "shortcut that skips pixels": {"net": {"pool": False}},
    "γ begins at 1": {"net": {"zero_gamma": False}},
    "labels not smoothed": {"loss_func": F.cross_entropy},
    "constant rate": {"schedule": False},
    "mixup besides": {"mixup": 0.4},
}


def train(train_set: Dataset, test_set: Dataset, seed: int, epochs: int, net: dict | None = None, schedule: bool = True,
          **how) -> dict:
    """One run: accuracy on the test photos."""
    torch.manual_seed(seed)
    arch = partial(XResNet, 4, DEPTHS, **{"widths": WIDTHS, "stem": STEM} | (net or {}))
    dls = DataLoaders(DataLoader(train_set, BATCH, shuffle=True, drop_last=True, seed=seed), None)
    learn = cnn_learner(arch, dls, n_classes=10, tfms=[RandomGeometry(degrees=0, zoom=1.3, warp=0)], lr=RATE, **how)
    torch.manual_seed(seed)                       # the networks draw different numbers of weights
    start = time.perf_counter()
    if schedule:
        learn.fit_one_cycle(epochs)
    else:
        learn.fit(epochs, lr=RATE / 4)
    seconds = time.perf_counter() - start
    return {"seed": seed, "accuracy": learn.validate(DataLoader(test_set, 250))["accuracy"], "seconds": seconds}


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each run (default {EPOCHS})")
    parser.add_argument("--photos", type=int, default=PER_CLASS, help=f"of each class (default {PER_CLASS})")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default 2)")
    args = parser.parse_args()
    if args.seeds < 2 or args.epochs < 1 or args.photos < 10:
        parser.error("need at least 2 seeds, 1 epoch and 10 photos of each class")
    torch.set_num_threads(args.threads)
    data = choose_data("imagenette", "shapes")
    train_set, test_set = (photo_set(class_folders(data.path / part), n, partial(open_bytes, size=SIDE))
                           for part, n in (("train", args.photos), ("val", None)))
    print(f"{data.title}: {len(train_set):,} photos to train on, {len(test_set):,} to test on, {SIDE} px, {args.epochs} epochs; "
          f"{cpu_name()}; torch {torch.__version__}\n")
    runs = {name: [] for name in ROWS}
    for seed in range(args.seeds):               # seed by seed, so that a slow hour hits all alike
        for name, how in ROWS.items():
            runs[name].append(train(train_set, test_set, seed, args.epochs, **how))
            print(f"seed {seed}  {name:28} {runs[name][-1]['accuracy']:.4f}  {runs[name][-1]['seconds']:.0f} s", flush=True)
    rows, base = [], [run["accuracy"] for run in runs["all tricks"]]
    print()
    for name, its in runs.items():
        found = [run["accuracy"] for run in its]
        changes = [a - b for a, b in zip(found, base)]
        rows.append({"what": name, "accuracy": statistics.mean(found), "std": statistics.stdev(found), "every run": found,
                     "change": statistics.mean(changes), "change std": statistics.stdev(changes), "runs": its})
        print(f"{name:28} {rows[-1]['accuracy']:.4f} ± {rows[-1]['std']:.4f}   change {rows[-1]['change']:+.4f} "
              f"± {rows[-1]['change std']:.4f}")
    write_result(args.json, "The tricks of the residual network", data=data.title, side=SIDE, epochs=args.epochs,
                 seeds=[*range(args.seeds)], **{"training photos": len(train_set), "test photos": len(test_set),
                                                "batch size": BATCH, "highest rate": RATE, "depths": list(DEPTHS),
                                                "widths": list(WIDTHS)}, results=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
