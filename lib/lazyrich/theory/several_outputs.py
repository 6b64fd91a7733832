r"""Closed forms for deep linear nets with several outputs (atanasov2022, Sec. 4.2, App. G).

The teacher is beta = sum_a s_a z_a v_a^T, (C, D). In a balanced net of L layers of weights
with equal rates each mode carries one number: every layer has the singular value u_a in
mode a, and u_a^L = s_a at the end. Inputs are whitened.
"""

from typing import Any

import numpy as np
import sympy as sp

Array = np.ndarray


def half_time(s: float, start: float) -> float:
    """Time at which a two-layer mode has learned half, log(2s / start - 1) / (2s).

    ``start`` is q_0 + r_0, the growing part of twice the mode's initial kernel weight
    (corrected Sec. 4.2; for a balanced start it is 2 u_0^2).
    """
    return float(np.log(2.0 * s / start - 1.0) / (2.0 * s))


def printed_half_time(s: float, start: float) -> float:
    """The printed time, log(s / u_0^2) / s with u_0^2 = start / 2."""
    return float(np.log(2.0 * s / start) / s)


def half_time_solved() -> bool:
    """Whether d(u^2)/dt = 2 u^2 (s - u^2) reaches s/2 at exp(2 s t) = s/u_0^2 - 1."""
    s, p, t, k = sp.symbols("s p t k", positive=True)  # p = u_0^2, s = p (1 + k)
    c = s * sp.exp(2 * s * t) / (sp.exp(2 * s * t) - 1 + s / p)
    flow = sp.simplify(sp.diff(c, t) - 2 * c * (s - c)) == 0
    start = sp.simplify(c.subs(t, 0) - p) == 0
    # e^(2st) is replaced by k; then s/u_0^2 = 1 + k
    grown = s * k / (k - 1 + (1 + k))
    return bool(flow and start and sp.simplify(grown - s / 2) == 0)


def balanced_kernel(
    u: Array, z: Array, v: Array, depth: int, *, as_printed: bool = False
) -> Array:
    r"""The block tangent kernel's matrix M_{cc'} of a balanced net (Eq. 53, corrected).

        M_cc' = delta_cc' sum_a u_a^(2(L-1)) v_a v_a^T
                + sum_{l=1}^{L-1} [sum_a u_a^(2(L-l)) z_ac z_ac'] G_l,

    with G_1 = I and G_l = sum_b u_b^(2(l-1)) v_b v_b^T for l >= 2.

    Args:
        u: (C,) singular values of the layers.
        z: (C, C) output vectors, one a column; v: (D, C) input vectors, one a column.
        depth: L, layers of weights.
        as_printed: G_1 = sum_b v_b v_b^T, as the paper prints it.

    Returns:
        (C, C, D, D).
    """
    identity = np.eye(len(z))
    top = (v * u ** (2 * (depth - 1))) @ v.T
    total = identity[:, :, None, None] * top[None, None]
    for layer in range(1, depth):
        outer = (z * u ** (2 * (depth - layer))) @ z.T
        if layer == 1 and not as_printed:
            gram = np.eye(len(v))
        else:
            gram = (v * u ** (2 * (layer - 1))) @ v.T
        total = total + outer[:, :, None, None] * gram[None, None]
    return total


def alignment_ceiling(s: Array, depth: int, d: int) -> float:
    r"""Alignment of the kernel with the targets after training, on whitened data.

    The kernel has the eigenvectors z_a v_i^T with eigenvalues

        lambda_ai = sum_{l=1}^L s_a^(2(L-l)/L) s_i^(2(l-1)/L),

    where for directions i beyond the C learned ones only l = 1 contributes, and the targets
    are sum_a s_a z_a v_a^T. An addition: the paper draws the line without a formula. At
    C = 1 it is L / sqrt(L^2 + d - 1).

    Args:
        s: singular values of the teacher, positive, (C,).
        depth: L; d: number of input directions.
    """
    s = np.asarray(s, dtype=float)
    powers = np.arange(depth)
    up = s[:, None] ** (2.0 * (depth - 1 - powers) / depth)
    down = s[:, None] ** (2.0 * powers / depth)
    learned = up @ down.T
    other = s ** (2.0 * (depth - 1) / depth)
    norm = np.sqrt(np.sum(learned**2) + (d - len(s)) * np.sum(other**2))
    return float(s**2 @ np.diag(learned) / (np.sum(s**2) * norm))


def layer_difference(n1: int, n2: int, n3: int) -> float:
    """(u_1^2 - u_2^2) / sigma^2 of a two-layer net, mean over modes: (N2 - N3) / N1.

    Replaces Eq. 57; ``n1`` inputs, ``n2`` hidden units, ``n3`` outputs, all learned.
    """
    return (n2 - n3) / n1


def printed_layer_difference(n1: int, n2: int, n3: int) -> float:
    """Eq. 57 as printed: 1 - N3 / N2, whatever N1."""
    return 1.0 - n3 / n2


def leading_correction(depth: int) -> tuple[Any, Any]:
    r"""(leading term, coefficient of sigma^2) of u^2 in Eq. 58, by series (Eq. 59).

    Eq. 58 is prod_l (u^2 + sigma^2 g_l) = s^2 with the last g_L = 0. With
    u^2 = s^(2/L) + c sigma^2 the order sigma^2 gives c = -g/L, g = sum_l g_l. Returned are
    the residual of Eq. 58 at order 0 for u^2 = s^(2/L), which must be 0, and c.
    """
    root, e, c = sp.symbols("r e c")  # s = r^L, e = sigma^2, u^2 = r^2 + c e
    g = sp.symbols(f"g1:{depth + 1}")
    square = root**2 + c * e
    product = sp.prod([square + e * g_l for g_l in g[:-1]]) * square
    residual = sp.expand(product - root ** (2 * depth))
    (solved,) = sp.solve(residual.coeff(e, 1), c)
    total = sum(g[:-1])
    return sp.simplify(residual.coeff(e, 0)), sp.simplify(solved + total / depth)


def corrected_scale(s: float, g: float, sigma: float, depth: int) -> float:
    """u^2 = s^(2/L) - g sigma^2 / L (Eq. 59, corrected)."""
    return s ** (2.0 / depth) - g * sigma**2 / depth


def printed_scale(s: float, g: float, sigma: float, depth: int) -> float:
    """u^2 = s^2 - g sigma^2 / (2 L s^(1/L)), as printed."""
    return s**2 - g * sigma**2 / (2.0 * depth * s ** (1.0 / depth))
