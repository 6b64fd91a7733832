"""Figures of the deep ReLU tangent kernel: numbers in, pictures out."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lazyrich.figures.slider import Slider
from lazyrich.figures.style import COLOURS, MARKERS, new


def _by_depth(depths: Sequence[int]) -> list[tuple[float, ...]]:
    """One colour a depth: dark is shallow."""
    places = np.linspace(0, 0.85, len(depths))
    return [tuple(colormaps["viridis"](float(p))) for p in places]


def _log_depth(axis: Axes, label: str = "depth $L$") -> None:
    axis.set_xscale("log")
    axis.set_xlabel(label)


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


def profiles(
    angle: np.ndarray,
    kernels: Mapping[int, np.ndarray],
    crossover: np.ndarray | None = None,
) -> Figure:
    """Normalised kernel against the angle between inputs, one curve a depth (Fig. 2).

    Args:
        angle: in radians.
        kernels: values by depth.
        crossover: F(z) by depth index, shape (len(kernels), len(angle)), drawn dotted.
    """
    figure, axes = new(1, 1, height=4.0)
    axis = axes[0, 0]
    colours = _by_depth(list(kernels))
    for k, (depth, values) in enumerate(kernels.items()):
        axis.plot(angle, values, color=colours[k], label=f"$L={depth}$")
        if crossover is not None and depth >= 30:
            axis.plot(angle, crossover[k], color="k", ls=":", lw=1.4)
    axis.axhline(0.25, color="0.5", lw=1.0, ls="--")
    axis.set(xlabel="angle between the inputs", ylabel=r"$\bar\Theta^{(L)}$")
    axis.set_xticks([0, math.pi / 2, math.pi], ["0", r"$\pi/2$", r"$\pi$"])
    axis.legend(ncols=2, fontsize=11)
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


def arithmetic(depths: Sequence[int], errors: Mapping[str, np.ndarray]) -> Figure:
    """Relative errors of 1 - rho and of the kernel against depth, by formulation."""
    figure, axes = new(1, 2, height=3.6, sharey=True)
    for column, title in enumerate((r"$1-\rho_{L-1}$", r"$\bar\Theta^{(L)}$")):
        axis = axes[0, column]
        for k, (name, rows) in enumerate(errors.items()):
            shown = np.maximum(rows[:, column], 1e-17)
            axis.plot(depths, shown, color=COLOURS[k], marker=MARKERS[k], label=name)
        axis.set_yscale("log")
        axis.set_title(title)
        _log_depth(axis)
    axes[0, 0].set_ylabel("relative error")
    axes[0, 1].legend(fontsize=9, loc="upper left")
    axes[0, 1].set_ylim(top=1e6)
    return figure


def entries(
    depths: Sequence[int], curves: Mapping[str, np.ndarray], weight_limit: float
) -> Figure:
    """Kernel entries and prediction weights against depth (Fig. 4)."""
    figure, axes = new(1, 3, height=3.2)
    titles = {
        "train": r"$\bar\Theta(x_i,x_j)$", "cross": r"$\bar\Theta(x,x_i)$",
        "weights": "weights",
    }  # fmt: skip
    for axis, (name, title) in zip(axes[0], titles.items(), strict=True):
        axis.plot(depths, curves[name][:, :60], color=COLOURS[0], lw=0.7, alpha=0.6)
        limit = weight_limit if name == "weights" else 0.25
        axis.axhline(limit, color="k", ls="--", lw=1.2)
        axis.set_title(title)
        _log_depth(axis)
    return figure


def sphere_depths(
    sizes: Sequence[int], inverse: Mapping[int, np.ndarray],
    angles: Mapping[int, Sequence[float]], wide: Sequence[int],
) -> Figure:  # fmt: skip
    """3 pi/theta_min against the number of points: simulated medians of 1/theta_min,
    medians of theta_min in theory at ``wide`` sizes, and powers."""
    figure, axes = new(1, 1, height=3.8)
    axis = axes[0, 0]
    unit = 3 * math.pi
    n = np.array(wide, dtype=float)
    for k, d in enumerate(inverse):
        theory = unit / np.array(angles[d])
        axis.plot(sizes, unit * inverse[d], ls="none", marker=MARKERS[k], color=COLOURS[k],
                  label=f"$d={d}$")  # fmt: skip
        axis.plot(n, theory, color=COLOURS[k], lw=1.4)
        power = theory[-1] * (n / n[-1]) ** (2 / (d - 1))
        axis.plot(n, power, color="k", ls=":", lw=1.2)
    axis.set(
        xscale="log", yscale="log", xlabel="points $N$", ylabel=r"$3\pi/\theta_{\min}$"
    )
    axis.legend()
    return figure


def row_norms(
    depths: Sequence[int], times: Sequence[float], norms: np.ndarray, limit: float
) -> Figure:
    """Norm of the prediction weights against depth, by stopping time (Fig. 6)."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, t in enumerate(times):
        name = "never stopped" if math.isinf(t) else f"$t={t:g}$"
        axis.plot(depths, norms[:, k], color=COLOURS[k], marker=MARKERS[k], label=name)
    axis.axhline(limit, color="k", ls="--", lw=1.2)
    _log_depth(axis)
    axis.set_ylabel("largest norm of weights")
    axis.legend()
    return figure


def neighbour(
    z: np.ndarray, law: np.ndarray, found: Mapping[float, tuple[np.ndarray, np.ndarray]]
) -> Figure:
    """Weight of the nearest training point against L eta/(3 pi), by eta."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    axis.plot(z, law, color="k", lw=1.4, label="$w(z)$")
    for k, (eta, (at, weight)) in enumerate(found.items()):
        axis.plot(at, weight, ls="none", marker=MARKERS[k], color=COLOURS[k],
                  label=rf"$\eta={eta:g}$")  # fmt: skip
    axis.set(xscale="log", xlabel=r"$z=L\eta/(3\pi)$", ylabel="weight of the neighbour")
    axis.legend()
    return figure


def explorer(
    depths: Sequence[int], angle: np.ndarray, profiles: Mapping[int, np.ndarray],
    spectra: Mapping[int, np.ndarray], toy: Mapping[str, np.ndarray],
    predictions: Mapping[int, np.ndarray], scores: Mapping[str, np.ndarray],
    start: int = 0,
) -> Slider:  # fmt: skip
    """A slider over depth: profile, spectrum, a predictor on the circle, and digits.

    Args:
        depths: one frame each.
        angle, profiles: kernel against the angle between inputs.
        spectra: eigenvalues of the kernel matrix of digits, falling.
        toy: ``angle`` and ``y`` of training points, ``grid`` of queries.
        predictions: of the toy on the grid.
        scores: ``accuracy`` on digits by depth, and the frequency ``majority``.
    """
    colours = dict(zip(depths, _by_depth(depths), strict=True))
    frames, alts = [], []
    for k, depth in enumerate(depths):
        figure, axes = new(2, 2, height=5.8)
        profile, spectrum, circle, digits = axes.ravel()
        for other in depths:
            profile.plot(angle, profiles[other], color="0.86", lw=1.0)
            spectrum.plot(np.arange(1, len(spectra[other]) + 1), spectra[other],
                          color="0.86", lw=1.0)  # fmt: skip
        profile.plot(angle, profiles[depth], color=colours[depth], lw=2.4)
        profile.axhline(0.25, color="k", ls="--", lw=1.0)
        profile.set(title="kernel", xlabel="angle", ylim=(-0.12, 1.02))
        profile.set_xticks([0, math.pi / 2, math.pi], ["0", r"$\pi/2$", r"$\pi$"])
        count = np.arange(1, len(spectra[depth]) + 1)
        spectrum.plot(count, spectra[depth], color=colours[depth], lw=2.4)
        spectrum.axhline(0.75, color="k", ls="--", lw=1.0)
        spectrum.set(title="eigenvalues, 400 digits", xscale="log", yscale="log",
                     xlabel="rank", ylim=(1e-3, 5e2))  # fmt: skip
        circle.plot(toy["grid"], predictions[depth], color=colours[depth], lw=2.0)
        circle.plot(toy["angle"], toy["y"], "k.", ms=8)
        circle.set(title="predictor on a circle", xlabel="angle", ylim=(-1.5, 1.7))
        circle.set_xticks([0, math.pi, 2 * math.pi], ["0", r"$\pi$", r"$2\pi$"])
        digits.plot(depths, scores["accuracy"], color="0.7", marker="o", ms=4)
        digits.plot(
            [depth], scores["accuracy"][k : k + 1], "o", ms=10, color=colours[depth]
        )
        digits.axhline(float(scores["majority"]), color="k", ls="--", lw=1.0)
        digits.set(title="accuracy on digits", ylim=(0, 1.02))
        _log_depth(digits)
        figure.suptitle(f"$L={depth:,}$".replace(",", r"\,"), x=0.02, ha="left")
        frames.append(figure)
        alts.append(
            f"Depth {depth}: the kernel of orthogonal inputs is "
            f"{float(np.interp(math.pi / 2, angle, profiles[depth])):.2f}, the smallest "
            f"eigenvalue of 400 digits {spectra[depth].min():.2g}, the accuracy on new "
            f"digits {scores['accuracy'][k]:.2f}."
        )
    return Slider(frames, [f"L = {d:,}" for d in depths], "depth", alts, start=start)


def smallest_eigenvalues(
    sizes: Sequence[int], depths: Sequence[int], table: np.ndarray
) -> Figure:
    """Smallest eigenvalue against depth, one curve a size (Fig. 7)."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, n in enumerate(sizes):
        axis.plot(
            depths, table[k], color=COLOURS[k], marker=MARKERS[k], label=f"$N={n}$"
        )
    axis.axhline(0.75, color="k", ls="--", lw=1.0)
    axis.set(yscale="log", ylabel=r"$\lambda_{\min}$")
    _log_depth(axis)
    axis.set_xticks(list(depths), [str(d) for d in depths])
    axis.minorticks_off()
    axis.legend(fontsize=10, ncols=2)
    return figure


def _curves_of_window(
    axis: Axes, depths: np.ndarray, stable: np.ndarray, expressive: np.ndarray
) -> None:
    axis.plot(depths, stable, color=COLOURS[0], label=r"stability $1-F(L\delta/3\pi)$")
    axis.plot(depths, expressive, color=COLOURS[1],
              label=r"nearest point's weight $w(L\eta/3\pi)$")  # fmt: skip


def depth_window(
    depths: np.ndarray, stable: np.ndarray, expressive: np.ndarray,
    window: tuple[float, float],
    eigenvalues: tuple[Sequence[int], np.ndarray],
    accuracy: tuple[Sequence[int], np.ndarray],
) -> Figure:  # fmt: skip
    """The Goldilocks chart of a data set: both laws of the crossover, the window, and
    what was measured."""
    figure, axes = new(1, 1, height=4.2)
    axis = axes[0, 0]
    if window[0] <= window[1]:
        axis.axvspan(*window, color="0.9", lw=0)
    _curves_of_window(axis, depths, stable, expressive)
    axis.plot(*eigenvalues, ls="none", marker="o", color=COLOURS[0],
              label=r"measured $\lambda_{\min}$")  # fmt: skip
    axis.plot(*accuracy, marker="^", color=COLOURS[2], lw=1.0, label="accuracy")
    _log_depth(axis)
    axis.set_ylim(0, 1.02)
    axis.legend(fontsize=10, loc="center right", bbox_to_anchor=(1.0, 0.4))
    return figure


def feature_movement(
    ratios: Mapping[int, tuple[np.ndarray, np.ndarray]],
) -> Figure:
    """Measured over predicted squared movement by point: with the equal-width term
    (filled) and without (open), by width."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, (n, (full, without)) in enumerate(ratios.items()):
        shift = np.arange(len(full)) + 0.15 * (k - 1)
        axis.plot(shift, full, ls="none", marker=MARKERS[k], color=COLOURS[k],
                  label=f"$n={n}$")  # fmt: skip
        axis.plot(shift, without, ls="none", marker=MARKERS[k], color=COLOURS[k],
                  mfc="white")  # fmt: skip
    axis.axhline(1.0, color="k", lw=1.0)
    count = len(next(iter(ratios.values()))[0])
    names = [f"$x_{j}$" for j in range(1, count)] + ["query"]
    axis.set_xticks(range(count), names)
    axis.set_ylabel("measured over predicted")
    axis.legend()
    return figure


def bias_curves(curves: Mapping[float, np.ndarray]) -> Figure:
    """Normalised kernel of orthogonal inputs against depth, by bias."""
    figure, axes = new(1, 1, height=3.6)
    axis = axes[0, 0]
    for k, (beta, values) in enumerate(curves.items()):
        depth = np.arange(1, len(values) + 1)
        axis.plot(depth, values, color=COLOURS[k], label=rf"$\beta={beta:g}$")
    axis.axhline(0.25, color="k", ls="--", lw=1.0)
    axis.set(xlabel="depth", ylabel=r"$\bar\Theta$")
    axis.legend()
    return figure
