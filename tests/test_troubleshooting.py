"""The messages on the page about troubleshooting are those that come: each one is provoked here, and compared.

A sign … on the page stands for what depends on the machine, such as a folder; all other words must be those of the message.
"""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn

from conftest import ROOT, none
from exp.callbacks import Callback
from exp.cnn import conv_layer
from exp.data_block import DataBunch, ItemList, func_splitter, grandparent_splitter, parent_labeler, random_splitter
from exp.data_loading import DataLoader, Dataset
from exp.datasets import DatasetInfo, load_data
from exp.downloads import RemoteFile
from exp.early_stopping import TerminateOnNaN
from exp.images import ImageList, to_byte_tensor
from exp.learner import Learner
from exp.minibatch_training import cross_entropy
from exp.optimizers import sgd
from exp.progress import ProgressCallback
from exp.resuming import Checkpoint
from exp.stepping import Optimizer, sgd_step
from settings import CFG

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ENTRY = re.compile(r"^### (?P<title>.+)\n\n(?P<messages>(?:```text\n(?:(?!```).*\n)+```\n\n)+)", re.M)
PROVOKED = {}      # title on the page -> the function that brings the error about

pytestmark = [pytest.mark.longest(30), pytest.mark.skipif(sys.platform != "linux", reason="the messages are those on Linux")]


def entries(page):
    """{title: messages} of a page."""
    return {m["title"]: re.findall(r"```text\n(.*?)\n```", m["messages"], re.S) for m in ENTRY.finditer(page)}


def fits(shown, came):
    """Whether a message is the one on the page; … stands for anything."""
    came = "\n".join(line.rstrip() for line in came.strip().splitlines())
    return bool(re.fullmatch(re.escape(shown).replace("…", ".+?"), came, re.S))


def provokes(title):
    return lambda function: PROVOKED.setdefault(title, function)


@contextlib.contextmanager
def error():
    """What a traceback would end with: type, message, notes."""
    said = SimpleNamespace(text="")
    try:
        yield said
    except Exception as e:
        kind = type(e).__module__ + "." if type(e).__module__ != "builtins" else ""
        said.text = "\n".join([f"{kind}{type(e).__qualname__}: {e}", *getattr(e, "__notes__", ())])


def script(code, *options, last=False, **env):
    """What a program says on its way to an error: all, or from the line of the last error on."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("EXP_", "PYTHON"))}
    done = subprocess.run([sys.executable, *options, "-c", code] if isinstance(code, str) else [sys.executable, code], cwd="/",
                          env=clean | {"PYTHONPATH": str(ROOT)} | env, capture_output=True, text=True, timeout=60)
    assert done.returncode, f"it runs: {done.stdout}"
    said = done.stderr.strip()
    return said[[*re.finditer(r"^\w[\w.]*(?:Error|Exception): ", said, re.M)][-1].start():] if last else said


def learner(n=8, model=None, y=None, loss=cross_entropy, cbs=(), **options):
    """A learner of a few numbers."""
    x = torch.arange(n * 4.0).reshape(n, 4)
    y = torch.arange(n) % 2 if y is None else y
    return Learner(model or nn.Linear(4, 2), DataBunch(DataLoader(Dataset(x, y), 4), None), loss, cbs=cbs,
                   device="cpu", **options)


def photos(folder, *sizes, kinds=("cat", "dog")):
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for i, size in enumerate(sizes):
            Image.new("RGB", size, "red").save(folder / kind / f"{i}.png")
    return folder


# --- at the start -----------------------------------------------------------------------------------------

@provokes("Python is too old")
def _(tmp):
    for name in ("Makefile", "settings.ini", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, tmp)
    old = tmp / "python3.10"
    old.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "import sys; sys.version_info = (3, 10, 4); exec(sys.argv[1])" "$2"\n')
    old.chmod(0o755)
    return subprocess.run(["make", f"PYTHON={old}", "run"], cwd=tmp, capture_output=True, text=True).stderr.splitlines()[0]


@provokes("PyTorch is too old")
def _(tmp):
    for name, version, more in (("torch", "2.5.0", ""), (CFG["lib_name"], CFG["version"], next(
            f"Requires-Dist: {r}\n" for r in CFG["requirements"].split() if r.startswith("torch")))):
        folder = tmp / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}")
        (folder / "INSTALLER").write_text("pip\n")
    done = subprocess.run([sys.executable, "-m", "pip", "check"], env=os.environ | {"PYTHONPATH": str(tmp)},
                          capture_output=True, text=True, cwd=tmp)
    return next(line for line in done.stdout.splitlines() if line.startswith(CFG["lib_name"]))


@provokes("A notebook does not find the package")
def _(tmp):
    return script("import exp.learner", "-I", "-S", last=True)


@provokes("No bar, no table")
def _(tmp):
    with error() as said:
        learner(cbs=[ProgressCallback(mode="notebook")]).fit(1)
    return said.text


@provokes("There is no GPU")
def _(tmp):
    return script("import torch; from torch import nn; from exp.data_block import DataBunch; from exp.learner import Learner\n"
                  "data = [(torch.ones(2, 2), torch.ones(2, 2))]\n"
                  "Learner(nn.Linear(2, 2), DataBunch(data, None), nn.functional.mse_loss, device='cuda').fit(1)",
                  last=True, CUDA_VISIBLE_DEVICES="")


@provokes("The GPU's memory is full")
def _(tmp):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU to fill")
    with error() as said:
        torch.empty(2 ** 50, dtype=torch.uint8, device="cuda")
    return said.text


@provokes("The memory is full")
def _(tmp):
    with error() as said:
        torch.empty(2 ** 60, dtype=torch.uint8)
    return said.text


# --- data -------------------------------------------------------------------------------------------------

@provokes("Real data cannot be had")
def _(tmp):
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return script("from exp.datasets import choose_data; choose_data('mnist', 'digits')", last=True, EXP_DATA="real",
                  EXP_CACHE=str(tmp), NO_PROXY="", no_proxy="", **nowhere)


def one_file(**options):
    file = RemoteFile("photos.zip", **{"size": 4, "checksum": "sha256:" + "0" * 64} | options)
    return {"mine": DatasetInfo("mine", "My photos", "", "", "", "", None, {"published": (file,)})}


@provokes("A file has a wrong checksum")
def _(tmp):
    (tmp / "mine").mkdir()
    (tmp / "mine" / "photos.zip").write_bytes(b"half")
    with error() as said:
        load_data("mine", one_file())
    return said.text


@provokes("There is no room for data")
def _(tmp):
    with error() as said:
        load_data("mine", one_file(size=10 ** 18, urls=("http://127.0.0.1:9/photos.zip",)))
    return said.text


@provokes("A photo cannot be read")
def _(tmp):
    folder = photos(tmp / "photos", *[(8, 8)] * 3)
    broken = folder / "cat" / "0.png"
    broken.write_bytes(broken.read_bytes()[:40])
    dls = (ImageList.from_files(folder, tfms=[to_byte_tensor]).split(random_splitter(0.3)).label(parent_labeler).to_databunch(8))
    with error() as said:
        for loader in (dls.train, dls.valid):
            next(iter(loader))
    return said.text


@provokes("Photos differ in size")
def _(tmp):
    folder = photos(tmp / "photos", (8, 8), (8, 6), (8, 8), (8, 6))
    dls = (ImageList.from_files(folder, tfms=[to_byte_tensor]).split(random_splitter(0.3)).label(parent_labeler).to_databunch(8))
    with error() as said:
        next(iter(dls.train))
    return said.text


@provokes("A folder has none of the files")
def _(tmp):
    (tmp / "notes.txt").write_text("")
    with error() as said:
        ImageList.from_files(tmp)
    return re.sub(r"\[.*\]", "[…]", said.text)


@provokes("A part has no items")
def _(tmp):
    with error() as said:
        ImageList.from_files(photos(tmp / "photos" / "train", (8, 8))).split(grandparent_splitter(valid="val"))
    return said.text


@provokes("A label was not there in training")
def _(tmp):
    with error() as said:
        ItemList.from_list(["cat", "dog", "bird"]).split(func_splitter(lambda s: "valid" if s == "bird" else "train")).label(str)
    return said.text


@provokes("A worker process fails")
def _(tmp):
    with error() as said:
        list(DataLoader([1, None, 3], 2, num_workers=1))
    return said.text


MINE = """import types
import exp.data_loading
from exp.data_loading import DataLoader
from exp.items import Items
exp.data_loading.sys = types.SimpleNamespace(platform="darwin")     # there, and on Windows, processes are spawned, not forked
{0}
"""


@provokes("Something cannot be sent to a worker")
def _(tmp):
    return script(MINE.format("next(iter(DataLoader(Items([1, 2], tfms=[lambda x: x]), 2, num_workers=1)))"), last=True)


@provokes("A program starts itself again and again")
def _(tmp):
    (file := tmp / "train.py").write_text(MINE.format("next(iter(DataLoader([1, 2], 2, num_workers=1)))"))
    said = script(file)
    return said[said.index("RuntimeError: "):]


# --- training ----------------------------------------------------------------------------------------------

@provokes("A layer gets another shape than it needs")
def _(tmp):
    with error() as said:
        learner(model=nn.Linear(5, 2)).fit(1)
    return said.text


@provokes("The model gets bytes")
def _(tmp):
    data = [(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))]
    with error() as said:
        Learner(conv_layer(3, 4), DataBunch(data, None), cross_entropy, device="cpu").fit(1)
    return said.text


@provokes("Labels are out of range")
def _(tmp):
    with error() as said:
        learner(y=torch.arange(8) % 3).fit(1)
    return said.text


@provokes("The loss is NaN")
def _(tmp):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        learner(64, loss=lambda pred, y: (pred[:, 0] - y).square().mean(), opt_func=sgd, lr=10.0, cbs=[TerminateOnNaN()]).fit(5)
    return f"{seen[0].category.__name__}: {seen[0].message}"


@provokes("A callback's method is no event")
def _(tmp):
    class Mine(Callback):
        def after_batches(self): ...
    with error() as said:
        learner(cbs=[Mine()])
    return said.text


@provokes("An optimizer does not know an option")
def _(tmp):
    with error() as said:
        Optimizer([torch.zeros(2)], [sgd_step], momentum=0.9)
    return said.text


@provokes("No compiler for the compiled step")
def _(tmp):
    return script("import torch; from exp.compiled_step import compile_step; from exp.optimizers import sgd\n"
                  "p = torch.ones(3, requires_grad=True); p.grad = torch.ones(3); opt = compile_step(sgd([p]))\n"
                  "opt.step(); opt.step(); raise SystemExit(1)", CC="no-such-compiler").partition(": ")[2].splitlines()[0]


# --- saving and going on ------------------------------------------------------------------------------------

def checkpoint(tmp):
    """The checkpoint of a fit of two epochs."""
    learner(cbs=[Checkpoint(tmp / "fit.ckpt")]).fit(2)
    return tmp / "fit.ckpt"


@provokes("A file has the weights of another model")
def _(tmp):
    path = learner().save(tmp / "model.safetensors")
    with error() as said:
        learner(model=nn.Linear(4, 3)).load(path)
    return said.text


@provokes("A fit goes on with another number of epochs")
def _(tmp):
    with error() as said:
        learner(cbs=[Checkpoint(path := checkpoint(tmp))]).fit(3, resume=path)
    return said.text


@provokes("A fit goes on with another optimizer or other callbacks")
def _(tmp):
    with error() as said:
        learner(cbs=[Checkpoint(path := checkpoint(tmp))], opt_func=torch.optim.SGD).fit(2, resume=path)
    return said.text


@provokes("A fit goes on with another model")
def _(tmp):
    with error() as said:
        learner(cbs=[Checkpoint(path := checkpoint(tmp))], model=nn.Linear(4, 3)).fit(2, resume=path)
    return said.text


@provokes("A fit goes on with other data")
def _(tmp):
    with error() as said:
        learner(cbs=[Checkpoint(path := checkpoint(tmp))], n=16).fit(2, resume=path)
    return said.text


@provokes("A checkpoint is not whole")
def _(tmp):
    (path := checkpoint(tmp)).write_bytes(path.read_bytes()[:1000])
    with error() as said:
        learner().fit(2, resume=path)
    return said.text


@provokes("The disk is full while saving")
def _(tmp):
    return script("import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
                  "from exp.checkpoints import save_weights; from torch import nn; model = nn.Linear(100, 100)\n"
                  "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
                  f"save_weights(model, {str(tmp / 'model.safetensors')!r})", last=True)


# --- several processes -----------------------------------------------------------------------------------------

JOIN = "from exp.processes import distributed\nwith distributed(timeout=3): pass"


@provokes("A program was not started by torchrun")
def _(tmp):
    return script(JOIN, last=True, RANK="0", WORLD_SIZE="2")


@provokes("The port is taken")
def _(tmp):
    with socket.socket() as s:
        s.bind(("", 0))
        s.listen()
        return script(JOIN, RANK="0", WORLD_SIZE="2", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=f"{s.getsockname()[1]}")


@provokes("The other processes are lost")
def _(tmp):
    with socket.socket() as s:
        s.bind(("", 0))
        port = s.getsockname()[1]
    return script(JOIN, last=True, RANK="1", WORLD_SIZE="2", LOCAL_RANK="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=f"{port}")


# --- the page ------------------------------------------------------------------------------------------------

def test_every_message_on_the_page_is_provoked_and_every_one_provoked_is_on_the_page():
    shown = entries(PAGE)
    assert len(shown) > 30
    none([f"nothing provokes {t!r}" for t in shown.keys() - PROVOKED.keys()]
         + [f"the page lacks {t!r}" for t in PROVOKED.keys() - shown.keys()]
         + [f"{m['t']!r} has no message" for m in re.finditer(r"^### (?P<t>.+)$", PAGE, re.M) if m["t"] not in shown])


@pytest.mark.parametrize("title", PROVOKED)
def test_the_message_is_that_of_the_page(title, tmp_path, monkeypatch):
    for name in ("EXP_DATA", "EXP_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXP_CACHE", str(tmp_path))
    came, shown = PROVOKED[title](tmp_path), entries(PAGE)[title]
    none([] if any(fits(message, came) for message in shown) else [*shown, "-- but this came:", came],
         f"write the message that comes under {title!r} in docs/troubleshooting.md")


@pytest.mark.parametrize("shown, came, same", [
    ("need 3, got 4", "need 3, got 4\n", True), ("got …", "got /a/b", True), ("got …: no", "got /a\n/b: no", True),
    ("need 3", "need 3, got 4", False), ("got …: no", "got /a: yes", False), ("a.b", "axb", False), ("got …", "got ", False)])
def test_only_an_ellipsis_stands_for_something_else(shown, came, same):
    assert fits(shown, came) is same
