"""Does a network do what it promises? For whoever writes one."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from lazyrich.core import check as arguments
from lazyrich.core.pullback import Params, by_vjp
from lazyrich.core.tangent import layerwise_gram
from lazyrich.networks.network import Network

_SEED = 20_211_001


def check(
    net: Network,
    x: Tensor,
    w: Mapping[str, Tensor] | None = None,
    *,
    tolerance: float | None = None,
) -> None:
    """Compare everything that a network says of itself with ``torch.func``.

    Draws: equal seeds give equal parameters, of the stated shapes, and a member is the
    same alone and in an ensemble. Outputs: one or c numbers a point, each from its own
    point, and the members of an ensemble from their own parameters. Derivatives:
    ``pullback`` (twice with one ``work``, and into given memory), ``pushforward`` and
    ``tangent_factors``, if there are any. Purity: no call changes ``w`` or ``x``.

    Args:
        net: the network.
        x: some points, at least two, of the dtype to compare in.
        w: parameters of one member; by default ``net.init``, moved off the start so that
            what starts from zero counts.
        tolerance: largest difference allowed, relative to the largest value; by default
            1e4 roundings of the dtype of ``x``.

    Raises:
        AssertionError: which part is wrong, and by how much.
        TypeError, ValueError: arguments that are no network, points or parameters.

    >>> x = torch.randn(5, 3, dtype=torch.float64)
    >>> networks.check(networks.MLP((3, 8, 1), "tanh"), x)  # nothing is wrong
    """
    if not isinstance(net, Network):
        raise TypeError(f"net must be a Network, got {type(net).__name__}")
    arguments.tensor("x", x)
    if x.ndim < 2 or len(x) < 2 or not x.numel():
        raise ValueError(f"x must hold at least two points, got {tuple(x.shape)}")
    if tolerance is None:
        tolerance = 1e4 * torch.finfo(x.dtype).eps
    judge = _Judge(net, x, arguments.real("tolerance", tolerance, above=0.0))
    judge.draws()
    w = judge.moved(net.init(0, dtype=x.dtype, device=x.device)) if w is None else w
    net.check_params(w)
    for part in (judge.outputs, judge.pullback, judge.pushforward, judge.factors):
        judge.pure(part, w)
    if net.ensembles:
        judge.pure(judge.ensemble, w)


class _Judge:
    """The comparisons of ``check``, one a method."""

    def __init__(self, net: Network, x: Tensor, tolerance: float) -> None:
        self.net, self.x, self.tolerance = net, x, tolerance
        self.gen = torch.Generator().manual_seed(_SEED)

    def random(self, like: Tensor) -> Tensor:
        drawn = torch.randn(
            like.shape, generator=self.gen, dtype=torch.float64, device="cpu"
        )
        return drawn.to(like)

    def moved(self, w: Mapping[str, Tensor]) -> Params:
        """Parameters with a tenth of noise."""
        return {name: value + 0.1 * self.random(value) for name, value in w.items()}

    def same(self, part: str, got: Tensor, want: Tensor) -> None:
        """Refuse another shape, or a difference above the tolerance."""
        if got.shape != want.shape:
            shapes = f"{tuple(got.shape)}, expected {tuple(want.shape)}"
            raise AssertionError(f"{part} has shape {shapes}")
        if not bool(torch.isfinite(got).all()):
            raise AssertionError(f"{part} is not finite")
        scale = float(want.abs().max()) or 1.0
        error = float((got - want).abs().max()) / scale
        if error > self.tolerance:
            raise AssertionError(
                f"{part} is off by {error:.1e} of its largest value, more than the "
                f"tolerance {self.tolerance:.1e}"
            )

    def pure(self, part: Callable[[Params], Any], w: Mapping[str, Tensor]) -> None:
        """Run a comparison; changed parameters or inputs are told before its verdict,
        which may come from them."""
        before = {name: value.clone() for name, value in {"x": self.x, **w}.items()}
        try:
            part(dict(w))
        finally:
            for name, value in {"x": self.x, **w}.items():
                error = float((value - before[name]).abs().max())
                if error > 0:
                    raise AssertionError(
                        f"{part.__name__} changes its argument {name} by {error:.1e}"
                    )

    # ------------------------------------------------------------------ the parts

    def draws(self) -> None:
        one, again = self.net.init(1), self.net.init(1)
        shapes = {name: tuple(value.shape) for name, value in one.items()}
        if shapes != dict(self.net.shapes):
            raise AssertionError(
                f"init draws {shapes}, but shapes are {self.net.shapes}"
            )
        for name, value in one.items():
            if not torch.equal(value, again[name]):
                raise AssertionError(
                    f"init gives other values of {name} for equal seeds"
                )
        if self.net.ensembles:
            ensemble = self.net.init([2, 1])
            for name, value in one.items():
                if not torch.equal(value, ensemble[name][1]):
                    raise AssertionError(f"init depends on the ensemble at {name}")

    def outputs(self, w: Params) -> None:
        f = self.net(w, self.x)
        if f.ndim not in (1, 2) or len(f) != len(self.x):
            points = f"({len(self.x)},) or ({len(self.x)}, c)"
            raise AssertionError(f"outputs have shape {tuple(f.shape)}, not {points}")
        self.same("the output at equal arguments", self.net(w, self.x), f)
        alone = torch.cat([self.net(w, point[None]) for point in self.x])
        self.same("the output of a point in company", f, alone)

    def pullback(self, w: Params) -> None:
        work: Params = {}
        for points in (self.x, self.x.flip(0)):
            wanted, reference = by_vjp(self.net, w, points)
            f, pull = self.net.pullback(w, points, work)
            self.same("f of pullback", f, wanted)
            for out in (None, {name: torch.full_like(v, 7.0) for name, v in w.items()}):
                g = self.random(wanted)
                into = "" if out is None else " (into given memory)"
                got, want = pull(g, out), reference(g)
                got = got if out is None else out
                for name, value in want.items():
                    self.same(f"pullback{into} at {name}", got[name], value)

    def pushforward(self, w: Params) -> None:
        dw = {name: self.random(value) for name, value in w.items()}
        f, df = self.net.pushforward(w, self.x, dw)
        want, dwant, *_ = torch.func.jvp(lambda p: self.net(p, self.x), (w,), (dw,))
        self.same("f of pushforward", f, want)
        self.same("pushforward", df, dwant)

    def factors(self, w: Params) -> None:
        tangent_factors = getattr(self.net, "tangent_factors", None)
        if tangent_factors is None:
            return
        jacobian = torch.func.jacrev(lambda p: self.net(p, self.x))(w)
        f = self.net(w, self.x)
        c = 1 if f.ndim == 1 else f.shape[1]
        flat = torch.cat([j.reshape(len(self.x), c, -1) for j in jacobian.values()], -1)
        want = torch.einsum("nap,mbp->nmab", flat, flat)
        want = want[:, :, 0, 0] if c == 1 else want
        with torch.no_grad():
            got = layerwise_gram(tangent_factors(w, self.x), None, c)
        self.same("the kernel of tangent_factors", got, want)

    def ensemble(self, w: Params) -> None:
        members = [w, self.moved(w)]
        both = {name: torch.stack([m[name] for m in members]) for name in w}
        f = self.net(both, self.x)
        self.same(
            "the output of an ensemble",
            f,
            torch.stack([self.net(member, self.x) for member in members]),
        )
        g = self.random(f)
        grads = self.net.pullback(both, self.x)[1](g)
        for k, member in enumerate(members):
            for name, value in self.net.pullback(member, self.x)[1](g[k]).items():
                self.same(f"pullback of an ensemble at {name}", grads[name][k], value)
