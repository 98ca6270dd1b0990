"""Run notebooks from top to bottom, each in a fresh kernel, in parallel, and print a table.

    python tools/run.py                     every lesson on the generated samples; the notebooks stay as they are
    python tools/run.py --solutions         the solutions too
    python tools/run.py --save --data real  the run that is committed: outputs saved, stamped with a digest of the code
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from notebooks import Notebook, digest, lessons, read_notebook, solutions
from settings import NBS, ROOT

ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    """What one run of one notebook gave."""
    path: Path
    seconds: float
    error: str | None           # the failing cell and its traceback, None when all is well
    executed: dict              # the executed notebook as JSON data
    digest: str                 # of the code that ran
    n_checks: int
    headline: str               # text output of the cell marked `#| headline`


def headline(nb: Notebook) -> str:
    """The text that the cell marked `#| headline` shows."""
    for cell in nb.with_directive("headline"):
        for out in cell.outputs:
            text = out.get("text") or out.get("data", {}).get("text/plain", "")
            return "".join(text).strip().strip("'\"")
    return ""


def run_notebook(path: Path, data: str = "sample", timeout: int = 1200, threads: int | None = None) -> Result:
    """Execute the notebook in its own folder, in a fresh kernel, and leave the file as it is."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
    from traitlets.config import Config

    path = Path(path).resolve()
    env = {"EXP_DATA": data, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT), "IN_TEST": "1"}
    if threads:
        env |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    before = {k: os.environ.get(k) for k in env}
    os.environ |= env
    code = digest(read_notebook(path))
    nb, error, start = nbformat.read(path, as_version=4), None, time.perf_counter()
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    try:
        with tempfile.TemporaryDirectory() as tmp:
            # sockets in a folder of their own: no port is opened, and two runs cannot meet
            config = Config({"KernelManager": {"transport": "ipc", "ip": f"{tmp}/k"}})
            client = NotebookClient(nb, timeout=timeout, kernel_name="python3", record_timing=False,
                                    coalesce_streams=True, config=config,
                                    resources={"metadata": {"path": str(path.parent)}})
            client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as e:
        error = ANSI.sub("", str(e))
    finally:
        for k, v in before.items():
            os.environ.pop(k) if v is None else os.environ.__setitem__(k, v)
    seconds = time.perf_counter() - start
    executed = json.loads(nbformat.writes(nb))
    with tempfile.TemporaryDirectory() as tmp:          # read back the way every other tool reads
        copy = Path(tmp) / path.name
        copy.write_text(json.dumps(executed), encoding="utf-8")
        ran = read_notebook(copy)
    return Result(path, seconds, error, executed, code, ran.n_checks, headline(ran))


def cpu_name() -> str:
    """The processor's name, as the machine gives it."""
    try:
        info = Path("/proc/cpuinfo").read_text()
        return re.search(r"model name\s*:\s*(.+)", info)[1].strip()
    except (OSError, TypeError):
        return platform.processor() or platform.machine()


def save(result: Result, data: str) -> None:
    """Write the executed notebook, cleaned, with the stamp that ties its outputs to the code."""
    from fastcore.nbio import write_nb
    from nbdev.clean import clean_nb

    if digest(read_notebook(result.path)) != result.digest:
        raise RuntimeError(f"{result.path.name} or a module it imports changed while it ran: run it again")
    nb = result.executed
    images = [(c["id"], i, o["metadata"]) for c in nb["cells"] if c["cell_type"] == "code"
              for i, o in enumerate(c["outputs"]) if o.get("metadata")]
    clean_nb(nb, allowed_metadata_keys=["exp_run"], allowed_cell_metadata_keys=["tags"])
    by_id = {c["id"]: c for c in nb["cells"]}
    for cell_id, i, metadata in images:                 # the cleaner drops the alt text: put it back
        by_id[cell_id]["outputs"][i]["metadata"] = metadata
    nb["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "exp_run": {
            "digest": result.digest, "data": data, "seconds": round(result.seconds, 1),
            "checks": result.n_checks, "headline": result.headline, "date": datetime.date.today().isoformat(),
            "python": platform.python_version(), "torch": version("torch").split("+")[0],
            "cpu": cpu_name(), "cores": os.cpu_count()}}
    write_nb(nb, result.path)


def shown(path: Path) -> str:
    """The notebook's name for people: `01_matmul`, `solutions/01_matmul`."""
    return f"solutions/{path.stem}" if path.parent.name == "solutions" else path.stem


def table(rows: list[tuple]) -> str:
    """Rows as an aligned text table; the first row is the head."""
    rows = [[str(x) for x in r] for r in rows]
    wide = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    def line(r):
        return "  ".join(x.rjust(w) if i in (1, 2) else x.ljust(w) for i, (x, w) in enumerate(zip(r, wide))).rstrip()
    return "\n".join([line(rows[0]), "  ".join("-" * w for w in wide), *map(line, rows[1:])])


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("notebooks", nargs="*", type=Path, help="notebook files; every lesson if none is given")
    p.add_argument("-j", type=int, default=max(1, min(4, os.cpu_count() or 1)), help="how many at a time")
    p.add_argument("--data", choices=("sample", "real", "auto"), default=os.environ.get("EXP_DATA", "sample"))
    p.add_argument("--save", action="store_true", help="save outputs and stamp the notebooks")
    p.add_argument("--solutions", action="store_true", help="run the solutions too")
    p.add_argument("--timeout", type=int, default=1200, help="seconds a cell may take")
    a = p.parse_args()
    files = a.notebooks or [nb.path for nb in lessons() + (solutions() if a.solutions else [])]
    if not a.notebooks and (NBS / "index.ipynb").exists() and a.save:
        files.append(NBS / "index.ipynb")
    threads = max(1, (os.cpu_count() or 1) // a.j)
    print(f"{len(files)} notebooks, {a.j} at a time, data: {a.data}", flush=True)

    start, done = time.perf_counter(), []
    with ProcessPoolExecutor(a.j, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(run_notebook, f, a.data, a.timeout, threads)
                for f in sorted(files, key=lambda f: -f.stat().st_size)]
        for job in as_completed(jobs):
            r = job.result()
            done.append(r)
            word = "FAILED" if r.error else "ok"
            print(f"[{len(done)}/{len(files)}] {shown(r.path):<28} {word:<7} {r.seconds:6.1f} s", flush=True)
            if r.error:
                print(f"{'-' * 30} {r.path.name}\n{r.error}", file=sys.stderr, flush=True)
            elif a.save:
                save(r, a.data)
    failed = [r for r in done if r.error]
    rows = [("lesson", "seconds", "checks", "result")]
    for r in sorted(done, key=lambda r: (r.path.parent.name == "solutions", r.path.name)):
        rows.append((shown(r.path), f"{r.seconds:.1f}", r.n_checks, "FAILED" if r.error else r.headline))
    print(f"\n{table(rows)}\n\n{len(done) - len(failed)} of {len(done)} ran through in {time.perf_counter() - start:.0f} s")
    if failed:
        print("Failed: " + ", ".join(shown(r.path) for r in failed) + ". The cell and its error stand above.")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
