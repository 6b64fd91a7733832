r"""Exponents of geiger2020: how times, weights and kernels scale with sqrt(h) alpha.

The heuristic (Sec. 6): deep in the feature regime the weights inflate by a common
factor lambda until the predictor alpha f fits. With L hidden layers the read-out f is a
product of L + 1 inflating layers of weights and starts its inflation at O(sqrt(h)), so
alpha sqrt(h) lambda^(L+1) = O(1).
"""

import sympy as sp


def amplification() -> tuple[sp.Symbol, sp.Symbol, sp.Expr]:
    """(a, L, lambda): the inflation factor as a function of a = sqrt(h) alpha, solved
    from a lambda^(L+1) = 1."""
    a, L, lam = sp.symbols("a L lambda", positive=True)
    (solution,) = sp.solve(sp.Eq(sp.log(a) + (L + 1) * sp.log(lam), 0), lam)
    return a, L, sp.simplify(solution)


def kernel_exponent(L: int) -> sp.Rational:
    """Power p in |Theta - Theta_0| / |Theta_0| ~ (sqrt(h) alpha)^p, feature regime.

    The kernel is quadratic in gradients, each a product of the L other layers, so it
    grows as lambda^(2L): p = -2 / (1 + 1/L), which is -5/3 for L = 5 (Eq. 14).
    """
    a, depth, lam = amplification()
    power = sp.simplify(sp.log(lam ** (2 * depth)) / sp.log(a))
    return sp.nsimplify(power.subs(depth, L))


def weight_exponent(L: int) -> sp.Rational:
    """Power p in sqrt(h) |w - w0| / |w0| ~ (sqrt(h) alpha)^p, feature regime: -1/(L+1)."""
    a, depth, lam = amplification()
    power = sp.simplify(sp.log(lam) / sp.log(a))
    return sp.nsimplify(power.subs(depth, L))
