"""Run the Python of a page of docs/ in order, in one process and a fresh folder, and see that it shows what the page shows.

    python tools/worked.py docs/tutorial.md           compare
    python tools/worked.py docs/tutorial.md --write   put what came out into the page

A block ```python is a cell of a notebook; a block ```text right after it is what the cell shows. Decimal fractions
depend on the machine: any such number may stand for any other. All else must be equal, whole numbers too.
"""
from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?", re.M | re.S)
MEASURED = re.compile(r"\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+")


@dataclass
class Block:
    """One cell of a page."""
    line: int      # of the page, from 1, where the code begins
    code: str
    shown: str     # what the page says that it shows


def blocks(page: str) -> list[Block]:
    """The cells of a page, in order."""
    return [Block(page[:m.start("code")].count("\n") + 1, m["code"], m["shown"] or "") for m in BLOCK.finditer(page)]


def same(shown: str, came: str) -> bool:
    """Whether two outputs are equal but for numbers that depend on the machine."""
    return MEASURED.sub("0.0", shown) == MEASURED.sub("0.0", came)


def show(code: str, names: dict, where: str) -> str:
    """Run a cell as a notebook does: what it prints, then the value of its last line."""
    tree, out = ast.parse(code), io.StringIO()
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(out):
        exec(compile(tree, where, "exec"), names)
        value = None if last is None else eval(compile(last, where, "eval"), names)
        if value is not None:
            print(repr(value))
    return out.getvalue()


def run_here(codes: list[list]) -> list[str]:
    """What each cell shows, given its line and its code; all share their names."""
    names = {"__name__": "__main__"}
    return [show("\n" * (line - 1) + code, names, "the page") for line, code in codes]


def run(page: str) -> list[str]:
    """What each cell of a page shows, in a process and a folder of their own."""
    todo = json.dumps([[b.line, b.code] for b in blocks(page)])
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"EXP_CACHE": str(Path(folder, "cache")), "EXP_DATA": "sample", "OMP_NUM_THREADS": "1"}
        place = Path(folder, "work")
        place.mkdir()
        done = subprocess.run([sys.executable, "-W", "error", __file__, "--here"], input=todo, cwd=place, env=env,
                              capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"the page does not run:\n{done.stderr}")
    return json.loads(done.stdout)


def differences(page: str, came: list[str]) -> list[str]:
    """Where the page shows something else than what came."""
    return [f"line {b.line}: the page shows\n{b.shown}but this came:\n{now}"
            for b, now in zip(blocks(page), came, strict=True) if not same(b.shown, now)]


def written(page: str, came: list[str]) -> str:
    """The page with what came."""
    rest = iter(came)

    def block(m: re.Match) -> str:
        now = next(rest)
        return f"```python\n{m['code']}```\n" + (f"\n```text\n{now}```\n" if now else "")
    return BLOCK.sub(block, page)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("page", type=Path, nargs="?")
    p.add_argument("--write", action="store_true", help="put what came out into the page")
    p.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    a = p.parse_args()
    if a.here:
        sys.path[0] = ""        # the tools' folder is none of the page's business
        json.dump(run_here(json.load(sys.stdin)), sys.stdout)
        return 0
    page = a.page.read_text(encoding="utf-8")
    came = run(page)
    if a.write:
        a.page.write_text(written(page, came), encoding="utf-8")
        return 0
    found = differences(page, came)
    print("\n".join(found) or f"{a.page}: {len(came)} cells show what the page shows")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
