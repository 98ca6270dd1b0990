"""The rules of the house: what holds for the tree as a whole, and what a change in one place can break in another."""
import ast
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import config
from bars import misses
from conftest import ROOT, copy_project, none
from ledger import check_ledger
from notebooks import DEFS, imported_modules, lessons, read_notebook, solutions, stale
from settings import CFG, LIB, NBS

LESSONS, SOLUTIONS = lessons(), solutions()
WATCH = Path(__file__).with_name("import_alone.py")
INDEX = [read_notebook(p) for p in [NBS / "index.ipynb"] if p.exists()]
NOTEBOOKS = [*LESSONS, *SOLUTIONS, *INDEX]
MODULES = sorted(p for p in LIB.glob("*.py") if not p.name.startswith("_"))
BY_MODULE = {nb.module: nb for nb in LESSONS if nb.module}
TEXT = {"", ".py", ".ipynb", ".md", ".ini", ".toml", ".txt", ".yml", ".yaml", ".in", ".css", ".js", ".html", ".json",
        ".svg", ".cfg", ".sh"}


def name_of(x):
    folder = "solutions/" if getattr(x, "path", x).parent.name == "solutions" else ""
    return folder + (x.stem if isinstance(x, Path) else x.name)


def run(*command, cwd=ROOT, **kwargs):
    """Run a command; its exit status, what it printed, and what it complained about."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=cwd, **kwargs)
    return done.returncode, done.stdout, done.stderr


def project_files():
    """Every file that belongs to the project: git's list, or in a tree without git, all but what is built."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    code, out, _ = run(*listed) if shutil.which("git") else (1, "", "")
    if code == 0:
        return [f for n in out.split("\0") if n and (f := ROOT / n).is_file() and not f.is_symlink()]
    built = {".git", ".venv", "build", "dist", "__pycache__", "_build", "_src", "_proc", ".pytest_cache", ".ruff_cache",
             ".ipynb_checkpoints", f"{CFG['lib_name'].replace('-', '_')}.egg-info"}
    return [f for f in ROOT.rglob("*") if f.is_file() and not f.is_symlink()
            and not built & {*f.relative_to(ROOT).parts}]


FILES = project_files()


# --- what is generated agrees with its source ------------------------------------------------------

def export(root):
    """Export the notebooks of a copy of the project, from nothing."""
    for f in (root / CFG["lib_path"]).glob("*.py"):
        if f.name != "__init__.py":
            f.unlink()
    code, out, err = run(sys.executable, "-c", "from nbdev.doclinks import nbdev_export; nbdev_export()", cwd=root,
                         env=os.environ | {"PYTHONPATH": str(root)})
    none(code and f"the export fails:\n{out}{err}")
    return {f.name: f.read_bytes() for f in (root / CFG["lib_path"]).glob("*.py")}


def test_modules_equal_a_fresh_export(tmp_path):
    fresh = export(copy_project(tmp_path))
    here = {f.name: f.read_bytes() for f in LIB.glob("*.py")}
    none([f"no notebook exports to exp/{n}" for n in sorted(here.keys() - fresh.keys())]
         + [f"exp/{n} is not exported yet" for n in sorted(fresh.keys() - here.keys())]
         + [f"exp/{n} differs from a fresh export" for n in sorted(here.keys() & fresh.keys()) if here[n] != fresh[n]],
         "change the notebook, never the module; then run `make export`")


def test_each_notebook_has_a_module_of_its_own():
    count = Counter(nb.module for nb in LESSONS if nb.module)
    none([f"{nb.name} has no `#| default_exp`" for nb in LESSONS if not nb.module]
         + [f"{n} notebooks export to {m}" for m, n in count.items() if n > 1]
         + [f"{m}: only one of notebook and module is there" for m in {m.stem for m in MODULES} ^ BY_MODULE.keys()],
         "one notebook, one module; run `make export`")


def test_pyproject_agrees_with_settings():
    if (ROOT / "pyproject.toml").read_text(encoding="utf-8") != config.pyproject(CFG):
        none("pyproject.toml differs from settings.ini", "edit settings.ini only, then run `make config`")


def test_readme_agrees_with_the_index():
    code, out, err = run(sys.executable, "tools/readme.py", "--check")
    none(code and out + err, "README.md is written from nbs/index.ipynb: run `make readme`")


@pytest.mark.parametrize("nb", NOTEBOOKS, ids=name_of)
def test_saved_outputs_belong_to_the_code(nb):
    if nb.path.parent.name == "solutions" and not any(c.outputs for c in nb.code):
        return                                  # solutions may be kept without outputs
    why = stale(nb)
    none(why and f"{name_of(nb)} {why}", "run `make notebooks`")
    data = nb.metadata["exp_run"].get("data")
    none(nb in LESSONS and data != "real" and f"{nb.name}: the saved outputs were made with data={data!r}",
         "the outputs that are kept come from real data: run `make notebooks` where they are")


# --- modules --------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def imports():
    """What happened when each module was imported in a process of its own."""
    names = [f"{LIB.name}.{m.stem}" for m in MODULES] + [LIB.name]
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CUDA", "EXP_"))}
    code, out, err = run(sys.executable, "-I", "-B", WATCH, ROOT, CFG["lib_name"], *names,
                         cwd="/", env=env | {"CUDA_VISIBLE_DEVICES": ""})
    none(code and f"the imports could not be watched:\n{out}{err}")
    return {name: report.strip() for name, report in re.findall(r"^== (\S+)\n(.*?)(?=^== |\Z)", out, re.M | re.S)}


@pytest.mark.xdist_group("imports")
@pytest.mark.parametrize("module", [*MODULES, LIB], ids=lambda m: m.stem)
def test_module_imports_alone_and_quietly(module, imports):
    name = f"{LIB.name}.{module.stem}" if module != LIB else LIB.name
    none(imports[name] != "ok" and f"import {name}, alone, with no GPU, network or optional package:\n{imports[name]}")


def tree_of(module):
    return ast.parse(module.read_text(encoding="utf-8"))


def public_names(tree):
    """Names that a module defines at its top level: functions, classes, constants."""
    for n in tree.body:
        if isinstance(n, DEFS) and not any("overload" in ast.unparse(d) for d in n.decorator_list):
            yield n.name
        elif isinstance(n, (ast.Assign, ast.AnnAssign)):
            targets = n.targets if isinstance(n, ast.Assign) else [n.target]
            yield from (x.id for t in targets for x in ast.walk(t)
                        if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store))


def listed(tree):
    """The value of `__all__`."""
    return next(ast.literal_eval(n.value) for n in tree.body
                if isinstance(n, ast.Assign) and [ast.unparse(t) for t in n.targets] == ["__all__"])


def star_imports(trees):
    return [f"{where}: from {n.module} import *" for where, tree in trees for n in ast.walk(tree)
            if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]


def test_no_star_import():
    trees = [(f.name, tree_of(f)) for d in (LIB, ROOT / "tools", ROOT / "tests") for f in d.glob("*.py")]
    trees += [(f"{name_of(nb)} cell {c.id}", c.tree) for nb in NOTEBOOKS for c in nb.code if c.tree]
    none(star_imports(trees), "import by name")


def defined_twice(trees):
    places = {}
    for where, tree in trees:
        for name in public_names(tree):
            if not name.startswith("_"):
                places.setdefault(name, []).append(where)
    return {name: where for name, where in places.items() if len(where) > 1}


def test_no_public_name_is_defined_twice():
    none(defined_twice([(m.stem, tree_of(m)) for m in MODULES]),
         "each public name is defined once in the package: give the other one a name of its own")


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.stem)
def test_all_lists_the_public_names(module):
    tree = tree_of(module)
    public = {n for n in public_names(tree) if not n.startswith("_")}
    none([f"{module.name}: {n} is twice in __all__" for n, k in Counter(listed(tree)).items() if k > 1]
         + [f"{module.name}: {n} is public but not in __all__" for n in public - set(listed(tree))]
         + [f"{module.name}: {n} is in __all__ but not defined here" for n in set(listed(tree)) - public],
         "define it in a cell `#| export`; a private name begins with an underscore")


def ours_imported(code):
    """Modules of ours that code imports, at any depth, also inside functions."""
    return {m.split(".")[1] for m in imported_modules(code) if "." in m and m.split(".")[1] in BY_MODULE}


def may_import(nb, module, order):
    """May the module of notebook `nb` import `module`?

    Only an earlier one; and a support module only the parts of itself (00b1 and 00b2 for 00b).
    """
    earlier = order.index(module) < order.index(nb.module)
    return earlier and (not nb.is_support or BY_MODULE[module].number[:3] == nb.number[:3])


def later_imports(notebooks):
    """Imports, in cells and in what they export, that do not go to a lower notebook."""
    order, faults = [nb.module for nb in notebooks], []
    for i, nb in enumerate(notebooks):
        for cell in nb.code:
            for module in sorted(ours_imported(cell.source)):
                if {"export", "exports"} & cell.directives.keys():
                    if not may_import(nb, module, order):
                        faults.append(f"{nb.name}, cell {cell.id}: its module may not import {module}")
                elif order.index(module) > i and not nb.is_support:
                    faults.append(f"{nb.name}, cell {cell.id}: imports {module}, which does not come before it")
    return faults


def test_imports_go_to_lower_notebooks():
    none(later_imports(LESSONS), "lessons build on earlier ones only, support modules on nothing of ours")


@pytest.mark.parametrize("module", [*MODULES, LIB / "__init__.py"], ids=lambda m: m.stem)
def test_module_imports_only_earlier_ones(module):
    found = ours_imported(module.read_text(encoding="utf-8"))
    nb = BY_MODULE.get(module.stem)
    none([f"{module.name} may not import {m}" for m in found if nb is None or not may_import(nb, m, list(BY_MODULE))],
         "a module imports only those that come before it, also inside a function, where it would hide a cycle; "
         "support modules and __init__ import nothing of ours")


# --- notebooks ------------------------------------------------------------------------------------

def test_ledger():
    none(check_ledger(LESSONS))


@pytest.mark.parametrize("nb", NOTEBOOKS, ids=name_of)
def test_bars(nb):
    none(misses(nb))


# --- nothing depends on how fast the machine is ------------------------------------------------------

CLOCKS = {"time_calls", "perf_counter", "monotonic", "process_time", "default_timer", "blocked_autorange", "timeit"}


def timed_assertions(trees):
    """Assertions that compare measured times. A limit of half a minute or more is for what never ends, and may stay."""
    def names(node):
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {
            n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}

    def compares(part):
        """Whether the order of two numbers is asked for, and neither is half a minute or more."""
        return any(isinstance(op, (ast.Lt, ast.LtE, ast.Gt, ast.GtE)) for n in ast.walk(part) if isinstance(n, ast.Compare)
                   for op in n.ops) and not any(isinstance(n, ast.Constant) and isinstance(n.value, (int, float)) and n.value >= 30
                                                for n in ast.walk(part))

    def bound(node):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}

    def spread(nodes, known):
        """The names that hold times after these statements."""
        for node in nodes:
            if isinstance(node, (ast.Assign, ast.AugAssign, ast.NamedExpr)) and names(node.value) & known:
                known = known | bound(node)
        return known

    measured, found = set(CLOCKS), []
    for top in (node for tree in trees for node in tree.body):
        if isinstance(top, ast.FunctionDef):
            inside = [*ast.walk(top)]
            known = spread(inside, measured)
            if any(isinstance(n, ast.Return) and n.value and names(n.value) & known for n in inside):
                measured.add(top.name)
        elif not isinstance(top, ast.ClassDef):
            measured = spread(ast.walk(top), measured)
            for node in ast.walk(top):
                if isinstance(node, ast.Assert) and names(node.test) & measured:
                    parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
                    found += [ast.unparse(p) for p in parts if names(p) & measured and compares(p)]
    return found


@pytest.mark.parametrize("nb", NOTEBOOKS, ids=name_of)
def test_no_assertion_on_a_clock(nb):
    none([f"asserts a time: {line}" for line in timed_assertions([c.tree for c in nb.code if c.tree])], "show the times, and assert something else")


def test_assertions_on_a_clock_are_seen():
    def found(source):
        return timed_assertions([ast.parse(source)])
    assert found("s = time_calls({})\nassert s['a'] < s['b']") == ["s['a'] < s['b']"]
    assert found("s = time_calls({})\nr = {k: 1 for k in s}\nassert ok and min(r) > 2") == ["min(r) > 2"]
    assert found("def run(): return time.perf_counter()\nassert run() < 29") == ["run() < 29"]
    assert found("def a(): return time_calls({})\ndef b(): return a()\nassert b() < 2") == ["b() < 2"]
    assert found("start = time.perf_counter()\nassert time.perf_counter() - start < 60\nassert x < 2") == []


# --- files ----------------------------------------------------------------------------------------

def test_ruff():
    folders = [d for d in ("nbs", "exp", "tools", "tests", "docs", "bench") if (ROOT / d).exists()]
    code, out, err = run(sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", *folders)
    none(code and out + err)


def test_text_files_end_their_lines_with_lf():
    texts = [f for f in FILES if f.suffix in TEXT]
    assert len(texts) > 20, "the list of the project's files is empty: is this the project's folder?"
    none([f.relative_to(ROOT) for f in texts if b"\r" in f.read_bytes()], "save with LF line ends")


def forbidden():
    """Words that tie the project to one machine or registry; in pieces, so that this file has none of them."""
    folders = ["/wo" + "rk/", "/ro" + "ot/", "/tmp/" + "work", "/mnt/" + "data", "../" + "shared", "/home/" + "runner"]
    hosts = ["py" + "pi.org", "files.python" + "hosted", "registry.npm" + "js", "download.pytorch" + ".org/whl"]
    words = ["nb" + "stats", "sub" + "agent", "this work" + "place", "/toolchain" + "/", "issues" + " show"]
    here = [f"{p}/" for p in (ROOT, Path.home()) if len(p.parts) > 2]
    return folders + hosts + words + here


def readable(file):
    """The text of a file that people wrote: pictures inside notebooks are left out."""
    text = file.read_bytes().decode("utf-8", "replace")
    return re.sub(r'"image/(png|jpeg)": (\[[^\]]*\]|"[^"]*")|data:[\w/+.-]+;base64,[\w+/=]+', "", text)


def test_no_file_knows_a_machine_or_a_registry():
    found = [f"{f.relative_to(ROOT)}: {word}" for f in FILES if f.suffix in TEXT
             for text in [readable(f)] for word in forbidden() if word in text]
    none(found, "take these out: they hold on one machine only")
