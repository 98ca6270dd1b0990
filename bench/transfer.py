#!/usr/bin/env python3
"""Lesson 11a, transfer: a network that knows five classes learns five others, in several ways.

    python bench/transfer.py                  print the table
    python bench/transfer.py --json FILE      write it, with every run, to FILE too

EXP_DATA chooses the data, as in the lessons. For each seed a small residual network is trained on the first five classes at 48
pixels. Then a new head is put on it for the other five, of which there are few photos, and trained in each of the ways; each run
is judged once, at its end, on the photos of these classes in the whole test folder. In one seed all ways see the same photos in
the same order. Epochs and the highest rate are the same for all, and were not tuned. A second table has
more photos of the new classes. A row of the first: accuracies, their differences to the first row, seed by seed, and how far the
running means of the body have moved, in standard deviations of their channels, from where the pretraining left them.
"""
from __future__ import annotations

import statistics as stats
import sys
import time
from functools import partial

import torch
from torch import nn

from common import class_folders, cpu_name, options, photo_set, write_result

from exp.batch_augmentation import RandomGeometry
from exp.data_loading import DataLoader, Dataset
from exp.datasets import choose_data
from exp.decoding import open_bytes
from exp.minibatch_training import DataLoaders
from exp.new_head import transfer_model
from exp.transfer_learning import FrozenStatistics, GradualUnfreezing, body_head_groups, discriminative_lrs, freeze
from exp.vision import cnn_learner
from exp.xresnet import XResNet

SIDE, OLD_PHOTOS, FEW, MANY, BATCH, RATE, GROUPS = 48, 800, 40, 400, 32, 4e-3, 3
OLD_EPOCHS, FEW_EPOCHS, MANY_EPOCHS = 10, 20, 6
ARCH = partial(XResNet, 1, (1, 1, 1, 1), widths=(32, 64, 128, 256), stem=(16, 16, 32))

SCRATCH, LOWER = "from scratch", "all layers, lower rates for the early ones"
WAYS = {
    SCRATCH: {"pretrained": False},
    "head; body frozen, its statistics moving": {"norms": True},
    "head; body and its statistics frozen": {"norms": True, "statistics": True},
    "head and norms; the rest frozen": {"norms": False},
    "all layers, one rate": {},
    LOWER: {"lower": True},
    "head first, then all, lower rates": {"lower": True, "gradual": True},
}


def norms(module: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Copies of the running means and variances, layer by layer."""
    return [(m.running_mean.clone(), m.running_var.clone()) for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def distances(before: list, after: list) -> list[float]:
    """How far the running means of each layer have moved: root mean square over the channels, in old deviations."""
    return [((new - old) / (var + 1e-5).sqrt()).square().mean().sqrt().item() for (old, var), (new, _) in zip(before, after)]


def learner(model: nn.Module, train_set: Dataset, batch: int, seed: int, splitter=None):
    """The learner of all runs."""
    dls = DataLoaders(DataLoader(train_set, batch, shuffle=True, drop_last=True, seed=seed), None)
    flips = RandomGeometry(degrees=0, zoom=1.3, warp=0)
    return cnn_learner(lambda **_: model, dls, n_classes=5, tfms=[flips], lr=RATE, splitter=splitter)


def pretrain(train_set: Dataset, test_set: Dataset, seed: int, epochs: int) -> tuple[nn.Module, float]:
    """A network for the old classes, and its accuracy."""
    torch.manual_seed(seed)
    learn = learner(ARCH(n_classes=5), train_set, 64, seed)
    learn.fit_one_cycle(epochs)
    return learn.model, learn.validate(DataLoader(test_set, 250))["accuracy"]


def transfer(old: nn.Module, train_set: Dataset, test_set: Dataset, seed: int, epochs: int, pretrained: bool = True,
             norms_frozen: bool | None = None, statistics: bool = False, lower: bool = False, gradual: bool = False) -> dict:
    """One run: accuracy on the test photos, and what became of the body."""
    torch.manual_seed(seed)
    model = transfer_model(old if pretrained else ARCH(n_classes=5), 5)
    before = norms(model.body)
    if norms_frozen is not None:
        freeze(model.body, norms=norms_frozen)
    learn = learner(model, train_set, BATCH, seed, partial(body_head_groups, n_groups=GROUPS))
    rates = discriminative_lrs(RATE, GROUPS) if lower else RATE
    cbs = [GradualUnfreezing(max(1, epochs // 4), norms=True)] if gradual else []
    cbs += [FrozenStatistics()] if statistics or gradual else []
    torch.manual_seed(seed)                       # the same dropout and changes of photos for all ways
    start = time.perf_counter()
    learn.fit_one_cycle(epochs, rates, cbs=cbs)
    seconds = time.perf_counter() - start
    return {"seed": seed, "accuracy": learn.validate(DataLoader(test_set, 250))["accuracy"], "seconds": seconds,
            "distances": distances(before, norms(model.body))}


def rows_of(runs: dict[str, list[dict]]) -> list[dict]:
    """A row a way, with its differences to the first one; printed, too."""
    base, rows = [run["accuracy"] for run in next(iter(runs.values()))], []
    for name, its in runs.items():
        found = [run["accuracy"] for run in its]
        changes = [a - b for a, b in zip(found, base)]
        moved = [stats.mean(run["distances"]) for run in its]
        rows.append({"what": name, "accuracy": stats.mean(found), "std": stats.stdev(found), "every run": found,
                     "change": stats.mean(changes), "change std": stats.stdev(changes), "moved": stats.mean(moved),
                     "runs": its})
        print(f"{name:44} {rows[-1]['accuracy']:.4f} ± {rows[-1]['std']:.4f}   change {rows[-1]['change']:+.4f} "
              f"± {rows[-1]['change std']:.4f}   moved {rows[-1]['moved']:.3f}")
    return rows


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default 3)")
    parser.add_argument("--scale", type=float, default=1.0, help="of all numbers of epochs, to try it quickly (default 1)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    args = parser.parse_args()
    if args.seeds < 2 or not 0 < args.scale <= 10:
        parser.error("need at least 2 seeds, and a scale above 0 and up to 10")
    torch.set_num_threads(args.threads)
    old_epochs, few_epochs, many_epochs = (max(2, round(args.scale * n)) for n in (OLD_EPOCHS, FEW_EPOCHS, MANY_EPOCHS))
    data = choose_data("imagenette", "shapes")
    halves = {part: class_folders(data.path / part) for part in ("train", "val")}
    photos = partial(photo_set, load=partial(open_bytes, size=SIDE))
    old_train, old_test = photos(halves["train"][:5], OLD_PHOTOS), photos(halves["val"][:5], None)
    few, many, test = photos(halves["train"][5:], FEW), photos(halves["train"][5:], MANY), photos(halves["val"][5:], None)
    print(f"{data.title}: {len(old_train):,} photos of the old classes; of the new ones {len(few):,} or {len(many):,} to train on "
          f"and {len(test):,} to test on; {SIDE} px; {cpu_name()}; torch {torch.__version__}\n")
    pretraining, runs, more = [], {name: [] for name in WAYS}, {SCRATCH: [], LOWER: []}
    for seed in range(args.seeds):
        start = time.perf_counter()
        old, found = pretrain(old_train, old_test, seed, old_epochs)
        pretraining.append({"seed": seed, "accuracy": found, "seconds": time.perf_counter() - start})
        print(f"seed {seed}: pretraining, accuracy {found:.4f}, {pretraining[-1]['seconds']:.0f} s", flush=True)
        for some, train_set, epochs in ((runs, few, few_epochs), (more, many, many_epochs)):
            for name in some:
                how = {"norms_frozen" if k == "norms" else k: v for k, v in WAYS[name].items()}
                some[name].append(transfer(old, train_set, test, seed, epochs, **how))
                last = some[name][-1]
                print(f"seed {seed}: {name:44} {last['accuracy']:.4f}, {last['seconds']:.0f} s", flush=True)
    print(f"\n{len(few):,} photos")
    rows = rows_of(runs)
    print(f"\n{len(many):,} photos")
    more_rows = rows_of(more)
    names = [label for label in data.classes.values()]
    write_result(args.json, "Transfer to five other classes", data=data.title, side=SIDE, seeds=[*range(args.seeds)],
                 **{"old classes": names[:5], "new classes": names[5:], "old photos": len(old_train), "photos": len(few),
                    "more photos": len(many), "test photos": len(test), "epochs of pretraining": old_epochs, "epochs": few_epochs,
                    "epochs with more photos": many_epochs, "batch size": BATCH, "highest rate": RATE, "groups": GROUPS,
                    "pretraining": pretraining}, results=rows, more=more_rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
