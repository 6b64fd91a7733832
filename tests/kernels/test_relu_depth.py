"""The jump to any depth against layers one by one, the derivation, and its limits."""

import math
from fractions import Fraction

import pytest
import sympy as sp
import torch

from lazyrich.kernels import abel_constant, relu_ntk_any_depth, relu_ntk_correlation
from lazyrich.kernels import relu_depth as module
from lazyrich.theory import relu_recursion as theory

F64 = torch.float64
GAPS = torch.tensor([2, 1.5, 1, 0.3, 1e-2, 1e-6, 1e-14, 1e-24], dtype=F64)


@pytest.mark.parametrize(
    "depth",
    [1, 7, 256, 257, 300, 1000, 10**4, pytest.param(10**6, marks=pytest.mark.slow)],
)
def test_jump_is_layers_one_by_one(depth):
    for got, right in zip(
        relu_ntk_any_depth(GAPS, depth), relu_ntk_correlation(GAPS, depth), strict=True
    ):
        torch.testing.assert_close(got, right, rtol=1e-13, atol=1e-300)


def test_coefficients_are_those_of_the_derivation():
    def symbolic(powers):
        return sum(
            sp.Rational(Fraction(c).numerator, Fraction(c).denominator)
            * sp.pi ** (2 * k)
            for k, c in enumerate(powers)
        )

    for powers, right in zip(module._ABEL, theory.abel_coefficients(6), strict=True):
        assert sp.expand(symbolic(powers) - right) == 0
    shift = theory.transient_coefficients(6)
    for powers, right in zip(module._TRANSIENT, shift, strict=True):
        assert sp.expand(symbolic(powers) - right) == 0
    first, *rest = theory.kernel_coefficients(6)
    assert first == [sp.Rational(1, 4)]
    for (plain, logs), row in zip(module._KERNEL, rest, strict=True):
        right = [*row, sp.Integer(0)][:2]
        assert sp.expand(symbolic(plain) - right[0]) == 0
        assert sp.expand(symbolic(logs) - right[1]) == 0
        assert len(row) <= 2


def test_far_layers_follow_the_two_term_laws():
    depth = 10**12
    gap, theta = relu_ntk_any_depth(GAPS[:4], depth)
    c = abel_constant(GAPS[:4])
    v = depth - 1 + 1.5 * math.log(depth - 1) + c
    torch.testing.assert_close(
        torch.acos(1 - GAPS[2:3]), torch.tensor([math.pi / 2]).to(F64)
    )
    torch.testing.assert_close(gap, 4.5 * math.pi**2 / v**2, rtol=1e-9, atol=0)
    excess = 0.375 * math.log(depth) / depth + (c / 4 - 0.375) / depth
    torch.testing.assert_close(theta - 0.25, excess, rtol=1e-4, atol=0)


def test_one_layer_more_adds_one_to_the_constant():
    # kappa_1(-1) = 0 and kappa_1(0) = 1/pi
    c = abel_constant(torch.tensor([2.0, 1.0, 1 - 1 / math.pi], dtype=F64))
    torch.testing.assert_close(c.diff(), torch.ones(2, dtype=F64), rtol=0, atol=1e-11)


def test_equal_inputs_and_dtypes():
    gap, theta = relu_ntk_any_depth(torch.tensor([0.0, 0.5]), 10**9)
    assert gap.dtype == theta.dtype == torch.float32
    assert gap[0] == 0
    assert theta[0] == 1
    assert math.isinf(float(abel_constant(torch.zeros((), dtype=F64))))
    assert relu_ntk_any_depth(torch.full((2, 3), 0.4), 500)[1].shape == (2, 3)


@pytest.mark.parametrize(
    ("gap", "depth", "error"),
    [
        (torch.tensor([2.5]), 3, ValueError), (torch.tensor([1]), 3, TypeError),
        (torch.tensor([1.0]), 0, ValueError), (torch.tensor([1.0]), 1e3, TypeError),
        (torch.tensor([1.0]), 10**16, ValueError), (0.5, 3, TypeError),
        (torch.tensor([math.nan]), 400, ValueError),
    ],
)  # fmt: skip
def test_bad_input_is_refused(gap, depth, error):
    with pytest.raises(error):
        relu_ntk_any_depth(gap, depth)
