"""Predictions of kernel flow, stopped early: pictures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.deep_relu.axes import by_depth, log_depth
from lazyrich.figures.slider import Slider
from lazyrich.figures.style import COLOURS, MARKERS, new


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
    log_depth(axis)
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
    colours = dict(zip(depths, by_depth(depths), strict=True))
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
        log_depth(digits)
        figure.suptitle(f"$L={depth:,}$".replace(",", r"\,"), x=0.02, ha="left")
        frames.append(figure)
        alts.append(
            f"Depth {depth}: the kernel of orthogonal inputs is "
            f"{float(np.interp(math.pi / 2, angle, profiles[depth])):.2f}, the smallest "
            f"eigenvalue of 400 digits {spectra[depth].min():.2g}, the accuracy on new "
            f"digits {scores['accuracy'][k]:.2f}."
        )
    return Slider(frames, [f"L = {d:,}" for d in depths], "depth", alts, start=start)
