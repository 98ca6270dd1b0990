"""Every lesson and every solutions notebook runs from top to bottom in a fresh kernel, on the generated samples."""
import os

import pytest

from conftest import none
from notebooks import lessons, read_notebook, solutions
from run import run_notebook
from settings import NBS

LIMIT = 300                                     # seconds
INDEX = [read_notebook(p) for p in [NBS / "index.ipynb"] if p.exists()]


def length(nb):
    """About how long it runs: the time of the saved run, or for a new notebook, its size."""
    return nb.metadata.get("exp_run", {}).get("seconds") or nb.path.stat().st_size / 1e4


def case(nb):
    folder = "solutions/" if nb.path.parent.name == "solutions" else ""
    return pytest.param(nb, id=folder + nb.name, marks=pytest.mark.longest(length(nb)))


def folder_list():
    """Everything in the notebooks' folders, but notebooks, which somebody may be editing, and what editors leave."""
    return {p for p in NBS.rglob("*") if p.suffix != ".ipynb" and not {".ipynb_checkpoints", "__pycache__"} & {*p.parts}}


@pytest.mark.parametrize("nb", [*map(case, sorted([*lessons(), *solutions(), *INDEX], key=length, reverse=True))])
def test_notebook_runs(nb):
    before, files = nb.path.read_bytes(), folder_list()
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    result = run_notebook(nb.path, data="sample", timeout=LIMIT, threads=max(1, (os.cpu_count() or 1) // workers))
    none(result.error and f"{nb.path.name} stops:\n{result.error}")
    none(result.seconds > LIMIT and f"{nb.path.name} took {result.seconds:.0f} s: the limit is {LIMIT} s")
    none(nb.path.read_bytes() != before and f"{nb.path.name} was changed by its run")
    none(sorted(folder_list() - files), "a notebook left these files behind: write to a temporary folder")
