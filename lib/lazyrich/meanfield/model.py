r"""Risk, potential and velocity of a measure over particles (mdl2022, Secs. 2 and 3).

    f(x; mu)  = alpha int sigma_*(x; theta) mu(dtheta)
    R(mu)     = E_x (y - f)^2
    Psi(theta; mu) = -E_x[(y - f(x; mu)) sigma_*(x; theta)]

and particles move with the velocity -grad Psi / alpha. E_x is a sum over finitely many
inputs with weights: a training set, or the nodes of a quadrature, which makes it exact
for the population.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.meanfield.units import Unit

_CACHED = 2**13
"""Features a member beyond which members take turns: up to twice as fast as all at once,
with features that have to go through main memory."""


@dataclass(frozen=True, eq=False)
class MeanField:
    """A shallow net seen as a measure over its units, with the data it learns.

    A measure is a tensor of particles ``theta`` (..., h, D), of equal weight unless
    ``mass`` (..., h) says otherwise; leading axes are members, independent nets.

    Args:
        unit: sigma_*.
        x: inputs (n, ...), as the unit takes them; float64 on the CPU like all else
            here.
        y: targets (n,), or (members, n).
        weights: probabilities of the inputs (n,); equal by default.
        alpha: scale of the output, one number or one a member.

    Raises:
        TypeError, ValueError: shapes or dtypes that do not fit, weights that are no
            probabilities, or an alpha that is not positive.
    """

    unit: Unit
    x: Tensor
    y: Tensor
    weights: Tensor | None = None
    alpha: float | Tensor = 1.0

    def __post_init__(self) -> None:
        check.tensor("x", self.x)
        if self.x.dtype != torch.float64 or self.x.device.type != "cpu":
            raise ValueError(
                "x must be float64 on the CPU, where flows are integrated; got "
                f"{self.x.dtype} on {self.x.device}"
            )
        check.tensor("y", self.y, ndim=(1, 2), like=self.x)
        if self.y.shape[-1] != len(self.x):
            raise ValueError(
                f"y must have {len(self.x)} targets like x, got {tuple(self.y.shape)}"
            )
        if self.weights is not None:
            check.tensor("weights", self.weights, shape=(len(self.x),), like=self.x)
            total = float(self.weights.sum())
            if bool((self.weights < 0).any()) or abs(total - 1.0) > 1e-9:
                raise ValueError(
                    f"weights must be >= 0 with sum 1, got sum {total:.9g}"
                )
        if not bool((torch.as_tensor(self.alpha) > 0).all()):
            raise ValueError(f"alpha must be positive, got {self.alpha!r}")

    @cached_property
    def p(self) -> Tensor:
        """Probabilities of the inputs (n,)."""
        if self.weights is None:
            return self.y.new_full((len(self.x),), 1.0 / len(self.x))
        return self.weights

    @cached_property
    def scale(self) -> Tensor:
        """alpha as a tensor with one trailing axis."""
        return torch.as_tensor(self.alpha, dtype=self.y.dtype).unsqueeze(-1)

    def mean_feature(self, features: Tensor, mass: Tensor | None = None) -> Tensor:
        """int sigma_*(x_k; theta) mu(dtheta) from features (..., h, n): (..., n)."""
        if mass is None:
            return features.mean(-2)
        return (mass.unsqueeze(-2) @ features).squeeze(-2)

    def f(
        self, theta: Tensor, mass: Tensor | None = None, x: Tensor | None = None
    ) -> Tensor:
        """Outputs (..., n) on the inputs of the model, or on others ``x``."""
        features, _ = self.unit.pullback(self.x if x is None else x, theta)
        return self.scale * self.mean_feature(features, mass)

    def residual(self, theta: Tensor, mass: Tensor | None = None) -> Tensor:
        """u = y - f, shape (..., n)."""
        return self.y - self.f(theta, mass)

    def risk(self, theta: Tensor, mass: Tensor | None = None) -> Tensor:
        """R(mu) = E_x u^2, without a factor 1/2; shape (...)."""
        return (self.residual(theta, mass) ** 2) @ self.p

    def potential(self, theta: Tensor, residual: Tensor) -> Tensor:
        """Psi at points ``theta`` for a given residual: shape (..., h).

        The first variation of the risk is 2 alpha Psi.
        """
        features, _ = self.unit.pullback(self.x, theta)
        return -(features @ (self.p * residual).unsqueeze(-1)).squeeze(-1)

    def velocity(self, theta: Tensor, residual: Tensor | None = None) -> Tensor:
        """-grad Psi / alpha at ``theta`` (GFD), shape (..., h, D).

        Args:
            theta: the particles.
            residual: of the measure that drives them; their own by default.
        """
        given = self.y if residual is None else residual
        shared = given.ndim == 1 and self.scale.ndim == 1
        if theta.ndim == 3 and shared and theta.shape[1] * len(self.x) > _CACHED:
            return torch.stack([self.velocity(part, residual) for part in theta])
        features, pull = self.unit.pullback(self.x, theta)
        if residual is None:
            residual = self.y - self.scale * self.mean_feature(features)
        return pull(self.p * residual) / self.scale.unsqueeze(-1)

    def kernel(
        self, theta: Tensor, mass: Tensor | None = None, x: Tensor | None = None
    ) -> Tensor:
        """K_mu(x, x_k) = int <grad sigma_*, grad sigma_*'> dmu, mdl2022, Sec. 3.5.

        Args:
            theta, mass: the measure.
            x: points of the rows (m, ...); the inputs of the model by default.

        Returns:
            (..., m, n). A mean over particles: free of alpha, O(1) at every width. On
            another number of threads entries differ by roundings, some 1e-15 of the
            largest in float64.
        """
        right = self.unit.jacobian(self.x, theta)
        left = right if x is None else self.unit.jacobian(x, theta)
        share = 1.0 / theta.shape[-2] if mass is None else mass[..., None, None]
        # contract particles and parameters at once: (n, h D) (h D, n)
        weighted, right = (
            part.transpose(-3, -2).flatten(start_dim=-2)
            for part in (left * share, right)
        )
        return weighted @ right.mT
