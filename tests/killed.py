"""What the processes of test_resume.py do until they are killed. They import no more than they need.

Each function is given `tell`, which sends a message to the test.
"""
import hashlib
import json
import random

import numpy
import torch
from torch import nn

from exp.anneal import ParamScheduler, Recorder, one_cycle
from exp.callbacks import Callback, MetricsCallback
from exp.checkpoints import atomic_write, save_weights
from exp.data_loading import DataLoader, Dataset
from exp.early_stopping import EarlyStopping, SkipStep
from exp.minibatch_training import DataLoaders, accuracy, cross_entropy
from exp.resuming import Checkpoint, ResumableRunner

torch.optim.SGD([torch.zeros(1)], 0.1)            # the first optimizer imports much more: in the server, once


def live(work, tell, *arguments):
    """The life of a process."""
    torch.set_num_threads(1)
    work(tell, *arguments)


class Noise(Callback):
    """Draw from each of the generators that all share."""

    def before_batch(self):
        noise = random.random() + numpy.random.rand() + torch.randn_like(self.learn.xb)
        self.learn.xb = self.learn.xb + 0.1 * noise


class EverySecond(Callback):
    """Collect the gradients of two batches for one step."""

    def after_backward(self):
        if self.learn.iter % 2 == 0:
            raise SkipStep(keep_gradients=True)


class News(Callback):
    """Tell of each training batch, before or after the checkpoint is written."""

    def __init__(self, tell, order):
        self.tell, self.order = tell, order

    def after_batch(self):
        if self.learn.training:
            self.tell((self.learn.epoch, self.learn.iter))


class Drawing:
    """Rows to which noise is added when they are fetched, in whatever process."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i] + 0.1 * torch.randn(8) + 0.1 * random.random() + 0.1 * numpy.random.rand(), self.y[i]


def train(tell, path, workers, seed, resume=None):
    """A fit with all that could spoil exactness; tells each batch, and in the end a digest of what it leaves."""
    torch.manual_seed(seed), random.seed(seed), numpy.random.seed(seed)
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 8, generator=g), torch.randint(3, (200,), generator=g)
    loader = DataLoader(Drawing(x, y), 20, shuffle=True, num_workers=workers, seed=seed)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    cbs = [MetricsCallback(True, accuracy=accuracy), Recorder(), EarlyStopping(patience=2), Noise(), EverySecond(),
           ParamScheduler("lr", one_cycle(0.3)), Checkpoint(path, every=3), News(tell, random.choice([-10, 2000]))]
    run = ResumableRunner(model, DataLoaders(loader, DataLoader(Dataset(x[:50], y[:50]), 25)), cross_entropy,
                          lambda params: torch.optim.SGD(params, 0.1, momentum=0.9), cbs)
    run.fit(6, resume)
    left = [[t.tolist() for t in model.state_dict().values()], run.history, cbs[1].lrs, cbs[1].losses,
            cbs[2].best_epoch, cbs[2].stopped_epoch]
    tell(hashlib.sha256(json.dumps(left).encode()).hexdigest())


def write(tell, kind, path):
    """Write a large model again and again; in each turn all its numbers are the number of the turn."""
    model, turn = nn.Sequential(*[nn.Linear(1000, 1000) for _ in range(5)]), 0
    while True:
        turn += 1
        for p in model.parameters():
            p.data.fill_(turn)
        if kind == "weights":
            save_weights(model, path)
        else:
            with atomic_write(path) as part:
                torch.save(model.state_dict(), part)
        tell(turn)


def fit(path, width):
    model = nn.Sequential(nn.Linear(8, width), nn.Linear(width, 4))
    dls = DataLoaders([(torch.ones(4, 8), torch.arange(4))], None)
    ResumableRunner(model, dls, cross_entropy, torch.optim.Adam, [Checkpoint(path)]).fit(1)


def write_bytes(path, width):
    with atomic_write(path) as part:
        part.write_bytes(bytes(1000 * width))


WAYS = {"checkpoint": fit, "bytes": write_bytes, "weights": lambda path, width: save_weights(nn.Linear(99, width), path)}


def fill(tell, folder):
    """Write small files; then large ones, to a system that lets no file grow so large."""
    import resource                                       # not on Windows
    import signal
    for name, way in WAYS.items():
        way(folder / name, 10)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)         # an error in place of the signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    for name, way in WAYS.items():
        try:
            way(folder / name, 5000)
        except BaseException as error:
            notes = " ".join(getattr(error, "__notes__", []))
            tell((name, isinstance(error, OSError), getattr(error, "errno", None), f"{error} {notes}"))
