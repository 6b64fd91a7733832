r"""Exponents of the feature regime against depth, and how the layers inflate.

geiger2020, Table 1 and Sec. 6: the kernel change and the weight change as powers of
sqrt(h) alpha for nets of L = 1 to 5 hidden layers; the amplification of each layer,
|W^l(t2) - W^l(0)| / |W^l(t_x) - W^l(0)| with t_x = sqrt(h) alpha, which the heuristic takes
to be the same in all of them; and the half-loss time, whose law the finite-time blow-up
predicts. Bias-free ReLU nets, exactly homogeneous, are the cleanest test.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lazyrich import sweeps
from lazyrich.dynamics import momentum_flow
from lazyrich.kernels import kernel_change
from lazyrich.networks import FullyConnected
from lazyrich.studies.tools import digits, tables
from lazyrich.studies.tools.digits import Digits, load_data

MOST_LAYERS = 9
"""Layers of weights that the table has columns for."""

FEATURE = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)

LAPTOP = sweeps.Scale(
    grid={
        "net": ("softplus", "homogeneous"),
        "L": (1, 2, 3, 5),
        "alpha_mf": FEATURE,
        "seed": (0, 1, 2),
    },
    settings=replace(
        digits.LAPTOP, L=None, activation=None, h=64, n_train=100, n_kernel=100
    ),
)  # fmt: skip
"""Width 64 and 100 examples, as in the exploratory runs of the ledger."""

PAPER = sweeps.Scale(
    grid={
        "net": ("softplus", "homogeneous"),
        "L": (1, 2, 3, 5, 8),
        "alpha_mf": FEATURE,
        "seed": tuple(range(10)),
    },
    settings=replace(
        digits.PAPER, L=None, activation=None, h=400, stop_loss=0.01
    ),
)  # fmt: skip


def network(name: str, h: int, L: int, d: int) -> FullyConnected:
    """``softplus``, the net of the paper, or ``homogeneous``, a ReLU net without biases."""
    if name == "homogeneous":
        return FullyConnected(d, h, L, "relu", bias=False)
    return FullyConnected(d, h, L, name)


def layer_moves(net: Any, w0: Mapping[str, Tensor]) -> Callable[..., Tensor]:
    """A probe: (MOST_LAYERS,) Frobenius norms |W^l - W^l(0)|, NaN beyond the last layer."""
    start = {k: v.clone() for k, v in w0.items() if k.startswith("W")}
    rest = [math.nan] * (MOST_LAYERS - len(start))

    def moves(w: Mapping[str, Tensor]) -> Tensor:
        norms = [float((w[k] - start[k]).norm()) for k in start]
        return torch.tensor(norms + rest, dtype=torch.float64, device="cpu")

    return moves


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Train the members of a chunk and measure exponents' raw material."""
    settings = chunk.typed(Digits)
    task = load_data(settings, chunk.device)
    L, h, x = chunk.shared("L"), settings.need("h"), task.x_train
    net = network(chunk.shared("net"), h, L, settings.d)
    w = net.init(chunk.axis("seed").tolist(), dtype=x.dtype, device=x.device)
    alpha_mf = chunk.axis("alpha_mf").astype(float)
    watch = replace(
        settings.watch,
        observe={
            "kernel_change": kernel_change(task.x_test[: settings.n_kernel]),
            "layer_moves": layer_moves,
        },
        checkpoint=checkpoint,
    )
    flow = momentum_flow(
        net, w, x, task.y_train, torch.tensor(alpha_mf / math.sqrt(h), device="cpu"),
        loss=settings.loss, mu=settings.mu, rule=settings.rule, watch=watch,
    )  # fmt: skip
    t, moves = flow.t.numpy(), flow.observed["layer_moves"].numpy()
    kept = ("status", "t_end", "tries")
    return tables.of_flow(chunk, flow, kept, task.source).assign(
        kernel_change_end=("member", flow.end("kernel_change").numpy()),
        weight_change_end=("member", flow.end("weight_change").numpy()),
        t_half=("member", flow.t1.numpy()),
        move_early=(("member", "layer"), _at(alpha_mf, t, moves)),
        move_end=(("member", "layer"), flow.end("layer_moves").numpy()),
    )


def _at(times: np.ndarray, t: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """Curves (members, records, layers) at one time a member, interpolating logs."""
    found = np.full((len(t), curves.shape[2]), np.nan)
    for k, when in enumerate(times):
        seen = np.isfinite(t[k]) & (t[k] > 0)
        x = np.log(t[k, seen])
        for layer in range(curves.shape[2]):
            y = curves[k, seen, layer]
            if np.isfinite(y).all() and (y > 0).all():
                found[k, layer] = np.exp(np.interp(np.log(when), x, np.log(y)))
    return found


def cost(member: sweeps.Member, scale: sweeps.Scale) -> float:
    """Seconds of one CPU core, from tries at laptop scale and operations of a try."""
    settings, L = Digits.of(scale.settings), int(member["L"])
    h = settings.need("h")
    tries = (2500.0 if member["net"] == "softplus" else 1200.0) * (1.0 + 1.0 / L)
    tries *= 0.1 / settings.max_output_change
    flop = 6.0 * settings.n_train * ((L - 1) * h * h + (settings.d + 1) * h)
    elementwise = 5e-9 * settings.n_train * h * L
    return tries * (1.2e-4 + 5e-5 * L + flop / 6e10 + elementwise)


DEPTH = sweeps.register(
    sweeps.Study(
        name="depth",
        title="Exponents of the feature regime and inflation of the layers, by depth",
        version=1,
        scales={"laptop": LAPTOP, "paper": PAPER},
        measure=measure,
        chunk_axes=("alpha_mf", "seed"),
        cost=cost,
        chunk_size={"cpu": 6, "cuda": 64},
    )
)


def amplification(table: xr.Dataset, L: int) -> xr.DataArray:
    """lambda^l = |W^l(t2) - W^l(0)| / |W^l(t_x) - W^l(0)|, of the layers of depth ``L``."""
    part = table.sel(L=L).isel(layer=slice(0, L + 1))
    return part["move_end"] / part["move_early"]
