"""The infinitely wide ReLU kernel against a textbook recursion, and its accuracy."""

import math
from typing import Any

import mpmath
import torch
from torch import Tensor

from benchmarks import harness
from benchmarks.harness import Row
from lazyrich.core.rng import generator
from lazyrich.kernels import relu_ntk, relu_ntk_correlation

DEPTH = 30
BAR_SPEED = 1.7
BAR_ACCURACY = 1e-13
BAR_FLOOR = 0.5  # at most twice the least arithmetic of going layer by layer
GAPS = (1.9, 1.0, 0.3, 1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12, 1e-14)


def textbook(x: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """The recursion on whole matrices, as written down: acos of the correlation."""
    q = x.square().sum(1) / x.shape[1]
    sigma = x @ x.T / x.shape[1]
    theta = sigma.clone()
    for _ in range(depth - 1):
        scale = torch.outer(q.sqrt(), q.sqrt())
        angle = torch.acos((sigma / scale).clamp(-1, 1))
        rest = math.pi - angle
        sigma = scale * (torch.sin(angle) + rest * torch.cos(angle)) / (2 * math.pi)
        theta = theta * rest / (2 * math.pi) + sigma
        q = q / 2
    return sigma, theta


def textbook_in_place(x: Tensor, depth: int) -> tuple[Tensor, Tensor]:
    """The same for inputs of unit length, without variances and without temporaries."""
    rho = (x @ x.T).clamp_(-1, 1)
    theta = rho.clone()
    angle, sine = torch.empty_like(rho), torch.empty_like(rho)
    for _ in range(depth - 1):
        torch.acos(rho, out=angle)
        torch.mul(rho, rho, out=sine).neg_().add_(1).sqrt_()
        angle.neg_().add_(math.pi)
        rho.mul_(angle).add_(sine).div_(math.pi).clamp_(-1, 1)
        theta.mul_(angle).div_(math.pi).add_(rho)
    scale = 2.0 ** (1 - depth) / x.shape[1]
    return rho.mul_(scale), theta.mul_(scale)


def _floor(pairs: int, depth: int) -> float:
    """CPU seconds of one arcsine and one square root per pair and layer, in cache."""
    block = torch.linspace(0, 1, 128**2, dtype=torch.float64)
    out = torch.empty_like(block)

    def both() -> None:
        for _ in range(20):
            torch.asin(torch.sqrt(block, out=out), out=out)

    return harness.cpu_time(both) / 20 / block.numel() * pairs * (depth - 1)


def _inputs(n: int, d: int = 10) -> Tensor:
    draw = generator("bench/relu-ntk", n, d)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64)
    return x / torch.linalg.vector_norm(x, dim=1, keepdim=True)


def _exact(one_minus_rho: float, depth: int) -> tuple[Any, Any]:
    """1 - rho and the normalised kernel in 50 digits."""
    context = mpmath.mp.clone()
    context.dps = 50
    gap = context.mpf(one_minus_rho)
    y = 1 - gap
    for _ in range(depth - 1):
        angle = 2 * context.asin(context.sqrt(gap / 2))
        gap -= (context.sin(angle) - angle * context.cos(angle)) / context.pi
        y = (1 - angle / context.pi) * y + 1 - gap
    return gap, y / depth


def _textbook_pair(one_minus_rho: float, depth: int) -> tuple[float, float]:
    """What the textbook form makes of one pair in float64."""
    rho = y = 1 - one_minus_rho
    for _ in range(depth - 1):
        angle = math.acos(max(-1.0, min(1.0, rho)))
        rho = (math.sin(angle) + (math.pi - angle) * rho) / math.pi
        y = (1 - angle / math.pi) * y + rho
    return 1 - rho, y / depth


def accuracy(depth: int) -> tuple[float, float]:
    """Largest relative error over ``GAPS`` of 1 - rho or the kernel: ours, textbook.

    Ours layer by layer, with which the table of ``relu_ntk`` agrees to 1e-14.
    """
    gaps, thetas = relu_ntk_correlation(torch.tensor(GAPS, dtype=torch.float64), depth)
    worst = [0.0, 0.0]
    for k, start in enumerate(GAPS):
        exact = _exact(start, depth)
        sides = (float(gaps[k]), float(thetas[k])), _textbook_pair(start, depth)
        for side, found in enumerate(sides):
            for value, right in zip(found, exact, strict=True):
                worst[side] = max(worst[side], float(abs(value - right) / abs(right)))
    return worst[0], worst[1]


SETUP = """
from benchmarks import bench_relu_ntk as bench
x = bench._inputs({n})
bench.{name}(x[:300].clone(), **{arguments})
"""


def _memory(name: str, n: int, **arguments: int) -> float:
    setup = SETUP.format(n=n, name=name, arguments=arguments)
    return harness.peak_memory(setup, f"bench.{name}(x, **{arguments})")


def rows(quick: bool = False) -> list[Row]:
    """All measurements; ``quick`` takes fewer rounds and the smaller sizes only."""
    found = []
    for n in (1000,) if quick else (1000, 2000):
        x = _inputs(n)
        ours_mb = _memory("relu_ntk", n, depth=DEPTH)
        for peer, bar in ((textbook_in_place, BAR_SPEED), (textbook, None)):
            times = harness.alternate(
                lambda x=x: relu_ntk(x, depth=DEPTH),
                lambda x=x, peer=peer: peer(x, DEPTH),
                rounds=3 if quick else 9,
            )
            gap = relu_ntk(x, depth=DEPTH)[1] - peer(x, DEPTH)[1]
            found.append(
                Row(
                    name=f"relu_ntk n={n} depth={DEPTH}, against {peer.__name__}",
                    ours=times.ours,
                    peer=times.peer,
                    ratio=times.ratio,
                    spread=times.spread,
                    bar=bar,
                    passed=None if bar is None else times.ratio >= bar,
                    memory_mb=ours_mb,
                    peer_memory_mb=_memory(peer.__name__, n, depth=DEPTH),
                    note=f"the two matrices, {2 * n * n * 8 / 2**20:.0f} MB, included; "
                    f"largest difference of Theta {float(gap.abs().max()):.1g}",
                    wall={"ours": times.ours_wall, "peer": times.peer_wall},
                )
            )
        floor = _floor(n * (n - 1) // 2, DEPTH)
        ours = harness.cpu_time(lambda x=x: relu_ntk(x, depth=DEPTH))
        found.append(
            Row(
                name=f"relu_ntk n={n} depth={DEPTH}, against one asin and one sqrt "
                "a pair and layer",
                ours=ours,
                peer=floor,
                ratio=floor / ours,
                bar=BAR_FLOOR if n == 1000 else None,
                passed=floor / ours >= BAR_FLOOR if n == 1000 else None,
                note="the least any computation layer by layer takes; from a table "
                "the layers are taken at a few thousand angles only",
            )
        )
    for depth in (3, DEPTH) if quick else (3, DEPTH, 1000):
        ours_error, textbook_error = accuracy(depth)
        held = depth == DEPTH
        found.append(
            Row(
                name=f"relu_ntk_correlation depth={depth}, 1 - rho from 1e-14 on",
                accuracy=ours_error,
                bar=BAR_ACCURACY if held else None,
                passed=ours_error <= BAR_ACCURACY if held else None,
                note=f"the textbook form is off by {textbook_error:.1g}",
            )
        )
    return found


def run(quick: bool = False) -> list[dict[str, Any]]:
    """The rows as plain data."""
    return [row.as_dict() for row in rows(quick)]
