"""What no notebook can hold: real processes that are killed, large files, a disk that is full.

    a run killed seven times in a row ends with the bits of a run that nobody killed
    a file that was being written at the moment of a kill is the old one or the new one
    a full disk, or a file that may not grow, is an OSError that names it; the old file is whole, and no part of a new one is left

What the processes do is in killed.py. They come from a server that has imported it once (not on Windows).
"""
import errno
import multiprocessing.forkserver
import os
import random
import time

import pytest
import torch
from safetensors.torch import load_file

import killed
from conftest import ROOT

pytestmark = [pytest.mark.xdist_group("resume"), pytest.mark.longest(30)]

PROCESSES = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")


@pytest.fixture(scope="module", autouse=True)
def server():
    """Make the server import our work once; it sees no path but this one."""
    if os.name != "nt":
        PROCESSES.set_forkserver_preload(["killed"])
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(killed.__file__), str(ROOT)])
        multiprocessing.forkserver.ensure_running()
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


class Child:
    """A process that tells us, in messages, how far it is."""

    def __init__(self, work, *arguments):
        self.pipe, far_end = PROCESSES.Pipe(duplex=False)
        self.process = PROCESSES.Process(target=killed.live, args=(work, far_end.send, *arguments))
        self.process.start()
        far_end.close()

    def __iter__(self):
        """The messages, to the end of the process."""
        while True:
            try:
                yield self.pipe.recv()
            except EOFError:
                self.process.join()
                return

    def kill(self):
        """End it by a signal that it cannot catch; what it has told until then."""
        self.process.kill()
        return list(self)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_seven_times_ends_with_the_same_bits(tmp_path, workers):
    *whole, digest = Child(killed.train, tmp_path / "whole.pt", workers, 0)
    assert whole[-1] >= (2, 9), "the run ends before it can be killed so often"
    path, deaths, seed = tmp_path / "run.pt", [], 0
    most = max(4, (len(whole) - 10) // 5)
    for after in (4, 4, *(random.randint(4, most) for _ in range(5))):     # the first two in one epoch
        child = Child(killed.train, path, workers, seed, path if path.exists() else None)
        deaths.append([message for message, _ in zip(child, range(after))][-1])
        child.kill()
        assert child.process.exitcode not in (0, 1), f"it ended by itself, after {deaths}"
        seed += 1
    *rest, again = Child(killed.train, path, workers, seed, path)
    assert again == digest, f"other bits, killed in turn at {deaths}"
    assert rest[0] > (0, 0) and rest[-1] == whole[-1]


def turn_in(kind, path):
    """The number that all weights of a file are."""
    state = load_file(path) if kind == "weights" else torch.load(path, weights_only=True)
    assert len(state) == 10
    turns = {float(t.flatten()[0]) for t in state.values()}
    assert len(turns) == 1 and all((t == next(iter(turns))).all() for t in state.values()), f"a mixture of {turns}"
    return turns.pop()


@pytest.mark.parametrize("kind", ["weights", "torch.save"])
def test_a_file_killed_while_it_is_written_is_old_or_new(tmp_path, kind):
    hits = 0
    for number in range(15):
        folder = tmp_path / str(number)
        folder.mkdir()
        child = Child(killed.write, kind, folder / "file")
        assert next(iter(child)) == 1                     # the first file is there
        time.sleep(random.random() * 0.1)
        last = [1, *child.kill()][-1]
        assert turn_in(kind, folder / "file") in (last, last + 1)
        others = [p for p in folder.iterdir() if p.name != "file"]
        assert len(others) <= 2 and all(p.name.startswith(".") for p in others)
        hits += bool(others)
        for p in folder.iterdir():
            p.unlink()
    assert hits, "no kill came in the middle of a write"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit for the size of a file")
def test_a_file_that_may_not_grow_is_a_clear_error_and_harms_nothing(tmp_path):
    found = list(Child(killed.fill, tmp_path))
    assert [name for name, *_ in found] == [*killed.WAYS], "the limit was not met"
    for name, is_os_error, number, text in found:
        assert is_os_error and number == errno.EFBIG, f"{name}: {text}"
        assert str(tmp_path / name) in text and "is not written" in text, f"{name}: {text}"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(killed.WAYS), "a part of a file is left"
    assert load_file(tmp_path / "weights")["weight"].shape == (10, 99)
    assert len(torch.load(tmp_path / "checkpoint", weights_only=True)["model"]["saved"]["0.bias"]) == 10
    assert (tmp_path / "bytes").read_bytes() == bytes(10_000)


@pytest.mark.parametrize("name", killed.WAYS)
def test_a_disk_without_room_keeps_the_old_file(tiny_disk, name):
    """The same on a file system that is really full: a small one of its own."""
    way, path = killed.WAYS[name], tiny_disk / name
    (tiny_disk / "others").write_bytes(bytes(800_000))
    way(path, 10)
    before = path.read_bytes()
    with pytest.raises(OSError) as caught:
        way(path, 5000)
    notes = " ".join(getattr(caught.value, "__notes__", []))
    assert caught.value.errno == errno.ENOSPC and str(path) in f"{caught.value} {notes}", notes
    assert path.read_bytes() == before
    assert sorted(p.name for p in tiny_disk.iterdir()) == sorted([name, "others"]), "a part of a file is left"
