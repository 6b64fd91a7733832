"""Work against precision: counting, the exact path, and what the schemes agree on."""

import math

import numpy as np
import pytest
import torch

from lazyrich.kernels import ntk
from lazyrich.networks import FullyConnected
from lazyrich.studies.lazy_and_rich import steps as work_precision

F64 = torch.float64


@pytest.fixture(scope="module")
def task() -> tuple:
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(20, 5, generator=draw, dtype=F64)
    y = torch.where(x[:, 0] * x[:, 1] > 0, 1.0, -1.0).double()
    net = FullyConnected(5, 16, 2)
    return net, net.init(0), x, y


def test_schemes_agree_and_impulses_are_fewer(task: tuple) -> None:
    net, w, x, y = task
    runs = {
        scheme: work_precision.solve(
            net, w, x, y, x, 1.0, scheme, tolerance, stop_loss=0.1
        )
        for scheme, tolerance in (
            ("impulse", 1e-3),
            ("momentum", 0.02),
            ("euler", 0.02),
        )
    }
    impulse = runs["impulse"]
    t1, change = work_precision.errors(list(runs.values()), impulse)
    assert np.abs(t1).max() < 0.02
    assert np.abs(change).max() < 0.05
    assert t1[0] == change[0] == 0.0
    assert 5 * impulse.passes < runs["euler"].passes
    assert impulse.fitted
    seen = impulse.work[~np.isnan(impulse.work)]
    assert (np.diff(seen) >= 0).all()
    assert seen[-1] <= impulse.passes
    with pytest.raises(ValueError, match="scheme must be one of"):
        work_precision.solve(net, w, x, y, x, 1.0, "midpoint", 0.1)


def test_chatter_is_the_path_on_average(task: tuple) -> None:
    net, w, x, y = task
    theta = ntk(net, w, x[:6])
    found = work_precision.chatter(theta, y[:6], dt=0.02)
    exact = np.array(
        [np.interp(found.t_step, found.t, margins) for margins in found.m.T]
    ).T
    assert np.abs(exact - found.m_step).max() < 0.1
    assert found.crossings > len(found.t)


def test_conditions_of_the_path(task: tuple) -> None:
    net, w, x, y = task
    off = work_precision.kkt_violation(ntk(net, w, x), y)
    assert max(off["rest"], off["box"], off["balance"]) < 1e-9
    assert off["events"] >= len(y)


def test_order_pairs_steps_with_errors(task: tuple) -> None:
    net, w, x, y = task
    steps, errors = work_precision.order(
        net, w, x, y, 1 / math.sqrt(16), (0.03, 0.001), 1e-5, level=0.3
    )
    assert steps[1] > 2 * steps[0]
    assert errors[1] < errors[0]
