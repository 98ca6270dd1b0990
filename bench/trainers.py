#!/usr/bin/env python3
"""From photos to an accuracy, with our Learner, fastai's and Lightning's: the same network, data, optimizer and schedule.

    python bench/trainers.py                   print the table
    python bench/trainers.py --json FILE       write it, with every run, to FILE too

An `xresnet18` of lesson 10d on a part of Imagenette's photos, decoded once and kept in memory. Each trainer gets the same weights at the
start, the same batches in the same order, PyTorch's AdamW, and its own one-cycle schedule; it measures loss and accuracy in
validation after each epoch. The trainers take turns, seed by seed; the last epoch's accuracy is of test photos, by which nothing was chosen.
What is not installed is left out; the project never needs it. EXP_DATA chooses the data, as in the lessons.
"""
from __future__ import annotations

import importlib.util
import logging
import statistics
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from common import against, class_folders, cpu_name, options, photo_set, print_ratios, write_result

from exp.comparing import mean_std
from exp.data_block import DataBunch
from exp.data_loading import DataLoader, Dataset
from exp.datasets import choose_data
from exp.images import IMAGENETTE_STATS, Resize, open_image, to_byte_tensor
from exp.learner import Learner
from exp.minibatch_training import accuracy
from exp.xresnet import xresnet18

SIDE, PER_CLASS, PER_CLASS_TEST, BATCH, EPOCHS, RATE = 48, 100, 50, 32, 4, 3e-3


def photos(folder: Path, per_class: int) -> Dataset:
    """Normalised photos with labels, in memory."""
    mean, std = (torch.tensor(s)[:, None, None] for s in IMAGENETTE_STATS)
    return photo_set(class_folders(folder), per_class,
                     lambda file: (to_byte_tensor(Resize(SIDE)(open_image(file))).float() / 255 - mean) / std)


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return xresnet18(n_classes=10)


adamw = partial(torch.optim.AdamW, weight_decay=0.01)


def ours(dls: DataBunch, seed: int) -> float:
    learn = Learner(network(seed), dls, F.cross_entropy, adamw, RATE, metrics=accuracy, device="cpu")
    return learn.fit_one_cycle(EPOCHS)[-1]["valid_accuracy"]


def fastai(dls: DataBunch, seed: int) -> float:
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner as Theirs
    from fastai.metrics import accuracy as metric
    from fastai.optimizer import OptimWrapper
    for dl in (dls.train, dls.valid):
        dl.device, dl.n = torch.device("cpu"), len(dl.dataset)
    learn = Theirs(DataLoaders(dls.train, dls.valid), network(seed), F.cross_entropy, metrics=metric,
                   opt_func=partial(OptimWrapper, opt=adamw))
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(EPOCHS, RATE)
    return float(learn.recorder.values[-1][-1])


def lightning(dls: DataBunch, seed: int) -> float:
    import lightning as theirs

    class Module(theirs.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network(seed)

        def training_step(self, batch, i):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, i):
            pred, n = self.net(batch[0]), len(batch[1])
            self.log("loss", F.cross_entropy(pred, batch[1]), batch_size=n)
            self.log("accuracy", accuracy(pred, batch[1]), batch_size=n)

        def configure_optimizers(self):
            opt = adamw(self.parameters(), RATE)
            cycle = torch.optim.lr_scheduler.OneCycleLR(opt, RATE, EPOCHS * len(dls.train), pct_start=0.25)
            return {"optimizer": opt, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}

    logging.getLogger("lightning").setLevel(logging.ERROR), logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    trainer = theirs.Trainer(max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_progress_bar=False,
                             enable_checkpointing=False, enable_model_summary=False, num_sanity_val_steps=0)
    trainer.fit(Module(), dls.train, dls.valid)
    return trainer.callback_metrics["accuracy"].item()


TRAINERS = {"Learner": ours, "fastai": fastai, "lightning": lightning}


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default 3)")
    parser.add_argument("--threads", type=int, help="of the processor")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("need at least 2 seeds")
    warnings.filterwarnings("ignore")
    if args.threads:
        torch.set_num_threads(args.threads)
    data = choose_data("imagenette", "shapes")
    train, test = photos(data.path / "train", PER_CLASS), photos(data.path / "val", PER_CLASS_TEST)
    ways = {name: way for name, way in TRAINERS.items() if name == "Learner" or importlib.util.find_spec(name)}
    seconds, found = {name: [] for name in ways}, {name: [] for name in ways}
    for seed in range(args.seeds):
        for name in list(ways)[::1 if seed % 2 else -1]:
            dls = DataBunch(DataLoader(train, BATCH, shuffle=True, seed=seed), DataLoader(test, 2 * BATCH))
            start = time.perf_counter()
            found[name].append(ways[name](dls, seed))
            seconds[name].append((time.perf_counter() - start) / EPOCHS)
        print(f"seed {seed}: " + "; ".join(f"{name} {found[name][-1]:.3f}, {seconds[name][-1]:.1f} s an epoch" for name in ways), flush=True)
    rows = [{"trainer": name, "s an epoch": statistics.median(its), **against(its, seconds["Learner"]), "accuracy": statistics.mean(found[name]),
             "std": statistics.stdev(found[name]), "every accuracy": found[name]} for name, its in seconds.items()]
    print(f"\n{data.title}, {len(train):,} photos of {SIDE} pixels, {EPOCHS} epochs; {cpu_name()}, {torch.get_num_threads()} threads\n")
    print_ratios(rows)
    print(*(f"{row['trainer']:10} test accuracy {mean_std(row['every accuracy'])}" for row in rows), sep="\n")
    missing = [name for name in TRAINERS if name not in ways]
    print("not installed: " + (", ".join(missing) or "none"))
    write_result(args.json, "The same network in three trainers", data=data.title, side=SIDE, epochs=EPOCHS, results=rows,
                 seeds=[*range(args.seeds)], **{"training photos": len(train), "batch size": BATCH, "not installed": missing})
    return 0


if __name__ == "__main__":
    sys.exit(main())
