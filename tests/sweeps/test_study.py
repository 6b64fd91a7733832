"""Grids, chunks and the registry."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazyrich import sweeps
from lazyrich.sweeps import study as studies
from lazyrich.sweeps.store import Store


def nothing(chunk, checkpoint):
    raise NotImplementedError


def build(grid, chunk_axes=(), **fields):
    given = {
        "name": "some",
        "title": "title",
        "version": 1,
        "scales": {"laptop": sweeps.Scale(grid)},
        "measure": nothing,
        "chunk_axes": chunk_axes,
        "cost": lambda member, scale: 1.0,
    }
    return sweeps.Study(**(given | fields))


def test_members_run_through_the_grid_last_axis_fastest():
    scale = sweeps.Scale({"h": (10, 30), "seed": (0, 1)})
    assert scale.members() == [
        {"h": 10, "seed": 0},
        {"h": 10, "seed": 1},
        {"h": 30, "seed": 0},
        {"h": 30, "seed": 1},
    ]
    assert len(scale) == 4
    assert scale.shape == {"h": 2, "seed": 2}


def test_axis_values_become_plain_and_of_one_kind():
    scale = sweeps.Scale(
        {"alpha": tuple(np.array([0.5, 2.0])), "h": (1, 2.5), "on": (True, False)},
        {"n": np.int64(7), "nested": {"tuple": (1, 2)}},
    )
    assert scale.grid == {"alpha": (0.5, 2.0), "h": (1.0, 2.5), "on": (True, False)}
    kinds = [type(v) for values in scale.grid.values() for v in values]
    assert kinds == [float] * 4 + [bool] * 2
    assert scale.settings == {"n": 7, "nested": {"tuple": [1, 2]}}


@pytest.mark.parametrize(
    ("grid", "settings", "error", "words"),
    [
        ({}, {}, ValueError, "at least one axis"),
        ({"h": ()}, {}, ValueError, "'h' must have at least one value"),
        ({"h": (1, 1)}, {}, ValueError, "distinct"),
        ({"h": (1.0, float("nan"))}, {}, ValueError, "distinct"),
        ({"h": (1, "a")}, {}, TypeError, "numbers, strings or booleans"),
        ({"h": (None,)}, {}, TypeError, "NoneType"),
        ({"h": "ab"}, {}, TypeError, "tuple of values"),
        ({"member": (1,)}, {}, ValueError, "identifiers other than"),
        ({"two words": (1,)}, {}, ValueError, "identifiers"),
        ({"h": (1,)}, {"h": 2}, ValueError, "must not repeat"),
        ({"h": (1,)}, {"f": nothing}, TypeError, "settings must be JSON"),
    ],
)
def test_a_malformed_scale_is_refused(grid, settings, error, words):
    with pytest.raises(error, match=words):
        sweeps.Scale(grid, settings)


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"name": "a b"}, ValueError, "name must be letters"),
        ({"name": "../up"}, ValueError, "name must be letters"),
        ({"version": 0}, ValueError, "version must be a positive integer"),
        ({"version": 1.0}, ValueError, "version must be a positive integer"),
        ({"scales": {}}, ValueError, "scales of study 'some'"),
        ({"chunk_axes": ("alpha",)}, ValueError, "chunk_axes must be axes"),
        ({"chunk_axes": "h"}, TypeError, "tuple of names"),
        ({"measure": 3}, TypeError, "measure must be callable"),
    ],
)
def test_a_malformed_study_is_refused(fields, error, words):
    with pytest.raises(error, match=words):
        build({"h": (1,)}, **fields)


def test_unknown_scale_names_the_known_ones():
    with pytest.raises(ValueError, match=r"one of \['laptop'\], got 'huge'"):
        build({"h": (1,)}).scale("huge")


@given(
    h=st.integers(1, 4),
    alpha=st.integers(1, 5),
    seed=st.integers(1, 5),
    size=st.integers(1, 7),
    shared=st.sets(st.sampled_from(["h", "alpha", "seed"])),
    left_out=st.sets(st.integers(0, 99)),
)
def test_chunks_partition_the_grid(h, alpha, seed, size, shared, left_out):
    study = build(
        {
            "h": tuple(range(h)),
            "alpha": tuple(range(alpha)),
            "seed": tuple(range(seed)),
        },
        tuple(sorted(shared)),
        chunk_size={"cpu": size},
        cost=lambda member, scale: 1.0 + member["h"] * 10.0,
    )
    grid = study.scale("laptop").members()
    chunks = study.chunks("laptop")
    assert sorted(tuple(m.values()) for c in chunks for m in c.members) == sorted(
        tuple(m.values()) for m in grid
    )
    for chunk in chunks:
        assert 1 <= len(chunk) <= size
        for axis in {"h", "alpha", "seed"} - shared:
            assert len(set(chunk.axis(axis).tolist())) == 1
    costs = [study.estimate_seconds("laptop", chunk.members) for chunk in chunks]
    assert costs == sorted(costs, reverse=True)

    # What is left out leaves the other cuts where they were.
    missing = [m for i, m in enumerate(grid) if i not in left_out]
    fewer = study.chunks("laptop", wanted=lambda member: member in missing)
    whole = [set(map(str, chunk.members)) for chunk in chunks]
    for chunk in fewer:
        assert sum(set(map(str, chunk.members)) <= other for other in whole) == 1
    assert sum(map(len, fewer)) == len(missing)


def test_chunk_size_depends_on_the_device_and_may_be_a_function():
    grid = {"h": (10, 100), "seed": tuple(range(64))}
    study = build(grid, ("seed",))
    assert {len(c) for c in study.chunks("laptop", "cpu")} == {4}
    assert {len(c) for c in study.chunks("laptop", "cuda")} == {64}
    by_width = build(
        grid, ("seed",), chunk_size=lambda member, scale, device: 640 // member["h"]
    )
    assert sorted(len(c) for c in by_width.chunks("laptop")) == [4] + [6] * 10 + [64]
    with pytest.raises(
        ValueError, match="chunk_size must be a positive integer, got 0"
    ):
        build(grid, chunk_size={"cpu": 0}).chunks("laptop")
    with pytest.raises(ValueError, match="must cover device 'cuda'"):
        build(grid, chunk_size={"cpu": 1}).chunks("laptop", "cuda")


def test_a_chunk_tells_shared_values_from_varying_ones():
    (chunk,) = build({"h": (10,), "seed": (0, 1)}, ("seed",)).chunks("laptop")
    assert chunk.shared("h") == 10
    assert chunk.axis("seed").tolist() == [0, 1]
    assert chunk.label == "some[h=10; seed=0, 1; 2 members]"
    with pytest.raises(ValueError, match="differ on axis 'seed'"):
        chunk.shared("seed")
    with pytest.raises(ValueError, match="axis must be one of"):
        chunk.axis("alpha")


def test_the_registry_finds_studies_and_refuses_impostors(monkeypatch):
    monkeypatch.setattr(studies, "_studies", {})
    study = build({"h": (1,)})
    assert sweeps.register(study) is study
    assert sweeps.find("some") is study
    assert sweeps.registered() == {"some": study}
    again = dataclasses.replace(study, title="reloaded")
    assert sweeps.register(again) is sweeps.find("some")
    other = dataclasses.replace(study, measure=test_unknown_scale_names_the_known_ones)
    with pytest.raises(ValueError, match="name 'some' must be unique"):
        sweeps.register(other)
    with pytest.raises(ValueError, match=r"one of \['some'\], got 'none'"):
        sweeps.find("none")


# ------------------------------------------------------------------ settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes(sweeps.Settings):
    n_train: int
    mu: float | None
    h: int | None = sweeps.left_open()


def test_settings_are_stored_as_the_mapping_that_they_are(tmp_path):
    """A field that is left open is not there; ``None`` elsewhere is a value."""
    typed, plain = Sizes(n_train=5, mu=None), {"n_train": 5, "mu": None}
    assert dict(typed) == plain
    assert dict(dataclasses.replace(typed, h=3)) == {**plain, "h": 3}
    assert Sizes.of(plain) == typed
    assert Sizes.of(typed) is typed
    grid = {"seed": (0, 1)}
    stores = [
        Store(build(grid, scales={"laptop": sweeps.Scale(grid, s)}), "laptop", tmp_path)
        for s in (typed, plain, dataclasses.replace(typed, h=3))
    ]
    assert stores[0].spec == stores[1].spec != stores[2].spec
    with pytest.raises(ValueError, match="must not repeat a grid axis, got 'h'"):
        sweeps.Scale({"h": (1,)}, dataclasses.replace(typed, h=3))
    with pytest.raises(TypeError, match="width"):
        Sizes.of({**plain, "width": 3})
    with pytest.raises(ValueError, match="settings must have h"):
        typed.need("h")
    with pytest.raises(KeyError):
        typed["h"]


def test_an_axis_fills_what_the_settings_leave_open():
    def chunk(settings, *widths):
        members = tuple({"h": h, "mu": 7.0} for h in widths)
        return sweeps.Chunk("some", 1, settings, members)

    typed = Sizes(n_train=5, mu=1.0)
    assert chunk(typed, 3, 3).typed(Sizes) == Sizes(n_train=5, mu=1.0, h=3)
    assert chunk(dict(typed), 3).typed(Sizes).h == 3
    # members that differ leave it open, and what is set stays
    assert chunk(typed, 3, 4).typed(Sizes).h is None
    assert chunk(dataclasses.replace(typed, h=9), 3).typed(Sizes).h == 9
