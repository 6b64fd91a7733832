r"""Test error against width and alpha, and its lazy asymptote (geiger2020, Fig. 1)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lazyrich import sweeps
from lazyrich.dynamics import StepRule, hinge_path, momentum_flow
from lazyrich.kernels import ntk
from lazyrich.networks import FullyConnected
from lazyrich.studies import alpha_sweep
from lazyrich.studies.alpha_sweep import LAPTOP as SWEEP
from lazyrich.studies.alpha_sweep import PAPER as PAPER_SWEEP
from lazyrich.studies.alpha_sweep import load_data


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Test error of trained nets at fixed alpha, and of the frozen kernel of each."""
    settings, h = chunk.settings, int(chunk.shared("h"))
    task = load_data(settings, chunk.device)
    alpha = chunk.axis("alpha").astype(float)
    net, w, flow = alpha_sweep.train(
        h,
        (alpha * math.sqrt(h)).tolist(),
        chunk.axis("seed").tolist(),
        settings,
        task,
        checkpoint,
    )
    scale = flow.alpha.to(task.x_test).unsqueeze(1)
    with torch.no_grad():
        F = scale * (net(flow.w, task.x_test) - net(w, task.x_test))
    lazy = hinge_path(
        ntk(net, w, task.x_train).cpu(),
        task.y_train.cpu(),
        ntk(net, w, task.x_test, task.x_train).cpu(),
        stop_loss=settings["stop_loss"],
    )
    assert lazy.F_test is not None
    last = (~lazy.t.isnan()).sum(1) - 1
    frozen = lazy.F_test[torch.arange(len(chunk)), last]
    y = task.y_test
    return xr.Dataset(
        {
            "status": (
                "member",
                np.array([s.value for s in flow.status], dtype=object),
            ),
            "test_error": ("member", alpha_sweep.test_error(F, y).cpu().numpy()),
            "frozen_error": (
                "member",
                alpha_sweep.test_error(frozen, y.cpu()).numpy(),
            ),
            "tries": ("member", flow.tries.numpy().astype("int64")),
        },
        coords=chunk.coords,
        attrs={"data": task.source},
    )


PERFORMANCE = sweeps.register(
    sweeps.Study(
        name="performance",
        title="Test error of ReLU nets against width at fixed alpha",
        version=1,
        scales={
            "laptop": sweeps.Scale(
                grid={
                    "h": (8, 16, 32, 64, 128),
                    "alpha": (1e-2, 1.0, 1e2),
                    "seed": (0, 1, 2),
                },
                settings={
                    **SWEEP.settings, "activation": "relu", "L": 2, "n_train": 300,
                    "n_test": 4000, "stop_loss": 0.02,
                },
            ),
            "paper": sweeps.Scale(
                grid={
                    "h": (8, 16, 32, 64, 128, 256, 512, 1024),
                    "alpha": (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3),
                    "seed": (0, 1, 2),
                },
                settings={**PAPER_SWEEP.settings, "activation": "relu"},
            ),
        },
        measure=measure,
        chunk_axes=("alpha", "seed"),
        cost=lambda member, scale: alpha_sweep.cost(
            {**member, "alpha_mf": float(member["alpha"]) * float(member["h"]) ** 0.5},
            scale,
        ),
        chunk_size={"cpu": 3, "cuda": 64},
    )
)  # fmt: skip


def distance_to_frozen(
    x: Tensor,
    y: Tensor,
    x_test: Tensor,
    alphas: Sequence[float],
    *,
    h: int = 64,
    L: int = 2,
    stop_loss: float = 0.2,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """How fast a net approaches the dynamics of its own frozen kernel (Fig. 1a).

    Both end at the same fraction of the initial loss; the net is followed by gradient
    flow in small steps, the kernel exactly.

    Returns:
        for every alpha the rms of F_net - F_frozen over that of F_frozen on the test
        points, and the share of points on which their signs agree.
    """
    net = FullyConnected(x.shape[1], h, L)
    w = net.init(seed)
    frozen = hinge_path(ntk(net, w, x), y, ntk(net, w, x_test, x), stop_loss=stop_loss)
    assert frozen.F_test is not None
    last = int((~frozen.t[0].isnan()).sum()) - 1
    F0 = frozen.F_test[0, last]
    flow = momentum_flow(
        net, w, x, y, list(alphas), mu=None, tau=0.0, stop_loss=stop_loss,
        x_test=x_test, rule=StepRule(0.005),
    )  # fmt: skip
    assert flow.F_test is not None
    ends = flow.F_test[torch.arange(len(alphas)), (~flow.t.isnan()).sum(1) - 1]
    away = (ends - F0).square().mean(1).sqrt() / F0.square().mean().sqrt()
    agree = (ends.sign() == F0.sign()).double().mean(1)
    return away.numpy(), agree.numpy()


def rescaled(errors: np.ndarray) -> np.ndarray:
    """Curves mapped to [0, 1], each by the mean of its three lowest and three highest
    values: single extremes would be biased by noise."""
    ordered = np.sort(errors, axis=-1)
    low, high = ordered[..., :3].mean(-1), ordered[..., -3:].mean(-1)
    return (errors - low[..., None]) / (high - low)[..., None]
