r"""Silent alignment: a kernel that turns while small and then grows in scale alone.

atanasov2022, Sec. 2 and App. A, and the ceiling of the alignment that linear networks
reach. Errors Delta = y - f, kernels K between n training points, rows k(x) of a test
point; the loss is *summed* over examples, so that df/dt = rate k(x) . Delta.
"""

from typing import Any

import numpy as np
import sympy as sp
from scipy.linalg import expm


def predictor_from_history(
    kernels: np.ndarray,
    rows: np.ndarray,
    t: np.ndarray,
    error: np.ndarray,
    *,
    rate: float = 1.0,
    prefactor: float | None = None,
    ordered: bool = True,
) -> float:
    """f*(x) - f_0(x) from the history of the kernel (Eq. 2).

        int_0^T dt  prefactor  k_t(x) . exp(-rate int_0^t K dt') (y - f_0)

    Args:
        kernels: K at the midpoints of the intervals of ``t``, (m, n, n).
        rows: k(x) at the same midpoints, (m, n).
        t: edges of the intervals, (m + 1,); the first is 0.
        error: y - f_0 on the training points, (n,).
        rate: learning rate.
        prefactor: what stands before the integral: the rate if ``None``, which is right;
            1 is printed in the paper.
        ordered: time-ordered exponential, right for every history; ``False`` takes the
            exponential of the integral, which is the same where kernels of different
            times commute.

    Accuracy: second order in the length of the intervals.
    """
    steps = np.diff(t)
    before = rate if prefactor is None else prefactor
    if ordered:
        halves = expm(-0.5 * rate * steps[:, None, None] * kernels)
        delta, total = np.array(error, dtype=float), 0.0
        for half, row, step in zip(halves, rows, steps, strict=True):
            delta = half @ delta
            total += step * float(row @ delta)
            delta = half @ delta
        return before * total
    weighted = steps[:, None, None] * kernels
    integral = np.cumsum(weighted, axis=0) - 0.5 * weighted
    deltas = expm(-rate * integral) @ error
    return before * float(np.sum(steps * np.einsum("mn,mn->m", rows, deltas)))


def constant_kernel_predictor() -> tuple[Any, dict[str, sp.Symbol]]:
    """f* - f_0 of one training point and a kernel that stands still, with the learning
    rate eta in the exponent and ``prefactor`` before the integral (Eq. 2)."""
    t, eta, k, K, delta, before = sp.symbols("t eta k K Delta prefactor", positive=True)
    value = sp.integrate(before * k * sp.exp(-eta * K * t) * delta, (t, 0, sp.oo))
    symbols = {"eta": eta, "k": k, "K": K, "Delta": delta, "prefactor": before}
    return sp.simplify(value), symbols


def propagator_integral() -> tuple[sp.Matrix, sp.Matrix]:
    """Both sides of int_0^oo exp(-h K) dh = K^(-1) for every positive 2 x 2 kernel."""
    h, first, second = sp.symbols("h lambda_1 lambda_2", positive=True)
    angle = sp.symbols("theta", real=True)
    turn = sp.Matrix([[sp.cos(angle), -sp.sin(angle)], [sp.sin(angle), sp.cos(angle)]])
    kernel = turn * sp.diag(first, second) * turn.T
    modes = sp.diag(
        *(sp.integrate(sp.exp(-h * s), (h, 0, sp.oo)) for s in (first, second))
    )
    return sp.simplify(turn * modes * turn.T), sp.simplify(kernel.inv())


def aligned_error() -> tuple[Any, Any]:
    """Both sides of dDelta/dt = -h'(t) lambda Delta for Delta = exp(-h(t) lambda) (Eq. 13).

    Minus on the right: the error falls. The first arXiv version prints the equation of
    motion with the opposite sign, and its solution with this one.
    """
    t, rate = sp.symbols("t lambda", positive=True)
    h = sp.Function("h")
    delta = sp.exp(-h(t) * rate)
    return delta.diff(t), -h(t).diff(t) * rate * delta


def homogeneous_exponents(depth: int) -> tuple[int, int, Any]:
    """Powers of sigma in f_0 and K_0 of a net homogeneous of degree ``depth``, and the
    power a of f_0 = O(epsilon^a) with epsilon = sigma^(2 depth - 2) (Eq. 15)."""
    sigma, f, K = sp.symbols("sigma f K", positive=True)
    # f(lambda w) = lambda^depth f(w); a gradient loses one power, the kernel has two
    scaled_f = f * sigma**depth
    gradient = sp.diff(scaled_f, sigma)
    power_K = sp.degree(K * gradient**2, sigma)
    return depth, int(power_K), sp.Rational(depth, power_K)


def alignment_ceiling(depth: int, rank: int) -> float:
    """Final kernel-target alignment L / sqrt(L^2 + r - 1) of a linear net.

    For balanced layers and whitened data of ``rank`` r directions the kernel on the
    training set tends to (L - 1) y y^T / |y|^2 + the projector on r directions. Not in
    the paper, which shows the value as a dashed line in Figs. 1, 3 and 5.
    """
    return depth / np.sqrt(depth**2 + rank - 1)
