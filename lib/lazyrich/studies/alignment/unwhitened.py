r"""Measurements on linear nets whose data are not white: the kernel has to turn twice.

Sources are Secs. 3.2 and 4.1.1 and App. B.2 of atanasov2022. Gradient flow on the expected
loss 1/2 (s beta - w)^T Sigma (s beta - w), unit learning rate, float64.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lazyrich import data
from lazyrich.core import rng
from lazyrich.dynamics import LinearFlow, linear_flow, linear_velocity, square_force
from lazyrich.kernels import kernel_predict
from lazyrich.networks import DeepLinear

F64 = torch.float64


def power_law_covariance(d: int, exponent: float, seed: int = 0) -> Tensor:
    """Sigma (d, d) with eigenvalues ~ k^(-exponent) of mean 1 in a random basis."""
    values = torch.arange(1, d + 1, dtype=F64) ** -exponent
    square = torch.from_numpy(
        rng.numpy_generator("unwhitened/basis", seed, d).standard_normal((d, d))
    )
    basis, triangle = torch.linalg.qr(square)
    basis = basis * triangle.diagonal().sign()
    return basis * (values / values.mean()) @ basis.mT


@dataclass(frozen=True)
class Turning:
    """A run with the leading right singular vector v_1 of its first layer.

    Attributes:
        t: (m,) times.
        loss: over its value at the origin.
        to_spike, to_target: |v_1 . Sigma beta| / |Sigma beta| and |v_1 . beta|.
        beta: the teacher's direction (d,); ``covariance``: Sigma.
        flow: the trajectory.
    """

    t: np.ndarray
    loss: np.ndarray
    to_spike: np.ndarray
    to_target: np.ndarray
    beta: Tensor
    covariance: Tensor
    flow: LinearFlow


def train(
    exponent: float,
    sigma: float,
    t_end: float,
    depth: int = 2,
    d: int = 25,
    n: int = 20,
    seed: int = 0,
    points: int = 500,
) -> Turning:
    """One run with teacher strength 1 on power-law data; times are closer at the start,
    where everything happens."""
    beta = data.linear_teacher(d, seed)
    covariance = power_law_covariance(d, exponent, seed)
    net = DeepLinear((d, *[n] * (depth - 1), 1), sigma)
    t = t_end * np.linspace(0, 1, points) ** 2
    flow = linear_flow(net.init(seed), square_force(beta, covariance), t)
    left = beta - flow.product[:, 0]
    loss = torch.einsum("mi,ij,mj->m", left, covariance, left)
    v = torch.linalg.svd(flow.w["W0"], full_matrices=False).Vh[:, 0]
    spike = covariance @ beta
    return Turning(
        t, (loss / (beta @ covariance @ beta)).numpy(),
        (v @ spike).abs().numpy() / float(spike.norm()), (v @ beta).abs().numpy(),
        beta, covariance, flow,
    )  # fmt: skip


def two_turns(run: Turning, before: float = 0.9) -> dict[str, float]:
    """Secs. 3.2, 4.1.1: largest overlap of v_1 with Sigma beta while the loss is above
    ``before``, the final overlap with beta, and the share of the rotation from the one to
    the other that happens while the loss is between 0.9 and 0.01."""
    angle = np.arccos(np.clip(run.to_target, 0, 1))
    peak = int(run.to_spike.argmax())
    high, low = (int(np.argmax(run.loss < level)) for level in (0.9, 0.01))
    share = (angle[high] - angle[low]) / (angle[peak] - angle[-1])
    return {
        "overlap_spike": float(run.to_spike[run.loss > before].max()),
        "overlap_target": float(run.to_target[-1]),
        "turned_while_learning": float(share),
    }


def final_kernel(run: Turning, seed: int = 0) -> dict[str, float]:
    """Sec. 3.2: distance of the final M from I + beta beta^T, of test predictions from
    regression with it, and the force Sigma (s beta - w) that is left."""
    d = len(run.beta)
    net = DeepLinear((d, *run.flow.w["W0"].shape[1:2], 1))
    w = run.flow.at(-1)
    M = net.tangent_matrix(w)
    limit = torch.eye(d, dtype=F64) + torch.outer(run.beta, run.beta)
    # points whose covariance is exactly Sigma, and test points of the same law
    drawn = data.gaussian(2 * d, d, seed)
    u = torch.linalg.svd(drawn, full_matrices=False).U
    root = torch.linalg.cholesky(run.covariance)
    x = math.sqrt(2 * d) * u @ root.mT
    x_test = data.gaussian(100, d, seed + 1) @ root.mT
    K = x @ M @ x.mT
    predicted = kernel_predict(0.5 * (K + K.mT), x_test @ M @ x.mT, x @ run.beta)
    f = net(w, x_test)
    return {
        "matrix": float((M - limit).norm()),
        "prediction": float((f - predicted).norm() / f.norm()),
        "force": float((run.covariance @ (run.beta - run.flow.product[-1, 0])).norm()),
    }


def five_bilinears(a: Tensor, W: Tensor, beta: Tensor, covariance: Tensor) -> Tensor:
    """(r_1, ..., r_5) of Eq. 22 at weights a (n,), W (n, d)."""
    spike = covariance @ beta
    first, second = W @ beta, W @ spike
    return torch.stack([first @ a, a @ a, first @ second, second @ a, second @ second])


def derivative_of_bilinears(
    matrix: np.ndarray, d: int = 7, n: int = 4, seed: int = 0
) -> float:
    """Eq. 23: the derivative of the five bilinears along the linearised flow, by forward
    differentiation, against ``matrix``; relative error. The matrix depends on a = beta
    Sigma beta and b = beta Sigma^2 beta and is that of ``mode_constants(d, seed)``."""
    beta, covariance, _, _ = mode_constants(d, seed)
    w = DeepLinear((d, n, 1)).init(seed)
    W, a = w["W0"], w["W1"][0]
    origin = (beta @ covariance).numpy()[None]
    v = linear_velocity(w, lambda _: origin)
    bilinears = five_bilinears(a, W, beta, covariance)
    rate = torch.func.jvp(
        lambda p, q: five_bilinears(p, q, beta, covariance),
        (a, W), (v["W1"][0], v["W0"]),
    )[1]  # fmt: skip
    expected = torch.from_numpy(matrix) @ bilinears
    return float((rate - expected).norm() / expected.norm())


def mode_constants(
    d: int, seed: int = 0, exponent: float = 1.0
) -> tuple[Tensor, Tensor, float, float]:
    """(beta, Sigma, a, b) of a random task: a = beta Sigma beta, b = beta Sigma^2 beta."""
    beta = data.linear_teacher(d, seed)
    covariance = power_law_covariance(d, exponent, seed)
    spike = covariance @ beta
    return beta, covariance, float(beta @ spike), float(spike @ spike)


def late_phase_one(
    exponent: float, sigma: float, d: int = 25, n: int = 20, seed: int = 0
) -> dict[str, np.ndarray | float]:
    """The state at t = 0.6 ln(1/sigma) / b^(1/2), where the growing mode of Eq. 24
    dominates and the function is still small.

    Returns:
        ``bilinears`` over their norm (5,); ``a``, ``b``; ``W``, ``readout``, ``spike``
        (Sigma beta); ``b_measured``, r_5 / r_2.
    """
    beta, covariance, a, b = mode_constants(d, seed, exponent)
    net = DeepLinear((d, n, 1), sigma)
    end = 0.6 * math.log(1 / sigma) / math.sqrt(b)
    flow = linear_flow(
        net.init(seed), square_force(beta, covariance), [end], rtol=1e-11
    )
    w = flow.at(0)
    r = five_bilinears(w["W1"][0], w["W0"], beta, covariance)
    return {
        "bilinears": (r / r.norm()).numpy(),
        "a": a,
        "b": b,
        "W": w["W0"].numpy(),
        "readout": w["W1"][0].numpy(),
        "spike": (covariance @ beta).numpy(),
        "b_measured": float(r[4] / r[1]),
    }


def spike_errors(
    exponents: Sequence[float], sigmas: Sequence[float], seed: int = 0
) -> dict[str, np.ndarray]:
    """Eq. 25: relative error of W^T W / |a|^2 against Sigma beta beta^T Sigma / b and, as
    printed, / b^(1/2); each (exponents, sigmas). Also ``b`` and ``b_measured``."""
    found: dict[str, list[float]] = {
        "corrected": [], "printed": [], "b": [], "b_measured": [],
    }  # fmt: skip
    for exponent in exponents:
        for sigma in sigmas:
            state = late_phase_one(exponent, sigma, seed=seed)
            W, a = np.asarray(state["W"]), np.asarray(state["readout"])
            spike, b = np.asarray(state["spike"]), float(state["b"])
            seen = W.T @ W / (a @ a)
            outer = np.outer(spike, spike)
            for name, scale in (("corrected", b), ("printed", math.sqrt(b))):
                expected = outer / scale
                gap = np.linalg.norm(seen - expected) / np.linalg.norm(expected)
                found[name].append(float(gap))
            found["b"].append(b)
            found["b_measured"].append(float(state["b_measured"]))
    shape = (len(exponents), len(sigmas))
    return {name: np.reshape(values, shape) for name, values in found.items()}
