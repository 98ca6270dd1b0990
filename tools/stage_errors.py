"""The page of errors: what the package says to bad input, read off at the moment of the build.

`bad_inputs.txt` holds the table. `[module]` begins a part, a line with `> ` prepares each of the
calls below it, and every other line is a call, an arrow and words that its error must have; before
these, the type of the error with a `!`, if that is not `ValueError`. In the calls every public name
of the package is known, as are `torch`, `nn`, `F`, and `folder`: an empty folder, but for a few
files. `tests/test_bad_inputs.py` makes every call and demands the words.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import math
import os
import pkgutil
import random
import re
import tempfile
import types
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("bad_inputs.txt")


@dataclass(frozen=True)
class Bad:
    """One row: a call that must fail, and how."""

    module: str  # whose part of the table it is in
    setup: str  # Python to run before
    call: str  # a Python expression
    kind: str  # the name of the error's class
    words: str  # what its message must contain


def rows(text: str | None = None) -> list[Bad]:
    """The table, in its order."""
    found, module, setup = [], "", []
    for line in (TABLE.read_text(encoding="utf-8") if text is None else text).splitlines():
        if line.startswith("["):
            module, setup = line.strip("[]"), []
        elif line.startswith("> "):
            setup.append(line[2:])
        elif line.strip():
            call, arrow, words = line.partition("  ->  ")
            kind, mark, rest = words.partition("! ")
            if not arrow or not words:
                raise ValueError(f"{TABLE.name}: need `call  ->  words`, got {line!r}")
            kind, words = (kind, rest) if mark and kind.isidentifier() else ("ValueError", words)
            found.append(Bad(module, "\n".join(setup), call.strip(), kind, words))
    return found


@functools.cache
def known_names() -> dict[str, Any]:
    """What the calls may use."""
    import exp
    import torch
    import torch.nn.functional as F
    from PIL import Image
    from torch import nn

    names: dict[str, Any] = {}
    for found in pkgutil.iter_modules(exp.__path__, "exp."):
        module = importlib.import_module(found.name)
        names |= {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    return names | {
        "torch": torch, "nn": nn, "F": F, "zeros": torch.zeros, "ones": torch.ones,
        "tensor": torch.tensor, "Image": Image, "math": math, "nan": math.nan, "random": random,
        "partial": functools.partial, "SimpleNamespace": types.SimpleNamespace,
    }  # fmt: skip


@contextlib.contextmanager
def surroundings() -> Iterator[dict[str, Any]]:
    """The names, with a folder of odd files; caches are kept out of the way for as long."""
    from PIL import Image

    kept = os.environ.get("EXP_CACHE")
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base).resolve() / "folder"
        (folder / "empty").mkdir(parents=True)
        (folder / "notes.txt").write_text("no picture", encoding="utf-8")
        (folder / "latin.txt").write_bytes(b"caf\xe9")
        (folder / "zero.txt").write_bytes(b"a\0b")
        (folder / "table.csv").write_text("name,label\na.jpg,cat\n", encoding="utf-8")
        (folder / "ragged.csv").write_text("name,label\na.jpg\n", encoding="utf-8")
        (folder / "lesson.ipynb").write_text(json.dumps({"cells": []}), encoding="utf-8")
        Image.new("RGB", (4, 4)).save(folder / "a.png")
        (folder / "half.png").write_bytes((folder / "a.png").read_bytes()[:40])
        os.environ["EXP_CACHE"] = str(folder.parent / "cache")
        try:
            yield known_names() | {"folder": folder}
        finally:
            os.environ.pop("EXP_CACHE")
            if kept is not None:
                os.environ["EXP_CACHE"] = kept


def prepare(setup: str, names: dict[str, Any]) -> dict[str, Any]:
    """Names of its own for one call: those that are known, and those that the setup makes."""
    import torch

    own = dict(names)
    torch.manual_seed(0)
    exec(setup, own)
    return own


def error_of(call: str, names: dict[str, Any]) -> Exception | None:
    """Make a call; the error that came, or None."""
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            eval(call, names)
    except Exception as error:
        return error
    return None


def outcome(row: Bad, names: dict[str, Any]) -> Exception | None:
    """Prepare and make the call of a row; the error that came, or None."""
    return error_of(row.call, prepare(row.setup, names))


def message(error: BaseException, names: dict[str, Any]) -> str:
    """What an error says, on whatever machine."""
    said = str(error).replace(str(names["folder"]), "folder").replace("\\\\", "/")
    return re.sub(r" at 0x[0-9a-fA-F]+", "", said)


def cell(text: str, limit: int = 240) -> str:
    """Text for a cell of a Markdown table, in one line, as code."""
    text = " ".join(text.split())
    text = text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"
    return "`` " + text.replace("|", "\\|") + " ``"


def told(table: list[Bad]) -> dict[Bad, tuple[str, str]]:
    """Make every call: row -> the type of its error and its message, both empty if none came."""
    found = {}
    for module in dict.fromkeys(row.module for row in table):
        with surroundings() as names:
            for row in (row for row in table if row.module == module):
                error = outcome(row, names)
                found[row] = (type(error).__name__, message(error, names)) if error else ("", "")
    return found


def fault(row: Bad, kind: str, said: str) -> str:
    """What is wrong with the error of a row, in words; nothing is an empty string."""
    if kind == row.kind and row.words in said:
        return ""
    return f"{row.call}: need {row.kind} with {row.words!r}, got {kind or 'no error'} {said!r:.300}"


def section(module: str, found: dict[Bad, tuple[str, str]]) -> str:
    """The part of one module: what is prepared, and each call with the message that it gets."""
    setup = next(row.setup for row in found if row.module == module)
    lines = ["| you write | you are told |", "|---|---|"]
    for row, (kind, said) in found.items():
        if row.module == module:
            kind = "" if kind == "ValueError" else f"{kind}: "
            lines.append(f"| {cell(row.call)} | {kind}{cell(said)} |")
    before = f"```python\n{setup}\n```\n\n" if setup else ""
    return f"## {module}\n\n{before}" + "\n".join(lines) + "\n"


def errors_page(found: dict[Bad, tuple[str, str]] | None = None) -> str:
    """The whole page, in Markdown; every message on it comes from a call made just now."""
    found = told(rows()) if found is None else found
    if faults := [words for row, heard in found.items() if (words := fault(row, *heard))]:
        raise ValueError("errors_page: " + "\n".join(faults))
    about = (
        f"What the package says to bad input: {len(found)} calls that fail, with the messages that "
        "they get. A message names the function or class, what it needs, and what came. The calls "
        "were made when this page was built, and the tests make them too. The error is a "
        "`ValueError` where no other is named. Above the calls of a module stands what they use; "
        "`zeros`, `ones` and `tensor` are PyTorch's, and `folder` is a folder with a few odd files."
    )
    parts = dict.fromkeys(row.module for row in found)
    return "\n".join(["# Errors\n", about + "\n", *(section(name, found) for name in parts)])
