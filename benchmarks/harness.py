"""How things are measured: alternately, on one thread, by CPU time; memory in a child.

CPU time of the process is what bars are set on: on a busy machine wall time measures
the neighbours. Ours and the peer's run in turn in one process, so that a change of
clock speed or of cache pressure meets both.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from lazyrich.core.threads import one_thread


@dataclass(frozen=True)
class Times:
    """Median CPU and wall seconds of both sides, and the ratio peer over ours.

    ``ratio`` is the median over rounds of the ratio of CPU times within the round, and
    ``spread`` half the range between its quartiles.
    """

    ours: float
    peer: float
    ours_wall: float
    peer_wall: float
    ratio: float
    spread: float


@dataclass(frozen=True)
class Row:
    """One line of the benchmark table; what does not apply is ``None``.

    ``bar`` is what ``ratio`` (or ``accuracy``, where there is one) is held to;
    ``passed`` is ``None`` where nothing is promised.
    """

    name: str
    ours: float | None = None
    peer: float | None = None
    ratio: float | None = None
    spread: float | None = None
    bar: float | None = None
    passed: bool | None = None
    memory_mb: float | None = None
    peer_memory_mb: float | None = None
    accuracy: float | None = None
    note: str = ""
    wall: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def _timed(call: Callable[[], Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def alternate(
    ours: Callable[[], Any], peer: Callable[[], Any], rounds: int = 5
) -> Times:
    """Run both sides in turn on one thread, after one unmeasured round.

    Raises:
        ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, got {rounds!r}")
    with one_thread():
        ours()
        peer()
        found = [(_timed(ours), _timed(peer)) for _ in range(rounds)]
    ratios = [theirs[0] / max(mine[0], 1e-9) for mine, theirs in found]
    quartiles = statistics.quantiles(ratios, n=4) if rounds > 1 else [math.nan] * 3
    return Times(
        ours=statistics.median(mine[0] for mine, _ in found),
        peer=statistics.median(theirs[0] for _, theirs in found),
        ours_wall=statistics.median(mine[1] for mine, _ in found),
        peer_wall=statistics.median(theirs[1] for _, theirs in found),
        ratio=statistics.median(ratios),
        spread=(quartiles[2] - quartiles[0]) / 2,
    )


def cpu_time(call: Callable[[], Any], rounds: int = 5) -> float:
    """Median CPU seconds of one call on one thread, after one unmeasured one."""
    with one_thread():
        call()
        return statistics.median(_timed(call)[0] for _ in range(rounds))


def gemm_peak(n: int = 2000, dtype: torch.dtype = torch.float64) -> float:
    """Operations a second that a square matrix product reaches here on one thread."""
    a = torch.ones(n, n, dtype=dtype)
    out = torch.empty_like(a)
    return 2 * n**3 / cpu_time(lambda: torch.mm(a, a, out=out), rounds=3)


# getrusage is of no use on Linux: a child inherits the peak of the process it was
# forked from. The high-water mark of its own memory map is its own, and can be reset.
_CHILD = """
import contextlib, resource, sys
from pathlib import Path
sys.path[:0] = {path!r}
import torch
torch.set_num_threads(1)

def peak():
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 2**10
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

{setup}
with contextlib.suppress(OSError):
    Path("/proc/self/clear_refs").write_text("5")
before = peak()
{call}
print(peak() - before)
"""


def peak_memory(setup: str, call: str) -> float:
    """Megabytes by which ``call`` raises the peak memory of a fresh process.

    Both are Python code: ``setup`` imports and makes the inputs (and should run the
    call once at a small size, so that libraries have loaded what they load), ``call``
    is what is measured, results included.

    Raises:
        RuntimeError: the child failed; says with what.
    """
    code = _CHILD.format(path=sys.path, setup=setup, call=call)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    child = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if child.returncode:
        last = child.stderr.strip().splitlines()[-1:] or ["no message"]
        raise RuntimeError(f"the measured process failed: {last[0]}")
    return int(child.stdout) / 2**20


def machine() -> dict[str, Any]:
    """What the numbers were taken on; no name of the machine itself."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vector_instructions": torch.backends.cpu.get_cpu_capability(),
        "gemm_float64_gflops": round(gemm_peak() / 1e9, 1),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def table(rows: list[Row]) -> str:
    """The rows as text, one line each."""
    head = ("what", "ours s", "peer s", "ratio", "bar", "MB", "accuracy", "")
    lines: list[tuple[str, ...]] = [head]
    for row in rows:
        passed = {True: "passed", False: "FAILED", None: ""}[row.passed]
        cells = (row.ours, row.peer, row.ratio, row.bar, row.memory_mb, row.accuracy)
        shown = ["" if cell is None else f"{cell:.3g}" for cell in cells]
        lines.append((row.name, *shown, passed))
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def save(path: Path, rows: list[Row], **facts: Any) -> None:
    """Write rows and facts as JSON, as a whole."""
    content = facts | {"rows": [row.as_dict() for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)
