"""What all networks share: drawing, counting and checking their parameters."""

import math

import pytest
import torch

from lazyrich.networks import (
    MLP,
    Convolutional,
    DeepLinear,
    FullyConnected,
    MixedResNet,
    ReluNetwork,
    Shallow,
    WideResNet,
)

F32, F64 = torch.float32, torch.float64
DENSE = [
    FullyConnected(3, 20, 2),
    MLP((3, 30, 10, 1), sigma=0.3),
    DeepLinear((3, 50, 2), sigma=0.3),
    ReluNetwork(3, (30, 10), bias=0.5),
    Shallow(3, 50),
]
IMAGES = [Convolutional(3, 2, 3), MixedResNet(1, 1, 2), WideResNet(1, 1, 2)]
ids = [type(net).__name__ for net in DENSE + IMAGES]


def inputs(net, *leading):
    gen = torch.Generator().manual_seed(0)
    shape = (2, net.channels, 8, 8) if net in IMAGES else (2, net.d)
    return torch.randn(*leading, *shape, generator=gen, dtype=F64)


@pytest.mark.parametrize("net", DENSE + IMAGES, ids=ids)
def test_draws_have_the_shapes_and_scales_that_the_network_states(net):
    w = net.init(4)
    assert {name: tuple(value.shape) for name, value in w.items()} == net.shapes
    assert list(w) == list(net.shapes)
    assert net.n_params == sum(value.numel() for value in w.values())
    assert net.check_params(w) is None
    standard = [w[name] / scale for name, scale in net.scales.items() if scale]
    square = torch.cat([part.flatten() for part in standard]).square()
    # four standard deviations, at most 0.4: the smallest network draws 200 numbers
    assert abs(float(square.mean()) - 1) < 4 * math.sqrt(2 / len(square)) <= 0.4
    for name, scale in net.scales.items():
        assert scale or not w[name].any()


@pytest.mark.parametrize("net", DENSE, ids=ids[:5])
def test_a_member_is_the_same_in_every_batch(net):
    alone, row, scattered = net.init(3), net.init(1, members=3), net.init([7, 3])
    assert (net.check_params(row), net.check_params(scattered)) == (3, 2)
    for name, value in alone.items():
        assert torch.equal(row[name][2], value)
        assert torch.equal(scattered[name][1], value)


@pytest.mark.parametrize("net", DENSE + IMAGES, ids=ids)
def test_float32_weights_are_float64_draws_rounded(net):
    single, double = net.init(1, dtype=F32), net.init(1)
    for name, value in single.items():
        assert value.dtype == F32
        assert torch.equal(value, double[name].to(F32))


@pytest.mark.parametrize("net", IMAGES, ids=ids[5:])
def test_image_networks_have_one_member(net):
    for arguments in ({"seed": [0]}, {"members": 1}):
        with pytest.raises(ValueError, match="no member axis"):
            net.init(**arguments)
    many = {name: value.unsqueeze(0) for name, value in net.init(0).items()}
    with pytest.raises(ValueError, match=r"w must have no leading axis.*\(1,\)"):
        net(many, inputs(net))


@pytest.mark.parametrize("net", DENSE + IMAGES, ids=ids)
def test_wrong_parameters_are_named(net):
    w, x = net.init(0), inputs(net)
    first, last = list(w)[0], list(w)[-1]
    with pytest.raises(TypeError, match="w must be a dict of tensors, got list"):
        net([w[first]], x)
    with pytest.raises(ValueError, match=rf"missing \['{last}'\], unknown \[\]"):
        net({name: value for name, value in w.items() if name != last}, x)
    with pytest.raises(ValueError, match=r"missing \[\], unknown \['extra'\]"):
        net({**w, "extra": x}, x)
    wrong = torch.zeros(9, *net.shapes[last], dtype=F64)
    with pytest.raises(ValueError, match=rf"w must have shape .* at {last}, got \(9,"):
        net({**w, last: wrong}, x)
    batch = {name: value.unsqueeze(0) for name, value in w.items()}
    with pytest.raises(ValueError, match=rf"behind the leading axes \(1,\) of {first}"):
        net({**batch, last: wrong}, x)
    with pytest.raises(ValueError, match=r"v must have .* leading axis.*\(1, 1\)"):
        net.check_params({k: v.unsqueeze(0) for k, v in batch.items()}, "v")


@pytest.mark.parametrize("net", DENSE, ids=ids[:5])
def test_wrong_inputs_are_refused(net):
    w = net.init(0)
    with pytest.raises(ValueError, match="x must have 3 components"):
        net(w, inputs(net)[:, :2])
    with pytest.raises(ValueError, match="x must have dtype"):
        net(w, inputs(net).to(F32))
    with pytest.raises(ValueError, match="x must have 2|x with a member axis must"):
        net(w, inputs(net, 4))
    with pytest.raises(TypeError, match="dtype must be a floating-point dtype"):
        net.init(0, dtype=torch.int64)
