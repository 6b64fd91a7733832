"""Learning curves of the spiked kernel: exact limits, symbols, simulated regression."""

import numpy as np
import pytest

from lazyrich.studies.alignment import transfer
from lazyrich.theory import kernel_transfer as theory

D = 30


@pytest.mark.parametrize("n", [1, 7, 29])
def test_isotropic_regression_is_a_random_projection(n):
    assert theory.transfer_error(D, n, 0.0, 0.4) == pytest.approx(1 - n / D, rel=1e-12)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("A", [0.0, 3.0])
def test_without_examples_the_error_is_the_power_of_the_target(A, ridge):
    assert theory.transfer_error(D, 0, A, 0.4, ridge) == pytest.approx(1.0, rel=1e-12)
    assert abs(theory.transfer_error(D, 0, A, 0.4, ridge, as_printed=True) - 1) > 0.9


def test_the_unit_of_the_kernel_does_not_matter_but_in_the_printed_form():
    power = np.linspace(0, 1, D)
    spectrum = np.linspace(0.5, 3, D)
    for flag, expected in ((False, 1.0), (True, 1 / 49)):
        one, seven = (
            theory.generalisation_error(
                c * spectrum, power, 10, 0.3 * c, as_printed=flag
            )
            for c in (1.0, 7.0)
        )
        assert seven / one == pytest.approx(expected, rel=1e-9)


def test_effective_ridge_solves_its_equation():
    spectrum = np.array([5.0, 2.0, 1.0, 0.0])
    for n, ridge in ((0, 0.1), (2, 0.0), (2, 0.3), (10, 1e-6)):
        kappa = theory.effective_ridge(spectrum, n, ridge)
        right = ridge + kappa * np.sum(spectrum / (spectrum * n + kappa))
        assert kappa == pytest.approx(right, rel=1e-9)
    assert theory.effective_ridge(spectrum, 3) == 0.0
    assert theory.transfer_error(D, D + 1, 2.0, 0.5) == 0.0


def test_formula_against_simulated_regression():
    mean, error = transfer.regression_error(D, 12, 2.0, (0.2, 0.9), 0.5, draws=200)
    expected = [theory.transfer_error(D, 12, 2.0, a, 0.5) for a in (0.2, 0.9)]
    assert transfer.misfit(np.array(expected), mean, error, 0.03) < 1


def test_symbolic_statements():
    assert theory.eigenfunctions_are_linear()
    assert theory.error_falls_with_the_spike() == 0
    assert theory.best_spike_is_stationary() == 0
    curvature, numerator = theory.error_is_affine_in_alpha_squared()
    assert curvature == 0
    assert numerator.is_negative
    values = {"P": 7, "D": 30}
    for end in theory.spike_falls_with_m():
        assert end.subs({s: values[s.name] for s in end.free_symbols}) < 0


@pytest.mark.parametrize("alpha", [0.3, 0.8])
def test_the_best_spike_is_best(alpha):
    best = theory.best_spike(D, alpha)
    at = [theory.transfer_error(D, 9, best * f, alpha) for f in (0.8, 1.0, 1.25)]
    assert at[1] < min(at[0], at[2])


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="n must be below d"):
        transfer.regression_error(5, 5, 1.0, [0.5])
    beta = transfer._direction(5, 0)
    with pytest.raises(ValueError, match="alpha"):
        transfer.task_vector(beta, 1.5)
