"""Every tensor says on which device it is made.

torch's default device is "meta" here, whose tensors hold no numbers, while the data stay
on the CPU: a tensor made without a device meets the data and fails, as it would on a GPU.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lazyrich import dynamics, kernels, networks

F64 = torch.float64

FLAT = {
    "fully connected": networks.FullyConnected(3, 8, 2, bias=True),
    "mlp": networks.MLP((3, 8, 1), "tanh"),
    "deep linear": networks.DeepLinear((3, 6, 1)),
    "relu": networks.ReluNetwork(3, (8,), bias=0.5),
    "shallow": networks.Shallow(3, 8),
}
IMAGES = {
    "convolutional": networks.Convolutional(3, 2, 3),
    "mixed": networks.MixedResNet(1, 1, 2),
    "wide": networks.WideResNet(1, 1, 2),
}


@pytest.fixture
def nowhere() -> Iterator[None]:
    """The default device is "meta"."""
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


def points(n: int = 6) -> tuple[Tensor, Tensor]:
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, generator=gen, dtype=F64, device="cpu")
    return x, torch.where(x[:, 0] > 0, 1.0, -1.0).to(F64)


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("name", sorted(FLAT))
def test_networks_kernels_and_flows(name: str) -> None:
    net, (x, y) = FLAT[name], points()
    w = net.init(0)
    networks.check(net, x)
    theta = kernels.ntk(net, w, x)
    ends = [
        kernels.kernel_predict(theta + torch.eye(6, dtype=F64, device="cpu"), theta, y),
        kernels.alignment(theta, y),
        dynamics.gradient_flow(net, w, x, y, [0.1]).f,
        dynamics.momentum_flow(net, net.init([0, 1]), x, y, 1.0, max_steps=5).loss,
        dynamics.stochastic_flow(
            net, w, x, y, 1.0, dt=0.1, batch=2, max_steps=3, check_every=1
        ).loss,
        dynamics.hinge_flow(net, w, x, y, 1.0, max_steps=5, kernel=kernels.ntk).loss,
    ]
    for end in ends:
        assert end.device.type == "cpu"


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("name", sorted(IMAGES))
def test_networks_of_images(name: str) -> None:
    net = IMAGES[name]
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(4, net.channels, 8, 8, generator=gen, dtype=F64, device="cpu")
    y = torch.where(x[:, 0, 0, 0] > 0, 1.0, -1.0).to(F64)
    w = net.init(0)
    networks.check(net, x)
    assert kernels.ntk(net, w, x).device.type == "cpu"
    flow = dynamics.momentum_flow(net, w, x, y, 1.0, max_steps=3)
    assert flow.loss.device.type == "cpu"
