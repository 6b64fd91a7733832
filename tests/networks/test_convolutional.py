"""Convolutional and residual nets in the NTK scaling."""

import math

import pytest
import torch
from torch.nn import functional

from lazyrich.kernels import ntk
from lazyrich.networks import Convolutional, MixedResNet

F64 = torch.float64


def images(n: int = 6, channels: int = 1, side: int = 14) -> torch.Tensor:
    gen = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, side, side, generator=gen, dtype=F64)


def test_numbers_of_parameters() -> None:
    for h in (8, 16, 32):
        assert Convolutional(h).n_params == 75 * h**2 + 30 * h + 1
    paper = MixedResNet(k=10, b=4, channels=3)
    assert paper.n_params == 36_465_569
    assert paper.L == 25


def test_forward_pass_layer_by_layer() -> None:
    net = Convolutional(5, kernel=3)
    w, x = net.init(1), images()
    z = x
    for layer, stride in enumerate((2, 1, 2, 1)):
        weight = w[f"conv{layer}.W"]
        fan_in = weight[0].numel()
        z = functional.conv2d(z, weight, stride=stride, padding=1) / math.sqrt(fan_in)
        z = math.sqrt(2) * z.clamp(min=0)
    f = z.mean((2, 3)) @ w["readout.W"][0] / math.sqrt(5)
    assert torch.allclose(net(w, x), f)
    assert net(w, x).shape == (6,)


def test_preactivations_are_of_order_one_at_any_width() -> None:
    for h in (16, 64):
        net = Convolutional(h, kernel=3)
        sizes = [
            float(z.square().mean().sqrt())
            for z in net.feature_maps(net.init(0), images())
        ]
        assert all(0.5 < size < 1.3 for size in sizes), sizes


def test_mixing_keeps_the_variance_and_kernels_are_positive() -> None:
    net = MixedResNet(k=2, b=1, channels=1)
    x = images(8)
    theta = ntk(net, net.init(0), x)
    assert torch.allclose(theta, theta.T)
    assert float(torch.linalg.eigvalsh(theta)[0]) > 0
    outputs = torch.stack([net(net.init(seed), x) for seed in range(60)])
    # the mean over positions averages correlated features, so below one
    assert 0.2 < float(outputs.square().mean()) < 1.5


@pytest.mark.parametrize("net", [Convolutional(4), MixedResNet(1, 1, 1)])
def test_bad_input_is_named(net: Convolutional | MixedResNet) -> None:
    w = net.init(0)
    with pytest.raises(ValueError, match="x must be images"):
        net(w, images(channels=3))
    with pytest.raises(ValueError, match=r"missing \['readout.B'\]"):
        net({k: v for k, v in w.items() if k != "readout.B"}, images())
    with pytest.raises(ValueError, match="no member axis"):
        net.init([0, 1])
    with pytest.raises(ValueError, match="h must|k must"):
        type(net)(0)
