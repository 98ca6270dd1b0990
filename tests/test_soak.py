"""Many fits in one process: memory, open files, threads, processes, hooks and tensors stay as many as they were.

Whatever a fit takes, it gives back: also one that is cancelled, one that fails, and a loader that is left half way.
"""
import contextlib
import gc
import io
import multiprocessing
import os
import sys
import threading

import pytest
import torch
from torch import nn

from exp.callbacks import Callback
from exp.cnn import simple_cnn
from exp.data_block import DataBunch
from exp.data_loading import DataLoader, Dataset
from exp.early_stopping import CancelFit, EarlyStopping, TerminateOnNaN
from exp.hooks import ActivationStats, Hook
from exp.image_loading import ThreadedLoader
from exp.inspection import GradCAM, model_summary
from exp.learner import Learner
from exp.loggers import CSVLogger
from exp.lsuv import lsuv_init
from exp.minibatch_training import accuracy, cross_entropy
from exp.mixed_precision import MixedPrecision
from exp.mixup import MixUp
from exp.progress import ProgressCallback
from exp.resuming import Checkpoint

pytestmark = [pytest.mark.xdist_group("soak"), pytest.mark.longest(35),
              pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")]

WARM, FITS = 4, 40
MEGABYTES = 4         # what may remain of memory: the allocator's own, and what an earlier test has freed hides as much again


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def hooks_of(model):
    """How many hooks the parts of a model have."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in model.modules() for kind in kinds)


def holdings():
    """What this process holds now, besides memory."""
    gc.collect()
    everything = gc.get_objects()
    return {"tensors": sum(issubclass(type(x), torch.Tensor) for x in everything),
            "modules": sum(issubclass(type(x), nn.Module) for x in everything),
            "hooks": sum(hooks_of(x) for x in everything if issubclass(type(x), nn.Module)),
            "open files": len(os.listdir("/proc/self/fd")), "threads": threading.active_count(),
            "processes": len(multiprocessing.active_children())}


def megabytes():
    """The memory in use."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def growth(work, times=FITS, warm=WARM):
    """What `work` leaves behind when it is done many times: name -> how much more; nothing if all is flat."""
    for i in range(warm):
        work(i)
    before, memory = holdings(), megabytes()
    for i in range(times):
        work(i)
    more = megabytes() - memory
    found = {name: n - before[name] for name, n in holdings().items() if n > before[name]}
    return found | ({"megabytes": round(more, 1)} if more > MEGABYTES else {})


# --- what is done again and again ------------------------------------------------------------------

def make_data(n=48):
    g = torch.Generator().manual_seed(0)
    return Dataset(torch.rand(n, 1, 12, 12, generator=g), torch.randint(3, (n,), generator=g))


def make_learner(**options):
    data = make_data()
    dls = DataBunch(DataLoader(data, 16, shuffle=True), ThreadedLoader(data, 16, num_threads=2))
    return Learner(simple_cnn([8, 8], n_classes=3), dls, cross_entropy, metrics=accuracy, device="cpu", **options)


def all_callbacks(folder):
    return [ProgressCallback("lines"), CSVLogger(folder / "log.csv"), Checkpoint(folder / "run.pt", every=2),
            EarlyStopping(), TerminateOnNaN(), ActivationStats(bins=8), MixUp()]


def test_fits_of_one_learner(tmp_path):
    learn = make_learner(cbs=all_callbacks(tmp_path))

    def work(i):
        with contextlib.redirect_stdout(io.StringIO()):
            learn.fit_one_cycle(1, 0.01)
        learn.load(learn.save(tmp_path / "weights.safetensors"))
    assert growth(work) == {}


def test_fits_of_new_learners(tmp_path):
    def work(i):
        with contextlib.redirect_stdout(io.StringIO()):
            learn = make_learner(cbs=[*all_callbacks(tmp_path), MixedPrecision(torch.bfloat16)])
            learn.fit(1)
            learn.fit(1, resume=tmp_path / "run.pt")
    assert growth(work, FITS // 2) == {}


def test_fits_that_are_cancelled_or_fail(tmp_path):
    class Break(Callback):
        order = 30

        def after_loss(self):
            if self.learn.iter == 1:
                raise error

    learn = make_learner(cbs=[*all_callbacks(tmp_path), Break()])

    def work(i):
        nonlocal error
        error = [CancelFit(), RuntimeError("as a test")][i % 2]
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(RuntimeError):
            learn.fit(2)
    error = None
    assert growth(work) == {}


def test_judging_looking_and_searching():
    learn = make_learner(cbs=[MixUp()])
    x = make_data().tensors[0][:4]

    def work(i):
        learn.validate(), learn.get_preds(), learn.predict(x[0]), learn.summary()
        learn.lr_find(steps=12)
        model_summary(learn.model, x)
        with GradCAM(learn.model, learn.model[0]) as look:
            look(x)
        lsuv_init(learn.model, x)
    assert growth(work, FITS // 2) == {}


def test_loaders_that_are_left_half_way():
    data = make_data()

    def work(i):
        for loader in (ThreadedLoader(data, 4, num_threads=3), DataLoader(data, 4, num_workers=2)):
            for _ in loader:
                break
    assert growth(work, FITS // 2, warm=2) == {}


def test_loaders_with_processes_and_threads(tmp_path):
    data = make_data()
    dls = DataBunch(DataLoader(data, 16, num_workers=2), ThreadedLoader(data, 16, num_threads=3))
    learn = Learner(simple_cnn([4], n_classes=3), dls, cross_entropy, device="cpu")
    assert growth(lambda i: learn.fit(1), FITS // 2, warm=2) == {}


# --- broken twins: each leak is seen, and named ------------------------------------------------------

def twin_of_a_hook(model, kept, folder):
    Hook(model[0], lambda *told: None)                       # and no `remove`


def twin_of_a_file(model, kept, folder):
    kept.append(open(folder / "log", "w"))


def twin_of_a_list(model, kept, folder):
    kept.append(model(torch.rand(2, 1, 12, 12)).detach())


def twin_of_a_thread(model, kept, folder):
    kept.append(ThreadedLoader(make_data(), 4, num_threads=2).__iter__())
    next(kept[-1])


def twin_of_memory(model, kept, folder):
    kept.append(bytearray(b"x" * 2**21))                     # no tensor, and nothing else that is counted


class Keeper(Callback):
    """Keeps the loss of each batch as a tensor, as `Metrics` once did on a CPU."""

    def __init__(self):
        self.losses = []

    def after_loss(self):
        self.losses.append(self.learn.loss.detach())


def test_a_library_that_leaks_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(Hook, "remove", lambda self: None)   # a hook that stays
    learn = make_learner(cbs=[Keeper()])

    def work(i):
        learn.fit(1)
        with GradCAM(learn.model, learn.model[0]):
            pass
    found = growth(work, times=6, warm=1)
    assert found["hooks"] >= 6 and found["tensors"] >= 6


@pytest.mark.parametrize("leak, name", [
    (twin_of_a_hook, "hooks"), (twin_of_a_file, "open files"), (twin_of_a_list, "tensors"),
    (twin_of_a_thread, "threads"), (twin_of_memory, "megabytes")])
def test_a_leak_is_seen(leak, name, tmp_path):
    model, kept = simple_cnn([4], n_classes=3), []
    found = growth(lambda i: leak(model, kept, tmp_path))
    for thing in kept:
        if hasattr(thing, "close"):
            thing.close()
    assert found.get(name, 0) >= (MEGABYTES if name == "megabytes" else FITS)
