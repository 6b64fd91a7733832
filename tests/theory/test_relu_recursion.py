"""Expansions of the deep ReLU kernel against exact arithmetic, limits and each other."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

from lazyrich.theory import relu_recursion as theory

FILE = Path(__file__).parents[1] / "kernels" / "reference" / "deep_relu_ntk.json"
REFERENCE = json.loads(FILE.read_text())
CROSSOVER = json.loads(
    (Path(__file__).parent / "reference" / "deep_relu.json").read_text()
)["crossover_F"]


@pytest.mark.parametrize("rho", [-0.95, -0.3, 0.0, 0.5, 0.99])
def test_closed_forms_are_the_gaussian_averages(rho):
    relu, gate = theory.gaussian_averages(rho)
    assert relu == pytest.approx(float(theory.kappa_1(rho)) / 2, abs=1e-12)
    assert gate == pytest.approx(float(theory.kappa_0(rho)) / 2, abs=1e-12)


def test_power_series_sums_to_the_function():
    p = np.array([float(c) for c in theory.power_series(60)])
    for rho in (-0.5, 0.0, 0.4, 0.7):
        assert np.polyval(p[::-1], rho) == pytest.approx(float(theory.kappa_1(rho)))
    assert theory.derivative_of_kappa_1() == 0


def test_digits_agree_with_the_reference():
    for entry in REFERENCE["bias_free"]:
        ((gap, y),) = theory.pair(entry["one_minus_rho_0"], 30)
        del gap
        found = entry["values"]["30"]
        name = next(k for k in found if k.startswith("bar_theta"))
        assert float(y) / 30 == pytest.approx(float(found[name]), rel=1e-15)


@pytest.mark.parametrize("count", [1, 2, 4, 6])
def test_abel_equation_holds_to_the_order_of_its_coefficients(count):
    at_100, at_1000 = (theory.abel_defect(v, count) for v in (100, 1000))
    slope = math.log10(abs(at_1000 / at_100))
    assert slope == pytest.approx(-(count + 2), abs=0.08)


@pytest.mark.parametrize(
    "function",
    [
        theory.abel_coefficients,
        theory.kernel_coefficients,
        theory.transient_coefficients,
    ],
)
def test_more_coefficients_do_not_change_the_first(function):
    few, many = function(3), function(6)
    assert few == many[: len(few)]


def test_kernel_expansion_is_that_of_the_paper_page():
    b = theory.kernel_coefficients(2)
    assert b[0] == [sp.Rational(1, 4)]
    assert b[1] == [sp.Rational(-1, 8)]
    assert sp.expand(b[2][0] + sp.Rational(5, 16) + 93 * sp.pi**2 / 40) == 0
    assert sp.expand(b[3][0] + sp.Rational(5, 4) - 621 * sp.pi**2 / 80) == 0
    near, far = theory.expansion_residuals("0.5", [500, 5000], digits=30)
    assert far - near == pytest.approx(385, rel=0.1)


def test_series_coefficients_are_a_distribution():
    a = theory.series_coefficients(3, 400)
    assert a.min() > -1e-12
    assert 0.9 < a.sum() <= 1 + 1e-12
    rho = 0.6
    y = theory.kernel_from_definition(rho, 3)
    assert np.polyval(a[::-1], rho) == pytest.approx(y, abs=1e-10)


def test_crossover_between_one_and_a_quarter():
    assert theory.crossover(0.0) == 1
    assert theory.crossover(1e9) == pytest.approx(0.25)
    assert theory.crossover_equation() == 0
    z = theory.crossover_depth(0.625)
    assert theory.neighbour_weight(z) == pytest.approx(0.5)
    for text, value in CROSSOVER["values"].items():
        assert theory.crossover(float(text)) == pytest.approx(float(value), rel=1e-14)


def test_bias_recursion_has_its_closed_form_and_constant():
    q, t, b = theory.with_bias(7)
    right = theory.with_bias_closed(7, b)
    assert sp.expand(q - right[0]) == 0
    assert sp.expand(t - right[1]) == 0
    sigma, theta = theory.bias_pair("1", 80, "0.1")
    angle = math.sqrt(2 * float(sigma))
    constant = float(theory.bias_gap_constant())
    assert float(theta) / angle == pytest.approx(constant, rel=1e-9)
