r"""How far the two hidden layers of a wide ReLU network move.

Loss (1/2) sum_j (f(x_j) - y_j)^2, inputs of length |x|^2 = n0, widths n1, n2 -> infinity
with gamma = n2/n1, and the integrated residual

    r(t) = K^{-1} (I - e^{-tK}) (y - f_0(X)),      K = Theta_3(X, X).

Individual neurons move by O(n^{-1/2}), layers by

    |dh_1(x)|^2 -> H_1^2
        = sum_jk R_0(x,j) R_0(x,k) P_3[R_0](x,j,k) kappa_0(R_1(j,k))/2 r_j r_k
    |dh_2(x)|^2 -> (gamma/2) H_1^2
        + sum_jk Theta_2(x,j) Theta_2(x,k) P_3[R_1](x,j,k) r_j r_k

where P_3 = 1/8 + (asin + asin + asin)/(4 pi) is the probability that three Gaussians of
those correlations are positive together. Derived for this book: the paper of the ledger
``deep_relu_ntk`` (Sec. 5) has the structure of the first term, its formulas are lost.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import expm

from lazyrich.theory.relu_recursion import kappa_0, kappa_1


class Movement(NamedTuple):
    """Squared movements at every query point."""

    first: np.ndarray
    coherent: np.ndarray
    second: np.ndarray


def depth_3_kernel(R0: np.ndarray) -> np.ndarray:
    """Theta_3 of inputs with cosines ``R0`` and |x|^2 = n0: diagonal 3/4."""
    R1 = kappa_1(R0)
    theta_2 = (R0 * kappa_0(R0) + R1) / 2
    return theta_2 * kappa_0(R1) / 2 + kappa_1(R1) / 4


def integrated_residual(
    K: np.ndarray, y: np.ndarray, f0: np.ndarray, t: float, steps: int | None = None
) -> np.ndarray:
    """r(t) of gradient flow, or of so many ``steps`` of gradient descent up to t."""
    eye = np.eye(len(K))
    if steps is None:
        left = expm(-t * K)
    else:
        left = np.linalg.matrix_power(eye - t / steps * K, steps)
    return np.linalg.solve(K, (eye - left) @ (y - f0))


def _triples(R: np.ndarray, cross: np.ndarray) -> np.ndarray:
    """P_3 of (query, j, k), shape (m, n, n)."""
    a = np.arcsin(np.clip(cross, -1, 1))
    angles = a[:, :, None] + a[:, None, :] + np.arcsin(np.clip(R, -1, 1))
    return 0.125 + angles / (4 * np.pi)


def movement(
    R0: np.ndarray, cross: np.ndarray, r: np.ndarray, gamma: float = 1.0
) -> Movement:
    """H_1^2, the coherent part of H_2^2, and H_2^2.

    Args:
        R0: cosines between training inputs, (n, n).
        cross: cosines between query points and training inputs, (m, n).
        r: integrated residual, (n,).
        gamma: n2/n1; 0 is the limit of an infinitely wide first layer.
    """
    R1, cross_1 = kappa_1(R0), kappa_1(cross)
    gate = kappa_0(R1) / 2
    first = np.einsum(
        "mj,mk,mjk,jk,j,k->m", cross, cross, _triples(R0, cross), gate, r, r
    )
    theta_2 = (cross * kappa_0(cross) + cross_1) / 2
    coherent = np.einsum(
        "mj,mk,mjk,j,k->m", theta_2, theta_2, _triples(R1, cross_1), r, r
    )
    return Movement(first, coherent, coherent + gamma / 2 * first)


def squared_movement(
    R0: np.ndarray,
    cross: np.ndarray,
    y: np.ndarray,
    f0: np.ndarray,
    gamma: float,
    *,
    t: float,
    steps: int | None = None,
) -> np.ndarray:
    """|dh_2|^2 of every query for targets ``y`` and the outputs ``f0`` of the start."""
    r = integrated_residual(depth_3_kernel(R0), y, f0, t, steps)
    return movement(R0, cross, r, gamma).second
