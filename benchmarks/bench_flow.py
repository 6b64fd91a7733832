"""A step of the flow against a lean autograd trainer, and a sweep on one and two cores."""

import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks import harness
from benchmarks.harness import Row
from lazyrich import sweeps
from lazyrich.core.rng import generator
from lazyrich.dynamics import StepRule, momentum_flow
from lazyrich.networks import FullyConnected
from lazyrich.studies.lazy_and_rich.alpha_sweep import STUDY

N, D, L, MU = 200, 10, 5, 1000.0
BARS = {30: 1.8, 100: 1.3}
BAR_CORES = 1.7


class AutogradTrainer:
    """The same dynamics and step rule, the straightforward way: autograd over a list of
    tensors, fused ``foreach`` updates, one forward pass an attempted step."""

    def __init__(self, h: int, alpha: float, x: Tensor, y: Tensor, rule: StepRule):
        net = FullyConnected(D, h, L)
        self.scale = net.sigma.outer
        self.sharpness = net.sigma.inner
        self.w = [v.clone() for v in net.init(0).values()]
        self.v = [torch.zeros_like(v) for v in self.w]
        self.x, self.y, self.alpha, self.rule = x, y, alpha, rule
        self.f0 = self.forward(self.w)
        self.t, self.tries = 0.0, 0
        self.grad = self.gradient(self.w)[1]
        speed = torch._foreach_norm(self.grad)
        norms = torch._foreach_norm(self.w)
        ratios = [float(s / n) for s, n in zip(speed, norms, strict=True) if n > 0]
        self.dt = rule.max_weight_change / max(ratios)

    def forward(self, w: list[Tensor]) -> Tensor:
        z = self.x
        for k in range(0, len(w), 2):
            z = functional.linear(z, w[k] / math.sqrt(z.shape[1]), w[k + 1])
            if k < len(w) - 2:
                z = self.scale * functional.softplus(self.sharpness * z, threshold=40)
        return z.squeeze(1)

    def gradient(self, w: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        leaves = [v.detach().requires_grad_() for v in w]
        F = self.alpha * (self.forward(leaves) - self.f0)
        loss = torch.relu(1 - F * self.y).mean() / self.alpha**2
        return F.detach(), torch.autograd.grad(loss, leaves)

    def step(self) -> None:
        """One attempt: the forward pass is shared with the next gradient."""
        self.tries += 1
        keep = (self.t / (self.t + self.dt)) ** MU
        v = torch._foreach_mul(self.v, keep)
        torch._foreach_add_(v, self.grad, alpha=-(1 - keep))
        moved = self.dt * torch.stack(torch._foreach_norm(v))
        size = torch.stack(torch._foreach_norm(self.w))
        pairs = (moved.view(-1, 2).norm(dim=1) / size.view(-1, 2).norm(dim=1)).max()
        if float(pairs) > self.rule.max_weight_change:
            self.dt *= self.rule.max_weight_change / float(pairs)
        w = torch._foreach_add(self.w, v, alpha=self.dt)
        leaves = [p.requires_grad_() for p in w]
        F = self.alpha * (self.forward(leaves) - self.f0)
        change = float((F.detach() - self.F).abs().max()) if self.t else 0.0
        if change <= self.rule.max_output_change:
            loss = torch.relu(1 - F * self.y).mean() / self.alpha**2
            self.grad = torch.autograd.grad(loss, leaves)
            self.w, self.v = [p.detach() for p in w], v
            self.t += self.dt
            self.F = F.detach()
        factor = self.rule.aim * self.rule.max_output_change / max(change, 1e-300)
        self.dt *= min(max(factor, self.rule.shrink), self.rule.grow)

    def run(self, tries: int) -> None:
        while self.tries < tries:
            self.step()


def task() -> tuple[Tensor, Tensor]:
    """Gaussian inputs with random labels: steps cost the same as on images."""
    draw = generator("bench/flow", N)
    x = torch.randn(N, D, generator=draw, dtype=torch.float64)
    y = torch.where(torch.randn(N, generator=draw, dtype=torch.float64) > 0, 1.0, -1.0)
    return x, y.double()


def _step(h: int, tries: int, rounds: int) -> Row:
    """CPU time per attempted step; both sides are charged for the tries they made."""
    x, y = task()
    rule, alpha = StepRule(), 1 / math.sqrt(h)
    net = FullyConnected(D, h, L)
    w = net.init(0)
    made = {"ours": 0, "peer": 0}

    def ours() -> None:
        flow = momentum_flow(
            net, w, x, y, alpha, rule=rule, max_steps=tries, records_per_decade=0.01
        )
        made["ours"] = int(flow.tries)

    def peer() -> None:
        trainer = AutogradTrainer(h, alpha, x, y, rule)
        trainer.run(tries)
        made["peer"] = trainer.tries

    times = harness.alternate(ours, peer, rounds=rounds)
    share = made["ours"] / made["peer"]
    ratio = times.ratio * share
    return Row(
        f"flow, one attempted step n={N} h={h} against a lean autograd trainer",
        ours=times.ours / made["ours"],
        peer=times.peer / made["peer"],
        ratio=ratio,
        spread=times.spread * share,
        bar=BARS[h],
        passed=bool(ratio >= BARS[h]),
        note=f"{made['ours']} and {made['peer']} tries",
        wall={
            "ours": times.ours_wall / made["ours"],
            "peer": times.peer_wall / made["peer"],
        },
    )


def _sweep(quick: bool) -> Row:
    """Wall time of the laptop sweep in one and in two worker processes."""
    study = STUDY
    if quick:
        scale = STUDY.scales["laptop"]
        grid = {"h": (50,), "alpha_mf": (1e-3, 1e-2, 1e-1, 1.0), "seed": (0, 1, 2)}
        study = replace(STUDY, scales={"laptop": sweeps.Scale(grid, scale.settings)})
    walls = {}
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            sweeps.run(
                study, store=Path(folder), cluster=f"local:{workers}", progress=False
            )
            walls[workers] = time.perf_counter() - start
    ratio = walls[1] / walls[2]
    members = len(study.scales["laptop"])
    return Row(
        f"alpha-sweep at laptop scale, {members} members: two cores against one (wall)",
        ours=walls[2],
        peer=walls[1],
        ratio=ratio,
        bar=None if quick else BAR_CORES,
        passed=None if quick else bool(ratio >= BAR_CORES),
        note="start of the workers included",
    )


def run(quick: bool = False) -> list[dict[str, Any]]:
    """Rows of the benchmark table; ``quick`` runs a small sweep and fewer rounds."""
    rows = [_step(h, 150 if quick else 400, 3 if quick else 7) for h in BARS]
    rows.append(_sweep(quick))
    return [row.as_dict() for row in rows]
