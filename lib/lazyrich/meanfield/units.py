r"""Units sigma_*(x; theta): what one particle contributes to the output of a shallow net.

The mean-field equations know a net through its units alone. A unit maps inputs (n, ...)
and particles (..., h, D) to features (..., h, n), and knows its gradient in theta in two
forms: contracted with a vector over the inputs, which is what a flow needs, and in full,
which is what a kernel needs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy.special import betainc, betaln
from torch import Tensor

from lazyrich.core import check

Pull = Callable[[Tensor], Tensor]


class Unit(Protocol):
    """What the equations ask of a unit; D is the number of parameters of a particle."""

    @property
    def D(self) -> int:
        """Parameters of one particle."""
        ...

    def pullback(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Pull]:
        """Features (..., h, n), and g (..., n) -> sum_k g_k grad sigma_*(x_k; theta_i),
        of the shape (..., h, D) of ``theta``."""
        ...

    def jacobian(self, x: Tensor, theta: Tensor) -> Tensor:
        """grad_theta sigma_*(x_k; theta_i), shape (..., h, n, D)."""
        ...


def _check_points(x: Tensor, theta: Tensor, columns: int, D: int) -> None:
    """Refuse inputs other than (n, columns) and particles other than (..., h, D).

    Raises:
        TypeError, ValueError: naming ``x`` or ``theta``.
    """
    check.tensor("x", x, shape=(None, columns), finite=False)
    check.tensor("theta", theta, like=x, finite=False)
    _check_particles(theta, D)
    if not len(x):
        raise ValueError(f"x must hold at least one input, got shape {tuple(x.shape)}")


def _check_particles(theta: Tensor, D: int) -> None:
    if theta.ndim < 2 or theta.shape[-1] != D or not theta.shape[-2]:
        raise ValueError(
            f"theta must be particles (..., h, {D}), h >= 1, got {tuple(theta.shape)}"
        )


def _tanh(u: Tensor) -> Tensor:
    return torch.tanh(u)


def _tanh_slope(_u: Tensor, z: Tensor) -> Tensor:
    return 1.0 - z * z


@dataclass(frozen=True)
class Neuron:
    """a sigma(w . x), the unit of a shallow net; theta = (a, w) and D = d + 1.

    Without a read-out it is sigma(w . x), theta = w and D = d.

    Args:
        d: input dimension.
        phi: the activation, element by element.
        slope: its derivative as a function of (u, phi(u)); the pair ``phi`` and
            ``phi_slope`` of ``networks.activation`` fits.
        readout: whether a is there.
    """

    d: int
    phi: Callable[[Tensor], Tensor] = _tanh
    slope: Callable[[Tensor, Tensor], Tensor] = _tanh_slope
    readout: bool = True

    def __post_init__(self) -> None:
        check.size("d", self.d)
        check.function("phi", self.phi)
        check.function("slope", self.slope)
        check.flag("readout", self.readout)

    @property
    def D(self) -> int:
        """Parameters of one particle, d + 1 with a read-out."""
        return self.d + self.readout

    def pullback(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Pull]:
        """Features and the contracted gradient; see ``Unit``."""
        _check_points(x, theta, self.d, self.D)
        a, w = theta[..., : self.readout], theta[..., self.readout :]
        u = w @ x.mT
        z = self.phi(u)

        def pull(g: Tensor) -> Tensor:
            column = g.unsqueeze(-1)
            by_w = self.slope(u, z) @ (column * x)
            if not self.readout:
                return by_w
            return torch.cat((z @ column, a * by_w), dim=-1)

        return (a * z if self.readout else z), pull

    def jacobian(self, x: Tensor, theta: Tensor) -> Tensor:
        """The gradient in full; see ``Unit``."""
        _check_points(x, theta, self.d, self.D)
        a, w = theta[..., : self.readout], theta[..., self.readout :]
        u = w @ x.mT
        z = self.phi(u)
        by_w = self.slope(u, z).unsqueeze(-1) * x
        if not self.readout:
            return by_w
        return torch.cat((z.unsqueeze(-1), a.unsqueeze(-1) * by_w), dim=-1)


@dataclass(frozen=True)
class Bump:
    """exp(-|x - theta|^2 / (2 width^2)): a unit that lives where it looks, D = d.

    With these units f is a smoothed picture of the particle density itself, in as many
    dimensions as the inputs have.
    """

    d: int = 1
    width: float = 0.5

    def __post_init__(self) -> None:
        check.size("d", self.d)
        check.real("width", self.width, least=1e-100, most=1e100)

    @property
    def D(self) -> int:
        """Parameters of one particle, d."""
        return self.d

    def _bump(self, x: Tensor, theta: Tensor) -> Tensor:
        _check_points(x, theta, self.d, self.D)
        square = (
            (x * x).sum(-1) - 2.0 * theta @ x.mT + (theta * theta).sum(-1, keepdim=True)
        )
        return torch.exp(square / (-2.0 * self.width**2))

    def pullback(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Pull]:
        """Features and the contracted gradient; see ``Unit``."""
        z = self._bump(x, theta)

        def pull(g: Tensor) -> Tensor:
            column = g.unsqueeze(-1)
            return (z @ (column * x) - theta * (z @ column)) / self.width**2

        return z, pull

    def jacobian(self, x: Tensor, theta: Tensor) -> Tensor:
        """The gradient in full; see ``Unit``."""
        bump = self._bump(x, theta)
        away = x - theta.unsqueeze(-2)
        return bump.unsqueeze(-1) * away / self.width**2


@dataclass(frozen=True)
class AnyUnit:
    """A unit from any function (x, theta) -> features, differentiated by torch.

    Slower than a unit with its own derivatives; for trying out new ones.

    Args:
        function: (n, ...) inputs and (h, D) particles to (h, n) features, particle by
            particle.
        D: parameters of one particle.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    D: int

    def __post_init__(self) -> None:
        check.function("function", self.function)
        check.size("D", self.D)

    def _check(self, x: Tensor, theta: Tensor) -> None:
        check.tensor("x", x, finite=False)
        check.tensor("theta", theta, like=x, finite=False)
        _check_particles(theta, self.D)
        if x.ndim < 1 or not len(x):
            raise ValueError(f"x must hold inputs (n, ...), got {tuple(x.shape)}")

    def pullback(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Pull]:
        """Features and the contracted gradient; see ``Unit``."""
        self._check(x, theta)
        flat = theta.reshape(-1, self.D)
        features, vjp, *_ = torch.func.vjp(lambda p: self.function(x, p), flat)
        if features.shape != (len(flat), len(x)):
            raise ValueError(
                f"function must give features ({len(flat)}, {len(x)}) here, "
                f"got {tuple(features.shape)}"
            )
        shape = theta.shape[:-1]

        def pull(g: Tensor) -> Tensor:
            rows = g.unsqueeze(-2).expand(*shape, len(x)).reshape(len(flat), len(x))
            return vjp(rows)[0].reshape(theta.shape)

        return features.reshape(*shape, len(x)), pull

    def jacobian(self, x: Tensor, theta: Tensor) -> Tensor:
        """The gradient in full; see ``Unit``."""
        self._check(x, theta)
        one = torch.func.jacrev(lambda p: self.function(x, p.unsqueeze(0)).squeeze(0))
        flat = theta.reshape(-1, self.D)
        return torch.func.vmap(one)(flat).reshape(*theta.shape[:-1], len(x), self.D)


@dataclass(frozen=True)
class RadialRamp:
    r"""A piecewise linear unit sigma(<w, x>), averaged over all directions of w: D = 1.

    The example of Mei, Montanari and Nguyen (2018) with isotropic classes: the law of w
    stays radially symmetric, so that the radius r = |w| is all that moves, in any
    dimension d. With omega the first coordinate of a uniform point of the unit sphere,

        sigma_bar(s; r) = E sigma(s r omega),       s = |x|,

    and sigma rises from ``low`` to ``high`` between ``start`` and ``end``. Both the
    average and its slope in r are incomplete beta functions.

    Inputs are the norms |x|, of shape (n, 1).
    """

    d: int
    low: float = -2.5
    high: float = 7.5
    start: float = 0.5
    end: float = 1.5

    def __post_init__(self) -> None:
        check.size("d", self.d, least=2)
        check.real("low", self.low)
        check.real("high", self.high)
        check.real("start", self.start, least=0.0)
        check.real("end", self.end, above=self.start)

    @property
    def D(self) -> int:
        """Parameters of one particle: its radius."""
        return 1

    def __call__(self, z: Tensor) -> Tensor:
        """sigma itself, element by element."""
        check.tensor("z", z, finite=False)
        rise = (self.high - self.low) / (self.end - self.start)
        return self.low + rise * (z.clamp(self.start, self.end) - self.start)

    def slope(self, z: Tensor, _value: Tensor | None = None) -> Tensor:
        """d sigma / dz, element by element."""
        check.tensor("z", z, finite=False)
        rise = (self.high - self.low) / (self.end - self.start)
        return rise * ((z > self.start) & (z < self.end)).to(z.dtype)

    def _hinge(self, scale: np.ndarray, kink: float) -> tuple[np.ndarray, np.ndarray]:
        """E max(scale omega - kink, 0) and its derivative in ``scale``, for kink >= 0."""
        half = 0.5 * (self.d - 1)
        with np.errstate(divide="ignore"):
            cut = np.where(scale > kink, kink / np.maximum(scale, 1e-300), 1.0)
        cut = np.minimum(cut, 1.0)
        # omega has the density (1 - omega^2)^(half - 1) / B(1/2, half)
        norm = math.exp(-betaln(0.5, half))
        mean = norm * (1.0 - cut**2) ** half / (2.0 * half)
        tail = 0.5 * betainc(half, 0.5, 1.0 - cut**2)
        return scale * mean - kink * tail, mean

    def _average(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        _check_points(x, theta, 1, self.D)
        norms = x[:, 0].detach().cpu().numpy()
        scale = np.abs(theta.detach().cpu().numpy()) * norms
        rise = (self.high - self.low) / (self.end - self.start)
        lower, lower_slope = self._hinge(scale, self.start)
        upper, upper_slope = self._hinge(scale, self.end)
        value = self.low + rise * (lower - upper)
        slope = rise * (lower_slope - upper_slope) * norms
        slope = slope * np.sign(theta.detach().cpu().numpy())
        return torch.from_numpy(value).to(theta), torch.from_numpy(slope).to(theta)

    def pullback(self, x: Tensor, theta: Tensor) -> tuple[Tensor, Pull]:
        """Features and the contracted gradient; see ``Unit``."""
        value, slope = self._average(x, theta)
        return value, lambda g: slope @ g.unsqueeze(-1)

    def jacobian(self, x: Tensor, theta: Tensor) -> Tensor:
        """The gradient in full; see ``Unit``."""
        return self._average(x, theta)[1].unsqueeze(-1)
