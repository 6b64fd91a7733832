r"""Silent alignment of a wide residual network trained with Adam (atanasov2022, App. I).

Images keep their places: whitening turns X = U S V^T into U S^gamma V^T, which are images
again, with gamma = 0 for white ones and 1 for the originals (Sec. 5).
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lazyrich.core import check
from lazyrich.data import Dataset, principal_components
from lazyrich.networks import WideResNet
from lazyrich.studies.alignment.silent_nonlinear import Run, train
from lazyrich.studies.tools.curves import first_crossing


def prepared(
    task: Dataset, whitening: float, side: int, dtype: torch.dtype = torch.float32
) -> Dataset:
    """Images cut down to ``side`` pixels and whitened in place.

    Means and directions are those of the training images; the components that are kept
    have mean variance 1 for every ``whitening``, so that raw and white images are of one
    size.

    Args:
        task: images (n, channels, height, width) with targets +-1.
        whitening: 1 - gamma: 1 for white images, 0 for the originals.
        side: pixels a side; larger images are padded to a multiple and averaged.
    """
    check.positive_int("side", side, least=4)
    small = [_shrunk(x, side) for x in (task.x_train, task.x_test)]
    shape = small[0].shape[1:]
    flat = [x.flatten(1) for x in small]
    map_ = principal_components(flat[0], "all", whitening)
    x_train, x_test = ((map_(x) @ map_.basis).reshape(-1, *shape) for x in flat)
    return replace(task, x_train=x_train, x_test=x_test).to(dtype=dtype)


def _shrunk(x: Tensor, side: int) -> Tensor:
    height = x.shape[-1]
    factor = -(-height // side)
    missing = factor * side - height
    padded = functional.pad(x, [missing // 2, missing - missing // 2] * 2)
    return functional.avg_pool2d(padded, factor)


@dataclass(frozen=True)
class Clocks:
    """When things happen to the kernel of one run.

    Attributes:
        aligned: first time with 85 % of the final alignment; grown: the kernel norm has
            doubled; learned: half of the loss is gone.
        alignment_at_growth: alignment at that time over the final one.
    """

    aligned: float
    grown: float
    learned: float
    alignment_at_growth: float

    @property
    def in_order(self) -> bool:
        """Whether alignment comes first, growth second and learning last."""
        return self.aligned <= self.grown <= self.learned


def clocks(run: Run) -> Clocks:
    """The order of events in a run.

    Raises:
        ValueError: the kernel norm never doubles.
    """
    grown = first_crossing(run.t, run.norm, 2.0 * run.norm[0])
    k = int((run.t <= grown).sum()) - 1
    share = run.alignment[k] / run.alignment[-1]
    return Clocks(
        first_crossing(run.t, run.alignment, 0.85 * run.alignment[-1]),
        grown,
        run.time(0.5),
        float(share),
    )


def resnet_run(
    images: Dataset,
    *,
    k: int,
    sigma: float = 0.3,
    sigma_first: float = 6.0,
    seed: int = 0,
    lr: float,
    stop: float = 1e-3,
    device: str | torch.device = "cpu",
    **options: Any,
) -> Run:
    """``train`` of a wide residual network with Adam."""
    net = WideResNet(
        k=k, channels=images.x_train.shape[1], sigma=sigma, sigma_first=sigma_first
    )
    w = net.init(seed, dtype=images.x_train.dtype, device=device)
    parts = (images.x_train, images.y_train, images.x_test, images.y_test)
    x, y, x_test, y_test = (part.to(device) for part in parts)
    return train(
        net, w, x, y, x_test, y_test, lr=lr, optimiser="adam", stop=stop, **options
    )
