#!/usr/bin/env python3
"""Lesson 11b: images a second of one process with one thread, one with two, and two processes with one each.

    python bench/distributed.py                  print the table
    python bench/distributed.py --json FILE      write it, with every run, to FILE too
    python bench/distributed.py --steps 4 --repeats 1   a first try

Random images, so that no data are needed, and a whole batch of 64 in each case; the processor only. The MLP
has little to compute and as much to exchange as it has parameters; the residual network has much to compute.
The three ways take turns, after a round that is not counted. Two threads and two processes use the same two
cores: what the ratio says is which of them uses these better, not what a second machine would bring.
"""
from __future__ import annotations

import os
import statistics
import sys
import time
from functools import partial

os.environ["CUDA_VISIBLE_DEVICES"] = ""

import torch
import torch._dynamo                                   # once, and not in each process
import torch.nn.functional as F
from torch import nn

from common import cpu_name, options, write_result

from exp.data_loading import DataLoader, Dataset
from exp.distributed import Distributed
from exp.learner import Learner
from exp.minibatch_training import DataLoaders
from exp.optimizers import sgd
from exp.processes import ShardSampler, in_processes
from exp.xresnet import xresnet18

BATCH = 64
WAYS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes, 1 thread each": (2, 1)}
NETWORKS = {
    "MLP 784-256-10": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)),
                       (1, 28, 28), 20),
    "xresnet18, 64 px": (partial(xresnet18, n_classes=10), (3, 64, 64), 1)}   # model, image, times so many steps


def images_a_second(world, network: str, threads: int, steps: int) -> float:
    """What one process measures, with the batch shared by all."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    make, shape, times = NETWORKS[network]
    data = Dataset(torch.randn(BATCH * steps, *shape), torch.arange(BATCH * steps) % 10)
    loader = DataLoader(data, BATCH // world.size, sampler=ShardSampler(len(data), shuffle=True, drop_last=True))
    learn = Learner(make(), DataLoaders(loader, None), F.cross_entropy, sgd, lr=0.01, device="cpu", cbs=[Distributed()])
    learn.fit(1)
    start = time.perf_counter()
    learn.fit(times)
    return len(data) * times / (time.perf_counter() - start)


def measure(network: str, way: str, steps: int) -> float:
    """Images a second of all processes together: of the slowest, as they wait for one another."""
    processes, threads = WAYS[way]
    found = in_processes(processes, images_a_second, network, threads, steps, timeout=900.0)
    if odd := [x for x in found if not isinstance(x, float)]:
        raise RuntimeError(f"{network}, {way}: {odd[0]}")
    return min(found)


def main() -> int:
    parser = options(__doc__, repeats=5)
    parser.add_argument("--steps", type=int, default=20, help="batches an epoch (default 20)")
    args = parser.parse_args()
    print(f"{cpu_name()}; torch {torch.__version__}; batch {BATCH} in all\n")
    rows = []
    for network in NETWORKS:
        runs = {way: [] for way in WAYS}
        for turn in range(args.repeats + 1):
            for way in list(WAYS)[::-1 if turn % 2 else 1]:
                rate = measure(network, way, args.steps)
                runs[way] += [rate] if turn else []
        base = next(iter(runs.values()))
        for way, rates in runs.items():
            speed = statistics.median(rate / one for rate, one in zip(rates, base))
            rows.append({"network": network, "how": way, "speed": speed,
                         "images a second": statistics.median(rates), "every run": rates})
            print(f"{network:18} {way:28} {rows[-1]['images a second']:10.0f} images/s   {speed:.2f} times", flush=True)
    write_result(args.json, "One process and two", cores=os.cpu_count(), batch=BATCH, steps=args.steps, results=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
