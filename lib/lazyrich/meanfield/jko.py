r"""Minimising movements: one step of a gradient flow in Wasserstein space as a minimum.

    mu_(t+tau) = argmin_mu  R(mu) + W_2(mu, mu_t)^2 / (2 xi tau)

(mdl2022, Sec. 3.4, after Jordan, Kinderlehrer and Otto). The first variation of R is
2 alpha Psi, so that the steps follow DD exactly if xi = 1 / (2 alpha^2).
"""

import math

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor

from lazyrich.core import check
from lazyrich.meanfield.model import MeanField

_LEAST = 1e-50
"""Smallest tau and xi; their inverse is the largest."""


def jko_step(
    model: MeanField, theta: Tensor, tau: float, xi: float | None = None
) -> Tensor:
    """One minimising movement over the positions of the particles.

    Each particle is coupled with itself. For small ``tau`` that coupling is the optimal
    one (``transport.matching`` verifies it), on the line as long as the order is kept.
    With the square loss the problem is a nonlinear least-squares problem.

    Args:
        model: units, data and alpha (one number).
        theta: particles (h, D).
        tau: length of the step in time.
        xi: of the formula; 1 / (2 alpha^2) by default, for which steps follow DD.

    Raises:
        TypeError, ValueError: particles of the wrong form, tau or xi not positive.
        RuntimeError: the minimiser did not converge.
    """
    check.instance("model", model, MeanField)
    check.tensor("theta", theta, shape=(None, model.unit.D), like=model.y)
    theta = model.particles(theta).detach()
    if model.scale.numel() > 1 or model.y.ndim > 1:
        raise ValueError(
            "model must have one alpha and targets (n,) for minimising movements"
        )
    alpha = float(model.alpha)
    tau = check.real("tau", tau, least=_LEAST, most=1 / _LEAST)
    if xi is not None:
        xi = check.real("xi", xi, least=_LEAST, most=1 / _LEAST)
    strength = 1.0 / (2.0 * alpha**2) if xi is None else xi
    h = len(theta)
    check.result("theta", model.residual(theta))
    pull_back = 1.0 / math.sqrt(2.0 * strength * tau * h)
    start = theta.reshape(-1).numpy()
    root = model.p.sqrt()
    anchor = pull_back * np.eye(start.size)

    def residuals(flat: np.ndarray) -> np.ndarray:
        u = model.residual(torch.from_numpy(flat).reshape(theta.shape))
        return np.concatenate(((root * u).numpy(), pull_back * (flat - start)))

    def jacobian(flat: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(flat).reshape(theta.shape)
        by_particle = model.unit.jacobian(model.x, points)
        rows = by_particle.transpose(0, 1).flatten(start_dim=1)
        top = (-alpha / h) * root[:, None] * rows
        return np.concatenate((top.numpy(), anchor))

    found = least_squares(
        residuals,
        start,
        jacobian,  # type: ignore[arg-type]
        method="lm",
        xtol=1e-12,
        ftol=1e-12,
        gtol=1e-12,
    )
    if found.status <= 0:
        raise RuntimeError(
            f"the minimising movement over tau = {tau:g} failed: {found.message}"
        )
    return torch.from_numpy(found.x).reshape(theta.shape)


def jko_flow(
    model: MeanField,
    theta: Tensor,
    tau: float,
    steps: int,
    xi: float | None = None,
) -> Tensor:
    """A sequence of minimising movements: (steps + 1, h, D), the start first.

    Arguments are those of ``jko_step``, and ``steps`` a number of movements.

    Raises:
        TypeError, ValueError, RuntimeError: as ``jko_step``.
    """
    check.size("steps", steps)
    path = [check.constant("theta", theta)]
    for _ in range(steps):
        path.append(jko_step(model, path[-1], tau, xi))
    return torch.stack(path)
