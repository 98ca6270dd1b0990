#!/usr/bin/env python3
"""Lesson 10b: what mixup, CutMix and label smoothing bring, and how far the probabilities can be trusted afterwards.

    python bench/mixup.py                 print the tables
    python bench/mixup.py --json FILE     write them, with every run, to FILE too
    python bench/mixup.py --only digits

EXP_DATA chooses the data, as in the lessons. Digits: a small CNN on 1,000 training images, judged on all test images.
Photos: a small CNN on 2,000 training photos at 32 pixels, with random mirror images in all runs, judged on the whole test
folder. Each is trained in six ways with the same steps and seeds, and judged once, at the end. The settings were not tuned.
Besides accuracy and loss: the expected calibration error, and how sure the model was on average. With `--only`, the other
part of FILE stays as it is.
"""
from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from common import class_folders, cpu_name, machine, options, photo_set, write_result

from exp.batch_augmentation import BatchAugment, RandomGeometry
from exp.cnn import init_cnn, simple_cnn
from exp.data_loading import DataLoader, Dataset
from exp.datasets import choose_data
from exp.images import IMAGENETTE_STATS, Normalize, Resize, open_image, to_byte_tensor
from exp.learner import Learner
from exp.minibatch_training import DataLoaders, accuracy
from exp.mixup import CutMix, LabelSmoothingCrossEntropy, MixUp, calibration

BATCH, RATE, EPOCHS = 64, 0.01, 60
DIGITS, PER_CLASS, SIDE = 1000, 200, 32
smooth = LabelSmoothingCrossEntropy(0.1)
WAYS: dict[str, tuple[Callable, list]] = {               # the loss, and what makes the callback
    "plain": (F.cross_entropy, []),
    "label smoothing": (smooth, []),
    "mixup": (F.cross_entropy, [MixUp]),
    "mixup, label smoothing": (smooth, [MixUp]),
    "CutMix": (F.cross_entropy, [CutMix]),
    "CutMix, label smoothing": (smooth, [CutMix]),
}


def digits() -> tuple[str, Dataset, Dataset, BatchAugment, list[int], int]:
    """Few training images, all test images."""
    data = choose_data("mnist", "digits")
    x, x_test = (part[:, None].float() / 255 for part in (data.x_train[:DIGITS], data.x_test))
    mean, std = x.mean(), x.std()
    train, test = ((part - mean) / std for part in (x, x_test))
    return (data.title, Dataset(train, data.y_train[:DIGITS]), Dataset(test, data.y_test), BatchAugment(),
            [8, 16, 32, 32], 1)


def photos() -> tuple[str, Dataset, Dataset, BatchAugment, list[int], int]:
    """Few photos of each class as bytes, and the whole test folder."""
    data, fit = choose_data("imagenette", "shapes"), Resize(SIDE, "crop")
    parts = [photo_set(class_folders(data.path / name), per_class,
                       lambda file: to_byte_tensor(fit(open_image(file, draft=2 * SIDE))))
             for name, per_class in [("train", PER_CLASS), ("val", None)]]
    flip = RandomGeometry(degrees=0, zoom=1, warp=0)
    return data.title, *parts, BatchAugment([flip], Normalize(*IMAGENETTE_STATS)), [16, 32, 64], 3


def train(part: tuple, way: str, seed: int, epochs: int) -> dict:
    """One run, judged on the test images and on the training images as they are; every loss is plain cross-entropy."""
    _, train_set, test_set, prepare, channels, c_in = part
    loss_func, mixes = WAYS[way]
    torch.manual_seed(seed)
    model = init_cnn(simple_cnn(channels, c_in=c_in, norm=nn.BatchNorm2d))
    dls = DataLoaders(DataLoader(train_set, BATCH, shuffle=True, drop_last=True, seed=seed), None)
    learn = Learner(model, dls, loss_func, lr=RATE, cbs=[prepare, *(make() for make in mixes)])
    start = time.perf_counter()
    learn.fit_one_cycle(epochs)
    seconds = time.perf_counter() - start
    logits, targets = learn.get_preds(DataLoader(test_set, 500))
    seen, seen_targets = learn.get_preds(DataLoader(train_set, 500))
    probs = logits.softmax(1)
    found = calibration(probs, targets)
    return {"seed": seed, "accuracy": float(accuracy(logits, targets)), "loss": float(F.cross_entropy(logits, targets)),
            "confidence": float(probs.amax(1).mean()), "calibration error": found.error,
            "training accuracy": float(accuracy(seen, seen_targets)), "seconds": seconds,
            "bins": {name: getattr(found, name).tolist() for name in ("confidence", "accuracy", "share")}}


def compare(part: tuple, seeds: int, epochs: int) -> dict:
    """Each way with each seed."""
    print(f"{part[0]}: {len(part[1]):,} images to train on, {len(part[2]):,} to test on, {epochs} epochs\n")
    runs = {way: [] for way in WAYS}
    for seed in range(seeds):                    # seed by seed, so that a slow hour hits all alike
        for way in WAYS:
            runs[way].append(run := train(part, way, seed, epochs))
            print(f"seed {seed}  {way:24} {run['accuracy']:.4f}  calibration error {run['calibration error']:.4f}  "
                  f"{run['seconds']:.0f} s", flush=True)
    rows = []
    for way, its in runs.items():
        names = ("accuracy", "loss", "confidence", "calibration error", "training accuracy")
        rows.append({"way": way, **{f"{name}{end}": f([run[name] for run in its]) for name in names
                                    for end, f in [("", statistics.mean), (" std", statistics.stdev)]}, "runs": its})
        print(f"{way:24} {rows[-1]['accuracy']:.4f} ± {rows[-1]['accuracy std']:.4f}")
    return {"data": part[0], "training images": len(part[1]), "test images": len(part[2]), "epochs": epochs,
            "seeds": list(range(seeds)), "channels": part[4], "size": list(part[1][:1][0].shape[2:]), "ways": rows}


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each way (default 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each run (default {EPOCHS})")
    parser.add_argument("--only", choices=["digits", "photos"], help="one of the two parts")
    args = parser.parse_args()
    if args.seeds < 2 or args.epochs < 1:
        parser.error("need at least 2 seeds and 1 epoch")
    torch.set_num_threads(1)
    print(f"{cpu_name()}, one thread; torch {torch.__version__}\n")
    result = {"batch size": BATCH, "highest rate": RATE}
    for name, load in [("digits", digits), ("photos", photos)]:
        if args.only in (None, name):
            result[name] = compare(load(), args.seeds, args.epochs)
    if args.only and args.json and args.json.exists():
        kept = json.loads(args.json.read_text(encoding="utf-8"))
        result = {k: v for k, v in (kept | result).items() if k not in {"title", *machine()}}
    write_result(args.json, "Mixup, CutMix and label smoothing: lesson 10b", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
