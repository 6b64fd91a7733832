"""Fits on data whose exponent is known."""

import numpy as np
import pytest
import xarray as xr

from lazyrich.studies.tools import statistics

ALPHA = np.array([1e-3, 1e-2, 1e-1, 1.0, 10.0])


def table(power=-1.5, collapse=0.5, noise=0.0, widths=(50, 200), seeds=5):
    """value = (h^collapse alpha)^power on a grid of sqrt(h) alpha."""
    gen = np.random.default_rng(0)
    h = np.array(widths, dtype=float)
    alpha = ALPHA[None, :] / np.sqrt(h)[:, None]
    value = (alpha * h[:, None] ** collapse) ** power
    # a bend, or a power law would collapse under any exponent after a shift
    value = value + value**0.5 + 0.3
    noisy = value * np.exp(noise * gen.normal(size=(seeds, *value.shape)))
    return xr.Dataset(
        {"v": (("seed", "h", "alpha_mf"), noisy)},
        coords={"seed": range(seeds), "h": list(widths), "alpha_mf": ALPHA},
    )


def powers(power=-1.5, noise=0.1, seeds=8):
    gen = np.random.default_rng(1)
    values = ALPHA**power * np.exp(noise * gen.normal(size=(seeds, len(ALPHA))))
    return xr.DataArray(
        values, dims=("seed", "alpha_mf"), name="v",
        coords={"seed": range(seeds), "alpha_mf": ALPHA},
    )  # fmt: skip


def test_slope_and_its_error():
    found = statistics.slope_over_seeds(powers())
    assert abs(found.value + 1.5) < 4 * found.error
    # error of a mean slope over 8 seeds: noise / sqrt(seeds) / (spread of log alpha)
    x = np.log(ALPHA)
    expected = 0.1 / np.sqrt(8) / np.sqrt(((x - x.mean()) ** 2).sum())
    assert 0.4 * expected < found.error < 2.0 * expected
    assert statistics.slope_over_seeds(powers(noise=0)).value == pytest.approx(-1.5)


def test_seeds_with_a_gap_are_skipped_and_named():
    whole = powers()
    # a seed of another offset: a mean over what is left would bend the slope
    holed = whole.copy()
    holed[0] *= 50.0
    holed[0, 0] = np.nan
    found = statistics.slope_over_seeds(holed)
    assert found.skipped == (0,)
    rest = statistics.slope_over_seeds(whole.isel(seed=slice(1, None)))
    assert found.value == pytest.approx(rest.value)
    holed[1:, 0] = np.nan
    with pytest.raises(ValueError, match="two seeds without a gap"):
        statistics.slope_over_seeds(holed)


def test_slopes_by_window_show_a_bend():
    bend = powers(noise=0.0) + 1e-3
    local = statistics.slopes_by_window(
        bend, statistics.local_windows(bend, 1e-3, 10.0)
    )
    assert list(local) == [(1e-3, 1e-2), (1e-2, 1e-1), (1e-1, 1.0), (1.0, 10.0)]
    values = [s.value for s in local.values()]
    assert values[0] == pytest.approx(-1.5, abs=1e-3)
    assert np.all(np.diff(values) > 0)
    wide = statistics.slopes_by_window(bend, [(1e-3, 10.0)])
    text = statistics.window_table({"short": local, "long": wide})
    assert len(text.splitlines()) == 6
    with pytest.raises(ValueError, match="two values"):
        statistics.slopes_by_window(bend, [(2e-3, 2e-2)])


def test_bootstrap_is_reproducible_and_needs_seeds():
    values = np.random.default_rng(2).normal(size=(6, 1))
    mean = lambda sample: float(sample.mean())  # noqa: E731
    assert statistics.bootstrap(values, mean, "a") == statistics.bootstrap(
        values, mean, "a"
    )
    with pytest.raises(ValueError, match="number of seeds must be"):
        statistics.bootstrap(values[:1], mean, "a")


@pytest.mark.parametrize("collapse", [0.3, 0.5, 0.7])
def test_collapse_exponent_is_found(collapse):
    found, at_half, null = statistics.collapse_exponent(table(collapse=collapse)["v"])
    assert found.value == pytest.approx(collapse, abs=0.03)
    assert null > 10 * at_half or collapse != 0.5


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.5), (0.8, 0.2)])
def test_both_powers_of_a_collapse_are_found(p, q):
    v = table(collapse=p)["v"]
    v = (v * v["h"] ** -q).rename("v")
    found = statistics.collapse_in_two(v, draws=3)
    assert found.p.value == pytest.approx(p, abs=0.03)
    assert found.q.value == pytest.approx(q, abs=0.03)
    assert found.quality < 1e-3 * found.null  # a coarse grid, straight in between
    assert (found.at_half < 1e-3 * found.null) == (p == 0.5)


def test_a_perfect_collapse_has_quality_zero():
    curves = {50: np.log(ALPHA), 200: np.log(ALPHA)}
    assert statistics.collapse_quality(ALPHA, curves, 0.5) < 1e-28
    assert statistics.collapse_quality(ALPHA, curves, 0.0) > 1e-3


def test_crossing_of_a_power_law():
    v = xr.DataArray(ALPHA**-1.0 * 0.3, dims="alpha_mf", coords={"alpha_mf": ALPHA})
    assert float(statistics.crossing(v)) == pytest.approx(0.3)
    with pytest.raises(ValueError, match="must pass 100000 within the grid"):
        statistics.crossing(v.rename("v"), 1e5)


def test_window_and_bad_values():
    v = table()
    assert statistics.window(v, 1e-2, 1.0)["alpha_mf"].values.tolist() == [
        1e-2, 1e-1, 1.0,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="must hold two values"):
        statistics.window(v, 0.5, 2.0)
    with pytest.raises(ValueError, match="must be positive and finite"):
        statistics.slope_over_seeds((powers() * np.inf).rename("v"))
    with pytest.raises(ValueError, match="two seeds without a gap"):
        statistics.slope_over_seeds((powers() * np.nan).rename("v"))


def test_slope_in_width():
    v = table(power=-1.0, widths=(50, 100, 200))
    scaled = (v["v"] * 0 + v["h"] ** -0.5).rename("v")
    assert statistics.slope_in_width(scaled).value == pytest.approx(-0.5)
    assert float(statistics.relative_spread(scaled, "seed").max()) == 0.0
