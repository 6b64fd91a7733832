"""Perceptrons in the standard parametrisation: formula, derivatives, homogeneity."""

import pytest
import torch

from lazyrich.kernels import ntk
from lazyrich.networks import MLP, DeepLinear

F64 = torch.float64


def points(n: int, d: int) -> torch.Tensor:
    return torch.randn(n, d, dtype=F64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("depth", [2, 4])
def test_derivatives_agree_with_automatic_ones(depth, activation, c):
    net = MLP((4, *[6] * (depth - 1), c), activation, 0.8)
    w, x = net.init(1), points(5, 4)

    def plain(p, z):
        return net(p, z)

    torch.testing.assert_close(ntk(net, w, x), ntk(plain, w, x), rtol=0, atol=1e-12)
    f, pull = net.pullback(w, x)
    g = points(*f.shape) if c > 1 else points(len(f), 1)[:, 0]
    value, vjp, *_ = torch.func.vjp(lambda p: net(p, x), w)
    torch.testing.assert_close(f, value)
    torch.testing.assert_close(pull(g), vjp(g)[0], rtol=0, atol=1e-13)
    out = {k: torch.empty_like(v) for k, v in w.items()}
    pull(g, out)
    torch.testing.assert_close(out, pull(g))


def test_a_relu_net_is_homogeneous_of_its_depth():
    net = MLP((4, 7, 7, 1))
    w, x = net.init(0), points(5, 4)
    grown = {k: 3.0 * v for k, v in w.items()}
    torch.testing.assert_close(net(grown, x), 27.0 * net(w, x))
    torch.testing.assert_close(ntk(net, grown, x), 3.0**4 * ntk(net, w, x))


def test_a_linear_perceptron_is_a_deep_linear_net():
    widths, x = (4, 7, 2), points(5, 4)
    linear, net = DeepLinear(widths, 0.3), MLP(widths, "linear", 0.3)
    w = net.init(5)
    torch.testing.assert_close(w, linear.init(5))
    torch.testing.assert_close(net(w, x), linear(w, x))
    torch.testing.assert_close(ntk(net, w, x), ntk(linear, w, x))


def test_scales_and_members():
    small, large = MLP((400, 300, 1), sigma=0.1), MLP((400, 300, 1), sigma=1.0)
    torch.testing.assert_close(small.init(0)["W0"], 0.1 * large.init(0)["W0"])
    w = large.init(0, members=2)
    assert large(w, points(3, 400)).shape == (2, 3)
    assert float(w["W0"][0].var()) * 400 == pytest.approx(1.0, abs=0.02)
    assert large.n_params == 400 * 300 + 300


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (((4,),), "widths"),
        (((4, 0, 1),), "widths"),
        (((4, 3, 1), "softplus"), "activation"),
        (((4, 3, 1), "relu", 0.0), "sigma"),
    ],
)
def test_bad_descriptions_are_refused(arguments, names):
    with pytest.raises(ValueError, match=names):
        MLP(*arguments)


def test_bad_weights_and_inputs_are_refused():
    net = MLP((4, 3, 1))
    w = net.init(0)
    with pytest.raises(ValueError, match="x must have 4 components"):
        net(w, points(2, 5))
    with pytest.raises(ValueError, match=r"missing \['W1'\]"):
        net({"W0": w["W0"]}, points(2, 4))
    with pytest.raises(ValueError, match=r"w must have shape \(1, 3\) at W1"):
        net({"W0": w["W0"], "W1": w["W0"]}, points(2, 4))
    with pytest.raises(TypeError, match="w must be a dict"):
        net.check_params([1])  # type: ignore[arg-type]
