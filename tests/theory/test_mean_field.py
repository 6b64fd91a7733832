"""Derivations of the two limits, and closed forms against sampling."""

import numpy as np
import pytest
import sympy as sp

from lazyrich.theory import mean_field as theory


def test_identities_hold_for_a_generic_activation():
    assert theory.risk_gradient()
    assert theory.function_dynamics()
    assert theory.dissipation() == (True, True)
    assert theory.variations() == (True, True)


def test_constants():
    alpha = sp.Symbol("alpha", positive=True)
    assert theory.gradient_flow_prefactor() == 1 / alpha**2  # N / (2 alpha^2), N = 2
    assert theory.jko_strength() == 1 / (2 * alpha**2)
    alpha_mf, clock = theory.scale_dictionary()
    h, ntk = sp.symbols("h alpha_ntk", positive=True)
    assert sp.simplify(alpha_mf - sp.sqrt(h) * ntk) == 0
    assert clock == 1


def test_curvature_of_a_lone_bump_changes_sign_at_sqrt_two_widths():
    curvature, theta, w = theory.lone_bump_curvature()
    assert sp.simplify(curvature.subs(theta, sp.sqrt(2) * w)) == 0
    assert curvature.subs({theta: 1, w: 1}) > 0 > curvature.subs({theta: 2, w: 1})


def test_prior_kernels():
    gen = np.random.default_rng(0)
    x = np.array([[1.0, 0.5], [-0.3, 1.2]])
    w = gen.standard_normal((200_000, 2))
    for sigma, kernel in (
        (np.tanh, theory.prior_covariance(x, np.tanh)),
        (lambda z: np.maximum(z, 0), theory.arc_cosine(x)),
    ):
        features = sigma(w @ x.T)
        sampled = features.T @ features / len(w)
        np.testing.assert_allclose(kernel, sampled, atol=5e-3)


def test_linear_prior_has_the_kurtosis_of_a_product_of_gaussians():
    # a z with independent Gaussians: 9 E... / ... - 3 = 6 for one neuron
    assert theory.prior_excess_kurtosis(1, 0.7, lambda z: z) == pytest.approx(6.0)
    assert theory.prior_excess_kurtosis(3, 0.7, lambda z: z) == pytest.approx(2.0)
