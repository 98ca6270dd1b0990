#!/usr/bin/env python3
"""Our ways to load photos against torch.utils.data with two worker processes.

    python bench/image_loading.py                   print the tables
    python bench/image_loading.py --json FILE       write them, with every run, to FILE too

Two sets of photos: those of the data set as they are, and some of them enlarged to 500 × 375 and saved again.
A run decodes all photos of a set, brings them to 128 × 128 where they are larger, and gives uint8 batches of 64;
PyTorch's loader gets them with the usual lines for Pillow, also as uint8. Everybody has two workers: processes or
threads. "size" is `open_bytes`: decoded by Pillow (or by simplejpeg: "turbo"), resized by PyTorch. It comes in threads, in
the processes of our loader, which send batches through a pipe, and in those of PyTorch's, which share memory. The loaders
take turns (A B C, C B A …); speeds are medians, and ratios to PyTorch's loader with the usual lines are taken round by round.
The cache is measured from the second epoch on, shuffled, in ten epochs a run. Enlarged photos have less fine detail than real
ones of their size, so their files are smaller and less is left to unpack.
"""
from __future__ import annotations

import contextlib
import importlib.util
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from PIL import Image
from torch.utils import data as torch_data

from common import cpu_name, options, print_ratios, summarise, take_turns, write_result

from exp.data_block import LabeledData
from exp.data_loading import DataLoader
from exp.datasets import choose_data
from exp.decoding import FastImageList
from exp.image_loading import ThreadedLoader, cache_images
from exp.images import Resize, open_image, to_byte_tensor
from exp.items import get_files

SIDE, BATCH, WORKERS, EPOCHS = 128, 64, 2, 10
BARS = {"as they are": {"threads, size": 1.15, "threads, size, turbo": 1.4, "from the cache": 10},
        "500 × 375": {"threads, size": 1.6}}       # at least so many times PyTorch's photos a second


class Usual(torch_data.Dataset):
    """Photos read as it is usually done with Pillow."""

    def __init__(self, files: list[Path]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = Image.open(self.files[i]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return torch.from_numpy(numpy.array(image)).permute(2, 0, 1).contiguous(), 0


def enlarge(files: list[Path], folder: Path) -> list[Path]:
    """Copies of some photos with 500 × 375 pixels."""
    for i, file in enumerate(files):
        open_image(file).resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{i:05}.jpg", quality=90)
    return sorted(folder.iterdir())


def epochs(files: list[Path], cache: Path) -> dict:
    """Name -> a function that goes through all photos once; from the cache, `EPOCHS` times."""
    def through(loader, times=1):
        def epoch():
            n = sum(len(x) for _ in range(times) for x, _ in loader)
            assert n == times * len(files)
        return epoch

    def data(**how):
        tfms = [] if "size" in how else [Resize(SIDE), to_byte_tensor]
        return LabeledData(FastImageList(files, tfms=tfms, **how), [0] * len(files))

    def threads(**how):
        return through(ThreadedLoader(data(**how), BATCH, num_threads=WORKERS))

    calls = {"PyTorch's, 2 processes": through(torch_data.DataLoader(Usual(files), BATCH, num_workers=WORKERS)),
             "processes, size": through(DataLoader(data(size=SIDE), BATCH, num_workers=WORKERS)),
             "PyTorch's processes, size": through(
                 torch_data.DataLoader(data(size=SIDE), BATCH, num_workers=WORKERS)),
             "threads, Pillow's resize": threads(draft=SIDE), "threads, size": threads(size=SIDE)}
    if importlib.util.find_spec("simplejpeg"):
        calls["threads, size, turbo"] = threads(size=SIDE, turbo=True)
    with contextlib.redirect_stdout(None):
        kept = cache_images(data(size=SIDE), cache)
    return calls | {"from the cache": through(DataLoader(kept, BATCH, shuffle=True), EPOCHS)}


def measure(photos: str, files: list[Path], rounds: int) -> list[dict]:
    """A row a loader."""
    with tempfile.TemporaryDirectory() as cache:
        seconds = take_turns(epochs(files, Path(cache)), rounds)
    seconds["from the cache"] = [run / EPOCHS for run in seconds["from the cache"]]
    rows = summarise(seconds, "loader", "ms an epoch", 1e3)
    print(f"{len(files):,} photos, {photos}: ratios of time\n")
    print_ratios(rows)
    found = []
    for row in rows:
        times, bar = 1 / row["ratio to the limit"], BARS[photos].get(row["loader"])
        met = None if bar is None else times >= bar
        if bar:
            print(f"{row['loader']}: bar: at least {bar} times PyTorch's photos a second; measured {times:.2f}: "
                  + ("met" if met else f"missed by {1 - times / bar:.1%}"))
        found.append({"photos": photos, "loader": row["loader"],
                      "photos a second": 1e3 * len(files) / row["ms an epoch"],
                      "times the speed": times, "bar": bar, "met": met,
                      "quartiles": [1 / q for q in reversed(row["quartiles"])], "seconds": row["seconds"]})
    print()
    return found


def main() -> int:
    parser = options(__doc__, repeats=21)
    parser.add_argument("--photos", type=int, default=1500, help="of each set (default 1,500)")
    args = parser.parse_args()
    if args.repeats < 1 or args.photos < BATCH:
        parser.error(f"need at least 1 round and {BATCH} photos")
    data = choose_data("imagenette", "shapes")
    files = get_files(data.path / "train", {".jpg", ".jpeg"})
    files = files[:: max(1, len(files) // args.photos)][:args.photos]
    print(f"{data.title}; 2 workers; {args.repeats} rounds; {cpu_name()}; torch {torch.__version__}\n")
    with tempfile.TemporaryDirectory() as folder:
        large = enlarge(files[::3], Path(folder))
        rows = measure("as they are", files, args.repeats) + measure("500 × 375", large, args.repeats)
    write_result(args.json, "Loading photos", data=data.title, size=SIDE, workers=WORKERS, **{"batch size": BATCH},
                 results=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
