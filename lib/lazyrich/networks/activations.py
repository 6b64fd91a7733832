r"""Activation functions with unit second moment, E[sigma(z)^2] = 1 for z ~ N(0, 1).

Every activation is written as ``sigma(z) = outer * phi(inner * z)`` with a bare function
``phi``, because the two constants can then be folded into the matrix products of a
network and cost nothing (see ``fully_connected``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.integrate import quad
from torch import Tensor
from torch.nn import functional

from lazyrich.core import check

# torch replaces softplus(u) by u beyond a threshold: the default of 20 is wrong by
# 2e-9 there, which float64 differences of kernels see. At 40 the error is 4e-18.
_SOFTPLUS_THRESHOLD = 40.0

SOFTPLUS_SHARPNESS = 5.0
"""beta of the softplus of geiger2020, sigma(z) = (a / beta) log(1 + exp(beta z))."""


@dataclass(frozen=True)
class Activation:
    """An element-wise function ``sigma(z) = outer * phi(inner * z)``.

    Attributes:
        name: the word by which networks ask for it.
        inner, outer: the two scales; ``outer`` gives sigma unit second moment.
        phi: the bare function, tensor to tensor.
        phi_slope: its derivative as a function of ``(u, phi(u))``.
        phi_into: ``phi`` written into a given tensor, without derivatives: the form that
            training uses, where fresh memory costs as much as the arithmetic.
        phi_scalar: the same bare function on floats (used by quadrature).
    """

    name: str
    inner: float
    outer: float
    phi: Callable[[Tensor], Tensor]
    phi_slope: Callable[[Tensor, Tensor], Tensor]
    phi_scalar: Callable[[float], float]
    phi_into: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, z: Tensor) -> Tensor:
        """sigma(z), element by element."""
        return self.outer * self.phi(self.inner * z)

    def slope(self, z: Tensor) -> Tensor:
        """d sigma / d z, element by element."""
        u = self.inner * z
        return self.outer * self.inner * self.phi_slope(u, self.phi(u))


def _softplus_scalar(u: float) -> float:
    return max(u, 0.0) + math.log1p(math.exp(-abs(u)))


def _softplus(u: Tensor) -> Tensor:
    return functional.softplus(u, beta=1.0, threshold=_SOFTPLUS_THRESHOLD)


def _softplus_into(u: Tensor, out: Tensor) -> Tensor:
    """log(1 + exp(u)) in cheap passes, to an absolute 2e-16 below the threshold; beyond it
    log(1 + exp(u)) is u to rounding."""
    torch.clamp(u, max=_SOFTPLUS_THRESHOLD, out=out)
    return torch.maximum(out.exp_().add_(1.0).log_(), u, out=out)


def _gelu_scalar(u: float) -> float:
    return 0.5 * u * (1.0 + math.erf(u / math.sqrt(2.0)))


def _gelu_slope(u: Tensor, phi: Tensor) -> Tensor:
    density = torch.exp(-0.5 * u * u) / math.sqrt(2.0 * math.pi)
    return 0.5 * (1.0 + torch.erf(u / math.sqrt(2.0))) + u * density


_INTO = {
    "softplus": _softplus_into,
    "relu": lambda u, out: torch.clamp(u, min=0.0, out=out),
    "tanh": lambda u, out: torch.tanh(u, out=out),
    "erf": lambda u, out: torch.erf(u, out=out),
    "gelu": lambda u, out: out.copy_(functional.gelu(u)),
    "linear": lambda u, out: out.copy_(u),
}

_BARE = {
    "softplus": (_softplus, lambda u, phi: torch.sigmoid(u), _softplus_scalar),
    "relu": (
        torch.relu,
        lambda u, phi: (u > 0).to(u.dtype),
        lambda u: max(u, 0.0),
    ),
    "tanh": (torch.tanh, lambda u, phi: 1.0 - phi * phi, math.tanh),
    "erf": (
        torch.erf,
        lambda u, phi: torch.exp(-u * u) * (2.0 / math.sqrt(math.pi)),
        math.erf,
    ),
    "gelu": (functional.gelu, _gelu_slope, _gelu_scalar),
    "linear": (lambda u: u, lambda u, phi: torch.ones_like(u), lambda u: u),
}

ACTIVATIONS = tuple(_BARE)
"""Names that ``activation`` accepts."""


def activation(name: str, sharpness: float | None = None) -> Activation:
    """The activation called ``name``, scaled to unit second moment.

    Args:
        name: one of ``ACTIVATIONS``.
        sharpness: beta of the softplus, 5 if not given; refused for the others.

    Raises:
        ValueError: unknown name, or a sharpness that is not positive or not applicable.

    Source: geiger2020, Sec. 2; there a = 1.404 for the softplus with beta = 5, which is
    ``outer * sharpness`` here.

    >>> relu = networks.activation("relu")
    >>> print(relu(torch.tensor([-1.0, 2.0])))  # E relu(z)^2 = 1/2, hence sqrt(2)
    tensor([0.0000, 2.8284])
    """
    check.one_of("activation", name, _BARE)
    if sharpness is not None:
        sharpness = check.real("sharpness", sharpness, above=0.0, most=1e100)
    return _scaled(name, sharpness)


@lru_cache
def _scaled(name: str, sharpness: float | None) -> Activation:
    if sharpness is not None and name != "softplus":
        raise ValueError(f"sharpness belongs to 'softplus', not to {name!r}")
    if sharpness is None:
        inner = SOFTPLUS_SHARPNESS if name == "softplus" else 1.0
    else:
        inner = check.real("sharpness", sharpness, above=0.0)
    phi, phi_slope, phi_scalar = _BARE[name]
    second_moment, _ = quad(
        lambda z: (
            phi_scalar(inner * z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        ),
        -39.0,  # exp(-39^2 / 2) underflows: the whole line in float64
        39.0,
        points=[0.0],
        epsabs=0.0,
        epsrel=1e-13,
        limit=400,
    )
    return Activation(
        name,
        inner,
        1.0 / math.sqrt(second_moment),
        phi,
        phi_slope,
        phi_scalar,
        _INTO[name],
    )
