r"""The ReLU tangent kernel at any depth, at the cost of a few hundred layers.

With v_l = 3 pi / theta_l, where theta_l is the angle between two inputs after l layers,
a deep bias-free ReLU network moves v by one layer as v' = v + 1 + 3/(2 v) + ... The
Abel function

    A(v) = v - (3/2) log v + alpha_1/v + alpha_2/v^2 + ...

straightens this: A(v_{l+1}) = A(v_l) + 1, so that A(v_l) = l + C with a constant that
depends on the pair of inputs alone. The tangent kernel y_L = L Theta-bar_L follows

    y_L = v/4 + Q(v) + h v^-3 exp(S(v)),   v = v_{L-1},

Q a series in 1/v with logarithms from (log v)/v^3 on, S one without; h is fixed by the
layer from which one jumps. The coefficients are polynomials in pi^2 over the rationals,
derived in ``theory.relu_recursion`` and tested against that derivation.
"""

import math
from fractions import Fraction

import torch
from torch import Tensor

from lazyrich.core import check
from lazyrich.kernels.relu import relu_ntk_correlation

# Layers taken one by one before the jump. Then v > 260 for every pair, and the first
# terms left out of the series are below 1e-15 of the result.
_LAYERS = 256

_Powers = tuple[str, ...]
"""Coefficients of 1, pi^2, pi^4, ..."""

_ABEL: tuple[_Powers, ...] = (
    ("1", "3/5"),
    ("15/16", "-9/20"),
    ("35/24", "-3/20", "9/175"),
    ("14/5", "-27/160", "-81/1400"),
    ("448/75", "-21/80", "-81/3500", "54/4375"),
    ("120353/8960", "-411/800", "-81/2800", "-27/1750"),
)
"""alpha_1, alpha_2, ..."""

_KERNEL: tuple[tuple[_Powers, _Powers], ...] = (
    (("-1/8",), ("0",)),
    (("-5/16", "-93/40"), ("0",)),
    (("-5/4", "621/80"), ("0",)),
    (("0",), ("-17/8", "-27/20", "324/175")),
    (("623/128", "1011/320", "-351/80"), ("-51/16", "-81/40", "486/175")),
    (
        ("11311/768", "4041/640", "5949/5600", "3537/4000"),
        ("-221/32", "-99/40", "405/56", "-1458/875"),
    ),
    (
        ("1379/32", "17931/1280", "-18891/11200", "2187/56000"),
        ("-561/32", "-1323/160", "47871/2800", "-2187/875"),
    ),
)
"""Q: what multiplies v^-k and v^-k log v, for k = 0, 1, ..."""

_TRANSIENT: tuple[_Powers, ...] = (
    ("3/2",),
    ("17/8", "-9/10"),
    ("9/2",),
    ("717/64", "3/20", "-81/700"),
    ("121/4", "27/40"),
    ("5457/64", "99/40", "9/70", "-27/875"),
)
"""S: what multiplies v^-1, v^-2, ..."""


def _value(powers: _Powers) -> float:
    return math.fsum(
        float(Fraction(c)) * math.pi ** (2 * k) for k, c in enumerate(powers)
    )


_ALPHA = [_value(c) for c in _ABEL]
_PLAIN = [_value(plain) for plain, _ in _KERNEL]
_LOGS = [_value(logs) for _, logs in _KERNEL]
_SHIFT = [_value(c) for c in _TRANSIENT]


def _polynomial(coefficients: list[float], u: Tensor) -> Tensor:
    total = torch.zeros_like(u)
    for c in reversed(coefficients):
        total = total * u + c
    return total


def _abel_tail(u: Tensor) -> Tensor:
    return u * _polynomial(_ALPHA, u)


def _start(one_minus_rho: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """v_{depth-1} and Theta-bar_depth, layer by layer; v is infinite for equal inputs."""
    gap, theta_bar = relu_ntk_correlation(one_minus_rho.to(torch.float64), depth)
    return 1.5 * math.pi / torch.asin(torch.sqrt(gap / 2)), theta_bar


def abel_constant(one_minus_rho: Tensor) -> Tensor:
    r"""The constant C of a pair of inputs in A(v_l) = l + C.

    It says how many layers a pair is ahead: theta_l = 3 pi/(l + (3/2) log l + C + ...),
    and the tangent kernel is 1/4 + (3/8) log L/L + (C/4 - 3/8)/L + ... C is 4.3898 for
    orthogonal inputs, one less for opposite ones, and about 3 pi/theta_0 for close ones.

    Args:
        one_minus_rho: 1 - rho_0, between 0 and 2, of any shape; infinite at 0.

    Raises:
        TypeError, ValueError: as ``relu_ntk_correlation``.

    Accuracy: 1e-12 absolute for C of order one, relative to C where it is large.

    >>> print(kernels.abel_constant(torch.tensor([0.5, 1.0], dtype=torch.float64)))
    tensor([6.4364, 4.3898], dtype=torch.float64)
    """
    one_minus_rho = check.constant("one_minus_rho", one_minus_rho)
    v, _ = _start(one_minus_rho, _LAYERS)
    found = v - 1.5 * torch.log(v) + _abel_tail(1 / v) - (_LAYERS - 1)
    found = torch.where(torch.isinf(v), v, found)
    return found.to(one_minus_rho.dtype)


def relu_ntk_any_depth(one_minus_rho: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    r"""``relu_ntk_correlation`` in a time that does not grow with depth.

    The first layers are taken one by one, all others at once by the Abel function.

    Args:
        one_minus_rho: 1 - rho_0, between 0 and 2, of any shape.
        depth: number of weight layers, up to 10^15.

    Returns:
        ``1 - rho`` of the last pre-activations and the normalised tangent kernel, as
        ``relu_ntk_correlation`` does; computed in float64, in the dtype of the input.

    Raises:
        TypeError, ValueError: as ``relu_ntk_correlation``; a depth above 10^15.

    Accuracy: relative 1e-13 in both, against layers taken one by one to depth 10^6.

    >>> gap = torch.tensor([1.0], dtype=torch.float64)  # orthogonal inputs
    >>> one_minus_rho, y = kernels.relu_ntk_any_depth(gap, depth=10**6)
    >>> print(f"{y.item():.6f}")
    0.250006
    """
    one_minus_rho = check.constant("one_minus_rho", one_minus_rho)
    depth = check.positive_int("depth", depth)
    if depth > 10**15:
        raise ValueError(f"depth must be at most 10^15, got {depth}")
    dtype = one_minus_rho.dtype
    if depth <= _LAYERS:
        gap, theta_bar = relu_ntk_correlation(one_minus_rho.to(torch.float64), depth)
        return gap.to(dtype), theta_bar.to(dtype)
    v, theta_bar = _start(one_minus_rho, _LAYERS)
    equal = torch.isinf(v)
    v = torch.where(equal, 1.0, v)
    layers = float(depth - _LAYERS)
    # How far v moves in so many layers. Newton on the difference, not on v itself, which
    # would lose the small moves of close inputs.
    tail = _abel_tail(1 / v)
    moved = layers + 1.5 * torch.log1p(layers / v)
    for _ in range(4):
        end = v + moved
        off = moved - 1.5 * torch.log1p(moved / v) + _abel_tail(1 / end) - tail - layers
        moved = moved - off / (1 - 1.5 / end)
    end = v + moved
    u, u_end = 1 / v, 1 / end
    at_v = _polynomial(_PLAIN, u) + _polynomial(_LOGS, u) * torch.log(v)
    at_end = _polynomial(_PLAIN, u_end) + _polynomial(_LOGS, u_end) * torch.log(end)
    log_ratio = -torch.log1p(moved / v)
    shift = u_end * _polynomial(_SHIFT, u_end) - u * _polynomial(_SHIFT, u)
    # v'/4 - (v/4) (v/v')^3 e^shift, without the cancellation of close inputs.
    y = -end / 4 * torch.expm1(4 * log_ratio + shift)
    y = y + at_end + (_LAYERS * theta_bar - at_v) * torch.exp(3 * log_ratio + shift)
    gap = 2 * torch.sin(1.5 * math.pi / end).square()
    gap = torch.where(equal, 0.0, gap)
    return gap.to(dtype), torch.where(equal, 1.0, y / depth).to(dtype)
