"""What is computed on a stated number of threads: ``python threads_script.py N FILE``."""

import sys

import torch
from scipy.stats import norm

from lazyrich import data, dynamics, kernels, meanfield, networks

F64 = torch.float64


def mean_field() -> dict[str, torch.Tensor]:
    gen = torch.Generator().manual_seed(1)
    x = torch.randn(200, 8, dtype=F64, generator=gen)
    model = meanfield.MeanField(meanfield.Neuron(8), x, torch.tanh(x[:, 0]))
    theta = torch.randn(3000, 9, dtype=F64, generator=gen)
    points = torch.linspace(-2, 2, 65, dtype=F64).unsqueeze(1)
    plane = meanfield.MeanField(meanfield.Neuron(1), points, torch.tanh(points[:, 0]))
    grid = meanfield.Grid((-5.0, -5.0), (5.0, 5.0), (60, 60))
    mass = grid.mass(norm.cdf, norm.cdf)
    return {
        "same/density_flow": meanfield.density_flow(plane, grid, mass, (0.2,)).mass,
        "MeanField.kernel": model.kernel(theta),
    }


def results() -> dict[str, torch.Tensor]:
    """By name; those below ``same/`` are the same to the last bit on any machine."""
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(700, 40, dtype=F64, generator=gen)
    y = torch.sign(x[:, 0])
    net = networks.FullyConnected(40, 200, 2)
    w = net.init(0)
    theta = kernels.ntk(net, w, x)
    module = torch.nn.Sequential(
        torch.nn.Linear(40, 300), torch.nn.ReLU(), torch.nn.Linear(300, 3)
    ).double()
    for parameter in module.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, dtype=F64, generator=gen)
    digits = data.load("digits", 900, 300, components=40)
    images, basis = data.spiked(600, 300, d_signal=20, signal_to_noise=3.0)
    run = dynamics.stochastic_flow(
        net, w, x, y, 1.0, dt=0.1, batch=300, max_steps=3, check_every=1
    )
    return {
        "same/load": torch.cat([digits.x_train, digits.x_test]),
        "same/spiked": images,
        "same/basis": basis,
        "same/stochastic_flow": torch.cat([run.w["W0"].flatten(), run.loss]),
        "ntk": theta,
        "kernel_predict": kernels.kernel_predict(theta, theta, y, t=50.0),
        "alignment": kernels.alignment(theta, y),
        "trace_ntk": kernels.trace_ntk(module, x),
        **mean_field(),
    }


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    torch.save(results(), sys.argv[2])
