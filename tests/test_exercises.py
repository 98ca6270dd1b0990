"""Each exercise three ways: the stub fails, the solution passes, a named wrong answer fails with the words that teach.

That the solution passes and the wrong answer fails is shown by running the solutions notebook (test_notebooks.py); that
it holds both, for every exercise of its lesson, is read from its cells here.
"""
import ast
from collections import defaultdict

import pytest

from conftest import none
from notebooks import DEFS, called_name, lessons, read_notebook
from settings import SOLUTIONS

LESSONS = lessons()
EXERCISES = [(nb, cell.directives["exercise"]) for nb in LESSONS for cell in nb.with_directive("exercise")]


# --- reading a lesson -----------------------------------------------------------------------------

def defined(cell):
    return {n.name: n for n in cell.tree.body if isinstance(n, DEFS)} if cell.tree else {}


def lesson_faults(nb):
    """What is wrong with the exercise cells of a lesson."""
    stubs = {c.directives["exercise"]: c for c in nb.with_directive("exercise")}
    checks = {c.directives["check"]: c for c in nb.with_directive("check")}
    faults = [] if 3 <= len(stubs) <= 5 else [f"{nb.name} has {len(stubs)} exercises: three to five"]
    if len(stubs) < len(nb.with_directive("exercise")):
        faults.append(f"{nb.name}: two exercises have one name")
    for name in stubs.keys() ^ checks.keys():
        faults.append(f"{nb.name}: `{name}` needs both a cell `#| exercise: {name}` and a cell `#| check: {name}`")
    for name, cell in stubs.items():
        stub = defined(cell).get(name)
        if stub is None or not ast.get_docstring(stub):
            faults.append(f"{nb.name}: the cell `#| exercise: {name}` must define `{name}`, with a docstring")
        elif not any(isinstance(n, ast.Raise) and "NotImplementedError" in ast.unparse(n) for n in ast.walk(stub)):
            faults.append(f"{nb.name}: the stub `{name}` must raise NotImplementedError")
    for name, cell in checks.items():
        check = defined(cell).get(f"check_{name}")
        last = ast.unparse(cell.tree.body[-1]) if cell.tree and cell.tree.body else ""
        if check is None or len(check.args.args) != 1:
            faults.append(f"{nb.name}: the cell `#| check: {name}` must define `check_{name}(answer)`")
        elif silent := [n.lineno for n in ast.walk(check) if isinstance(n, ast.Assert) and n.msg is None]:
            faults.append(f"{nb.name}: check_{name} has assertions without a message that teaches, lines {silent}")
        if last != f"try_exercise(check_{name}, {name})":
            faults.append(f"{nb.name}: the cell `#| check: {name}` must end with `try_exercise(check_{name}, {name})`")
    return faults


# --- reading its solutions ------------------------------------------------------------------------

def words_demanded(with_):
    """The `contains` of `with expect_fail(AssertionError, contains=…)`; None for any other `with`."""
    for item in with_.items:
        call = item.context_expr
        if not (isinstance(call, ast.Call) and called_name(call) == "expect_fail"):
            continue
        given = dict(zip(("exception", "contains"), call.args)) | {k.arg: k.value for k in call.keywords}
        words = given.get("contains")
        is_text = isinstance(words, ast.Constant) and isinstance(words.value, str)
        right_error = "exception" in given and ast.unparse(given["exception"]) == "AssertionError"
        return words.value.strip() if is_text and right_error else ""
    return None


def answers(solutions, lesson):
    """{exercise: [(name that was checked, words demanded or None)]}, from the top level of the cells, in order."""
    found, exercise_of, texts, names = defaultdict(list), {}, {}, set()

    def look(statement, words):
        if isinstance(statement, ast.With):
            inner = words_demanded(statement)
            for s in statement.body:
                look(s, words if inner is None else inner)
        elif isinstance(statement, DEFS):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign) and isinstance(target := statement.targets[0], ast.Name):
            value = statement.value
            names.add(target.id)
            if isinstance(value, ast.Constant):
                texts[target.id] = value.value
            if isinstance(value, ast.Call) and called_name(value) == "load_exercise" and len(value.args) == 2:
                path, name = (texts.get(a.id) if isinstance(a, ast.Name) else getattr(a, "value", None)
                              for a in value.args)
                exercise_of[target.id] = name if path == f"../{lesson}.ipynb" else None
        for call in ast.walk(statement) if isinstance(statement, (ast.Expr, ast.Assert, ast.Assign)) else []:
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(".check") and call.args:
                exercise = exercise_of.get(ast.unparse(call.func.value))
                answer = ast.unparse(call.args[0])
                found[exercise].append((answer if answer in names else f"undefined {answer}", words))

    for cell in solutions.code:
        for statement in cell.tree.body if cell.tree else []:
            look(statement, None)
    return found


def solution_faults(solutions, lesson, exercise):
    """What the solutions notebook lacks for one exercise."""
    given = answers(solutions, lesson)[exercise]
    faults = []
    if (exercise, None) not in given:
        faults.append(f"solutions/{lesson} must load `{exercise}` from ../{lesson}.ipynb, define the answer under the "
                      f"same name and call `exercise.check({exercise})`, outside of any expect_fail")
    if not any(name.startswith("wrong") and words for name, words in given):
        faults.append(f"solutions/{lesson} must show a wrong answer for `{exercise}`: define `wrong_…` and call "
                      "`exercise.check(wrong_…)` in `with expect_fail(AssertionError, contains='words that teach')`")
    return faults


# --- the tests ------------------------------------------------------------------------------------

@pytest.mark.parametrize("nb", LESSONS, ids=lambda nb: nb.name)
def test_exercises_are_whole(nb):
    none(lesson_faults(nb))
    none([] if (SOLUTIONS / nb.path.name).exists() else f"nbs/solutions/{nb.path.name} is missing")


@pytest.mark.parametrize("nb, exercise", EXERCISES, ids=lambda x: getattr(x, "name", x))
def test_solutions_hold_a_right_and_a_wrong_answer(nb, exercise):
    path = SOLUTIONS / nb.path.name
    none([] if path.exists() else f"nbs/solutions/{nb.path.name} is missing")
    none(solution_faults(read_notebook(path), nb.name, exercise))


@pytest.mark.parametrize("nb, exercise", EXERCISES, ids=lambda x: getattr(x, "name", x))
def test_stub_fails(nb, exercise, monkeypatch):
    monkeypatch.setenv("EXP_DATA", "sample")
    from exp.notebook import load_exercise

    try:
        found = load_exercise(nb.path, exercise)
        found.check(found.stub)
        problem = "accepts the stub"
    except (NotImplementedError, AssertionError):
        return
    except Exception as e:                      # its traceback would show the notebook's file, from end to end
        problem = f"stops with {type(e).__name__}: {e}"
    none(f"{nb.name}: the check of `{exercise}` {problem}",
         "a check needs nothing but the lesson's import cells and its own")


# --- the tests of the tests -----------------------------------------------------------------------

STUB = '#| exercise: half\ndef half(x):\n    """Half of x."""\n    raise NotImplementedError'
CHECK = """#| check: half
def check_half(answer):
    assert answer(3) == 1.5, "divide by two"

try_exercise(check_half, half)"""
LOAD = 'exercise = load_exercise("../lesson.ipynb", "half")'
RIGHT = "def half(x):\n    return x / 2\n\nexercise.check(half)"
WRONG = """def wrong_floor(x):
    return x // 2

with expect_fail(AssertionError, contains="by two"):
    exercise.check(wrong_floor)"""


def three(text):
    """The same exercise three times, under three names."""
    return [text.replace("half", name) for name in ("half", "other", "third")]


@pytest.mark.parametrize("cells, words", [
    ([*three(STUB), *three(CHECK)], ""),
    ([STUB, CHECK], "has 1 exercises"),
    ([*three(STUB), *three(CHECK)[:2]], "`third` needs both"),
    ([*three(STUB.replace("half(x)", "halve(x)")), *three(CHECK)], "must define `half`"),
    ([*three(STUB.replace("raise NotImplementedError", "return x")), *three(CHECK)], "must raise NotImplementedError"),
    ([*three(STUB), *three(CHECK.replace("check_half(answer)", "check(answer)"))], "must define `check_half(answer)`"),
    ([*three(STUB), *three(CHECK.replace("\n\ntry_exercise(check_half, half)", ""))], "must end with `try_exercise"),
    ([*three(STUB), *three(CHECK.replace(', "divide by two"', ""))], "without a message"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_faulty_lessons_are_seen(make_notebook, cells, words):
    faults = lesson_faults(make_notebook("lesson", cells))
    assert bool(faults) == bool(words) and (not words or words in "\n".join(faults))


@pytest.mark.parametrize("cells, words", [
    ([LOAD, RIGHT, WRONG], ""),
    (['lesson = "../lesson.ipynb"', 'exercise = load_exercise(lesson, "half")', RIGHT, WRONG], ""),
    ([LOAD, WRONG], "outside of any expect_fail"),
    ([LOAD, RIGHT], "must show a wrong answer"),
    ([LOAD, RIGHT, WRONG.replace("by two", "")], "must show a wrong answer"),
    ([LOAD, RIGHT, WRONG.replace("AssertionError", "Exception")], "must show a wrong answer"),
    ([LOAD, RIGHT, WRONG.replace("wrong_floor", "half")], "must show a wrong answer"),
    ([LOAD, RIGHT, WRONG.replace("def wrong_floor", "def wrong_other")], "must show a wrong answer"),
    ([LOAD.replace("../lesson", "../other"), RIGHT, WRONG], "outside of any expect_fail"),
    ([LOAD, f"def later():\n    {RIGHT.splitlines()[-1]}", WRONG], "outside of any expect_fail"),
    ([LOAD, RIGHT.replace("check(half)", "check(lambda x: x / 2)"), WRONG], "outside of any expect_fail"),
], ids=lambda x: x if isinstance(x, str) else "")
def test_faulty_solutions_are_seen(make_notebook, cells, words):
    faults = solution_faults(make_notebook("solutions", cells), "lesson", "half")
    assert bool(faults) == bool(words) and (not words or words in "\n".join(faults))
