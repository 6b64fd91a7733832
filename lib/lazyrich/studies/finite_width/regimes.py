r"""Which regime generalises better: the deep nets that mdl2022 quotes (Sec. 6).

Fully connected nets without biases, F = alpha (f - f0) with f = h^(-1/2) W^L z^L, learn
the parity of digits. Four values of sqrt(h) alpha and one fixed alpha are followed over
widths; two depths over all of sqrt(h) alpha; descent with large steps is set beside the
flow; and a teacher of few neurons tells what a lazy student misses.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lazyrich import data, sweeps
from lazyrich.core.pullback import member
from lazyrich.dynamics import StepRule, momentum_flow
from lazyrich.kernels import kernel_distance, ntk
from lazyrich.losses import loss as named_loss
from lazyrich.losses.pointwise import SOFT_HINGE_SHARPNESS
from lazyrich.networks import FullyConnected
from lazyrich.studies.tools import digits, tables
from lazyrich.studies.tools.digits import Digits, load_data, test_error

SETTINGS = replace(
    digits.LAPTOP, L=2, loss="soft_hinge", n_test=4000, n_kernel=100, stop_loss=0.02
)
"""Two hidden layers and the smooth hinge of the journal version, at laptop size."""

PAPER_SETTINGS = replace(
    digits.PAPER, L=3, loss="soft_hinge", n_train=10_000, n_test=50_000, n_kernel=1000,
    stop_loss=0.02,
)  # fmt: skip


def network(L: int, h: int, d: int) -> FullyConnected:
    """The net of mdl2022, Sec. 6: softplus, no biases."""
    return FullyConnected(d, h, L, "softplus", bias=False)


def measure(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Train the members of a chunk, whose laziness is the axis ``alpha_mf``."""
    alpha_mf = torch.tensor(chunk.axis("alpha_mf").astype(float), device="cpu")
    return _measure(chunk, checkpoint, lambda h: alpha_mf / math.sqrt(h))


def measure_at_alpha(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """The same for the axis ``alpha``."""
    alpha = torch.tensor(chunk.axis("alpha").astype(float), device="cpu")
    return _measure(chunk, checkpoint, lambda h: alpha)


def _measure(
    chunk: sweeps.Chunk,
    checkpoint: sweeps.Checkpoint,
    scales: Callable[[int], Tensor],
) -> xr.Dataset:
    """Width and depth are axes, or settings; ``scales`` gives alpha at a width."""
    settings = chunk.typed(Digits)
    task, h = load_data(settings, chunk.device), settings.need("h")
    net = network(settings.need("L"), h, settings.d)
    alpha, x = scales(h), task.x_train
    w = net.init(chunk.axis("seed").tolist(), dtype=x.dtype, device=x.device)
    flow = momentum_flow(
        net, w, x, task.y_train, alpha, loss=settings.loss, mu=settings.mu,
        rule=settings.rule, watch=replace(settings.watch, checkpoint=checkpoint),
    )  # fmt: skip
    found = _ends(net, w, flow.w, alpha, task, settings.n_kernel)
    table = tables.of_flow(chunk, flow, ("status", "tries"), task.source)
    return table.assign({name: ("member", value) for name, value in found.items()})


def _ends(
    net: FullyConnected,
    w0: Mapping[str, Tensor],
    w: Mapping[str, Tensor],
    alpha: Tensor,
    task: data.Dataset,
    n_kernel: int,
) -> dict[str, np.ndarray]:
    """Test error and relative kernel change of every member at the end."""
    x = task.x_test
    with torch.no_grad():
        F = alpha.to(x).unsqueeze(1) * (net(w, x) - net(w0, x))
    return {
        "test_error": test_error(F, task.y_test).cpu().numpy(),
        "kernel_change_end": _kernel_changes(net, w0, w, x[:n_kernel]),
    }


def _kernel_changes(
    net: FullyConnected, w0: Mapping[str, Tensor], w: Mapping[str, Tensor], x: Tensor
) -> np.ndarray:
    """Relative change of every member's kernel, (members,); one by one, because kernels
    are large."""

    def kernel(w: Mapping[str, Tensor], k: int) -> Tensor:
        return ntk(net, member(w, k), x)

    members = range(len(w["W0"]))
    changes = [kernel_distance(kernel(w, k), kernel(w0, k)) for k in members]
    return torch.stack(changes).cpu().numpy()


def cost(at: sweeps.Member, scale: sweeps.Scale) -> float:
    """Seconds of one CPU core, from tries at laptop scale and operations of a try."""
    settings = Digits.of(scale.settings)
    sizes = {**settings, **at}
    h, L, n = int(sizes["h"]), int(sizes["L"]), settings.n_train
    flop = 6.0 * n * ((L - 1) * h * h + (settings.d + 1) * h)
    tries = 3000.0 * 0.1 / settings.max_output_change
    return tries * (2e-4 + flop / 3e10 + 8e-9 * n * h * L)


def _flow_study(
    name: str,
    title: str,
    *,
    laptop: sweeps.Scale,
    paper: sweeps.Scale,
    laziness: str = "alpha_mf",
    cpu: int = 6,
    cuda: int = 40,
) -> sweeps.Study:
    """A study of the flow. All of them measure the same and share its version; they
    differ in their grids, in the axis of laziness and in the members of a chunk."""
    return sweeps.register(
        sweeps.Study(
            name=name,
            title=title,
            version=1,
            scales={"laptop": laptop, "paper": paper},
            measure=measure if laziness == "alpha_mf" else measure_at_alpha,
            chunk_axes=(laziness, "seed"),
            cost=cost,
            chunk_size={"cpu": cpu, "cuda": cuda},
        )
    )


SERIES = (1e-4, 1e-2, 1.0, 1e4)
"""The values of sqrt(h) alpha that mdl2022 shows."""

WIDTHS = (16, 32, 64, 128, 256)
PAPER_WIDTHS = (100, 300, 1000)
FEW, MANY = tuple(range(6)), tuple(range(20))

REGIMES = _flow_study(
    "regimes",
    "Test error and kernel change over widths at fixed sqrt(h) alpha",
    laptop=sweeps.Scale({"h": WIDTHS, "alpha_mf": SERIES, "seed": FEW}, SETTINGS),
    paper=sweeps.Scale(
        {"h": PAPER_WIDTHS, "alpha_mf": SERIES, "seed": MANY}, PAPER_SETTINGS
    ),
    cuda=80,
)

FIXED_ALPHA = _flow_study(
    "fixed_alpha",
    "Kernel change over widths at one fixed alpha",
    laptop=sweeps.Scale({"h": WIDTHS, "alpha": (10.0,), "seed": FEW}, SETTINGS),
    paper=sweeps.Scale(
        {"h": PAPER_WIDTHS, "alpha": (1.0, 10.0), "seed": MANY}, PAPER_SETTINGS
    ),
    laziness="alpha",
)

DEPTHS = _flow_study(
    "error_by_depth",
    "Test error and kernel change against sqrt(h) alpha at two depths",
    laptop=sweeps.Scale(
        {
            "L": (2, 5),
            "alpha_mf": (1e-2, 1e-1, 1.0, 10.0, 30.0, 1e2, 1e4),
            "seed": tuple(range(4)),
        },
        replace(SETTINGS, L=None, h=64),
    ),
    paper=sweeps.Scale(
        {
            "L": (2, 3, 5),
            "alpha_mf": (1e-2, 1e-1, 1.0, 10.0, 30.0, 1e2, 1e3, 1e4),
            "seed": MANY,
        },
        replace(PAPER_SETTINGS, L=None, h=1000),
    ),
    cpu=4,
)

BOTH_ENDS = (1e-2, 1e3)
"""The values of sqrt(h) alpha at which large steps are set beside the flow."""

ENDS = sweeps.Scale(
    {"alpha_mf": BOTH_ENDS, "seed": tuple(range(12))},
    replace(SETTINGS, h=64, n_train=100),
)
PAPER_ENDS = sweeps.Scale(
    {"alpha_mf": BOTH_ENDS, "seed": MANY}, replace(PAPER_SETTINGS, h=1000)
)

SMALL_STEPS = _flow_study(
    "small_steps",
    "The flow of the same nets as large_steps",
    laptop=ENDS,
    paper=PAPER_ENDS,
)


# ------------------------------------------------------------------ large steps


def descend(
    net: FullyConnected,
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: Tensor,
    dt: Tensor,
    *,
    loss: str = "soft_hinge",
    stop_loss: float = 0.02,
    max_steps: int = 20_000,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Gradient descent with a constant step, the clock being that of the flow.

    Args:
        net, w: an ensemble, with a member axis.
        x, y: training inputs (n, d) and targets (n,).
        alpha, dt: (members,) laziness scales and steps.
        loss: one of ``losses.LOSSES``.
        stop_loss: a member rests once its loss is at most this fraction of its start.
        max_steps: after which all rest.

    Returns:
        weights, (members,) losses over the initial ones (infinite for a member that
        went beyond a hundred times its start), (members,) steps taken.

    Raises:
        ValueError: steps that are not positive, one a member.
    """
    if dt.shape != alpha.shape or not bool((dt > 0).all()):
        raise ValueError(f"dt must hold one positive step a member, got {dt.tolist()}")
    named, n, work = named_loss(loss), len(x), {}
    w = {name: value.clone() for name, value in w.items()}
    scale = alpha.to(x).unsqueeze(1)
    f0 = net(w, x)
    start = named.value(torch.zeros_like(f0), y).mean(1)
    left, steps = torch.ones_like(start), torch.zeros_like(start)
    going = torch.ones_like(start, dtype=torch.bool)
    for _ in range(max_steps):
        f, pull = net.pullback(w, x, work)
        F = scale * (f - f0)
        left = torch.where(going, named.value(F, y).mean(1) / start, left)
        left = torch.where(left < 100.0, left, math.inf)  # NaN too
        going &= (left > stop_loss) & left.isfinite()
        if not going.any():
            break
        gradient = pull(named.slope(F, y) / (scale * n))
        for name, value in w.items():
            shape = (-1,) + (1,) * (value.ndim - 1)
            value -= torch.where(going.reshape(shape), dt.reshape(shape), 0.0) * (
                torch.where(going.reshape(shape), gradient[name], 0.0)
            )
        steps += going
    return w, left, steps


def largest_step(
    net: FullyConnected,
    w: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
    alpha: Tensor,
    **options: Any,
) -> Tensor:
    """The largest stable step, within a factor of two: the data are fitted with it.

    The search halves from the limit of the frozen kernel, 2 n / (lambda_max max l'').
    (Beyond it a lazy net oscillates, though it may still fit: with separable data a
    linear model and a hinge, the perceptron, fits at any step.) In the feature regime
    the largest step is far below, because the kernel inflates.

    Args:
        net, w, x, y, alpha, options: as of ``descend``.

    Returns:
        (members,) steps.

    Raises:
        RuntimeError: no step down to a fraction 2^-40 fits.
    """
    top = torch.linalg.eigvalsh(ntk(net, w, x))[:, -1]
    dt = 2.0 * len(x) / (top * SOFT_HINGE_SHARPNESS / 4.0)
    left_over = torch.arange(len(alpha), device="cpu")
    for _ in range(40):
        some = {name: value[left_over] for name, value in w.items()}
        _, left, _ = descend(
            net, some, x, y, alpha[left_over], dt[left_over], **options
        )
        left_over = left_over[left > options["stop_loss"]]
        if not len(left_over):
            return dt
        dt[left_over] /= 2.0
    raise RuntimeError(f"no step down to {dt.min():.3g} fits the data")


def measure_descent(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Large-step descent for the members of a chunk."""
    settings = chunk.typed(Digits)
    task, h = load_data(settings, chunk.device), settings.need("h")
    net = network(settings.need("L"), h, settings.d)
    x = task.x_train
    w = net.init(chunk.axis("seed").tolist(), dtype=x.dtype, device=x.device)
    alpha = torch.tensor(chunk.axis("alpha_mf").astype(float), device="cpu") / h**0.5
    options = {"loss": settings.loss, "stop_loss": settings.stop_loss}
    half = 0.5 * largest_step(net, w, x, task.y_train, alpha, **options)
    end, left, steps = descend(net, w, x, task.y_train, alpha, half, **options)
    found = _ends(net, w, end, alpha, task, settings.n_kernel)
    return xr.Dataset(
        {
            "loss_end": ("member", left.cpu().numpy()),
            "dt": ("member", half.cpu().numpy()),
            "steps": ("member", steps.numpy().astype("int64")),
            **{name: ("member", value) for name, value in found.items()},
        },
        coords=chunk.coords,
        attrs={"data": task.source},
    )


DESCENT = sweeps.register(
    sweeps.Study(
        name="large_steps",
        title="Gradient descent at half the largest stable step, at both ends",
        version=1,
        scales={"laptop": ENDS, "paper": PAPER_ENDS},
        measure=measure_descent,
        chunk_axes=("alpha_mf", "seed"),
        cost=lambda member, scale: 4.0 * cost(member, scale),
        chunk_size={"cpu": 12, "cuda": 40},
    )
)


# ------------------------------------------------------------------ teacher, student


def teacher(d: int, neurons: int, seed: int) -> Callable[[Tensor], Tensor]:
    """x -> sum of ``neurons`` ReLU neurons with random unit weights, centred for
    standard Gaussian inputs."""
    units = [data.neuron_teacher(d, 1000 * seed + k) for k in range(neurons)]
    mean = neurons / math.sqrt(2.0 * math.pi)
    return lambda x: torch.stack([unit(x) for unit in units]).sum(0) - mean


@dataclass(frozen=True, kw_only=True)
class Student(sweeps.Settings):
    """Settings of students of a teacher.

    Attributes:
        d, h: inputs, and width of the student.
        neurons: of the teacher.
        n_train, n_test: examples for training and testing.
        mu, stop_loss, max_steps: of ``dynamics.momentum_flow``.
        max_output_change, max_weight_change: of ``dynamics.StepRule``.
    """

    d: int
    h: int
    neurons: int
    n_train: int
    n_test: int
    mu: float
    stop_loss: float
    max_steps: int
    max_output_change: float
    max_weight_change: float


def measure_student(chunk: sweeps.Chunk, checkpoint: sweeps.Checkpoint) -> xr.Dataset:
    """Students over alpha of one teacher: test loss over the variance of the target."""
    settings, seed = Student.of(chunk.settings), int(chunk.shared("seed"))
    task = data.teacher_task(
        settings.n_train,
        settings.n_test,
        settings.d,
        seed,
        teacher=teacher(settings.d, settings.neurons, seed),
    ).to(chunk.device)
    x = task.x_train
    net = FullyConnected(settings.d, settings.h, 1, "relu")
    alpha = torch.tensor(chunk.axis("alpha").astype(float), device="cpu")
    w = net.init([seed] * len(alpha), device=x.device)
    flow = momentum_flow(
        net, w, x, task.y_train, alpha, loss="square", mu=settings.mu,
        rule=StepRule(settings.max_output_change, settings.max_weight_change),
        stop_loss=settings.stop_loss, max_steps=settings.max_steps,
        checkpoint=checkpoint,
    )  # fmt: skip
    with torch.no_grad():
        F = alpha.to(x).unsqueeze(1) * (net(flow.w, task.x_test) - net(w, task.x_test))
    loss = (F - task.y_test).square().mean(1) / task.y_test.var()
    changes = _kernel_changes(net, w, flow.w, task.x_test[:100])
    source = "Gaussian inputs, ReLU teacher"
    return tables.of_flow(chunk, flow, ("status",), source).assign(
        test_loss=("member", loss.cpu().numpy()),
        kernel_change_end=("member", changes),
    )


STUDENT = sweeps.register(
    sweeps.Study(
        name="teacher_student",
        title="A student of a few-neuron teacher, from rich to lazy",
        version=1,
        scales={
            "laptop": sweeps.Scale(
                grid={
                    "seed": tuple(range(6)),
                    "alpha": (1e-2, 1e-1, 1.0, 10.0, 100.0),
                },
                settings=Student(
                    d=30, h=200, neurons=3, n_train=300, n_test=4000, mu=1000.0,
                    stop_loss=1e-3, max_steps=20_000, max_output_change=0.1,
                    max_weight_change=0.01,
                ),
            ),
            "paper": sweeps.Scale(
                grid={
                    "seed": tuple(range(20)),
                    "alpha": tuple(10.0 ** (k / 2) for k in range(-6, 7)),
                },
                settings=Student(
                    d=100, h=1000, neurons=3, n_train=3000, n_test=20_000, mu=1000.0,
                    stop_loss=1e-4, max_steps=100_000, max_output_change=0.1,
                    max_weight_change=0.01,
                ),
            ),
        },
        measure=measure_student,
        chunk_axes=("alpha",),
        cost=lambda member, scale: (
            3.0 * Student.of(scale.settings).n_train * Student.of(scale.settings).h / 6e4
        ),
        chunk_size={"cpu": 5, "cuda": 13},
    )
)  # fmt: skip
