"""Feature maps, their limits, and the moments of features on the sphere."""

import numpy as np
import pytest
import torch

from lazyrich import data, kernels
from lazyrich.kernels import zonal
from lazyrich.theory import separation as theory

SHIFT = 0.3


def neurons(n: int, d: int, seed: int = 0) -> np.ndarray:
    return data.sphere(n, d, seed, radius=1.0).numpy()


def test_kernels_of_the_features_are_the_integrals() -> None:
    x, y = data.gaussian(6, 4, 0), data.gaussian(5, 4, 1)
    for ours, exact in zip(
        kernels.feature_kernels(x, y),
        theory.arc_cosine_kernels(x.numpy(), y.numpy()),
        strict=True,
    ):
        np.testing.assert_allclose(ours, exact, atol=1e-13)


def test_gram_matrices_of_many_features_come_near_the_kernels() -> None:
    x = data.gaussian(6, 4, 0)
    w = data.gaussian(100_000, 4, 1)
    features = (kernels.random_features(x, w), kernels.tangent_features(x, w))
    for phi, limit in zip(features, kernels.feature_kernels(x), strict=True):
        # Relative fluctuation N^(-1/2), four of them.
        bound = 4 * 100_000**-0.5 * float(limit.diagonal().max()) * 2
        assert float((phi @ phi.mT - limit).abs().max()) < bound


def test_tangent_features_are_gradients_in_the_weights() -> None:
    x, w = data.gaussian(3, 4, 0), data.gaussian(5, 4, 1)

    def f(weights: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ weights.mT).sum(1) / 5**0.5

    jacobian = torch.func.jacrev(f)(w).flatten(1)
    slope = kernels.tangent_features(x, w, lambda u: 1 - torch.tanh(u) ** 2)
    torch.testing.assert_close(slope, jacobian)


@pytest.mark.parametrize(
    "function", [kernels.random_features, kernels.tangent_features]
)
def test_features_refuse_weights_of_another_dimension(function) -> None:
    with pytest.raises(ValueError, match="w must have shape"):
        function(data.gaussian(3, 4, 0), data.gaussian(5, 3, 0))


@pytest.mark.parametrize("d", [3, 8, 21])
def test_gegenbauer_polynomials_are_orthogonal_and_count_the_harmonics(d: int) -> None:
    t, weights = zonal.coordinate_rule(d)
    p = zonal.gegenbauer(t, d, 9)
    gram = p @ (weights[:, None] * p.T)
    np.testing.assert_allclose(gram, np.diag(1 / zonal.harmonics(d, 9)), atol=1e-14)
    if d == 3:
        np.testing.assert_allclose(zonal.harmonics(3, 9), 2 * np.arange(10) + 1)


def test_expansion_of_the_relu_is_the_closed_form_and_tends_to_hermite() -> None:
    neuron = kernels.relu_expansion(20)
    np.testing.assert_allclose(
        neuron.s[:13], theory.relu_on_the_sphere(20, 12), atol=1e-13
    )
    assert neuron.square == pytest.approx(0.5)
    wide = kernels.relu_expansion(1000, degrees=6)
    for degree in (1, 2, 4):
        assert wide.tail(degree) == pytest.approx(
            theory.relu_hermite_tail(degree), rel=0.02
        )


@pytest.mark.parametrize("kind", ["rf", "nt"])
def test_moments_are_averages_over_the_sphere(kind: str) -> None:
    d, n, draws = 5, 4, 400_000
    w = neurons(n, d)
    neuron = kernels.relu_expansion(d, SHIFT, 200)
    x, weights = data.sphere(draws, d, 1), torch.from_numpy(w)
    if kind == "rf":
        phi = kernels.random_features(x, weights, lambda u: torch.relu(u - SHIFT))
    else:
        phi = kernels.tangent_features(x, weights, lambda u: (u > SHIFT).to(u))
    sampled = n * (phi.mT @ phi / draws).numpy()
    exact = np.linalg.inv(kernels.sphere_moments(kind, w, neuron).inverse)
    np.testing.assert_allclose(sampled, exact, atol=5 * 1.5 / draws**0.5)


def test_plain_relu_moments_are_the_arc_cosine_kernel() -> None:
    # Of degree two in the length of x, so that sphere and Gaussian averages agree.
    w = neurons(6, 9)
    exact = np.linalg.inv(
        kernels.sphere_moments("rf", w, kernels.relu_expansion(9, degrees=400)).inverse
    )
    np.testing.assert_allclose(exact, theory.arc_cosine_kernels(w, w)[0], atol=1e-6)


def test_every_feature_pays_for_one_direction() -> None:
    d, n = 6, 7
    neuron = kernels.relu_expansion(d, SHIFT, 150)
    fit = kernels.sphere_moments("rf", neurons(n, d), neuron)
    errors = fit.degree_errors(150)
    assert ((errors > -1e-9) & (errors < 1 + 1e-9)).all()
    assert (zonal.harmonics(d, 150) * (1 - errors)).sum() == pytest.approx(n, rel=1e-3)


def test_more_neurons_never_fit_worse_and_staircases_are_ordered() -> None:
    neuron = kernels.relu_expansion(12, 0.5)
    w = neurons(150, 12)
    few, many = (
        kernels.sphere_moments("rf", w[:n], neuron).degree_errors(4) for n in (40, 150)
    )
    assert (many <= few + 1e-12).all()
    assert (np.diff(few[:4]) > 0).all()


def test_a_neuron_of_the_model_is_fitted_exactly() -> None:
    neuron = kernels.relu_expansion(8, 0.5, 120)
    w = neurons(5, 8)
    fit = kernels.sphere_moments("rf", w, neuron)
    u = np.linalg.inv(fit.inverse)
    assert u[0] @ fit.inverse @ u[0] == pytest.approx(neuron.square)
    # and on average over directions it is not
    assert fit.neuron_error(neuron, 20) > 0.2


def test_error_of_one_harmonic_averages_to_that_of_its_degree() -> None:
    # The harmonics x_a, all of degree one.
    d = 7
    neuron = kernels.relu_expansion(d, 0.5)
    w = neurons(9, d)
    fit = kernels.sphere_moments("rf", w, neuron)
    each = [fit.harmonic_error(1, d**0.5 * w[:, a]) for a in range(d)]
    assert np.mean(each) == pytest.approx(fit.degree_errors(1)[1])


def test_bad_input_of_the_moments_is_named() -> None:
    neuron = kernels.relu_expansion(6)
    w = neurons(3, 6)
    with pytest.raises(ValueError, match="kind must be one of 'nt', 'rf'"):
        kernels.sphere_moments("both", w, neuron)
    with pytest.raises(ValueError, match="unit vectors"):
        kernels.sphere_moments("rf", 2 * w, neuron)
    with pytest.raises(ValueError, match=r"shape \(N, 6\)"):
        kernels.sphere_moments("rf", w[:, :5], neuron)
    with pytest.raises(ValueError, match="two equal neurons"):
        kernels.sphere_moments("rf", np.concatenate((w, w)), neuron)
    with pytest.raises(ValueError, match="d must be an integer >= 3"):
        kernels.relu_expansion(2)
    with pytest.raises(ValueError, match="'rf' here"):
        kernels.sphere_moments("nt", w, neuron).harmonic_error(1, w[:, 0])


@pytest.mark.parametrize("d", [3, 1000, 3072, 30_000, 100_000, 10**8])
def test_rules_know_the_moments_or_are_refused(d):
    """E t^2 = 1/d and E t^4 = 3/(d (d + 2)) for one coordinate of the sphere."""
    try:
        t, weights = zonal.coordinate_rule(d)
    except ValueError as error:
        assert str(error).startswith("d must")  # noqa: PT017
        assert d > 3072
        return
    assert abs(float(weights @ t**2) * d - 1) < 1e-10
    assert abs(float(weights @ t**4) * d * (d + 2) / 3 - 1) < 1e-10


@pytest.mark.parametrize("degree", [-1, 99, 1.5, "2"])
def test_degrees_are_those_of_the_expansion(degree):
    neuron = kernels.relu_expansion(4, degrees=6)
    fit = kernels.sphere_moments("rf", np.eye(4), neuron)
    with pytest.raises((TypeError, ValueError), match="degree must"):
        fit.harmonic_error(degree, np.ones(4))
    with pytest.raises((TypeError, ValueError), match="degree must"):
        neuron.tail(degree)
