r"""Exact Wasserstein distances between particles, and between particles and densities.

    W_2(mu, nu)^2 = min over couplings gamma of  int |theta - theta'|^2 gamma

On the line the optimal coupling is the increasing one, and the distance is the L2
distance of the quantile functions. Equal numbers of equal particles are an assignment
problem; everything else goes to POT.
"""

import random
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from lazyrich.core import check, extras

_MOST_PIVOTS = 1_000_000
"""Pivots that the solver of transport may take."""


@dataclass(frozen=True)
class Quantile:
    """A quantile function on the line, piecewise linear between levels.

    Attributes:
        levels: (k + 1,) from 0 to 1.
        left, right: (k,) values at the two ends of every piece.

    Raises:
        TypeError, ValueError: arrays of another form, or levels that do not rise.
    """

    levels: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def __post_init__(self) -> None:
        for name in ("levels", "left", "right"):
            value = check.instance(name, getattr(self, name), np.ndarray)
            if value.ndim != 1 or value.dtype.kind not in "iuf":
                raise ValueError(
                    f"{name} must be numbers on an axis, got {value!r:.60}"
                )
            if not np.all(np.isfinite(value)):
                raise ValueError(f"{name} must be finite, got {value!r:.60}")
        levels, pieces = self.levels, len(self.left)
        if not pieces or len(self.right) != pieces or len(levels) != pieces + 1:
            raise ValueError(
                "levels must be one more than the values left and right, which are as "
                f"many; got {len(levels)}, {pieces} and {len(self.right)}"
            )
        if np.any(np.diff(levels) < 0) or levels[0] != 0 or abs(levels[-1] - 1) > 1e-9:
            raise ValueError(f"levels must rise from 0 to 1, got {levels!r:.60}")

    @classmethod
    def of_particles(cls, theta: Tensor, mass: Tensor | None = None) -> "Quantile":
        """Of particles (h,) or (h, 1), of equal weight unless ``mass`` (h,) is given."""
        points = _line("theta", theta)
        if mass is not None and len(_line("mass", mass)) != len(points):
            raise ValueError(
                f"mass must be one number for each of {len(points)} particles, "
                f"got shape {tuple(mass.shape)}"
            )
        order = np.argsort(points, kind="stable")
        if mass is None:
            levels = np.linspace(0.0, 1.0, len(points) + 1)
        else:
            levels = _levels(_line("mass", mass)[order])
        return cls(levels, points[order], points[order])

    @classmethod
    def of_cells(cls, edges: Tensor, mass: Tensor) -> "Quantile":
        """Of a density that is constant on cells with these borders (k + 1,)."""
        borders, share = _line("edges", edges), _line("mass", mass)
        if len(borders) != len(share) + 1 or not np.all(np.diff(borders) > 0):
            raise ValueError(
                f"edges must increase and be one more than the cells, got "
                f"{len(borders)} edges for {len(share)} cells"
            )
        full = share > 0
        return cls(_levels(share[full]), borders[:-1][full], borders[1:][full])

    def ends(self, levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values at both ends of the pieces of a finer partition."""
        middle = 0.5 * (levels[1:] + levels[:-1])
        piece = np.searchsorted(self.levels, middle) - 1
        piece = piece.clip(0, len(self.left) - 1)
        base = self.levels[piece]
        width = self.levels[piece + 1] - base
        rise = (self.right - self.left)[piece] / width
        return (
            self.left[piece] + rise * (levels[:-1] - base),
            self.left[piece] + rise * (levels[1:] - base),
        )


def _line(name: str, value: Tensor) -> np.ndarray:
    check.tensor(name, value)
    if value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.ndim != 1 or not len(value):
        raise ValueError(
            f"{name} must be numbers on the line, got shape {tuple(value.shape)}"
        )
    return value.detach().cpu().numpy().astype(np.float64)


def _levels(mass: np.ndarray) -> np.ndarray:
    if np.any(mass < 0) or not mass.sum() > 0:
        raise ValueError("mass must be >= 0 and not zero everywhere")
    total = np.concatenate(([0.0], np.cumsum(mass)))
    return total / total[-1]


def wasserstein_1d(mu: Quantile, nu: Quantile) -> float:
    """W_2 on the line, exact for particles, for densities on cells, and between them.

    Raises:
        TypeError: no ``Quantile``.
    """
    check.instance("mu", mu, Quantile)
    check.instance("nu", nu, Quantile)
    levels = np.union1d(mu.levels, nu.levels)
    (a0, a1), (b0, b1) = mu.ends(levels), nu.ends(levels)
    start, end = a0 - b0, a1 - b1
    # the square of a linear function integrates to (s^2 + s e + e^2) / 3
    pieces = (start**2 + start * end + end**2) / 3.0
    return float(np.sqrt(max(np.diff(levels) @ pieces, 0.0)))


def matching(theta: Tensor, other: Tensor) -> np.ndarray:
    """The permutation k that minimises sum_i |theta_i - other_k(i)|^2.

    Raises:
        ValueError: sets that are not of equal shape (h, D).
    """
    theta = check.constant("theta", theta, ndim=2)
    other = check.constant("other", other, shape=tuple(theta.shape), like=theta)
    return linear_sum_assignment(_costs(theta, other))[1]


def _costs(theta: Tensor, other: Tensor) -> np.ndarray:
    """Squared distances (h, k), float64.

    Raises:
        ValueError: no particles or no coordinates, or distances that overflow.
    """
    for name, points in (("theta", theta), ("other", other)):
        if not points.numel():
            raise ValueError(f"{name} must not be empty, got {tuple(points.shape)}")
    left, right = (v.double().cpu().numpy() for v in (theta, other))
    costs = cdist(left, right, "sqeuclidean")
    if not np.all(np.isfinite(costs)):
        raise ValueError(
            "theta and other must be of moderate size: squared distances leave the range "
            "of float64"
        )
    return costs


def wasserstein(
    theta: Tensor,
    other: Tensor,
    mass: Tensor | None = None,
    other_mass: Tensor | None = None,
) -> float:
    """W_2 between two sets of particles in any dimension.

    Equal numbers of equal particles are matched by an assignment solver, O(h^3): seconds
    for a thousand. Other weights or numbers are exact on the line by quantile functions,
    and need the package POT elsewhere.

    Args:
        theta, other: (h, D) and (k, D).
        mass, other_mass: weights (h,) and (k,), none negative, with sum one; equal by
            default.

    Raises:
        TypeError, ValueError: shapes that do not fit, weights that are no probabilities,
            or so many particles that the solver ends before the optimum.
        ImportError: POT is needed and not installed.
    """
    theta = check.constant("theta", theta, ndim=2)
    other = check.constant("other", other, shape=(None, theta.shape[1]), like=theta)
    if mass is None and other_mass is None and len(theta) == len(other):
        matched = other[matching(theta, other)]
        distance = (theta - matched).square().sum(-1).mean().sqrt()
        return float(check.result("theta and other", distance))
    weight = _weights("mass", mass, theta)
    other_weight = _weights("other_mass", other_mass, other)
    if theta.shape[1] == 1:
        _costs(theta, other)  # refuses what overflows
        line = ((theta, weight), (other, other_weight))
        mu, nu = (Quantile.of_particles(p, torch.from_numpy(w)) for p, w in line)
        return wasserstein_1d(mu, nu)
    costs = _costs(theta, other)
    what = "transport between measures of different weights"
    extras.require("ot", f"{what} (POT)", "transport")
    drawn = random.getstate()
    try:
        import ot
    finally:
        random.setstate(drawn)  # what POT imports draws from it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is in ``told``
        square, told = ot.emd2(
            weight, other_weight, costs, numItermax=_MOST_PIVOTS, log=True
        )
    if told.get("warning") is not None:
        raise ValueError(
            "theta and other must hold fewer particles, or equal numbers of equal ones: "
            f"the solver ended before the optimum ({told['warning']})"
        )
    return float(np.sqrt(max(float(square), 0.0)))


def _weights(name: str, mass: Tensor | None, theta: Tensor) -> np.ndarray:
    if mass is None:
        return np.full(len(theta), 1.0 / max(len(theta), 1))
    given = check.probabilities(name, mass, len(theta), like=theta)
    weights = given.double().cpu().numpy()
    return weights / weights.sum()
