"""Stochastic descent at fixed temperature: Eqs. 17 and 19, limits, bookkeeping."""

import math

import pytest
import torch

from lazyrich.dynamics import Status, batch_size, stochastic_flow, temperature
from lazyrich.networks import FullyConnected
from lazyrich.studies.lazy_and_rich import fixed_temperature

F64 = torch.float64


def task(n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=gen, dtype=F64)
    return x, torch.where(x[:, 0] > 0, 1.0, -1.0).double()


def test_temperature_and_batch_size() -> None:
    assert temperature(0.1, 10, 10) == 0.0
    assert temperature(0.1, 1, 10) == pytest.approx(0.1)
    assert batch_size(0.0, 0.1, 50) == 50.0
    assert batch_size(0.1, 0.1, 50) == pytest.approx(1.0)
    assert batch_size(0.2, 0.1, 50) < 1.0
    assert fixed_temperature.round_trip(50) < 1e-9
    assert fixed_temperature.covariance_over_batches(5, 1) < 1e-14


def test_full_batches_are_gradient_descent() -> None:
    x, y = task()
    net = FullyConnected(3, 8, 1)
    w = net.init(0)
    run = stochastic_flow(
        net, w, x, y, 2.0, dt=0.05, batch=len(x), max_steps=3, stop_loss=None
    )
    by_hand = {k: v.clone() for k, v in w.items()}
    for _ in range(3):
        F = 2.0 * (net(by_hand, x) - net(w, x))
        slope = -y * (F * y < 1)
        grads = net.pullback(by_hand, x)[1](slope / (2.0 * len(x)))
        by_hand = {k: by_hand[k] - 0.05 * grads[k] for k in by_hand}
    for name in w:
        assert torch.allclose(run.w[name], by_hand[name], atol=1e-13)
    assert run.temperature == 0.0
    assert run.status is Status.TRUNCATED
    assert "max_steps" in run.reason


def test_members_see_batches_of_their_own_and_reach_zero() -> None:
    x, y = task()
    net = FullyConnected(3, 16, 1)
    run = stochastic_flow(
        net, net.init(0, members=3), x, y, 1.0, dt=0.1, batch=4, max_steps=4000
    )
    assert run.status is Status.FITTED
    assert run.loss.shape == (len(run.t), 3)
    assert float(run.loss[-1].max()) == 0.0
    assert run.temperature == pytest.approx(temperature(0.1, 4, len(x)))


def test_at_fixed_temperature_the_batch_grows_with_the_step() -> None:
    x, y = task(40)
    net = FullyConnected(3, 16, 1)
    run = stochastic_flow(net, net.init(0), x, y, 1.0, T=0.01, stop_loss=0.05)
    assert run.status is Status.FITTED
    assert run.temperature == pytest.approx(0.01, rel=0.3)
    assert float(run.t[-1]) > 0.01 * run.steps  # steps longer than T


def test_stationary_variance_is_that_of_the_fokker_planck_equation() -> None:
    found = fixed_temperature.constant_noise(T=0.02, members=1500)
    # a step dt adds the factor 1 / (1 - dt/2) exactly
    for (dt, _), variance in zip(found.pairs, found.measured.ravel(), strict=True):
        exact = 0.01 / (1 - dt / 2)
        assert variance == pytest.approx(exact, rel=6 * math.sqrt(2 / 1500) / 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "give T, or dt and batch"),
        ({"T": 0.1, "dt": 0.1, "batch": 2}, "give T, or dt and batch"),
        ({"dt": 0.1}, "give T, or dt and batch"),
        ({"dt": 0.1, "batch": 99}, "batch"),
        ({"T": -1.0}, "T must"),
        ({"T": 0.1, "tau": -1.0}, "tau"),
    ],
)
def test_bad_input_is_named(options: dict, words: str) -> None:
    x, y = task()
    net = FullyConnected(3, 4, 1)
    with pytest.raises(ValueError, match=words):
        stochastic_flow(net, net.init(0), x, y, 1.0, **options)


def test_an_ensemble_needs_fixed_steps() -> None:
    x, y = task()
    net = FullyConnected(3, 4, 1)
    with pytest.raises(ValueError, match="an ensemble needs fixed dt and batch"):
        stochastic_flow(net, net.init(0, members=2), x, y, 1.0, T=0.1)


def test_momentum_relaxes_the_velocity() -> None:
    """v <- a v - (1 - a) grad, w <- w + dt v with a = exp(-dt / tau), step by step."""
    x, y = task()
    net = FullyConnected(3, 8, 1)
    w = net.init(0)
    dt, tau = 0.05, 0.2
    run = stochastic_flow(
        net, w, x, y, 2.0, dt=dt, batch=len(x), tau=tau, max_steps=4, stop_loss=None
    )
    keep = math.exp(-dt / tau)
    by_hand = {k: v.clone() for k, v in w.items()}
    velocity = {k: torch.zeros_like(v) for k, v in w.items()}
    for _ in range(4):
        F = 2.0 * (net(by_hand, x) - net(w, x))
        slope = -y * (F * y < 1)
        grads = net.pullback(by_hand, x)[1](slope / (2.0 * len(x)))
        velocity = {k: keep * v - (1 - keep) * grads[k] for k, v in velocity.items()}
        by_hand = {k: v + dt * velocity[k] for k, v in by_hand.items()}
    for name in w:
        assert torch.allclose(run.w[name], by_hand[name], atol=1e-13)
    assert keep > 0.5, "else the memory would hardly be seen"
