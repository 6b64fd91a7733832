r"""Closed forms behind the separation of networks and their linearisations.

mdl2022 (Sec. 5): arc-cosine kernels by integration, expansions of the ReLU on the sphere
and for Gaussian inputs, and the moments of spiked covariates. Refs: [cho2009],
[ghorbani2020], [ghorbani2021].
"""

import math
from typing import Any

import numpy as np
import sympy as sp
from scipy import integrate, special


def arc_cosine_kernels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""E relu(w.x) relu(w.y) and <x, y> E step(w.x) step(w.y) for w ~ N(0, I).

    By quadrature in polar coordinates of the plane of x and y, in which w has a uniform
    angle and the mean squared length 2: the reference for the closed forms.

    Args:
        x, y: inputs (n, d) and (m, d).

    Returns:
        two arrays (n, m).
    """
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None]
    u = (x / np.linalg.norm(x, axis=1, keepdims=True))[:, None]
    v = (y / np.linalg.norm(y, axis=1, keepdims=True))[None]
    # Without an arccos, which loses half of the digits where x and y are parallel.
    angles = 2 * np.arctan2(
        np.linalg.norm(u - v, axis=2), np.linalg.norm(u + v, axis=2)
    )
    both, gates = np.empty_like(angles), np.empty_like(angles)
    for place, angle in np.ndenumerate(angles):
        # Both are positive where |theta| < pi/2 and |theta - angle| < pi/2.
        low, high = angle - math.pi / 2, math.pi / 2
        product, _ = integrate.quad(
            lambda theta, a=angle: math.cos(theta) * math.cos(theta - a),
            low, high, epsabs=1e-13, epsrel=1e-13,
        )  # fmt: skip
        both[place] = 2 * product / (2 * math.pi)
        gates[place] = integrate.quad(lambda _: 1.0, low, high)[0] / (2 * math.pi)
    return lengths * both, x @ y.T * gates


def arc_cosine_is_the_integral() -> bool:
    """Sympy: the integral over the wedge is (sin + (pi - phi) cos) / (2 pi)."""
    phi, theta = sp.symbols("phi theta", real=True)
    integral = sp.integrate(
        sp.cos(theta) * sp.cos(theta - phi), (theta, phi - sp.pi / 2, sp.pi / 2)
    )
    closed = (sp.sin(phi) + (sp.pi - phi) * sp.cos(phi)) / (2 * sp.pi)
    return sp.simplify(sp.expand_trig(2 * integral / (2 * sp.pi) - closed)) == 0


def relu_on_the_sphere(d: int, degrees: int) -> np.ndarray:
    r"""Coefficients s_k of relu(sqrt(d) t) = sum_k s_k sqrt(N_k) P_k(t), exactly.

    From the formula of Rodrigues, integrated by parts twice: for k >= 2 what is left is
    the (k - 2)-th derivative of (1 - t^2)^m at 0, m = k + (d - 3)/2. Odd k >= 3 give 0.
    """
    gamma = special.gammaln
    log_norm = gamma(d / 2) - gamma((d - 1) / 2) - 0.5 * math.log(math.pi)
    found = np.zeros(degrees + 1)
    for k in range(degrees + 1):
        if k == 0:  # E max(t, 0)
            found[k] = math.exp(log_norm) / (d - 1)
        elif k == 1:  # E t^2 / 2, times sqrt(N_1) = sqrt(d)
            found[k] = 0.5 / d * math.sqrt(d)
        elif k % 2 == 0:
            m, j = k + (d - 3) / 2, (k - 2) // 2
            log_value = (
                log_norm - k * math.log(2) + gamma((d - 1) / 2) - gamma(k + (d - 1) / 2)
                + gamma(k - 1)  # (k - 2)!
                + gamma(m + 1) - gamma(j + 1) - gamma(m - j + 1)
                + 0.5 * (math.log((2 * k + d - 2) / (d - 2))
                         + gamma(k + d - 2) - gamma(k + 1) - gamma(d - 2))
            )  # fmt: skip
            found[k] = (-1) ** j * math.exp(log_value)
    return math.sqrt(d) * found


def relu_hermite_tail(degree: int) -> float:
    """Share of E relu(g)^2 = 1/2, g ~ N(0, 1), beyond Hermite degree ``degree``.

    0.1817 beyond degree 1 and 0.0225 beyond 2: the limit of the tails on the sphere.
    """
    kept = sp.Rational(0)
    for k in range(degree + 1):
        if k == 0:
            kept += 1 / (2 * sp.pi)
        elif k == 1:
            kept += sp.Rational(1, 4)
        elif k % 2 == 0:
            odd = sp.factorial2(k - 3)
            kept += odd**2 / (2 * sp.pi * sp.factorial(k))
    return float(1 - 2 * kept)


def spiked_noise() -> dict[str, Any]:
    r"""Which radius of the noise makes spiked covariates isotropic at r = 1; by sympy.

    x = U z0 + U_perp z1 with |z0|^2 = r^2 d0 and |z1| = R has variances r^2 (d0 times)
    and R^2 / (d - d0) (d - d0 times). A kernel of inner products sees the effective
    dimension (tr C)^2 / tr C^2.

    Returns:
        ``isotropic``: whether R^2 = d - d0 is the only solution; ``corrected``: the
        effective dimension at r = 1 over d, with that radius; ``printed``: the same
        over d0, for R^2 = d0 and d to infinity.
    """
    d, d0, r, square = sp.symbols("d d0 r R2", positive=True)
    noise = square / (d - d0)
    isotropic = sp.solve(sp.Eq(noise, (r**2).subs(r, 1)), square)
    trace = d0 * r**2 + square
    effective = trace**2 / (d0 * r**4 + square**2 / (d - d0))
    at_one = effective.subs(r, 1)
    corrected = sp.simplify(at_one.subs(square, d - d0) / d)
    printed = sp.limit(at_one.subs(square, d0) / d0, d, sp.oo)
    return {
        "isotropic": [sp.expand(s) for s in isotropic] == [d - d0],
        "corrected": float(corrected),
        "printed": float(printed),
    }


def effective_dimension(d: int, d0: int, r: float, radius: float) -> float:
    """(tr C)^2 / tr C^2 of spiked covariates with noise of the given radius."""
    trace = d0 * r**2 + radius**2
    return trace**2 / (d0 * r**4 + radius**4 / (d - d0))
