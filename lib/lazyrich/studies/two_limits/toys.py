r"""The toy problems on which mean-field and tangent-kernel limits are measured."""

import math

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import rng
from lazyrich.meanfield import Bump, MeanField, Neuron

F64 = torch.float64


def toy(
    d: int = 3, n: int = 48, alpha: float | Tensor = 1.0, seed: int = 0
) -> MeanField:
    """tanh(1.5 x_1) - tanh(x_2) on n Gaussian inputs in d >= 2 dimensions, for neurons
    a tanh(w . x): bounded, smooth, and out of reach of any single neuron."""
    gen = rng.generator("two limits/inputs", d, n, seed)
    x = torch.randn(n, d, generator=gen, dtype=F64)
    y = torch.tanh(1.5 * x[:, 0]) - torch.tanh(x[:, 1])
    return MeanField(Neuron(d), x, y, alpha=alpha)


LINE_WIDTH = 0.6
"""Width of the bumps on the line."""

_PEAKS = ((-1.3, 0.25), (1.2, 0.25))


def line(alpha: float = 1.0) -> MeanField:
    """Bumps on the line that learn a smoothed picture of two peaks, D = 1.

    The target is what a density with two narrow peaks puts out, so that the density of
    particles has to become just that. The expectation over x in [-4, 4] is a trapezoidal
    sum, exact to rounding for functions that vanish at both ends as these do.
    """
    x = torch.linspace(-4.0, 4.0, 65, dtype=F64).unsqueeze(1)
    y = torch.zeros(len(x), dtype=F64)
    for place, width in _PEAKS:
        square = LINE_WIDTH**2 + width**2
        bump = torch.exp(-((x[:, 0] - place) ** 2) / (2.0 * square))
        y += 0.5 * (LINE_WIDTH / math.sqrt(square)) * bump
    return MeanField(Bump(1, LINE_WIDTH), x, alpha * y, alpha=alpha)


LINE_START = (0.3, 0.6)
"""Mean and standard deviation of the initial density on the line."""


def line_cdf(z: np.ndarray) -> np.ndarray:
    """Distribution function of the initial density on the line."""
    mean, width = LINE_START
    return torch.special.ndtr(torch.from_numpy((z - mean) / width)).numpy()


def line_particles(h: int, seed: int = 0, members: int = 1) -> Tensor:
    """Independent particles of the initial density, (members, h, 1)."""
    mean, width = LINE_START
    draws = [
        torch.randn(h, 1, generator=rng.generator("two limits/line", s), dtype=F64)
        for s in range(seed, seed + members)
    ]
    return mean + width * torch.stack(draws)


def line_quantiles(h: int) -> Tensor:
    """Particles at the quantiles (i + 1/2) / h of the initial density, (h, 1)."""
    mean, width = LINE_START
    levels = (torch.arange(h, dtype=F64) + 0.5) / h
    return (mean + width * torch.special.ndtri(levels)).unsqueeze(1)
