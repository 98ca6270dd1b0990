"""What no notebook can hold: processes that `torchrun` starts, kills and starts again.

    two processes leave the weights and the history of one
    a process that dies ends all, with a message, and the run goes on from its checkpoint with the same bits
    `--max-restarts=1` does that by itself
    a process that hangs is lost when the time is up, and not later

What the processes do is in SCRIPT; the last line that rank 0 writes is a digest of what its fit has left.
"""
import json
import os
import subprocess
import sys
import time

import pytest

from conftest import ROOT

pytestmark = [pytest.mark.xdist_group("torchrun"), pytest.mark.longest(60),
              pytest.mark.skipif(os.name == "nt", reason="gloo and signals are others on Windows")]

SCRIPT = '''
import json, os, signal, sys, time
from functools import partial
from pathlib import Path
import torch
from torch import nn
from exp.callbacks import Callback
from exp.data_loading import DataLoader, Dataset
from exp.distributed import Distributed, SharedCheckpoint
from exp.learner import Learner
from exp.minibatch_training import DataLoaders, accuracy, cross_entropy
from exp.optimizers import adamw
from exp.processes import ShardSampler, distributed, is_main

path, dies, noise, timeout = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4])


class Noise(Callback):
    order = -60

    def before_batch(self):
        if self.learn.training:
            self.learn.xb = self.learn.xb + noise * torch.randn_like(self.learn.xb)


class Die(Callback):
    def before_batch(self):
        run, first = self.learn, os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if first and run.training and (run.epoch, run.iter) == (1, 3) and os.environ.get("RANK") == "1":
            if dies == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if dies == "silent":
                time.sleep(600)


torch.set_num_threads(1)
with distributed(timeout) as world:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(203, 8, generator=g).double(), torch.randint(3, (203,), generator=g)
    train, valid = Dataset(x[:144], y[:144]), Dataset(x[144:], y[144:])
    torch.manual_seed(world.rank)                 # the wrapper gives all the weights of rank 0
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    sampler = ShardSampler(144, shuffle=True, seed=3, drop_last=True)
    dls = DataLoaders(DataLoader(train, 24 // world.size, sampler=sampler),
                      DataLoader(valid, 7, sampler=ShardSampler(59)))
    learn = Learner(model, dls, cross_entropy, adamw, lr=0.01, metrics=accuracy, device="cpu",
                    cbs=[Distributed(), Noise(), SharedCheckpoint(path, every=2), Die()])
    torch.manual_seed(10 + world.rank)
    history = learn.fit(3, resume=path if path.exists() else None)
    if is_main():
        print(json.dumps({"history": history, "size": world.size,
                          "weights": [p.tolist() for p in model.parameters()]}))
'''


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("torchrun") / "train.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def start(script, *arguments, processes=2, options=()):
    """Run the script under torchrun, or alone; exit status, what it left, all that it said, and seconds."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", *options]
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *(torchrun if processes > 1 else ()), str(script), *map(str, arguments)],
                          capture_output=True, text=True, timeout=240, cwd=script.parent,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done.returncode, found, done.stdout + done.stderr, time.perf_counter() - began


@pytest.fixture(scope="module")
def whole(script):
    """What a run leaves that nobody disturbs."""
    status, [found], said, _ = start(script, script.parent / "whole.pt", "", 0.1, 60)
    assert status == 0 and found["size"] == 2, said
    return found


def test_two_processes_leave_the_weights_of_one(script):
    status, [two], said, _ = start(script, script.parent / "two.pt", "", 0, 60)
    alone, [one], also, _ = start(script, script.parent / "one.pt", "", 0, 60, processes=1)
    assert status == alone == 0, said + also
    assert (one["size"], two["size"]) == (1, 2)
    for row, wanted in zip(two["history"], one["history"], strict=True):
        assert row == pytest.approx(wanted, rel=1e-6)
    for w, wanted in zip(two["weights"], one["weights"], strict=True):
        for a, b in zip(w, wanted, strict=True):
            assert a == pytest.approx(b, rel=1e-6, abs=1e-9)


def test_a_dead_process_ends_all_and_the_run_goes_on(script, whole):
    path = script.parent / "killed.pt"
    status, found, said, _ = start(script, path, "killed", 0.1, 60)
    assert status != 0 and not found, said
    assert "Signal 9 (SIGKILL)" in said and "rank      : 1" in said, said      # torchrun names the first that failed
    assert path.exists(), said
    status, [again], said, _ = start(script, path, "", 0.1, 60)
    assert status == 0, said
    assert again == whole, "other bits"


def test_torchrun_starts_again_by_itself(script, whole):
    status, [found], said, _ = start(script, script.parent / "again.pt", "killed", 0.1, 60, options=["--max-restarts=1"])
    assert status == 0, said
    assert "exitcode: -9" in said, said
    assert found == whole, "other bits"


def test_a_silent_process_is_lost_in_time(script):
    status, found, said, seconds = start(script, script.parent / "silent.pt", "silent", 0.1, 5)
    assert status != 0 and not found, said
    assert "has lost the others: one has died, or was silent for 5 s" in said, said
    assert seconds < 120, "it waited too long"
