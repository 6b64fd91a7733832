"""The layerwise trace of the tangent kernel against full Jacobians."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

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


def jacobian_trace(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """The trace from one backward pass an example and output."""
    params = [p for p in module.parameters() if p.requires_grad]
    rows = [
        torch.cat(
            [g.flatten() for g in torch.autograd.grad(v, params, retain_graph=True)]
        )
        for v in module(x.clone()).flatten()
    ]
    j = torch.stack(rows).unflatten(0, (len(x), -1))
    return torch.einsum("ncp,mcp->nm", j, j)


class Halved(nn.Linear):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return super().forward(0.5 * z)


class Decoder(nn.Module):
    """Uses the weight of a plain layer a second time, past the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.encode(x)) @ self.encode.weight


def odd_module(kind: str) -> nn.Module:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))
    if kind == "in place after":
        net[1] = nn.ReLU(inplace=True)
    elif kind == "in place before":
        net = nn.Sequential(nn.ReLU(inplace=True), *net)
    elif kind == "derived":
        net[0] = Halved(6, 6)
    elif kind == "pruned":
        prune.l1_unstructured(net[0], "weight", amount=0.5)
    elif kind == "parametrised":
        nn.utils.parametrizations.weight_norm(net[0])
    elif kind == "spectral":
        nn.utils.spectral_norm(net[0])
    elif kind == "hook":
        net[0].register_forward_hook(lambda _layer, _given, out: 2.0 * out)
    elif kind == "frozen weight":
        net[0].weight.requires_grad_(False)
    elif kind == "frozen layer":
        net[2].requires_grad_(False)
    elif kind == "shared":
        net = nn.Sequential(net[0], nn.Tanh(), net[0], net[2])
    elif kind == "tied":
        net[0].weight = (extra := nn.Linear(6, 6)).weight
        net = nn.Sequential(extra, *net)
    elif kind == "past the layer":
        net = Decoder()
    elif kind == "norm":
        net = nn.Sequential(net[0], nn.LayerNorm(6), net[2])
    elif kind == "grouped":
        conv = nn.Conv2d(2, 2, 2, groups=2)
        net = nn.Sequential(nn.Unflatten(1, (2, 3, 1)), nn.ZeroPad2d((0, 1)), conv,
                            nn.Flatten())  # fmt: skip
    elif kind == "own forward":
        net[0].forward = lambda z: 3.0 * z  # type: ignore[method-assign]
        net[0].requires_grad_(False)
    return net.double().eval()


KINDS = (
    "in place after", "in place before", "derived", "pruned", "parametrised", "spectral",
    "hook", "frozen weight", "frozen layer", "shared", "tied", "past the layer", "norm",
    "grouped", "own forward",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_plain_has_the_kernel_of_its_gradients(kind: str) -> None:
    module, x = odd_module(kind), torch.randn(4, 6, dtype=torch.float64)
    kept, state = x.clone(), {k: v.clone() for k, v in module.state_dict().items()}
    want = jacobian_trace(module, x)
    torch.testing.assert_close(kernels.trace_ntk(module, x), want)
    net, w = networks.from_module(module)
    full = torch.einsum("nmcc->nm", kernels.ntk(net, w, x))
    torch.testing.assert_close(full, want)
    assert torch.equal(x, kept)
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), nn.BatchNorm1d(6, affine=False)])
def test_training_mode_is_refused_and_nothing_moves(layer: nn.Module) -> None:
    module = nn.Sequential(nn.Linear(6, 6), layer, nn.Linear(6, 2)).double().train()
    state = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(ValueError, match="evaluation mode"):
        kernels.trace_ntk(module, torch.randn(4, 6, dtype=torch.float64))
    assert module.training
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


def test_what_the_trace_cannot_do_is_refused() -> None:
    module = classifier()
    x = torch.randn(3, 64, dtype=torch.float64)
    for outputs in ([4], [], [0, 0], [-1]):
        with pytest.raises(ValueError, match="outputs must be different integers"):
            kernels.trace_ntk(module, x, outputs=outputs)
    with pytest.raises(ValueError, match="x2 must hold points"):
        kernels.trace_ntk(module, x, x[:, :60])
    with pytest.raises(ValueError, match="dtype"):
        kernels.trace_ntk(module, x.float())
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        kernels.trace_ntk(lambda z: z, x)  # type: ignore[arg-type]
