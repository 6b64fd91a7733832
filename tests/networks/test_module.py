"""Modules as functions f(w, x): what they promise is looked at on the user's inputs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lazyrich import dynamics, kernels, networks

F64 = torch.float64


class Of(nn.Module):
    """A linear read-out of whatever a function makes of the layer below."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.below, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.function(self.below(x)))


class Recurrent(nn.Module):
    def __init__(self, batch_first: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.cell = nn.LSTM(4, 5, 2, batch_first=batch_first, dropout=dropout)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.cell(x)[0][:, -1])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(7, 4), nn.Linear(4, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(torch.tanh(self.table(tokens).mean(1)))


class Fourier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.randn(3, dtype=torch.complex128))
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        filtered = torch.fft.irfft(torch.fft.rfft(x) * self.gain, n=4)
        return self.out(torch.tanh(filtered))


def points(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(0))


def by_backward(module: nn.Module, x: Tensor) -> Tensor:
    """(n, n, c, c) from one backward pass an example and output."""
    rows = []
    for value in module(x).flatten():
        grads = torch.autograd.grad(value, list(module.parameters()), retain_graph=True)
        real = [torch.view_as_real(g) if g.is_complex() else g for g in grads]
        rows.append(torch.cat([g.flatten() for g in real]))
    j = torch.stack(rows).unflatten(0, (len(x), -1))
    return torch.einsum("nap,mbp->nmab", j, j)


IMPURE = {
    "batch statistics": (lambda: Of(lambda z: z - z.mean(0)), "by itself"),
    "earlier examples": (lambda: Of(lambda z: z.cumsum(0)), "by itself"),
    "later examples": (lambda: Of(lambda z: z.flip(0).cumsum(0).flip(0)), "by itself"),
    "functional batch norm": (
        lambda: Of(lambda z: functional.batch_norm(z, None, None, training=True)),
        "by itself",
    ),
    "functional dropout": (lambda: Of(lambda z: functional.dropout(z, 1e-3)), "random"),
    "randomised ReLU": (lambda: Of(nn.RReLU()), "random"),
    "power iteration": (
        lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 2))),
        "buffer",
    ),
}
"""Modules that break the promise, and a word of the message that says so."""


def refused(module: nn.Module, word: str) -> None:
    """Every call says so, and nothing has moved."""
    module = module.double().train()
    state = {k: v.clone() for k, v in module.state_dict().items()}
    random, x = torch.get_rng_state(), points(5, 4)
    net, w = networks.from_module(module)
    for call in (net, lambda w, x: kernels.ntk(net, w, x)):
        with pytest.raises(ValueError, match=word):
            call(w, x)
    assert torch.equal(x, points(5, 4))
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize("kind", list(IMPURE))
def test_what_is_no_function_of_each_example_is_refused(kind: str) -> None:
    build, word = IMPURE[kind]
    refused(build(), word)


def test_a_read_out_of_zero_hides_nothing() -> None:
    module = Of(lambda z: z - z.mean(0))
    nn.init.zeros_(module.out.weight)
    nn.init.zeros_(module.out.bias)
    refused(module, "by itself")


def test_outputs_that_cancel_are_not_blamed_for_rounding() -> None:
    module = nn.Sequential(nn.Linear(4, 50), nn.Tanh(), nn.Linear(50, 1)).double()
    net, w = networks.from_module(module)
    start = {k: v.clone() for k, v in w.items()}
    x = points(6, 4)
    one = kernels.ntk(lambda p, z: 1e6 * (net(p, z) - net(start, z)), w, x)
    torch.testing.assert_close(one, 1e12 * kernels.ntk(net, w, x))


def test_instance_norm_that_learns_statistics_is_refused() -> None:
    norm = nn.InstanceNorm1d(3, track_running_stats=True)
    module = nn.Sequential(norm, nn.Flatten(), nn.Linear(12, 1)).double()
    net, w = networks.from_module(module)
    with pytest.raises(ValueError, match="buffer '0.running_mean'"):
        net(w, points(5, 3, 4))
    net, w = networks.from_module(module.eval())
    assert net(w, points(5, 3, 4)).shape == (5,)


def test_recurrent_nets_go_one_example_at_a_time() -> None:
    torch.manual_seed(0)
    module, x = Recurrent().double(), points(3, 4, 4)
    net, w = networks.from_module(module)
    torch.testing.assert_close(kernels.ntk(net, w, x), by_backward(module, x))
    in_blocks = kernels.ntk(net, w, x, x[:2], memory=1e4)
    torch.testing.assert_close(in_blocks, by_backward(module, x)[:, :2])
    net, w = networks.from_module(Recurrent(batch_first=False).double())
    with pytest.raises(ValueError, match="batch_first"):
        kernels.ntk(net, w, x)
    net, w = networks.from_module(Recurrent(dropout=0.3).double())
    with pytest.raises(ValueError, match="random"):
        kernels.ntk(net, w, x)


def test_tokens_and_complex_weights() -> None:
    torch.manual_seed(0)
    for module, x in (
        (Tokens().double(), torch.arange(12).reshape(4, 3) % 7),
        (Fourier().double(), points(4, 4)),
    ):
        net, w = networks.from_module(module)
        want = by_backward(module, x)
        torch.testing.assert_close(kernels.ntk(net, w, x), want)
        trace = torch.einsum("nmcc->nm", want)
        torch.testing.assert_close(kernels.trace_ntk(module, x), trace)
    net, w = networks.from_module(nn.Linear(3, 1).double())
    with pytest.raises(ValueError, match="x of shape"):
        kernels.ntk(net, w, torch.ones(2, 3, dtype=torch.int64))


def test_wrapped_modules_are_those_inside() -> None:
    torch.manual_seed(0)
    module, x = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), points(4, 4)
    want = by_backward(module.double(), x)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    for wrapped in (
        nn.DataParallel(module),
        torch.compile(module, backend="eager"),
        torch.jit.script(module),
        torch.compile(nn.DataParallel(module), backend="eager"),
    ):
        net, w = networks.from_module(wrapped)  # type: ignore[arg-type]
        assert all(torch.equal(w[name], before[name]) for name in before)
        torch.testing.assert_close(kernels.ntk(net, w, x), want)
        torch.testing.assert_close(
            kernels.trace_ntk(wrapped, x),
            torch.einsum("nmcc->nm", want),  # type: ignore
        )
    state = module.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in state.items())


@pytest.mark.parametrize(
    ("module", "word"),
    [
        (nn.Sequential(nn.DataParallel(nn.Linear(4, 2))), "several devices inside"),
        (nn.Sequential(torch.jit.script(nn.Linear(4, 2))), "scripted parts"),
        (nn.Sequential(nn.LazyLinear(2)), "initialised"),
        (nn.Linear(4, 2).requires_grad_(False), "trainable"),
        (nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)), "evaluation mode"),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), "running statistics"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(module: nn.Module, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        networks.from_module(module)


@pytest.mark.parametrize(
    ("output", "error", "word"),
    [
        (lambda z: (z, z), TypeError, "one tensor of outputs"),
        (lambda z: {"logits": z}, TypeError, "one tensor of outputs"),
        (lambda z: z.to(torch.complex128), TypeError, "real floating-point"),
        (lambda z: z[:, None], ValueError, "outputs"),
        (lambda z: z.sum(), ValueError, "outputs"),
    ],
)
def test_outputs_of_other_forms_are_refused(
    output: Callable, error: type[Exception], word: str
) -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return output(self.out(x))

    net, w = networks.from_module(Other().double())
    for call in (net, lambda w, x: kernels.ntk(net, w, x)):
        with pytest.raises(error, match=word):
            call(w, points(5, 4))


@pytest.mark.parametrize("scripted", [False, True])
def test_layers_under_two_names_stay_as_they_are(scripted: bool) -> None:
    torch.manual_seed(0)
    layer, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = layer.weight
    plain = nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), other).double()
    module = torch.jit.script(plain) if scripted else plain
    x, state = points(3, 4), {k: v.clone() for k, v in plain.state_dict().items()}
    want = by_backward(plain, x)
    net, w = networks.from_module(module)
    torch.testing.assert_close(kernels.ntk(net, w, x), want)
    assert torch.equal(by_backward(plain, x), want)
    assert plain[0].weight is plain[4].weight
    assert all(torch.equal(value, state[k]) for k, value in plain.state_dict().items())


def test_weights_are_those_of_the_module() -> None:
    net, w = networks.from_module(nn.Linear(4, 2).double())
    x = points(3, 4)
    with pytest.raises(ValueError, match=r"missing \['bias'\]"):
        net({"weight": w["weight"]}, x)
    with pytest.raises(ValueError, match=r"w\['bias'\] must have shape"):
        net({**w, "bias": w["bias"][:1]}, x)


def test_a_look_at_the_module_costs_one_call_a_shape_and_mode() -> None:
    calls = []
    module = nn.Sequential(nn.Linear(4, 1)).double()
    module.register_forward_hook(lambda *_: calls.append(1))
    net, w = networks.from_module(module)
    counts = []
    for x in (points(5, 4), points(9, 4), points(9, 4).float().double()):
        calls.clear()
        net(w, x)
        counts.append(len(calls))
    assert counts[1:] == [1, 1]
    module.train(not module.training)
    calls.clear()
    net(w, x)
    assert len(calls) == counts[0] > 1


def test_flows_refuse_what_is_not_pure() -> None:
    net, w = networks.from_module(
        nn.Sequential(Of(lambda z: z - z.mean(0)), nn.Linear(2, 1)).double()
    )
    x, y = points(5, 4), torch.ones(5, dtype=F64)
    for run in (
        lambda: dynamics.gradient_flow(net, w, x, y, [0.1]),
        lambda: dynamics.momentum_flow(net, w, x, y, 1.0),
    ):
        with pytest.raises(ValueError, match="by itself"):
            run()


def test_flows_take_tokens() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(Tokens(), nn.Linear(2, 1)).double()
    net, w = networks.from_module(module)
    x = torch.arange(12).reshape(4, 3) % 7
    y = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=F64)
    flow = dynamics.momentum_flow(
        net, w, x, y, 1.0, loss="square", x_test=x[:2], max_steps=20
    )
    assert flow.F_test is not None
    torch.testing.assert_close(flow.F_test, flow.F[..., :2])
    assert bool((flow.loss.diff(dim=1) < 0).all())
