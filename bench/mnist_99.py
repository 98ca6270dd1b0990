#!/usr/bin/env python3
"""MNIST to 99.0 % on the test set, mean of five seeds: our Learner against a bare PyTorch loop with the same recipe.

    python bench/mnist_99.py                   print the table
    python bench/mnist_99.py --json FILE       write it, with every run, to FILE too
    python bench/mnist_99.py --choose          how the recipe was chosen: on validation images and a seed of its own

Three convolutions with batch normalization, SGD with momentum and Nesterov's look ahead, one cycle of the rate, no augmentation.
Both loops get the same network, the same weights at the start, the same batches in the same order and the same optimizer, and
end with the same accuracy, which is checked; they take turns. The seconds are those of training and of one pass over the test images.
"""
from __future__ import annotations

import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

from common import against, cpu_name, options, print_ratios, verdict, write_result

from exp.anneal import one_cycle
from exp.data_block import DataBunch
from exp.data_loading import DataLoader, Dataset
from exp.datasets import load_data
from exp.learner import Learner
from exp.minibatch_training import accuracy

BAR, GOAL, SEEDS, OTHER_SEED = 1.05, 0.990, 5, 100
CHANNELS, BATCH, EPOCHS, RATE, MOMENTUM = (8, 16, 32), 64, 2, 0.3, 0.9
RATES = (0.1, 0.2, 0.3, 0.5)


def images() -> dict[str, Dataset]:
    """Normalized images (n, 1, 28, 28) with labels; the mean and deviation are those of the training images."""
    data = load_data("mnist")
    mean, std = data.x_train.float().mean(), data.x_train.float().std()
    return {part: Dataset((getattr(data, f"x_{part}")[:, None].float() - mean) / std, getattr(data, f"y_{part}"))
            for part in ("train", "valid", "test")}


def network(seed: int) -> nn.Module:
    """Convolution, batch norm, ReLU and pooling by turns: 28, 14, 7, 3 pixels; then one layer for the ten classes."""
    torch.manual_seed(seed)
    layers = []
    for n_in, n_out in zip((1, *CHANNELS), CHANNELS):
        layers += [nn.Conv2d(n_in, n_out, 5 if n_in == 1 else 3, padding="same", bias=False), nn.MaxPool2d(2),
                   nn.BatchNorm2d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(9 * CHANNELS[-1], 10))


def loaders(parts: dict[str, Dataset], seed: int, judge: str) -> DataBunch:
    return DataBunch(DataLoader(parts["train"], BATCH, shuffle=True, seed=seed), DataLoader(parts[judge], 1000))


def optimizer(params, lr: float) -> torch.optim.SGD:
    return torch.optim.SGD(params, lr, MOMENTUM, nesterov=True, fused=True)


def ours(dls: DataBunch, seed: int, rate: float) -> float:
    """Accuracy of a Learner after the recipe."""
    learn = Learner(network(seed), DataBunch(dls.train, None), F.cross_entropy, optimizer, rate, metrics=accuracy, device="cpu")
    learn.fit_one_cycle(EPOCHS)
    return learn.validate(dls.valid)["accuracy"]


def bare(dls: DataBunch, seed: int, rate: float) -> float:
    """The same by hand."""
    net, cycle = network(seed), one_cycle(rate)
    opt, steps, step = optimizer(net.parameters(), rate), EPOCHS * len(dls.train), 0
    net.train()
    for _ in range(EPOCHS):
        for x, y in dls.train:
            opt.param_groups[0]["lr"] = cycle(step / steps)
            F.cross_entropy(net(x), y).backward()
            opt.step()
            opt.zero_grad()
            step += 1
    net.eval()
    with torch.no_grad():
        right = sum((net(x).argmax(1) == y).sum().item() for x, y in dls.valid)
    return right / len(dls.valid.dataset)


def timed(run, *arguments) -> tuple[float, float]:
    start = time.perf_counter()
    return run(*arguments), time.perf_counter() - start


def choose(parts: dict[str, Dataset]) -> None:
    """Accuracy on validation images for a few rates."""
    for rate in RATES:
        right, seconds = timed(ours, loaders(parts, OTHER_SEED, "valid"), OTHER_SEED, rate)
        print(f"rate {rate:<5} validation {right:.2%} {seconds:6.1f} s", flush=True)


def main() -> int:
    parser = options(__doc__)
    parser.add_argument("--choose", action="store_true", help="try several rates instead")
    parser.add_argument("--threads", type=int, help="of the processor")
    args, parts = parser.parse_args(), images()
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.choose:
        choose(parts)
        return 0
    ways, runs = {"bare loop (limit)": bare, "Learner": ours}, {"bare loop (limit)": [], "Learner": []}
    bare(loaders(parts, OTHER_SEED, "test"), OTHER_SEED, RATE)                   # a warm-up
    for seed in range(SEEDS):
        for name in list(ways)[::1 if seed % 2 else -1]:
            runs[name].append(timed(ways[name], loaders(parts, seed, "test"), seed, RATE))
        print(f"seed {seed}: " + "; ".join(f"{name} {its[-1][0]:.2%}, {its[-1][1]:.2f} s" for name, its in runs.items()), flush=True)
    found = {name: [right for right, _ in its] for name, its in runs.items()}
    if found["Learner"] != found["bare loop (limit)"]:
        sys.exit(f"the two loops must train the same network, got {found}")
    limit = [seconds for _, seconds in runs["bare loop (limit)"]]
    rows = [{"loop": name, "s": statistics.median(s for _, s in its), **against([s for _, s in its], limit)} for name, its in runs.items()]
    mean, std = statistics.mean(found["Learner"]), statistics.stdev(found["Learner"])
    print(f"\n{cpu_name()}, {torch.get_num_threads()} threads; test accuracy {mean:.2%} ± {std:.2%}, wanted {GOAL:.1%}\n")
    print_ratios(rows)
    print("\n" + verdict(rows[1]["ratio to the limit"], BAR, "the bare loop"))
    write_result(args.json, "MNIST to 99 %", bar=BAR, goal=GOAL, accuracy=mean, std=std, every=found["Learner"], epochs=EPOCHS,
                 channels=CHANNELS, results=rows, **{"batch size": BATCH, "highest rate": RATE})
    return 0


if __name__ == "__main__":
    sys.exit(main())
