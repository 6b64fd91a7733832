"""The store of the sweeps: what a chunk, a look, a resume and a load cost.

Ten thousand real chunks of one member each, sixty numbers a chunk: the least that a chunk
can be, so that what is left is the store's own cost. The bars are milliseconds a file;
``ratio`` is the bar over what was measured.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from benchmarks.harness import Row
from lazyrich import sweeps
from lazyrich.core.threads import one_thread

BARS = {"store": 5.0, "status": 0.2, "load": 2.0, "resume": 0.5}
"""Milliseconds of CPU time a file; a resume of 10,000 files in five seconds."""


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Sixty numbers a member, and how it ended."""
    seed = chunk.axis("seed").astype(float)
    curve = seed[:, None] + np.arange(50.0)
    return xr.Dataset(
        {
            "t1": ("member", seed),
            "kernel_change": ("member", seed / 7),
            "test_error": ("member", seed / 11),
            "steps": ("member", chunk.axis("seed")),
            "loss": (("member", "record"), curve),
            "t_level": (("member", "level"), curve[:, :6]),
            "status": ("member", np.full(len(chunk), "fitted")),
        },
        coords={"level": [0.9, 0.5, 0.1, 0.05, 0.02, 0.01]},
        attrs={"data": "none"},
    )


def study(chunks: int) -> sweeps.Study:
    """A study of so many chunks of one member."""
    return sweeps.Study(
        name="bench_store",
        title="The store's own cost",
        version=1,
        scales={"laptop": sweeps.Scale({"seed": tuple(range(chunks))})},
        measure=measure,
        chunk_axes=("seed",),
        cost=lambda member, scale: 1e-6,
        chunk_size={"cpu": 1, "cuda": 1},
    )


def _seconds(call: Callable[[], Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows of the benchmark table."""
    count = 500 if quick else 10_000
    grid = study(count)
    chunks = grid.chunks("laptop")
    found: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as folder, one_thread():
        store = Path(folder)
        alone = _seconds(lambda: [measure(c, sweeps.Checkpoint()) for c in chunks])
        whole = _seconds(lambda: sweeps.run(grid, store=store, progress=False))
        found["store"] = (whole[0] - alone[0], whole[1] - alone[1])
        found["status"] = _seconds(lambda: sweeps.status(grid, store=store))
        found["resume"] = _seconds(
            lambda: sweeps.run(grid, store=store, progress=False)
        )
        found["load"] = _seconds(lambda: sweeps.load(grid, store=store))
    rows = []
    for name, (cpu, wall) in found.items():
        ms = 1000 * cpu / count
        ratio = BARS[name] / ms
        rows.append(
            Row(
                f"store of sweeps, {name}, {count} chunks",
                ours=cpu,
                ratio=ratio,
                bar=1.0,
                passed=ratio >= 1,
                note=f"{ms:.2f} ms of CPU time a file, {1000 * wall / count:.2f} ms in "
                f"all; bar {BARS[name]:g} ms",
                wall={"ours": wall},
            ).as_dict()
        )
    return rows
