"""Progress and logs where no notebook can be: a real terminal, a pipe, a kernel, real files of TensorBoard.

A process that imports torch takes seconds, so each of the four here answers several questions.
"""
import io
import math
import os
import subprocess
import sys
import tempfile
import textwrap
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from conftest import ROOT

FIT = """
import sys, torch
from functools import partial
from exp.callbacks import Callback, MetricsCallback
from exp.early_stopping import CancelFit, CancellableRunner
from exp.loggers import CSVLogger, TensorBoardCallback
from exp.minibatch_training import SGD, DataLoaders, accuracy, cross_entropy
from exp.progress import ProgressCallback
early = [m for m in ("fastprogress", "fasthtml", "IPython", "matplotlib", "tensorboard") if m in sys.modules]

def fit(n_epochs=3, *cbs, valid=2, **options):
    torch.manual_seed(0)
    batch = torch.randn(8, 3), torch.arange(8) % 2
    dls = DataLoaders([batch] * 4, [batch] * valid)
    metrics = MetricsCallback(accuracy=partial(accuracy))        # a metric without a name of its own
    cbs = [metrics, ProgressCallback(**options), *cbs]
    return CancellableRunner(torch.nn.Linear(3, 2), dls, cross_entropy, partial(SGD, lr=0.1), cbs).fit(n_epochs)

class Fails(Callback):
    def before_batch(self):
        if self.learn.epoch == 1:
            raise self.error
"""
pytestmark = [pytest.mark.xdist_group("progress"), pytest.mark.longest(30)]
HEADER = "epoch  train_loss  valid_loss  valid_accuracy      time      left".split()


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def piped(code):
    """What a program writes into a pipe."""
    command = [sys.executable, "-W", "ignore", "-c", FIT + textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=120)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def in_terminal(code, columns):
    """What a program writes to a real terminal of so many columns."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")
    import fcntl
    import struct
    import termios
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-W", "ignore", "-c", FIT + textwrap.dedent(code)]
    env = {k: v for k, v in environment(TERM="xterm").items() if k not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, close_fds=True)
    os.close(slave)
    text = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:                     # the program has ended and closed its side
            break
        if not part:
            break
        text += part
    os.close(master)
    return process.wait(120), text.decode()


def visible(text):
    """What the terminal shows in the end."""
    lines, column = [""], 0
    for c in text:
        if c in "\r\n":
            column, lines = 0, lines + [""] * (c == "\n")
        else:
            lines[-1] = lines[-1][:column] + c + lines[-1][column + 1:]
            column += 1
    return [line.rstrip() for line in lines]


def test_a_terminal_has_a_bar_and_in_the_end_lines():
    """A fit that is done, and two that fail, in a window narrower than a bar with its numbers."""
    code, text = in_terminal("""
        fit()
        for Fails.error in (KeyboardInterrupt, ZeroDivisionError):
            try:
                fit(3, Fails())
            except Fails.error:
                print("Caught")""", columns=60)
    shown = visible(text)
    assert code == 0 and "%" in text and "epoch 0 (1/3)" in text, text
    bars = [part for part in text.replace("\n", "\r").split("\r") if "%" in part]
    assert max(map(len, bars)) <= 60, bars
    assert "|" not in "".join(shown), "a bar is left"
    assert [line.split()[0] for line in shown[:4]] == ["epoch", "0", "1", "2"] and shown[0].split() == HEADER, shown
    for i, error in (4, "KeyboardInterrupt"), (8, "ZeroDivisionError"):
        assert shown[i].split() == HEADER and shown[i + 1].split()[0] == "0", shown
        assert shown[i + 2:i + 4] == [f"Fit stopped by {error} in epoch 1, training batch 0", "Caught"], shown


def test_a_pipe_is_left_alone_unless_asked():
    """Nothing is written, nothing heavy imported; if asked, what ASCII lacks becomes a question mark."""
    code, out, err = piped("""
        fit()
        print(early, 'fasthtml' in sys.modules)
        sys.modules["tensorboard"] = None               # stands for a package that is not there
        try:
            TensorBoardCallback("somewhere")
        except ImportError as error:
            print(error)
        sys.stdout.reconfigure(encoding="ascii", errors="strict")
        class Odd(Callback):
            def after_epoch(self):
                self.learn.history[-1]["Größe"] = "µ"
        fit(1, Odd(), mode="lines")
        fit(1, mode="terminal")""")
    silent, missing, header, row, *_ = out.splitlines()
    assert code == 0 and silent == "[] False" and not err, err
    assert "need the package tensorboard" in missing and "pip install tensorboard" in missing
    assert "Gr??e" in header and "?" in row


def test_lines_in_a_pipe_come_at_once(tmp_path):
    """Each line is there when its epoch is done, although Python keeps back what it writes to a pipe.
    A pipe that nobody reads any more does not stop a fit."""
    code = FIT + textwrap.dedent(f"""
        import os
        class Waits(Callback):
            order = 90
            def after_epoch(self):
                sys.stdin.readline()
        fit(3, Waits(), mode="lines")
        print('fasthtml' in sys.modules, 'fastprogress' in sys.modules, flush=True)
        read, write = os.pipe()
        os.close(read)
        os.dup2(write, 1)
        fit(3, CSVLogger({str(tmp_path / "fit.csv")!r}), mode="lines")
        os._exit(0)""")
    run = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                           env=environment(PYTHONUNBUFFERED=""), text=True)
    assert run.stdout.readline().split() == HEADER
    for epoch in range(3):
        assert run.stdout.readline().split()[0] == str(epoch)
        run.stdin.write("\n")
        run.stdin.flush()
    rest = run.communicate(timeout=60)[0]
    assert rest == "False False\n" and run.returncode == 0
    assert len((tmp_path / "fit.csv").read_text().split()) == 4


@pytest.fixture
def here():
    """The names of the program above, in this process."""
    names = {}
    exec(FIT, names)
    return SimpleNamespace(**names)


def test_cancelled_before_the_row(here, capsys):
    """A callback that is earlier than ours ends the fit: the row comes with the note, its times are not known."""
    class Ends(here.Callback):
        order = 70

        def after_epoch(self):
            if self.learn.epoch == 1:
                raise here.CancelFit

    here.fit(3, Ends(), mode="lines")
    header, first, second, note = capsys.readouterr().out.splitlines()
    assert header.split() == HEADER and first.split()[0] == "0"
    assert second.split()[0] == "1" and second.split()[-2:] == ["-", "-"]
    assert note == "Fit stopped by CancelFit in epoch 1, validation batch 1"


def test_a_fit_inside_an_except_has_not_failed(here, capsys):
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        here.fit(2, mode="lines")
    assert "stopped" not in capsys.readouterr().out


def test_an_output_that_breaks_does_not_stop_the_fit(here, monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert len(here.fit(2, mode="lines")) == 2
    monkeypatch.setattr(sys, "stdout", None)             # as under pythonw
    assert len(here.fit(2)) == 2


def test_a_runner_that_measures_nothing(here, capsys):
    dls = here.DataLoaders([(here.torch.ones(8, 3), here.torch.arange(8) % 2)] * 4, None)
    opt = here.partial(here.SGD, lr=0.1)
    run = here.CancellableRunner(here.torch.nn.Linear(3, 2), dls, here.cross_entropy, opt,
                                 [here.ProgressCallback("lines")])
    run.fit(2)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["epoch", "time", "left"] and [row.split()[0] for row in rows] == ["0", "1"]


def test_a_search_for_a_rate_shows_nothing(here, capsys):
    from exp.learner import Learner
    batch = here.torch.ones(8, 3), here.torch.arange(8) % 2
    learn = Learner(here.torch.nn.Linear(3, 2), here.DataLoaders([batch] * 30, [batch]), here.cross_entropy,
                    cbs=[here.ProgressCallback("lines")], device="cpu")
    learn.lr_find(start=1e-4, end=1.0, steps=20)
    assert capsys.readouterr().out == ""


def test_a_curve_of_what_is_finite():
    from exp.progress import _loss_curve
    assert _loss_curve([]) is _loss_curve([{"loss": math.nan}, {"accuracy": 1}]) is None
    curve = _loss_curve([{"train_loss": 2.0, "valid_loss": 2.1}, {"train_loss": 1.0, "valid_loss": math.inf}])
    assert curve.alt == "Loss up to epoch None: train_loss from 2 to 1; valid_loss from 2.1 to 2.1."


def run_cells(tmp_path, *sources):
    """Run cells in a real kernel; gives the outputs of each."""
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in (FIT, *sources)])
    old = {k: os.environ.get(k) for k in ("PYTHONPATH", "OMP_NUM_THREADS")}
    os.environ.update({k: environment()[k] for k in old})
    try:
        with tempfile.TemporaryDirectory() as tmp:      # no port is opened
            config = Config({"KernelManager": {"transport": "ipc", "ip": f"{tmp}/k"}})
            NotebookClient(nb, timeout=300, kernel_name="python3", allow_errors=True, coalesce_streams=True,
                           config=config, resources={"metadata": {"path": str(tmp_path)}}).execute()
    finally:
        for k, v in old.items():
            os.environ.pop(k) if v is None else os.environ.__setitem__(k, v)
    return [cell.outputs for cell in nb.cells[1:]]


def test_a_kernel_has_a_table_and_a_curve_and_no_bar(tmp_path):
    whole, failed, empty, lines = run_cells(
        tmp_path, "fit(3, plot=True);", "Fails.error = ZeroDivisionError; fit(3, Fails(), plot=True);",
        "fit(0, plot=True);", "fit(1, mode='lines');")
    table, curve = whole
    html = table["data"]["text/html"]
    assert html.count("<tr>") == 4 and all(name in html for name in HEADER)
    assert "<progress" not in html and "<style" not in html and html.startswith("<table>")
    assert "epoch  train_loss" in table["data"]["text/plain"]
    assert "image/png" in curve["data"] and "Loss up to epoch 2: train_loss from" in curve["metadata"]["image/png"]["alt"]
    kinds = [output["output_type"] for output in failed]
    assert sorted(kinds) == ["display_data", "display_data", "error"], kinds
    html = failed[0]["data"]["text/html"]
    assert html.count("<tr>") == 2 and "<progress" not in html
    assert "<p>Fit stopped by ZeroDivisionError in epoch 1, training batch 0</p>" in html
    assert not empty and [output["output_type"] for output in lines] == ["stream"]


def test_real_files_of_tensorboard(tmp_path, here):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    losses = []

    class Notes(here.Callback):
        def after_batch(self):
            losses.extend([self.learn.loss.item()] * self.learn.training)

    history = here.fit(3, Notes(), here.TensorBoardCallback(tmp_path, every=3), mode="silent")
    reader = EventAccumulator(str(tmp_path))
    reader.Reload()
    read = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    want = {"batch/loss": [(i, losses[i]) for i in range(0, 12, 3)], "batch/lr": [(i, 0.1) for i in range(0, 12, 3)]}
    for name in ("train_loss", "valid_loss", "valid_accuracy"):
        want[f"epoch/{name}"] = [*enumerate(row[name] for row in history)]
    assert read.keys() == want.keys()
    for tag, points in want.items():
        assert [step for step, _ in read[tag]] == [step for step, _ in points], tag
        assert [y for _, y in read[tag]] == pytest.approx([y for _, y in points], rel=1e-6), tag
