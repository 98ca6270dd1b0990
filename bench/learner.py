#!/usr/bin/env python3
"""Our training loop against a bare PyTorch loop, and against the peers that are installed.

    python bench/learner.py                   print the table
    python bench/learner.py --json FILE       write it, with every run, to FILE too
    python bench/learner.py --batch-size 512  larger batches: the loop weighs less, its bar is lower
    python bench/learner.py --net cnn         a small convolutional network, whose step takes longer

An MLP 784-50-10 with ReLU, or a convolutional network of 8, 16 and 32 channels on images of 28 pixels; one epoch of
100 batches of 64 and 20 in validation, on one thread. The bare loop trains with PyTorch's SGD, and measures validation loss
and accuracy. Ours is a `Learner` that does the same with metrics, a recorder of losses and rates and a one-cycle
schedule, and with our own SGD; other rows change one thing. With PyTorch's SGD on both sides one sees the loop alone.
The loops take turns (A B C, C B A …); ratios are taken round by round.
fastai, Lightning, Accelerate, Ignite and skorch are measured if they are installed; the project never needs them.
"""
from __future__ import annotations

import importlib.util
import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from common import cpu_name, options, print_ratios, summarise, take_turns, verdict, write_result

from exp.callbacks import Runner
from exp.cnn import simple_cnn
from exp.data_loading import DataLoader, Dataset
from exp.learner import Learner
from exp.minibatch_training import DataLoaders, accuracy
from exp.optimizers import sgd

BARS = {("mlp", 64): 1.05, ("mlp", 512): 1.03, ("cnn", 64): 1.03}   # times the bare loop: the most that ours may take
NETS = {"mlp": ((784,), lambda: nn.Sequential(nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10)), "MLP 784-50-10"),
        "cnn": ((1, 28, 28), lambda: simple_cnn([8, 16, 32], 1), "CNN 8-16-32, images of 28 pixels")}
STEPS = 100                    # batches in an epoch; a fifth as many samples in validation


net_name = "mlp"               # of NETS; the command line chooses


def loaders(size: int) -> DataLoaders:
    """Random rows with labels, in memory."""
    g = torch.Generator().manual_seed(0)
    rows = STEPS * size
    x, y = torch.randn(rows, *NETS[net_name][0], generator=g), torch.randint(10, (rows,), generator=g)
    return DataLoaders(DataLoader(Dataset(x, y), size, shuffle=True, seed=0),
                       DataLoader(Dataset(x[:rows // 5], y[:rows // 5]), 2 * size))


def model() -> nn.Module:
    torch.manual_seed(0)
    return NETS[net_name][1]()


def bare(dls: DataLoaders, fused: bool | None = None):
    """What one would write by hand: train, then loss and accuracy in validation."""
    net = model()
    opt = torch.optim.SGD(net.parameters(), 0.1, fused=fused)

    def epoch():
        net.train()
        for xb, yb in dls.train:
            loss = F.cross_entropy(net(xb), yb)
            loss.backward()
            opt.step()
            opt.zero_grad()
        net.eval()
        with torch.no_grad():
            total, right = 0, 0
            for xb, yb in dls.valid:
                pred = net(xb)
                total += F.cross_entropy(pred, yb) * len(yb)
                right += (pred.argmax(1) == yb).sum()
        n = len(dls.valid.dataset)
        return float(total) / n, float(right) / n
    return epoch


def learner(dls: DataLoaders, opt_func=sgd, one_cycle: bool = True, **options):
    """Our loop over the same work."""
    learn = Learner(model(), dls, F.cross_entropy, opt_func, 0.1, metrics=accuracy, device="cpu", **options)
    return lambda: (learn.fit_one_cycle if one_cycle else learn.fit)(1)


def runner(dls: DataLoaders):
    """The loop alone, without any callback of its own."""
    run = Runner(model(), dls, F.cross_entropy, partial(torch.optim.SGD, lr=0.1))
    return lambda: run.fit(1)


def accelerate_loop(dls: DataLoaders):
    from accelerate import Accelerator
    acc = Accelerator(cpu=True)
    net, opt = acc.prepare(model_ := model(), torch.optim.SGD(model_.parameters(), 0.1))

    def epoch():
        net.train()
        for xb, yb in dls.train:
            acc.backward(F.cross_entropy(net(xb), yb))
            opt.step()
            opt.zero_grad()
        net.eval()
        with torch.no_grad():
            for xb, yb in dls.valid:
                F.cross_entropy(net(xb), yb), accuracy(net(xb), yb)
    return epoch


def fastai_loop(dls: DataLoaders):
    from fastai.data.core import DataLoaders as Pair
    from fastai.learner import Learner
    from fastai.metrics import accuracy as metric
    for dl in (dls.train, dls.valid):
        dl.device, dl.n = torch.device("cpu"), len(dl.dataset)
    learn = Learner(Pair(dls.train, dls.valid), model(), F.cross_entropy, metrics=metric)

    def epoch():
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(1, 0.1)
    return epoch


def lightning_loop(dls: DataLoaders):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model()

        def training_step(self, batch, i):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, i):
            pred = self.net(batch[0])
            self.log("loss", F.cross_entropy(pred, batch[1]))
            self.log("accuracy", accuracy(pred, batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    def epoch():
        lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False,
                          enable_checkpointing=False, enable_model_summary=False,
                          num_sanity_val_steps=0).fit(Module(), dls.train, dls.valid)
    return epoch


def ignite_loop(dls: DataLoaders):
    from ignite.engine import create_supervised_evaluator, create_supervised_trainer
    from ignite.metrics import Accuracy, Loss
    net = model()
    trainer = create_supervised_trainer(net, torch.optim.SGD(net.parameters(), 0.1), F.cross_entropy)
    judge = create_supervised_evaluator(net, {"accuracy": Accuracy(), "loss": Loss(F.cross_entropy)})

    def epoch():
        trainer.run(dls.train, max_epochs=1)
        judge.run(dls.valid)
    return epoch


def skorch_loop(dls: DataLoaders):
    from skorch import NeuralNetClassifier
    from skorch.helper import predefined_split
    net = NeuralNetClassifier(model(), criterion=nn.CrossEntropyLoss, lr=0.1, max_epochs=1, verbose=0,
                              train_split=predefined_split(dls.valid.dataset),
                              iterator_train=lambda data, **_: dls.train, iterator_valid=lambda data, **_: dls.valid)
    net.initialize()
    return lambda: net.partial_fit(dls.train.dataset, None)


PEERS = {"fastai": fastai_loop, "lightning": lightning_loop, "accelerate": accelerate_loop, "ignite": ignite_loop,
         "skorch": skorch_loop}


def loops(size: int) -> dict:
    """Name -> a function that trains one epoch; the limit comes first."""
    found = {"bare loop (limit)": bare(loaders(size)),
             "Learner: metrics, recorder, one-cycle": learner(loaders(size)),
             "the same, accuracy in training too": learner(loaders(size), train_metrics=True),
             "Learner with torch.optim.SGD": learner(loaders(size), torch.optim.SGD),
             "Learner with torch.optim.SGD, fused": learner(loaders(size), partial(torch.optim.SGD, fused=True)),
             "Runner, no callbacks": runner(loaders(size)),
             "bare loop, fused SGD": bare(loaders(size), fused=True)}
    for name, make in PEERS.items():
        if importlib.util.find_spec(name):
            found[name] = make(loaders(size))
    return found


def main() -> int:
    parser = options(__doc__, repeats=40)
    parser.add_argument("--batch-size", type=int, default=64, help="64 or 512")
    parser.add_argument("--net", choices=NETS, default="mlp", help="(default mlp)")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("need at least 1 round")
    if (which := (args.net, args.batch_size)) not in BARS:
        parser.error(f"need a network and a batch size of {[*BARS]}, got {which}")
    global net_name
    net_name = args.net
    torch.set_num_threads(1)
    print(f"{NETS[args.net][2]}, batch {args.batch_size}; one thread; {args.repeats} rounds; {cpu_name()}; "
          f"torch {torch.__version__}\n")
    rows = summarise(take_turns(loops(args.batch_size), args.repeats), "loop", "us a step", 1e6 / STEPS)
    print_ratios(rows)
    bar, missing = BARS[which], [n for n in PEERS if not importlib.util.find_spec(n)]
    print("\n" + verdict(rows[1]["ratio to the limit"], bar, "the bare loop"))
    print("not installed: " + (", ".join(missing) or "none"))
    write_result(args.json, "The training loop", model=NETS[args.net][2], **{"batch size": args.batch_size}, bar=bar,
                 results=rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
