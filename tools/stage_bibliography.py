"""The bibliography: every work that the lessons refer to, once, with the places that use it.

    python tools/stage_bibliography.py      works that two lessons cite in ways that cannot both be right

A reference is read into authors, title, address, publication and detail ("section 3: the rule"). Two references are one
work if they share an arXiv number, a DOI or an address; one without an address joins a work of the same first author and
title. Works are sorted by first author and year, since a reader comes with a name and a year from the text of a lesson.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from itertools import combinations, groupby
from typing import Callable

from notebooks import Notebook, lessons

LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
ITALIC = re.compile(r"(?<![*\w])\*([^*]+)\*(?!\*)")
MONTH = re.compile(r"\b(?:January|February|March|April|May|June|July|August|September|October|November|December) ")
YEAR = re.compile(r"\b(?:1[89]|20)\d\d\b")
PERSON = re.compile(r"(?:[A-Z]\.[ -]?)+ ?(?:\w+ )*\w[\w'’-]*")
# One list item may hold several works: another begins where authors and a link follow a full stop.
NEXT = re.compile(
    r"(?<![A-Z])[.;] (?=(?:[A-Z]\. ?)+(?:[^\[\];:.]|[A-Z]\.|al\.)*, \[)|, and (?=[A-Z]\w+'s \[)"
)
NUMBER = re.compile(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})|doi\.org/(10\..+)", re.I)


@dataclass
class Citation:
    """One work as one lesson cites it."""

    source: str  # the words of the cell
    authors: str
    title: str
    address: str
    published: str  # journal and year, as far as they are there
    detail: str  # section, and what the lesson takes from it
    lesson: Notebook | None = None

    @property
    def year(self) -> str:
        return found[0] if (found := YEAR.search(self.published)) else ""

    @property
    def people(self) -> list[str]:
        """The authors that are named, without `et al.` and `and others`."""
        plain = re.sub(r" et al\.?| and others|\([^)]*\)", "", self.authors)
        return [p.strip() for p in re.split(r",| and ", plain) if p.strip()]

    @property
    def whole(self) -> bool:
        """Are all authors named?"""
        return not re.search(r"et al|and others", self.authors)


@dataclass
class Work:
    """A work, and everything that cites it."""

    citations: list[Citation] = field(default_factory=list)

    @property
    def best(self) -> Citation:
        """The citation that says most: who, what, and where it came out."""
        return max(
            self.citations,
            key=lambda c: (bool(c.address), c.whole, len(c.people), len(c.title), len(c.published)),
        )

    @property
    def by_people(self) -> bool:
        """Is it a paper or a book, not the documentation of a library?"""
        return bool(PERSON.search(self.best.authors))

    @property
    def order(self) -> tuple[str, str, str]:
        """First author's last name, year, title."""
        c = self.best
        return surname(c.people[0] if c.people else c.title or c.source), c.year, words(c.title)


def references(nb: Notebook) -> list[str]:
    """The list items below the heading *References*, one string each."""
    found, inside = [], False
    for cell in nb.prose:
        for line in cell.source.splitlines():
            if line.startswith("#"):
                inside = "References" in line
            elif inside and (m := re.match(r"(?:[-*]|\d+\.) +(.*)", line)):
                found.append(m[1].strip())
            elif inside and found and line.startswith("  ") and line.strip():
                found[-1] += " " + line.strip()
    return found


def words(title: str) -> str:
    """A title as it is compared: small letters and digits only."""
    return " ".join(re.findall(r"[\w.]+", title.lower().replace("-", " ")))


def surname(person: str) -> str:
    """`he` of `K. He`, `van laarhoven` of `T. van Laarhoven`, `pytorch` of `PyTorch's notes on`."""
    plain = re.sub(r"^(?:[A-Z]\.[ -]?)+|^The |'s.*$|^`|`.*$", "", person.strip())
    return plain.strip().lower()


def split(text: str) -> tuple[str, str]:
    """What follows a title, as (journal and year, detail)."""
    head, colon, tail = text.strip().removeprefix(",").strip().partition(": ")
    if m := re.search(YEAR.pattern + r"\)?", head):
        return head[: m.end()], (head[m.end() :].strip(" ,.") + colon + tail)
    return "", head + colon + tail


def plain_parts(text: str) -> tuple[str, str, str]:
    """(authors, title, rest) of `A. Author, Title, Journal 1, 1999: detail`; all empty if it is no such list."""
    year = YEAR.search(text)
    head = text[: year.end()] if year else text.partition(": ")[0]
    pieces = head.split(", ")
    people = [p for p in pieces if PERSON.match(p)] or pieces[:1]
    rest = pieces[len(people) :]
    if len(rest) < 2 or pieces[: len(people)] != people:
        return "", "", ""
    at = next((i for i, p in enumerate(rest) if len(p.split()) > 1), 0)
    return ", ".join(people), rest[at], ", ".join(rest[at + 1 :]) + text[len(head) :]


def parts(text: str) -> tuple[str, str, str, str]:
    """(authors, title, address, rest) of a reference: the title is a link, or in italics, or stands between commas."""
    link, named = LINK.search(text), ITALIC.search(text)
    if link:
        before, title = text[: link.start()], link[1]
        if named and named.end() <= link.start() and re.fullmatch(r"\d{4}\.\d{4,5}", title):
            before, title = text[: named.start()], named[1]  # the link is the arXiv number
        return before, title, link[2], text[link.end() :]
    before = text[: named.start()] if named else text
    dated = PERSON.match(before) and YEAR.search(before) and not before.rstrip(", ").endswith(")")
    if named and not dated:
        return before, named[1], "", text[named.end() :]
    authors, title, rest = plain_parts(text)
    return authors, title, "", rest


def cite(text: str) -> Citation:
    """Read one reference; what names no title is kept whole as its detail."""
    authors, title, address, rest = parts(text)
    if not title:
        return Citation(text, "", "", "", "", text)
    published, detail = split(rest)
    authors = authors.strip().rstrip(",").strip()
    if m := re.search(r"\s*\((%s)\)$" % YEAR.pattern, authors):  # `A. Author (1999), *Title*, Journal 1: detail`
        journal, colon, tail = rest.strip(" ,").partition(": ")
        named = journal[:1].isupper()
        published = journal.strip(' .') + f', {m[1]}' if named else m[1]
        authors, detail = authors[: m.start()], tail if named else detail
    detail = re.sub(r"^\(([^()]*)\)$", r"\1", detail.strip(" .:,").removeprefix("and "))
    title = re.sub(r"^\*([^*]+)\*$", r"\1", title.strip())
    return Citation(text, authors, title, address, MONTH.sub("", published), detail)


def key(address: str) -> str:
    """What two addresses of one work share: the arXiv number, the DOI, or the address without its ways of writing."""
    if m := NUMBER.search(address):
        return (m[1] or m[2]).lower()
    plain = re.sub(r"^https?://(www\.)?", "", address).rstrip("/")
    return plain.replace("docs.pytorch.org/", "pytorch.org/")


def same_person(a: str, b: str) -> bool:
    """`Y. Dauphin` and `Y. N. Dauphin` may be one person; `K. He` and `T. He` are not."""
    first, second = ("".join(re.findall(r"\b([A-Z])\.", p)) for p in (a, b))
    short, long = sorted((first, second), key=len)
    letters = iter(long)
    return surname(a) == surname(b) and all(i in letters for i in short) and long[:1] == short[:1]


def collect(notebooks: list[Notebook]) -> list[Work]:
    """The works of the course, sorted."""
    works: dict[str, Work] = {}
    loose = []
    for nb in notebooks:
        for text in references(nb):
            for part in NEXT.split(text):
                citation = cite(part.strip())
                citation.lesson = nb
                if citation.address:
                    works.setdefault(key(citation.address), Work()).citations.append(citation)
                else:
                    loose.append(citation)
    for c in loose:  # the same title, and no other first author
        for work in works.values():
            o = work.citations[0]
            if words(o.title) == words(c.title) and (
                not c.people or not o.people or same_person(c.people[0], o.people[0])
            ):
                work.citations.append(c)
                break
        else:
            works[c.source] = Work([c])
    order = {nb.name: i for i, nb in enumerate(notebooks)}
    for work in works.values():
        work.citations.sort(key=lambda c: order[c.lesson.name])
    return sorted(works.values(), key=lambda w: w.order)


def conflict(a: Citation, b: Citation) -> str:
    """What cannot be right in both: `title`, `year` or `authors`; empty if one only says less than the other.

    Less is a title that ends early, authors cut by `et al.`, a missing initial, no year at all.
    """
    short, long = sorted((words(a.title), words(b.title)), key=len)
    if short and not long.startswith(short):
        return "title"
    if a.year and b.year and a.year != b.year:
        return "year"
    pairs = zip(a.people, b.people)
    longer = max(len(a.people), len(b.people))
    too_many = any(c.people and c.whole and len(c.people) < longer for c in (a, b))
    if too_many or not all(same_person(x, y) for x, y in pairs):
        return "authors"
    return ""


def contradictions(works: list[Work]) -> list[str]:
    """Works that two lessons cite in ways that cannot both be right, with the words of both."""
    return [
        f"{what} of {w.best.address or w.best.title}:\n    {a.lesson.name}: {a.source}\n    {b.lesson.name}: {b.source}"
        for w in works
        for a, b in combinations(w.citations, 2)
        if (what := conflict(a, b))
    ]


def entry(work: Work, markdown: Callable[[str], str]) -> str:
    """A work and, below it, what each lesson takes from it."""
    c = work.best
    title = f"[{c.title}]({c.address})" if c.address else f"*{c.title}*"
    who = c.authors and c.authors + (" " if re.search(r"'s$| on$", c.authors) else ", ")
    said = ", ".join(filter(None, [who + title, c.published])) if c.title else c.detail.rstrip(".")
    lines = [f"- {said}."]
    for cited in work.citations:
        place = f"[{cited.lesson.number} {cited.lesson.title.split(':')[0]}]({cited.lesson.path.name}#references)"
        lines.append(f"  - {place}" + (f": {markdown(cited.detail)}." if cited.title and cited.detail else ""))
    return "\n".join(lines)


def bibliography(notebooks: list[Notebook], markdown: Callable[[str], str]) -> str:
    """The page: papers and books by letter of the alphabet, then documentation, code and standards."""
    works = collect(notebooks)
    papers = [w for w in works if w.by_people]
    others = [w for w in works if not w.by_people]
    parts = [
        f"# Bibliography\n\nThe {len(works)} works that the lessons build on, by first author and year, collected "
        "from their *References*. Below each stands which lesson uses it, and what for.\n"
    ]
    letters = groupby(papers, key=lambda w: w.order[0][:1].upper())
    groups = [(letter, list(group)) for letter, group in letters]
    groups += [("Documentation, code and standards", others)] if others else []
    for heading, group in groups:
        listed = "\n".join(entry(w, markdown) for w in group)
        parts.append(f"## {heading}\n\n::::{{container}} works\n{listed}\n::::\n")
    return "\n".join(parts)


if __name__ == "__main__":
    found = contradictions(collect(lessons()))
    print("\n".join(found) or "No work is cited in two ways that contradict each other.")
    sys.exit(bool(found))
