"""What the benchmarks share: the machine's name, and ratios to a limit that ran in the same rounds."""
from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from run import cpu_name

__all__ = ["cpu_name", "against"]


def against(runs: list[float], limit: list[float]) -> dict:
    """The median ratio to the limit, round by round, with its middle half and every run in seconds."""
    ratios = sorted(run / base for run, base in zip(runs, limit))
    quartiles = [ratios[int(q * (len(ratios) - 1))] for q in (0.25, 0.75)]
    return {"ratio to the limit": statistics.median(ratios), "quartiles": quartiles, "seconds": runs}
