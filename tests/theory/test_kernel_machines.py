"""Linear nets as kernel machines: symbols, regressions and what is left off the span."""

import numpy as np
import pytest
import sympy as sp
import torch

from lazyrich.studies.alignment import kernel_machines as machines
from lazyrich.theory import kernel_machines as theory


def test_symbols():
    L = sp.Symbol("L", positive=True)
    assert theory.norm_by_sherman_morrison() == 0
    assert theory.objective_of_interpolators() == 0
    assert sp.simplify(theory.residual_off_the_span() - (L - 1) / L) == 0


def test_spikes_in_the_span_change_nothing_and_others_do():
    task = machines.linear_task(12, 5, singular=(0.2, 2.0))
    changes = machines.other_spikes(task, 7.0)
    assert max(changes["along_beta"], changes["random_in_span"]) < 1e-12
    assert changes["random_direction"] > 1e-3
    assert machines.independence_of_the_spike(task, (0.5, 100.0)) < 1e-12


def test_tasks_are_what_they_say():
    task = machines.linear_task(12, 5, singular=(0.5, 2.0), s=3.0)
    spectrum = torch.linalg.eigvalsh(task.covariance)[-5:]
    torch.testing.assert_close(spectrum[[0, -1]], torch.tensor([0.25, 4.0]).double())
    torch.testing.assert_close(task.span @ task.beta, task.beta)
    assert float(task.beta.norm()) == pytest.approx(1.0)
    torch.testing.assert_close(
        machines.interpolator(task, torch.eye(12).double()), 3.0 * task.beta
    )


@pytest.mark.parametrize(("depth", "sigma"), [(2, 1e-3), (3, 3e-2)])
def test_machine_keeps_its_share_off_the_span(depth, sigma):
    task = machines.linear_task(12, 5)
    found = machines.off_span(task, depth, (sigma,), seeds=1, width=10)
    assert found["share"][0, 0] == pytest.approx((depth - 1) / depth, rel=0.01)
    assert found["in_span"][0, 0] < 1e-8
    assert 0.1 * sigma < found["net"][0, 0] < 3 * sigma


def test_norm_of_the_learned_direction_ends_at_one_over_depth():
    _, norm = machines.norm_of_the_learned_direction(2, 1e-3, d=10, width=10)
    assert norm[-1] == pytest.approx(0.5, rel=1e-3)


def test_regression_is_right_before_the_net_is():
    run = machines.regression_along_training(machines.linear_task(12, 5), 2, 1e-3)
    early = int(np.argmax(run["loss"] < 0.9))
    assert run["net"][early] > 0.8
    assert run["regression"][early] < 0.05


def test_bad_tasks_are_refused():
    with pytest.raises(ValueError, match="n must be below d"):
        machines.linear_task(5, 5)
    with pytest.raises(ValueError, match="singular"):
        machines.linear_task(6, 5, singular=(0.0, 1.0))
