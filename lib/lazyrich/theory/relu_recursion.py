r"""The deep ReLU tangent kernel of two inputs: exact recursions and their expansions.

``L`` counts weight layers, rho_0 is the cosine of the angle between the inputs,

    rho_l = kappa_1(rho_{l-1}),   theta_l = acos(rho_l),
    y_1 = rho_0,   y_{L+1} = kappa_0(rho_{L-1}) y_L + rho_L,   Theta-bar_L = y_L / L.

The expansions for deep networks are in powers of u = 1/v, v = 3 pi / theta, and are
derived here by exact arithmetic with polynomials in u and P = pi^2 over the rationals.
Source: the paper of the ledger ``deep_relu_ntk`` (second arXiv version), Secs. 4 to 6;
expansions, crossover law and Abel function are derived, not quoted.
"""

import math
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy as sp
from numpy.typing import ArrayLike
from scipy import integrate, optimize
from sympy.polys.ring_series import rs_exp, rs_log, rs_mul, rs_pow, rs_trunc
from sympy.polys.rings import ring

# --------------------------------------------------------------- one layer (Prop. 2)


def kappa_0(rho: ArrayLike) -> np.ndarray:
    """Arc-cosine function of order 0, (pi - acos rho)/pi."""
    return (np.pi - np.arccos(rho)) / np.pi


def kappa_1(rho: ArrayLike) -> np.ndarray:
    """Arc-cosine function of order 1, (sqrt(1 - rho^2) + rho (pi - acos rho))/pi."""
    rho = np.asarray(rho, dtype=float)
    return np.sqrt(1 - rho**2) / np.pi + rho * kappa_0(rho)


def gaussian_averages(rho: float) -> tuple[float, float]:
    """E[relu(u) relu(v)] and E[1(u>0) 1(v>0)] by quadrature.

    (u, v) standard normal with correlation ``rho``: in polar coordinates the radius
    integrates to one, and the angle runs where both are positive (Definition 1).
    """
    a = math.acos(rho)
    low, high = a - math.pi / 2, math.pi / 2
    relu, _ = integrate.quad(lambda p: math.cos(p) * math.cos(p - a), low, high)
    return relu / math.pi, (high - low) / (2 * math.pi)


def derivative_of_kappa_1() -> sp.Expr:
    """kappa_1' - kappa_0, simplified: zero (Prop. 2)."""
    r = sp.symbols("r", real=True)
    k0 = (sp.pi - sp.acos(r)) / sp.pi
    k1 = (sp.sqrt(1 - r**2) + r * (sp.pi - sp.acos(r))) / sp.pi
    return sp.simplify(sp.diff(k1, r) - k0)


def power_series(terms: int) -> list[sp.Expr]:
    """Coefficients p_0, p_1, ... of kappa_1 in powers of rho.

    kappa_1'' = 1/(pi sqrt(1 - rho^2)): all are >= 0 and they add up to kappa_1(1) = 1.
    """
    found: list[sp.Expr] = [1 / sp.pi, sp.Rational(1, 2)]
    for power in range(2, terms):
        k, odd = divmod(power - 2, 2)
        middle = sp.Rational(math.comb(2 * k, k), 4**k * power * (power - 1))
        found.append(sp.Integer(0) if odd else middle / sp.pi)
    return found[:terms]


def same_direction(depth: int) -> tuple[Fraction, Fraction]:
    """2^(L-1) Sigma_L and 2^(L-1) Theta_L / (x.x'/n0) of parallel inputs, in rationals.

    The recursion with kappa_0(1) = kappa_1(1) = 1, which Proposition 1 solves.
    """
    sigma = theta = Fraction(1)
    for _ in range(depth - 1):
        sigma = sigma / 2
        theta = theta * Fraction(1, 2) + sigma
    return sigma * 2 ** (depth - 1), theta * 2 ** (depth - 1)


# ------------------------------------------------------------ all layers, many digits


def pair(
    one_minus_rho: Any, depths: int | list[int], digits: int = 50
) -> list[tuple[Any, Any]]:
    """(1 - rho_{L-1}, y_L) of one pair by the recursion in ``digits`` digits.

    Args:
        one_minus_rho: 1 - rho_0, a number or a decimal string.
        depths: the depths L wanted, in rising order.
    """
    wanted = [depths] if isinstance(depths, int) else depths
    context = mpmath.mp.clone()
    context.dps = digits
    gap = context.mpf(one_minus_rho)
    y = 1 - gap
    found, layer = [], 1
    for depth in wanted:
        for _ in range(layer, depth):
            angle = 2 * context.asin(context.sqrt(gap / 2))
            gap -= (context.sin(angle) - angle * context.cos(angle)) / context.pi
            y += 1 - gap - y * angle / context.pi
        layer = max(layer, depth)
        found.append((gap, y))
    return found


def kernel_from_definition(rho_0: float, depth: int, variance: float = 1.0) -> float:
    """Normalised kernel by the recursion of Theorem 1 as printed, weights of any
    variance: Sigma and Theta themselves, no correlation, no rescaling."""
    q, sigma = variance, variance * rho_0
    theta, diagonal = sigma, q
    for _ in range(depth - 1):
        rho = min(1.0, sigma / q)
        gate = variance * float(kappa_0(rho)) / 2
        sigma = variance * q * float(kappa_1(rho)) / 2
        q = variance * q / 2
        theta, diagonal = theta * gate + sigma, diagonal * variance / 2 + q
    return theta / diagonal


def series_coefficients(depth: int, count: int) -> np.ndarray:
    """First ``count`` coefficients of Theta-bar_L in powers of rho_0.

    By Cauchy's integral on a circle of radius 1 - 4/count, on which an FFT evaluates
    it; all are >= 0 and they add up to one.
    """
    n = 4 * count
    radius = 1 - 4 / count
    rho = radius * np.exp(2j * np.pi * np.arange(n) / n)
    y = rho.copy()
    for _ in range(depth - 1):
        gate = 0.5 + np.arcsin(rho) / np.pi
        rho = np.sqrt(1 - rho * rho) / np.pi + rho * gate
        y = gate * y + rho
    found = np.fft.fft(y).real / n / radius ** np.arange(n)
    return found[:count] / depth


# -------------------------------------------------------- expansions in 1/v, derived

_RING, _u, _P, _ell = ring("u,P,ell", sp.QQ)


class _Layer(NamedTuple):
    """How one layer acts, as truncated power series in u = theta/(3 pi)."""

    growth: Any  # v'/v
    log: Any  # log(v'/v)
    rho: Any  # rho'
    order: int


@cache
def _layer(order: int) -> _Layer:
    cut = order + 3
    angle2 = 9 * _P * _u**2
    eps = _RING(0)
    for k in range(1, cut // 2 + 2):
        eps -= (-angle2) ** k * sp.QQ(1, math.factorial(2 * k))
        # g(theta)/pi with theta^(2k+1)/pi = 3 u (9 P u^2)^k
        c = sp.QQ(2 * k, math.factorial(2 * k + 1))
        eps += (-angle2) ** k * 3 * _u * c
    eps = rs_trunc(eps, _u, cut)
    square, power = _RING(0), _RING(1)
    for n in range(1, cut // 2 + 2):
        power = rs_mul(power, 2 * eps, _u, cut)
        square += power * sp.QQ(2, n * n * math.comb(2 * n, n))
    # theta'^2 = square; (v/v')^2 = theta'^2/theta^2
    ratio = _RING.from_dict(
        {(i - 2, j - 1, k): c / 9 for (i, j, k), c in square.items() if i < cut}
    )
    log = rs_log(ratio, _u, cut - 2) * sp.QQ(-1, 2)
    return _Layer(rs_exp(log, _u, cut - 2), log, 1 - eps, order)


def _coefficient(series: Any, power: int, logs: int = 0) -> Any:
    """Coefficient of u^power ell^logs: a polynomial in P."""
    return _RING.from_dict(
        {(0, j, 0): c for (i, j, k), c in series.items() if (i, k) == (power, logs)}
    )


def _expression(polynomial: Any) -> sp.Expr:
    return sp.expand(polynomial.as_expr().subs(sp.Symbol("P"), sp.pi**2))


def _shift(k: int, layer: _Layer) -> Any:
    """u'^k - u^k."""
    cut = layer.order + 1
    moved = rs_pow(layer.growth, -k, _u, cut) if k else _RING(1)
    return rs_trunc(_u**k * moved, _u, cut) - _u**k


def _absorb(rest: Any, count: int, layer: _Layer, what: str) -> list[sp.Expr]:
    """c_1, ..., c_count with rest + sum_k c_k (u'^k - u^k) = 0, power by power: the
    leading term of u'^k - u^k is -k u^(k+1).

    Raises:
        ArithmeticError: something is left.
    """
    found = []
    for k in range(1, count + 1):
        c = _coefficient(rest, k + 1) * sp.QQ(1, k)
        rest = rs_trunc(rest + c * _shift(k, layer), _u, count + 2)
        found.append(_expression(c))
    if rest != 0:
        raise ArithmeticError(f"the {what} is left with {rest}")
    return found


def abel_coefficients(count: int) -> list[sp.Expr]:
    r"""alpha_1, ..., alpha_count of the Abel function

    A(v) = v - (3/2) log v + alpha_1/v + alpha_2/v^2 + ...,   A(v_{l+1}) = A(v_l) + 1.
    """
    layer = _layer(count + 2)
    cut = count + 2
    grown = layer.growth - 1
    rest = _RING.from_dict({(i - 1, j, k): c for (i, j, k), c in grown.items()})
    rest = rs_trunc(rest - layer.log * sp.QQ(3, 2) - 1, _u, cut)
    return _absorb(rest, count, layer, "Abel equation")


def kernel_coefficients(count: int) -> list[list[sp.Expr]]:
    r"""b_{-1}, b_0, ..., b_count of the kernel at v = v_{L-1},

        y_L = sum_k u^k (b_{k,0} + b_{k,1} log v + ...),   u = 1/v,

    one list a power k, by powers of log v. Logarithms begin at k = 3, where the
    homogeneous solution u^3 resonates; its amplitude is free and b_{3,0} is set to zero.
    """
    layer = _layer(count + 2)
    cut = count + 3
    log = rs_trunc(layer.log, _u, cut)
    # Everything times u, so that powers start at zero.
    rest = -rs_trunc(_u * layer.rho, _u, cut)
    found = []
    for k in range(-1, count + 1):
        row: list[Any] = [_RING(0)]
        most = max((key[2] for key in rest if key[0] == k + 2), default=0)
        for j in range(most, -1, -1):
            known = _coefficient(rest, k + 2, j)
            # u^k ell^j turns into (3 - k) u^(k+1) ell^j + j u^(k+1) ell^(j-1) + ...
            power, share = (j, 3 - k) if k != 3 else (j + 1, j + 1)
            b = -known * sp.QQ(1, share)
            row += [_RING(0)] * (power + 1 - len(row))
            row[power] = b
            moved = rs_pow(layer.growth, -k, _u, cut) if k else _RING(1)
            image = rs_mul(moved, (_ell + log) ** power, _u, cut)
            image -= (1 - 3 * _u) * _ell**power
            rest = rs_trunc(rest + b * _u ** (k + 1) * image, _u, cut)
        found.append([_expression(b) for b in row])
    if rest != 0:
        raise ArithmeticError(f"the kernel recursion is left with {rest}")
    return found


def transient_coefficients(count: int) -> list[sp.Expr]:
    """s_1, ..., s_count of the homogeneous solution u^3 exp(s_1 u + s_2 u^2 + ...)."""
    layer = _layer(count + 1)
    cut = count + 2
    rest = rs_trunc(-3 * layer.log - rs_log(1 - 3 * _u, _u, cut), _u, cut)
    return _absorb(rest, count, layer, "transient")


def abel_defect(v: float, count: int = 4, digits: int = 50) -> float:
    """A(v_{l+1}) - A(v_l) - 1 with ``count`` coefficients, one exact layer at ``v``."""
    context = mpmath.mp.clone()
    context.dps = digits
    alphas = [context.mpf(sp.N(a, digits + 5)) for a in abel_coefficients(count)]

    def abel(v: Any) -> Any:
        tail = sum(a / v ** (k + 1) for k, a in enumerate(alphas))
        return v - 1.5 * context.log(v) + tail

    angle = 3 * context.pi / v
    gap = 2 * context.sin(angle / 2) ** 2
    gap -= (context.sin(angle) - angle * context.cos(angle)) / context.pi
    after = 3 * context.pi / (2 * context.asin(context.sqrt(gap / 2)))
    return float(abel(after) - abel(context.mpf(v)) - 1)


def expansion_residuals(
    one_minus_rho: Any, depths: list[int], digits: int = 40
) -> list[float]:
    """L^3 (y_L - its expansion to b_2/v^2) in ``digits`` digits: the next term has a
    logarithm, so that this grows by a constant amount with each decade of L."""
    context = mpmath.mp.clone()
    context.dps = digits
    b = [context.mpf(sp.N(row[0], digits + 5)) for row in kernel_coefficients(2)]
    found = []
    for depth, (gap, y) in zip(
        depths, pair(one_minus_rho, depths, digits), strict=True
    ):
        v = 1.5 * context.pi / context.asin(context.sqrt(gap / 2))
        series = sum(c * v ** (1 - k) for k, c in enumerate(b))
        found.append(float((y - series) * depth**3))
    return found


# --------------------------------------------------------- crossover and expressivity


def crossover(z: ArrayLike) -> np.ndarray:
    """F(z) = (1 + q + q^2 + q^3)/4, q = 1/(1+z): Theta-bar_L at angle 3 pi z/L << 1."""
    q = 1 / (1 + np.asarray(z, dtype=float))
    return (1 + q + q**2 + q**3) / 4


def neighbour_weight(z: ArrayLike) -> np.ndarray:
    """w(z) = (4 F(z) - 1)/3: share of the nearest training point in a prediction."""
    return (4 * crossover(z) - 1) / 3


def crossover_depth(value: float) -> float:
    """z at which F(z) = ``value``."""
    found: Any = optimize.brentq(
        lambda z: float(crossover(z)) - value, 0, 1e9, xtol=1e-14
    )
    return float(found)


def crossover_equation() -> sp.Expr:
    """What F leaves of its differential equation: zero.

    For small angles theta_l = delta/(1 + z) and y' = 1 - 3 y/(l + l_0), so that with
    l = l_0 z and y = l F the limit obeys (z F)' = 1 - 3 z F/(1 + z).
    """
    z = sp.symbols("z", positive=True)
    q = 1 / (1 + z)
    y = z * (1 + q + q**2 + q**3) / 4
    return sp.simplify(sp.diff(y, z) - 1 + 3 * y / (1 + z))


# ------------------------------------------------------------------ biases (App. A)


def with_bias(depth: int) -> tuple[sp.Expr, sp.Expr, sp.Symbol]:
    """Diagonal entries q_L, T_L by the recursion, |x|^2 = n0, and the symbol beta^2."""
    b = sp.symbols("b", positive=True)
    q = 1 + b
    theta = q
    for _ in range(depth - 1):
        q = sp.expand(q / 2 + b)
        theta = sp.expand(theta / 2 + q)
    return q, theta, b


def with_bias_closed(depth: int, b: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """The same in closed form; they tend to 2 beta^2 and 4 beta^2."""
    half = sp.Rational(1, 2) ** (depth - 1)
    q = 2 * b + (1 - b) * half
    return q, 4 * b + half * (1 - 3 * b + (depth - 1) * (1 - b))


def bias_gap_constant() -> sp.Expr:
    r"""lim (1 - Theta-bar_l)/theta(c_l) with bias and standard normal weights.

    To first order in the angle, T - Theta' obeys D_{l+1} = D_l/2 + T theta_l/(2 pi)
    with T = 4 beta^2 and theta_{l+1} = theta_l/sqrt 2 (the terms q - Sigma' are of
    second order): with D_l = d theta_l the constant d/T is solved for here.
    """
    d = sp.symbols("d")
    (solution,) = sp.solve(sp.Eq(d / sp.sqrt(2), d / 2 + 1 / (2 * sp.pi)), d)
    return sp.simplify(solution)


def bias_pair(
    one_minus_rho: Any, depth: int, beta: Any, digits: int = 60
) -> tuple[Any, Any]:
    """(1 - c_L, 1 - Theta_L/T_L) of inputs with |x|^2 = n0, gaps carried throughout."""
    context = mpmath.mp.clone()
    context.dps = digits
    b = context.mpf(beta) ** 2
    gap_sigma = context.mpf(one_minus_rho)
    q = 1 + b
    gap_theta, theta = gap_sigma, q
    for _ in range(depth - 1):
        angle = 2 * context.asin(context.sqrt(gap_sigma / q / 2))
        change = (context.sin(angle) - angle * context.cos(angle)) / context.pi
        gap_sigma = (gap_sigma - q * change) / 2
        q = q / 2 + b
        off = theta - gap_theta
        gap_theta = gap_theta / 2 + off * angle / (2 * context.pi) + gap_sigma
        theta = theta / 2 + q
    return gap_sigma / q, gap_theta / theta
