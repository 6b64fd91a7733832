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


def blow_up(L: int) -> tuple[sp.Expr, sp.Symbol, sp.Symbol]:
    """lambda(t) of the homogeneous inflation d lambda/dt = lambda^L / t_x, lambda(t_x) = 1,
    with t_x = sqrt(h) alpha.

    With all margins active each of the L + 1 layers is pushed by the product of the L
    others. Separating variables, int_1^lambda x^(-L) dx = (t - t_x)/t_x: for L >= 2 the
    solution diverges at t_x + t_x / (L - 1); for L = 1 it grows exponentially. An addition
    to geiger2020, Sec. 6.

    Returns:
        the solution, and the symbols t and t_x.
    """
    t, t_x, x, lam = sp.symbols(r"t t_\times x lambda", positive=True)
    elapsed = sp.integrate(x**-L, (x, 1, lam))
    if L == 1:
        (solution,) = sp.solve(sp.Eq(elapsed, (t - t_x) / t_x), lam)
        return solution, t, t_x
    u = sp.Symbol("u", positive=True)  # lambda^(1 - L), in which the equation is linear
    power = sp.Rational(1, 1 - L)
    (found,) = sp.solve(
        sp.Eq(sp.simplify(elapsed.subs(lam, u**power)), (t - t_x) / t_x), u
    )
    return found**power, t, t_x


def half_loss_ratio(L: int, alpha_mf: float) -> float:
    """t / t_x at which lambda^(L+1) sqrt(h) alpha = 1 under ``blow_up``: bounded by
    L / (L - 1) for L >= 2, logarithmic in alpha for L = 1."""
    inflation = alpha_mf ** (-1.0 / (L + 1))
    if L == 1:
        return 1.0 + float(sp.log(inflation))
    return 1.0 + (1.0 - inflation ** (1 - L)) / (L - 1)
