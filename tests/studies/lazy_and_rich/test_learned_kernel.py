"""Convolutional and residual nets and their kernels, at sizes of seconds."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lazyrich import data, sweeps
from lazyrich.dynamics import hinge_path
from lazyrich.kernels import ntk
from lazyrich.networks import Convolutional, FullyConnected
from lazyrich.studies.lazy_and_rich import learned_kernel as convolutional

TINY = {
    **convolutional.SETTINGS, "n_train": 24, "n_test": 40, "side": 8, "n_shown": 8,
    "stop_loss": 0.3, "max_steps": 400,
}  # fmt: skip


NO_CHECKPOINT: Any = None


@pytest.fixture(scope="module")
def writers() -> ModuleType:
    path = Path(__file__).parents[2] / "data" / "writers.py"
    spec = importlib.util.spec_from_file_location("cifar_writers", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chunk(study: sweeps.Study, settings: dict[str, Any], **axes: tuple) -> sweeps.Chunk:
    members = tuple(
        dict(zip(axes, values, strict=True))
        for values in zip(*axes.values(), strict=True)
    )
    return sweeps.Chunk(study.name, study.version, settings, members)


def test_the_wide_resnet_learns_cifar_as_the_loader_has_it(
    writers: ModuleType, tmp_path: Path
) -> None:
    writers.cifar_archive(tmp_path / "cifar-10-binary.tar.gz", writers.cifar_batches())
    study = convolutional.WIDE_RESNET
    paper = study.scale("paper").settings
    assert paper["data"] == "cifar10"
    assert study.scale("paper").grid["k"] == (10,)
    settings = {
        **paper, "folder": str(tmp_path), "n_train": 20, "n_test": 10, "n_shown": 8,
        "max_steps": 30,
    }  # fmt: skip
    task = convolutional.load_images(settings)
    plain = data.load("cifar10", 20, 10, folder=tmp_path, shape="image")
    pixels = plain.x_train - plain.x_train.mean(0)
    expected = (pixels / pixels.square().mean().sqrt()).float()
    torch.testing.assert_close(task.x_train, expected, atol=1e-5, rtol=0)
    small = {**settings, "side": 8}
    table = study.measure(
        chunk(study, small, k=(1,), b=(1,), alpha=(1.0,), seed=(0,)), NO_CHECKPOINT
    )
    assert table.attrs["data"].startswith("folder:")
    assert table["temperature"].item() > 0
    assert table["theta_end"].shape == (1, 8, 8)
    assert table["norm_ratio"].item() != 1.0


def test_images_shrink_by_averages() -> None:
    small = convolutional.load_images(TINY)
    full = convolutional.load_images({**TINY, "side": 28})
    assert small.x_train.shape == (24, 1, 8, 8)
    assert full.x_train.shape[-1] == 28
    assert float(full.x_train.square().mean()) == pytest.approx(1.0)
    half = convolutional.load_images({**TINY, "side": 14}).x_train
    blocks = full.x_train.unflatten(-1, (14, 2)).unflatten(-3, (14, 2)).mean((-1, -3))
    torch.testing.assert_close(half, blocks / blocks.square().mean().sqrt())


@pytest.mark.parametrize("kind", ["convolutional", "connected"])
def test_kernel_learner_is_the_path_with_the_whole_kernel(kind: str) -> None:
    task = convolutional.load_images(TINY)
    net = Convolutional(4, 1, 3)
    if kind == "connected":
        net = FullyConnected(64, 6, 2)
        flat = {name: getattr(task, name).flatten(1) for name in ("x_train", "x_test")}
        task = replace(task, **flat)
    w = net.init(3)
    for stop in (0.0, 0.3):
        path = hinge_path(
            ntk(net, w, task.x_train), task.y_train,
            ntk(net, w, task.x_test, task.x_train), nugget=1e-8, stop_loss=stop,
        )  # fmt: skip
        assert path.F_test is not None
        F = path.F_test[0, int((~path.t[0].isnan()).sum()) - 1]
        found = convolutional.kernel_learner(net, w, task, stop)
        torch.testing.assert_close(found, F, rtol=1e-8, atol=1e-8)


def test_nets_reach_their_frozen_kernel_unless_they_start_on_the_kink() -> None:
    alphas = (1e3, 1e5)
    away, agree = convolutional.frozen_limit(TINY, alphas, h=4, n=24, jitter=0.01)
    assert away[1] < 0.5 * away[0]
    assert agree[1] >= 0.95
    assert convolutional.on_the_kink(convolutional.SETTINGS) > 0.01


def test_lazy_nets_are_trained_in_impulses_and_rich_ones_in_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, float]] = []
    for name in ("impulse_flow", "momentum_flow"):
        real = getattr(convolutional, name)

        def flow(*args: Any, name: str = name, real: Any = real, **options: Any) -> Any:
            seen.append((name, args[4]))
            return real(*args, **options)

        monkeypatch.setattr(convolutional, name, flow)
    study = convolutional.CONVOLUTIONAL
    table = study.measure(
        chunk(study, TINY, h=(4, 4), alpha=(1e-1, 1e3), seed=(0, 0)), NO_CHECKPOINT
    )
    assert (table["status"] == "fitted").all()
    rich, lazy = (table.isel(member=k) for k in (0, 1))
    assert seen == [("momentum_flow", 0.1), ("impulse_flow", 1e3)]
    assert lazy["kernel_change"] < 0.1 < 1.0 < rich["kernel_change"]
    assert lazy["initial_kernel_agrees"] > rich["initial_kernel_agrees"]
    assert np.isfinite(table["contrast_end"]).all()


def test_connected_nets_and_their_kernels() -> None:
    study = convolutional.FINAL_KERNELS
    settings = {
        **study.scale("laptop").settings, "n_train": 40, "n_test": 60, "stop_loss": 0.1,
    }  # fmt: skip
    table = study.measure(
        chunk(study, settings, h=(16, 16), seed=(0, 1)), NO_CHECKPOINT
    )
    assert (table["status"] == "fitted").all()
    assert (table["final_kernel_agrees"] > 0.7).all()
    assert (np.abs(table["final_kernel_error"] - table["test_error"]) < 0.2).all()


def test_jacobians_of_all_parameters_at_once_or_one_by_one() -> None:
    task = convolutional.load_images(TINY)
    net = Convolutional(3, 1, 3)
    w = net.init(0)
    for points in (None, task.x_test):
        together = ntk(net, w, task.x_train, points)
        one_by_one = ntk(net, w, task.x_train, points, memory=2e4)
        torch.testing.assert_close(together, one_by_one)
