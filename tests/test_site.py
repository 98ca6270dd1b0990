"""The site: built from the saved outputs with zero warnings, then read in a real browser."""

from __future__ import annotations

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from chromium import chromium
from conftest import none

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "docs" / "_ext")]

from notebooks import lessons, solutions  # noqa: E402
from settings import LIB, NBS  # noqa: E402
from stage import anchor  # noqa: E402

pytestmark = [pytest.mark.xdist_group("site"), pytest.mark.longest(40)]
HTTP = ("http:", "https:", "mailto:", "data:")
LESSONS = [
    nb for nb in lessons() if nb.module and (LIB / f"{nb.module}.py").exists() and nb.exported
]
# the lesson that the links are followed in: the first real one, or whatever there is
LESSON = next((nb for nb in LESSONS if nb.name == "01_matmul"), LESSONS[0] if LESSONS else None)


def run_build(out: Path, git_url: str = "") -> subprocess.CompletedProcess:
    """Build the site into `out`, as `make docs` does."""
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "stage.py"), "--out", str(out)],
        env={**os.environ, "EXP_GIT_URL": git_url},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    out = tmp_path_factory.mktemp("site")
    return run_build(out), out / "_build" / "html"


@pytest.fixture(scope="session")
def site(built) -> Path:
    done, html = built
    assert done.returncode == 0, done.stdout + done.stderr
    return html


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """The site as it is with a public repository."""
    out = tmp_path_factory.mktemp("published")
    done = run_build(out, "https://github.com/someone/something")
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def pages(site) -> dict[str, BeautifulSoup]:
    """Every page that a reader can come to."""
    return {
        f.relative_to(site).as_posix(): BeautifulSoup(f.read_text(encoding="utf-8"), "html.parser")
        for f in sorted(site.rglob("*.html"))
        if "_static" not in f.parts
    }


@pytest.fixture(scope="session")
def browser():
    with chromium() as b:
        yield b


@pytest.fixture(scope="session")
def address(site):
    """The site behind a web server on this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@dataclass
class Visit:
    """What happened when a page was opened on a phone."""

    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    width: int = 0
    wide: list[str] = field(default_factory=list)
    unset: int = 0
    maths: int = 0


LOOK = """() => ({
  width: document.documentElement.scrollWidth,
  wide: [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(
      'pre, dt, .maths-block, .pst-scrollable-table-container, .text_html, .visually-hidden'))
    .slice(0, 3).map(e => e.outerHTML.slice(0, 120)),
  maths: document.querySelectorAll('.maths').length,
  unset: [...document.querySelectorAll('.maths')].filter(
    e => ![...e.querySelectorAll('svg use')].some(u => {
    const r = u.getBoundingClientRect(); return r.width > .5 && r.height > 1})).length,
})"""


@pytest.fixture(scope="session")
def visits(browser, address, pages) -> dict[str, Visit]:
    """Every page opened once, 390 pixels wide."""
    found = {}
    context = browser.new_context(viewport={"width": 390, "height": 844})
    for name in pages:
        page, visit = context.new_page(), Visit()
        page.on(
            "request",
            lambda r, v=visit: (
                v.foreign.append(r.url)
                if not r.url.startswith((address, "data:", "blob:"))
                else None
            ),
        )
        page.on(
            "console", lambda m, v=visit: v.errors.append(m.text) if m.type == "error" else None
        )
        page.on("pageerror", lambda e, v=visit: v.errors.append(str(e)))
        page.on(
            "response",
            lambda r, v=visit: v.errors.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        )
        page.goto(f"{address}/{name}")
        for key, value in page.evaluate(LOOK).items():
            setattr(visit, key, value)
        found[name] = visit
        page.close()
    context.close()
    return found


# --- without a browser ------------------------------------------------------------------------


def test_builds_without_a_warning(built):
    done, html = built
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    missing = [nb.name for nb in lessons() if not (html / f"{nb.name}.html").exists()]
    missing += [
        nb.name for nb in solutions() if not (html / "solutions" / f"{nb.name}.html").exists()
    ]
    assert not missing and (html / "index.html").exists() and (html / "glossary.html").exists()


def test_no_broken_link_image_or_anchor(site, pages):
    ids = {name: {t["id"] for t in soup.find_all(id=True)} for name, soup in pages.items()}
    broken = []
    for name, soup in pages.items():
        for tag, key in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href")):
            for node in soup.find_all(tag, **{key: True}):
                url = urlsplit(node[key])
                if node[key].startswith(HTTP) or node[key] == "#":
                    continue
                target = (site / name).parent / unquote(url.path) if url.path else site / name
                if not target.exists():
                    broken.append(f"{name}: {node[key]} is not there")
                elif url.fragment and target.suffix == ".html":
                    page = target.resolve().relative_to(site.resolve()).as_posix()
                    if unquote(url.fragment) not in ids[page]:
                        broken.append(f"{name}: {node[key]} has no such anchor")
    none(broken)


def test_every_content_image_has_alt_text(pages):
    bad = [
        f"{name}: {img.get('src')}"
        for name, soup in pages.items()
        for img in soup.select("article img")
        if not re.search(r"\w \w", img.get("alt", ""))
    ]
    none(bad, "say in the alt text what the picture shows")


def test_saved_alt_text_arrives(pages):
    for nb in lessons():
        want = {
            o["metadata"]["image/png"]["alt"]
            for c in nb.code
            for o in c.outputs
            if isinstance(o.get("metadata", {}).get("image/png"), dict)
            and "alt" in o["metadata"]["image/png"]
        }
        got = {img.get("alt") for img in pages[f"{nb.name}.html"].select("article img")}
        assert want <= got, f"{nb.name}: lost {want - got}"


def test_symbols_link_to_their_lesson_and_back(pages):
    for nb in LESSONS:
        api, lesson = pages[f"api/{nb.module}.html"], pages[f"{nb.name}.html"]
        for name in nb.exported:
            entry = api.find(id=f"{LIB.name}.{nb.module}.{name}")
            assert entry is not None, f"{name} has no API entry"
            back = entry.find_parent("dl").select(f'a[href="../{nb.name}.html#{anchor(name)}"]')
            assert back, f"the API entry of {name} does not lead to its lesson"
            there = lesson.find(id=anchor(name))
            assert there is not None, f"{nb.name} has no anchor for {name}"
            label = (
                there
                if "exported" in there.get("class", [])
                else there.find_parent("div", class_="exported")
            )
            assert name in {code.get_text() for code in label.find_all("code")}, name


def test_api_shows_signature_comments_and_labelled_lines(pages):
    if LESSON is None:
        pytest.skip("no lesson exports anything yet")
    source = (LIB / f"{LESSON.module}.py").read_text(encoding="utf-8")
    text = re.sub(r"\s+", " ", pages[f"api/{LESSON.module}.html"].find("article").get_text(" "))
    for label in ("Like", "Raises", "Source"):
        assert (f" {label} : " in text) == bool(re.search(rf"^    +{label}:", source, re.M)), label
    assert "Parameters" in text and "Returns" in text


def test_code_links_are_names_that_are_really_ours(site, pages):
    names = json.loads(
        (site.parent.parent / "_src" / "code_names.json").read_text(encoding="utf-8")
    )
    assert any(names.values()) or not LESSONS
    for page, known in names.items():
        links = pages[f"{page}.html"].select("pre a.name")
        assert {a.get_text() for a in links} <= set(known)
        assert not [a for a in links if a.find_parent("span", class_=["s1", "s2", "sd", "c1"])]
    for nb in LESSONS:
        linked = {a.get_text() for a in pages[f"{nb.name}.html"].select("pre a.name")}
        assert set(nb.exported) <= linked, f"{nb.name}: {set(nb.exported) - linked} without a link"


def test_same_spelled_words_are_no_links():
    from code_links import positions

    code = (
        "from exp.matmul import matmul\n"
        "torch.matmul(a, b); f(matmul=1); 'matmul'  # matmul\n"
        "def g(matmul): return matmul\n"
        "y = matmul(a, b)"
    )
    assert positions(code, {"matmul"}) == {(0, 23), (3, 4)}
    assert positions("%timeit matmul(a, b)", {"matmul"}) == set()


@pytest.mark.parametrize("tex", [r"\frobnicate{x}", r"\frac{a", r"\left( x", r"\frac{a}", r"a & b"])
def test_a_formula_that_cannot_be_set_is_an_error(tex, tmp_path):
    from svg_maths import svg

    with pytest.raises(Exception):
        svg(tex, inline=True)


def test_a_bad_formula_stops_the_build(tmp_path):
    (tmp_path / "_src").mkdir()
    (tmp_path / "_src" / "index.md").write_text(
        "# Bad\n\nWe write $\\frobnicate{x}$.\n", encoding="utf-8"
    )
    from stage import build

    assert build(tmp_path, 1) != 0


def test_lessons_link_their_solutions(pages):
    for nb in solutions():
        heading = pages[f"{nb.name}.html"].find(id=re.compile("^exercises"))
        assert heading.select(f'a[href^="solutions/{nb.name}.html"]'), nb.name


def test_repository_buttons_only_with_a_repository(site, published):
    name = f"{lessons()[0].name}.html"
    plain, public = ((d / name).read_text(encoding="utf-8") for d in (site, published))
    path = f"github/someone/something/blob/main/nbs/{lessons()[0].name}.ipynb"
    assert f"colab.research.google.com/{path}" in public and "mybinder.org" in public
    assert f"https://github.com/someone/something/edit/main/nbs/{lessons()[0].name}.ipynb" in public
    for word in ("colab", "mybinder", "github.com", "/edit/"):
        assert (
            word
            not in BeautifulSoup(plain, "html.parser").find("header", class_="bd-header").decode()
            if BeautifulSoup(plain, "html.parser").find("header", class_="bd-header")
            else True
        )
        assert not BeautifulSoup(plain, "html.parser").select(
            f'.bd-header-article a[href*="{word}"]'
        )
    generated = BeautifulSoup(
        (published / "glossary.html").read_text(encoding="utf-8"), "html.parser"
    )
    assert not generated.select('a[href*="/edit/"]'), "an edit button that leads nowhere"


# --- in a browser -----------------------------------------------------------------------------


@pytest.mark.browser
def test_no_request_to_another_host(visits):
    none({name: v.foreign for name, v in visits.items() if v.foreign})


@pytest.mark.browser
def test_no_console_errors(visits):
    none({name: v.errors for name, v in visits.items() if v.errors})


@pytest.mark.browser
def test_no_sideways_scroll_on_a_phone(visits):
    none({name: v.width for name, v in visits.items() if v.width > 390})
    none({name: v.wide for name, v in visits.items() if v.wide})


@pytest.mark.browser
def test_maths_is_shown(visits):
    assert sum(v.maths for v in visits.values()) > 0
    none({name: v.unset for name, v in visits.items() if v.unset})


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_a_symbol_and_its_lesson(browser, site, address, scheme):
    if LESSON is None:
        pytest.skip("no lesson exports anything yet")
    word = LESSON.exported[0]
    page = browser.new_page()
    page.goto(f"{address if scheme == 'http' else site.as_uri()}/search.html?q={word}")
    page.wait_for_selector("#search-results li a", timeout=20_000)
    page.wait_for_function("!document.querySelector('#search-results .search-summary.searching')")
    page.wait_for_timeout(500)
    found = page.eval_on_selector_all(
        "#search-results li a", "l => l.map(a => a.getAttribute('href'))"
    )
    page.close()
    assert any(f"api/{LESSON.module}.html" in href for href in found), found
    assert any(f"{LESSON.name}.html" in href for href in found), found


@pytest.mark.browser
def test_from_code_to_api_to_the_lesson_and_back(browser, address):
    if LESSON is None:
        pytest.skip("no lesson exports anything yet")
    page, name = browser.new_page(), LESSON.exported[0]
    page.goto(f"{address}/{LESSON.name}.html")
    page.locator("pre a.name", has_text=re.compile(f"^{name}$")).first.click()
    page.wait_for_url(f"**/api/{LESSON.module}.html#*")
    assert page.locator(f'[id="{LIB.name}.{LESSON.module}.{name}"]').bounding_box()["y"] < 1000
    page.locator(f'dl.py a[href*="{LESSON.name}.html#"]').first.click()
    page.wait_for_url(f"**/{LESSON.name}.html#*")
    page.locator("div.exported a", has_text=re.compile(f"^{name}$")).first.click()
    page.wait_for_url(f"**/api/{LESSON.module}.html#*")
    page.close()


@pytest.mark.browser
def test_dark_mode(browser, address):
    background = "getComputedStyle(document.body).backgroundColor"
    shades = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        page = context.new_page()
        page.goto(f"{address}/index.html")
        shades[scheme] = sum(map(int, re.findall(r"\d+", page.evaluate(background))[:3]))
        if scheme == "light":  # the menu in the header
            page.locator(".theme-switch-button:visible").first.click()
            page.locator('button[data-mode="dark"]:visible').first.click()
            assert sum(map(int, re.findall(r"\d+", page.evaluate(background))[:3])) < 200
        context.close()
    assert shades["light"] > 600 and shades["dark"] < 200


@pytest.mark.browser
def test_download_button_gives_the_committed_notebook(browser, address, site):
    nb = lessons()[0]
    page = browser.new_page(accept_downloads=True)
    page.goto(f"{address}/{nb.name}.html")
    link = page.locator('a[href$=".ipynb"][download], a[href$=".ipynb"]').first
    href = link.get_attribute("href")
    page.locator(".dropdown-download-buttons > button").click()
    with page.expect_download() as download:
        page.locator(f'.dropdown-download-buttons a[href="{href}"]').click()
    assert Path(download.value.path()).read_bytes() == (NBS / f"{nb.name}.ipynb").read_bytes()
    page.close()
