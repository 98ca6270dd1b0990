#!/usr/bin/env python3
"""What importing costs: `import exp.learner` and other modules against `import torch`, each in a fresh process.

    python bench/imports.py                   print the table
    python bench/imports.py --json FILE       write it, with every run, to FILE too

The processes take turns. The time is that of the import alone, measured inside the process, with the files already in the
system's cache. fastai and Lightning are measured if they are installed; the project never needs them.
"""
from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from common import against, cpu_name, options, print_ratios, verdict, write_result

BAR = 1.1                                  # times `import torch`
OURS = ["exp.learner", "exp.images", "exp.train_imagenette", "exp.text_classifier"]
PEERS = {"fastai": "fastai.vision.all", "lightning": "lightning"}
CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    """Seconds that a fresh process takes to import the module."""
    done = subprocess.run([sys.executable, "-c", CODE.format(module)], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).resolve().parent.parent)
    return float(done.stdout.split()[-1])


def main() -> int:
    args = options(__doc__, repeats=9).parse_args()
    if args.repeats < 1:
        sys.exit("need at least 1 round")
    modules = ["torch", *OURS, *(module for name, module in PEERS.items() if importlib.util.find_spec(name))]
    runs = {module: [] for module in modules}
    for i in range(args.repeats + 1):
        for module in modules[::1 if i % 2 else -1]:
            runs[module] += [seconds(module)][:i]              # the first round fills the system's cache
    rows = [{"import": module, "ms": 1e3 * sorted(its)[len(its) // 2], **against(its, runs["torch"])} for module, its in runs.items()]
    print(f"{args.repeats} rounds; {cpu_name()}\n")
    print_ratios(rows)
    print("\n" + verdict(rows[1]["ratio to the limit"], BAR, "import torch"))
    missing = [name for name in PEERS if not importlib.util.find_spec(name)]
    print("not installed: " + (", ".join(missing) or "none"))
    write_result(args.json, "What importing costs", bar=BAR, rounds=args.repeats, results=rows, **{"not installed": missing})
    return 0


if __name__ == "__main__":
    sys.exit(main())
