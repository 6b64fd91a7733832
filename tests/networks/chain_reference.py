"""Draws, outputs, pullbacks and tangent factors of chains, as flat vectors to compare.

``python tests/networks/chain_reference.py`` writes ``reference/chains.npz`` anew.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lazyrich.networks import MLP, DeepLinear, FullyConnected, ReluNetwork, Shallow

REFERENCE = Path(__file__).parent / "reference" / "chains.npz"
NETS = {
    "ntk-softplus": FullyConnected(3, 20, 2),
    "ntk-softplus-odd": FullyConnected(5, 7, 4),
    "ntk-tanh-two-outputs": FullyConnected(4, 7, 3, "tanh", bias=False, c=2),
    "ntk-gelu-two-outputs": FullyConnected(3, 6, 2, "gelu", c=2),
    "ntk-relu-shallow": FullyConnected(3, 5, 1, "relu"),
    "mlp-relu": MLP((3, 8, 6, 1), sigma=0.7),
    "mlp-tanh-two-outputs": MLP((3, 5, 4, 2), "tanh"),
    "mlp-no-hidden-layer": MLP((3, 1), "linear"),
    "linear": DeepLinear((3, 5, 4, 1), sigma=0.6),
    "linear-two-outputs": DeepLinear((3, 6, 2)),
    "relu-bias": ReluNetwork(3, (9, 6), bias=0.5),
    "relu": ReluNetwork(4, (6, 7, 5)),
    "relu-no-hidden-layer": ReluNetwork(4, (), bias=0.3),
    "shallow-tanh": Shallow(3, 9, alpha=2.0),
    "shallow-softplus": Shallow(4, 7, "softplus"),
}
DTYPES = {"float64": torch.float64, "float32": torch.float32}
PULLED = (FullyConnected, MLP, Shallow)


def points(net, dtype: torch.dtype, *leading: int) -> Tensor:
    """Six inputs, behind ``leading`` axes."""
    gen = torch.Generator().manual_seed(11)
    return torch.randn(*leading, 6, net.d, generator=gen, dtype=torch.float64).to(dtype)


def weights(net, dtype: torch.dtype) -> Iterator[dict[str, Tensor]]:
    """One member, and an ensemble; biases that start from zero are moved off it."""
    for seed in (5, [5, 2]):
        w = net.init(seed, dtype=dtype)
        for name in w:
            if name.startswith("B") and not w[name].any():
                w[name] = 0.1 * w["W" + name[1:]].sum(-1)
        yield w


def draws(net, dtype: torch.dtype) -> list[Tensor]:
    """Initial weights of one seed and of an ensemble."""
    return [v for seed in (5, [5, 2]) for v in net.init(seed, dtype=dtype).values()]


def outputs(net, dtype: torch.dtype) -> list[Tensor]:
    """f at shared points, and where a network takes them at each member's own."""
    found = [net(w, points(net, dtype)) for w in weights(net, dtype)]
    if isinstance(net, FullyConnected | ReluNetwork | Shallow):
        *_, ensemble = weights(net, dtype)
        found.append(net(ensemble, points(net, dtype, 2)))
    return found


def pullbacks(net, dtype: torch.dtype) -> list[Tensor]:
    """f and gradients, of the networks whose derivatives have always been by hand."""
    found = []
    for w in weights(net, dtype):
        x = points(net, dtype)
        for _ in range(2):
            f, pull = net.pullback(w, x, {})
            grads = pull(torch.cos(3 * f))
            out = {name: torch.full_like(value, 9) for name, value in w.items()}
            pull(torch.sin(f), out)
            found += [f, *grads.values(), *out.values()]
            x = x.flip(0)
    return found


def factors(net, dtype: torch.dtype) -> list[Tensor]:
    """Inputs and derivatives of every layer, and its two numbers."""
    one, ensemble = weights(net, dtype)
    found = []
    for w in (one, ensemble) if isinstance(net, FullyConnected | Shallow) else (one,):
        for factor in net.tangent_factors(w, points(net, dtype)):
            found += [factor.z, torch.tensor([factor.scale, factor.bias])]
            found += [] if factor.d is None else [factor.d]
    return found


def cases() -> Iterator[tuple[str, Tensor]]:
    """Every kind of value of every network, as one vector each."""
    for name, net in NETS.items():
        for dtype_name, dtype in DTYPES.items():
            for kind in (draws, outputs, pullbacks, factors):
                if kind is pullbacks and not isinstance(net, PULLED):
                    continue
                parts = [part.reshape(-1).to(dtype) for part in kind(net, dtype)]
                yield f"{name}/{dtype_name}/{kind.__name__}", torch.cat(parts)


def arithmetic() -> np.ndarray:
    """A digest of how this machine rounds products and functions."""
    gen = torch.Generator().manual_seed(3)
    digest = hashlib.blake2b(digest_size=8)
    for dtype in DTYPES.values():
        for n, m in ((6, 3), (6, 20), (20, 1), (1, 7)):
            a = torch.randn(n, m, generator=gen, dtype=torch.float64).to(dtype)
            b = torch.randn(9, m, generator=gen, dtype=torch.float64).to(dtype)
            product = a @ b.mT
            for part in (product, product.tanh(), product.exp(), product.erf()):
                digest.update(part.numpy().tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


if __name__ == "__main__":
    found = {name: value.numpy() for name, value in cases()}
    REFERENCE.parent.mkdir(exist_ok=True)
    np.savez_compressed(REFERENCE, arithmetic=arithmetic(), **found)
