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
    ``f``, ``residual``, ``risk`` and ``potential`` can be differentiated by torch.

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
        for name in ("D", "pullback", "jacobian"):
            if not hasattr(self.unit, name):
                raise TypeError(
                    f"unit must have {name}, as a Unit does, got {check.shown(self.unit)}"
                )
        self._set("x", check.constant("x", self.x))
        if self.x.dtype != torch.float64 or self.x.device.type != "cpu":
            raise ValueError(
                "x must be float64 on the CPU, where flows are integrated; got "
                f"{self.x.dtype} on {self.x.device}"
            )
        self._set("y", check.constant("y", self.y, ndim=(1, 2), like=self.x))
        if self.x.ndim == 0 or not self.x.numel():
            raise ValueError(
                f"x must hold at least one input, got shape {tuple(self.x.shape)}"
            )
        if not self.y.numel() or self.y.shape[-1] != len(self.x):
            raise ValueError(
                f"y must have {len(self.x)} targets like x, got {tuple(self.y.shape)}"
            )
        if self.weights is not None:
            given = check.probabilities(
                "weights", self.weights, len(self.x), like=self.x
            )
            self._set("weights", given)
        if isinstance(self.alpha, Tensor):
            self._set("alpha", check.constant("alpha", self.alpha, ndim=(0, 1)))
        else:
            self._set("alpha", check.real("alpha", self.alpha, above=0.0))
        scales = torch.as_tensor(self.alpha)
        if not scales.numel() or not bool((scales > 0).all()):
            raise ValueError(f"alpha must be positive, got {check.shown(self.alpha)}")
        if self.y.ndim == 2 and scales.numel() not in (1, len(self.y)):
            raise ValueError(
                f"alpha must be one number or one for each of {len(self.y)} members, "
                f"got {scales.numel()}"
            )

    def _set(self, name: str, value: Tensor | float) -> None:
        object.__setattr__(self, name, value)

    def particles(self, theta: Tensor, *, own_members: bool = False) -> Tensor:
        """``theta``, if it is made of particles (..., h, D) of this model.

        Args:
            theta: particles.
            own_members: whether they must have all members of targets and alpha.

        Raises:
            TypeError, ValueError: another form, or other members than y and alpha.
        """
        check.tensor("theta", theta, like=self.y)
        if theta.ndim < 2 or theta.shape[-1] != self.unit.D or not theta.shape[-2]:
            raise ValueError(
                f"theta must be (..., h, {self.unit.D}), h >= 1, "
                f"got shape {tuple(theta.shape)}"
            )
        members = theta.shape[:-2]
        try:
            both = torch.broadcast_shapes(
                members, self.y.shape[:-1], self.scale.shape[:-1]
            )
        except RuntimeError:
            both = None
        if both is None or (own_members and both != members):
            raise ValueError(
                "theta must have the members of y and alpha as leading axes, "
                f"got shape {tuple(theta.shape)}"
            )
        return theta

    def _inputs(self, x: Tensor | None) -> Tensor:
        if x is None:
            return self.x
        shape = (None, *self.x.shape[1:])
        return check.tensor("x", x, shape=shape, like=self.x)

    def _mass(self, theta: Tensor, mass: Tensor | None) -> Tensor | None:
        if mass is None:
            return None
        check.tensor("mass", mass, like=self.y)
        if mass.shape != theta.shape[:-1] or bool((mass < 0).any()):
            raise ValueError(
                f"mass must be >= 0, one number a particle, {tuple(theta.shape[:-1])}; "
                f"got {check.shown(mass)}"
            )
        return mass

    def _check_residual(self, theta: Tensor, residual: Tensor) -> None:
        check.tensor("residual", residual, like=self.y)
        members = theta.shape[:-2]
        fits = residual.ndim >= 1 and residual.shape[-1] == len(self.x)
        try:
            torch.broadcast_shapes(members, residual.shape[:-1])
        except RuntimeError:
            fits = False
        if not fits:
            raise ValueError(
                f"residual must have shape (..., {len(self.x)}) with the members of "
                f"theta, got {tuple(residual.shape)}"
            )

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
        """int sigma_*(x_k; theta) mu(dtheta) from features (..., h, n): (..., n).

        Raises:
            TypeError, ValueError: features or masses of another form.
        """
        check.tensor("features", features, like=self.y, finite=False)
        if features.ndim < 2 or not features.shape[-2]:
            raise ValueError(
                f"features must be (..., h, n), h >= 1, got {tuple(features.shape)}"
            )
        if mass is None:
            return features.mean(-2)
        check.tensor("mass", mass, like=self.y, finite=False)
        if mass.shape != features.shape[:-1]:
            raise ValueError(
                f"mass must have shape {tuple(features.shape[:-1])}, one number a "
                f"particle, got {tuple(mass.shape)}"
            )
        return (mass.unsqueeze(-2) @ features).squeeze(-2)

    def f(
        self, theta: Tensor, mass: Tensor | None = None, x: Tensor | None = None
    ) -> Tensor:
        """Outputs (..., n) on the inputs of the model, or on others ``x``.

        Raises:
            TypeError, ValueError: arguments of the wrong form, naming them.
        """
        self.particles(theta)
        mass = self._mass(theta, mass)
        features, _ = self.unit.pullback(self._inputs(x), theta)
        return check.result("theta", self.scale * self.mean_feature(features, mass))

    def residual(self, theta: Tensor, mass: Tensor | None = None) -> Tensor:
        """u = y - f, shape (..., n)."""
        return self.y - self.f(theta, mass)

    def risk(self, theta: Tensor, mass: Tensor | None = None) -> Tensor:
        """R(mu) = E_x u^2, without a factor 1/2; shape (...)."""
        return check.result("theta", (self.residual(theta, mass) ** 2) @ self.p)

    def potential(self, theta: Tensor, residual: Tensor) -> Tensor:
        """Psi at points ``theta`` for a given residual: shape (..., h).

        The first variation of the risk is 2 alpha Psi.

        Raises:
            TypeError, ValueError: arguments of the wrong form, naming them.
        """
        self.particles(theta)
        self._check_residual(theta, residual)
        features, _ = self.unit.pullback(self.x, theta)
        return -(features @ (self.p * residual).unsqueeze(-1)).squeeze(-1)

    def velocity(self, theta: Tensor, residual: Tensor | None = None) -> Tensor:
        """-grad Psi / alpha at ``theta`` (GFD), shape (..., h, D).

        Args:
            theta: the particles.
            residual: of the measure that drives them; their own by default.

        Raises:
            TypeError, ValueError: arguments of the wrong form, naming them.
        """
        theta = self.particles(theta).detach()
        if residual is not None:
            self._check_residual(theta, residual)
            residual = residual.detach()
        return check.result("theta", self.moved(theta, residual))

    def moved(self, theta: Tensor, residual: Tensor | None = None) -> Tensor:
        """``velocity`` without a look at its arguments, for integrators."""
        given = self.y if residual is None else residual
        shared = given.ndim == 1 and self.scale.ndim == 1
        if theta.ndim == 3 and shared and theta.shape[1] * len(self.x) > _CACHED:
            return torch.stack([self.moved(part, residual) for part in theta])
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

        Raises:
            TypeError, ValueError: arguments of the wrong form, naming them.
        """
        theta = self.particles(theta).detach()
        mass = self._mass(theta, mass)
        points = None if x is None else self._inputs(x)
        return check.result("theta", self.gram(theta, mass, points).detach())

    def gram(
        self, theta: Tensor, mass: Tensor | None = None, x: Tensor | None = None
    ) -> Tensor:
        """``kernel`` without a look at its arguments, for integrators."""
        right = self.unit.jacobian(self.x, theta)
        left = right if x is None else self.unit.jacobian(x, theta)
        share = 1.0 / theta.shape[-2] if mass is None else mass[..., None, None]
        # contract particles and parameters at once: (n, h D) (h D, n)
        weighted, right = (
            part.transpose(-3, -2).flatten(start_dim=-2)
            for part in (left * share, right)
        )
        return weighted @ right.mT
