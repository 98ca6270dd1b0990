#!/usr/bin/env python3
"""Every bar of speed in one table: run the benchmarks one after another, and collect what they found.

    python bench/all.py                      run all of them, write results/bench.json, print the table
    python bench/all.py --only lstm loader   run some, take the others' results as they are
    python bench/all.py --collect            run none

A row says what is measured, what counts as 1, the bar, what we reached with its spread, and the peers that were installed
where the benchmark ran. Nothing else should run on the machine meanwhile. The benchmarks of accuracy, which take hours, are run
by themselves; the lessons name them.
"""
from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
FROM = ("machine", "threads", "python", "torch", "system", "commit", "date")       # of a result: where it was measured


@dataclass(frozen=True)
class Bar:
    """One bar: where its numbers lie in a result, and what they are compared with."""
    work: str                     # what is measured
    limit: str                    # what counts as 1, or the unit
    bar: float
    bench: str                    # name of the script in bench/
    ours: str                     # the name of our row in its result
    peers: tuple[str, ...] = ()   # names of others' rows there
    at: dict = field(default_factory=dict)      # what else must be true of these rows
    value: str = "ratio to the limit"
    least: bool = False           # is more better?
    options: str = ""             # of the command line
    file: str = ""                # results/….json, if not that of the script's name
    lesson: str = ""              # the page that tells more
    why: str = ""                 # if the bar is not met

    @property
    def path(self) -> Path:
        return RESULTS / f"{self.file or self.bench}.json"


def adam(which: str, bar: float, **how) -> Bar:
    work = {"resnet18": "Adam step, 11.2 M values of a ResNet-18", "mlp": "Adam step, small MLP"}[which]
    return Bar(work + (", compiled" if how.get("ours") else ""), "PyTorch's fused Adam", bar, "optimizers",
               how.get("ours", "our Adam"), ("torch Adam, default", "torch Adam, foreach", "fastai Adam"), {"list": which},
               lesson="09a1_compiled_step" if how.get("ours") else "09_optimizers")


def photos(which: str, way: str, bar: float, why: str = "") -> Bar:
    names = {"threads, size": "Pillow, threads", "PyTorch's processes, size": "Pillow, our list in PyTorch's processes",
             "threads, size, turbo": "simplejpeg, threads", "from the cache": "from the cache"}
    peers = ("processes, size", "PyTorch's processes, size") if way == "threads, size" else ()
    return Bar(f"photos to batches, {which}: {names[way]}", "PyTorch's loader, 2 processes", bar, "image_loading", way, peers,
               at={"photos": which}, value="times the speed", least=True, lesson="08b_image_loading", why=why)


def loop(work: str, bar: float, ours: str = "Learner: metrics, recorder, one-cycle", **options) -> Bar:
    peers = ("fastai", "lightning", "accelerate", "skorch", "ignite")
    return Bar(work, "bare loop, PyTorch's SGD", bar, "learner", ours, peers, lesson="09b_learner", **options)


BARS = [
    loop("training loop, MLP 784-50-10, batches of 64, with metrics, recorder, one-cycle, our SGD", 1.05),
    loop("the same with PyTorch's SGD in our loop too", 1.05, "Learner with torch.optim.SGD",
         why="What listens to each batch takes its time, which shows in so small a network; our own SGD makes up for it."),
    loop("the same with our SGD, batches of 512", 1.03, options="--batch-size 512", file="learner_512"),
    loop("the same with our SGD, small CNN, batches of 64", 1.03, options="--net cnn --repeats 15", file="learner_cnn"),
    Bar("loader in memory, 20,000 x 784, batches of 64", "one index_select a batch", 1.2, "loader", "exp.data_loading",
        ("torch.utils.data",), lesson="02c_data_loading"),
    photos("as they are", "threads, size", 1.15, "Of photos with a short side of 160 pixels the whole must be decoded, by all; and "
           "to open a file and read its header is Python, where threads take turns."),
    photos("as they are", "PyTorch's processes, size", 1.15),
    photos("as they are", "threads, size, turbo", 1.4, "The faster the decoder, the more weighs what keeps threads waiting, as above."),
    photos("as they are", "from the cache", 10), photos("500 × 375", "threads, size", 1.6),
    adam("resnet18", 3.0), adam("resnet18", 1.0, ours="our Adam, compiled"),
    adam("mlp", 1.9), adam("mlp", 0.6, ours="our Adam, compiled"),
    Bar("LAMB step, 11.2 M values of a ResNet-18", "PyTorch's fused Adam", 2.5, "optimizers", "our LAMB", at={"list": "resnet18"},
        lesson="09a_large_batch", why="Each of its pieces goes through all values once more; the compiled step, below, goes once."),
    Bar("the same, compiled", "PyTorch's fused Adam", 2.5, "optimizers", "our LAMB, compiled", at={"list": "resnet18"},
        lesson="09a_large_batch"),
    Bar("affine change, flip and normalisation, 128 x 3 x 128 x 128", "one grid_sample", 1.1, "augmentation",
        "the batch: grid, sample, normalise", ("Pillow, image by image",), options="--only cost", lesson="10a_batch_augmentation"),
    Bar("watching activations, batches of 512", "a step without", 1.1, "hooks", "means, deviations, dead", at={"batch size": 512},
        lesson="05e_hooks"),
    Bar("residual network, bfloat16 and channels_last, a step on the CPU", "32 bits", 0.5, "mixed_precision",
        "bfloat16, channels_last", lesson="10c_fp16", why="Without instructions for bfloat16, a processor has to emulate it."),
    Bar("LSTM by hand, forward and backward, 64 x 70, 400 to 1150", "nn.LSTM", 2.0, "lstm", "by hand",
        ("readable", "readable, step compiled"), lesson="12a4_fast_lstm"),
    Bar("weight dropout around an LSTM", "nn.LSTM", 1.05, "weight_dropout", "ours", lesson="12a_awd_lstm"),
    Bar("tokenizing reviews, one core, words seen for the first time", "MB/s", 3.0, "tokenizing", "cold", value="MB/s", least=True,
        lesson="12_text"),
    Bar("tokenizing reviews, one core, with the memory of words", "MB/s", 5.0, "tokenizing", "warm", value="MB/s", least=True,
        lesson="12_text"),
    Bar("MNIST to 99 %, mean of five seeds: the time", "bare PyTorch loop", 1.05, "mnist_99", "Learner", lesson="06_cuda_cnn_hooks_init"),
    Bar("import exp.learner", "import torch", 1.1, "imports", "exp.learner", ("fastai.vision.all", "lightning"), lesson="09b_learner",
        why="The rest are our own modules, and Pillow, safetensors and filelock, which they need."),
]


def tables(value) -> Iterator[dict]:
    """All dictionaries that lie in lists, however deep: the rows of a result."""
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            yield from tables(inner)
        if isinstance(value, list) and isinstance(inner, dict):
            yield inner


def rows_of(bar: Bar, result: dict) -> dict[str, dict]:
    """Name -> row, of all rows that have what the bar asks for. The name is a row's first text."""
    found = {}
    for row in tables(result):
        if bar.value in row and all(row.get(k) == v for k, v in bar.at.items()):
            name = next(v for k, v in row.items() if isinstance(v, str) and k not in bar.at)
            found.setdefault(name, row)
    return found


def collect(bar: Bar) -> dict:
    """The bar with what was measured; without it if there is no result."""
    about = {"work": bar.work, "limit": bar.limit, "bar": bar.bar, "at least": bar.least, "lesson": bar.lesson, "why": bar.why,
             "command": f"python bench/{bar.bench}.py {bar.options}".strip()}
    if not bar.path.exists():
        return about | {"ours": None}
    result = json.loads(bar.path.read_text(encoding="utf-8"))
    rows = rows_of(bar, result)
    if bar.ours not in rows:
        return about | {"ours": None}
    row = rows[bar.ours]
    ours = row[bar.value]
    spread = row.get("quartiles") or [row[k] for k in ("lowest", "highest") if k in row]
    return about | {"ours": ours, "spread": spread, "met": ours >= bar.bar if bar.least else ours <= bar.bar,
                    "peers": {name: rows[name][bar.value] for name in bar.peers if name in rows},
                    **{key: result[key] for key in FROM if key in result}}


def run(bar: Bar) -> None:
    """Run the bar's benchmark; its result is written where the bar looks for it."""
    start = time.perf_counter()
    command = [sys.executable, str(HERE / f"{bar.bench}.py"), *bar.options.split(), "--json", str(bar.path)]
    print(f"\n== {bar.bench} {bar.options}".rstrip(), flush=True)
    if subprocess.run(command, cwd=HERE.parent).returncode:
        print(f"{bar.bench} failed: its old result stays")
    print(f"({time.perf_counter() - start:.0f} s)", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=sorted({bar.bench for bar in BARS}), help="run these")
    parser.add_argument("--collect", action="store_true", help="run none")
    args = parser.parse_args()
    todo = {} if args.collect else {bar.path: bar for bar in BARS if not args.only or bar.bench in args.only}
    for bar in todo.values():
        run(bar)
    rows = [collect(bar) for bar in BARS]
    (RESULTS / "bench.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    width = max(len(row["work"]) for row in rows)
    for row in rows:
        what = "not measured" if row["ours"] is None else f"{row['ours']:8.3f}  {'met' if row['met'] else 'NOT MET'}"
        print(f"{row['work']:{width}} {'>=' if row['at least'] else '<='} {row['bar']:5} {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
