r"""The momentum flow tau dv/dt = -(v + g), solved symbolically (geiger2020, Eq. 6)."""

from typing import Any

import sympy as sp


def _solution(right: Any, s: sp.Symbol, v: Any, start: Any, v0: sp.Symbol) -> Any:
    """The v(s) with dv/ds = right and v(start) = v0, for ``right`` linear in v.

    The constant is found by hand and nothing is simplified: sympy would try random
    numbers for the symbols, and powers of them can take all time and memory there is.
    """
    equation = sp.Eq(v(s).diff(s), right)
    general: Any = sp.dsolve(equation, v(s), hint="1st_linear", simplify=False)
    constant = sp.Symbol("C1")
    constants: Any = sp.linsolve([general.rhs.subs(s, start) - v0], constant)
    ((found,),) = constants
    return general.rhs.subs(constant, found).doit().rewrite(sp.Pow)


def velocity_fixed_memory() -> tuple[Any, dict[str, sp.Symbol]]:
    """v after a step dt with constant gradient g and fixed memory time tau.

    Returns the expression in (v0, g, dt, tau) and those symbols; it should read
    a v0 - (1 - a) g with a = exp(-dt/tau).
    """
    s, dt, tau = sp.symbols("s dt tau", positive=True)
    g, v0 = sp.symbols("g v0", real=True)
    v = sp.Function("v")
    solved = _solution(-(v(s) + g) / tau, s, v, 0, v0)
    symbols = {"v0": v0, "g": g, "dt": dt, "tau": tau}
    return sp.expand(solved.subs(s, dt), power_exp=False), symbols


def velocity_growing_memory() -> tuple[Any, dict[str, sp.Symbol]]:
    """v after a step from t to t + dt with constant gradient g and tau = t / mu.

    Returns the expression in (v0, g, t, dt, mu) and those symbols; it should read
    a v0 - (1 - a) g with a = (t / (t + dt))^mu.
    """
    s, t, dt, mu = sp.symbols("s t dt mu", positive=True)
    g, v0 = sp.symbols("g v0", real=True)
    v = sp.Function("v")
    solved = _solution(-(mu / s) * (v(s) + g), s, v, t, v0)
    symbols = {"v0": v0, "g": g, "t": t, "dt": dt, "mu": mu}
    return sp.expand(solved.subs(s, t + dt), power_exp=False), symbols


def memory_integral() -> tuple[sp.Expr, sp.Expr]:
    """Both sides of v(t) = -mu t^(-mu) int_0^t s^(mu-1) g(s) ds for g(s) = s^k.

    The left side is the solution of the flow that stays finite at t = 0; the power k
    spans all gradients with a power series, so equality for symbolic k proves it.
    """
    s, t, mu = sp.symbols("s t mu", positive=True)
    k = sp.symbols("k", nonnegative=True)
    c = sp.symbols("c")
    # try v = c t^k in dv/dt = -(mu/t)(v + t^k)
    (coefficient,) = sp.solve(sp.Eq(k * c, -mu * (c + 1)), c)
    left = coefficient * t**k
    right = -mu * t ** (-mu) * sp.integrate(s ** (mu - 1) * s**k, (s, 0, t))
    return left, sp.simplify(right)
