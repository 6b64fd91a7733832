"""Units: hand-written derivatives against torch, averages against sampling."""

import pytest
import torch

from lazyrich.meanfield import AnyUnit, Bump, MeanField, Neuron, RadialRamp
from lazyrich.networks import Shallow, activation

F64 = torch.float64


def draw(*shape, seed=0):
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=gen, dtype=F64)


def softplus_neuron():
    sigma = activation("softplus")
    return Neuron(3, sigma.phi, sigma.phi_slope)


CASES = [
    (Neuron(3), draw(5, 3)),
    (softplus_neuron(), draw(5, 3)),
    (Neuron(3, readout=False), draw(5, 3)),
    (Bump(2, 0.7), draw(5, 2)),
    (RadialRamp(7), 1.5 + draw(5, 1).abs()),
    (AnyUnit(lambda x, p: p[:, :1] * torch.erf(p[:, 1:] @ x.T), 4), draw(5, 3)),
]


@pytest.mark.parametrize(("unit", "x"), CASES)
def test_gradients_agree_with_differences_and_with_one_another(unit, x):
    theta = 1.0 + 0.3 * draw(2, 4, unit.D)
    jacobian = unit.jacobian(x, theta)
    step = 1e-6
    for k in range(unit.D):
        shift = step * torch.eye(unit.D, dtype=F64)[k]
        up, down = (unit.pullback(x, theta + s)[0] for s in (shift, -shift))
        torch.testing.assert_close(
            (up - down) / (2 * step), jacobian[..., k], rtol=1e-6, atol=1e-7
        )
    g = draw(2, 5, seed=1)
    _, pull = unit.pullback(x, theta)
    contracted = torch.einsum("ehnd,en->ehd", jacobian, g)
    torch.testing.assert_close(pull(g), contracted, rtol=1e-12, atol=1e-12)


def test_radial_ramp_is_the_average_over_directions():
    unit = RadialRamp(7)
    omega = draw(400_000, 7)
    omega = omega[:, 0] / omega.norm(dim=1)
    features, _ = unit.pullback(
        torch.tensor([[1.5], [3.0]], dtype=F64), torch.tensor([[0.8]], dtype=F64)
    )
    sampled = [float(unit(s * 0.8 * omega).mean()) for s in (1.5, 3.0)]
    assert features[0].tolist() == pytest.approx(sampled, abs=0.02)


def test_measure_and_network_are_one_function():
    net = Shallow(3, 6, "relu", alpha=2.5)
    w = net.init(0, members=2)
    sigma = activation("relu")
    model = MeanField(
        Neuron(3, sigma.phi, sigma.phi_slope), draw(5, 3), draw(5), alpha=2.5
    )
    torch.testing.assert_close(model.f(net.particles(w)), net(w, model.x))


def test_one_alpha_a_member():
    theta = draw(2, 6, 4)
    x, y = draw(5, 3), draw(5)
    both = MeanField(Neuron(3), x, y, alpha=torch.tensor([0.5, 4.0], dtype=F64))
    for k, alpha in enumerate((0.5, 4.0)):
        one = MeanField(Neuron(3), x, y, alpha=alpha)
        torch.testing.assert_close(both.f(theta)[k], one.f(theta[k]))
        torch.testing.assert_close(both.velocity(theta)[k], one.velocity(theta[k]))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"y": draw(4)}, "y must have 5 targets"),
        ({"weights": torch.full((5,), 0.3, dtype=F64)}, "weights"),
        ({"alpha": 0.0}, "alpha"),
        ({"x": draw(5, 3).float()}, "float64"),
        ({"weights": torch.full((5,), 0.2)}, "dtype"),
    ],
)
def test_bad_models_are_refused(change, word):
    good = {"unit": Neuron(3), "x": draw(5, 3), "y": draw(5)}
    with pytest.raises(ValueError, match=word):
        MeanField(**(good | change))
