"""The package as others get it: sdist and wheel build, and the wheel works where the project is out of sight."""
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile

import pytest
from packaging.requirements import Requirement

from conftest import ROOT, copy_project, none
from settings import CFG, LIB

pytestmark = pytest.mark.xdist_group("package")
DIST = CFG["lib_name"].replace("-", "_")

# -I and -S: no PYTHON… variables, no .pth files, so that an editable install of the project is out of sight too
IMPORT_ALL = """
import importlib, importlib.metadata, pkgutil, sys
here, *sites = sys.argv[1:]
sys.path = [here, *(p for p in sys.path if "site-packages" not in p), *sites]
import {lib}
for m in pkgutil.iter_modules({lib}.__path__):
    importlib.import_module("{lib}." + m.name)
    print(m.name)
for name, module in sys.modules.items():
    if name.split(".")[0] == "{lib}":
        assert module.__file__.startswith(here), f"{{name}} comes from {{module.__file__}}"
assert {lib}.__version__ == importlib.metadata.version("{dist}")
"""


def run(*command, **kwargs):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **kwargs)
    none(done.returncode and f"{' '.join(map(str, command))[:200]} fails:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder that holds the sdist and the wheel made from it, built in a copy, so that the tree stays clean."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    copy_project(copy)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, copy, cwd=out)
    return out


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An otherwise empty folder with the wheel installed, without what it requires."""
    target = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check",
        "--target", target, *built.glob("*.whl"), cwd=target)
    return target


def test_one_sdist_and_one_wheel(built):
    version = CFG["version"]
    assert {f.name for f in built.iterdir()} == {f"{DIST}-{version}.tar.gz", f"{DIST}-{version}-py3-none-any.whl"}


def test_sdist_can_be_built_again(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    needed = {"settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE"}
    needed |= {f"{LIB.name}/{f.name}" for f in LIB.glob("*.py")}
    none([f"the sdist lacks {n}" for n in sorted(needed - names)], "name it in MANIFEST.in")


def test_wheel_holds_the_modules_and_nothing_else(built):
    with zipfile.ZipFile(next(built.glob("*.whl"))) as archive:
        names = set(archive.namelist())
        modules = {n for n in names if ".dist-info/" not in n}
        assert modules == {f"{LIB.name}/{f.name}" for f in LIB.glob("*.py")}
        for name in modules:
            assert archive.read(name) == (ROOT / name).read_bytes(), f"{name} in the wheel differs from the tree's"
    assert any(n.endswith("LICENSE") for n in names), "the wheel lacks the licence"


def test_metadata_says_what_settings_say(installed):
    dist = next(importlib.metadata.distributions(path=[str(installed)]))
    meta = dist.metadata
    assert (meta["Name"], meta["Version"]) == (CFG["lib_name"], CFG["version"])
    assert meta["Requires-Python"] == f">={CFG['min_python']}"
    assert meta["License-Expression"] == CFG["license"]
    assert meta["Summary"] == CFG["description"]
    plain = {str(Requirement(r)) for r in dist.requires or () if "extra ==" not in r}
    assert plain == {str(Requirement(r)) for r in CFG["requirements"].split()}
    assert {"dev", "test", "docs"} <= set(meta.get_all("Provides-Extra") or ())


def test_wheel_works_without_the_project(installed):
    sites = dict.fromkeys(sysconfig.get_path(k) for k in ("purelib", "platlib"))
    sites |= dict.fromkeys(p for p in sys.path if p.endswith(("site-packages", "dist-packages")))
    script = IMPORT_ALL.format(lib=LIB.name, dist=CFG["lib_name"])
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"CUDA_VISIBLE_DEVICES": ""}
    out = run(sys.executable, "-I", "-S", "-B", "-c", script, installed, *sites, cwd=installed, env=env)
    assert set(out.split()) == {f.stem for f in LIB.glob("*.py")} - {"__init__"}
