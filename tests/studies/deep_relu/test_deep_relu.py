"""What the chapters on the deep ReLU kernel measure with, on cases with known answers."""

import math

import numpy as np
import pytest
import torch

from lazyrich import data
from lazyrich.kernels import relu_ntk, relu_ntk_correlation
from lazyrich.networks import ReluNetwork
from lazyrich.studies.deep_relu import depth_limit as deep_relu_limit
from lazyrich.studies.deep_relu import early_stopping as deep_relu_prediction
from lazyrich.studies.deep_relu import lazy_features as deep_relu_features
from lazyrich.studies.deep_relu import other_kernels as deep_relu_variants
from lazyrich.studies.deep_relu import random_spheres as deep_relu_spheres
from lazyrich.studies.deep_relu import relu_recursion as deep_relu_recursion
from lazyrich.studies.deep_relu import smallest_eigenvalue as deep_relu_eigenvalues
from lazyrich.theory import feature_movement, relu_recursion, sphere_angles

F64 = torch.float64


def test_assumptions_are_required():
    x = deep_relu_recursion.circle(4)
    deep_relu_recursion.require_assumptions(x, 1)
    with pytest.raises(ValueError, match="unit"):
        deep_relu_recursion.require_assumptions(1.1 * x, 1)
    with pytest.raises(ValueError, match="twice"):
        deep_relu_recursion.require_assumptions(torch.cat([x, x[2:3]]), 1)
    assert deep_relu_recursion.refused_inputs() == 1.0


def test_layers_one_by_one_are_the_library():
    gaps = torch.tensor([2.0, 1.0, 0.1, 1e-6], dtype=F64)
    gap, theta = deep_relu_limit.by_layer(gaps, 40)
    for depth in (1, 2, 3, 4, 17, 40):
        right_gap, right = relu_ntk_correlation(gaps, depth)
        torch.testing.assert_close(gap[depth - 1], right_gap, rtol=1e-12, atol=0)
        torch.testing.assert_close(theta[depth - 1], right, rtol=1e-12, atol=1e-15)


def test_kernels_from_distances_are_those_of_inputs():
    x = deep_relu_prediction.sphere(12, 5, 0)
    for depth in (2, 9):
        found = deep_relu_limit.kernel_matrix(x, depth)
        right = relu_ntk(x, depth=depth, normalised=True)[1]
        torch.testing.assert_close(found, right, rtol=1e-12, atol=1e-13)


def test_offspring_are_the_coefficients_of_kappa_1():
    law = deep_relu_limit.offspring_law(100_001)
    assert law.sum() == pytest.approx(1, abs=1e-12)
    series = [float(p) for p in relu_recursion.power_series(12)]
    np.testing.assert_allclose(law[:12], series, rtol=1e-13)
    found, exact = deep_relu_limit.survival((1, 3), 20_000)
    assert deep_relu_limit.worst_survival_deviation(found, exact, 20_000) < 5


def test_recursion_with_bias_and_variance_is_the_library():
    for bias in (0.0, 0.3):
        layers = deep_relu_variants.by_layer(0.6, 9, bias=bias)
        x = deep_relu_recursion.pair_of_inputs(0.4)
        sigma, theta = relu_ntk(x, depth=9, bias=bias)
        assert layers.q[-1] == pytest.approx(float(sigma[0, 0]), rel=1e-12)
        off = layers.theta[-1] - layers.theta_gap[-1]
        assert off == pytest.approx(float(theta[0, 1]), rel=1e-12)
    plain = deep_relu_variants.by_layer(0.6, 9, bias=0.0).normalised
    scaled = deep_relu_variants.by_layer(0.6, 9, bias=0.0, variance=2.0).normalised
    np.testing.assert_allclose(plain, scaled, rtol=1e-13)


def test_weights_at_training_points_and_far_away():
    x = deep_relu_prediction.sphere(9, 4, 1)
    k = deep_relu_limit.kernel_matrix(x, 3)
    rows = deep_relu_prediction.weights(k, k)
    torch.testing.assert_close(rows, torch.eye(9, dtype=F64), rtol=0, atol=1e-12)
    deep = deep_relu_limit.kernel_matrix(x, 10**14)
    torch.testing.assert_close(deep, deep_relu_prediction.limit_matrix(9))
    assert not deep_relu_prediction.weights(k, k, t=0.0).any()


def test_separated_points_are_separated():
    x = deep_relu_prediction.separated(10, 4, 0.6)
    assert deep_relu_limit.smallest_angle(x) >= 0.6
    with pytest.raises(ValueError, match="room"):
        deep_relu_prediction.separated(10, 2, 1.0)


def test_macro_f1_of_known_predictions():
    labels = torch.tensor([0, 0, 1, 1])
    assert deep_relu_prediction.macro_f1(labels, labels, 2) == 1
    half = deep_relu_prediction.macro_f1(torch.zeros(4, dtype=torch.long), labels, 2)
    assert half == pytest.approx(1 / 3)


def test_bounds_enclose_the_smallest_eigenvalue():
    x = deep_relu_prediction.sphere(15, 4, 2)
    k = deep_relu_eigenvalues.matrix(x, 6)
    value = deep_relu_eigenvalues.smallest(k)
    assert value <= deep_relu_eigenvalues.pair_bound(k)
    assert deep_relu_eigenvalues.schur_bound(x, 6) <= value
    bound, _ = deep_relu_eigenvalues.series_bound(
        x, 6, relu_recursion.series_coefficients
    )
    assert 0 < bound <= value
    with pytest.raises(ValueError, match="parallel"):
        deep_relu_eigenvalues.series_bound(
            torch.cat([x, -x]), 6, relu_recursion.series_coefficients
        )


def test_depth_window_is_where_the_laws_cross():
    x = deep_relu_prediction.separated(20, 5, 0.3)
    window = deep_relu_eigenvalues.depth_window(
        x, deep_relu_prediction.sphere(50, 5, 4)
    )
    z = window.stable * window.delta / (3 * math.pi)
    assert 1 - relu_recursion.crossover(z) >= 0.1
    fewer = z * (window.stable - 1) / window.stable
    assert 1 - relu_recursion.crossover(fewer) < 0.1
    z = window.expressive * window.eta / (3 * math.pi)
    assert relu_recursion.neighbour_weight(z) >= 0.5
    with pytest.raises(ValueError, match="floor"):
        deep_relu_eigenvalues.depth_window(x, x, floor=0.9)
    with pytest.raises(ValueError, match="unit"):
        deep_relu_eigenvalues.depth_window(2 * x, x)


def test_smallest_angles_are_those_of_all_pairs():
    found = deep_relu_spheres.smallest_angles(20, 3, 300)
    expected = float(sphere_angles.extreme_law(np.median(found) * 20, 3))
    assert expected == pytest.approx(0.5, abs=0.12)
    nested = deep_relu_spheres.inverse_angles((10, 40, 160), 3, 3)
    assert (np.diff(nested) > 0).all()


def test_training_is_gradient_descent_on_the_loss():
    x = data.sphere(4, 5, 0)
    y = torch.tensor([1.0, -1.0], dtype=F64)
    net = ReluNetwork(5, (7, 6))
    moved = deep_relu_features.train(net, x, y, t=0.4, steps=2, seed=1)
    w = {k: v.clone().requires_grad_() for k, v in net.init(1).items()}
    for _ in range(2):
        loss = 0.5 * (net(w, x[:2]) - y).square().sum()
        grads = torch.autograd.grad(loss, list(w.values()))
        w = {
            k: (v - 0.2 * g).detach().requires_grad_()
            for (k, v), g in zip(w.items(), grads, strict=True)
        }
    hidden = net.preactivations(w, x)[1].relu()
    torch.testing.assert_close(moved.end[1], hidden.detach())
    torch.testing.assert_close(moved.f0, net(net.init(1), x))


def test_layers_move_as_the_formula_says():
    def predicted(R0, cross, y, f0, gamma):
        return feature_movement.squared_movement(
            R0, cross, y, f0, gamma, t=4.0, steps=20
        )

    found = deep_relu_features.movements(
        (1024, 1024), 6, t=4.0, steps=20, predicted=predicted
    )
    full, without = deep_relu_features.ratios(found)
    assert full == pytest.approx(1, abs=0.12)
    assert without > full + 0.1
