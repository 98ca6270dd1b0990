#!/usr/bin/env python3
"""Lessons 10 and 10a: what augmentation costs, image by image and in batches, and what it brings.

    python bench/augmentation.py                 print the tables
    python bench/augmentation.py --json FILE     write them, with every run, to FILE too
    python bench/augmentation.py --only cost

EXP_DATA chooses the data, as in the lessons. The cost: affine change, mirror image and normalisation of 128 photos of 128
pixels, by Pillow one image after the other, and as one batch; the limit is `grid_sample` alone, on the same grid. The time is
that of the processor on one thread, not of the clock on the wall, since other programs run at the same time. Each call runs
twice in a row and the second is timed: whether the call before has given its memory back to the system must not decide, so
the pages of memory that a run has to fetch are counted too. Lighting is timed with `torch.compile` and without; if there is a
GPU, the batch is timed there too, with the drawing of its random numbers, as the predecessor's 1.92 ms for 64 images.
The gain: a small CNN on a part of the training photos at 64 pixels, with four sets of batch transforms and the same number of
steps; judged once, at the end, on the whole test folder. With `--only`, the other part of FILE stays as it is.
"""
from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from common import (
    class_folders, cpu_name, machine, options, photo_set, print_ratios, summarise, take_turns, verdict, write_result)

from exp.batch_augmentation import BatchAugment, RandomErasing, RandomGeometry, RandomLighting
from exp.cnn import init_cnn, simple_cnn
from exp.data_loading import DataLoader, Dataset
from exp.datasets import choose_data
from exp.images import IMAGENETTE_STATS, Normalize, Resize, open_image, to_byte_tensor
from exp.items import get_files
from exp.learner import Learner
from exp.minibatch_training import DataLoaders, accuracy
from exp.warping import affine_grid

try:
    import resource
except ImportError:          # there is none on Windows
    resource = None

BAR = 1.1                                         # of one `grid_sample`
GEOMETRY = {"flip": 0.5, "degrees": 10, "zoom": 1.2, "warp": 0, "p": 1, "padding_mode": "zeros"}
CHANNELS, SIDE, PER_CLASS, BATCH, EPOCHS, RATE = [16, 32, 64, 64], 64, 200, 64, 24, 0.01
NORMALIZE = Normalize(*IMAGENETTE_STATS)

SETS = {
    "nothing": [],
    "flip": [RandomGeometry(degrees=0, zoom=1, warp=0)],
    "geometry": [RandomGeometry(degrees=10, zoom=1.3, warp=0.1)],
    "geometry, lighting, erasing": [RandomGeometry(degrees=10, zoom=1.3, warp=0.1), RandomLighting(), RandomErasing()],
}


# --- what it costs -------------------------------------------------------------------------------

def by_pillow(images: list[Image.Image], thetas: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """The same change, image by image; Pillow counts pixels from the edge, and torch from -1 to 1."""
    found = []
    for image, theta in zip(images, thetas.tolist()):
        (w, h), ((a, b, c), (d, e, f)) = image.size, theta
        data = (a, b * w / h, (c - a - b + 1) * w / 2, d * h / w, e, (f - d - e + 1) * h / 2)
        moved = image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        found.append((to_byte_tensor(moved).float().div_(255) - mean) / std)
    return torch.stack(found)


def page_faults() -> int:
    """Pages of memory that this process had to fetch from the system so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def measured(calls: dict[str, Callable], rounds: int, what: str) -> list[dict]:
    """A row a call, with its processor time and the fewest and most pages that a run fetched."""
    rows = summarise(take_turns(calls, rounds, time.process_time, twice=True), what, "ms", 1e3)
    print_ratios(rows)
    if resource:
        pages = take_turns(calls, rounds, page_faults, twice=True)
        rows = [row | {"pages": [min(pages[row[what]]), max(pages[row[what]])]} for row in rows]
    return rows


def cost(files: list) -> dict:
    """One thread: Pillow and batch against one `grid_sample`."""
    torch.manual_seed(0)
    images = [Resize(128)(open_image(file)) for file in files[:128]]
    x = torch.stack([to_byte_tensor(image) for image in images]).float().div_(255)
    fixed = RandomGeometry(**GEOMETRY)
    matrices = fixed.draw(x)
    thetas = matrices[:, :2].contiguous()
    fixed.draw = lambda x: matrices
    batch = BatchAugment([fixed], NORMALIZE)
    grid = F.affine_grid(thetas, x.shape, align_corners=False)
    mean, std = (torch.tensor(s)[:, None, None] for s in IMAGENETTE_STATS)
    sample = partial(F.grid_sample, mode="bilinear", padding_mode="zeros", align_corners=False)
    inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
    both = by_pillow(images, thetas, mean, std), batch.prepare(x, True)
    far = (both[0] - both[1])[inner].abs().median()       # in the inner part: the edges are treated otherwise
    assert far < 0.02, f"the two ways differ: {far:.3f}"
    calls = {
        "grid_sample alone": lambda: sample(x, grid),
        "the batch: grid, sample, normalise": lambda: batch.prepare(x, True),
        "affine_grid of torch, plain normalise": lambda: (sample(x, F.affine_grid(thetas, x.shape, align_corners=False)) - mean) / std,
        "Pillow, image by image": lambda: by_pillow(images, thetas, mean, std),
    }
    rows = measured(calls, 41, "what")
    print(verdict(rows[1]["ratio to the limit"], BAR, "one grid_sample"))
    grids = {"affine_grid of torch": lambda: F.affine_grid(thetas, x.shape, align_corners=False),
             "ours": lambda: affine_grid(thetas, x.shape)}
    return {"bar": BAR, "batch": list(x.shape), "timed": "the second of two runs in a row", "cost": rows,
            "grids": measured(grids, 15, "grid"), "compile": compiled(x), "gpu": on_gpu(x)}


def lit(x: torch.Tensor, add: torch.Tensor, factor: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """What `RandomLighting` does, and normalisation."""
    return ((x * factor + (x.mean((1, 2, 3), keepdim=True) * (1 - factor) + add)).clamp(0, 1) - mean) / std


def compiled(x: torch.Tensor) -> list[dict] | str:
    """Lighting and normalisation, eager and compiled; a line if there is no compiler."""
    add, factor = torch.rand(len(x), 1, 1, 1) * 0.2, torch.rand(len(x), 1, 1, 1) + 0.5
    mean, std = (torch.tensor(s)[:, None, None] for s in IMAGENETTE_STATS)
    start = time.perf_counter()
    try:
        fast = torch.compile(lit)
        torch.testing.assert_close(fast(x, add, factor, mean, std), lit(x, add, factor, mean, std))
    except Exception as error:       # no compiler, or one that fails
        print(line := f"torch.compile: not measured, {type(error).__name__}")
        return line
    first = time.perf_counter() - start
    calls = {name: partial(f, x, add, factor, mean, std) for name, f in [("eager", lit), ("compiled", fast)]}
    rows = measured(calls, 41, "lighting and normalisation")
    print(f"first call of the compiled one: {first:.0f} s")
    return [row | {"first call, s": first if row["lighting and normalisation"] == "compiled" else 0.0} for row in rows]


def on_gpu(x: torch.Tensor) -> dict | None:
    """Milliseconds a batch on a GPU, drawing included: 128 images, and the 64 of the predecessor; None without one."""
    if not torch.cuda.is_available():
        print("not measured on a GPU")
        return None
    found = {}
    for n in (64, 128):
        here, batch, times = x[:n].cuda(), BatchAugment([RandomGeometry(**GEOMETRY)], NORMALIZE), []
        for _ in range(60):
            torch.cuda.synchronize()
            start = time.perf_counter()
            batch.prepare(here, True)
            torch.cuda.synchronize()
            times.append(1e3 * (time.perf_counter() - start))
        found[f"{n} images, ms"] = statistics.median(times[10:])
    return {"device": torch.cuda.get_device_name()} | found


# --- what it brings ------------------------------------------------------------------------------

def photos(path, per_class: int | None) -> Dataset:
    """Photos as bytes, cut to squares."""
    fit = Resize(SIDE, "crop")
    return photo_set(class_folders(path), per_class, lambda file: to_byte_tensor(fit(open_image(file, draft=2 * SIDE))))


def train(train_set: Dataset, test_set: Dataset, tfms: list, seed: int, epochs: int) -> dict:
    """One run: accuracy on the test photos, and on the training photos as they are."""
    torch.manual_seed(seed)
    model = init_cnn(simple_cnn(CHANNELS, c_in=3, norm=nn.BatchNorm2d))
    dls = DataLoaders(DataLoader(train_set, BATCH, shuffle=True, drop_last=True, seed=seed), None)
    learn = Learner(model, dls, F.cross_entropy, lr=RATE, metrics=accuracy, cbs=[BatchAugment(tfms, NORMALIZE)])
    start = time.perf_counter()
    learn.fit_one_cycle(epochs)
    seconds = time.perf_counter() - start
    seen, new = (learn.validate(DataLoader(part, 250)) for part in (train_set, test_set))
    return {"seed": seed, "accuracy": new["accuracy"], "loss": new["loss"], "training accuracy": seen["accuracy"],
            "seconds": seconds}


def gain(data, seeds: int, epochs: int) -> list[dict]:
    """Each set of transforms with each seed."""
    train_set, test_set = photos(data.path / "train", PER_CLASS), photos(data.path / "val", None)
    print(f"{len(train_set):,} photos to train on, {len(test_set):,} to test on, {SIDE} pixels, {epochs} epochs\n")
    runs = {name: [] for name in SETS}
    for seed in range(seeds):                    # seed by seed, so that a slow hour hits all alike
        for name, tfms in SETS.items():
            runs[name].append(train(train_set, test_set, tfms, seed, epochs))
            print(f"seed {seed}  {name:28} {runs[name][-1]['accuracy']:.4f}  training photos "
                  f"{runs[name][-1]['training accuracy']:.4f}  {runs[name][-1]['seconds']:.0f} s", flush=True)
    rows = []
    for name, its in runs.items():
        columns = {what: [run[what] for run in its] for what in ("accuracy", "training accuracy", "loss")}
        rows.append({"transforms": name, **{f"{what}{end}": f(values) for what, values in columns.items()
                                            for end, f in [("", statistics.mean), (" std", statistics.stdev)]},
                     "runs": its})
        print(f"{name:28} {rows[-1]['accuracy']:.4f} ± {rows[-1]['accuracy std']:.4f}")
    return rows


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each set of transforms (default 3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of each run (default {EPOCHS})")
    parser.add_argument("--only", choices=["cost", "gain"], help="one of the two parts")
    args = parser.parse_args()
    if args.seeds < 2 or args.epochs < 1:
        parser.error("need at least 2 seeds and 1 epoch")
    torch.set_num_threads(1)
    data = choose_data("imagenette", "shapes")
    print(f"{data.title}, {cpu_name()}, one thread; torch {torch.__version__}\n")
    result = {"data": data.title}
    if args.only != "gain":
        result |= cost(get_files(data.path / "val"))
    if args.only != "cost":
        result |= {"gain": gain(data, args.seeds, args.epochs), "seeds": list(range(args.seeds)), "epochs": args.epochs,
                   "training photos": 10 * PER_CLASS, "side": SIDE, "batch size": BATCH, "highest rate": RATE,
                   "channels": CHANNELS}
    if args.only and args.json and args.json.exists():
        result = json.loads(args.json.read_text(encoding="utf-8")) | result | machine()
        result.pop("title")
        result = {k: v for k, v in result.items() if k not in machine()}
    write_result(args.json, "Augmentation: lessons 10 and 10a", **result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
