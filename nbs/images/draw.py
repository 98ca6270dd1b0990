#!/usr/bin/env python3
"""Make the drawings of the lessons, as SVG files beside this script.

    python nbs/images/draw.py            write them
    python nbs/images/draw.py --check    write nothing; exit 1 if a file is not what this script draws
    python nbs/images/draw.py --to DIR   write them somewhere else

The files are plain text made by the functions below, with no date and no library's version in them: the same
script gives the same bytes on every machine. `package.svg` is computed from the notebooks and from the import
statements of exp/. Only the standard library is used.
"""
from __future__ import annotations

import argparse
import ast
import json
import re
import sys
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent

BLUE, RED, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#AA4499"   # as in exp.plots
INK, GREY, LINE = "#222222", "#5F6468", "#9AA0A6"
TINT = {BLUE: "#D3E6F2", RED: "#FBE0CE", GREEN: "#CDEBE1", PURPLE: "#F0DAEB", LINE: "#F3F4F5"}
SANS = "'DejaVu Sans', Verdana, 'Segoe UI', Helvetica, Arial, sans-serif"
SERIF = "'DejaVu Serif', 'STIX Two Text', Cambria, Georgia, serif"
MONO = "'DejaVu Sans Mono', Menlo, Consolas, monospace"


class Drawing:
    """An SVG picture under construction; `text` is what it says in words."""

    def __init__(self, width: int, height: int, title: str, text: str):
        self.width, self.height, self.title, self.text = width, height, title, text
        self.parts: list[str] = []

    def add(self, tag: str, content: str | None = None, **attributes) -> None:
        pairs = " ".join(f'{k.rstrip("_").replace("_", "-")}="{number(v)}"' for k, v in attributes.items() if v is not None)
        self.parts.append(f"<{tag} {pairs}/>" if content is None else f"<{tag} {pairs}>{content}</{tag}>")

    def rect(self, x, y, w, h, fill="white", stroke=LINE, width=1.0, dash=None, rx=0) -> None:
        self.add("rect", x=x, y=y, width=w, height=h, rx=rx or None, fill=fill, stroke=stroke,
                 stroke_width=width, stroke_dasharray=dash)

    def line(self, x1, y1, x2, y2, stroke=LINE, width=1.0, dash=None, arrow=False) -> None:
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=stroke, stroke_width=width, stroke_dasharray=dash,
                 marker_end=f"url(#arrow-{stroke[1:]})" if arrow else None)

    def path(self, d: str, stroke=LINE, width=1.0, fill="none", dash=None, arrow=False) -> None:
        self.add("path", d=d, fill=fill, stroke=stroke, stroke_width=width, stroke_dasharray=dash,
                 stroke_linejoin="round", marker_end=f"url(#arrow-{stroke[1:]})" if arrow else None)

    def polygon(self, points, fill, stroke=LINE, width=1.0, dash=None) -> None:
        self.path("M" + " L".join(f"{number(x)} {number(y)}" for x, y in points) + " Z", stroke, width, fill, dash)

    def write(self, x, y, words: str, size=14.0, anchor="middle", fill=INK, bold=False, font=SANS) -> None:
        """Put words at (x, y), y being their middle. `*n*` is set in italics."""
        content = re.sub(r"\*(.+?)\*", rf'<tspan font-family="{SERIF}" font-style="italic">\1</tspan>', escape(words))
        self.add("text", content, x=x, y=y + 0.35 * size, font_size=size, text_anchor=anchor, fill=fill,
                 font_family=font, font_weight="bold" if bold else None)

    def svg(self) -> str:
        colours = (BLUE, RED, GREEN, PURPLE, INK, GREY, LINE)
        arrows = "".join(f'<marker id="arrow-{c[1:]}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" '
                         f'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 1 L10 5 L0 9 Z" fill="{c}"/></marker>'
                         for c in colours)
        hatches = "".join(f'<pattern id="hatch-{c[1:]}" width="6" height="6" patternUnits="userSpaceOnUse" '
                          f'patternTransform="rotate(45)"><rect width="6" height="6" fill="white"/>'
                          f'<rect width="2" height="6" fill="{TINT[c]}"/></pattern>' for c in (BLUE, RED, GREEN, PURPLE))
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
                f'viewBox="0 0 {self.width} {self.height}" role="img" aria-labelledby="title desc">')
        return "\n".join([head, f'<title id="title">{escape(self.title)}</title>', f'<desc id="desc">{escape(self.text)}</desc>',
                          f"<defs>{arrows}{hatches}</defs>", f'<rect width="{self.width}" height="{self.height}" fill="white"/>',
                          *self.parts, "</svg>"]) + "\n"


def number(value) -> str:
    """A number in as few characters as it needs; anything else as text."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def cells(d: Drawing, x, y, values, size=34, colour=LINE, virtual=None, text=14.0, fills=None) -> None:
    """A grid of numbers; cells where `virtual(i, j)` is true are hatched, with a dashed edge and a pale number."""
    ghosts = [(i, j) for i, row in enumerate(values) for j in range(len(row)) if virtual and virtual(i, j)]
    order = ghosts + [(i, j) for i, row in enumerate(values) for j in range(len(row)) if (i, j) not in ghosts]
    for i, j in order:                                  # solid edges are drawn over dashed ones
        ghost = (i, j) in ghosts
        mine = fills[i][j] if fills else colour
        d.rect(x + j * size, y + i * size, size, size, fill=f"url(#hatch-{mine[1:]})" if ghost else TINT[mine],
               stroke=mine, width=1.0 if ghost else 1.5, dash="3 3" if ghost else None)
        d.write(x + (j + 0.5) * size, y + (i + 0.5) * size, str(values[i][j]), text, fill=LINE if ghost else INK)


def brace(d: Drawing, x1, y1, x2, y2, label: str, away: float) -> None:
    """A dimension line between two points with its letter beside it, `away` pixels off."""
    d.line(x1, y1, x2, y2, stroke=GREY, width=1.2)
    if x1 == x2:
        for y in (y1, y2):
            d.line(x1 - 4, y, x1 + 4, y, stroke=GREY, width=1.2)
        d.write(x1 + away, (y1 + y2) / 2, f"*{label}*", 18, fill=GREY)
    else:
        for x in (x1, x2):
            d.line(x, y1 - 4, x, y1 + 4, stroke=GREY, width=1.2)
        d.write((x1 + x2) / 2, y1 + away, f"*{label}*", 18, fill=GREY)


def plain(d: Drawing, x, y, rows, cols, size, mark=lambda i, j: None) -> None:
    """A grid without numbers; `mark(i, j)` gives a cell's colour or None."""
    for i in range(rows):
        for j in range(cols):
            if not mark(i, j):
                d.rect(x + j * size, y + i * size, size, size, fill="white", stroke="#C9CDD1")
    for i in range(rows):
        for j in range(cols):
            if colour := mark(i, j):
                d.rect(x + j * size, y + i * size, size, size, fill=TINT[colour], stroke=colour, width=1.6)
    d.rect(x, y, cols * size, rows * size, fill="none", stroke=GREY, width=1.4)


def matmul() -> Drawing:
    """A row of A meets a column of B and makes one element of C."""
    n, k, m, s = 4, 5, 3, 38
    d = Drawing(640, 486, "Matrix multiplication: a row meets a column",
                "A is n by k and stands at the left, B is k by m and stands above, C is n by m and stands where they cross. "
                "Row i of A and column j of B are marked; they meet in the element i, j of C, the sum of the products of their elements.")
    ax, ay, bx, by = 76, 268, 396, 56
    i, j = 1, 1
    plain(d, ax, ay, n, k, s, lambda r, c: BLUE if r == i else None)
    plain(d, bx, by, k, m, s, lambda r, c: RED if c == j else None)
    plain(d, bx, ay, n, m, s, lambda r, c: GREEN if (r, c) == (i, j) else None)
    yi, xj = ay + (i + 0.5) * s, bx + (j + 0.5) * s
    for c in range(k):
        d.write(ax + (c + 0.5) * s, yi, f"*a{chr(0x2080 + c)}*", 17)
        d.write(xj, by + (c + 0.5) * s, f"*b{chr(0x2080 + c)}*", 17)
    d.write(xj, yi, "*c*", 18)
    d.line(ax + k * s + 5, yi, bx + j * s - 5, yi, stroke=BLUE, width=2, arrow=True)
    d.line(xj, by + k * s + 3, xj, ay + i * s - 4, stroke=RED, width=2, arrow=True)
    brace(d, ax - 20, ay, ax - 20, ay + n * s, "n", -15)
    brace(d, ax, ay + n * s + 18, ax + k * s, ay + n * s + 18, "k", 16)
    brace(d, bx + m * s + 20, by, bx + m * s + 20, by + k * s, "k", 15)
    brace(d, bx, by - 18, bx + m * s, by - 18, "m", -15)
    brace(d, bx + m * s + 20, ay, bx + m * s + 20, ay + n * s, "n", 15)
    brace(d, bx, ay + n * s + 18, bx + m * s, ay + n * s + 18, "m", 16)
    d.write(ax + k * s / 2, ay - 20, "*A*", 22, bold=True)
    d.write(bx - 24, by + k * s / 2, "*B*", 22, bold=True)
    d.write(bx - 24, ay + n * s - 16, "*C*", 22, bold=True)
    d.write(30, 78, "row *i* of *A*", 16, "start", BLUE, bold=True)
    d.write(30, 104, "meets column *j* of *B*", 16, "start", RED, bold=True)
    d.write(30, 130, "and makes one element of *C*", 16, "start", GREEN, bold=True)
    d.write(30, 172, "*c* = *a₀b₀* + *a₁b₁* + *a₂b₂* + *a₃b₃* + *a₄b₄*", 17, "start")
    return d


def broadcasting() -> Drawing:
    """A scalar, a row and an outer sum: which cells are stored, which are read again."""
    d = Drawing(690, 590, "Broadcasting: the smaller operand is read again, not copied",
                "Three sums. A 3 by 3 matrix plus a scalar: the scalar is read nine times. A 3 by 3 matrix plus a row of 3: "
                "the row is read three times. A column, 3 by 1, plus a row, 1 by 3: each is read three times, and the result is 3 by 3. "
                "Solid cells are stored, hatched cells are read again.")
    s, top, step = 36, 58, 168
    xs = (150, 340, 530)
    grid = [[3 * i + j for j in range(3)] for i in range(3)]
    column, row = [[10 * i] * 3 for i in range(3)], [[1, 2, 3]] * 3
    cases = [
        ("a scalar", ("(3, 3)", grid, None), ("()", [[10] * 3] * 3, lambda i, j: (i, j) != (0, 0))),
        ("a row", ("(3, 3)", grid, None), ("(3,)", row, lambda i, j: i > 0)),
        ("a column\nand a row", ("(3, 1)", column, lambda i, j: j > 0), ("(1, 3)", row, lambda i, j: i > 0)),
    ]
    for number_, (name, left, right) in enumerate(cases):
        y = top + number_ * step
        for line, words in enumerate(lines := name.split("\n")):
            d.write(24, y + 54 + 22 * (line - (len(lines) - 1) / 2), words, 16, "start", bold=True)
        for x, (shape, values, virtual), colour in zip(xs, (left, right), (BLUE, RED)):
            cells(d, x, y, values, s, colour, virtual)
            d.write(x + 1.5 * s, y - 17, shape, 14, fill=colour, font=MONO, bold=True)
        total = [[a + b for a, b in zip(r1, r2)] for r1, r2 in zip(left[1], right[1])]
        cells(d, xs[2], y, total, s, GREEN)
        d.write(xs[2] + 1.5 * s, y - 17, "(3, 3)", 14, fill=GREEN, font=MONO, bold=True)
        d.write((xs[0] + xs[1] + 3 * s) / 2, y + 1.5 * s, "+", 26)
        d.write((xs[1] + xs[2] + 3 * s) / 2, y + 1.5 * s, "=", 26)
    y = top + 3 * step - 26
    cells(d, 150, y, [[""]], 22, BLUE)
    d.write(182, y + 11, "stored", 14, "start")
    cells(d, 340, y, [[""]], 22, BLUE, lambda i, j: True)
    d.write(372, y + 11, "the same number, read again", 14, "start")
    return d


def box(d: Drawing, x, y, size, rows, cols, depth, colour, ghost=False) -> None:
    """A cuboid of unit cells seen from the front, right and above; (x, y) is its front's upper left corner."""
    dx, dy = 0.52 * size, -0.42 * size

    def at(i, j, k):
        return x + j * size + k * dx, y + i * size + k * dy

    if ghost:                                           # its outer edges only, each drawn once
        for a, b in (((0, 0, 0), (0, cols, 0)), ((0, cols, 0), (rows, cols, 0)), ((rows, cols, 0), (rows, 0, 0)),
                     ((rows, 0, 0), (0, 0, 0)), ((0, 0, 0), (0, 0, depth)), ((0, 0, depth), (0, cols, depth)),
                     ((0, cols, depth), (0, cols, 0)), ((0, cols, depth), (rows, cols, depth)),
                     ((rows, cols, depth), (rows, cols, 0))):
            d.line(*at(*a), *at(*b), stroke=colour, dash="3 4")
        return
    fill, edge = TINT[colour], colour
    for i in range(rows):
        for j in range(cols):
            d.polygon([at(i, j, 0), at(i, j + 1, 0), at(i + 1, j + 1, 0), at(i + 1, j, 0)], fill, edge)
    for j in range(cols):
        for k in range(depth):
            d.polygon([at(0, j, k), at(0, j + 1, k), at(0, j + 1, k + 1), at(0, j, k + 1)], fill, edge)
    for i in range(rows):
        for k in range(depth):
            d.polygon([at(i, cols, k), at(i + 1, cols, k), at(i + 1, cols, k + 1), at(i, cols, k + 1)], fill, edge)


def matmul_broadcast() -> Drawing:
    """(n, k, 1) times (1, k, m) is (n, k, m); summed over k it is (n, m)."""
    n, k, m, s = 3, 4, 2, 30
    d = Drawing(860, 330, "Matrix multiplication as a broadcast product and a sum",
                "A, seen as n by k by 1, times B, seen as 1 by k by m, is a block of n by k by m products. "
                "Each of the two is read again along the side where it has length 1. The sum over k leaves C, n by m.")
    y, dx, dy = 130, 0.52 * s, -0.42 * s
    xa, xb, xp, xc = 60, 268, 476, 728
    box(d, xa, y, s, n, k, m, BLUE, ghost=True)
    box(d, xa, y, s, n, k, 1, BLUE)
    box(d, xb, y, s, n, k, m, RED, ghost=True)
    box(d, xb, y, s, 1, k, m, RED)
    box(d, xp, y, s, n, k, m, PURPLE)
    box(d, xc, y, s, n, 1, m, GREEN)
    for x, words, shape, colour in ((xa, "*A*", "(n, k, 1)", BLUE), (xb, "*B*", "(1, k, m)", RED),
                                    (xp, "all products", "(n, k, m)", PURPLE)):
        centre = x + (k * s + m * dx) / 2
        d.write(centre, 40, words, 18, fill=colour, bold=True)
        d.write(centre, 66, shape, 15, fill=colour, font=MONO, bold=True)
    d.write(xc + (s + m * dx) / 2, 40, "*C*", 18, fill=GREEN, bold=True)
    d.write(xc + (s + m * dx) / 2, 66, "(n, m)", 15, fill=GREEN, font=MONO, bold=True)
    middle = y + (n * s + m * dy) / 2
    d.write((xa + k * s + m * dx + xb) / 2, middle, "×", 26)
    d.write((xb + k * s + m * dx + xp) / 2, middle, "=", 26)
    x1, x2 = xp + k * s + m * dx + 8, xc - 10
    d.line(x1, middle, x2, middle, stroke=INK, width=1.8, arrow=True)
    d.write((x1 + x2) / 2, middle - 16, "sum", 14)
    d.write((x1 + x2) / 2, middle + 17, "over *k*", 14)
    brace(d, xa - 16, y, xa - 16, y + n * s, "n", -14)
    brace(d, xa, y + n * s + 16, xa + k * s, y + n * s + 16, "k", 15)
    d.line(xb - 9, y - 6, xb + m * dx - 9, y + m * dy - 6, stroke=GREY, width=1.2)
    for depth in (0, m):                                # the ends of the dimension line along the depth
        px, py = xb + depth * dx - 9, y + depth * dy - 6
        d.line(px - 2.5, py - 3.1, px + 2.5, py + 3.1, stroke=GREY, width=1.2)
    d.write(xb + m * dx / 2 - 20, y + m * dy / 2 - 14, "*m*", 18, fill=GREY)
    for x, first, second in ((xa, "each number is read again", "for each column of *B*"),
                             (xb, "each number is read again", "for each row of *A*"),
                             (xp, "*n* · *k* · *m* products,", "each stored once")):
        d.write(x + (k * s) / 2, y + n * s + 66, first, 13, fill=GREY)
        d.write(x + (k * s) / 2, y + n * s + 86, second, 13, fill=GREY)
    return d


def strides() -> Drawing:
    """One row of numbers in memory and three views of it."""
    d = Drawing(760, 500, "Strides: one storage, three views",
                "Six numbers lie in memory, 0 to 5. A view of shape 2 by 3 with strides 3 and 1 shows them in two rows. Its transpose, 3 by 2, "
                "with strides 1 and 3 shows the same numbers in columns. An expanded view of shape 2 by 3 with strides 0 and 1 shows the first three "
                "numbers twice. No view copies anything.")
    s, xs, y = 44, 248, 62
    tint = [BLUE] * 3 + [RED] * 3
    d.write(xs - 20, y + s / 2, "storage", 17, "end", bold=True)
    cells(d, xs, y, [list(range(6))], s, fills=[tint], text=17)
    for i in range(6):
        d.write(xs + (i + 0.5) * s, y - 14, str(i), 11, fill=GREY)
    d.write(xs + 6 * s + 16, y - 14, "address", 11, "start", fill=GREY)
    views = [
        (36, "t", "(2, 3)", (3, 1), [[0, 1, 2], [3, 4, 5]], None),
        (318, "t.T", "(3, 2)", (1, 3), [[0, 3], [1, 4], [2, 5]], None),
        (556, "t[0].expand(2, 3)", "(2, 3)", (0, 1), [[0, 1, 2], [0, 1, 2]], lambda i, j: i > 0),
    ]
    top = 256
    for x, name, shape, (down, right), values, virtual in views:
        left, cols = x + 28, len(values[0])
        centre = left + cols * s / 2
        d.write(centre, top - 92, name, 16, font=MONO, bold=True)
        d.write(centre, top - 68, f"shape {shape}", 14)
        d.write(centre, top - 47, f"strides ({down}, {right})", 14)
        cells(d, left, top, values, s, virtual=virtual, text=17, fills=[[tint[v] for v in row] for row in values])
        d.line(left + 0.25 * s, top - 12, left + 1.75 * s, top - 12, stroke=INK, width=1.5, arrow=True)
        d.write(left + s, top - 24, f"+{right}", 13, bold=True)
        d.line(left - 12, top + 0.25 * s, left - 12, top + 1.75 * s, stroke=INK, width=1.5, arrow=True)
        d.write(left - 18, top + s, f"+{down}", 13, "end", bold=True)
    d.write(380, 438, "address of element [*i*, *j*]  =  *i* · stride₀ + *j* · stride₁", 17)
    d.write(380, 470, "A view is a shape and strides. All three read the same six numbers.", 14, fill=GREY)
    return d


def tiles() -> Drawing:
    """Tiles of A and B are multiplied into a tile of C that stays in the cache."""
    t, s = 4, 48
    d = Drawing(680, 560, "Tiles: a block of C stays in the cache while blocks of A and B pass by",
                "A, B and C are cut into tiles, four by four. One tile of A times one tile of B is added to one tile of C. That tile of C stays in the cache "
                "while the tile of A moves to the right along its row of tiles and the tile of B moves down along its column.")
    ax, ay, bx, by, i, j, now = 56, 308, 348, 56, 1, 2, 1
    plain(d, ax, ay, t, t, s, lambda r, c: None)
    plain(d, bx, by, t, t, s, lambda r, c: None)
    plain(d, bx, ay, t, t, s, lambda r, c: None)
    for c in range(t):
        d.rect(ax + c * s, ay + i * s, s, s, "url(#hatch-0072B2)" if c != now else TINT[BLUE], BLUE, 1.4 if c != now else 2.6)
        d.rect(bx + j * s, by + c * s, s, s, "url(#hatch-D55E00)" if c != now else TINT[RED], RED, 1.4 if c != now else 2.6)
    d.rect(ax + now * s, ay + i * s, s, s, TINT[BLUE], BLUE, 2.6)
    d.rect(bx + j * s, by + now * s, s, s, TINT[RED], RED, 2.6)
    d.rect(bx + j * s, ay + i * s, s, s, TINT[GREEN], GREEN, 2.6)
    for q in range(1, 4):                                           # the numbers inside the tiles at work
        for x, y, c in ((ax + now * s, ay + i * s, BLUE), (bx + j * s, by + now * s, RED), (bx + j * s, ay + i * s, GREEN)):
            d.line(x + q * s / 4, y, x + q * s / 4, y + s, stroke=c, width=0.6)
            d.line(x, y + q * s / 4, x + s, y + q * s / 4, stroke=c, width=0.6)
    d.line(ax + 6, ay + i * s - 10, ax + t * s - 6, ay + i * s - 10, stroke=BLUE, width=2, arrow=True)
    d.line(bx + (j + 1) * s + 10, by + 6, bx + (j + 1) * s + 10, by + t * s - 6, stroke=RED, width=2, arrow=True)
    d.line(ax + t * s + 6, ay + (i + 0.5) * s, bx + j * s - 6, ay + (i + 0.5) * s, stroke=GREY, width=1.4, dash="4 4", arrow=True)
    d.line(bx + (j + 0.5) * s, by + t * s + 4, bx + (j + 0.5) * s, ay + i * s - 6, stroke=GREY, width=1.4, dash="4 4", arrow=True)
    d.write(ax + t * s / 2, ay + t * s + 24, "*A*", 22, bold=True)
    d.write(bx - 24, by + t * s / 2, "*B*", 22, bold=True)
    d.write(bx + t * s / 2, ay + t * s + 24, "*C*", 22, bold=True)
    x = 34
    d.write(x, 78, "one step", 16, "start", bold=True)
    d.write(x, 104, "tile of *C*  +=  tile of *A* · tile of *B*", 14.5, "start")
    d.write(x, 150, "then *A* moves right, *B* moves down,", 14.5, "start")
    d.write(x, 172, "and the tile of *C* stays in the cache.", 14.5, "start", GREEN)
    d.write(x, 216, "Each number of a tile is loaded once", 14.5, "start", GREY)
    d.write(x, 238, "and used for a whole row or column.", 14.5, "start", GREY)
    d.write(bx + t * s + 12, ay + (i + 0.5) * s - 10, "in the", 13.5, "start", GREEN, bold=True)
    d.write(bx + t * s + 12, ay + (i + 0.5) * s + 9, "cache", 13.5, "start", GREEN, bold=True)
    return d


def backward() -> Drawing:
    """The graph of a network of two layers: values go right, gradients go left."""
    d = Drawing(800, 300, "Forward and backward through two layers",
                "Boxes from left to right: linear, relu, linear, mse. Blue arrows carry values to the right: x, z, a, the prediction, the loss L. "
                "Red arrows carry gradients to the left, one for every blue arrow; the linear boxes also send gradients down to their W and b.")
    y, half, wide = 120, 24, 84
    boxes = ((118, "linear"), (284, "relu"), (450, "linear"), (616, "mse"))
    for x, name in boxes:
        d.rect(x, y - half, wide, 2 * half, TINT[GREEN], GREEN, 1.6, rx=5)
        d.write(x + wide / 2, y, name, 15, font=MONO)
    starts = [52] + [x + wide for x, _ in boxes]
    ends = [x for x, _ in boxes] + [756]
    for start, end, value in zip(starts, ends, ("x", "z", "a", "\u0177", "L")):
        middle = (start + end) / 2
        d.line(start + 5, y - 10, end - 5, y - 10, stroke=BLUE, width=2, arrow=True)
        d.line(end - 5, y + 10, start + 5, y + 10, stroke=RED, width=2, arrow=True)
        d.write(middle, y - 27, f"*{value}*", 18, fill=BLUE)
        d.write(middle, y + 28, "1" if value == "L" else f"\u2202*L*/\u2202*{value}*", 14, fill=RED)
    for x, names in ((118, "W\u2081 b\u2081"), (450, "W\u2082 b\u2082"), (616, "t")):
        shown = " ".join(f"*{name}*" for name in names.split())
        middle = x + wide / 2
        at = middle - 12 * (len(names) > 1)
        d.line(at, y + 92, at, y + half + 5, stroke=BLUE, width=2, arrow=True)
        if len(names) > 1:
            d.line(middle + 12, y + half + 5, middle + 12, y + 92, stroke=RED, width=2, arrow=True)
            first, second = names.split()
            d.write(middle + 20, y + 70, f"\u2202*L*/\u2202*{first}*, \u2202*L*/\u2202*{second}*", 14, "start", RED)
        d.write(middle, y + 110, shown, 18, fill=BLUE)
    d.write(30, 34, "forward: values", 15, "start", BLUE, bold=True)
    d.write(190, 34, "backward: gradients", 15, "start", RED, bold=True)
    d.write(30, 276, "Each box needs only the gradient of its own output, and the values that went in.", 14, "start", GREY)
    return d


def modules() -> list[tuple[str, str, str]]:
    """(number, module, title) of each notebook that exports, in lesson order."""
    found = []
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        book = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = ["".join(cell["source"]) for cell in book]
        name = next((m[1] for text in sources if (m := re.search(r"^#\|\s*default_exp\s+(\w+)", text, re.M))), None)
        title = next((m[1].strip() for text in sources if (m := re.search(r"^# (.+)$", text, re.M))), path.stem)
        if name and (ROOT / "exp" / f"{name}.py").exists():
            found.append((path.stem.split("_")[0], name, title))
    return found


def imports(name: str, known: set[str]) -> list[str]:
    """The modules of ours that exp/NAME.py imports, wherever in the file."""
    tree, found = ast.parse((ROOT / "exp" / f"{name}.py").read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            home = (node.module or "").split(".")
            if node.level == 1 or home[0] == "exp":
                inner = home if node.level == 1 else home[1:]
                found |= {inner[0]} if inner and inner[0] else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("exp.")}
    return sorted((found & known) - {name})


def package(listed=None, arrows=None) -> Drawing:
    """The modules in lesson order, one a line, and an arc from each to what it imports."""
    listed = modules() if listed is None else listed
    known = {name for _, name, _ in listed}
    arrows = {name: imports(name, known) for name in known} if arrows is None else arrows
    step, top, gap = 31, 50, 22
    rows, y = {}, top
    for place, (digits, name, _) in enumerate(listed):
        if place and listed[place - 1][0].startswith("00") and not digits.startswith("00"):
            y += gap                                    # a wider space between the tools and the lessons
        rows[name] = y
        y += step
    spans = [abs(rows[a] - rows[b]) for a in arrows for b in arrows[a]]
    reach = lambda span: 26 + min(0.42 * span, 7.6 * span ** 0.5)
    left = max(76, 24 + max([reach(span) * 0.76 for span in spans], default=0))
    wide = max(96, 34 + max(8.6 * len(name) for name in rows))
    told = "; ".join(f"{name} imports {', '.join(arrows[name])}" for _, name, _ in listed if arrows[name])
    d = Drawing(int(left + wide + 60 + max(7.3 * len(title) for _, _, title in listed)), int(y + 6), "The modules of the package and their imports",
                f"Modules in the order of the lessons: {', '.join(rows)}. " + (f"{told}." if told else "None imports another."))
    d.write(left + 14, 22, "module", 12, "start", GREY)
    d.write(left + wide + 18, 22, "lesson", 12, "start", GREY)
    if told:
        d.write(left - 12, 22, "imports", 12, "end", GREY)
    for a in rows:
        for b in arrows[a]:
            colour = LINE if b in {name for digits, name, _ in listed if digits.startswith("00")} else BLUE
            bulge = left - reach(abs(rows[a] - rows[b]))
            d.path(f"M{number(left)} {rows[a] - 4} C{number(bulge)} {rows[a] - 4} {number(bulge)} {rows[b] + 5} {number(left - 2)} {rows[b] + 5}",
                   colour, 1.3, arrow=True)
    for digits, name, title in listed:
        y, colour = rows[name], LINE if digits.startswith("00") else BLUE
        d.rect(left, y - 12, wide, 24, TINT[colour], colour, 1.3, rx=4)
        d.write(left + wide / 2, y, name, 13.5, font=MONO)
        d.write(left + wide + 18, y, digits, 12, "start", GREY, font=MONO)
        d.write(left + wide + 54, y, title, 13.5, "start")
    return d


DRAWINGS = (matmul, broadcasting, matmul_broadcast, strides, tiles, backward, package)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files, write nothing")
    parser.add_argument("--to", type=Path, default=HERE, metavar="DIR", help="folder to write to, or to compare with")
    options = parser.parse_args()
    stale = []
    for draw in DRAWINGS:
        path, text = options.to / f"{draw.__name__}.svg", draw().svg()
        if options.check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
    if stale:
        print(f"Not what nbs/images/draw.py draws: {', '.join(stale)}. Run: python nbs/images/draw.py", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
