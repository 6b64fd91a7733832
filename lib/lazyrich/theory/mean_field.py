r"""Mean-field and tangent-kernel limits of a shallow net: derivations and closed forms.

The symbolic part proves identities of mdl2022 (Secs. 2 to 4 and Appendix) for two
neurons, two inputs and an activation function that is left open; the sums of the
general case have more terms of the same kind.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from scipy.linalg import expm, sqrtm

Array = np.ndarray


@dataclass(frozen=True)
class _Net:
    """Two neurons a_i sigma(w_i x) on two inputs, everything symbolic."""

    alpha: sp.Symbol
    a: list[sp.Symbol]
    w: list[sp.Symbol]
    x: list[sp.Symbol]
    y: list[sp.Symbol]
    p: list[sp.Symbol]

    @property
    def particles(self) -> list[tuple[sp.Symbol, sp.Symbol]]:
        return list(zip(self.a, self.w, strict=True))

    def unit(self, x: sp.Expr, particle: tuple[sp.Expr, sp.Expr]) -> sp.Expr:
        return particle[0] * sp.Function("sigma")(particle[1] * x)

    def f(self, x: sp.Expr) -> sp.Expr:
        units = [self.unit(x, particle) for particle in self.particles]
        return self.alpha / len(units) * sum(units)

    def u(self, k: int) -> sp.Expr:
        return self.y[k] - self.f(self.x[k])

    def mean(self, values: list[sp.Expr]) -> sp.Expr:
        return sp.Add(*(p * v for p, v in zip(self.p, values, strict=True)))

    def risk(self) -> sp.Expr:
        return self.mean([self.u(k) ** 2 for k in range(2)])

    def velocity(self, particle: tuple[sp.Symbol, sp.Symbol]) -> list[sp.Expr]:
        """The right-hand side of GFD for one particle."""
        return [
            self.mean(
                [
                    self.u(k) * sp.diff(self.unit(self.x[k], particle), q)
                    for k in range(2)
                ]
            )
            / self.alpha
            for q in particle
        ]

    def kernel(self, x: sp.Expr, other: sp.Expr) -> sp.Expr:
        return sp.Rational(1, 2) * sum(
            sp.diff(self.unit(x, particle), q) * sp.diff(self.unit(other, particle), q)
            for particle in self.particles
            for q in particle
        )


def _net() -> _Net:
    names = {key: list(sp.symbols(f"{key}1:3", real=True)) for key in "awxy"}
    return _Net(
        sp.Symbol("alpha", positive=True),
        p=list(sp.symbols("p1:3", positive=True)),
        **names,
    )


def _vanishes(expression: Any) -> bool:
    return sp.simplify(sp.expand(expression.doit())) == 0


def risk_gradient() -> bool:
    """Whether grad_theta_j R = -(2 alpha / N) E[(f - f_N) grad sigma_*] (Appendix), for
    every parameter of the symbolic net."""
    net = _net()
    return all(
        _vanishes(sp.diff(net.risk(), q) + (2 * net.alpha**2 / 2) * right)
        for particle in net.particles
        for q, right in zip(particle, net.velocity(particle), strict=True)
    )


def gradient_flow_prefactor() -> sp.Expr:
    """The factor c in theta_dot = -c grad R that leaves GFD: N / (2 alpha^2), N = 2 here.

    Solved from c grad R + velocity = 0, with all that depends on the particle
    cancelling.
    """
    net = _net()
    c = sp.Symbol("c")
    particle = net.particles[0]
    (found,) = sp.solve(
        sp.expand(
            c * sp.diff(net.risk(), particle[0]) + net.velocity(particle)[0]
        ).doit(),
        c,
    )
    return sp.simplify(found)


def function_dynamics() -> bool:
    """Whether sum_j grad_j f . theta_dot_j = E_x'[K(x, x') u(x')], free of alpha (FD)."""
    net = _net()
    x = sp.Symbol("x", real=True)
    moved = sum(
        sp.diff(net.f(x), q) * v
        for particle in net.particles
        for q, v in zip(particle, net.velocity(particle), strict=True)
    )
    driven = net.mean([net.kernel(x, net.x[k]) * net.u(k) for k in range(2)])
    return _vanishes(moved - driven)


def dissipation() -> tuple[bool, bool]:
    """Whether dR/dt is -2 int |grad Psi|^2 dmu, and whether it is -2 E[u K u]."""
    net = _net()
    rate = sum(
        sp.diff(net.risk(), q) * v
        for particle in net.particles
        for q, v in zip(particle, net.velocity(particle), strict=True)
    )
    by_particles = -sp.Integer(2) * sum(
        (net.alpha * v) ** 2 / 2
        for particle in net.particles
        for v in net.velocity(particle)
    )
    by_kernel = -2 * sum(
        net.p[j] * net.p[k] * net.u(j) * net.kernel(net.x[j], net.x[k]) * net.u(k)
        for j in range(2)
        for k in range(2)
    )
    return _vanishes(rate - by_particles), _vanishes(rate - by_kernel)


def variations() -> tuple[bool, bool]:
    """Whether the risk along (1 - s) mu_0 + s mu_1 has the slope 2 alpha int Psi
    d(mu_1 - mu_0) at s = 0, and the curvature 2 alpha^2 E[(int sigma_* d(mu_1 - mu_0))^2]
    everywhere. Features of the two measures are free symbols."""
    s, alpha = sp.symbols("s alpha", positive=True)
    m0, m1, y, p = (
        sp.symbols(f"{name}1:3", real=True) for name in ("m", "n", "y", "p")
    )
    risk = sum(
        p[k] * (y[k] - alpha * ((1 - s) * m0[k] + s * m1[k])) ** 2 for k in range(2)
    )
    psi = [-p[k] * (y[k] - alpha * m0[k]) for k in range(2)]  # times sigma_*(x_k)
    slope = 2 * alpha * sum(psi[k] * (m1[k] - m0[k]) for k in range(2))
    curvature = 2 * alpha**2 * sum(p[k] * (m1[k] - m0[k]) ** 2 for k in range(2))
    return (
        _vanishes(sp.diff(risk, s).subs(s, 0) - slope),
        _vanishes(sp.diff(risk, s, 2) - curvature),
    )


def jko_strength() -> sp.Expr:
    """The xi for which minimising movements follow GFD: 1 / (2 alpha^2).

    With N particles the minimum of R + (1/(2 xi tau)) (1/N) sum |theta_i - theta_i^t|^2
    has (theta_i - theta_i^t) / tau = -xi N grad_i R, to be equal to the velocity of GFD.
    """
    net = _net()
    xi, tau = sp.symbols("xi tau", positive=True)
    particle = net.particles[0]
    moved = tau * net.velocity(particle)[0]
    # stationarity, to first order in tau
    condition = sp.diff(net.risk(), particle[0]) + moved / (2 * xi * tau)
    (found,) = sp.solve(sp.expand(condition).doit(), xi)
    return sp.simplify(found)


def scale_dictionary() -> tuple[sp.Expr, sp.Expr]:
    """alpha_mf as a function of alpha_ntk and h, and the ratio of the two clocks.

    Outputs agree if alpha_mf / h = alpha_ntk / sqrt(h). Then the flow -h/(2 alpha_mf^2)
    grad E(y - F)^2 of mdl2022 is that of -(1/alpha_ntk^2) grad E (y - F)^2 / 2, at a
    speed whose ratio is returned: 1.
    """
    h, ntk, mf = sp.symbols("h alpha_ntk alpha_mf", positive=True)
    (found,) = sp.solve(sp.Eq(mf / h, ntk / sp.sqrt(h)), mf)
    clock = (h / (2 * mf**2)) / (1 / (2 * ntk**2))
    return found, sp.simplify(clock.subs(mf, found))


def lone_bump_curvature() -> tuple[sp.Expr, sp.Symbol, sp.Symbol]:
    """d^2 R / d theta^2 of one Gaussian bump that learns an equal bump at the origin.

    On the line with the Lebesgue measure, up to a positive factor, the risk is
    1 - exp(-theta^2 / (4 w^2)). A geodesic between Dirac masses moves theta at constant
    speed, so that this is the second derivative along it; it is negative for
    |theta| > sqrt(2) w.

    Returns:
        the curvature, theta, and the width w.
    """
    theta, w, x = sp.symbols("theta w x", positive=True)
    overlap = sp.integrate(
        sp.exp(-(x**2) / (2 * w**2) - (x - theta) ** 2 / (2 * w**2)),
        (x, -sp.oo, sp.oo),
    )
    norm = overlap.subs(theta, 0)
    risk = sp.simplify(1 - overlap / norm)
    return sp.simplify(sp.diff(risk, theta, 2)), theta, w


def gaussian_wasserstein(
    mean: Array, covariance: Array, other_mean: Array, other_covariance: Array
) -> float:
    """W_2 between Gaussians: |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2), the
    distance of Bures."""
    root = np.real(sqrtm(covariance))
    cross = np.real(sqrtm(root @ other_covariance @ root))
    square = np.sum((np.asarray(mean) - other_mean) ** 2) + np.trace(
        covariance + other_covariance - 2 * cross
    )
    return float(np.sqrt(max(float(square), 0.0)))


def frozen_solution(kernel: Array, residual: Array, times: Array) -> Array:
    """exp(-K t / n) u_0 by the matrix exponential, (len(times), n)."""
    return np.stack([expm(-t / len(residual) * kernel) @ residual for t in times])


def prior_covariance(x: Array, sigma: Callable[[Array], Array]) -> Array:
    """E_w[sigma(w . x) sigma(w . x')] for w ~ N(0, 1): kernel of the Gaussian process to
    which N^(-1/2) sum a_i sigma(w_i . x) tends (Neal 1996), by quadrature.

    Args:
        x: inputs (m, d).
        sigma: a smooth activation; for the ReLU see ``arc_cosine``.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / math.sqrt(2 * math.pi)
    gram = x @ x.T
    found = np.empty_like(gram)
    for i in range(len(x)):
        for j in range(len(x)):
            si, sj = math.sqrt(gram[i, i]), math.sqrt(gram[j, j])
            rho = min(1.0, max(-1.0, gram[i, j] / (si * sj)))
            second = rho * nodes[:, None] + math.sqrt(1 - rho * rho) * nodes
            values = sigma(si * nodes)[:, None] * sigma(sj * second)
            found[i, j] = weights @ values @ weights
    return found


def arc_cosine(x: Array) -> Array:
    """E_w[relu(w . x) relu(w . x')] for w ~ N(0, 1) (Cho and Saul 2009, degree one)."""
    norm = np.linalg.norm(x, axis=1)
    cosine = np.clip(x @ x.T / np.outer(norm, norm), -1.0, 1.0)
    phi = np.arccos(cosine)
    angular = np.sin(phi) + (math.pi - phi) * cosine
    return np.outer(norm, norm) * angular / (2 * math.pi)


def prior_excess_kurtosis(
    h: int, norm: float, sigma: Callable[[Array], Array]
) -> float:
    """Excess kurtosis of h^(-1/2) sum a_i sigma(w_i . x) with Gaussian a and w: that of
    one neuron, 3 E sigma^4 / (E sigma^2)^2 - 3, over h."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / math.sqrt(2 * math.pi)
    z = sigma(norm * nodes)
    return float((3 * (weights @ z**4) / (weights @ z**2) ** 2 - 3) / h)
