"""What the tests share: the tools on the path, made-up notebooks, a copy of the project to break."""
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

SOURCES = ("settings.ini setup.py pyproject.toml constraints.txt MANIFEST.in README.md LICENSE exp nbs tools").split()
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.egg-info", "build", "_proc")


def pytest_configure(config):
    config.addinivalue_line("markers", "longest(seconds): about how long the test takes; the longest start first")


def pytest_collection_modifyitems(items):
    """Start the long tests first, so that no worker is left alone with one at the end."""
    def seconds(item):
        mark = item.get_closest_marker("longest")
        return -(mark.args[0] if mark else 0)
    items.sort(key=seconds)


def none(problems, advice=""):
    """Fail with the list of problems and what to do about them, and with nothing else."""
    if problems:
        lines = [problems] if isinstance(problems, str) else [f"{k}: {v}" for k, v in problems.items()] \
            if isinstance(problems, dict) else [*map(str, problems)]
        pytest.fail("\n".join([*lines, *([f"-> {advice}"] if advice else [])]), pytrace=False)


def copy_project(to: Path) -> Path:
    """Copy the sources of the project into a folder of its own."""
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=LEFT_OUT)
        elif source.exists():
            shutil.copy2(source, to / name)
    return to


@pytest.fixture
def project_copy(tmp_path):
    """A copy of the project's sources that a test may break."""
    (tmp_path / "project").mkdir()
    return copy_project(tmp_path / "project")


@pytest.fixture
def make_notebook(tmp_path):
    """Make a notebook out of cells: a string is a code cell, ("markdown", text) is Markdown."""
    from notebooks import read_notebook

    def make(name, cells, outputs=None, metadata=None, folder=tmp_path):
        folder.mkdir(exist_ok=True)
        made = []
        for i, cell in enumerate(cells):
            kind, source = cell if isinstance(cell, tuple) else ("code", cell)
            made.append({"cell_type": kind, "id": f"cell{i}", "metadata": {},
                         "source": source.splitlines(keepends=True)})
            if kind == "code":
                made[-1] |= {"execution_count": None, "outputs": (outputs or {}).get(i, [])}
        raw = {"cells": made, "metadata": metadata or {}, "nbformat": 4, "nbformat_minor": 5}
        path = folder / f"{name}.ipynb"
        path.write_text(json.dumps(raw), encoding="utf-8")
        return read_notebook(path)

    return make


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    except OSError as e:
        pytest.skip(f"no mount command: {e}")
    if done.returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)
