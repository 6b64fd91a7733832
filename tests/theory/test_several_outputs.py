"""Several outputs: closed forms against weights that are balanced by construction."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from lazyrich.networks import DeepLinear
from lazyrich.studies.alignment import several_outputs as outputs
from lazyrich.theory import several_outputs as theory

TASK = outputs.teacher(8, (2.0, 1.0, 0.5), seed=1)
PARTS = TASK.s.numpy(), TASK.z.numpy(), TASK.v.numpy()


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_block_kernel_of_exactly_balanced_weights(depth):
    s, z, v = PARTS
    built = outputs.exactly_balanced_kernel(TASK, 9, depth)
    u = s ** (1 / depth)
    right = theory.balanced_kernel(u, z, v, depth)
    printed = theory.balanced_kernel(u, z, v, depth, as_printed=True)
    np.testing.assert_allclose(built, right, atol=1e-12)
    assert np.linalg.norm(built - printed) > 0.2 * np.linalg.norm(built)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_alignment_ceiling_is_that_of_the_balanced_kernel(depth):
    s, z, v = PARTS
    kernel = theory.balanced_kernel(s ** (1 / depth), z, v, depth)
    beta = TASK.beta.numpy()
    direct = np.einsum("ci,cdij,dj->", beta, kernel, beta)
    direct /= np.linalg.norm(kernel) * np.sum(beta**2)
    assert theory.alignment_ceiling(s, depth, 8) == pytest.approx(direct, rel=1e-12)


def test_ceiling_of_one_output():
    for depth in (2, 3, 5):
        expected = depth / np.sqrt(depth**2 + 24)
        assert theory.alignment_ceiling(np.ones(1), depth, 25) == pytest.approx(
            expected
        )


def test_symbols():
    assert theory.half_time_solved()
    for depth in (2, 3, 4, 5):
        assert theory.leading_correction(depth) == (0, 0)


def test_leading_correction_against_the_root_of_eq_58():
    g, s = (0.7, -0.3, 0.0), 2.0
    for sigma in (0.1, 0.05):
        shifts = [sigma**2 * a for a in g]
        root: Any = brentq(
            lambda x, b=shifts: np.prod([x + a for a in b]) - s**2, 1.0, 3.0
        )
        mine = theory.corrected_scale(s, sum(g), sigma, 3)
        assert abs(root - mine) < sigma**4
        assert abs(root - theory.printed_scale(s, sum(g), sigma, 3)) > 1


def test_half_times_of_trained_modes():
    task = outputs.teacher(12, (2.0, 1.0))
    measured, start = outputs.half_times(task, 60, 1e-3)
    expected = [theory.half_time(a, b) for a, b in zip((2.0, 1.0), start, strict=True)]
    np.testing.assert_allclose(measured, expected, rtol=0.02)


def test_mean_difference_of_the_layers():
    shape = (30, 60, 6)
    values, identity = outputs.projected_imbalance(shape, draws=60)
    expected = theory.layer_difference(*shape)
    assert identity < 1e-12
    assert outputs.misfit([values], [expected]) < 1
    trained, shifts = outputs.layer_difference(shape, seeds=4)
    assert outputs.misfit([trained, shifts], [expected, -expected / 2]) < 1
    assert outputs.misfit([trained], [theory.printed_layer_difference(*shape)]) > 2


def test_initial_imbalance_and_edges():
    mean, error = outputs.initial_imbalance((20, 40, 80), draws=60)
    assert abs(mean + 1.0) < 4 * error
    low, high = outputs.wishart_edges(400, 100)
    assert (low, high) == (pytest.approx(1, rel=0.15), pytest.approx(9, rel=0.1))


def test_balance_and_convergence():
    assert outputs.balance_drift(TASK, 10, 3, 0.2) < 1e-10
    assert outputs.product_of_scales(TASK, 10, 2, 1e-3) < 1e-6
    assert max(outputs.layer_kernels(TASK, 10, 2, 1e-3)) < 1e-4
    net = DeepLinear((8, 10, 3), 1e-3)
    w = outputs.trained(TASK, net)
    torch.testing.assert_close(net.product(w), TASK.beta, rtol=0, atol=1e-5)


def test_bad_teachers_are_refused():
    with pytest.raises(ValueError, match="at most d"):
        outputs.teacher(2, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="s must be"):
        outputs.teacher(4, (1.0, 0.0))
