r"""Learning curves of regression with a spiked linear kernel (atanasov2022, App. E).

The kernel is K(x, x') = x . (A beta beta^T + I) x' with |beta| = 1 (Eq. 44), inputs are
x ~ N(0, I) in D dimensions, and the new task is y = w . x with
w = alpha beta + (1 - alpha^2)^(1/2) w_perp. Its eigenfunctions are linear functions, one
with eigenvalue 1 + A and D - 1 with eigenvalue 1 (Eqs. 45, 48). The average error after
``n`` examples follows from the self-consistent equations of Eq. 46.
"""

from typing import Any

import numpy as np
import sympy as sp
from scipy.optimize import brentq

Array = np.ndarray


def effective_ridge(eigenvalues: Array, n: float, ridge: float = 0.0) -> float:
    """kappa of Eq. 46: kappa = ridge + kappa sum_k lambda_k / (lambda_k n + kappa).

    Zero without ridge once n reaches the number of eigenvalues: then the examples
    determine every coefficient.
    """
    eigenvalues = np.asarray(eigenvalues, dtype=float)
    eigenvalues = eigenvalues[eigenvalues > 0]
    if n == 0:
        return float(ridge + eigenvalues.sum())
    if ridge == 0.0 and n >= len(eigenvalues):
        return 0.0

    def excess(kappa: float) -> float:
        return ridge / kappa + np.sum(eigenvalues / (eigenvalues * n + kappa)) - 1.0

    # every term grows with its eigenvalue, and none exceeds lambda_k / kappa
    low = max(ridge, float(eigenvalues.min()) * (len(eigenvalues) - n))
    top = ridge + float(eigenvalues.sum())
    solved: Any = brentq(excess, low * (1 - 1e-9), top * (1 + 1e-9), xtol=1e-15)
    return float(solved)


def generalisation_error(
    eigenvalues: Array,
    coefficients_squared: Array,
    n: float,
    ridge: float = 0.0,
    *,
    as_printed: bool = False,
) -> float:
    r"""Average test error of kernel regression after ``n`` examples (Eq. 46, corrected).

        E_g = kappa^2 / (1 - gamma) sum_k <y phi_k>^2 / (lambda_k n + kappa)^2,
        gamma = n sum_k lambda_k^2 / (lambda_k n + kappa)^2.

    Args:
        eigenvalues: lambda_k of the kernel under the law of the inputs, (D,).
        coefficients_squared: <y phi_k>^2 on orthonormal phi_k, (D,).
        n: number of examples (real numbers interpolate).
        ridge: added to the Gram matrix.
        as_printed: leave out kappa^2, as the paper prints it.
    """
    eigenvalues = np.asarray(eigenvalues, dtype=float)
    power = np.asarray(coefficients_squared, dtype=float)
    kappa = effective_ridge(eigenvalues, n, ridge)
    if kappa == 0.0 and not as_printed:
        return 0.0
    below = eigenvalues * n + kappa
    gamma = n * float(np.sum((eigenvalues / below) ** 2))
    bare = float(np.sum(power / below**2)) / (1.0 - gamma)
    return bare if as_printed else kappa**2 * bare


def spiked_spectrum(d: int, A: float) -> Array:
    """Eigenvalues of the kernel of Eq. 44 for x ~ N(0, I): 1 + A once, then ones, (d,)."""
    spectrum = np.ones(d)
    spectrum[0] += A
    return spectrum


def transfer_error(
    d: int,
    n: float,
    A: float,
    alpha: float,
    ridge: float = 0.0,
    *,
    as_printed: bool = False,
) -> float:
    """E_g of the transfer task: the two-level formula after Eq. 48.

    All eigenvalues but the first are equal, so that only the total power orthogonal to
    beta matters: kappa and gamma are sums of two terms with weights 1 and d - 1.
    """
    a, rest = 1.0 + A, d - 1.0
    kappa = effective_ridge(spiked_spectrum(d, A), n, ridge)
    if kappa == 0.0 and not as_printed:
        return 0.0
    spike, bulk = a * n + kappa, n + kappa
    gamma = n * ((a / spike) ** 2 + rest / bulk**2)
    bare = (alpha**2 / spike**2 + (1.0 - alpha**2) / bulk**2) / (1.0 - gamma)
    return bare if as_printed else kappa**2 * bare


def best_spike(d: int, alpha: float) -> float:
    """A* at which the ridgeless error is smallest: 1 + A* = alpha^2 (d-1) / (1-alpha^2).

    It does not depend on the number of examples. Negative for alpha^2 < 1/d: features
    learned on the old task then hurt on the new one. Not in the paper.
    """
    return alpha**2 * (d - 1) / (1.0 - alpha**2) - 1.0


def eigenfunctions_are_linear() -> bool:
    """Eqs. 45 and 48: <K(x, x') phi(x)>_x = lambda phi(x'), by Gaussian moments.

    Symbolic in A and x', in three dimensions with beta = e_1 (rotations give the rest).
    """
    A = sp.Symbol("A", real=True)
    x, other = sp.symbols("x1:4", real=True), sp.symbols("y1:4", real=True)
    kernel = A * x[0] * other[0] + sum(a * b for a, b in zip(x, other, strict=True))

    def mean(expression: Any) -> Any:
        """Expectation of a polynomial of degree 2 over x ~ N(0, I)."""
        poly = sp.Poly(sp.expand(expression), *x)
        total: Any = sp.Integer(0)
        for powers, coefficient in poly.terms():
            moments = {0: 1, 1: 0, 2: 1}
            total += coefficient * sp.prod([moments[p] for p in powers])
        return total

    return all(
        sp.expand(mean(kernel * x[k]) - (1 + (A if k == 0 else 0)) * other[k]) == 0
        for k in range(3)
    )


def _ridgeless() -> tuple[Any, Any, Any, dict[str, sp.Symbol]]:
    """(E_g, 1 + A, 1 - gamma) without ridge as functions of m = (D-1) / (P + kappa).

    With m the equation for kappa is solved: the share of the spike is
    (1+A) / ((1+A) P + kappa) = 1 - m, and A follows as a function of m.
    """
    P, D, m, t = sp.symbols("P D m t", positive=True)  # t = alpha^2
    q = 1 - m
    kappa = (D - 1) / m - P
    a = q * kappa / (1 - P * q)
    left = 1 - P * q**2 - P * m**2 / (D - 1)
    error = (t * (1 - P * q) ** 2 + (1 - t) * (1 - P * m / (D - 1)) ** 2) / left
    return error, a, left, {"P": P, "D": D, "m": m, "t": t}


def error_falls_with_the_spike() -> Any:
    """d E_g / d m for alpha = 1 and no ridge, divided by 2 P x / (1 - gamma)^2.

    x = kappa / ((1+A) P + kappa) is positive. The quotient simplifies to
    m (D - P) / (D - 1), which is positive for P < D; since m falls with A, the error
    falls strictly as A grows. Returns the quotient minus that, simplified (0).
    """
    error, _, left, s = _ridgeless()
    P, D, m = s["P"], s["D"], s["m"]
    slope = sp.diff(error.subs(s["t"], 1), m)
    x = 1 - P * (1 - m)
    quotient = sp.simplify(slope * left**2 / (2 * P * x))
    return sp.simplify(quotient - m * (D - P) / (D - 1))


def spike_falls_with_m() -> tuple[Any, Any]:
    """d (1+A) / d m is negative between A = infinity and A = 0.

    Over positive squares it is a convex parabola in m; returned are its values, factored,
    at both ends m = 1 - 1/P and m = 1 - 1/D: negative for 1 < P < D, hence in between.
    """
    _, a, _, s = _ridgeless()
    P, D, m = s["P"], s["D"], s["m"]
    parabola = sp.cancel(sp.diff(a, m) * m**2 * (1 - P * (1 - m)) ** 2)
    return (
        sp.factor(parabola.subs(m, 1 - 1 / P)),
        sp.factor(parabola.subs(m, 1 - 1 / D)),
    )


def best_spike_is_stationary() -> Any:
    """d E_g / d m at alpha^2 = (1+A) / (1+A + D-1), simplified: 0 for every P, D and m.

    That value of alpha^2 is ``best_spike`` solved for alpha: the best A is matched to the
    prior in which the task has the kernel's own covariance.
    """
    error, a, _, s = _ridgeless()
    slope = sp.diff(error, s["m"])
    return sp.simplify(slope.subs(s["t"], a / (a + s["D"] - 1)))


def error_is_affine_in_alpha_squared() -> tuple[Any, Any]:
    """(second derivative, slope) of the two-level E_g in t = alpha^2.

    The slope, over kappa^2 / (1 - gamma), is 1/((1+A)P+kappa)^2 - 1/(P+kappa)^2, negative
    for A > 0: alpha = +-1 is easiest (App. E, end).
    """
    P, A, kappa = sp.symbols("P A kappa", positive=True)
    gamma, t = sp.symbols("gamma t", real=True)
    spike, bulk = (1 + A) * P + kappa, P + kappa
    error = kappa**2 / (1 - gamma) * (t / spike**2 + (1 - t) / bulk**2)
    slope = sp.diff(error, t) * (1 - gamma) / kappa**2
    # a fraction whose numerator is -A P (2 kappa + (2 + A) P)
    numerator, _ = sp.fraction(sp.together(slope))
    return sp.diff(error, t, 2), sp.factor(numerator)
