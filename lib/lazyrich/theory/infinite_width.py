r"""Infinite-width covariances and tangent kernels by Gaussian quadrature.

For the networks of geiger2020, App. B, with biases zero at the start but trained:

    q^1(x, x') = x . x' / d,
    q^(l+1) = E[sigma(u) sigma(v)] with (u, v) ~ N(0, q^l),
    Theta^1 = q^1 + 1,
    Theta^(l+1) = q^(l+1) + 1 + E[sigma'(u) sigma'(v)] Theta^l.

Independent of the library's networks: numpy and a two-dimensional Gauss-Hermite rule.
"""

from collections.abc import Callable

import numpy as np

Scalar = Callable[[np.ndarray], np.ndarray]


def softplus(sharpness: float, outer: float) -> tuple[Scalar, Scalar]:
    """(sigma, sigma') of sigma(z) = outer * log(1 + exp(sharpness z))."""

    def sigma(z: np.ndarray) -> np.ndarray:
        return outer * np.logaddexp(0.0, sharpness * z)

    def slope(z: np.ndarray) -> np.ndarray:
        return outer * sharpness / (1.0 + np.exp(-sharpness * z))

    return sigma, slope


def gaussian_average(
    product: Callable[[np.ndarray, np.ndarray], np.ndarray],
    variances: tuple[float, float],
    covariance: float,
    nodes: int = 120,
) -> float:
    """E[product(u, v)] for centred Gaussians of the given covariance."""
    a, b = variances
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    weight = weight / weight.sum()
    first, second = np.meshgrid(z, z, indexing="ij")
    rho = np.clip(covariance / np.sqrt(a * b), -1.0, 1.0)
    u = np.sqrt(a) * first
    v = np.sqrt(b) * (rho * first + np.sqrt(1.0 - rho**2) * second)
    return float(np.einsum("i,j,ij->", weight, weight, product(u, v)))


def tangent_kernel(
    x: np.ndarray, L: int, sigma: Scalar, slope: Scalar, bias: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(q^(L+1), Theta) between the rows of ``x`` (n, d), for L hidden layers."""
    n, d = x.shape
    extra = 1.0 if bias else 0.0
    q = x @ x.T / d
    theta = q + extra
    for _ in range(L):
        above, inflow = np.empty_like(q), np.empty_like(q)
        for i in range(n):
            for j in range(i, n):
                pair = ((q[i, i], q[j, j]), q[i, j])
                above[i, j] = above[j, i] = gaussian_average(
                    lambda u, v: sigma(u) * sigma(v), *pair
                )
                inflow[i, j] = inflow[j, i] = gaussian_average(
                    lambda u, v: slope(u) * slope(v), *pair
                )
        q, theta = above, above + extra + inflow * theta
    return q, theta
