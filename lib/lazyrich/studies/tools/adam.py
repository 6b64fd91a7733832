r"""Ordinary training of a ``torch.nn.Module``: Adam, batches, PyTorch's initial weights.

For the chapters that compare kernels with nets as practitioners train them. Every draw
has a name and a seed; the global generator is left as it was.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lazyrich.core import check, rng

Loss = Callable[[Tensor, Tensor], Tensor]


def initialised(
    make: Callable[[], torch.nn.Module], seed: int, dtype: torch.dtype = torch.float32
) -> torch.nn.Module:
    """``make()`` with the initial weights that PyTorch draws for its layers."""
    # Layers draw from the global generator: it is lent the state of a named one.
    drawn = rng.generator("adam/init", seed).get_state()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(drawn)
        return make().to(dtype)


@dataclass(frozen=True)
class Trained:
    """A run of ``train``: ``loss`` (mean training loss) and ``score`` on the validation
    set (lower is better; empty without one), epoch by epoch, and the best epoch."""

    loss: list[float]
    score: list[float]
    best_epoch: int


def train(
    module: torch.nn.Module,
    x: Tensor,
    y: Tensor,
    loss: Loss,
    *,
    epochs: int,
    batch: int = 64,
    rate: float = 1e-3,
    seed: int = 0,
    score: Callable[[torch.nn.Module], float] | None = None,
) -> Trained:
    """Train ``module`` in place by Adam on minibatches.

    Args:
        module: as from ``initialised``.
        x, y: inputs and targets, first axis n.
        loss: mean loss of a batch, ``loss(module(x), y)``.
        epochs, batch, rate: passes over the data, batch size, learning rate.
        seed: of the order of the examples.
        score: something to select the epoch by, lower is better, such as the error on
            a validation set; the weights of the best epoch are put back at the end.

    Raises:
        ValueError: sizes that are not positive, or x and y of different length.
    """
    check.positive_int("epochs", epochs)
    check.positive_int("batch", batch)
    check.real("rate", rate, above=0.0)
    if len(x) != len(y):
        raise ValueError(f"y must have {len(x)} rows like x, got {len(y)}")
    optimiser = torch.optim.Adam(module.parameters(), lr=rate)
    order = rng.generator("adam/order", seed)
    losses, scores, best, kept = [], [], epochs - 1, None
    for epoch in range(epochs):
        total = 0.0
        for places in torch.randperm(len(x), generator=order).split(batch):
            optimiser.zero_grad(set_to_none=True)
            value = loss(module(x[places]), y[places])
            value.backward()
            optimiser.step()
            total += float(value.detach()) * len(places)
        losses.append(total / len(x))
        if score is not None:
            with torch.no_grad():
                scores.append(float(score(module)))
            if scores[-1] == min(scores):
                best = epoch
                kept = {k: v.clone() for k, v in module.state_dict().items()}
    if kept is not None:
        module.load_state_dict(kept)
    return Trained(losses, scores, best)


def perceptron(*widths: int) -> torch.nn.Sequential:
    """Linear layers with biases and ReLUs between them: widths (d, h, ..., c)."""
    layers: list[torch.nn.Module] = []
    for a, b in zip(widths, widths[1:], strict=False):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])
