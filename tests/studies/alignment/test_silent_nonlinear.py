"""The training that chapters on nonlinear nets read: clocks, frames, rates, whitening."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from lazyrich.data import Dataset
from lazyrich.networks import MLP
from lazyrich.studies.alignment import anisotropy, silent_resnet
from lazyrich.studies.alignment import silent_nonlinear as silent
from lazyrich.studies.tools.curves import first_crossing

TASK = anisotropy.power_law_task(30, 40, d=50, seed=3)


def test_first_crossing_interpolates():
    t, curve = np.arange(4.0), np.array([0.0, 1.0, 0.5, 3.0])
    assert first_crossing(t, curve, 0.25) == 0.25
    assert first_crossing(t, curve, 2.0) == pytest.approx(2.6)
    assert first_crossing(t, curve, -1.0) == 0.0
    with pytest.raises(ValueError, match="not reached"):
        first_crossing(t, curve, 4.0)


def test_partial_whitening_raises_the_spectrum_to_a_power():
    errors = anisotropy.whitening_errors(TASK.x_train, (0.0, 0.3, 1.0))
    assert max(errors.values()) < 1e-10
    found = anisotropy.spectra(TASK, (0.0, 0.5, 1.0))
    assert all(values.mean() == pytest.approx(1.0) for values in found.values())
    ratio = np.log(found[0.5] / found[0.5][0]) / np.log(
        found[1.0] / found[1.0][0]
    ).clip(max=-1e-12)
    np.testing.assert_allclose(ratio[1:], 0.5, rtol=1e-9)


def test_training_in_the_span_is_training():
    """A frame of the span gives the run in the inputs' own coordinates."""
    white = silent.partially_whitened(TASK, 0.0)
    fast = silent.perceptron_run(white, sigma=0.1, width=20)
    net = MLP((50, 20, 1), "relu", 0.1)
    parts = (white.x_train, white.y_train, white.x_test, white.y_test)
    slow = silent.train(net, net.init(0), *parts, lr=0.1)
    assert fast.steps == slow.steps
    np.testing.assert_allclose(fast.f_test, slow.f_test, atol=1e-8)
    np.testing.assert_allclose(fast.alignment, slow.alignment, atol=1e-8)
    np.testing.assert_allclose(fast.final, slow.final, atol=1e-6)


def test_small_weights_make_a_kernel_machine_of_the_final_kernel():
    white = silent.partially_whitened(TASK, 0.0)
    lazy, silent_run = (
        silent.perceptron_run(white, sigma=s, width=50) for s in (1.0, 0.03)
    )
    assert silent_run.r2("final") > 0.99 > lazy.r2("final")
    assert silent_run.r2("final") > silent_run.r2("initial") + 0.02
    assert silent_run.norm_at(0.9) < 0.1
    assert silent_run.alignment_time < silent_run.time(0.9)


def test_rates_of_layers_unbalance_them():
    white = silent.partially_whitened(TASK, 0.0)
    ratio = [
        run.weights["W0"] / run.weights["W1"]
        for run in (
            silent.perceptron_run(white, sigma=0.01, width=30, lr=0.03),
            silent.perceptron_run(
                white, sigma=0.01, width=30, lr=0.01, rates={"W0": 9.0}
            ),
        )
    ]
    assert ratio == [pytest.approx(1, rel=0.02), pytest.approx(9, rel=0.05)]


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_exponents_of_the_rates(activation):
    for depth in (2, 3):
        found = silent.rate_slopes(depth, activation, (1e-2, 1e-3), seeds=1)
        assert found["ratio"] == pytest.approx(-depth, abs=0.02)
        assert found["features"] == pytest.approx(depth - 2, abs=0.02)


def test_bounds_on_the_rates_hold():
    found = silent.rate_bounds(3, "relu", seeds=3)
    assert 0 < found["features"].max() <= 1
    assert 0 < found["loss"].max() <= 1


def test_training_refuses_what_it_cannot_do():
    net = MLP((50, 5, 1))
    parts = (TASK.x_train, TASK.y_train, TASK.x_test, TASK.y_test)
    with pytest.raises(ValueError, match="optimiser"):
        silent.train(net, net.init(0), *parts, lr=0.1, optimiser="newton")
    with pytest.raises(ValueError, match="rates must name"):
        silent.train(net, net.init(0), *parts, lr=0.1, rates={"W7": 1.0})
    with pytest.raises(ValueError, match="after 3 steps"):
        silent.train(net, net.init(0), *parts, lr=0.1, max_steps=3)


def test_images_keep_their_places_and_become_white():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(12, 1, 9, 9, dtype=torch.float64, generator=generator)
    y = torch.ones(12, dtype=torch.float64)
    y[::2] = -1
    task = Dataset(x, y, x[:4], y[:4], "noise", "drawn")
    for whitening in (0.0, 1.0):
        small = silent_resnet.prepared(task, whitening, 5, torch.float64)
        assert small.x_train.shape == (12, 1, 5, 5)
        flat = small.x_train.flatten(1)
        values = torch.linalg.svdvals(flat).square() / 12
        kept = values[values > 1e-9]
        assert float(kept.mean()) == pytest.approx(1.0)
        assert (float(kept.max() / kept.min()) < 1 + 1e-9) == (whitening == 1.0)


def test_a_small_residual_net_learns():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=generator)
    y = torch.sign(x.sum((1, 2, 3)))
    images = Dataset(x, y, x, y, "signs", "drawn")
    run = silent_resnet.resnet_run(images, k=1, lr=1e-3, stop=0.05, every=20)
    assert run.loss[-1] <= 0.05
    assert math.isfinite(run.correlation("final"))
    events = silent_resnet.clocks(run)
    assert events.grown <= run.t[-1]
    early = dataclasses.replace(events, aligned=0.0, grown=1.0, learned=2.0)
    assert early.in_order
