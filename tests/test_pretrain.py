"""What the page on pretraining cannot hold: real processes that are killed in the middle of it.

    a run killed five times, at random, leaves the files of a run that nobody killed: weights, vocabulary, result, log
    a folder whose run was killed before its first checkpoint begins anew, and comes to the same
    a folder refuses the run of another recipe or of other texts, also when it is not done
"""
import csv
import json
import multiprocessing.forkserver
import os
import random
import time

import pytest
import torch

from conftest import ROOT
from killed import News
from exp.lm_pretrain import PretrainRecipe, load_language_model, pretrain
from exp.samples import Texts

pytestmark = [pytest.mark.xdist_group("pretrain"), pytest.mark.longest(20)]

PROCESSES = multiprocessing.get_context("spawn" if os.name == "nt" else "forkserver")
RECIPE = PretrainRecipe(emb_size=8, n_hid=12, batch=4, seq_len=6, epochs=3, lr=0.01, dropout_factor=0.5)


def made_texts(seed=0):
    """Articles of random words."""
    rng = random.Random(seed)
    words = "the a of Town river 1 @,@ 000 <unk> , . was bells".split()

    def part(n):
        return "".join(f" \n = Title {i} = \n \n {' '.join(rng.choices(words, k=rng.randint(20, 60)))} \n" for i in range(n))
    return Texts("articles", "made articles", part(20), part(4), part(4))


def live(tell, folder, recipe, order):
    """The life of a process."""
    torch.set_num_threads(1)
    random.seed(os.getpid()), torch.manual_seed(os.getpid())      # what a process begins with must not matter
    pretrain(recipe, made_texts(), folder, every=4, cbs=[News(tell, order)])
    tell("done")


@pytest.fixture(scope="module", autouse=True)
def server():
    """Make the server of the processes import our work once."""
    if os.name != "nt":
        PROCESSES.set_forkserver_preload(["test_pretrain"])
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), str(ROOT)])
        multiprocessing.forkserver.ensure_running()
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def run(folder, recipe=RECIPE, kill_after=None):
    """What a process has told until its end, or until it was killed a moment after so many messages."""
    pipe, far_end = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=live, args=(far_end.send, folder, recipe, random.choice([-10, 2000])))
    process.start()
    far_end.close()
    told = []
    while True:
        try:
            told.append(pipe.recv())
        except EOFError:
            process.join()
            assert (process.exitcode == 0) == (kill_after is None), f"exit code {process.exitcode} after {told}"
            return told
        if len(told) == kill_after:
            time.sleep(0.02 * random.random())
            process.kill()


def left(folder):
    """What a run has left, without its seconds."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    for row in result["history"]:
        del row["seconds"]
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        log = [{name: x for name, x in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return {"result": result, "log": log, "weights": (folder / "model.safetensors").read_bytes(),
            "about": (folder / "model.json").read_text(encoding="utf-8")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nobody killed, and its batches."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    *batches, last = run(folder)
    assert last == "done" and batches[-1][0] == 2 and len(batches) > 60
    return folder, batches


def test_a_run_killed_five_times_leaves_the_same_files(whole, tmp_path):
    folder, batches = whole
    deaths = []
    for _ in range(5):
        deaths.append(run(tmp_path / "run", kill_after=random.randint(5, len(batches) // 7))[-1])
    *rest, last = run(tmp_path / "run")
    assert last == "done" and rest[0] > (0, 4), f"it began anew, after {deaths}"
    expected, found = left(folder), left(tmp_path / "run")
    for name, its in expected.items():
        assert found[name] == its, f"another {name}, killed at {deaths}"
    assert [text["epochs"] for text in found["result"]["texts"]] == [0, 1, 2, 3]
    assert not [p.name for p in (tmp_path / "run").iterdir() if p.name.startswith(".")], "a part of a file is left"
    model, vocab = load_language_model(tmp_path / "run" / "model.safetensors")
    assert len(vocab) == found["result"]["vocabulary"] and not model.encoder.hidden


def test_a_run_killed_before_its_first_checkpoint_begins_anew(whole, tmp_path):
    told = run(tmp_path / "run", kill_after=1)
    assert told[0] == (0, 0)
    (tmp_path / "run" / "checkpoint.pt").unlink(missing_ok=True)
    assert run(tmp_path / "run")[0] == (0, 0)
    assert left(tmp_path / "run") == left(whole[0])


def test_a_killed_run_is_not_taken_for_another_one(tmp_path):
    folder = tmp_path / "run"
    run(folder, kill_after=10)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for recipe, texts in ((PretrainRecipe(**{**vars(RECIPE), "lr": 0.02}), made_texts()), (RECIPE, made_texts(seed=1))):
        with pytest.raises(ValueError, match="has another run"):
            pretrain(recipe, texts, folder)
    with pytest.raises(ValueError, match="need resume=True"):
        pretrain(RECIPE, made_texts(), folder, resume=False)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
