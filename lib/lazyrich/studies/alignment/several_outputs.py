r"""Measurements on linear nets with several outputs (atanasov2022, Sec. 4.2 and App. G).

The teacher is beta = sum_a s_a z_a v_a^T; a net of ``depth`` layers of weights follows the
gradient flow on whitened inputs, d(layers)/dt from 1/2 |beta - product|^2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lazyrich.core import check, rng
from lazyrich.data import Dataset
from lazyrich.dynamics import linear_flow
from lazyrich.kernels import ntk
from lazyrich.networks import MLP, DeepLinear

F64 = torch.float64


@dataclass(frozen=True)
class Teacher:
    """A linear teacher by its singular value decomposition.

    Attributes:
        s: singular values (C,).
        z: output vectors, one a column (C, C).
        v: input vectors, one a column (D, C).
    """

    s: Tensor
    z: Tensor
    v: Tensor

    @property
    def beta(self) -> Tensor:
        """The map itself, (C, D)."""
        return (self.z * self.s) @ self.v.mT


def teacher(d: int, s: Sequence[float], seed: int = 0) -> Teacher:
    """A teacher with given singular values and random singular vectors.

    Raises:
        ValueError: more singular values than inputs, or one that is not positive.
    """
    values = [check.real("s", value, above=0.0) for value in s]
    if len(values) > d:
        raise ValueError(f"s must hold at most d = {d} values, got {len(values)}")
    generator = rng.numpy_generator("several_outputs/teacher", seed, d, len(values))
    z, _ = torch.linalg.qr(
        torch.from_numpy(generator.standard_normal((len(values), len(values))))
    )
    v, _ = torch.linalg.qr(
        torch.from_numpy(generator.standard_normal((d, len(values))))
    )
    return Teacher(torch.tensor(values, dtype=F64), z, v)


def network(task: Teacher, width: int, depth: int, sigma: float) -> DeepLinear:
    """The net that learns ``task``."""
    d, c = task.v.shape
    return DeepLinear((d, *[width] * (depth - 1), c), sigma=sigma)


def trained(
    task: Teacher,
    net: DeepLinear,
    seed: int = 0,
    rtol: float = 1e-9,
    settle: float = 14.0,
) -> dict[str, Tensor]:
    """Weights after training: the time to leave the origin, then ``settle`` times of the
    slowest mode."""
    time = departure(net.depth, net.sigma, float(task.s.min())) + settle / _slow(
        task, net.depth
    )
    return linear_flow(net.init(seed), task.beta, [time], rtol=rtol).at(-1)


def departure(depth: int, sigma: float, s: float) -> float:
    """Generous time in which a mode of strength ``s`` leaves the origin."""
    if depth == 2:
        return (math.log(1.0 / sigma**2) + 3.0) / (2.0 * s)
    return 4.0 / (s * (depth - 2)) * sigma ** (2 - depth) + 2.0 / s


def _slow(task: Teacher, depth: int) -> float:
    return float(task.s.min()) ** (2.0 - 2.0 / depth)


# ---------------------------------------------------------------- modes, one by one


def half_times(
    task: Teacher, width: int, sigma: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """When each mode of a two-layer net has learned half, and where it started.

    Returns:
        the times at which z_a . product v_a = s_a / 2, and q_0 + r_0 for each mode with
        q = (|W^2' z|^2 + |W^1 v|^2) / 2 and r = z . W^2 W^1 v; (C,) each.
    """
    net = network(task, width, 2, sigma)
    w = net.init(seed)
    first, second = w["W0"] @ task.v, w["W1"].mT @ task.z
    q = (first.square().sum(0) + second.square().sum(0)) / 2
    r = (first * second).sum(0)
    end = departure(2, sigma, float(task.s.min())) + 3.0
    times = np.linspace(0.0, end, 1500)
    product = linear_flow(w, task.beta, times).product
    modes = torch.einsum("ca,tcd,da->ta", task.z, product, task.v) / task.s
    found = [float(np.interp(0.5, column, times)) for column in modes.numpy().T]
    return np.array(found), (q + r).numpy()


def learning_curves(
    task: Teacher,
    width: int,
    depth: int,
    sigma: float,
    seed: int = 0,
    records: int = 300,
) -> dict[str, np.ndarray]:
    """Every mode's share c_a / s_a along training, and the loss over its start."""
    net = network(task, width, depth, sigma)
    end = departure(depth, sigma, float(task.s.min())) + 4.0
    times = np.linspace(0.0, end, records)
    product = linear_flow(net.init(seed), task.beta, times).product
    modes = torch.einsum("ca,tcd,da->ta", task.z, product, task.v) / task.s
    loss = (product - task.beta).square().sum((1, 2))
    return {"t": times, "modes": modes.numpy(), "loss": (loss / loss[0]).numpy()}


def shape_drift(
    ratio: float, sigma: float, d: int = 15, width: int = 12, seed: int = 0
) -> tuple[float, float]:
    """How much the kernel's shape changes while a two-output net learns, s = (ratio, 1).

    Returns:
        1 - cosine between the block kernel when a tenth of the loss is gone and at the
        end, and the left side of the paper's condition over the right one,
        (1/s_min) / (log(s_max / u_0^2) / (2 s_max)) with u_0 = sigma.
    """
    task = teacher(d, (ratio, 1.0), seed)
    net = network(task, width, 2, sigma)
    w = net.init(seed)
    end = departure(2, sigma, 1.0) + 14.0
    times = np.linspace(0.0, end, 2000)
    flow = linear_flow(w, task.beta, times)
    loss = (flow.product - task.beta).square().sum((1, 2))
    early = int((loss < 0.9 * loss[0]).nonzero()[0])
    kernels = [net.tangent_matrix(flow.at(k)).flatten() for k in (early, -1)]
    cosine = float(kernels[0] @ kernels[1] / (kernels[0].norm() * kernels[1].norm()))
    condition = 2.0 * ratio / math.log(ratio / sigma**2)
    return 1.0 - cosine, condition


# ---------------------------------------------------------------- rank and balance


def ranks(task: Teacher, width: int, depth: int, sigma: float) -> tuple[float, float]:
    """Sec. 4.2 on a trained net.

    Returns:
        the largest singular value number C + 1 of any layer that has one, and the largest
        singular value C + 1 of a block M_cc' without its multiple of I, over the block's
        largest.
    """
    net = network(task, width, depth, sigma)
    w = trained(task, net)
    c = net.c
    beyond = 0.0
    for layer in w.values():
        spectrum = torch.linalg.svdvals(layer)
        if len(spectrum) > c:
            beyond = max(beyond, float(spectrum[c]))
    blocks = net.tangent_matrix(w)
    isotropic = net.above(w)[0] @ net.above(w)[0].mT
    eye = torch.eye(net.d, dtype=F64)
    rest = torch.linalg.svdvals(blocks - isotropic[:, :, None, None] * eye)
    return beyond, float((rest[..., c] / rest[..., 0].max()).max())


def block_spectrum(task: Teacher, width: int, depth: int, sigma: float) -> Tensor:
    """Eigenvalues of the full block kernel, (C D,), over the largest one."""
    net = network(task, width, depth, sigma)
    blocks = net.tangent_matrix(trained(task, net))
    full = blocks.permute(0, 2, 1, 3).reshape(net.c * net.d, net.c * net.d)
    spectrum = torch.linalg.eigvalsh(full)
    return spectrum / spectrum[-1]


def kernel_error(
    task: Teacher, width: int, depth: int, sigma: float, predicted: np.ndarray
) -> float:
    """Relative error of a predicted block kernel (C, C, D, D) after training."""
    net = network(task, width, depth, sigma)
    blocks = net.tangent_matrix(trained(task, net)).numpy()
    return float(np.linalg.norm(blocks - predicted) / np.linalg.norm(blocks))


def exactly_balanced_kernel(task: Teacher, width: int, depth: int) -> np.ndarray:
    """The block kernel (C, C, D, D) of weights built to be balanced, by automatic
    differentiation of f at unit inputs."""
    d, c = task.v.shape
    generator = rng.numpy_generator("several_outputs/frames", d, c, width)
    u = task.s ** (1.0 / depth)
    frames = [task.v]
    for _ in range(depth - 1):
        draw = torch.from_numpy(generator.standard_normal((width, c)))
        frames.append(torch.linalg.qr(draw)[0])
    frames.append(task.z)
    w = {
        f"W{layer}": (frames[layer + 1] * u) @ frames[layer].mT
        for layer in range(depth)
    }
    net = network(task, width, depth, 1.0)
    # a plain function: the generic route through per-example Jacobians
    blocks = ntk(lambda p, x: net(p, x), w, torch.eye(d, dtype=F64))
    return blocks.permute(2, 3, 0, 1).numpy()


def layer_kernels(task: Teacher, width: int, depth: int, sigma: float) -> list[float]:
    """Eq. 54: relative errors of (W^l ... W^1)^T (W^l ... W^1) = (beta^T beta)^(l/L),
    for l = 1 ... L."""
    net = network(task, width, depth, sigma)
    below = net.below(trained(task, net))[1:]
    errors = []
    for layer, product in enumerate(below, start=1):
        power = (task.v * task.s ** (2.0 * layer / depth)) @ task.v.mT
        errors.append(float((product.mT @ product - power).norm() / power.norm()))
    return errors


def balance_drift(task: Teacher, width: int, depth: int, sigma: float) -> float:
    """Eq. 55: largest change of W^l W^l' - W^(l+1)' W^(l+1) along training."""
    net = network(task, width, depth, sigma)
    end = departure(depth, sigma, float(task.s.min())) + 8.0
    flow = linear_flow(net.init(0), task.beta, np.linspace(0, end, 20), rtol=1e-12)
    drift = 0.0
    for layer in range(depth - 1):
        lower, upper = flow.w[f"W{layer}"], flow.w[f"W{layer + 1}"]
        kept = lower @ lower.mT - upper.mT @ upper
        drift = max(drift, float((kept - kept[0]).abs().max()))
    return drift


# ---------------------------------------------------------------- widths


def initial_imbalance(
    widths: tuple[int, int, int], draws: int, seed: int = 0
) -> tuple[float, float]:
    """Eq. 56: mean and standard error of the diagonal of (W^l W^l' - W^(l+1)' W^(l+1)),
    in units of sigma^2, for N_l, N_{l+1}, N_{l+2}."""
    lower, middle, upper = widths
    net = DeepLinear((lower, middle, upper))
    w = net.init(seed, members=draws)
    first, second = w["W0"].square().sum(-1), w["W1"].square().sum(-2)
    means = (first - second).mean(1)
    return float(means.mean()), float(means.std()) / math.sqrt(draws)


def wishart_edges(rows: int, columns: int, seed: int = 0) -> tuple[float, float]:
    """Smallest and largest nonzero eigenvalue of W W' for W (rows, columns) with variance
    1 / columns."""
    w = DeepLinear((columns, rows)).init(seed)["W0"]
    spectrum = torch.linalg.svdvals(w).square()
    return float(spectrum[-1]), float(spectrum[0])


def layer_difference(
    widths: tuple[int, int, int], seeds: int, sigma: float = 0.01, s: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Eqs. 57 and 59 on trained two-layer nets that learn all their outputs.

    Returns:
        (u_1^2 - u_2^2) / sigma^2 and (u_2^2 - s) / sigma^2, means over modes, (seeds,)
        each; u are the C largest singular values of the layers.
    """
    d, hidden, c = widths
    differences, shifts = [], []
    for seed in range(seeds):
        task = teacher(d, [s] * c, seed)
        net = DeepLinear((d, hidden, c), sigma=sigma)
        w = trained(task, net, seed, settle=14.0)
        first = torch.linalg.svdvals(w["W0"])[:c].square()
        second = torch.linalg.svdvals(w["W1"])[:c].square()
        differences.append(float((first - second).mean()) / sigma**2)
        shifts.append(float((second - s).mean()) / sigma**2)
    return np.array(differences), np.array(shifts)


def projected_imbalance(
    widths: tuple[int, int, int], draws: int
) -> tuple[np.ndarray, float]:
    """The conserved matrix on the directions in which the hidden layer starts to grow.

    Early on mode a grows along g_a = W^1 v_a + W^2' z_a. With E = W^1 V, F = W^2' Z and P
    the projector on the span of G = E + F, tr P (E E' - F F') = |E|^2 - |F|^2.

    Returns:
        tr P (W^1 W^1' - W^2' W^2) / C in units of sigma^2, (draws,), and the largest
        relative error of the identity.
    """
    d, hidden, c = widths
    net = DeepLinear((d, hidden, c))
    found, worst = [], 0.0
    for seed in range(draws):
        w = net.init(seed)
        task = teacher(d, [1.0] * c, seed)
        e, f = w["W0"] @ task.v, w["W1"].mT @ task.z
        frame, _ = torch.linalg.qr(e + f)
        kept = w["W0"] @ w["W0"].mT - w["W1"].mT @ w["W1"]
        found.append(float(torch.einsum("ha,hk,ka->", frame, kept, frame)) / c)
        joint = e @ e.mT - f @ f.mT
        left = torch.einsum("ha,hk,ka->", frame, joint, frame)
        right = e.square().sum() - f.square().sum()
        scale = e.square().sum() + f.square().sum()
        worst = max(worst, float((left - right).abs() / scale))
    return np.array(found), worst


def misfit(samples: Sequence[np.ndarray], expected: Sequence[float]) -> float:
    """Largest |mean - expected| / (3 standard errors + 5 % of expected) over samples."""
    worst = 0.0
    for values, value in zip(samples, expected, strict=True):
        error = float(values.std(ddof=1)) / math.sqrt(len(values))
        off = abs(float(values.mean()) - value)
        worst = max(worst, off / (3.0 * error + 0.05 * abs(value)))
    return worst


def product_of_scales(task: Teacher, width: int, depth: int, sigma: float) -> float:
    """Eq. 58: largest relative error of prod_l u_a^(l) = s_a over the modes."""
    net = network(task, width, depth, sigma)
    w = trained(task, net, rtol=1e-11, settle=22.0)
    product = torch.ones_like(task.s)
    for layer in w.values():
        product = product * torch.linalg.svdvals(layer)[: net.c]
    expected = task.s.sort(descending=True).values
    return float((product / expected - 1.0).abs().max())


# ---------------------------------------------------------------- ten classes of digits


@dataclass(frozen=True)
class DigitsRun:
    """A net that learns ten classes.

    Attributes:
        t, loss, alignment: along training; the loss over its start.
        d: input directions; s: singular values of the teacher that are not zero.
    """

    t: np.ndarray
    loss: np.ndarray
    alignment: np.ndarray
    d: int
    s: np.ndarray

    @property
    def early(self) -> float:
        """Alignment when a tenth of the loss is gone."""
        return float(np.interp(-0.9, -self.loss, self.alignment))

    def drops(self, least: float = 0.05) -> int:
        """Maxima of the loss's rate that reach ``least`` of the largest."""
        rate = -np.gradient(self.loss, self.t)
        inner = rate[1:-1]
        peak = (inner > rate[:-2]) & (inner >= rate[2:]) & (inner > least * rate.max())
        return int(peak.sum())


def digits_run(
    digits: Dataset,
    depth: int,
    sigma: float,
    *,
    activation: str = "linear",
    width: int = 50,
    seed: int = 0,
    end: float,
    records: int = 400,
    kernels: int = 40,
    lr: float = 0.2,
) -> DigitsRun:
    """Train on whitened digits with centred one-hot targets (Fig. 5).

    Args:
        digits: whitened components and one-hot targets.
        depth: layers of weights.
        sigma: scale of the initial weights.
        activation: ``linear`` is integrated as a flow without data; others take gradient
            steps of length ``lr`` on the mean of 1/2 |f - y|^2.
        end: time of the end.
        records: times at which the loss is recorded; kernels: those of the alignment.

    Returns:
        the alignment is that of the (P C, P C) kernel with the flattened targets.
    """
    x = digits.x_train
    y = digits.y_train - digits.y_train.mean(0)
    n, d = x.shape
    beta = y.mT @ x / n  # inputs are white
    spectrum = torch.linalg.svdvals(beta)
    spectrum = spectrum[spectrum > 1e-8 * spectrum[0]].numpy()
    times = np.linspace(0.0, end, records)
    marks = np.unique(np.linspace(0, records - 1, kernels).astype(int))
    net = MLP((d, *[width] * (depth - 1), y.shape[1]), activation, sigma)
    if activation == "linear":
        linear = DeepLinear(net.widths, sigma)
        flow = linear_flow(linear.init(seed), beta, times, rtol=1e-8)
        loss = (flow.product - beta).square().sum((1, 2)).numpy()
        found = [
            _white_alignment(linear.tangent_matrix(flow.at(int(k))), beta)
            for k in marks
        ]
        alignment = np.interp(times, times[marks], found)
        return DigitsRun(times, loss / loss[0], alignment, d, spectrum)
    w = net.init(seed)
    gap = max(1, round(end / (records - 1) / lr))
    losses, found = [], {}
    for k in range(records):
        if k in marks:
            found[k] = _alignment(ntk(net, w, x), y)
        losses.append(float((net(w, x) - y).square().sum()))
        for _ in range(gap):
            f, pull = net.pullback(w, x)
            grads = pull((f - y) / n)
            w = {name: value - lr * grads[name] for name, value in w.items()}
    clock = np.arange(records) * gap * lr
    alignment = np.interp(clock, clock[marks], [found[int(k)] for k in marks])
    return DigitsRun(clock, np.array(losses) / losses[0], alignment, d, spectrum)


def _white_alignment(blocks: Tensor, beta: Tensor) -> float:
    """y' K y / (|K| |y|^2) for K = x' M_cc' x on white inputs and y = beta x."""
    top = torch.einsum("ci,cdij,dj->", beta, blocks, beta)
    return float(top / (blocks.norm() * beta.square().sum()))


def _alignment(theta: Tensor, y: Tensor) -> float:
    """The same from the kernel itself, (n, n, C, C), and targets (n, C)."""
    top = torch.einsum("mc,mncd,nd->", y, theta, y)
    return float(top / (theta.norm() * y.square().sum()))
