"""How figures look: readable on a phone, by colour-blind eyes, and in print.

Figures keep a light ground of their own also on a dark page: one picture serves both
themes, and the colours of a map mean the same in each.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure

# Okabe and Ito's colours that stay apart for all common forms of colour blindness, and
# that have contrast on white; yellow is left out.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#56B4E9", "#000000", "#CC79A7", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Perceptually uniform, monotone in lightness: rich is dark, lazy is light. Its lightest
# end has too little contrast on white and is cut off.
ALPHA_MAP = "viridis"
_LIGHTEST = 0.88
# Inches; a page is about as wide.
WIDTH = 7.0

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 13,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 13,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.figsize": (WIDTH, 4.2),
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "image.cmap": "viridis",
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "mathtext.fontset": "dejavusans",
    "savefig.dpi": 150,
    "svg.hashsalt": "lazyrich",
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
}


def use() -> None:
    """Make this the style of all figures from now on; for the top of a chapter."""
    mpl.rcParams.update(STYLE)


@contextmanager
def style() -> Iterator[None]:
    """The style within a ``with`` block; afterwards everything is as before."""
    with plt.rc_context(STYLE):
        yield


class PageFigure(Figure):
    """A figure that shows itself, in the style, where it is the value of a cell.

    It needs no pyplot: whether that is active, and with which backend, makes no
    difference to what a chapter shows.
    """

    def _repr_png_(self) -> bytes:
        drawn = io.BytesIO()
        with style():
            self.savefig(drawn, format="png", metadata={"Software": None})
        return drawn.getvalue()


def new(
    rows: int = 1, columns: int = 1, *, height: float | None = None, **options: Any
) -> tuple[PageFigure, np.ndarray]:
    """A figure of page width in the style, and its axes in a ``(rows, columns)`` array.

    Unlike ``pyplot.subplots`` it keeps no reference to the figure, so that a notebook
    shows it once, where it is the value of a cell, and frees it afterwards.

    Args:
        rows: how many axes above one another.
        columns: how many side by side.
        height: inches; proportional to the rows by default.
        options: for ``Figure.subplots``, such as ``sharey=True``.

    Raises:
        ValueError: no rows or columns, or a height that is not positive.
    """
    for name, count in (("rows", rows), ("columns", columns)):
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(f"{name} must be a positive integer, got {count!r}")
    if height is None:
        height = rows * (4.2 if columns == 1 else 3.4)
    if not (height > 0 and math.isfinite(height)):
        raise ValueError(f"height must be a positive number of inches, got {height!r}")
    with style():
        figure = PageFigure(figsize=(WIDTH, height))
        axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, axes


def alpha_colours(alphas: Sequence[float]) -> list[tuple[float, ...]]:
    """One colour for each alpha, by its logarithm: dark is rich, light is lazy.

    Raises:
        ValueError: no alphas, or one that is not positive and finite.
    """
    values = np.asarray(list(alphas), dtype=float)
    if values.size == 0 or not np.all(np.isfinite(values)) or np.any(values <= 0):
        raise ValueError(f"alphas must be positive and finite, got {list(alphas)!r}")
    cmap = mpl.colormaps[ALPHA_MAP]
    low, high = float(values.min()), float(values.max())
    if low == high:
        return [tuple(cmap(_LIGHTEST / 2))] * values.size
    places = LogNorm(low, high)(values) * _LIGHTEST
    return [tuple(cmap(float(place))) for place in places]


def alpha_bar(axes: Axes, alphas: Sequence[float], label: str = r"$\alpha$") -> None:
    """A colour bar beside ``axes`` that explains ``alpha_colours(alphas)``.

    Raises:
        ValueError: fewer than two different alphas, or one that is not positive.
    """
    alpha_colours(alphas)
    low, high = min(alphas), max(alphas)
    if low == high:
        raise ValueError(f"alphas must have two different values, got {list(alphas)!r}")
    full = mpl.colormaps[ALPHA_MAP]
    cut = ListedColormap(full(np.linspace(0, _LIGHTEST, 256)))
    mapped = ScalarMappable(LogNorm(low, high), cut)
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(mapped, ax=axes, label=label)


def power_guide(
    axis: Axes,
    ends: Sequence[float],
    y0: float,
    power: float,
    text: str,
    offset: tuple[float, float] = (7, 5),
) -> None:
    """A dashed power law for the eye on logarithmic axes, with its exponent beside it.

    Args:
        axis: where it is drawn.
        ends: two abscissae > 0 between which it runs.
        y0: its value at the first.
        power: its exponent.
        text: written at the (geometric) middle.
        offset: of the text from there, in points.
    """
    x = np.array([ends[0], ends[1]], dtype=float)
    axis.plot(x, y0 * (x / x[0]) ** power, "k--", lw=1.2)
    middle = np.sqrt(x[0] * x[1])
    axis.annotate(
        text,
        (middle, y0 * (middle / x[0]) ** power),
        xytext=offset,
        textcoords="offset points",
        fontsize=11,
    )
