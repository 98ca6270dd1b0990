"""The ledger: a PyTorch facility is used only after a lesson has rebuilt it.

    python tools/ledger.py                  what each lesson unlocks, and every use that comes too early (exit status 1)

Each lesson says in the cell `#| unlocks` what it unlocks: `unlocks = ["torch.nn.Linear", …]`. The names may be used
in the cells after that one and in all later notebooks; a name unlocks what is below it (`torch.nn.init`).
    guarded         everything in torch.nn, torch.optim, torch.utils.data, torch.autograd and torch.amp; and what some
                    later lesson unlocks, wherever in torch it lives
    looked through  import aliases, `from … import`, chains of attributes, `x = nn.functional`,
                    `getattr(nn, "Linear")`, `import_module("torch.nn")`, other addresses of the same object
                    (`torch.nn.modules.Linear`)
    exempt          cells marked `#| parity`, whose job is comparison (none of them may be exported); the support
                    notebooks (00…), which are tools for the lessons and no lessons
"""
from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from notebooks import Cell, Notebook, called_name, lessons

GUARDED = ("torch.nn", "torch.optim", "torch.utils.data", "torch.autograd", "torch.amp",
           "torch.cuda.amp", "torch.cpu.amp", "torch.autocast")      # the last three are doors to torch.amp
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
MISSING = object()


def below(name: str, roots: tuple[str, ...] | set[str] | dict) -> bool:
    """Is `name` one of the roots, or inside one?"""
    return any(name == r or name.startswith(r + ".") for r in roots)


@cache
def find_object(name: str) -> Any:
    """What a dotted name stands for; MISSING where it stands for nothing."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for part in parts[n:]:
            found = getattr(found, part, MISSING)
        return found
    return MISSING


def named_object(name: str) -> Any:
    """The class or function that a dotted name begins with: of `torch.nn.Linear.weight`, it is `Linear`."""
    parts = name.split(".")
    for n in range(2, len(parts) + 1):
        found = find_object(".".join(parts[:n]))
        if inspect.isclass(found) or inspect.isroutine(found):
            return found
    return MISSING


# --- what does a cell use? -----------------------------------------------------------------------

class Uses(ast.NodeVisitor):
    """Collect (dotted torch name, line) of everything that code uses, following aliases from scope to scope."""

    def __init__(self, aliases: dict[str, str | None]):
        self.scopes = [aliases]                 # a name -> its dotted torch name; None hides an outer alias
        self.found: list[tuple[str, int]] = []

    def bind(self, name: str, dotted: str | None) -> None:
        self.scopes[-1][name] = dotted if dotted and dotted.split(".")[0] == "torch" else None

    def resolve(self, node: ast.AST | None) -> str | None:
        """The dotted torch name that an expression stands for."""
        if isinstance(node, ast.Name):
            return next((s[node.id] for s in reversed(self.scopes) if node.id in s), None)
        if isinstance(node, ast.Attribute):
            base = self.resolve(node.value)
            return base and f"{base}.{node.attr}"
        if isinstance(node, ast.Call) and node.args:
            word = node.args[-1 if called_name(node) == "import_module" else 1:][:1]
            word = word[0].value if word and isinstance(word[0], ast.Constant) else None
            if isinstance(word, str) and called_name(node) == "import_module" and word.split(".")[0] == "torch":
                return word
            if isinstance(word, str) and called_name(node) == "getattr" and (base := self.resolve(node.args[0])):
                return f"{base}.{word}"
        return None

    def visit_Import(self, node: ast.Import) -> None:
        for a in node.names:
            self.bind(a.asname or a.name.split(".")[0], a.name if a.asname else a.name.split(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for a in node.names:
            if a.name == "*" and (node.module or "").split(".")[0] == "torch":
                self.found.append((node.module, node.lineno))
            self.bind(a.asname or a.name, None if node.level else f"{node.module}.{a.name}")

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.use(node)
        else:
            self.bind(node.id, None)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not self.use(node):
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if not self.use(node):
            self.generic_visit(node)

    def use(self, node: ast.AST) -> bool:
        if dotted := self.resolve(node):
            self.found.append((dotted, node.lineno))
        return dotted is not None

    def visit_Assign(self, node: ast.Assign) -> None:
        dotted = self.resolve(node.value)
        if not (dotted and inspect.ismodule(find_object(dotted))):      # a second name for a module is no use of it
            self.visit(node.value)
        for target in node.targets:
            self.visit(target)
            if isinstance(target, ast.Name):
                self.bind(target.id, dotted)

    def visit_scope(self, node: ast.AST, hidden: set[str], body: list[ast.AST]) -> None:
        self.scopes.append(dict.fromkeys(hidden))
        for child in body:
            self.visit(child)
        self.scopes.pop()

    def visit_function(self, node: ast.FunctionDef | ast.Lambda) -> None:
        a = node.args
        args = [*a.posonlyargs, *a.args, *a.kwonlyargs, *(x for x in (a.vararg, a.kwarg) if x)]
        outer = [*a.defaults, *a.kw_defaults, *(x.annotation for x in args), *getattr(node, "decorator_list", ()),
                 getattr(node, "returns", None)]
        for child in filter(None, outer):
            self.visit(child)
        if not isinstance(node, ast.Lambda):
            self.bind(node.name, None)
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        self.visit_scope(node, {x.arg for x in args} | set(local_names(body)), body)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for child in [*node.bases, *(k.value for k in node.keywords), *node.decorator_list]:
            self.visit(child)
        self.bind(node.name, None)
        self.visit_scope(node, set(), node.body)

    def visit_comprehension_scope(self, node: ast.AST) -> None:
        self.visit_scope(node, set(), [*node.generators, *(getattr(node, k) for k in ("elt", "key", "value")
                                                            if hasattr(node, k))])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_scope


def local_names(body: list[ast.AST]) -> Iterator[str]:
    """Names that a function's body assigns, without those of functions inside it."""
    for node in body:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef, *COMPREHENSIONS)):
            yield from local_names(list(ast.iter_child_nodes(node)))


# --- the ledger itself ---------------------------------------------------------------------------

def read_unlocks(cell: Cell) -> list[str] | None:
    """The list in a cell `#| unlocks`; None where it is no literal list of strings."""
    for node in cell.tree.body if cell.tree else []:
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["unlocks"]:
            try:
                names = ast.literal_eval(node.value)
            except ValueError:
                return None
            return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else None
    return None


def unlocked_by(notebooks: list[Notebook]) -> dict[str, str]:
    """Every unlocked name and the notebook that unlocks it first."""
    found: dict[str, str] = {}
    for nb in notebooks:
        for cell in nb.with_directive("unlocks"):
            for name in read_unlocks(cell) or []:
                found.setdefault(name, nb.name)
    return found


def unlock_faults(notebooks: list[Notebook]) -> list[str]:
    """What is wrong with the cells `#| unlocks` themselves."""
    faults, seen = [], {}
    for nb in notebooks:
        cells = nb.with_directive("unlocks")
        if len(cells) > 1 or not cells and not nb.is_support:
            faults.append(f"{nb.name}: need one cell `#| unlocks` with `unlocks = [...]`, found {len(cells)}")
        for cell in cells:
            names = read_unlocks(cell)
            if names is None:
                faults.append(f"{nb.name}, cell {cell.id}: `unlocks` must be a literal list of strings")
            for name in names or []:
                if name.split(".")[0] != "torch" or find_object(name) is MISSING:
                    faults.append(f"{nb.name}, cell {cell.id}: torch {importlib.import_module('torch').__version__} "
                                  f"has no `{name}`: correct the name in `unlocks`")
                elif name in seen:
                    faults.append(f"{nb.name}, cell {cell.id}: `{name}` is unlocked by {seen[name]} already")
                seen.setdefault(name, nb.name)
    return faults


def early_uses(notebooks: list[Notebook]) -> list[str]:
    """Every use of a name before it is unlocked."""
    faults, unlocked, by = [], {}, unlocked_by(notebooks)
    order = {nb.name: i for i, nb in enumerate(notebooks)}
    for nb in notebooks:
        aliases: dict[str, str | None] = {}
        scan = Uses(aliases)
        for cell in nb.code:                    # a function may use what a later cell imports
            for node in ast.walk(cell.tree) if cell.tree else []:
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    scan.visit(node)
        later = {n for n, who in by.items() if order[who] > order[nb.name]}
        for cell in nb.code:
            uses = Uses(aliases)
            if cell.tree:
                uses.visit(cell.tree)
            elif not nb.is_support:
                faults.append(f"{nb.name}, cell {cell.id}: is no plain Python, so that the ledger cannot read it")
            exempt = nb.is_support or "parity" in cell.directives
            if "parity" in cell.directives and {"export", "exports"} & cell.directives.keys():
                faults.append(f"{nb.name}, cell {cell.id}: an exported cell cannot be `#| parity`")
            for name, line in dict.fromkeys(uses.found) if not exempt else []:
                if below(name, GUARDED) or below(name, later):
                    if not (below(name, unlocked) or any(named_object(name) is o for o in unlocked.values()
                                                         if o is not MISSING)):
                        who = next((w for n, w in by.items() if below(name, (n,))), None)
                        faults.append(f"{nb.name}, cell {cell.id}, line {line}: uses `{name}`, which "
                                      + (f"{who} unlocks" if who else "no lesson unlocks")
                                      + ": use our own, or mark a cell that only compares with `#| parity`")
            if "unlocks" in cell.directives:
                unlocked |= {n: named_object(n) for n in read_unlocks(cell) or []}
    return faults


def check_ledger(notebooks: list[Notebook]) -> list[str]:
    """Everything that is wrong, one line each, in the order of the curriculum."""
    return unlock_faults(notebooks) + early_uses(notebooks)


def main() -> int:
    notebooks = lessons()
    for nb in notebooks:
        names = [n for c in nb.with_directive("unlocks") for n in read_unlocks(c) or []]
        print(f"{nb.name:<28} {', '.join(names) or '-'}")
    faults = check_ledger(notebooks)
    print("\n" + ("\n".join(f"LEDGER {f}" for f in faults) if faults else "No name is used before its lesson."))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
