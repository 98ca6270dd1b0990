"""`train_imagenette` as a user starts it: in a process of its own, or in several under torchrun.

    the help, and odd arguments, which end it with status 2 before anything is computed
    with no argument, on a terminal, it trains the real network on the generated shapes, and a bar moves
    a small run on the generated shapes, with the real network, leaves a log, weights and a result
    killed by a signal that it cannot catch, it goes on with `--resume` and ends with the same weights
    under torchrun, a process that is killed is started again, and the run goes on by itself
"""
import contextlib
import csv
import importlib
import json
import os
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from conftest import ROOT
from settings import CFG

pytestmark = [pytest.mark.xdist_group("command"), pytest.mark.longest(60),
              pytest.mark.skipif(os.name == "nt", reason="signals are others on Windows")]

# what the installed command does; in the first try under torchrun, rank 1 kills itself once there is a checkpoint
SCRIPT = '''
import os, signal, sys, threading, time
from pathlib import Path
from exp.train_imagenette import main

def die(path):
    while not path.exists():
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGKILL)

if os.environ.get("DIE") and os.environ.get("RANK") == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    threading.Thread(target=die, args=(Path(os.environ["DIE"]),), daemon=True).start()
sys.exit(main())
'''
SMALL = ("--data sample --size 16 --per-class 8 --batch 16 --epochs 2 --threads 1 --checkpoint-every 2").split()


def environment(**more):
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("command") / "train.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def whole(script):
    """The folder of a run that nobody disturbs, and what it printed."""
    out = script.parent / "whole"
    done = subprocess.run([sys.executable, script, *SMALL, "--out", out], capture_output=True, text=True,
                          timeout=240, env=environment())
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_project_installs_the_command():
    name, target = CFG["console_scripts"].split("=")
    module, function = target.split(":")
    assert name == "train_imagenette" and callable(getattr(importlib.import_module(module), function))


def test_the_help_names_what_the_command_can_do(capsys):
    from exp.train_imagenette import main

    with pytest.raises(SystemExit) as end:
        main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    for option in ("arch size epochs batch lr mixup cutmix label-smoothing precision seeds workers threads data out resume "
                   "per-class channels-last").split():
        assert f"--{option}" in said, option


@pytest.mark.parametrize("line, reason", [
    ("--arch vgg", "invalid choice"), ("--epochs 0", "need a whole number from 1"), ("--lr fast", "got 'fast'"),
    ("--mixup 0.2 --cutmix 1", "got both"), ("--resume", "--resume needs --out"), ("--size 9999", "from 16 to 512")])
def test_odd_arguments_are_refused_with_a_reason(line, reason, capsys, tmp_path, monkeypatch):
    from exp.train_imagenette import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(line.split())
    assert end.value.code == 2 and reason in capsys.readouterr().err
    assert not [*tmp_path.iterdir()], "it has begun"


def test_a_run_leaves_a_log_weights_and_a_result(whole):
    out, said = whole
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert f"accuracy {result['mean']:.4f} (one run)" in said and "generated shapes" in said
    assert result["arguments"]["arch"] == "xresnet18" and result["parameters"] > 11e6
    assert result["seeds"] == [0] and result["command"].startswith("train_imagenette --data sample")
    assert result["command"].endswith("--out FOLDER") and str(out) not in json.dumps(result)
    assert result["machine"]["versions"]["torch"] == torch.__version__
    with open(out / "seed0" / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["valid_accuracy"]) for row in rows] == [
        row["valid_accuracy"] for row in result["runs"][0]["history"]]
    assert len(load_file(out / "seed0" / "weights.safetensors")) > 50


@pytest.mark.longest(120)
def test_with_no_argument_it_trains_on_the_sample_and_a_bar_moves(script, tmp_path):
    """It prints its seconds and asserts nothing about them."""
    import pty                                                  # not on Windows

    ours, its = pty.openpty()
    start, said = time.perf_counter(), b""
    process = subprocess.Popen([sys.executable, script], stdout=its, stderr=subprocess.STDOUT, cwd=tmp_path,
                               env=environment(EXP_DATA="", COLUMNS="120"))
    os.close(its)
    with contextlib.suppress(OSError):                          # the terminal is gone
        while part := os.read(ours, 65_536):
            said += part
    os.close(ours)
    said = said.decode()
    assert process.wait(timeout=60) == 0, said
    print(f"train_imagenette: {time.perf_counter() - start:.0f} s")
    [file] = tmp_path.glob("train_imagenette-*/result.json")
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["data"] == {"title": "generated shapes", "train": 800, "val": 200}
    assert found["command"] == "train_imagenette" and found["parameters"] > 11e6 and len(found["runs"][0]["history"]) == 4
    assert "800 photos" in said and f"accuracy {found['mean']:.4f} (one run)" in said
    assert said.count("\r") > 20, "no bar has moved"


def test_killed_and_resumed_it_ends_with_the_same_weights(script, whole):
    out = script.parent / "killed"
    command = [sys.executable, script, *SMALL, "--out", out]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
    for _ in range(20_000):
        if (out / "seed0" / "checkpoint.pt").exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert process.returncode < 0 and not (out / "result.json").exists(), "it was not killed in time"
    again = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=240, env=environment())
    assert again.returncode == 0, again.stderr
    one, other = (load_file(folder / "seed0" / "weights.safetensors") for folder in (whole[0], out))
    assert all(torch.equal(one[key], other[key]) for key in one), "other weights"
    found = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert None in [row["seconds"] for row in found["runs"][0]["history"]], "it began anew"


def test_torchrun_starts_it_again(script):
    out = script.parent / "pair"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=1",
         script, *SMALL, "--resume", "--timeout", "60", "--out", out], capture_output=True, text=True, timeout=300,
        env=environment(DIE=str(out / "seed0" / "checkpoint.pt")))
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "exitcode: -9" in said, said
    found = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert found["machine"]["processes"] == 2
    history = found["runs"][0]["history"]
    assert len(history) == 2 and None in [row["seconds"] for row in history], "it began anew"
