r"""Which interpolator a spiked linear kernel selects (atanasov2022, App. F), symbolically.

Regression with K = x . M x', M = A v v^T + I and |v| = 1, picks the interpolator of
smallest b^T M^-1 b. Two steps show that it does not depend on A (Eqs. 50-52).
"""

from typing import Any

import sympy as sp


def _unit_vector() -> tuple[sp.Matrix, list[sp.Symbol]]:
    """v(theta, phi), a general unit vector in three dimensions."""
    theta, phi = sp.symbols("theta phi", real=True)
    v = sp.Matrix(
        [
            sp.sin(theta) * sp.cos(phi),
            sp.sin(theta) * sp.sin(phi),
            sp.cos(theta),
        ]
    )
    return v, [theta, phi]


def norm_by_sherman_morrison() -> Any:
    """b^T (A v v^T + I)^-1 b minus |b|^2 - A/(1+A) (v . b)^2 (Eq. 51): 0.

    Checked by multiplying the claimed inverse with the matrix, for general b and v.
    """
    A = sp.Symbol("A", positive=True)
    v, _ = _unit_vector()
    claimed = sp.eye(3) - A / (1 + A) * v * v.T
    product = ((A * v * v.T + sp.eye(3)) * claimed - sp.eye(3)).applyfunc(sp.simplify)
    b = sp.Matrix(sp.symbols("b1:4", real=True))
    left = (b.T * claimed * b)[0]
    right = (b.T * b)[0] - A / (1 + A) * (v.T * b)[0] ** 2
    return sp.simplify(left - right) + sum(abs(entry) for entry in product)


def objective_of_interpolators() -> Any:
    """b^T M^-1 b for b = s v + p, p orthogonal to v, minus s^2/(1+A) + |p|^2 (Eq. 52): 0.

    Every interpolator of targets y = s v . x with v in the data span has this form with p
    orthogonal to the span, so that p = 0 is best for each A.
    """
    A, s = sp.symbols("A s", positive=True)
    p1, p2 = sp.symbols("p1 p2", real=True)
    v, (theta, phi) = _unit_vector()
    first, second = v.diff(theta), v.diff(phi) / sp.sin(theta)
    b = s * v + p1 * first + p2 * second
    norm = (b.T * b)[0] - A / (1 + A) * (v.T * b)[0] ** 2
    return sp.simplify(norm - s**2 / (1 + A) - p1**2 - p2**2)


def residual_off_the_span() -> Any:
    r"""The share of the off-span part that kernel regression keeps, (L-1)/L.

    At small sigma the layers of the trained net are W^1 = u r_2 v^T + P and
    W^l = u r_{l+1} r_l^T for l >= 2, with P the frozen initial weights off the span.
    To first order in P the end-to-end map off the span is u^(L-1) p with p = P^T r_2.
    The tangent matrix M is the sum over layers of |above|^2 below^T below. The first
    layer has below = I, so no block that joins span and off-span. Each of the others
    has the block u^(2L-2) v (p / u)^T. Regression with y = u^L v . x is
    M v (u^L / v^T M v), and v^T M v = L u^(2L-2). Returned is its off-span part over
    the net's.
    """
    L, u, p = sp.symbols("L u p", positive=True)
    joint = (L - 1) * u ** (2 * L - 2) * p / u
    along = L * u ** (2 * L - 2)
    regression = u**L * joint / along
    net = u ** (L - 1) * p
    return sp.simplify(regression / net)
