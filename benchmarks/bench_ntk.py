"""The empirical tangent kernel against per-example gradients and the GEMM peak."""

from typing import Any

import torch
from torch.func import grad, vmap

from benchmarks import harness
from benchmarks.harness import Row
from lazyrich.core.rng import generator
from lazyrich.kernels import ntk
from lazyrich.networks import FullyConnected

L, D = 5, 10
BARS = {(500, 100): 20.0, (500, 500): 60.0}
BAR_MEMORY = 20.0
BAR_PEAK = 0.70


def per_example_gradients(net: Any, w: dict, x: torch.Tensor) -> torch.Tensor:
    """The usual way: one gradient an example, a Gram matrix a parameter, and their sum."""

    def one(params: dict, point: torch.Tensor) -> torch.Tensor:
        return net(params, point.unsqueeze(0)).squeeze(0)

    jacobian = vmap(grad(one), in_dims=(None, 0))(w, x)
    theta = x.new_zeros(len(x), len(x))
    for part in jacobian.values():
        flat = part.flatten(1)
        theta += flat @ flat.T
    return theta


def effective_operations(n: int, h: int) -> float:
    """Work of the layerwise kernel with full (not halved) Gram matrices: both passes, and
    2 L products of n x h with h x n."""
    return 4.0 * n * n * h * L + 4.0 * n * (L - 1) * h * h


_SETUP = """
from benchmarks.bench_ntk import problem, per_example_gradients
from lazyrich.kernels import ntk
small, large = problem(20, 20), problem({n}, {h})
ntk(*small); per_example_gradients(*small)
"""


def problem(n: int, h: int) -> tuple[FullyConnected, dict, torch.Tensor]:
    """A net of width h, its weights and n Gaussian inputs."""
    net = FullyConnected(D, h, L)
    draw = generator("bench/ntk", n, h)
    x = torch.randn(n, D, generator=draw, dtype=torch.float64)
    return net, net.init(0), x


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows of the benchmark table; ``quick`` leaves the large sizes out."""
    rows = []
    for (n, h), bar in list(BARS.items())[: 1 if quick else None]:
        net, w, x = problem(n, h)
        times = harness.alternate(
            lambda net=net, w=w, x=x: ntk(net, w, x),
            lambda net=net, w=w, x=x: per_example_gradients(net, w, x),
            rounds=3 if quick or h > 100 else 7,
        )
        ours, peer = ntk(net, w, x), per_example_gradients(net, w, x)
        setup = _SETUP.format(n=n, h=h)
        memory = harness.peak_memory(setup, "theta = ntk(*large)")
        theirs = harness.peak_memory(setup, "theta = per_example_gradients(*large)")
        lean = h < 500 or memory * BAR_MEMORY <= theirs
        rows.append(
            Row(
                f"tangent kernel n={n} h={h} against torch.func per-example gradients",
                ours=times.ours,
                peer=times.peer,
                ratio=times.ratio,
                spread=times.spread,
                bar=bar,
                passed=bool(times.ratio >= bar and lean),
                memory_mb=memory,
                peer_memory_mb=theirs,
                note=f"largest relative difference "
                f"{float((ours - peer).abs().max() / peer.abs().max()):.1e}"
                + ("" if h < 500 else f"; memory 1/{theirs / memory:.0f}, bar 1/20"),
                wall={"ours": times.ours_wall, "peer": times.peer_wall},
            )
        )
    n = h = 500 if quick else 1000
    net, w, x = problem(n, h)
    a = torch.ones(2000, 2000, dtype=torch.float64)
    out = torch.empty_like(a)
    times = harness.alternate(
        lambda: ntk(net, w, x), lambda: torch.mm(a, a, out=out), rounds=5
    )
    reached = effective_operations(n, h) / times.ours
    peak = 2 * 2000**3 / times.peer
    rows.append(
        Row(
            f"tangent kernel n={n} h={h}, share of the GEMM peak (effective operations)",
            ours=times.ours,
            ratio=reached / peak,
            bar=BAR_PEAK,
            passed=bool(reached / peak >= BAR_PEAK),
            note=f"{reached / 1e9:.1f} of {peak / 1e9:.1f} GFLOP/s",
            wall={"ours": times.ours_wall},
        )
    )
    return [row.as_dict() for row in rows]
