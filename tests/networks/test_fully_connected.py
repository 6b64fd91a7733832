"""The hand-written chain against a loop, against torch.func, and against its laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyrich.networks import ACTIVATIONS, FullyConnected, activation, from_module

F64 = torch.float64


def noisy_biases(w, seed=3):
    gen = torch.Generator().manual_seed(seed)
    return {
        k: torch.randn(v.shape, generator=gen, dtype=v.dtype) if k[0] == "B" else v
        for k, v in w.items()
    }


def points(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=F64)


def loop_forward(net, w, x):
    """geiger2020 Eqs. 20-22, neuron by neuron."""
    sigma = activation(net.activation)
    out = []
    for point in x:
        z, fan = [float(v) for v in point], net.d
        for layer in range(net.L + 1):
            pre = [
                sum(float(weight) * v for weight, v in zip(row, z, strict=True))
                / math.sqrt(fan)
                + float(bias)
                for row, bias in zip(w[f"W{layer}"], w[f"B{layer}"], strict=True)
            ]
            z = [float(sigma(torch.tensor(v, dtype=F64))) for v in pre]
            fan = net.h
        out.append(pre)
    return torch.tensor(out, dtype=F64)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_forward_is_the_paper_formula(name):
    net = FullyConnected(3, 4, 2, activation=name, c=2)
    w = noisy_biases(net.init(1))
    x = points(3, 3)
    torch.testing.assert_close(
        net(w, x), loop_forward(net, w, x), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("h", [100, 200, 400, 800])
def test_parameter_count_of_the_paper(h):
    counts = {100: 41601, 200: 163201, 400: 646401, 800: 2572801}
    assert FullyConnected(10, h, 5).n_params == counts[h]


@settings(max_examples=25, deadline=None)
@given(
    d=st.integers(1, 4),
    h=st.integers(1, 6),
    L=st.integers(1, 4),
    c=st.integers(1, 3),
    n=st.integers(1, 5),
    name=st.sampled_from(ACTIVATIONS),
    bias=st.booleans(),
    members=st.sampled_from([None, 1, 3]),
)
def test_pullback_is_the_vector_jacobian_product(d, h, L, c, n, name, bias, members):
    net = FullyConnected(d, h, L, activation=name, bias=bias, c=c)
    w = noisy_biases(net.init(0, members=members))
    x = points(n, d)
    f, pull = net.pullback(w, x)
    g = torch.randn(f.shape, generator=torch.Generator().manual_seed(9), dtype=F64)
    expected_f, vjp = torch.func.vjp(lambda params: net(params, x), w)
    (expected,) = vjp(g)
    torch.testing.assert_close(f, expected_f, rtol=1e-12, atol=1e-12)
    got = pull(g)
    out = {k: torch.full_like(v, math.nan) for k, v in w.items()}
    pull(g, out)
    for k in w:
        torch.testing.assert_close(got[k], expected[k], rtol=1e-11, atol=1e-12)
        assert torch.equal(out[k], got[k])


def test_members_are_what_they_are_alone():
    net = FullyConnected(4, 6, 3)
    batch = net.init(5, members=3)
    for e, seed in enumerate((5, 6, 7)):
        alone = net.init(seed)
        for k in alone:
            assert torch.equal(batch[k][e], alone[k])
    scattered = net.init([7, 5])
    assert torch.equal(scattered["W1"][0], batch["W1"][2])
    x = points(5, 4)
    f = net(batch, x)
    torch.testing.assert_close(f[1], net(net.init(6), x), rtol=1e-13, atol=1e-14)


def test_init_is_standard_normal_with_zero_biases():
    w = FullyConnected(10, 300, 2).init(0)
    for k, v in w.items():
        if k[0] == "B":
            assert not v.any()
        else:
            assert abs(float(v.mean())) < 5 / math.sqrt(v.numel())
            assert abs(float(v.var()) - 1) < 5 * math.sqrt(2 / v.numel())


def test_preactivations_and_backward_scales_at_initialisation():
    """z~ = O(1) and df/dz~ = O(h^-1/2) in every layer (geiger2020, Sec. 6)."""
    x = points(20, 10)
    x = x / x.norm(dim=1, keepdim=True) * math.sqrt(10)
    widths, pre, back = [32, 128, 512], [], []
    for h in widths:
        net = FullyConnected(10, h, 3)
        w = net.init(0, members=6)
        pre.append([float(z.square().mean().sqrt()) for z in net.preactivations(w, x)])
        d = [t.d for t in net.tangent_factors(w, x) if t.d is not None]
        back.append([float(v.square().mean().sqrt()) for v in d])
    for layer in range(3):
        slope = np.polyfit(np.log(widths), np.log(np.array(pre)[:, layer]), 1)[0]
        assert abs(slope) < 0.06
        slope = np.polyfit(np.log(widths), np.log(np.array(back)[:, layer]), 1)[0]
        assert abs(slope + 0.5) < 0.06
    assert abs(pre[-1][-1] - 1.0) < 0.1


def test_neurons_may_be_permuted():
    net = FullyConnected(3, 8, 2)
    w = noisy_biases(net.init(2))
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    v = dict(w)
    v["W0"], v["B0"], v["W1"] = w["W0"][order], w["B0"][order], w["W1"][:, order]
    x = points(4, 3)
    torch.testing.assert_close(net(v, x), net(w, x), rtol=1e-12, atol=1e-13)


def test_relu_without_bias_is_homogeneous_of_degree_L_plus_1():
    net = FullyConnected(3, 5, 3, activation="relu", bias=False)
    w = net.init(0)
    scaled = {k: 2.0 * v for k, v in w.items()}
    x = points(4, 3)
    torch.testing.assert_close(net(scaled, x), 2.0**4 * net(w, x), rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"d": 0, "h": 3, "L": 1}, ValueError, "d must be an integer >= 1"),
        ({"d": 2, "h": 2.5, "L": 1}, TypeError, "h must be an integer"),
        ({"d": 2, "h": 2, "L": 0}, ValueError, "L must be an integer >= 1"),
        ({"d": 2, "h": 2, "L": 1, "activation": "sine"}, ValueError, "activation must"),
        ({"d": 2, "h": 2, "L": 1, "bias": 1}, TypeError, "bias must be True or False"),
    ],
)
def test_bad_descriptions(arguments, error, words):
    with pytest.raises(error, match=words):
        FullyConnected(**arguments)


def test_bad_weights_and_inputs():
    net = FullyConnected(3, 4, 1)
    w = net.init(0)
    with pytest.raises(ValueError, match="x must have 3 components"):
        net(w, points(2, 4))
    with pytest.raises(ValueError, match="x must have dtype torch.float64"):
        net(w, points(2, 3).float())
    with pytest.raises(ValueError, match=r"missing \['B1'\]"):
        net({k: v for k, v in w.items() if k != "B1"}, points(2, 3))
    with pytest.raises(ValueError, match=r"w must have shape \(4, 3\) at W0"):
        net({**w, "W0": w["W0"].T}, points(2, 3))
    with pytest.raises(ValueError, match="seed must be an integer >= 0"):
        net.init(-1)
    with pytest.raises(ValueError, match="members must be None"):
        net.init([0, 1], members=2)
    with pytest.raises(ValueError, match="x with a member axis"):
        net(net.init(0, members=2), points(6, 3).reshape(3, 2, 3))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_unit_second_moment_by_another_quadrature(name):
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    sigma = activation(name)(torch.from_numpy(nodes)).numpy()
    moment = (weights * sigma**2).sum() / math.sqrt(2 * math.pi)
    assert abs(moment - 1) < (2e-3 if name == "relu" else 2e-5)


def test_softplus_constant_of_the_paper():
    sigma = activation("softplus")
    assert abs(sigma.outer * sigma.inner - 1.404383347632) < 1e-11
    steep = activation("softplus", sharpness=400.0)
    assert abs(steep.outer * steep.inner - math.sqrt(2)) < 1e-4


def test_softplus_keeps_float64_beyond_the_library_threshold():
    """torch's default threshold of 20 is off by 2e-9 there."""
    z = torch.linspace(3.8, 7.9, 50, dtype=F64)
    sigma = activation("softplus")
    exact = torch.log1p(torch.exp(5.0 * z)) * sigma.outer
    torch.testing.assert_close(sigma(z), exact, rtol=4e-16, atol=0)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slopes_by_autograd(name):
    sigma = activation(name)
    z = torch.linspace(-3.1, 3.2, 30, dtype=F64).requires_grad_()
    (expected,) = torch.autograd.grad(sigma(z).sum(), z)
    torch.testing.assert_close(
        sigma.slope(z.detach()), expected, rtol=1e-12, atol=1e-13
    )


def test_modules_come_in_by_copy():
    module = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1)
    ).double()
    net, w = from_module(module)
    x = points(4, 3)
    assert net(w, x).shape == (4,)
    torch.testing.assert_close(net(w, x), module(x).squeeze(-1).detach())
    w["0.weight"].zero_()
    assert module[0].weight.abs().sum() > 0
    with pytest.raises(ValueError, match="evaluation mode"):
        from_module(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Dropout()))
    with pytest.raises(TypeError, match="module must be a torch.nn.Module"):
        from_module(lambda x: x)  # type: ignore[arg-type]
