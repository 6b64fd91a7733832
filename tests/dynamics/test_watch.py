"""What flows share: the watch, one meaning of zero, ensembles, and the table they give."""

import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from lazyrich.core.pullback import has_member_axis
from lazyrich.dynamics import (
    Status,
    StepRule,
    Trajectory,
    Watch,
    frozen_flow,
    gradient_flow,
    hinge_flow,
    hinge_path,
    impulse_flow,
    kernel_flow,
    momentum_flow,
    stochastic_flow,
)
from lazyrich.dynamics.member import Member
from lazyrich.kernels import kernel_change, ntk
from lazyrich.networks import MLP, DeepLinear, FullyConnected, ReluNetwork, Shallow

F64 = torch.float64


def problem(n: int = 6, d: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(1)
    x = torch.randn(n, d, generator=gen, dtype=F64)
    return x, torch.where(x[:, 0] > 0, 1.0, -1.0).double()


X, Y = problem()
NET = FullyConnected(3, 12, 2)
K = ntk(NET, NET.init(0), X)


def same(a: Trajectory, b: Trajectory) -> None:
    """Equal to the last bit."""
    for name in (each.name for each in fields(Trajectory)):
        one, other = getattr(a, name), getattr(b, name)
        if isinstance(one, torch.Tensor | dict) and name != "settings":
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
        elif name in ("status", "reason", "levels"):
            assert one == other


# ------------------------------------------------------------------ watch

FLOWS = {
    "momentum_flow": lambda **o: momentum_flow(NET, NET.init(0), X, Y, 1.0, **o),
    "impulse_flow": lambda **o: impulse_flow(NET, NET.init(0), X, Y, 1.0, **o),
    "hinge_flow": lambda **o: hinge_flow(NET, NET.init(0), X, Y, 1.0, **o),
    "frozen_flow": lambda **o: frozen_flow(K, Y, **o),
    "hinge_path": lambda **o: hinge_path(K, Y, **o),
}


@pytest.mark.parametrize("name", FLOWS)
def test_a_watch_and_its_keywords_are_one(name: str) -> None:
    options = {"stop_loss": 0.2, "levels": (0.7, 0.3), "records_per_decade": 3.0}
    by_keywords = FLOWS[name](**options)
    same(FLOWS[name](watch=Watch(**options)), by_keywords)
    # keywords go before the fields of the watch
    mixed = FLOWS[name](watch=Watch(**{**options, "stop_loss": 0.9}), stop_loss=0.2)
    same(mixed, by_keywords)
    assert by_keywords.settings["stop_loss"] == 0.2
    assert by_keywords.settings["reduction"] == "mean"


@pytest.mark.parametrize("name", [*FLOWS, "stochastic_flow"])
def test_unknown_keywords_are_named(name: str) -> None:
    flows = FLOWS | {
        "stochastic_flow": lambda **o: stochastic_flow(
            NET, NET.init(0), X, Y, 1.0, T=0.0, **o
        )
    }
    with pytest.raises(TypeError, match=f"{name} has no keyword 'stop_los'.*stop_loss"):
        flows[name](stop_los=0.1)
    with pytest.raises(ValueError, match="stop_loss must be"):
        flows[name](stop_loss=2.0)
    with pytest.raises(TypeError, match="watch must be a Watch, got dict"):
        flows[name](watch={"stop_loss": 0.1})


def test_what_a_flow_cannot_follow_is_refused() -> None:
    with pytest.raises(TypeError, match="hinge_path has no keyword 'observe'"):
        hinge_path(K, Y, observe={})
    with pytest.raises(TypeError, match="watch.x_test is nothing that frozen_flow"):
        frozen_flow(K, Y, watch=Watch(x_test=X))
    with pytest.raises(TypeError, match="observe must map names to probes"):
        Watch(observe=print)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="levels must be"):
        Watch(levels=[0.5, 2.0])
    with pytest.raises(TypeError, match="checkpoint_every must be an integer"):
        Watch(checkpoint_every=1.5)  # type: ignore[arg-type]


def test_hinge_flow_keeps_its_state_as_often_as_it_is_told() -> None:
    class Count:
        saves = 0

        def load(self) -> None:
            return None

        def save(self, state: object) -> None:
            self.saves += 1

    seldom, often = Count(), Count()
    for store, every in ((seldom, 40), (often, 1)):
        flow = hinge_flow(
            NET, NET.init(0), X, Y, 1.0, checkpoint=store, checkpoint_every=every
        )
    assert often.saves >= 10 * max(seldom.saves, 1)
    assert flow.settings["integrator"] == ("impulse",)
    alone = impulse_flow(NET, NET.init(0), X, Y, 1.0)
    assert alone.settings["integrator"] == flow.settings["integrator"]


# ------------------------------------------------------------------ one booking


def test_zero_is_a_trillionth_of_the_start() -> None:
    for share, zero in ((0.9e-12, True), (1.1e-12, False), (0.0, True)):
        member = Member(0)
        member.begin(2.0, Watch())
        member.book(3.0, 3.0, 2.0 * share, Watch())
        assert (member.status == Status.FITTED) is zero
        assert math.isnan(member.t_zero) is not zero


def test_levels_are_crossed_on_a_straight_line() -> None:
    watch = Watch(levels=(1.0, 0.5, 0.25, 0.1), stop_loss=0.2)
    member = Member(0)
    member.begin(4.0, watch)
    member.book(1.0, 1.0, 3.0, watch)
    member.book(2.0, 1.0, 0.8, watch, crossing=None)
    crossed = [1.0 + (3 - 2) / 2.2, 1.0 + (3 - 1) / 2.2]
    assert member.t_level[0] == 0.0
    np.testing.assert_allclose(member.t_level[1:3], crossed, rtol=1e-14)
    assert math.isnan(member.t_level[3])
    assert member.status == Status.FITTED


def test_a_level_where_the_flow_stops_has_a_time() -> None:
    """The path ends a step where the loss meets the level, and misses it by rounding."""
    for seed in range(30):
        kernel = ntk(NET, NET.init(seed), X)
        flow = hinge_path(kernel, Y, stop_loss=0.1)
        assert float(flow.time_to(0.1)) == pytest.approx(float(flow.t_end), rel=1e-11)


def test_without_a_loss_to_stop_at_a_flow_goes_on() -> None:
    for flow in (momentum_flow, impulse_flow):
        found = flow(NET, NET.init(0), X, Y, 1.0, stop_loss=None, max_time=1e3)
        assert found.status == (Status.TRUNCATED,)
        assert float(found.t_end) == pytest.approx(1e3)
        assert float(found.t_zero) < 100.0


# ------------------------------------------------------------------ observe


def test_a_probe_means_the_same_in_every_flow() -> None:
    observe = {"kernel": kernel_change(X)}
    w = NET.init(0)
    descent = stochastic_flow(
        NET, w, X, Y, 1.0, dt=1e-3, batch=6, max_steps=400, check_every=400,
        stop_loss=None, observe=observe, levels=(0.9,),
    )  # fmt: skip
    flow = momentum_flow(
        NET, w, X, Y, 1.0, mu=None, tau=0.0, max_time=0.4, observe=observe,
        rule=StepRule(1e-3, 1e-3),
    )  # fmt: skip
    assert descent.observed["kernel"].shape == descent.t.shape == (2,)
    assert float(descent.observed["kernel"][0]) == 0.0
    end = float(flow.end("kernel")[0])
    assert float(descent.observed["kernel"][-1]) == pytest.approx(end, rel=2e-2)


def test_a_rule_for_weights_is_refused_at_fixed_temperature() -> None:
    with pytest.raises(ValueError, match="max_weight_change must be math.inf"):
        stochastic_flow(NET, NET.init(0), X, Y, 1.0, T=0.1, rule=StepRule())


# ------------------------------------------------------------------ ensembles

NETWORKS = {
    "fully_connected": FullyConnected(3, 8, 2),
    "mlp": MLP((3, 6, 1), "tanh"),
    "deep_linear": DeepLinear((3, 5, 1)),
    "relu": ReluNetwork(3, (8, 8)),
    "shallow": Shallow(3, 8),
}
WEIGHT_FLOWS = {
    "momentum": lambda *a, **o: momentum_flow(*a, **o),
    "impulse": lambda *a, **o: impulse_flow(*a, kernel=ntk, **o),
    "auto": lambda *a, **o: hinge_flow(*a, kernel=ntk, **o),
}


@pytest.mark.parametrize("flow", WEIGHT_FLOWS)
@pytest.mark.parametrize("name", NETWORKS)
def test_two_members_are_as_each_is_alone(name: str, flow: str) -> None:
    net, run = NETWORKS[name], WEIGHT_FLOWS[flow]
    options = {"stop_loss": 0.5, "observe": {"kernel": kernel_change(X)}}
    w = net.init(0, members=2)
    both = run(net, w, X, Y, [0.5, 5.0], **options)
    for k, alpha in enumerate((0.5, 5.0)):
        own = {key: value[k] for key, value in w.items()}
        same(both.member(k), run(net, own, X, Y, alpha, **options).member(0))


@pytest.mark.parametrize("name", NETWORKS)
def test_two_members_advance_together(name: str) -> None:
    net = NETWORKS[name]
    assert has_member_axis(net)
    w, options = net.init(0, members=2), {"stop_loss": 0.5}
    one = momentum_flow(net, w, X, Y, [0.5, 5.0], **options)
    two = momentum_flow(net, w, X, Y, [0.5, 5.0], slots=2, **options)
    torch.testing.assert_close(two.t1, one.t1, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_ensemble_descends_as_its_members_do(name: str) -> None:
    net = NETWORKS[name]
    w, options = net.init(0, members=2), {"dt": 0.01, "batch": 6, "max_steps": 20}
    both = stochastic_flow(net, w, X, Y, 1.0, **options)
    for k in range(2):
        own = {key: value[k] for key, value in w.items()}
        alone = stochastic_flow(net, own, X, Y, 1.0, **options)
        for key, value in alone.w.items():
            torch.testing.assert_close(both.w[key][k], value, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------ trajectories


def uneven() -> Trajectory:
    """Curves of different lengths."""
    return momentum_flow(
        NET, NET.init(0, members=3), X, Y, [0.1, 1.0, 1e3], x_test=X[:2],
        observe={"kernel": kernel_change(X)}, stop_loss=0.1,
    )  # fmt: skip


def test_ends_are_the_last_records() -> None:
    flow = uneven()
    assert bool(flow.t.isnan().any())
    assert torch.equal(flow.end("loss"), flow.loss_end)
    assert torch.equal(flow.end("t"), flow.t_end)
    for k in range(3):
        last = int((~flow.t[k].isnan()).sum()) - 1
        assert torch.equal(flow.end("kernel")[k], flow.observed["kernel"][k, last])
        assert flow.F_test is not None
        assert torch.equal(flow.end("F_test")[k], flow.F_test[k, last])
    with pytest.raises(ValueError, match="curve must be one of"):
        flow.end("losses")


def test_a_member_is_cut_to_its_own_length() -> None:
    flow = uneven()
    for k in range(3):
        one = flow.member(k)
        assert not bool(one.t.isnan().any())
        assert one.alpha.tolist() == [float(flow.alpha[k])]
        assert one.status == (flow.status[k],)
        assert torch.equal(one.w["W0"][0], flow.w["W0"][k])
        assert torch.equal(one.end("F"), flow.end("F")[k : k + 1])
    with pytest.raises(IndexError, match="k must be 0 to 2"):
        flow.member(3)


def test_a_table_holds_the_flow() -> None:
    flow = uneven()
    table = flow.to_dataset()
    assert dict(table.sizes) == {
        "member": 3, "record": flow.t.shape[1], "example": 6, "test_example": 2,
        "level": 5,
    }  # fmt: skip
    assert table["status"].values.tolist() == [s.value for s in flow.status]
    for name in ("t", "loss", "F", "F_test", "weight_change", "t1", "t2", "tries"):
        np.testing.assert_array_equal(table[name].values, getattr(flow, name).numpy())
    np.testing.assert_array_equal(table["kernel"].values, flow.observed["kernel"])
    assert table.sel(level=0.5)["t_level"].values.tolist() == flow.t1.tolist()
    assert table["alpha"].values.tolist() == flow.alpha.tolist()
    assert table.attrs["reduction"] == "mean"


# ------------------------------------------------------------------ reductions


def test_mean_and_sum_differ_by_the_number_of_examples() -> None:
    w = NET.init(0)
    total = gradient_flow(NET, w, X, Y, [0.0, 0.5])
    mean = gradient_flow(NET, w, X, Y, [0.0, 3.0], reduction="mean")
    torch.testing.assert_close(total.f, mean.f, rtol=1e-7, atol=1e-9)
    assert (total.settings["reduction"], mean.settings["reduction"]) == ("sum", "mean")
    total = kernel_flow(K, Y, [0.0, 0.5])
    mean = kernel_flow(K, Y, [0.0, 3.0], reduction="mean")
    torch.testing.assert_close(total.f, mean.f, rtol=1e-8, atol=1e-10)
    frozen = frozen_flow(
        K, Y, loss="square", mu=None, tau=0.0, max_time=3.0, rule=StepRule(1e-3)
    )
    assert frozen.settings["reduction"] == mean.settings["reduction"]
    torch.testing.assert_close(frozen.end("F")[0], mean.f[-1], rtol=0, atol=2e-3)
    with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum'"):
        kernel_flow(K, Y, [1.0], reduction="median")  # type: ignore[arg-type]
