r"""The alpha-sweep of geiger2020: one task, many laziness scales, widths and seeds.

A member is a fully connected net of width h, initialised from a seed, that learns the
parity of handwritten digits from ten principal components with the predictor
F = alpha (f - f0) (geiger2020, Secs. 2, 3 and 5). The axis ``alpha_mf`` is the collapse
variable sqrt(h) alpha, which runs from the feature regime (<< 1) to the lazy one (>> 1).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lazyrich import data, sweeps
from lazyrich.core.pullback import member
from lazyrich.dynamics import Trajectory, hinge_flow, hinge_path, momentum_flow
from lazyrich.kernels import kernel_change, kernel_distance, ntk
from lazyrich.networks import FullyConnected
from lazyrich.studies.tools import digits, tables
from lazyrich.studies.tools.digits import (
    Digits,
    load_data,
    network,
    shown_points,
    test_error,
)

LAPTOP = sweeps.Scale(
    grid={
        "h": (50, 150),
        "alpha_mf": (
            1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0, 1e2, 1e3, 1e4,
        ),
        "seed": (0, 1, 2),
    },
    settings=digits.LAPTOP,
)  # fmt: skip
"""n = 200, stopped at one per cent of the initial loss."""

PAPER = sweeps.Scale(
    grid={
        "h": (100, 200, 400, 800),
        "alpha_mf": tuple(float(f"{10 ** (k / 3):.6g}") for k in range(-6, 19)),
        "seed": tuple(range(10)),
    },
    settings=digits.PAPER,
)  # fmt: skip
"""The grid of the authors' own notebook, to zero loss; needs full MNIST and a GPU."""


def by_regime(scale: sweeps.Scale) -> sweeps.Scale:
    """The same scale, each member integrated as its regime asks: in impulses where they
    are cheaper, by the paper's momentum flow deep in the feature regime."""
    settings = replace(Digits.of(scale.settings), integrator="auto")
    return replace(scale, settings=settings)


def train(
    h: int,
    alpha_mf: list[float],
    seeds: list[int],
    settings: Mapping[str, Any],
    task: data.Dataset,
    checkpoint: sweeps.Checkpoint | None = None,
) -> tuple[FullyConnected, dict[str, Tensor], Trajectory]:
    """Train one ensemble of equal width: member k has ``alpha_mf[k]`` and ``seeds[k]``.

    The settings' ``integrator``, if there is one, chooses that of ``hinge_flow``; without
    it it is the momentum flow of the paper.

    Returns:
        the net, its initial weights and the trajectory.

    Raises:
        ValueError: an integrator for another loss than the hinge.
    """
    chosen = Digits.of(settings)
    net = network(h, chosen)
    x, y = task.x_train, task.y_train
    w = net.init(seeds, dtype=x.dtype, device=x.device)
    alpha = torch.tensor(alpha_mf, dtype=torch.float64, device="cpu") / h**0.5
    watch = replace(
        chosen.watch,
        observe={"kernel_change": kernel_change(task.x_test[: chosen.n_kernel])},
        checkpoint=checkpoint,
    )
    if chosen.integrator is None:
        flow = momentum_flow(
            net, w, x, y, alpha, loss=chosen.loss, mu=chosen.mu, rule=chosen.rule,
            watch=watch,
        )  # fmt: skip
        return net, w, flow
    if chosen.loss != "hinge":
        raise ValueError(
            "the integrator may be chosen for the loss 'hinge' alone, "
            f"got {chosen.loss!r}"
        )
    assert chosen.mu is not None
    flow = hinge_flow(
        net, w, x, y, alpha, integrator=chosen.integrator, mu=chosen.mu,
        rule=chosen.rule, watch=watch,
    )  # fmt: skip
    return net, w, flow


CURVES = [
    "status", "reason", "t", "loss", "F", "weight_change", "kernel_change", "t_level",
    "t1", "t2", "t_end", "loss_end", "steps", "tries", "largest_output_change",
]  # fmt: skip
"""What the table of the sweep takes over from the flow as it is."""


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Train the members of a chunk and measure what the chapters plot."""
    settings = chunk.typed(Digits)
    task = load_data(settings, chunk.device)
    net, w, flow = train(
        chunk.shared("h"),
        chunk.axis("alpha_mf").tolist(),
        chunk.axis("seed").tolist(),
        settings,
        task,
        checkpoint,
    )
    alpha = flow.alpha.to(task.x_test)
    with torch.no_grad():
        moved = net(flow.w, task.x_test) - net(w, task.x_test)
        F_test = alpha.unsqueeze(1) * moved
        x_kernel = task.x_test[: settings.n_kernel]
        shown = task.x_test[shown_points(task, settings.n_shown)]
        changes, starts, ends = [], [], []
        for k in range(len(chunk)):
            w0, w1 = member(w, k), member(flow.w, k)
            changes.append(
                kernel_distance(ntk(net, w1, x_kernel), ntk(net, w0, x_kernel))
            )
            starts.append(ntk(net, w0, shown))
            ends.append(ntk(net, w1, shown))

    def array(value: Tensor, dtype: str = "float64") -> np.ndarray:
        return value.cpu().numpy().astype(dtype)

    table = tables.of_flow(chunk, flow, CURVES, task.source)
    table["F"] = table["F"].astype("float32")
    if settings.integrator is not None:
        names = np.array(flow.settings["integrator"], dtype=object)
        table["integrator"] = ("member", names)
    return table.assign(
        {
            "kernel_change_end": ("member", array(torch.stack(changes))),
            "weight_change_end": ("member", array(flow.end("weight_change"))),
            "test_error": ("member", array(test_error(F_test, task.y_test))),
            "F_test": (("member", "test_example"), array(F_test, "float32")),
            "theta_start": (
                ("member", "shown", "shown_too"),
                array(torch.stack(starts)),
            ),
            "theta_end": (("member", "shown", "shown_too"), array(torch.stack(ends))),
        }
    )


def measure_lazy_limit(
    chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint
) -> xr.Dataset:
    """The alpha to infinity limit: the same flow with the kernel of the start, frozen."""
    settings = Digits.of(chunk.settings)
    task = load_data(settings, chunk.device)
    net = network(chunk.shared("h"), settings)
    x = task.x_train
    w = net.init(chunk.axis("seed").tolist(), dtype=x.dtype, device=x.device)
    flow = hinge_path(
        ntk(net, w, x),
        task.y_train,
        ntk(net, w, task.x_test, x),
        stop_loss=settings.stop_loss,
        records_per_decade=settings.records_per_decade,
    )
    size = sum(value.flatten(1).square().sum(1) for value in w.values())
    assert isinstance(size, Tensor)
    ends = flow.end("F_test")
    # |w - w0| / |w0| times alpha: the limit itself does not move
    moved = flow.end("weight_change").numpy() / size.sqrt().cpu().numpy()
    keep = ("status", "t", "loss", "t_level")
    return tables.of_flow(chunk, flow, keep, task.source).assign(
        weight_change_times_alpha=("member", moved),
        test_error=("member", test_error(ends, task.y_test.cpu()).numpy()),
        F_test=(("member", "test_example"), ends.numpy().astype("float32")),
    )


def cost(member: sweeps.Member, scale: sweeps.Scale) -> float:
    """Seconds of one CPU core for a member, from numbers of tries as measured at laptop
    scale and the operations of a try."""
    settings = Digits.of(scale.settings)
    h, a = float(member["h"]), float(member["alpha_mf"])
    n, L = settings.n_train, settings.need("L")
    to_zero = settings.stop_loss == 0
    if settings.integrator is not None and a >= 2e-3:
        tries = (20.0 + 16.0 / a**0.5) * (2.0 if to_zero else 1.0)
        kernels = 8.0 * n * n * h * L  # two, each a sum of two products over layers
        path = 3.0 * n**3  # a few n events of n k operations
        return 0.2 + tries * (3e-3 + kernels / 3e10) + path / 3e9
    tries = 2000.0 + 3500.0 / (1.0 + (10.0 / a) ** 1.5)
    tries *= 0.1 / settings.max_output_change
    tries *= 3.0 if to_zero else 1.0
    # a forward and a backward pass
    flop = 6.0 * n * ((L - 1) * h * h + settings.d * h + h)
    elementwise = 6e-9 * n * h * L
    return tries * (2e-4 + flop / 6e10 + elementwise)


STUDY = sweeps.register(
    sweeps.Study(
        name="alpha_sweep",
        title="Kernel change, times, weights and test error against sqrt(h) alpha",
        version=1,
        scales={"laptop": by_regime(LAPTOP), "paper": by_regime(PAPER)},
        measure=measure,
        chunk_axes=("alpha_mf", "seed"),
        cost=cost,
        chunk_size={"cpu": 3, "cuda": 64},
    )
)

ZERO_LOSS = sweeps.register(
    sweeps.Study(
        name="zero_loss",
        title="The same sweep on 100 examples, run until the hinge loss vanishes",
        version=1,
        scales={
            "laptop": by_regime(sweeps.Scale(
                grid={
                    "h": (50,),
                    "alpha_mf": (1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e2, 1e4),
                    "seed": (0, 1, 2),
                },
                settings=replace(digits.LAPTOP, n_train=100, stop_loss=0.0),
            )),
            "paper": by_regime(sweeps.Scale(
                grid={
                    "h": (100, 200, 400),
                    "alpha_mf": (1e-2, 1e-1, 1.0, 10.0, 1e2, 1e4),
                    "seed": tuple(range(10)),
                },
                settings=replace(
                    digits.PAPER, n_train=1000, n_test=4000, n_kernel=1000
                ),
            )),
        },
        measure=measure,
        chunk_axes=("alpha_mf", "seed"),
        cost=cost,
        chunk_size={"cpu": 3, "cuda": 64},
    )
)  # fmt: skip

LAZY_LIMIT = sweeps.register(
    sweeps.Study(
        name="lazy_limit",
        title="The frozen-kernel limit of the alpha-sweep, over widths and seeds",
        version=2,
        scales={
            "laptop": sweeps.Scale(
                grid={"h": (64, 128, 256, 512), "seed": tuple(range(6))},
                settings=digits.LAPTOP,
            ),
            "paper": sweeps.Scale(
                grid={"h": PAPER.grid["h"], "seed": tuple(range(10))},
                settings=digits.PAPER,
            ),
        },
        measure=measure_lazy_limit,
        chunk_axes=("seed",),
        cost=lambda member, scale: 0.5 + 1e-9 * Digits.of(scale.settings).n_train ** 3,
        chunk_size={"cpu": 3, "cuda": 10},
    )
)


def change_after(table: xr.Dataset, curve: str, level: float = 0.01) -> xr.DataArray:
    """How much of a curve comes after the loss has fallen to ``level`` of its start: its
    last value over its value at that time, minus one.

    Args:
        table: of a study that went on beyond ``level``.
        curve: ``"kernel_change"`` or ``"weight_change"``.
        level: one of the recorded levels.
    """

    def one(t: np.ndarray, y: np.ndarray, at: float) -> float:
        seen = np.isfinite(t) & (t > 0)
        then = np.interp(np.log(at), np.log(t[seen]), np.log(y[seen]))
        return float(y[seen][-1] / np.exp(then) - 1.0)

    return xr.apply_ufunc(
        one,
        table["t"],
        table[curve],
        table["t_level"].sel(level=level),
        input_core_dims=[["record"], ["record"], []],
        vectorize=True,
    )
