"""The table of speed: its rows are those of the results, its bars find their numbers, its page shows what was missed."""
import importlib.util
import json
import sys

import pytest
import stage_speed
from conftest import ROOT, none


@pytest.fixture(scope="module")
def bench():
    """bench/all.py as a module."""
    spec = importlib.util.spec_from_file_location("bench_all", ROOT / "bench" / "all.py")
    module = sys.modules["bench_all"] = importlib.util.module_from_spec(spec)     # dataclasses look it up there
    spec.loader.exec_module(module)
    return module


def test_bench_json_is_what_the_results_say(bench):
    found = json.loads((ROOT / "results" / "bench.json").read_text(encoding="utf-8"))
    wanted = [bench.collect(bar) for bar in bench.BARS]
    stale = [new["work"] for old, new in zip(found, wanted) if old != new]
    none(stale + ["number of rows"] * (len(found) != len(wanted)), "python bench/all.py --collect")


def test_every_bar_has_a_script_and_a_lesson(bench):
    none([bar.work for bar in bench.BARS if not (ROOT / "bench" / f"{bar.bench}.py").exists()
          or not (ROOT / "nbs" / f"{bar.lesson}.ipynb").exists()])


def test_every_bar_finds_its_row(bench):
    """A row that was renamed in a benchmark must not turn into "not measured"."""
    lost = [bar.work for bar in bench.BARS if bar.path.exists()
            and bar.ours not in bench.rows_of(bar, json.loads(bar.path.read_text(encoding="utf-8")))]
    none(lost, "give the bar the name of its row")


def test_a_bar_reads_the_row_that_it_asks_for(bench, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "RESULTS", tmp_path)
    rows = [{"list": "a", "way": "ours", "ratio to the limit": 2.0, "quartiles": [1.0, 3.0]},
            {"list": "b", "way": "ours", "ratio to the limit": 5.0, "quartiles": [4.0, 6.0]},
            {"list": "b", "way": "theirs", "ratio to the limit": 9.0}, {"list": "b", "way": "no number"}]
    (tmp_path / "x.json").write_text(json.dumps({"date": "today", "parts": [{"steps": rows}]}), encoding="utf-8")
    bar = bench.Bar("work", "limit", 4.0, "x", "ours", ("theirs", "not there"), {"list": "b"})
    row = bench.collect(bar)
    assert (row["ours"], row["spread"], row["peers"], row["met"], row["date"]) == (5.0, [4.0, 6.0], {"theirs": 9.0}, False, "today")
    assert bench.collect(bench.Bar("work", "limit", 4.0, "x", "ours", at={"list": "b"}, least=True))["met"]
    assert bench.collect(bench.Bar("work", "limit", 4.0, "x", "ours", at={"list": "c"}))["ours"] is None
    assert bench.collect(bench.Bar("work", "limit", 4.0, "not there", "ours"))["ours"] is None


def test_the_page_shows_every_bar_and_explains_what_was_missed(bench):
    rows = [bench.collect(bar) for bar in bench.BARS]
    page = stage_speed.speed_page(rows, {"09_optimizers"})
    assert all(row["work"] in page for row in rows)
    missed = [row for row in rows if row["ours"] is not None and not row["met"]]
    none([row["work"] for row in missed if not row["why"] or row["why"] not in page], "say why in bench/all.py")
    assert page.count(", not met") == len(missed) and page.count("not measured |") == sum(row["ours"] is None for row in rows)
    assert "](09_optimizers.ipynb)" in page and "](09b_learner.ipynb)" not in page
