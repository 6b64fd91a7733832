"""What all flows ask of their arguments: no gradients, fitting targets, kept promises."""

import math

import pytest
import torch

from lazyrich import dynamics, meanfield, networks

F64 = torch.float64


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=F64)


NET = networks.FullyConnected(d=3, h=4, L=1)
X, Y = draw(4, 3), torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=F64)
A = draw(4, 4, seed=1)
GRAM = A @ A.mT
MODEL = meanfield.MeanField(meanfield.Neuron(3), X, Y)
CHAIN = networks.DeepLinear((3, 2, 1)).init(0)

FLOWS = {
    "momentum": lambda w, x, y: (
        dynamics.momentum_flow(NET, w, x, y, 1.0, max_steps=5).F
    ),
    "impulse": lambda w, x, y: dynamics.impulse_flow(NET, w, x, y, 1.0, max_steps=5).F,
    "hinge": lambda w, x, y: dynamics.hinge_flow(NET, w, x, y, 1.0, max_steps=5).F,
    "movement": lambda w, x, y: dynamics.frozen_movement(NET, w, x, y, 1.0),
    "stochastic": lambda w, x, y: (
        dynamics.stochastic_flow(NET, w, x, y, 1.0, dt=0.1, batch=2, max_steps=5).loss
    ),
    "gradient": lambda w, x, y: dynamics.gradient_flow(NET, w, x, y, [0.1]).f,
}


@pytest.mark.parametrize("name", FLOWS)
def test_flows_do_not_care_whether_gradients_are_required(name):
    w = NET.init(0)
    want = FLOWS[name](w, X, Y)
    grads = {k: torch.nn.Parameter(v.clone()) for k, v in w.items()}
    got = FLOWS[name](grads, X.clone().requires_grad_(), Y.clone().requires_grad_())
    assert torch.equal(got.nan_to_num(), want.nan_to_num())
    assert not got.requires_grad
    assert all(v.requires_grad and v.grad is None for v in grads.values())


GIVEN = {
    "frozen": (lambda k: dynamics.frozen_flow(k, Y, max_steps=9).F, GRAM),
    "path": (lambda k: dynamics.hinge_path(k, Y).F, GRAM),
    "kernel": (lambda k: dynamics.kernel_flow(k, Y, [0.1]).f, GRAM),
    "residual": (lambda k: meanfield.frozen_residual(k, Y, [0.1]), GRAM),
    "particles": (
        lambda p: meanfield.particle_flow(MODEL, p, [0.1]).theta, draw(2, 4)),
    "coupled": (lambda p: meanfield.coupled_flow(MODEL, p, [0.1]).theta, draw(2, 4)),
    "movement": (lambda p: meanfield.jko_step(MODEL, p, 0.1), draw(2, 4)),
    "linear": (
        lambda w0: dynamics.linear_flow({**CHAIN, "W0": w0}, X[0], [0.1]).product,
        CHAIN["W0"]),
}  # fmt: skip


@pytest.mark.parametrize("name", GIVEN)
def test_flows_of_tensors_cut_gradients_too(name):
    flow, value = GIVEN[name]
    got = flow(value.clone().requires_grad_())
    assert torch.equal(got.nan_to_num(), flow(value).nan_to_num())
    assert not got.requires_grad


@pytest.mark.parametrize("name", ["frozen", "path", "kernel", "residual"])
def test_flows_refuse_kernels_that_are_none(name):
    flow, value = GIVEN[name]
    with pytest.raises(ValueError, match="must be symmetric"):
        flow(torch.triu(value))
    with pytest.raises(ValueError, match="must be positive semi-definite"):
        flow(value - 2 * torch.linalg.eigvalsh(value)[-2] * torch.eye(4, dtype=F64))


@pytest.mark.parametrize("y", [Y[:, None], Y[:1], Y.sum(), Y[:3], Y.repeat(2)])
@pytest.mark.parametrize("name", FLOWS)
def test_targets_are_never_broadcast(name, y):
    with pytest.raises(ValueError, match="y "):
        FLOWS[name](NET.init(0), X, y)


@pytest.mark.parametrize("loss", ["hinge", "soft_hinge", "quadratic_hinge"])
def test_hinges_take_labels_of_one_and_minus_one_only(loss):
    y = torch.tensor([0.3, 2.0, -5.0, 0.0], dtype=F64)
    w = NET.init(0)
    calls = [
        lambda: dynamics.gradient_flow(NET, w, X, y, [0.1], loss=loss),
        lambda: dynamics.momentum_flow(NET, w, X, y, 1.0, loss=loss),
        lambda: dynamics.stochastic_flow(NET, w, X, y, 1.0, loss=loss, dt=0.1, batch=2),
        lambda: dynamics.frozen_flow(GRAM, y, loss=loss),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="y must be"):
            call()


@pytest.mark.parametrize("rtol", [math.nan, -1.0, 0.0, 1e-300, 2.0, "1e-9"])
def test_accuracies_are_what_float64_can_keep(rtol):
    calls = [
        lambda: dynamics.kernel_flow(GRAM, Y, [0.1], rtol=rtol),
        lambda: dynamics.linear_flow(CHAIN, X[0], [0.1], rtol=rtol),
        lambda: dynamics.gradient_flow(NET, NET.init(0), X, Y, [0.1], rtol=rtol),
        lambda: meanfield.particle_flow(MODEL, draw(2, 4), [0.1], rtol=rtol),
        lambda: meanfield.coupled_flow(MODEL, draw(2, 4), [0.1], rtol=rtol),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError), match="rtol must"):
            call()


@pytest.mark.parametrize("tolerance", [1e-300, 1e-30, math.nan, -1.0])
def test_tolerances_below_rounding_are_refused(tolerance):
    with pytest.raises(ValueError, match="max_output_change"):
        dynamics.StepRule(tolerance)
    w = NET.init(0)
    for flow in (dynamics.impulse_flow, dynamics.hinge_flow):
        with pytest.raises(ValueError, match="tolerance"):
            flow(NET, w, X, Y, 1.0, tolerance=tolerance)


def test_flows_that_are_too_fast_for_their_times_are_given_up():
    with pytest.raises(RuntimeError, match="up to t = 1e"):
        dynamics.kernel_flow(GRAM, Y, [1e12])


def test_gradient_flow_asks_for_double_modules():
    single = {k: v.float() for k, v in NET.init(0).items()}
    with pytest.raises(ValueError, match=r"w must be float64.*double"):
        dynamics.gradient_flow(NET, single, X.float(), Y.float(), [0.1])


def test_a_task_that_no_kernel_can_fit_ends_as_not_fitted():
    """Equal inputs with opposite labels: one direction of the labels is out of reach."""
    kernel = torch.ones(2, 2, dtype=F64)
    y = torch.tensor([1.0, -1.0], dtype=F64)
    flow = dynamics.hinge_path(kernel, y)
    assert flow.status == (dynamics.Status.TRUNCATED,)
    assert "cannot fit the labels" in flow.reason[0]
    steps = dynamics.frozen_flow(kernel, y, max_steps=200)
    assert steps.status != (dynamics.Status.FITTED,)


def test_looks_at_the_loss_have_a_distance():
    with pytest.raises(ValueError, match="check_every"):
        dynamics.Batches(dt=0.1, batch=1, check_every=0)


def test_forces_fit_the_product():
    for force in (torch.ones(5, dtype=F64), lambda product: product[:, :1]):
        with pytest.raises(ValueError, match="force must be of the shape"):
            dynamics.linear_flow(CHAIN, force, [0.1])
