"""The recursion of the kernel, and nets of finite width: pictures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def one_layer(rho: np.ndarray, kappa_0: np.ndarray, kappa_1: np.ndarray) -> Figure:
    """The two arc-cosine functions, and the cobweb that takes rho_l to one (Fig. 3)."""
    figure, axes = new(1, 2, height=3.5)
    left, right = axes[0]
    left.plot(rho, kappa_1, label=r"$\kappa_1$")
    left.plot(rho, kappa_0, ls="--", label=r"$\kappa_0=\kappa_1'$")
    left.plot(rho, rho, color="0.6", lw=1.0)
    left.set(xlabel=r"$\rho$", ylabel="value")
    left.legend()
    right.plot(rho, kappa_1)
    right.plot(rho, rho, color="0.6", lw=1.0)
    points = [-1.0]
    for _ in range(12):
        points.append(float(np.interp(points[-1], rho, kappa_1)))
    x = np.repeat(points, 2)[:-1]
    y = np.concatenate([[points[0]], np.repeat(points[1:], 2)])
    right.plot(x, y, color=COLOURS[1], lw=1.2)
    right.set(
        xlabel=r"$\rho_{\ell}$", ylabel=r"$\rho_{\ell+1}$", xlim=(-1, 1), ylim=(-1, 1)
    )
    return figure


def width_convergence(
    widths: Sequence[int], samples: Mapping[tuple[int, float], np.ndarray],
    limits: Mapping[tuple[int, float], float],
) -> Figure:  # fmt: skip
    """Empirical kernels over their limits, and their standard deviation, by width."""
    figure, axes = new(1, 2, height=4.2)
    left, right = axes[0]
    for k, (case, sample) in enumerate(samples.items()):
        depth, bias = case
        name = f"$L={depth}$" + (", bias" if bias else "")
        ratio = sample / limits[case]
        error = ratio.std(1, ddof=1) / math.sqrt(sample.shape[1])
        shift = np.array(widths) * 1.05 ** (k - 2.5)
        left.errorbar(shift, ratio.mean(1), 2 * error, color=COLOURS[k], lw=0,
                      elinewidth=1.4, marker=MARKERS[k], label=name)  # fmt: skip
        right.plot(widths, ratio.std(1, ddof=1), color=COLOURS[k], marker=MARKERS[k])
    left.axhline(1.0, color="k", lw=1.0)
    n = np.array(widths, dtype=float)
    right.plot(n, 1.4 / np.sqrt(n), "k--", lw=1.2, label="$n^{-1/2}$")
    right.set_yscale("log")
    left.set_ylabel("mean over limit")
    left.set_ylim(top=1.17)
    right.set_ylabel("relative spread")
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xticks(n, [str(w) for w in widths])
        axis.minorticks_off()
        axis.set_xlabel("width $n$")
    left.legend(fontsize=9, ncols=2)
    right.legend()
    return figure


def fluctuations(found: Mapping[tuple[int, int], np.ndarray]) -> Figure:
    """Relative spread of the diagonal of the tangent kernel against depth over width."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, width in enumerate(sorted({n for n, _ in found})):
        cases = sorted(case for case in found if case[0] == width)
        x = [depth / n for n, depth in cases]
        y = [found[case].std(ddof=1) for case in cases]
        seeds = np.array([len(found[case]) for case in cases])
        axis.errorbar(x, y, np.array(y) / np.sqrt(2 * seeds), color=COLOURS[k],
                      marker=MARKERS[k], label=f"$n={width}$")  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="depth over width $L/n$",
             ylabel=r"relative spread of $\Theta(x,x)$")  # fmt: skip
    axis.legend()
    return figure
