#!/usr/bin/env python3
"""Lesson 12: megabytes of reviews that one core tokenizes in a second, with and without a memory of words.

    python bench/tokenizing.py                 print the table
    python bench/tokenizing.py --json FILE     write it, with every run, to FILE too

EXP_DATA chooses the data, as in the lessons: of real IMDB all 25,000 training reviews. Cold is a tokenizer that has seen
nothing, warm one that has seen these texts, plain one without a memory (on every eighth text, as it is slow). All run in
turns, in one process with one thread, and the tokens of all of them are compared. Time is that of the process, so that
other programs on the machine do not count. Texts are kept in memory and tokens too, as a user would keep them. spaCy's
tokenizer with the same rules is measured if spaCy is installed (on every eighth text).
"""
from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from common import cpu_name, options, take_turns, write_result

from exp.datasets import choose_data
from exp.text import SpacySplit, Tokenizer

BARS = {"cold": 3.0, "warm": 5.0}       # megabytes a second, at least


def megabytes(texts: list[str]) -> float:
    """The size of texts in UTF-8, in millions of bytes."""
    return sum(len(text.encode()) for text in texts) / 1e6


def same_tokens(texts: list[str]) -> int:
    """Check that the memory changes no token; the number of tokens."""
    memo, plain = Tokenizer(), Tokenizer(memo=0)
    n = 0
    for i, text in enumerate(texts):
        tokens = memo(text)
        n += len(tokens)
        if tokens != plain(text):
            raise SystemExit(f"text {i}: the memory changes the tokens")
    return n


def main() -> None:
    parser = options(__doc__, repeats=5)
    args = parser.parse_args()
    data = choose_data("imdb", "reviews")
    texts = [text for text, _ in data.train]
    few = texts[::8]
    n_tokens = same_tokens(texts)
    warm, plain = Tokenizer(), Tokenizer(memo=0)
    ways: dict[str, tuple[Callable, list[str]]] = {
        "cold": (lambda: [*map(Tokenizer(), texts)], texts),
        "warm": (lambda: [*map(warm, texts)], texts),
        "plain": (lambda: [*map(plain, few)], few),
        "white space alone": (lambda: [text.split() for text in texts], texts),
    }
    try:
        spacy = Tokenizer(split=SpacySplit())
        ways["spaCy, our rules"] = (lambda: [*map(spacy, few)], few)
    except ImportError:
        print("spaCy is not installed: not measured")
    seconds = take_turns({name: call for name, (call, _) in ways.items()}, args.repeats, time.process_time)
    rows = []
    for name, runs in seconds.items():
        size = megabytes(ways[name][1])
        speeds = [size / run for run in runs]
        rows.append({"way": name, "MB/s": statistics.median(speeds), "lowest": min(speeds),
                     "highest": max(speeds), "megabytes": size, "seconds": runs})
    print(f"{data.title}: {megabytes(texts):.1f} MB, {n_tokens:,} tokens, {len(warm._memo):,} different words; "
          f"one core of {cpu_name()}")
    for row in rows:
        bar = f"   bar: at least {BARS[row['way']]}" if row["way"] in BARS else ""
        print(f"{row['way']:20} {row['MB/s']:8.2f} MB/s   {row['lowest']:.2f} to {row['highest']:.2f}{bar}")
    write_result(args.json, "Megabytes of text tokenized in a second", data=data.title, texts=len(texts),
                 tokens=n_tokens, words=len(warm._memo), repeats=args.repeats, bars=BARS, rows=rows)


if __name__ == "__main__":
    main()
