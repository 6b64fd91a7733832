"""Laws of synthetic inputs and teachers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lazyrich import data

N = 20_000
# Entries of a sample covariance of unit variance scatter by sqrt(2 / N) at most.
TOLERANCE = 6 * math.sqrt(2 / N)


def covariance(x):
    return x.mT @ x / len(x)


def close(one, two, scale=1.0):
    return bool((one - two).abs().max() < TOLERANCE * scale)


def test_gaussian_and_spherical_inputs_are_isotropic():
    eye = torch.eye(5).double()
    assert close(covariance(data.gaussian(N, 5)), eye)
    x = data.sphere(N, 5)
    assert close(covariance(x), eye)
    torch.testing.assert_close(x.norm(dim=1), torch.full((N,), 5**0.5).double())
    assert data.sphere(3, 5, radius=2.0).norm(dim=1).tolist() == pytest.approx(
        [2.0] * 3
    )
    # The fourth moment tells the two laws apart: 3 and 3 d / (d + 2).
    assert abs(data.gaussian(N, 5).pow(4).mean() - 3) < 0.2
    assert abs(x.pow(4).mean() - 15 / 7) < 0.1


def test_gaussian_variances():
    variances = torch.tensor([4.0, 1.0, 0.0]).double()
    x = data.gaussian(N, 3, variances=variances)
    assert close(covariance(x), variances.diag(), scale=4)


def test_spiked_covariates_have_the_covariance_of_their_law():
    for r in (1.0, 3.0):
        x, U = data.spiked(N, 12, 1, d_signal=3, signal_to_noise=r)
        torch.testing.assert_close(U.mT @ U, torch.eye(3).double())
        signal = U @ U.mT
        expected = r**2 * signal + torch.eye(12).double() - signal
        assert close(covariance(x), expected, scale=r**2)
        norms = (x @ U).norm(dim=1)
        torch.testing.assert_close(norms, torch.full_like(norms, r * 3**0.5))


def test_whitening_a_sample_makes_its_covariance_flat():
    x = data.gaussian(200, 6, variances=torch.logspace(0, -3, 6).double())
    white = data.whiten(x)
    torch.testing.assert_close(covariance(white), torch.eye(6).double())
    half = data.whiten(x, 0.5)
    spectrum, original = (torch.linalg.eigvalsh(torch.cov(t.mT)) for t in (half, x))
    ratio = spectrum / original.sqrt()
    torch.testing.assert_close(ratio, ratio[0].expand(6))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20))
def test_larger_sets_begin_with_smaller_ones(n, more, d):
    for draw in (data.gaussian, data.sphere):
        small, large = draw(n, d, 5), draw(n + more, d, 5)
        assert torch.equal(small, large[:n])
        assert not torch.equal(small, draw(n, d, 6))


def test_teachers():
    beta = data.linear_teacher(30, 1, strength=2.5)
    assert beta.norm().item() == pytest.approx(2.5)
    x = data.gaussian(10, 30)
    neuron = data.neuron_teacher(30, 1)
    torch.testing.assert_close(neuron(x), torch.relu(x @ beta / 2.5))


def test_a_teacher_task_is_nested_with_noise_on_training_targets_alone():
    small = data.teacher_task(50, 20, 8, seed=2)
    large = data.teacher_task(80, 40, 8, seed=2)
    assert torch.equal(small.x_train, large.x_train[:50])
    assert torch.equal(small.y_test, large.y_test[:20])
    torch.testing.assert_close(small.y_train, small.x_train @ data.linear_teacher(8, 2))
    noisy = data.teacher_task(5000, 20, 8, seed=2, noise=0.5)
    residual = noisy.y_train - noisy.x_train @ data.linear_teacher(8, 2)
    assert abs(residual.std() - 0.5) < 5 * 0.5 / math.sqrt(2 * 5000)
    assert torch.equal(noisy.y_test, small.y_test)
    sphere = data.teacher_task(
        5, 0, 8, inputs=data.sphere, teacher=data.neuron_teacher(8), dtype=torch.float32
    )
    assert sphere.source == "drawn by sphere"
    assert sphere.x_train.dtype == sphere.y_train.dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: data.gaussian(0, 3), "n must be"),
        (lambda: data.gaussian(3, 3, variances=torch.ones(2)), "variances must have"),
        (lambda: data.gaussian(3, 1, variances=-torch.ones(1)), "must not be negative"),
        (lambda: data.sphere(3, 3, radius=0.0), "radius must be"),
        (lambda: data.spiked(3, 3, d_signal=3, signal_to_noise=1.0), "below d = 3"),
        (lambda: data.linear_teacher(3, strength=-1.0), "strength must be"),
        (lambda: data.teacher_task(3, 3, 3, noise=-1.0), "noise must be"),
        (
            lambda: data.teacher_task(3, 3, 3, teacher=lambda x: x),
            "one number an input",
        ),
    ],
)
def test_bad_requests_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
