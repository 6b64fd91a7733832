"""The study on a small grid: physics, chunking, interruption, frozen limit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr

from lazyrich import sweeps
from lazyrich.studies.lazy_and_rich import alpha_sweep
from lazyrich.studies.lazy_and_rich import flow as flow_checks

SETTINGS = {
    **alpha_sweep.LAPTOP.settings, "n_train": 20, "n_test": 40, "n_kernel": 15,
    "n_shown": 8, "L": 2, "stop_loss": 0.05,
}  # fmt: skip
GRID = {"h": (12, 20), "alpha_mf": (1e-2, 1.0, 1e3), "seed": (0, 1)}


@pytest.fixture
def small():
    """The study with a grid of twelve members that train in a second."""
    scale = sweeps.Scale(GRID, SETTINGS)
    return replace(alpha_sweep.STUDY, scales={"laptop": scale})


def equal(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)


def test_rich_members_move_their_kernel_and_lazy_ones_do_not(small, tmp_path):
    sweeps.run(small, store=tmp_path, progress=False)
    table = sweeps.load(small, store=tmp_path)
    assert (table["status"] == "fitted").all()
    change = table["kernel_change_end"]
    assert float(change.sel(alpha_mf=1e-2).min()) > 1.0
    assert float(change.sel(alpha_mf=1e3).max()) < 0.1
    assert float(table["loss_end"].max()) <= 0.05
    # t1 grows with sqrt(h) alpha up to the border
    assert bool((table["t1"].sel(alpha_mf=1e-2) < table["t1"].sel(alpha_mf=1.0)).all())
    # the recorded curve ends where the separately computed end stands
    for h in GRID["h"]:
        one = table.sel(h=h, alpha_mf=1.0, seed=0)
        curve = one["kernel_change"].dropna("record").values
        assert curve[-1] == pytest.approx(float(one["kernel_change_end"]), rel=1e-12)
        assert one["t1"] == one["t_level"].sel(level=0.5)
    end = table["theta_end"].values
    np.testing.assert_allclose(end, np.swapaxes(end, -1, -2), rtol=0, atol=0)


def test_chunking_and_processes_do_not_show(small, tmp_path):
    sweeps.run(small, store=tmp_path / "a", progress=False)
    single = replace(small, chunk_size={"cpu": 1, "cuda": 1})
    sweeps.run(single, store=tmp_path / "b", progress=False)
    sweeps.run(small, store=tmp_path / "c", progress=False, cluster="local:2")
    whole = sweeps.load(small, store=tmp_path / "a")
    equal(whole, sweeps.load(small, store=tmp_path / "b"))
    equal(whole, sweeps.load(small, store=tmp_path / "c"))


def test_the_lazy_limit_is_where_the_sweep_ends(tmp_path):
    """Members of sqrt(h) alpha = 1e5 and the frozen kernel agree, outputs included."""
    grid = {"h": (20,), "alpha_mf": (1e5,), "seed": (0, 1)}
    scale = alpha_sweep.by_regime(sweeps.Scale(grid, SETTINGS))
    real = replace(alpha_sweep.STUDY, scales={"laptop": scale})
    limit = replace(
        alpha_sweep.LAZY_LIMIT,
        scales={"laptop": sweeps.Scale({"h": (20,), "seed": (0, 1)}, SETTINGS)},
    )
    for study in (real, limit):
        sweeps.run(study, store=tmp_path, progress=False)
    trained = sweeps.load(real, store=tmp_path).sel(alpha_mf=1e5)
    frozen = sweeps.load(limit, store=tmp_path)
    levels = [0.9, 0.5, 0.1]
    ratio = trained["t_level"].sel(level=levels) / frozen["t_level"].sel(level=levels)
    np.testing.assert_allclose(ratio.values, 1.0, rtol=0.002)
    same = np.sign(trained["F_test"]) == np.sign(frozen["F_test"])
    assert float(same.mean()) > 0.99
    moved = trained["weight_change_end"] * 1e5 / np.sqrt(20)
    np.testing.assert_allclose(
        moved.values, frozen["weight_change_times_alpha"].values, rtol=0.002
    )


def test_what_comes_after_a_level():
    t = np.array([[0.0, 1.0, 2.0, 4.0, np.nan]])
    table = xr.Dataset(
        {
            "t": (("member", "record"), t),
            "kernel_change": (("member", "record"), t**2),
            "t_level": (("member", "level"), [[2.0]]),
        },
        coords={"level": [0.01]},
    )
    # grown as t^2 from t = 2 to the end at t = 4: a factor of four
    found = alpha_sweep.change_after(table, "kernel_change")
    assert found.values == pytest.approx(np.array([3.0]))


def test_untouched_points_count_as_errors():
    y = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    F = torch.tensor([0.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    assert float(alpha_sweep.test_error(F, y)) == 0.5


def test_linear_response_is_the_derivative_of_the_kernel():
    """Against two kernels a finite way along the same direction."""
    task = alpha_sweep.load_data(SETTINGS)
    x, y, z = task.x_train, task.y_train, task.x_test[:6]
    found = flow_checks.linear_response(x, y, z, (24,), seeds=1, L=2)[0, 0]
    from lazyrich.kernels import kernel_distance, ntk
    from lazyrich.networks import FullyConnected

    net = FullyConnected(x.shape[1], 24, 2)
    w = net.init(0)
    dw = net.pullback(w, x)[1](y / len(y))
    step = 1e-5
    moved = {k: v + step * dw[k] for k, v in w.items()}
    change = float(kernel_distance(ntk(net, moved, z), ntk(net, w, z))) / step
    assert found == pytest.approx(change, rel=1e-3)


@pytest.mark.parametrize("L", [1, 3])
def test_the_first_change_of_the_kernel_is_odd_under_a_flip_of_the_last_layer(L):
    task = alpha_sweep.load_data(SETTINGS)
    x, y, z = task.x_train, task.y_train, task.x_test[:6]
    assert flow_checks.parity(x, y, z, h=16, L=L) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_costs_and_scales_are_sane():
    study = alpha_sweep.STUDY
    assert len(study.scale("laptop")) == 78
    assert study.estimate_seconds("laptop") < 1200
    assert study.estimate_seconds("paper") > 100 * study.estimate_seconds("laptop")


def test_the_integrator_is_chosen_by_regime_and_recorded(small, tmp_path):
    grid = {"h": (12,), "alpha_mf": (1e-4, 1.0, 1e3), "seed": (0,)}
    tables = {}
    plain = sweeps.Scale(grid, SETTINGS)
    for name, scale in (("steps", plain), ("auto", alpha_sweep.by_regime(plain))):
        study = replace(small, scales={"laptop": scale})
        sweeps.run(study, store=tmp_path / name, progress=False)
        tables[name] = sweeps.load(study, store=tmp_path / name)
    assert "integrator" not in tables["steps"]
    chosen = tables["auto"]["integrator"].values.ravel().tolist()
    assert chosen == ["momentum", "impulse", "impulse"]
    np.testing.assert_allclose(tables["auto"]["t1"], tables["steps"]["t1"], rtol=0.02)
    assert int(tables["auto"]["tries"].sel(alpha_mf=1e3).max()) < 100
    assert (tables["auto"]["status"] == "fitted").all()
    only_hinge = {**SETTINGS, "integrator": "auto", "loss": "square"}
    with pytest.raises(ValueError, match="'hinge' alone"):
        alpha_sweep.train(12, [1.0], [0], only_hinge, alpha_sweep.load_data(SETTINGS))
