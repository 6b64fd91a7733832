"""The layerwise trace of the tangent kernel against full Jacobians."""

import pytest
import torch
from torch import nn

from lazyrich import kernels, networks
from lazyrich.kernels import trace


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, 3, 3), nn.ReLU(),
        nn.Conv2d(3, 3, 3, stride=2, padding=1, bias=False), nn.Tanh(),
        nn.Flatten(), nn.Linear(27, 7), nn.ReLU(), nn.Linear(7, 4, bias=False),
    ).double()  # fmt: skip


def test_trace_is_that_of_the_full_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_BLOCKS", {"linear": 4, "images": 4})  # several blocks
    module = classifier()
    x, y = torch.randn(2, 9, 64, dtype=torch.float64)
    net, w = networks.from_module(module)
    full = kernels.ntk(net, w, x, y[:5])
    torch.testing.assert_close(
        kernels.trace_ntk(module, x, y[:5]), torch.einsum("nmcc->nm", full)
    )
    torch.testing.assert_close(
        kernels.trace_ntk(module, x, y[:5], outputs=[2]), full[:, :, 2, 2]
    )
    alone = kernels.trace_ntk(module, x)
    torch.testing.assert_close(alone, kernels.trace_ntk(module, x, x))
    assert torch.linalg.eigvalsh(alone).min() > -1e-12
    assert all(p.grad is None for p in module.parameters())


def test_what_the_trace_cannot_do_is_refused() -> None:
    module = classifier()
    x = torch.randn(3, 64, dtype=torch.float64)
    with pytest.raises(ValueError, match="outputs must be from 0 to 3"):
        kernels.trace_ntk(module, x, outputs=[4])
    with pytest.raises(ValueError, match="in Linear and Conv2d layers alone"):
        kernels.trace_ntk(nn.Sequential(nn.Linear(64, 4), nn.LayerNorm(4)).double(), x)
    layer = nn.Linear(64, 64).double()
    with pytest.raises(ValueError, match="every layer once, got twice"):
        kernels.trace_ntk(nn.Sequential(layer, layer), x)
    with pytest.raises(ValueError, match="dtype"):
        kernels.trace_ntk(module, x.float())
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        kernels.trace_ntk(lambda z: z, x)  # type: ignore[arg-type]
