"""Deep linear nets: evaluation, tangent kernel, and their gradient flow."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyrich import data
from lazyrich.dynamics import (
    data_force,
    gradient_flow,
    linear_flow,
    linear_velocity,
    square_force,
)
from lazyrich.kernels import ntk
from lazyrich.losses import loss
from lazyrich.networks import DeepLinear, FullyConnected

F64 = torch.float64
widths = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple)


@settings(max_examples=8, deadline=None)
@given(widths=widths, seed=st.integers(0, 100))
def test_tangent_matrix_is_the_gram_matrix_of_jacobians(widths, seed):
    net = DeepLinear(widths)
    w, x = net.init(seed), data.gaussian(4, net.d, seed)
    generic = ntk(lambda p, z: net(p, z), w, x)
    M = net.tangent_matrix(w)
    from_matrix = torch.einsum("ni,...ij,mj->nm...", x, M, x)
    torch.testing.assert_close(from_matrix, generic)
    torch.testing.assert_close(ntk(net, w, x), generic)


def test_products_members_and_scale():
    net = DeepLinear((4, 3, 5, 2), sigma=0.5)
    w = net.init(3, members=2)
    x = data.gaussian(6, 4)
    alone = net.init(4)
    torch.testing.assert_close(net(w, x)[1], net(alone, x))
    torch.testing.assert_close(x @ net.product(w).mT, net(w, x))
    doubled = DeepLinear((4, 3, 5, 2), sigma=1.0)
    torch.testing.assert_close(doubled(doubled.init(4), x), 8 * net(alone, x))
    for layer, (below, above) in enumerate(
        zip(net.below(w)[:-1], net.above(w), strict=True)
    ):
        torch.testing.assert_close(above @ w[f"W{layer}"] @ below, net.product(w))
    big = DeepLinear((50, 400, 1), sigma=0.3).init(0)
    assert float(big["W0"].std()) == pytest.approx(0.3 / 50**0.5, rel=0.02)
    assert float(big["W1"].std()) == pytest.approx(0.3 / 400**0.5, rel=0.15)


def test_rates_weight_the_layers_of_the_kernel():
    net = DeepLinear((4, 3, 3, 1))
    w = net.init(0)
    single = [
        net.tangent_matrix(w, [1e-30 if k != layer else 1.0 for k in range(3)])
        for layer in range(3)
    ]
    torch.testing.assert_close(
        net.tangent_matrix(w, (2.0, 0.5, 3.0)),
        2 * single[0] + 0.5 * single[1] + 3 * single[2],
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (3,)}, "widths must hold at least"),
        ({"widths": (3, 0, 1)}, "widths must be an integer >= 1"),
        ({"widths": (3, 1), "sigma": 0.0}, "sigma must be > 0"),
    ],
)
def test_bad_descriptions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DeepLinear(**arguments)


def test_bad_weights_inputs_and_rates_are_refused():
    net = DeepLinear((3, 2, 1))
    w = net.init(0)
    with pytest.raises(ValueError, match=r"missing \['W1'\]"):
        net({"W0": w["W0"]}, data.gaussian(2, 3))
    with pytest.raises(ValueError, match=r"w must have shape \(1, 2\) at W1"):
        net({**w, "W1": w["W1"].mT}, data.gaussian(2, 3))
    with pytest.raises(ValueError, match="x must have 3 components"):
        net(w, data.gaussian(2, 4))
    with pytest.raises(ValueError, match="rates must hold one number for each of 2"):
        net.tangent_matrix(w, (1.0,))
    with pytest.raises(ValueError, match="rates must be > 0"):
        linear_flow(w, torch.ones(3, dtype=F64), [1.0], rates=(1.0, -1.0))
    with pytest.raises(ValueError, match="w must chain"):
        linear_velocity({**w, "W1": w["W1"].mT}, torch.ones(3, dtype=F64))
    with pytest.raises(ValueError, match="t must be increasing"):
        linear_flow(w, torch.ones(3, dtype=F64), [1.0, 1.0])
    with pytest.raises(ValueError, match="must be float64"):
        linear_flow(net.init(0, dtype=torch.float32), torch.ones(3), [1.0])


def test_velocity_is_the_gradient_for_several_outputs_and_any_loss():
    net = DeepLinear((4, 5, 3))
    x, B = data.gaussian(20, 4), data.gaussian(3, 4, 1)
    w = net.init(2)

    def mean_square(p):
        return 0.5 * (net(p, x) - x @ B.mT).square().sum(1).mean()

    gradient = torch.func.grad(mean_square)(w)
    velocity = linear_velocity(w, square_force(B, x.mT @ x / 20), (3.0, 1.0))
    torch.testing.assert_close(velocity["W0"], -3 * gradient["W0"])
    torch.testing.assert_close(velocity["W1"], -gradient["W1"])

    one, y = DeepLinear((4, 5, 1)), data.gaussian(20, 1)[:, 0].sign()
    hinge = loss("quadratic_hinge")
    v = one.init(0)
    gradient = torch.func.grad(lambda p: hinge.value(one(p, x), y).mean())(v)
    velocity = linear_velocity(v, data_force(x, y, hinge.slope))
    torch.testing.assert_close(velocity["W1"], -gradient["W1"])


def test_flow_agrees_with_the_flow_of_any_model_and_starts_where_it_is():
    net = DeepLinear((4, 3, 1), 0.5)
    x, y = data.gaussian(12, 4), data.gaussian(12, 1)[:, 0]
    w = net.init(0)
    times = [0.0, 1.0, 3.0]
    force = data_force(x, y, loss("square").slope)
    fast = linear_flow(w, force, times)
    general = gradient_flow(net, w, x, y, times, rate=1 / 12)
    torch.testing.assert_close(fast.w["W0"], general.w["W0"], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(x @ fast.product[:, 0].mT, general.f.mT)
    torch.testing.assert_close(fast.at(0), w)
    torch.testing.assert_close(linear_flow(w, force, [0.0]).at(0), w)


def test_balance_is_conserved_with_any_rates():
    net = DeepLinear((5, 4, 3, 1), 0.6)
    rates = (3.0, 1.0, 0.5)
    t = np.linspace(0, 4, 5)
    flow = linear_flow(
        net.init(1), data.linear_teacher(5, strength=2.0), t, rates=rates, rtol=1e-12
    )
    for k in range(2):
        lower, upper = flow.w[f"W{k}"], flow.w[f"W{k + 1}"]
        difference = lower @ lower.mT / rates[k] - upper.mT @ upper / rates[k + 1]
        drift = float((difference - difference[0]).abs().max())
        assert drift < 1e-10
        # not because nothing moved: without the rates it is not conserved
        plain = lower @ lower.mT - upper.mT @ upper
        assert float((plain - plain[0]).abs().max()) > 1e-2


def test_an_equal_seed_gives_fully_connected_nets_their_old_weights():
    """Both kinds of networks draw from one stream a layer."""
    dense = FullyConnected(3, 4, 1, bias=False).init(5)
    linear = DeepLinear((3, 4, 1), 1.0).init(5)
    torch.testing.assert_close(linear["W0"] * 3**0.5, dense["W0"])
    torch.testing.assert_close(linear["W1"] * 4**0.5, dense["W1"])
