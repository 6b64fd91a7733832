"""The table of benchmarks, as the last full run on some machine left it."""

import html
import json
from pathlib import Path
from typing import Any

from lazyrich.core.project import root


class BenchmarkTable:
    """Rows of ``results/benchmarks.json`` as a table for a page.

    Args:
        path: the file; ``results/benchmarks.json`` of the project by default.

    Raises:
        FileNotFoundError: nobody has run the benchmarks here; says how to.
    """

    def __init__(self, path: Path | None = None) -> None:
        file = root() / "results" / "benchmarks.json" if path is None else Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"{file.name} is missing: run `make bench` first")
        content = json.loads(file.read_text(encoding="utf-8"))
        self.rows: list[dict[str, Any]] = content["rows"]
        self.machine: dict[str, Any] = content["machine"]
        self.date: str = content["date"]

    @property
    def missed(self) -> list[str]:
        """Names of the rows whose bar was missed."""
        return [row["name"] for row in self.rows if row["passed"] is False]

    def _repr_html_(self) -> str:
        head = (
            "what",
            "ours (s)",
            "peer (s)",
            "ratio",
            "bar",
            "memory (MB)",
            "error",
            "",
        )
        cells = "".join(f"<th>{name}</th>" for name in head)
        body = "".join(f"<tr>{_cells(row)}</tr>" for row in self.rows)
        machine = self.machine
        caption = (
            f"{machine['processor']}, {machine['gemm_float64_gflops']:g} GFLOP/s in a "
            f"float64 matrix product on one thread, torch {machine['torch']}, "
            f"{self.date[:10]}"
        )
        return (
            f'<div class="lr-scroll"><table class="lr-benchmarks">'
            f"<caption>{html.escape(caption)}</caption>"
            f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
        )


class GpuTable:
    """Rows of ``results/gpu.json`` as a table for a page; a line where there is none.

    Args:
        path: the file; ``results/gpu.json`` of the project by default.
    """

    def __init__(self, path: Path | None = None) -> None:
        file = root() / "results" / "gpu.json" if path is None else Path(path)
        self.content: dict[str, Any] | None = None
        if file.is_file():
            self.content = json.loads(file.read_text(encoding="utf-8"))

    def _repr_html_(self) -> str:
        if self.content is None:
            return "<p>Not measured yet: <code>make gpu</code> on a CUDA machine.</p>"
        names = ("what", "numbers", "error", "bar", "seconds", "memory (MB)", "", "")
        head = "".join(f"<th>{name}</th>" for name in names)
        body = "".join(f"<tr>{_gpu_cells(row)}</tr>" for row in self.content["rows"])
        caption = (
            f"{self.content['device']}, torch {self.content['machine']['torch']}, "
            f"{self.content['date'][:10]}"
        )
        return (
            f'<div class="lr-scroll"><table class="lr-benchmarks">'
            f"<caption>{html.escape(caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        )


def _gpu_cells(row: dict[str, Any]) -> str:
    shown = [
        html.escape(row["what"]), html.escape(row["dtype"]), _number(row["error"]),
        _number(row["tolerance"]), _number(row["seconds"]), _number(row["memory_mb"]),
        {True: "passed", False: "failed", None: ""}[row["passed"]],
        html.escape(row["note"]),
    ]  # fmt: skip
    return "".join(f"<td>{cell}</td>" for cell in shown)


def _cells(row: dict[str, Any]) -> str:
    name = html.escape(row["name"])
    if row["note"]:
        name += f"<br><small>{html.escape(row['note'])}</small>"
    memory = _number(row["memory_mb"])
    if row["peer_memory_mb"] is not None:
        memory += f" / {_number(row['peer_memory_mb'])}"
    verdict = {True: "met", False: "missed", None: ""}[row["passed"]]
    shown = [
        name, _number(row["ours"]), _number(row["peer"]), _number(row["ratio"]),
        _number(row["bar"]), memory, _number(row["accuracy"]), verdict,
    ]  # fmt: skip
    return "".join(f"<td>{cell}</td>" for cell in shown)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
