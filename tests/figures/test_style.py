"""The style of figures: colours stay apart, alphas are ordered by lightness."""

import itertools
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lazyrich import figures
from lazyrich.figures.style import COLOURS, STYLE, new, power_guide

# Linear maps of linear RGB that simulate two forms of colour blindness (Vienot, Brettel
# and Mollon 1999).
DICHROMAT = {
    "protan": np.array(
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]
    ),
    "deutan": np.array(
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
    ),
}


def linear(colour: object) -> np.ndarray:
    values = np.asarray(to_rgb(colour))  # pyright: ignore[reportArgumentType]
    return np.where(
        values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4
    )


def luminance(colour: object) -> float:
    return float(linear(colour) @ [0.2126, 0.7152, 0.0722])


def test_colours_have_contrast_on_white() -> None:
    for colour in COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) > 2.0, colour


@pytest.mark.parametrize("kind", [None, *DICHROMAT])
def test_the_first_colours_stay_apart(kind: str | None) -> None:
    seen = np.array([linear(colour) for colour in COLOURS[:5]])
    if kind:
        seen = seen @ DICHROMAT[kind].T
    seen = np.clip(seen, 0, 1) ** (1 / 2.2)
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - other) > 0.2


def test_alpha_is_ordered_by_lightness_whatever_the_order() -> None:
    alphas = [1e-3, 1e3, 1.0, 0.03]
    light = [luminance(colour) for colour in figures.alpha_colours(alphas)]
    assert np.array_equal(np.argsort(light), np.argsort(alphas))
    assert max(light) < 0.75


def test_equal_ratios_get_equal_steps() -> None:
    fine = figures.alpha_colours(np.logspace(-2, 2, 5).tolist())
    assert fine[2] == pytest.approx(figures.alpha_colours([1e-2, 1.0, 1e2])[1])


@pytest.mark.parametrize("alphas", [[], [0.0, 1.0], [-1.0], [np.nan], [np.inf]])
def test_bad_alphas_are_refused(alphas: list[float]) -> None:
    with pytest.raises(ValueError, match="alphas must be positive and finite"):
        figures.alpha_colours(alphas)


def test_the_colour_bar_spans_the_alphas() -> None:
    figure, axes = figures.new()
    figures.alpha_bar(axes[0, 0], [0.01, 1.0, 100.0])
    bar = figure.axes[-1]
    assert bar.get_ylim() == pytest.approx((0.01, 100.0))
    with pytest.raises(ValueError, match="two different values"):
        figures.alpha_bar(axes[0, 0], [1.0, 1.0])


def test_nothing_outside_changes() -> None:
    before = dict(mpl.rcParams)
    with figures.style():
        assert mpl.rcParams["font.size"] == STYLE["font.size"]
    figures.new(2, 2)
    assert dict(mpl.rcParams) == before


def test_a_figure_shows_itself_without_pyplot() -> None:
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "from lazyrich import figures\n"
        "shell = InteractiveShell.instance()\n"
        "figure, axes = figures.new(height=2)\n"
        "data, _ = shell.display_formatter.format(figure)\n"
        "assert data['image/png'], sorted(data)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_axes_come_as_an_array_in_the_style() -> None:
    figure, axes = figures.new(2, 3, sharex=True)
    assert axes.shape == (2, 3)
    assert not axes[0, 0].spines["top"].get_visible()
    assert figure.get_figwidth() == 7.0
    with pytest.raises(ValueError, match="rows must be a positive integer, got 0"):
        figures.new(0)
    with pytest.raises(ValueError, match="height must be a positive number"):
        figures.new(height=-1.0)


def test_a_guide_is_the_power_law_that_it_names():
    _, axes = new()
    axis = axes[0, 0]
    power_guide(axis, (10, 1000), 3.0, -0.5, "$-1/2$", offset=(1, 2))
    x, y = np.asarray(axis.lines[0].get_data())
    np.testing.assert_allclose(x, [10.0, 1000.0])
    np.testing.assert_allclose(y, [3.0, 0.3])
    (text,) = axis.texts
    assert (text.get_text(), text.get_position()) == ("$-1/2$", (1, 2))
    np.testing.assert_allclose(text.xy, (100.0, 3.0 / 10**0.5))
