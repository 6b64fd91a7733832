r"""Two-layer linear networks f = a . W x that start small (atanasov2022, Sec. 3, App. B).

Teacher y = s beta . x with |beta| = 1, covariance Sigma, loss (1/2P) sum (f - y)^2,
rate 1. For whitened data, Sigma = I, the state along beta is

    q = (|W beta|^2 + |a|^2) / 2,      r = beta . W^T a   (the function along beta).
"""

import itertools
from functools import cache
from typing import Any

import numpy as np
import sympy as sp

Array = np.ndarray | float


# ---------------------------------------------------------------- the flow, symbolically


def _net(d: int, n: int) -> tuple[Any, Any, Any, Any]:
    """(a, W, beta, s) as symbols; beta is the first axis, which loses no generality."""
    a = sp.Matrix(n, 1, sp.symbols(f"a1:{n + 1}", real=True))
    W = sp.Matrix(n, d, sp.symbols(f"w1:{n * d + 1}", real=True))
    beta = sp.Matrix([1] + [0] * (d - 1))
    return a, W, beta, sp.Symbol("s", positive=True)


def _derivative(
    expression: Any,
    a: Any,
    W: Any,
    velocity: tuple[Any, Any],
) -> Any:
    """d expression / dt along (da/dt, dW/dt)."""
    pairs = itertools.chain(
        zip(a, velocity[0], strict=True), zip(W, velocity[1], strict=True)
    )
    return sp.expand(sum(sp.diff(expression, x) * v for x, v in pairs))


def _exact_velocity(a: Any, W: Any, beta: Any, s: Any) -> tuple[Any, Any]:
    left = s * beta - W.T * a
    return W * left, a * left.T


def _early_velocity(a: Any, W: Any, beta: Any, s: Any) -> tuple[Any, Any]:
    return s * W * beta, s * a * beta.T


def flow_is_gradient(d: int = 2, n: int = 2) -> bool:
    """Eq. 4 is minus the gradient of 1/2 (s beta - W^T a)^T Sigma (s beta - W^T a), for
    every symmetric Sigma."""
    a, W, beta, s = _net(d, n)
    entries = {
        tuple(sorted((i, j))): sp.Symbol(f"S{min(i, j)}{max(i, j)}", real=True)
        for i in range(d)
        for j in range(d)
    }
    Sigma = sp.Matrix(d, d, lambda i, j: entries[tuple(sorted((i, j)))])
    left = s * beta - W.T * a
    loss = (left.T * Sigma * left)[0] / 2
    minus_a = sp.Matrix([-sp.diff(loss, x) for x in a])
    minus_W = sp.Matrix(n, d, [-sp.diff(loss, x) for x in W])
    same_a = (minus_a - W * Sigma * left).expand()
    same_W = (minus_W - a * left.T * Sigma).expand()
    return same_a.is_zero_matrix is True and same_W.is_zero_matrix is True


def balance_is_conserved(d: int = 3, n: int = 2) -> bool:
    """d/dt [a a^T - W W^T] = 0 along Eq. 4 with Sigma = I, exactly."""
    a, W, beta, s = _net(d, n)
    velocity = _exact_velocity(a, W, beta, s)
    conserved = a * a.T - W * W.T
    return all(_derivative(x, a, W, velocity) == 0 for x in conserved)


def early_system_closes(d: int = 3, n: int = 2) -> bool:
    """Eq. 16: along the linearised flow dq/dt = 2 s r and dr/dt = 2 s q."""
    a, W, beta, s = _net(d, n)
    velocity = _early_velocity(a, W, beta, s)
    q = ((W * beta).dot(W * beta) + a.dot(a)) / 2
    r = (W * beta).dot(a)
    first = sp.expand(_derivative(q, a, W, velocity) - 2 * s * r)
    second = sp.expand(_derivative(r, a, W, velocity) - 2 * s * q)
    return first == 0 and second == 0


def orthogonal_growth(d: int = 3, n: int = 2) -> bool:
    """Eq. 18: for v orthogonal to beta, d/dt v^T M v = 2 s r, half the rate of beta."""
    a, W, beta, s = _net(d, n)
    velocity = _early_velocity(a, W, beta, s)
    v: Any = sp.Matrix([0, *sp.symbols(f"v2:{d + 1}", real=True)])
    unit = {v[d - 1] ** 2: 1 - sum(x**2 for x in v[1 : d - 1])}
    M = W.T * W + a.dot(a) * sp.eye(d)
    r = (W * beta).dot(a)
    along = _derivative((v.T * M * v)[0], a, W, velocity)
    return sp.expand(sp.expand(along - 2 * s * r * v.dot(v)).subs(unit)) == 0


# ---------------------------------------------------------------- initial state


def init_moments(sigma: float, d: int, n: int) -> tuple[float, float, float]:
    """(<q_0>, <r_0>, <r_0^2>) over Gaussian weights a ~ N(0, sigma^2/n), W ~ N(0,
    sigma^2/d): sigma^2 (1 + n/d) / 2, 0, sigma^4 / d (Eq. 17)."""
    return sigma**2 * (1 + n / d) / 2, 0.0, sigma**4 / d


@cache
def _moment(power: int) -> int:
    """E z^power of a standard Gaussian."""
    return 0 if power % 2 else int(sp.factorial2(power - 1))


def init_moments_are_exact(d: int = 3, n: int = 2) -> bool:
    """``init_moments`` from the polynomials in the weights, monomial by monomial."""
    a, W, beta, _ = _net(d, n)
    sigma = sp.Symbol("sigma", positive=True)
    scale = {x: sigma / sp.sqrt(n) for x in a} | {x: sigma / sp.sqrt(d) for x in W}

    def mean(expression: Any) -> Any:
        polynomial = sp.Poly(sp.expand(expression), *scale)
        return sum(
            coefficient
            * sp.prod(
                [
                    _moment(power) * width**power
                    for power, width in zip(powers, scale.values(), strict=True)
                ]
            )
            for powers, coefficient in polynomial.terms()
        )

    q = ((W * beta).dot(W * beta) + a.dot(a)) / 2
    r = (W * beta).dot(a)
    expected = init_moments(sigma, sp.Integer(d), sp.Integer(n))  # type: ignore
    found = (mean(q), mean(r), mean(r**2))
    return all(sp.simplify(x - y) == 0 for x, y in zip(found, expected, strict=True))


# ---------------------------------------------------------------- phase I


def early_qr(t: Array, s: float, q0: float, r0: float) -> tuple[Array, Array]:
    """q and r while the function is small, from Eq. 16: (q_0 cosh 2st + r_0 sinh 2st,
    q_0 sinh 2st + r_0 cosh 2st)."""
    ch, sh = np.cosh(2 * s * np.asarray(t)), np.sinh(2 * s * np.asarray(t))
    return q0 * ch + r0 * sh, q0 * sh + r0 * ch


def early_kernel(
    t: float,
    a0: np.ndarray,
    W0: np.ndarray,
    beta: np.ndarray,
    s: float,
    cross: bool = True,
) -> np.ndarray:
    """The kernel's matrix M(t) in phase I, (d, d) (Eq. 19, with all terms).

        M = M_0 + (q - q_0) [beta beta^T + I] + beta m^T + m beta^T,
        m = P W_0^T W_0 beta (cosh st - 1) + P W_0^T a_0 sinh st,   P = I - beta beta^T

    solves the linearised flow exactly. The paper keeps the leading growth q_0 cosh 2st
    and leaves out r_0 and the cross terms m, which fall behind as exp(-st).

    Args:
        t: time.
        a0, W0: initial weights (n,), (n, d).
        beta: unit vector (d,).
        s: strength of the teacher.
        cross: whether to keep the cross terms.
    """
    identity = np.eye(len(beta))
    M0 = W0.T @ W0 + (a0 @ a0) * identity
    first = W0 @ beta
    q0, r0 = float(first @ first + a0 @ a0) / 2, float(first @ a0)
    q, _ = early_qr(t, s, q0, r0)
    M = M0 + (q - q0) * (np.outer(beta, beta) + identity)
    if cross:
        off = identity - np.outer(beta, beta)
        m = off @ W0.T @ (first * (np.cosh(s * t) - 1) + a0 * np.sinh(s * t))
        M = M + np.outer(beta, m) + np.outer(m, beta)
    return M


# ---------------------------------------------------------------- phase II and matching


def aligned_growth(t: Array, s: float, c0: float) -> np.ndarray:
    """c(t) = s exp(2st) / (exp(2st) - 1 + s/c_0), the solution of dc/dt = 2 c (s - c)
    (App. B.3; c = u^2 = |a|^2 of an aligned, balanced net)."""
    decay = np.exp(-2 * s * np.asarray(t))
    return s / (1 + (s / c0 - 1) * decay)


def half_loss_time(s: float, c0: float) -> float:
    """When the loss (s - c)^2 / 2 is half of its value at c = 0:
    (1/2s) log[(s/c_0 - 1) / (1 + sqrt 2)]."""
    return float(np.log((s / c0 - 1) / (1 + np.sqrt(2))) / (2 * s))


def aligned_growth_symbolic() -> dict[str, bool]:
    """Sympy on ``aligned_growth``: its equation, start, limit, half-loss time, and that
    exp(2st), not exp(st), is s/c_0 - 1 where c = s/2."""
    t, s, c0 = sp.symbols("t s c0", positive=True)
    c = s * sp.exp(2 * s * t) / (sp.exp(2 * s * t) - 1 + s / c0)
    u = sp.Function("u")(t)
    chain = sp.diff(u**2, t).subs(u.diff(t), u * (s - u**2))
    half = sp.log((s / c0 - 1) / (1 + sp.sqrt(2))) / (2 * s)
    share = sp.simplify(c.subs(t, half) / s - (1 - 1 / sp.sqrt(2)))
    crossover = sp.simplify(c.subs(sp.exp(2 * s * t), s / c0 - 1) - s / 2)
    twice = sp.simplify(c.subs(sp.exp(2 * s * t), (s / c0) ** 2) - s / 2)
    return {
        "ode": sp.simplify(c.diff(t) - 2 * c * (s - c)) == 0,
        "chain_rule": sp.expand(chain - 2 * u**2 * (s - u**2)) == 0,
        "start": sp.simplify(c.subs(t, 0) - c0) == 0,
        "end": sp.limit(c.subs({s: 2, c0: sp.Rational(1, 100)}), t, sp.oo) == 2,
        "half_loss": sp.simplify(share) == 0,
        "crossover": crossover == 0,
        "printed_crossover": twice == 0,
    }


def matched_qr(
    t: Array, s: float, q0: float, r0: float
) -> tuple[np.ndarray, np.ndarray]:
    """q and r at all times, up to O(sigma^2) (Eqs. 27-28 with r_0 kept):

        q, r = 2s (q_0 cosh 2st + r_0 sinh 2st, q_0 sinh 2st + r_0 cosh 2st)
               / [(q_0 + r_0)(exp(2st) - 1) + 2s].

    The paper prints the case r_0 = 0, which is right for large d.
    """
    x = 2 * s * np.asarray(t, dtype=float)
    decay = np.exp(-x)  # all times exp(-x), so that late times do not overflow
    plus, minus = (q0 + r0) / 2, (q0 - r0) / 2
    below = (q0 + r0) * (1 - decay) + 2 * s * decay
    q = 2 * s * (plus + minus * decay**2) / below
    r = 2 * s * (plus - minus * decay**2) / below
    return q, r


def matched_qr_symbolic() -> dict[str, bool]:
    """Sympy on ``matched_qr``: start (q_0, r_0), end (s, s), and both phases: to first
    order in the scale of the weights it is the early solution with r_0, and q + r = 2 c
    with c the growth of phase II from c_0 = (q_0 + r_0) / 2. The formula as printed,
    r_0 = 0, starts from r = 0 and has c_0 = q_0 / 2."""
    t, s, q0, k = sp.symbols("t s q0 k", positive=True)
    r0 = sp.Symbol("r0", real=True)
    x = 2 * s * t
    below = (q0 + r0) * (sp.exp(x) - 1) + 2 * s
    q = 2 * s * (q0 * sp.cosh(x) + r0 * sp.sinh(x)) / below
    r = 2 * s * (q0 * sp.sinh(x) + r0 * sp.cosh(x)) / below

    def first_order(f: Any) -> Any:
        scaled = f.subs({q0: k * q0, r0: k * r0}, simultaneous=True)
        return sp.diff(scaled, k).subs(k, 0)

    c0 = (q0 + r0) / 2
    c = s * sp.exp(x) / (sp.exp(x) - 1 + s / c0)
    numbers = {s: 2, q0: sp.Rational(1, 50), r0: sp.Rational(1, 300)}
    early_q = q0 * sp.cosh(x) + r0 * sp.sinh(x)
    early_r = q0 * sp.sinh(x) + r0 * sp.cosh(x)
    return {
        "start": sp.simplify(q.subs(t, 0) - q0) == 0
        and sp.simplify(r.subs(t, 0) - r0) == 0,
        "end": all(
            sp.limit(f.subs(numbers).rewrite(sp.exp), t, sp.oo) == 2 for f in (q, r)
        ),
        "phase_one": sp.simplify((first_order(q) - early_q).rewrite(sp.exp)) == 0
        and sp.simplify((first_order(r) - early_r).rewrite(sp.exp)) == 0,
        "phase_two": sp.simplify((q + r).rewrite(sp.exp) - 2 * c) == 0,
        "printed_phase_one": sp.simplify(
            (first_order(r).subs(r0, 0) - early_r).rewrite(sp.exp)
        )
        == 0,
    }


def one_dimensional_qr(t: Array, s: float, q0: float, r0: float) -> tuple[Any, Any]:
    """q and r of a net with one input, d = 1, at all times and without approximation.

    There dq/dt = 2 r (s - r), dr/dt = 2 q (s - r), so that k^2 = q^2 - r^2 is conserved
    and z = (q + r) / k obeys the Riccati equation dz/dt = -k z^2 + 2 s z + k.

    Raises:
        ValueError: q_0 <= |r_0|, which no weights give.
    """
    if q0 <= abs(r0):
        raise ValueError(f"q0 must exceed |r0| = {abs(r0)!r}, got {q0!r}")
    k = np.sqrt(q0**2 - r0**2)
    omega = np.hypot(s, k)
    high, low = (s + omega) / k, -k / (s + omega)
    z0 = (q0 + r0) / k
    ratio = (z0 - high) / (z0 - low) * np.exp(-2 * omega * np.asarray(t, dtype=float))
    z = (high - low * ratio) / (1 - ratio)
    return k * (z + 1 / z) / 2, k * (z - 1 / z) / 2


# ---------------------------------------------------------------- unwhitened data


def five_modes(a: Any, b: Any) -> sp.Matrix:
    """The matrix R of dr/dt = s R r for the five bilinears of Eqs. 22 and 23,

        r = (beta.W^T a, |a|^2, beta.W^T W Sigma beta, beta.Sigma W^T a,
             beta.Sigma W^T W Sigma beta),

    with a = beta . Sigma beta and b = beta . Sigma^2 beta.
    """
    return sp.Matrix(
        [
            [0, a, 1, 0, 0],
            [0, 0, 0, 2, 0],
            [b, 0, 0, a, 0],
            [0, b, 0, 0, 1],
            [0, 0, 0, 2 * b, 0],
        ]
    )


def growing_modes(a: Any, b: Any) -> tuple[sp.Matrix, sp.Matrix]:
    """The modes of Eq. 24 that grow as exp(s sqrt(b) t) and exp(2 s sqrt(b) t)."""
    root = sp.sqrt(b)
    slow = sp.Matrix([1, 0, root, 0, 0])
    return slow, sp.Matrix([a, root, a * root, b, b * root])


def five_modes_symbolic() -> dict[str, bool]:
    """Sympy on Eqs. 23-25: eigenvalues, eigenvectors, and the strength of the spike."""
    a, root = sp.symbols("a root_b", positive=True)
    b = root**2
    R = five_modes(a, b)
    values = {0: 1, root: 1, -root: 1, 2 * root: 1, -2 * root: 1}
    slow, fast = (m.subs(sp.sqrt(b), root) for m in growing_modes(a, b))
    # In the fast mode W^T W = k |a|^2 Sigma beta beta^T Sigma / b^p; r_5 / r_2 fixes k.
    # With weight 1/b the ratio beta Sigma (W^T W) Sigma beta / |a|^2 is b^2 / b.
    ratio = sp.simplify(fast[4] / fast[1])
    return {
        "eigenvalues": R.eigenvals() == values,
        "slow": sp.simplify(R * slow - root * slow).is_zero_matrix is True,
        "fast": sp.simplify(R * fast - 2 * root * fast).is_zero_matrix is True,
        "spike": sp.simplify(ratio - b**2 / b) == 0,
        "printed_spike": sp.simplify(ratio - b**2 / root) == 0,
    }


def early_unwhitened(
    t: float, a0: np.ndarray, W0: np.ndarray, sigma_beta: np.ndarray, s: float
) -> tuple[np.ndarray, np.ndarray]:
    """(a, W) of the linearised flow da/dt = s W Sigma beta, dW/dt = s a (Sigma beta)^T
    (Eqs. 20-21), solved exactly for given Sigma beta (d,)."""
    b = float(sigma_beta @ sigma_beta)
    first = W0 @ sigma_beta / np.sqrt(b)
    x = s * np.sqrt(b) * t
    a = a0 * np.cosh(x) + first * np.sinh(x)
    grown = a0 * np.sinh(x) + first * (np.cosh(x) - 1)
    return a, W0 + np.outer(grown, sigma_beta) / np.sqrt(b)
