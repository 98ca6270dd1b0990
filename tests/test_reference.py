"""The reference pages: bibliography, lineage, measured results. On made-up notebooks, and on those of the course."""

import json
import re

import pytest

import stage_bibliography as bib
import stage_lineage as lin
import stage_results as res
from conftest import ROOT, none
from notebooks import lessons, solutions
from run import headline
from stage import anchor
from stage_pages import show, table

LESSONS, SOLUTIONS = lessons(), solutions()
WORKS = bib.collect(LESSONS)
RESULTS = res.files(ROOT / "results")


def plain(text):
    return text


# --- bibliography ---------------------------------------------------------------------------------

HE = "https://arxiv.org/abs/1512.03385"
READ = [  # reference, (authors, title, address, published, detail)
    (f"K. He, J. Sun, [Residual *nets*]({HE}), CVPR 2016, section 3: the block.",
     ("K. He, J. Sun", "Residual *nets*", HE, "CVPR 2016", "section 3: the block")),
    (f"K. He, J. Sun (2015), [*Residual nets*]({HE}): the block.", ("K. He, J. Sun", "Residual nets", HE, "2015", "the block")),
    (f"K. He, *Residual nets*, [1512.03385]({HE}): the block.", ("K. He", "Residual nets", HE, "", "the block")),
    (f"K. He, [Residual nets]({HE}), January 2016 (ResNet).", ("K. He", "Residual nets", HE, "2016", "ResNet")),
    ("P. Xu (2009), *Rings: a way*, Journal 15.", ("P. Xu", "Rings: a way", "", "Journal 15, 2009", "")),
    ("T. Chan, R. Le, Sums: a way, The Journal 37, 1983, pages 2–7: bounds.",
     ("T. Chan, R. Le", "Sums: a way", "", "The Journal 37, 1983", "pages 2–7: bounds")),
    ("E. Gamma, R. Helm, Design Patterns, Wesley 1994, chapter 5, *Observer*: events.",
     ("E. Gamma, R. Helm", "Design Patterns", "", "Wesley 1994", "chapter 5, *Observer*: events")),
    ("CIE 15:2018 *Colorimetry*: colours.", ("CIE 15:2018", "Colorimetry", "", "", "colours")),
    ("Python's [`argparse`](https://docs.python.org/a.html).", ("Python's", "`argparse`", "https://docs.python.org/a.html", "", "")),
    ("The norm of the course of 2019 keeps sums, and counts.", ("", "", "", "", "The norm of the course of 2019 keeps sums, and counts.")),
]


@pytest.mark.parametrize("text, parts", READ, ids=lambda x: x[:30] if isinstance(x, str) else "")
def test_references_are_read(text, parts):
    c = bib.cite(text)
    assert (c.authors, c.title, c.address, c.published, c.detail) == parts


def pages_citing(make_notebook, *references):
    return [make_notebook(f"{i:02}_page", [("markdown", f"# Page {i}\n\n## References\n\n- {text}")])
            for i, text in enumerate(references, 1)]


def test_one_entry_a_work(make_notebook):
    pages = pages_citing(
        make_notebook, f"K. He, [Nets]({HE}), 2015: a. J. Lee, A. Wu, [Sums](https://doi.org/10.1/x), 2001: b.",
        "K. He et al., [Nets](http://arxiv.org/pdf/1512.03385v2), 2015", "J. Lee, A. Wu, *Sums*, 2001: c.",
        "B. Cox, *Sums*, 2001.", "Pillow's [Image](https://docs.pytorch.org/a/), and PyTorch's [run](https://pytorch.org/b)",
        "Pillow, [Image](http://www.pytorch.org/a)")
    works = bib.collect(pages)
    assert [(w.best.title, [c.lesson.number for c in w.citations]) for w in works] == [
        ("Sums", ["04"]), ("Nets", ["01", "02"]), ("Sums", ["01", "03"]), ("Image", ["05", "06"]), ("run", ["05"])]
    page = bib.bibliography(pages, plain)
    assert re.findall("^## (.*)", page, re.M) == ["C", "H", "L", "Documentation, code and standards"]
    assert "J. Lee, A. Wu, [Sums](https://doi.org/10.1/x), 2001." in page and "[03 Page 3](03_page.ipynb#references): c." in page


CONFLICTS = [
    (f"K. He, A. Wu, [Deep nets]({HE}), 2015.", f"K. He et al., [Deep Nets]({HE})", ""),
    (f"Y. Dauphin, [Deep nets]({HE}), 2015.", f"Y. N. Dauphin (2015), [*Deep nets: a survey*]({HE})", ""),
    (f"K. He, [Deep nets]({HE}), 2015.", f"K. He, [Deep nets]({HE}), 2016.", "year"),
    (f"K. He, [Deep nets]({HE}), 2015.", f"K. He, [Flat nets]({HE}), 2015.", "title"),
    (f"K. He, [Deep nets]({HE}), 2015.", f"T. He, [Deep nets]({HE}), 2015.", "authors"),
    (f"K. He, [Deep nets]({HE}), 2015.", f"K. He, A. Wu, [Deep nets]({HE}), 2015.", "authors"),
]


@pytest.mark.parametrize("first, second, what", CONFLICTS)
def test_contradictions_are_seen(make_notebook, first, second, what):
    found = bib.contradictions(bib.collect(pages_citing(make_notebook, first, second)))
    assert [f.split(" ")[0] for f in found] == ([what] if what else [])
    assert all(f"01_page: {first}" in f and f"02_page: {second}" in f for f in found)


def test_no_work_is_cited_in_two_ways_that_contradict_each_other():
    none(bib.contradictions(WORKS), "one of the two is wrong: correct the reference in its notebook")


def test_every_reference_names_a_work():
    none([f"{c.lesson.name}: {c.source}" for w in WORKS for c in w.citations if not c.title],
         "write `Authors, [Title](address), year: what it is used for`")


def test_every_cited_address_and_lesson_is_on_the_page_once():
    page = bib.bibliography(LESSONS, plain)
    entries = re.findall(r"^- .*?\]\((http[^)]+)\)", page, re.M)
    assert len({bib.key(a) for a in entries}) == len(entries)
    cited = {(nb.path.name, bib.key(m[2])) for nb in LESSONS for text in bib.references(nb) for m in bib.LINK.finditer(text)}
    shown = {(place, bib.key(m[2])) for block in re.split(r"^(?=- )", page, flags=re.M) for m in bib.LINK.finditer(block)
             if m[2].startswith("http") for place in re.findall(r"\((\w+\.ipynb)#references\)", block)}
    assert len(cited) > 100
    none(cited - shown, "the bibliography loses these")


# --- lineage --------------------------------------------------------------------------------------

@pytest.fixture
def course(make_notebook, tmp_path):
    """Three lessons, a solution and a benchmark; `last` is used by nobody."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "bench").mkdir()
    first = "__all__ = ['LIMIT', 'double', 'Box']\nLIMIT = 1\ndef double(x):\n    '''Twice.\n\n    Like: `operator.mul`\n    '''\nclass Box: pass\n"
    (tmp_path / "exp/first.py").write_text(first)
    (tmp_path / "exp/second.py").write_text("from .first import double\n__all__ = ['more']\ndef more(): pass\n")
    (tmp_path / "exp/last.py").write_text("from exp.second import double\n__all__ = ['end']\ndef end(): pass\n")
    (tmp_path / "bench/speed.py").write_text("import exp.first as f\nfrom exp import second\nf.double(2)\nf = second.more\n")
    pages = [make_notebook("01_first", ["#| default_exp first", "from exp.first import Box", "#| unlocks\nunlocks = ['torch.mm']"]),
             make_notebook("02_second", ["#| default_exp second", "from exp import first\nfirst.LIMIT, other.Box"]),
             make_notebook("03_last", ["#| default_exp last", "def f():\n    from exp.first import Box as B"])]
    answers = [make_notebook("01_first", ["from exp.first import Box"], folder=tmp_path / "solutions")]
    return pages, answers, tmp_path / "exp", tmp_path / "bench"


def test_users_of_each_name(course):
    found = lin.lineage(*course)
    assert list(found) == ["first", "second", "last"]
    limit, double, box = found["first"]
    assert (limit.name, limit.modules, limit.lessons, limit.bench) == ("LIMIT", [], ["02_second"], [])
    assert (double.like, double.modules, double.lessons, double.bench) == ("`operator.mul`", ["second", "last"], [], ["speed"])
    assert (box.lessons, box.solutions, box.bench) == (["03_last"], ["01_first"], [])
    assert found["second"][0].bench == ["speed"] and lin.unlocks(course[0][0]) == ["torch.mm"]


def test_modules_that_nobody_uses_are_seen(course):
    pages, _, lib, bench = course
    assert lin.unused(pages, lib, bench, "") == ["last"]
    assert lin.unused(pages, lib, bench, "go=exp.last:main") == []
    (bench / "speed.py").write_text("import exp.last")
    (lib / "last.py").write_text("")
    assert lin.unused(pages, lib, bench, "") == ["second"]
    (lib / "first.py").write_text("def f():\n    from exp.first import g")        # itself does not count
    (lib / "second.py").write_text("")
    assert lin.unused([pages[0], pages[2]], lib, bench, "") == []                 # 03_last imports from first
    assert lin.unused(pages[:1], lib, bench, "") == ["first"]


def test_every_module_is_used_or_has_a_reason():
    alone = lin.unused(LESSONS)
    none([f"{m} is used by no other module, lesson, benchmark or command" for m in alone if m not in lin.ALONE]
         + [f"{m} has a reason for being used by nobody, but is used" for m in lin.ALONE.keys() - set(alone)],
         "use it, or say in ALONE of tools/stage_lineage.py why it stands alone; remove a reason that is none any more")


def test_every_public_name_has_its_row_and_its_anchor():
    page = lin.page(LESSONS, SOLUTIONS, plain, anchor)
    rows = dict(re.findall(r"^\| \[name\]\{\.column\} \[`(\w+)`\]\((#[\w-]+)\)", page, re.M))
    by_module = {nb.module: nb for nb in LESSONS}
    wanted = {name: nb for m, nb in by_module.items() for name in lin.listed(lin.read(ROOT / "exp" / f"{m}.py"))}
    assert len(wanted) > 300
    none(wanted.keys() ^ rows.keys(), "names without a row, or rows without a name")
    none([n for n, nb in wanted.items() if rows[n] != (f"#api-{anchor(n)}" if n in nb.exported else f"#api-mod-{nb.module}")])
    assert re.findall(r"^### (\S+)", page, re.M) == [nb.number for nb in LESSONS if nb.module]


def test_uses_are_those_of_the_text():
    """Against a plain reading of the import lines, without a syntax tree."""
    found = {n.name: n for names in lin.lineage(LESSONS, SOLUTIONS).values() for n in names}
    for f in sorted((ROOT / "exp").glob("[a-z]*.py")):
        text = re.sub(r"\n[ \t]+", " ", re.sub(r"#.*", "", f.read_text(encoding="utf-8")))
        for names in re.findall(r"^from exp\.\w+ import \(?([\w, ]+)|^from \.\w+ import \(?([\w, ]+)", text, re.M):
            for name in filter(None, (n.split(" as ")[0].strip() for n in "".join(names).split(","))):
                if name in found:
                    assert f.stem in found[name].modules, f"{f.stem} imports {name}"


# --- measured results -----------------------------------------------------------------------------

@pytest.mark.parametrize("value, text", [
    (0.48543524, "0.4854"), (10058.5617, "10,059"), (25000, "25,000"), (True, "yes"), (None, "none"), ([], "none"),
    ([0, 1, 2], "0, 1, 2"), ([3.0, 1.5, 2.25, 4.0, 5.0], "1.5 to 5 (5)"), ("a|b*<$[1]", r"a\|b\*\<\$\[1\]"),
    ({"n_hid": 2, "lr": 0.004}, "n hid 2; lr 0.004"), ("word " * 100, "word " * 31 + "word …"),
])
def test_values_in_few_words(value, text):
    assert res.text(value) == text


def test_a_deviation_goes_to_its_value():
    row = {"way": "plain", "accuracy": 0.48543, "accuracy std": 0.00789, "loss": 2.0, "std": 0.5, "bar": None, "runs": [{"seed": 0}]}
    assert res.cells(row) == {"way": "plain", "accuracy": "0.4854 ± 0.0079", "loss": "2.00 ± 0.50", "runs": "1"}
    assert res.cells({"std": 1.5, "x_std": 2.5}) == {"std": "1.5", "x std": "2.5"}
    assert res.with_spread(0.5, 0.0) == "0.5 ± 0"


def test_a_table_has_the_columns_that_hold_something():
    text = table([{"a": 1, "b": None, "c": ""}, {"a": 2, "c": 3}])
    assert text.splitlines()[1:-1] == ["| a | c |", "|---|---|", "| [a]{.column} 1 |  |", "| [a]{.column} 2 | [c]{.column} 3 |"]


def numbers(value):
    """Every single number of a result that the page shows, as the page writes it."""
    if isinstance(value, dict):
        spread = {k for k in value if re.sub(r"[ _]std$", "", k) in value and not k == re.sub(r"[ _]std$", "", k)}
        spread |= {re.sub(r"[ _]std$", "", k) for k in spread}
        hidden = spread | {k for k, v in value.items() if k == "runs" and res.is_rows(v)}
        hidden |= {"accuracy", "std"} if "std" in value else set()
        yield from (n for k, v in value.items() if k not in hidden for n in numbers(v))
    elif isinstance(value, list):
        if res.is_rows(value) or len(value) <= res.SHORT:
            yield from (n for v in value for n in numbers(v))
    elif res.is_number(value):
        yield show(value)


@pytest.mark.parametrize("file", RESULTS, ids=lambda f: f.stem)
def test_a_result_file_is_on_the_page_with_all_its_numbers(file):
    data = json.loads(file.read_text(encoding="utf-8"))
    text = "\n".join(res.result_file(file, LESSONS, ROOT / "bench", res.title(data, file)))
    wanted = set(numbers({k: v for k, v in data.items() if k not in res.HEAD}))
    shown = set(re.findall(r"(?<![\w.])-?[\d,.]+(?:e[+-]\d+)?", text.replace("(", " ").replace(";", " ")))
    shown |= {n.rstrip(",.") for n in shown}
    assert wanted
    none(wanted - shown, f"results/{file.name}: these numbers are not on the page")
    for key in ("machine", "torch", "commit"):
        assert str(data.get(key, f"{key} not noted")) in text
    assert f"results/{file.name}" in text


@pytest.mark.parametrize("file", RESULTS, ids=lambda f: f.stem)
def test_a_benchmark_says_how_its_result_is_made(file):
    line = res.command(file.name, ROOT / "bench")
    assert line, f"no docstring in bench/ has a command line for results/{file.name}"
    script, target = line.split()[1], line.split("--json ")[1]
    assert target == f"results/{file.name}" and (ROOT / script).exists()
    options = set(re.findall(r"--[\w-]+", line)) - {"--json"}
    source = (ROOT / script).read_text(encoding="utf-8")
    assert all(f'"{o}"' in source for o in options), f"{script} knows no {options}"


def test_commands_are_found(tmp_path):
    (tmp_path / "loop.py").write_text(
        '"""Loops.\n\n    python bench/loop.py     print\n    python bench/loop.py --json FILE     write\n'
        '    python bench/loop.py --size 512  large\n    python bench/loop.py --x --json results/loop_own.json\n"""')
    (tmp_path / "mute.py").write_text('"""Nothing is said."""')
    assert res.command("loop.json", tmp_path) == "python bench/loop.py --json results/loop.json"
    assert res.command("loop_512.json", tmp_path) == "python bench/loop.py --size 512 --json results/loop_512.json"
    assert res.command("loop_own.json", tmp_path) == "python bench/loop.py --x --json results/loop_own.json"
    assert res.command("mute.json", tmp_path) == res.command("loops.json", tmp_path) == ""


def test_readers_are_found(make_notebook):
    pages = [make_notebook("01_a", ["p = Path('../results/loop.json')"]), make_notebook("02_b", ["p = Path('../results') / f'lm_{n}.json'"]),
             make_notebook("03_c", ["p = folder / 'loop.json'"]), make_notebook("04_d", ["'results', '*.json', f'{x}.json'"])]
    assert [nb.number for nb in res.readers("loop.json", pages)] == ["01"]
    assert [nb.number for nb in res.readers("lm_rules.json", pages)] == ["02"]
    assert res.readers("other.json", pages) == []


def test_readers_of_the_course_are_those_that_name_the_file():
    """By a plain search of the cells; only names that are put together (`f"lm_{n}.json"`) are found in another way."""
    for file in RESULTS:
        found = {nb.name for nb in res.readers(file.name, LESSONS)}
        named = {nb.name for nb in LESSONS if any(f"results/{file.name}" in c.source for c in nb.code)}
        together = {nb.name for nb in LESSONS if any(re.search(r"f\"\w+\{\w+\}\.json", c.source) for c in nb.code)}
        assert named <= found <= named | together, file.name


def test_headlines_are_those_of_the_saved_outputs():
    page = res.results(LESSONS, ROOT / "results")
    none([nb.name for nb in LESSONS if show(headline(nb)) not in page or not headline(nb)], "no headline on the page")
    none([f"{nb.name}: {headline(nb)!r} is saved, {nb.metadata['exp_run'].get('headline')!r} is stamped"
          for nb in LESSONS if nb.metadata["exp_run"].get("headline") != headline(nb)], "run `make notebooks`")


def test_the_speed_bars_are_left_to_their_own_page(tmp_path):
    for name in ("bench", "loop"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert [f.stem for f in res.files(tmp_path)] == ["loop"]


def test_parts_that_hold_rows_become_sections():
    data = {"parts": [{"net": "small", "batch": [1, 2], "steps": [{"step": "float32", "ms": 2.5}]}], "recipe": {"lr": 0.1}}
    assert [x for x in "\n".join(res.render(data, 3)).splitlines() if x and not x.startswith("::")] == [
        "### Small", "- **batch** 1, 2", "| step | ms |", "|---|---|", "| [step]{.column} float32 | [ms]{.column} 2.5 |",
        "### Recipe", "- **lr** 0.1"]
