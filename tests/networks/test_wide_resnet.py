"""The wide residual network: sizes by hand, an independent forward pass, its kernel."""

import math

import pytest
import torch
from torch import nn

from lazyrich.kernels import ntk
from lazyrich.networks import WideResNet, from_module

F64 = torch.float64


def images(n: int, channels: int = 3, side: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, channels, side, side, dtype=F64, generator=generator)


def count(k: int, b: int) -> int:
    """Weights by hand: 9 a pair of channels, a shortcut in the first block of a group."""
    total, before = 3 * 16 * 9, 16
    for width in (16 * k, 32 * k, 64 * k):
        total += 9 * (2 * before * width + width * width)
        total += (b - 1) * 9 * 2 * width * width
        before = width
    return total + before


@pytest.mark.parametrize(("k", "b"), [(1, 1), (4, 1), (2, 3)])
def test_number_of_weights_and_layers(k, b):
    net = WideResNet(k=k, b=b)
    assert net.n_params == count(k, b)
    assert net.n_params == sum(v.numel() for v in net.init(0).values())
    assert net.main_path == 2 + 6 * b


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int, shortcut: bool) -> None:
        super().__init__()

        def conv(a: int, s: int) -> nn.Conv2d:
            return nn.Conv2d(a, width, 3, s, padding=1, bias=False)

        self.conv0, self.conv1 = conv(before, stride), conv(width, 1)
        self.shortcut = conv(before, stride) if shortcut else None

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        main = self.conv1(torch.relu(self.conv0(torch.relu(z))))
        return main + (z if self.shortcut is None else self.shortcut(z))


def as_module(net: WideResNet) -> nn.Module:
    """The same network out of torch's layers."""
    layers: list[tuple[str, nn.Module]] = [
        ("first", nn.Conv2d(net.channels, 16, 3, padding=1, bias=False))
    ]
    before = 16
    for group in range(3):
        for block in range(net.b):
            width = 16 * 2**group * net.k
            stride = 2 if group and not block else 1
            name = f"group{group}-block{block}"
            layers.append((name, Block(before, width, stride, block == 0)))
            before = width
    layers += [
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("readout", nn.Linear(before, net.c, bias=False)),
    ]
    module = nn.Sequential()
    for name, layer in layers:
        module.add_module(name, layer)
    return module.double()


def test_forward_pass_and_kernel_are_those_of_torch_layers():
    net = WideResNet(k=1, b=2, c=2)
    w, x = net.init(0), images(3)
    module = as_module(net)
    state = {}
    for name, value in w.items():
        layer = name.replace(".block", "-block")
        state[f"{layer}.weight"] = value
    module.load_state_dict(state)
    torch.testing.assert_close(net(w, x), module(x).detach())
    other, parameters = from_module(module)
    torch.testing.assert_close(ntk(net, w, x), ntk(other, parameters, x))


def test_examples_do_not_see_each_other():
    net = WideResNet(k=1)
    w, x = net.init(0), images(4)
    torch.testing.assert_close(net(w, x)[2:3], net(w, x[2:3]))


def test_scales_of_the_weights():
    w = WideResNet(k=2, sigma=0.3, sigma_first=6.0).init(0)
    for name, sigma in (("first", 6.0), ("group2.block0.conv1", 0.3)):
        fan_in = math.prod(w[name].shape[1:])
        assert float(w[name].std()) * math.sqrt(fan_in) == pytest.approx(sigma, rel=0.1)


def test_bad_input_is_refused():
    net = WideResNet(k=1)
    w = net.init(0)
    with pytest.raises(ValueError, match="k must be an integer"):
        WideResNet(k=0)
    with pytest.raises(ValueError, match="sigma_first"):
        WideResNet(sigma_first=0.0)
    with pytest.raises(ValueError, match="member axis"):
        net.init([0, 1])
    with pytest.raises(ValueError, match="x must be images"):
        net(w, images(2, channels=1))
    with pytest.raises(ValueError, match="sides of at"):
        net(w, images(2, side=2))
    with pytest.raises(ValueError, match="w must hold"):
        net({"first": w["first"]}, images(2))
    with pytest.raises(ValueError, match="w must have shape"):
        net({**w, "readout": w["first"]}, images(2))
