r"""Deep linear networks that start small (atanasov2022, Sec. 4, Apps. C and D).

``depth`` L counts layers of weights. Balanced rank-one layers W^l = (eta_l / eta_L)^(1/2)
u r_(l+1) r_l^T with learning rates eta_l; c is the function along the teacher, c = u^L at
equal rates. Whitened data, teacher y = s beta . x, loss 1/2 (s - c)^2.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import sympy as sp
from scipy.integrate import quad, solve_ivp


def _ones(depth: int, rates: Sequence[Any] | None) -> list[Any]:
    found = [1.0] * depth if rates is None else list(rates)
    if len(found) != depth:
        raise ValueError(f"rates must hold {depth} numbers, got {len(found)}")
    return found


# ---------------------------------------------------------------- the kernel


def kernel_coefficients(rates: Sequence[Any]) -> tuple[Any, Any]:
    """(A, B) of K = u^(2L-2) x^T [A r_1 r_1^T + B I] x' (Eqs. 10, 36): A sums over layers
    l >= 2 the product of eta_l' / eta_L over l' != l, B is that product for l = 1."""
    top = rates[-1]
    shares = [
        math.prod(other / top for k, other in enumerate(rates) if k != layer)
        for layer in range(len(rates))
    ]
    return sum(shares[1:]), shares[0]


def final_power() -> tuple[Any, Any]:
    """The power of s in the final kernel's scale u^(2L-2) where u^L = s (Eq. 42), and the
    symbol L: 2 - 2/L."""
    s, L = sp.symbols("s L", positive=True)
    scale = (s ** (1 / L)) ** (2 * L - 2)
    return sp.simplify(sp.diff(sp.expand_log(sp.log(scale), force=True), s) * s), L


def final_scale(s: float, depth: int, rates: Sequence[float] | None = None) -> float:
    """The u at which the function is s: u^L = s prod_l (eta_L / eta_l)^(1/2)."""
    eta = _ones(depth, rates)
    product = math.prod(math.sqrt(eta[-1] / rate) for rate in eta)
    return (s * product) ** (1 / depth)


def final_kernel(
    s: float,
    beta: np.ndarray,
    depth: int,
    rates: Sequence[float] | None = None,
    exponent: float | None = None,
) -> np.ndarray:
    """The matrix of the final tangent kernel, u^(2L-2) [A beta beta^T + B I] (Eq. 42).

    At equal rates u^(2L-2) = s^(2-2/L). The paper prints s^(2L-2); ``exponent`` puts any
    power of s in place of 2 - 2/L, for comparison.
    """
    A, B = kernel_coefficients(_ones(depth, rates))
    scale = final_scale(s, depth, rates) ** (2 * depth - 2)
    if exponent is not None:
        scale *= s ** (exponent - (2 - 2 / depth))
    return scale * (A * np.outer(beta, beta) + B * np.eye(len(beta)))


def weighted_kernel(
    s: float, beta: np.ndarray, depth: int, rates: Sequence[float]
) -> np.ndarray:
    """The final kernel that moves the function, each layer weighted by its rate:
    (prod eta)^(1/L) s^(2-2/L) [(L-1) beta beta^T + I], a spike of L - 1 at any rates."""
    mean = math.prod(rates) ** (1 / depth)
    spike = (depth - 1) * np.outer(beta, beta) + np.eye(len(beta))
    return mean * s ** (2 - 2 / depth) * spike


# ---------------------------------------------------------------- growth


def growth_rate(
    c: Any, s: Any, depth: int, rates: Sequence[float] | None = None
) -> Any:
    """dc/dt = L (prod eta)^(1/L) c^(2-2/L) (s - c); the paper loses the L (Eq. 39)."""
    mean = math.prod(_ones(depth, rates)) ** (1 / depth)
    return depth * mean * c ** (2 - sp.Rational(2, depth)) * (s - c)


def growth(t: np.ndarray, s: float, c0: float, depth: int) -> np.ndarray:
    """c at increasing times >= 0 from c_0 at time 0, equal rates."""
    power = 1 - 2 / depth

    def speed(_time: float, log_c: np.ndarray) -> np.ndarray:
        c = np.exp(log_c)
        return depth * c**power * (s - c)

    t = np.asarray(t, dtype=float)
    found = solve_ivp(
        speed, (0.0, float(t[-1])), [math.log(c0)], "LSODA", t, rtol=1e-10, atol=1e-12
    )
    return np.exp(found.y[0])


def time_to(c: float, s: float, c0: float, depth: int) -> float:
    """The time from c_0 to c, 0 < c_0 < c < s, by quadrature of dc / growth_rate."""
    if depth == 2:
        return (math.log(c / (s - c)) - math.log(c0 / (s - c0))) / (2 * s)
    p = (depth - 2) / depth
    # x = c^(-p) makes the integrand 1/(s - c) smooth; its constant part is taken out and
    # the rest, which decays as a power of x, is integrated over log x
    low, high = c**-p, c0**-p
    rest, _ = quad(
        lambda z: math.exp(z) * (1 / (s - math.exp(-z / p)) - 1 / s),
        math.log(low), math.log(high), limit=400,
    )  # fmt: skip
    return ((high - low) / s + rest) / (depth - 2)


def half_loss_time(s: float, c0: float, depth: int) -> float:
    """When the loss (s - c)^2 / 2 is half of its value at c = 0: c = s (1 - 2^(-1/2))."""
    return time_to(s * (1 - math.sqrt(0.5)), s, c0, depth)


def early_time_to(c: float, s: float, c0: float, depth: int) -> float:
    """``time_to`` by ``early_growth``: [c_0^(-(L-2)/L) - c^(-(L-2)/L)] / ((L-2) s)."""
    p = (depth - 2) / depth
    return (c0**-p - c**-p) / ((depth - 2) * s)


def half_loss_asymptote(sigma: float, s: float, depth: int) -> float:
    """sigma^-(L-2) / (s (L-2)), the half-loss time from c_0 = sigma^L for small sigma and
    L >= 3; the paper's is L times that."""
    if depth < 3:
        raise ValueError(f"depth must be at least 3, got {depth}")
    return sigma ** (2 - depth) / (s * (depth - 2))


def early_growth(t: Any, s: Any, c0: Any, depth: Any) -> Any:
    """c(t) = [c_0^(-(L-2)/L) - (L-2) s t]^(-L/(L-2)) while c << s (Eq. 40, with the factor
    L that the paper loses); diverges at u_0^(2-L) / ((L-2) s)."""
    return (c0 ** (-(depth - 2) / depth) - (depth - 2) * s * t) ** (
        -depth / (depth - 2)
    )


def growth_symbolic(depth: int) -> dict[str, bool]:
    """Sympy on Eqs. 38-40 at one depth L >= 3.

    ``readout``: the top layer of L equal scalar layers moves as u^(L-1) (s - u^L);
    ``chain_rule``: hence dc/dt = L c^(2-2/L) (s - c) for c = u^L; ``printed``: whether the
    same without L, or u^(2L-2) in place of u^(L-1), would do; ``early``: ``early_growth``
    solves dc/dt = L s c^(2-2/L).
    """
    layers = sp.symbols(f"w1:{depth + 1}", positive=True)
    u, s, t, c0 = sp.symbols("u s t c0", positive=True)
    equal = dict.fromkeys(layers, u)
    loss = (s - sp.prod(layers)) ** 2 / 2
    top = sp.expand(-sp.diff(loss, layers[-1]).subs(equal))
    speed = sp.expand(sp.diff(u**depth, u) * top)
    law = u ** (2 * depth - 2) * (s - u**depth)  # c^(2-2/L) (s - c) with c = u^L
    L = sp.Integer(depth)
    early = early_growth(t, s, c0, L)
    # on the solution c^(2-2/L) is the bracket to the power -(2L-2)/(L-2)
    bracket = c0 ** (-(L - 2) / L) - (L - 2) * s * t
    power = bracket ** (-(2 * L - 2) / (L - 2))
    return {
        "readout": sp.expand(top - u ** (depth - 1) * (s - u**depth)) == 0,
        "printed_readout": sp.expand(top - law) == 0,
        "chain_rule": sp.expand(speed - depth * law) == 0,
        "printed_chain_rule": sp.expand(speed - law) == 0,
        "early": sp.simplify(early.diff(t) / (L * s * power)) == 1,
        "printed_early": sp.simplify(
            early.subs(s, s / L).diff(t) / (L * s * power.subs(s, s / L))
        )
        == 1,
    }
