"""The tools themselves, on made-up notebooks: what they count, and that each check goes red when it should."""
import json
import re
import subprocess
import sys
from itertools import groupby

import pytest

import notebooks
from bars import CLOSING, figures, misses
from conftest import ROOT
from ledger import Uses, check_ledger
from notebooks import digest, lessons, read_notebook, stale
from stretches import STRETCHES, stretch
from test_house import WATCH, defined_twice, later_imports, public_names, star_imports, tree_of


def tool(root, name, *args):
    """Run a tool of a copy of the project; its exit status and what it printed."""
    done = subprocess.run([sys.executable, f"tools/{name}", *map(str, args)], cwd=root, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


# --- bars -----------------------------------------------------------------------------------------

DEFINITION = '''#| export
def double(
    x: float,  # a number
) -> float:    # twice the number
    """Double a number.

    Like: `operator.mul`
    """
    # a comment alone is no line of code
    return 2 * x'''
PAGE = [
    ("markdown", "# Doubling\n\n> Twice as much."),
    ("markdown", "Nine words, but **no** word of $x + y$ [linked](https://example.org/a/b) or ![cat](a.png) `code`."),
    "#| default_exp doubling",
    "import torch",
    "torch.manual_seed(0)\ngenerator = torch.Generator().manual_seed(1)",
    DEFINITION,
    ("markdown", "$$ y = 2x $$\n\n<b>Bold</b> end"),
    "assert double(1) == 2\nassert double(2) == 4",
    "def helper():\n    assert False\n\nhelper",
    "ax.plot([1], [2])\nax.set_xlabel('x')\nax.set_ylabel('y')",
    "#| exercise: triple\ndef triple(x):\n    raise NotImplementedError",
    *(("markdown", f"## {h}") for h in CLOSING),
]


def test_bars_count_right(make_notebook):
    f = figures(make_notebook("01_doubling", PAGE))
    assert f["words"] == 4 + 9 + 2 + (3 + 4 + 4 + 1 + 1)        # counted by hand, cell by cell
    assert f["opening words"] == 4 + 9
    assert (f["code cells"], f["code lines"]) == (8, 0 + 1 + 2 + 7 + 2 + 3 + 3 + 2)
    assert (f["lines/cell median"], f["lines/cell p90"], f["lines/cell max"]) == (2, 7, 7)
    assert f["checked cells %"] == 100 / 8                      # what stands in a function does not count
    assert f["exported names checked %"] == f["exported names documented %"] == f["exported functions typed %"] == 100
    assert f["signatures whole %"] == f["parameters commented %"] == f["charts labelled %"] == 100
    assert (f["exercises"], f["seed calls"], f["star imports"], f["lines over 100"]) == (1, 1, 0, 0)
    assert f["H1 first"] and f["promise"] and f["closing"] and f["not plain Python"] == 0


BARE = "#| export\ndef bare(x): pass\n\nassert bare(1) is None"


@pytest.mark.parametrize("change, figure", [
    (lambda p: p[1:], "H1 first"),
    (lambda p: [("markdown", "# Doubling"), *p[1:]], "promise"),
    (lambda p: [*p[:-2], p[-1], p[-2]], "closing"),
    (lambda p: [*p[:-1]], "closing"),
    (lambda p: ["%matplotlib inline", *p], "not plain Python"),
    (lambda p: [*p, "from torch import *"], "star imports"),
    (lambda p: [*p, "import random\nrandom.seed(0)"], "seed calls"),
    (lambda p: [*p, "x = '" + 100 * "-" + "'"], "lines over 100"),
    (lambda p: [*p, "\n".join(41 * ["x = 1"])], "lines/cell max"),
    (lambda p: [*p, 30 * "\nx = 1"], "words/code line"),
    (lambda p: [*p, "ax.bar([1], [2])"], "charts labelled %"),
    (lambda p: [*p, "#| export\ndef lonely() -> None:\n    'It has a sentence.'"], "exported names checked %"),
    (lambda p: [*p, BARE], "exported names documented %"),
    (lambda p: [*p, BARE], "exported functions typed %"),
    (lambda p: [*p, "#| export\nclass Half:\n    def method(self, x: int): pass"], "signatures whole %"),
    (lambda p: [*p, "#| export\ndef one_comment(x: int, y: int) -> int: pass  # ?"], "parameters commented %"),
    (lambda p: p, "exercises"),
    (lambda p: p, "words"),
    (lambda p: p, "opening words"),
    (lambda p: p, "checked cells %"),
    (lambda p: [*p, *(["\n".join(16 * ["x = 1"])] * 3)], "lines/cell p90"),
    (lambda p: [*p, *(["x = '" + 90 * "-" + "'"] * 3)], "line p95"),
    (lambda p: [*p, *(["x = 1"] * 20)], "lines/cell median"),
    (lambda p: [*p, ("markdown", "<!--" + 700_000 * "-" + "-->")], "KB"),
    (lambda p: [*p, ("markdown", "![](picture.png)")], "images without alt"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_bars_see_what_is_missed(make_notebook, change, figure):
    missed = misses(make_notebook("01_doubling", change(PAGE)))
    assert any(line.startswith(f"01_doubling: {figure} is ") for line in missed), missed


PNG = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}
TEXT = {"output_type": "execute_result", "data": {"text/plain": "'fine'"}, "metadata": {}, "execution_count": None}


@pytest.mark.parametrize("output, figure", [
    (TEXT, None),
    (PNG | {"metadata": {"image/png": {"alt": "A line that falls."}}}, None),
    (PNG, "images without alt"),
    (PNG | {"metadata": {"image/png": {"alt": " "}}}, "images without alt"),
    (TEXT | {"data": {"text/html": "<img src='data:image/png;base64,AAAA'>", "text/plain": ""}}, "images without alt"),
    (TEXT | {"data": {"text/plain": "PosixPath('/home/" + "me/data/x.png')"}}, "machine paths"),
    ({"output_type": "stream", "name": "stdout", "text": ["C:\\Users\\me\n"]}, "machine paths"),
    (TEXT | {"data": {"text/plain": "<object at 0x7f0a1b2c3d4e>"}}, "addresses"),
    ({"output_type": "stream", "name": "stderr", "text": "UserWarning: hm"}, "warnings"),
    ({"output_type": "error", "ename": "ValueError", "evalue": "no", "traceback": ["no"]}, "errors"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_bars_look_at_saved_outputs(make_notebook, output, figure):
    missed = [line for line in misses(make_notebook("01_doubling", PAGE, outputs={3: [output]}))
              if any(w in line for w in ("alt", "paths", "addresses", "warnings", "errors"))]
    assert (f"01_doubling: {figure} is 1" in " ".join(missed)) if figure else not missed


def test_bars_command(make_notebook):
    bad = make_notebook("01_doubling", PAGE)
    code, out = tool(ROOT, "bars.py", "--check", bad.path)
    assert code == 1 and "MISSED 01_doubling: words is 28, the bar is 900 to 2500" in out
    assert tool(ROOT, "bars.py", bad.path)[0] == 0                              # without --check it only tells


# --- the ledger -----------------------------------------------------------------------------------

UNLOCK = '#| unlocks\nunlocks = ["torch.nn.Linear", "torch.nn.init", "torch.special.expit"]\nunlocks'
NOTHING = "#| unlocks\nunlocks = []"


def ledger(make_notebook, *pages):
    """Faults of made-up lessons 01, 02, …; a page that unlocks nothing gets a cell that says so."""
    made = []
    for i, cells in enumerate(pages, 1):
        whole = cells if any("unlocks" in c for c in cells) else [*cells, NOTHING]
        made.append(make_notebook(f"{i:02}_lesson", whole))
    return check_ledger(made)


def last_line(text):
    """A short name for a case."""
    return text.splitlines()[-1][:50]


@pytest.mark.parametrize("code, used", [
    ("import torch\ntorch.nn.Conv2d(1, 1, 1)", "torch.nn.Conv2d"),
    ("import torch.nn as nn\nnn.Conv2d(1, 1, 1)", "torch.nn.Conv2d"),
    ("from torch import nn\nnn.Conv2d(1, 1, 1)", "torch.nn.Conv2d"),
    ("import torch.nn.functional as F\nF.relu(x)", "torch.nn.functional.relu"),
    ("from torch.nn import functional\nfunctional.relu(x)", "torch.nn.functional.relu"),
    ("from torch.nn import Conv2d as C\nC(1, 1, 1)", "torch.nn.Conv2d"),
    ("from torch.utils import data\ndata.DataLoader(x)", "torch.utils.data.DataLoader"),
    ("import torch.utils.data\ntorch.utils.data.DataLoader(x)", "torch.utils.data.DataLoader"),
    ("import torch as t\nt.optim.SGD(p)", "torch.optim.SGD"),
    ("import torch\ntorch.autograd.grad(y, x)", "torch.autograd.grad"),
    ("import torch\nwith torch.amp.autocast('cpu'): pass", "torch.amp.autocast"),
    ("import torch\nwith torch.autocast('cpu'): pass", "torch.autocast"),
    ("from torch import nn\nclass Net(nn.Module): pass", "torch.nn.Module"),
    ("from torch import nn\ndef f(m: nn.Module): pass", "torch.nn.Module"),
    ("from torch import nn\nf = lambda x: nn.functional.relu(x)", "torch.nn.functional.relu"),
    ("def f():\n    from torch import nn\n    return nn.Conv2d", "torch.nn.Conv2d"),
    ("from torch import nn\n[nn.Conv2d(1, n, 1) for n in range(3)]", "torch.nn.Conv2d"),
    ("from torch import nn\nF = nn.functional\nF.relu(x)", "torch.nn.functional.relu"),
    ("from torch import nn\ngetattr(nn, 'Conv2d')(1, 1, 1)", "torch.nn.Conv2d"),
    ("import importlib\nimportlib.import_module('torch.nn').Conv2d", "torch.nn.Conv2d"),
    ("from torch import nn\ndir(nn)", "torch.nn"),
    ("from torch.nn import *", "torch.nn"),
    ("from torch import nn\nf'{nn.Conv2d}'", "torch.nn.Conv2d"),
    ("import torch\ntorch.special.expit(x)", "torch.special.expit"),            # 02 unlocks it, wherever it lives
    ("#| export\nfrom torch import nn\nlayer = nn.Linear", "torch.nn.Linear"),
], ids=last_line)
def test_ledger_sees_early_use(make_notebook, code, used):
    faults = ledger(make_notebook, [code], [UNLOCK])
    assert len(faults) >= 1 and all(f.startswith("01_lesson, cell cell0, line ") for f in faults)
    assert f"uses `{used}`" in " ".join(faults)


@pytest.mark.parametrize("code", [
    "import torch\nx = torch.randn(3, 4) @ torch.ones(4)\nx.mean()",            # free from the start
    "import torch\nfrom torch import nn\nimport torch.nn.functional as F",      # an import is no use
    "'torch.nn.Conv2d'\nf'torch.nn.Conv2d is not used {1 + 1}'\n# torch.nn.Conv2d",
    "#| parity\nfrom torch import nn\nnn.Conv2d(1, 1, 1)",
    "from torch import nn\ndef f(nn): return nn.Conv2d",                        # a parameter of that name
    "from torch import nn\n[nn.Conv2d for nn in range(3)]",
    "import torch.nn.functional as F\ndef f(x):\n    F = x\n    return F.relu",
    "from torch.nn import Linear\nclass Linear: pass\n\nLinear()",              # ours from here on
    "from exp.layers import Linear, nn\nLinear(nn.Conv2d)",
    "import mylib.nn as nn\nnn.Conv2d",
], ids=last_line)
def test_ledger_lets_pass(make_notebook, code):
    assert ledger(make_notebook, [code], [UNLOCK]) == []


def test_ledger_unlocks_from_its_cell_on(make_notebook):
    use = "from torch import nn\nnn.Linear(1, 1)\nnn.init.zeros_(x)\nnn.modules.linear.Linear.forward"
    assert ledger(make_notebook, [UNLOCK, use]) == []                           # below the cell that unlocks
    assert ledger(make_notebook, [UNLOCK], [use]) == []                         # in a later lesson
    above = ledger(make_notebook, [use, UNLOCK])
    assert len(above) == 3 and "which 01_lesson unlocks" in above[0]
    assert len(ledger(make_notebook, [use], [UNLOCK])) == 3
    assert "which no lesson unlocks" in ledger(make_notebook, [UNLOCK], ["from torch import nn\nnn.Linear2"])[0]
    rebuilt_here = "import torch\ntorch.special.expit(x)"       # not in torch.nn or its like: free where it is rebuilt
    assert ledger(make_notebook, [rebuilt_here, UNLOCK]) == []


def test_ledger_exempts_support_notebooks(make_notebook):
    tools = make_notebook("00_tools", ["from torch import nn\nnn.Linear(1, 1)"])
    assert check_ledger([tools, make_notebook("01_lesson", [NOTHING])]) == []


@pytest.mark.parametrize("cell, words", [
    ("1 + 1", "need one cell `#| unlocks`"),
    ("#| unlocks\nunlocks = ['torch.nn.' + 'Linear']", "literal list"),
    ("#| unlocks\nunlocks = 'torch.nn.Linear'", "literal list"),
    ("#| unlocks\nlist_of_names = []", "literal list"),
    ("#| unlocks\nunlocks = ['torch.nn.Linnear']", "has no `torch.nn.Linnear`"),
    ("#| unlocks\nunlocks = ['json.dumps']", "has no `json.dumps`"),
], ids=last_line)
def test_ledger_reads_the_unlocks_cell(make_notebook, cell, words):
    assert words in "\n".join(check_ledger([make_notebook("01_lesson", [cell])]))


def test_ledger_wants_each_name_unlocked_once(make_notebook):
    assert "`torch.nn.Linear` is unlocked by 01_lesson already" in ledger(make_notebook, [UNLOCK], [UNLOCK])[0]


def test_ledger_refuses_what_it_cannot_trust(make_notebook):
    assert "no plain Python" in ledger(make_notebook, ["%time nn.Conv2d(1, 1, 1)"])[0]
    assert "exported cell cannot be" in ledger(make_notebook, ["#| export\n#| parity\nx = 1"])[0]


def test_uses_gives_names_and_lines():
    import ast
    uses = Uses({})
    uses.visit(ast.parse("from torch import nn\n\nnet = nn.Sequential(nn.Linear(1, 1),\n    nn.ReLU())"))
    assert uses.found == [("torch.nn.Sequential", 3), ("torch.nn.Linear", 3), ("torch.nn.ReLU", 4)]


# --- do saved outputs belong to the code? ---------------------------------------------------------

@pytest.fixture
def library(tmp_path, monkeypatch):
    """A library of three modules; `c` imports `b`, and nobody imports `a`."""
    lib = tmp_path / "exp"
    lib.mkdir()
    for name, text in {"a": "x = 1\n", "b": "x = 2\n", "c": "from .b import x\n"}.items():
        (lib / f"{name}.py").write_text(text)
    monkeypatch.setattr(notebooks, "LIB", lib)
    return lib


def test_digest_follows_code_and_imported_modules(make_notebook, library):
    def now(cells=("from exp.c import x", "x + 1", ("markdown", "Text."))):
        return digest(make_notebook("01_lesson", cells))
    first = now()
    assert now() == first
    assert now(["from exp.c import x", "x + 2"]) != first, "an edited cell"
    assert now(["x + 1", "from exp.c import x"]) != first, "cells in another order"
    assert now(["from exp.c import x", "x + 1", ("markdown", "Other text.")]) == first, "prose is free"
    (library / "a.py").write_text("x = 10\n")
    assert now() == first, "a module that the notebook does not import"
    (library / "b.py").write_text("x = 20\n")
    assert now() != first, "a module that an imported module imports"


def test_stale_outputs_are_seen(make_notebook, library):
    cells = ["from exp.c import x\nx"]
    assert "never" in stale(make_notebook("01_lesson", cells))
    stamp = {"exp_run": {"digest": digest(make_notebook("01_lesson", cells)), "date": "2026-01-01"}}
    assert stale(make_notebook("01_lesson", cells, metadata=stamp)) == ""
    assert "2026-01-01" in stale(make_notebook("01_lesson", ["from exp.c import x\nx + 1"], metadata=stamp))
    (library / "b.py").write_text("x = 3\n")
    assert "changed" in stale(make_notebook("01_lesson", cells, metadata=stamp))


# --- settings -------------------------------------------------------------------------------------

def test_config_check_catches_drift(project_copy):
    assert tool(project_copy, "config.py", "--check")[0] == 0
    settings = project_copy / "settings.ini"
    settings.write_text(settings.read_text().replace("lib_name = ", "lib_name = x-"))
    code, out = tool(project_copy, "config.py", "--check")
    assert code == 1 and "make config" in out
    assert tool(project_copy, "config.py")[0] == 0 and 'name = "x-' in (project_copy / "pyproject.toml").read_text()
    assert tool(project_copy, "config.py", "--check")[0] == 0


# --- the house's own rules ------------------------------------------------------------------------

def test_fresh_export_sees_an_edited_module(project_copy):
    from test_house import export
    lib = project_copy / "exp"
    first = {f.name: f.read_bytes() for f in lib.glob("*.py")}
    module = min(f for f in lib.glob("*.py") if not f.name.startswith("_"))
    module.write_text(module.read_text() + "\nedited = True\n")
    (lib / "stale.py").write_text("")
    fresh = export(project_copy)
    assert fresh[module.name] == first[module.name] and "stale.py" not in fresh


def test_names_defined_twice_and_stars_are_seen(tmp_path):
    (tmp_path / "a.py").write_text("def f(): pass\nLIMIT = 1\nfrom os import *\n")
    (tmp_path / "b.py").write_text("class f: pass\n_private = LIMIT = 2\ndef g(): pass\ndef g(): pass\n")
    trees = [(n, tree_of(tmp_path / f"{n}.py")) for n in "ab"]
    assert defined_twice(trees) == {"f": ["a", "b"], "LIMIT": ["a", "b"], "g": ["b", "b"]}
    assert star_imports(trees) == ["a: from os import *"]
    assert list(public_names(trees[0][1])) == ["f", "LIMIT"]


def test_imports_of_later_lessons_are_seen(make_notebook, monkeypatch):
    def page(name, module, *cells):
        return make_notebook(name, [f"#| default_exp {module}", *cells])
    tools = page("00_tools", "tools", "from exp.second import x")       # a support notebook may show later things
    first = page("01_first", "first", "#| export\ndef f():\n    from exp.second import x")
    second = page("02_second", "second", "#| export\nfrom exp.first import f", "import exp.third",
                  "from exp.second import x")
    third = page("03_third", "third", "from exp import first")
    monkeypatch.setattr("test_house.BY_MODULE", {nb.module: nb for nb in (tools, first, second, third)})
    faults = later_imports([tools, first, second, third])
    assert [f.split(":")[0] for f in faults] == ["01_first, cell cell1", "02_second, cell cell2"]
    bad = page("00_tools", "tools", "#| export\nimport exp.first")
    assert "00_tools, cell cell1: its module may not import first" in later_imports([bad, first, second, third])[0]
    part, whole = page("00b1_part", "part"), page("00b_whole", "whole", "#| export\nfrom exp.part import x")
    other = page("00c_other", "other", "#| export\nfrom exp.part import x")
    monkeypatch.setattr("test_house.BY_MODULE", {nb.module: nb for nb in (part, whole, other)})
    assert [f.split(",")[0] for f in later_imports([part, whole, other])] == ["00c_other"]


MISBEHAVE = {
    "good": "import math\nimport torch\nx = torch.Generator().manual_seed(0)\n__all__ = ['x']",
    "prints": "print('hello')", "warns": "import warnings\nwarnings.warn('hm')",
    "writes": "open('/tmp/misbehave', 'w')", "makes": "import os\nos.mkdir('/tmp/misbehave-folder')",
    "calls": "import socket\nsocket.create_connection(('127.0.0.1', 9))",
    "starts": "import subprocess\nsubprocess.run(['true'])",
    "threads": "import torch\ntorch.set_num_threads(torch.get_num_threads() + 1)",
    "dtype": "import torch\ntorch.set_default_dtype(torch.float64)",
    "seeds": "import torch\ntorch.manual_seed(1)", "python_seeds": "import random\nrandom.seed(1)",
    "numpy_seeds": "import numpy\nnumpy.random.seed(1)",
    "patches": "import torch\ntorch.Tensor.double_it = lambda self: 2 * self",
    "optional": "import nbdev", "tests": "import pytest", "shell": "import IPython",
    "missing": "__all__ = ['nothing']", "broken": "1 / 0", "leaves": "import os\nos._exit(3)",
}


def test_import_alone_sees_misbehaviour(tmp_path):
    lib = tmp_path / "misbehaving"
    lib.mkdir()
    (lib / "__init__.py").write_text("")
    for name, code in MISBEHAVE.items():
        (lib / f"{name}.py").write_text(code.replace("/tmp/", f"{tmp_path}/"))
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nrequirements = torch>=2 numpy\n")
    names = [f"misbehaving.{n}" for n in MISBEHAVE]
    done = subprocess.run([sys.executable, "-I", "-B", WATCH, tmp_path, "dl-foundations", *names],
                          capture_output=True, text=True, cwd="/")
    reports = dict(r.split("\n", 1) for r in done.stdout.split("== misbehaving.")[1:])
    words = {"good": "ok", "prints": "prints 'hello", "warns": "prints", "writes": "for writing", "makes": "os.mkdir",
             "calls": "uses the network", "starts": "starts a process", "threads": "number of threads",
             "dtype": "default type", "seeds": "torch's random state", "python_seeds": "Python's random state",
             "numpy_seeds": "numpy's random state", "patches": "attributes of Tensor",
             "optional": "No module named 'nbdev'", "tests": "No module named 'pytest'",
             "shell": "No module named 'IPython'", "missing": "__all__ lists nothing", "broken": "ZeroDivisionError",
             "leaves": "ends with status"}
    missed = [n for n in MISBEHAVE if words[n] not in reports.get(n, "")]
    assert not missed, done.stdout + done.stderr
    assert reports["good"].strip() == "ok"


# --- running notebooks ----------------------------------------------------------------------------

def test_run_notebook_tells_what_stopped_it(make_notebook):
    from run import run_notebook
    cells = ["import os\nassert os.environ['EXP_DATA'] == 'sample'\nassert os.path.exists('01_made_up.ipynb')",
             "#| headline\n'seven'", "raise ValueError('the reason')", "open('never', 'w')"]
    path = make_notebook("01_made_up", cells).path
    before, files = path.read_bytes(), set(path.parent.iterdir())
    result = run_notebook(path)
    assert "the reason" in result.error and result.headline == "seven" and result.seconds < 60
    assert (path.read_bytes(), set(path.parent.iterdir())) == (before, files)
    path = make_notebook("01_made_up", cells[:2]).path
    result = run_notebook(path)
    assert result.error is None and result.n_checks == 2
    path = make_notebook("01_made_up", ["import time\ntime.sleep(60)"]).path
    assert "time" in run_notebook(path, timeout=1).error.lower()
    assert json.loads(path.read_text())["cells"][0]["outputs"] == []
    assert read_notebook(path).name == "01_made_up"


def test_a_link_to_a_page_of_docs_stays_a_link(tmp_path):
    """The first page of the site leads to the tutorial; a link to a page that is not there stays its text."""
    from stage import FIRST, Stage

    stage = Stage(tmp_path)
    assert stage.markdown("[The first hour](../docs/tutorial.md#a-table) and [none](../docs/nothing.md)") == \
        "[The first hour](/tutorial.md#a-table) and none"
    assert all((ROOT / "docs" / f"{name}.md").exists() for name in FIRST)


def test_every_page_has_a_stretch_and_every_stretch_its_pages():
    """The map and the sidebar lose no page, keep the order, and name in a stretch only pages that it has."""
    parts = [(part, [nb.number for nb in pages]) for part, pages in groupby(lessons(), key=lambda nb: stretch(nb.name))]
    assert [part for part, _ in parts] == STRETCHES and all(part.first == pages[0] for part, pages in parts)
    named = {part.title: set(re.findall(r"\((\d\d[a-z]?\d?)\)", part.about)) for part, _ in parts}
    assert sum(map(len, named.values())) >= 6 and all(named[part.title] <= {*pages} for part, pages in parts)
