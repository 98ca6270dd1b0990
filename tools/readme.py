"""Write the map of lessons into nbs/index.ipynb, and README.md from that notebook. `--check` only compares."""
import json
import re
import sys
from itertools import groupby

from notebooks import Notebook, lessons, read_notebook
from settings import NBS, ROOT
from stretches import stretch

INDEX, README = NBS / "index.ipynb", ROOT / "README.md"
BEGIN, END = "<!-- lessons: written by tools/readme.py -->", "<!-- end of lessons -->"


def row(nb: Notebook) -> str:
    """One line of the map: title, what is built, what it stands in for, seconds, checks."""
    built, _, like = nb.promise.partition("Stands in for ")
    run = nb.metadata.get("exp_run", {})
    seconds = f"{run['seconds']:.0f} s" if "seconds" in run else ""
    name = nb.title.split(":")[0]
    return f"| [{nb.number} {name}]({nb.path.name}) | {built.strip()} | {like.rstrip('.')} | {seconds} | {nb.n_checks} |"


def lesson_map() -> str:
    """The map of lessons as Markdown, between its two marks."""
    head = ["| page | what you build | stands in for | CPU time | checks |", "|---|---|---|---:|---:|"]
    parts = []
    for part, pages in groupby(lessons(), key=lambda nb: stretch(nb.name)):
        parts += [f"\n### {part.title}\n\n{part.about}\n", *head, *map(row, pages)]
    runs = [nb.metadata.get("exp_run", {}) for nb in lessons()]
    cpus = sorted({f"{r['cores']} cores of an {r['cpu']}" for r in runs if "cpu" in r})
    note = f"\nCPU time: the whole notebook, on {' or '.join(cpus)}, two notebooks at a time, real data." if cpus else ""
    return "\n".join([BEGIN, *parts, note, END])


def index_with_map() -> str:
    """The text of index.ipynb with a fresh map."""
    raw = json.loads(INDEX.read_text(encoding="utf-8"))
    for cell in raw["cells"]:
        source = "".join(cell["source"])
        if BEGIN in source:
            before, after = source.split(BEGIN)[0], source.split(END)[1]
            cell["source"] = (before + lesson_map() + after).splitlines(keepends=True)
    return json.dumps(raw, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def readme(nb: Notebook) -> str:
    """README.md from the cells of the index; links and images point into nbs/."""
    parts = ["<!-- Written by `make readme` from nbs/index.ipynb: edit the notebook, not this file. -->"]
    for cell in nb.cells:
        if cell.kind == "markdown":
            linked = re.sub(r"\]\((?!https?:|#)", "](nbs/", cell.source.strip())
            parts.append(linked.replace("](nbs/../", "]("))
        else:
            lines = [line for line in cell.source.strip().splitlines() if not line.startswith("#|")]
            parts.append("```python\n" + "\n".join(lines) + "\n```")
            shown = "".join("".join(o.get("text") or o.get("data", {}).get("text/plain", "")) for o in cell.outputs)
            if shown.strip():
                parts.append("```text\n" + shown.strip().strip("'\"") + "\n```")
    return "\n\n".join(parts) + "\n"


def main() -> None:
    check = "--check" in sys.argv
    want = index_with_map()
    if check and INDEX.read_text(encoding="utf-8") != want:
        sys.exit("the map of lessons in nbs/index.ipynb is out of date: run `make readme`")
    if not check:
        INDEX.write_text(want, encoding="utf-8")
    text = readme(read_notebook(INDEX))
    if check and README.read_text(encoding="utf-8") != text:
        sys.exit("README.md is out of date: run `make readme`")
    if not check:
        README.write_text(text, encoding="utf-8")
        print("nbs/index.ipynb and README.md written")


if __name__ == "__main__":
    main()
