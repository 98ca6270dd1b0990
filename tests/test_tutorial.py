"""The tutorial as a newcomer meets it: its blocks run in order, in an empty folder, and show what the page shows."""
import inspect
import re

import pytest

import worked
from conftest import ROOT, none
from exp import callbacks
from exp.callbacks import EVENTS
from exp.data_block import DataBunch
from exp.learner import Learner
from notebooks import lessons

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
pytestmark = [pytest.mark.xdist_group("tutorial"), pytest.mark.longest(40)]


@pytest.fixture(scope="module")
def came():
    """What each block of the page shows when it is run."""
    return worked.run(PAGE)


def test_the_page_shows_what_its_code_shows(came):
    none(worked.differences(PAGE, came), "see that it is right, then run `python tools/worked.py docs/tutorial.md --write`")


def test_no_block_of_python_is_left_out():
    assert len(worked.blocks(PAGE)) == PAGE.count("```python") >= 15
    none(["a block ```text stands alone"] if PAGE.count("```text") != sum(bool(b.shown) for b in worked.blocks(PAGE)) else [],
         "an output stands right after its block")


def test_the_names_that_the_prose_mentions_are_there():
    """What stands in backticks and looks like a name of ours is one, or is met in the code of the page."""
    known = {n for nb in lessons() for n in [nb.name, f"exp.{nb.module}", *nb.exported]}
    known |= {n for b in worked.blocks(PAGE) for n in re.findall(r"\w+", b.code)} | {*dir(Learner), *dir(DataBunch), *EVENTS}
    known |= {*re.findall(r"self\.(\w+)", inspect.getsource(callbacks))}      # what the loop keeps
    ticked = {*re.findall(r"`([\w.]+)(?:\(\))?`", worked.BLOCK.sub("", PAGE))}
    looks = {n for n in ticked if re.fullmatch(r"exp\.\w+|[A-Z][a-z]\w+|\w+_\w+", n)}
    assert {"exp.callbacks", "04_callbacks", "Checkpoint", "cnn_learner"} <= looks
    none(sorted(looks - known), "there is no such name")


# --- the tool itself ----------------------------------------------------------------------------------

def page(code, shown=""):
    return f"Text.\n\n```python\n{code}\n```\n" + (f"\n```text\n{shown}\n```\n" if shown else "") + "\nMore.\n"


@pytest.mark.parametrize("shown, came, equal", [
    ("loss 0.25", "loss 0.31", True), ("{'n': 3, 'x': 1.0}", "{'n': 3, 'x': 0.98}", True), ("1e-05", "2.5e-07", True),
    ("epoch 3", "epoch 4", False), ("3 items", "3 item", False), ("loss 0.25", "loss nan", False), ("0.5", "1", False)])
def test_numbers_with_a_point_may_differ_and_nothing_else(shown, came, equal):
    assert worked.same(shown, came) is equal


def test_a_page_that_shows_something_else_is_found_and_mended():
    stale = page("x = 2\nprint('two')\nx", "two\n3")
    came = worked.run(stale)
    assert came == ["two\n2\n"]
    [difference] = worked.differences(stale, came)
    assert "line 4" in difference and "two\n3" in difference
    assert worked.written(stale, came) == page("x = 2\nprint('two')\nx", "two\n2")


def test_an_output_that_the_page_lacks_is_found():
    bare = page("1 + 1")
    assert worked.differences(bare, came := worked.run(bare))
    assert worked.written(bare, came) == page("1 + 1", "2")


def test_blocks_share_their_names_and_an_error_names_its_line():
    both = page("a = 5") + page("a + b", "9")
    with pytest.raises(RuntimeError, match="line 11, in <module>\nNameError"):
        worked.run(both)
