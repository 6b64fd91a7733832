"""What the final kernel predicts: pictures."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lazyrich.figures.style import COLOURS, MARKERS, new


def final_kernel_residuals(
    epsilons: Sequence[float],
    toy: np.ndarray,
    sigmas: Sequence[float],
    final: np.ndarray,
    initial: np.ndarray,
) -> Figure:
    """Distance from kernel regression: left of the two-phase model, right of ReLU nets.

    Args:
        epsilons, toy: scales and errors (draws, epsilons) of the model.
        sigmas, final, initial: scales and residuals (sigmas, seeds) of the nets.
    """
    figure, axes = new(1, 2, height=3.7)
    left, right = axes[0]
    for row in toy:
        left.loglog(epsilons, row, color=COLOURS[3], alpha=0.6, lw=1)
    middle = np.exp(np.log(toy).mean(0))
    left.loglog(epsilons, middle, color=COLOURS[0], marker="o", label="mean")
    guide = middle[0] * np.array(epsilons) / epsilons[0]
    left.loglog(epsilons, guide, "k--", lw=1, label=r"$\propto\epsilon$")
    left.set_xlabel(r"scale $\epsilon$ while turning")
    left.set_ylabel("|trained − final kernel|")
    left.set_title("two-phase model")
    left.legend()
    names = (("initial kernel", initial), ("final kernel", final))
    for k, (name, values) in enumerate(names):
        style = {"color": COLOURS[1 - k], "marker": MARKERS[k]}
        right.loglog(sigmas, values.mean(1), label=name, **style)
    right.set_xlabel(r"initial scale $\sigma$")
    right.set_ylabel("residual / |f|")
    right.set_title("ReLU nets, images")
    right.legend()
    return figure
