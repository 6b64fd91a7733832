"""Checkpoints come back equal, or not at all."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyrich.sweeps import Checkpoint
from lazyrich.sweeps.checkpoint import _decode, _encode

STATE = {
    "w": {"W1": torch.randn(3, 4, dtype=torch.float64), "b1": torch.zeros(0)},
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(2.5),
    "rng": torch.Generator().manual_seed(3).get_state(),
    "array": np.arange(6, dtype=np.int16).reshape(2, 3),
    "words": np.array(["fitted", "ünder way"]),
    "bytes": b"\0\xff",
    "step": 7,
    "t": 0.1,
    "end": math.inf,
    "why": None,
    "nested": {"deep": {"list": [1, "a", True]}, "empty": {}},
    "a0": "a name that could clash",
    "file": np.float32(1.5),
}


def same(one, two):
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == two.dtype and np.array_equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[k], two[k]) for k in one)
    return type(one) is type(two) and one == two


def test_a_state_comes_back_equal(tmp_path):
    Checkpoint(tmp_path / "c").save(STATE)
    back = Checkpoint(tmp_path / "c").load()
    assert back is not None
    assert same(STATE, back)
    back["w"]["W1"] += 1  # what came back can be worked on
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(
    st.recursive(
        st.dictionaries(st.text(max_size=4), json_values | st.binary(), max_size=3),
        lambda inside: st.dictionaries(st.text(max_size=4), inside, max_size=3),
        max_leaves=5,
    )
)
def test_any_nesting_comes_back_equal(state):
    assert same(state, _decode(_encode(state)))


def test_the_last_save_wins_and_clear_forgets(tmp_path):
    checkpoint = Checkpoint(tmp_path / "c")
    assert checkpoint.load() is None
    checkpoint.save({"step": 1})
    checkpoint.save({"step": 2})
    assert checkpoint.load() == {"step": 2}
    checkpoint.clear()
    assert checkpoint.load() is None
    checkpoint.clear()


def test_without_a_path_nothing_is_kept(tmp_path):
    checkpoint = Checkpoint()
    checkpoint.save({"step": 1})
    assert checkpoint.load() is None


def test_due_counts_from_the_last_save(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("lazyrich.sweeps.checkpoint.time.monotonic", lambda: now[0])
    checkpoint = Checkpoint()
    assert not checkpoint.due(30)
    now[0] += 30
    assert checkpoint.due(30)
    checkpoint.save({})
    assert not checkpoint.due(30)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"a": {"b": object()}}, "a/b must be a tensor"),
        ({"a": np.array([object()])}, "a must not be an array of objects"),
        ({1: 2}, "names must be strings, got 1"),
    ],
)
def test_what_cannot_be_kept_is_named(state, words, tmp_path):
    checkpoint = Checkpoint(tmp_path / "c")
    checkpoint.save({"step": 1})
    with pytest.raises(TypeError, match=words):
        checkpoint.save(state)
    assert checkpoint.load() == {"step": 1}


def test_any_flipped_byte_or_cut_is_noticed(tmp_path):
    path = tmp_path / "c"
    Checkpoint(path).save({"step": 1, "x": torch.ones(2)})
    sound = path.read_bytes()
    broken = [sound[:n] for n in range(0, len(sound), 13)]
    for at in range(len(sound)):
        flipped = bytearray(sound)
        flipped[at] ^= 1 << at % 8
        broken.append(bytes(flipped))
    for content in broken:
        path.write_bytes(content)
        with pytest.warns(RuntimeWarning, match="damaged; its chunk starts afresh"):
            assert Checkpoint(path).load() is None
        assert not path.exists()


def test_a_state_of_something_else_is_not_resumed(tmp_path):
    Checkpoint(tmp_path / "c", "one chunk").save({"step": 1})
    assert Checkpoint(tmp_path / "c", "one chunk").load() == {"step": 1}
    with pytest.warns(RuntimeWarning, match="of something else; its chunk starts"):
        assert Checkpoint(tmp_path / "c", "another").load() is None
