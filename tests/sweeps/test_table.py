"""Tables: checking, packing, merging."""

import io
import json

import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lazyrich import sweeps
from lazyrich.sweeps import netcdf
from lazyrich.sweeps import table as tables


def chunk_of(*members):
    return sweeps.Chunk("some", 1, {}, tuple(members))


def table_of(h, seeds, **variables):
    chunk = chunk_of(*({"h": h, "seed": seed} for seed in seeds))
    return tables.check(xr.Dataset(variables), chunk)


PAIR = chunk_of({"h": 1, "seed": 0}, {"h": 1, "seed": 1})


@pytest.mark.parametrize(
    ("table", "error", "words"),
    [
        ({"a": 1}, TypeError, "must return an xarray.Dataset, got dict"),
        (xr.Dataset({"a": ("member", [1.0])}), ValueError, "'member' of length 2"),
        (xr.Dataset({"a": ("x", [1.0, 2.0])}), ValueError, "'member' of length 2"),
        (
            xr.Dataset({"a": ("member", [1j, 2j])}),
            TypeError,
            "real and imaginary parts",
        ),
        (
            xr.Dataset({"a": ("member", np.array([1, "b"], object))}),
            TypeError,
            "'a' must hold numbers or strings",
        ),
        (xr.Dataset({"seed": ("member", [1, 0])}), ValueError, "'seed' differs"),
        (
            xr.Dataset({"a": (("member", "h"), np.ones((2, 2)))}),
            ValueError,
            "'h' of the table is an axis",
        ),
        (
            xr.Dataset({"a": ("member", [1, 2]), "status": ("member", [0, 1])}),
            TypeError,
            "flag_values",
        ),
        (
            xr.Dataset({"a": ("member", [1, 2]), "status": "fine"}),
            ValueError,
            "status must lie along 'member'",
        ),
    ],
)
def test_a_wrong_table_is_refused(table, error, words):
    with pytest.raises(error, match=words):
        tables.check(table, PAIR)


@settings(max_examples=25, deadline=None)
@given(
    st.data(),
    st.sampled_from([np.float64, np.float32, np.int64, np.int8, np.uint16, bool]),
)
def test_packing_keeps_every_bit(data, dtype):
    shape = (2, *data.draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0)))
    values = data.draw(hnp.arrays(dtype, shape))
    dims = ("member", "a", "b")[: len(shape)]
    word = data.draw(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
    )
    table = tables.check(
        xr.Dataset({"x": (dims, values), "word": ("member", ["", word])}), PAIR
    )
    back = netcdf.unpack(netcdf.pack(table)).to_xarray()
    assert back["x"].dtype == values.dtype
    assert back["x"].values.tobytes() == values.tobytes()
    assert back["word"].values.tolist() == ["", word]
    assert tables.members_of(back, ["h", "seed"]) == list(PAIR.members)


def test_large_arrays_carry_checksums():
    table = tables.check(
        xr.Dataset(
            {
                "x": ("member", [1.0, 2.0]),
                "curve": (("member", "step"), np.ones((2, 1000), np.float32)),
                "word": (("member", "line"), np.full((2, 400), "fitted")),
            },
            coords={"step": np.arange(1000)},
        ),
        PAIR,
    )
    with h5py.File(io.BytesIO(netcdf.pack(table))) as file:
        covered = {name for name, item in file.items() if item.fletcher32}
    assert covered == {"curve", "word", "step"}


ODD = [
    {"optimizer": None},
    {"nesterov": True, "on": np.bool_(False)},
    {"config": {"lr": 0.1, "steps": [1, 2]}},
    {"tags": []},
    {"big": 2**70, "small": 1e-300, "whole": 7},
    {"empty": "", "letters": "αβ 漢字"},
]


@pytest.mark.parametrize("attrs", ODD)
def test_what_is_noted_comes_back_as_it_was(attrs):
    table = xr.Dataset({"v": ("member", [1.0, 2.0], attrs)}, attrs=attrs)
    back = netcdf.unpack(netcdf.pack(tables.check(table, PAIR)))
    assert back.attrs == attrs
    assert back["v"].attrs == attrs


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"v": ("member", [1.0, 2.0], {"scale_factor": 0.5})}, "variable 'v'"),
        ({"v": ("member", [1.0, 2.0], {"_FillValue": 1.0})}, "'_FillValue'"),
        ({"v": ("member", [1, 2], {"units": "days since 2000-01-01"})}, "'units'"),
        ({"v": ("member", [1.0, 2.0], {"x": object()})}, "'x' of variable 'v'"),
        ({"v": ("member", [1.0, 2.0], {"a/b": 1})}, "'a/b'"),
        ({"loss/train": ("member", [1.0, 2.0])}, "'loss/train'"),
        ({"v": ("member", np.ones(2, np.longdouble))}, "'v' must be float64"),
        ({"v": ("member", np.array(["2000", "2001"], "M8[ns]"))}, "'v' must hold"),
    ],
)
def test_what_netcdf_would_read_otherwise_is_refused_by_name(table, words):
    with pytest.raises((TypeError, ValueError), match=words):
        tables.check(xr.Dataset(table), PAIR)


def test_half_precision_and_foreign_byte_order_keep_their_values():
    values = np.array([0.1, 65504.0], np.float16)
    table = tables.check(
        xr.Dataset({"h": ("x", values), "b": ("member", values.astype(">f8"))}).rename(
            h="half"
        ),
        PAIR,
    )
    back = netcdf.unpack(netcdf.pack(table))
    assert back["half"].values.dtype == np.float32
    assert np.array_equal(back["half"].values, values)
    assert np.array_equal(back["b"].values, values)


def test_text_that_ends_in_nul_is_refused():
    words = np.array(["a", "b\0"], dtype=object)
    with pytest.raises(ValueError, match="'s' must not hold text that ends in NUL"):
        tables.check(xr.Dataset({"s": ("member", words)}), PAIR)


def test_foreign_bytes_are_no_table():
    for content in (b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        with pytest.raises(ValueError, match="not a readable NetCDF4 file"):
            netcdf.unpack(content)


GRID = sweeps.Scale({"h": (1, 2), "seed": (0, 1, 2)})


def test_merging_fills_gaps_and_short_curves_with_nan():
    long = table_of(
        2,
        (2, 0),
        curve=(("member", "time"), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        n=("member", [5, 6]),
        status=("member", ["fitted", "truncated: budget"]),
    )
    short = table_of(
        1, (1,), curve=(("time", "member"), [[7.0], [8.0]]), word=("member", ["ok"])
    )
    merged = tables.merge([long, short], GRID)
    assert merged["curve"].dims == ("h", "seed", "time")
    expected = np.full((2, 3, 3), np.nan)
    expected[1, 2], expected[1, 0], expected[0, 1, :2] = [1, 2, 3], [4, 5, 6], [7, 8]
    np.testing.assert_array_equal(merged["curve"], expected)
    np.testing.assert_array_equal(merged["n"], [[np.nan] * 3, [6.0, np.nan, 5.0]])
    assert merged["word"].values.tolist() == [["", "ok", ""], ["", "", ""]]
    assert merged["status"].values.tolist() == [
        ["missing", "done", "missing"],
        ["truncated: budget", "missing", "fitted"],
    ]
    assert merged["h"].values.tolist() == [1, 2]


def test_a_complete_grid_keeps_integers_and_flags():
    flags = {"flag_values": np.array([0, 3], np.int8), "flag_meanings": "fitted late"}
    both = [
        table_of(
            h,
            (0, 1, 2),
            n=("member", np.array([h, h, h], np.int16), {"units": "steps"}),
            on=("member", [True, False, True]),
            status=("member", np.array([0, 3, 0], np.int8), flags),
        )
        for h in (1, 2)
    ]
    merged = tables.merge([netcdf.unpack(netcdf.pack(t)) for t in both], GRID)
    assert merged["n"].dtype == np.int16
    assert merged["n"].attrs == {"units": "steps"}
    assert merged["on"].dtype == bool
    assert merged["status"].values.tolist() == [["fitted", "late", "fitted"]] * 2


def test_the_first_table_wins_a_member_and_strangers_are_ignored():
    first = table_of(1, (0,), x=("member", [1.0]))
    second = table_of(1, (0, 1), x=("member", [-1.0, 2.0]))
    outside = table_of(9, (0,), x=("member", [9.0]))
    merged = tables.merge([outside, first, second], GRID)
    np.testing.assert_array_equal(merged["x"], [[1, 2, np.nan], [np.nan] * 3])


def labelled(h, labels):
    table = table_of(h, (0,), x=(("member", "t"), [[10.0 * t for t in labels]]))
    return table.assign_coords(t=list(labels))


@pytest.mark.parametrize(
    ("one", "two", "joined"),
    [
        ((1, 2, 4), (1, 2), [1, 2, 4]),
        ((4, 2, 1), (4, 2, 1, 8), [4, 2, 1, 8]),
        ((1, 4), (2, 4, 8), [1, 2, 4, 8]),
    ],
)
def test_labels_align_by_position_or_else_by_value(one, two, joined):
    merged = tables.merge([labelled(1, one), labelled(2, two)], GRID)
    assert merged["t"].values.tolist() == joined
    for h, labels in ((1, one), (2, two)):
        row = merged["x"].sel(h=h, seed=0)
        for t in joined:
            expected = 10.0 * t if t in labels else np.nan
            np.testing.assert_array_equal(row.sel(t=t), expected)


def test_what_all_chunks_share_is_kept_once_and_must_agree():
    one = table_of(1, (0,), x=("member", [1.0]), target=("point", [1.0, -1.0]))
    two = table_of(2, (0,), x=("member", [2.0]), target=("point", [1.0, -1.0]))
    merged = tables.merge([one, two], GRID)
    assert merged["target"].dims == ("point",)
    two["target"][0] = 5.0
    with pytest.raises(ValueError, match="'target' has no dimension 'member'"):
        tables.merge([one, two], GRID)


def test_an_empty_store_merges_to_a_grid_of_missing_members():
    merged = tables.merge([], GRID)
    assert dict(merged.sizes) == {"h": 2, "seed": 3}
    assert (merged["status"] == "missing").all()


def test_provenance_lists_what_differs():
    one = xr.Dataset(attrs={"device": "cpu", "seconds": 1.0, "date": "2024", "n": [1]})
    two = xr.Dataset(attrs={"device": "cuda", "seconds": 2.5, "date": "2025", "n": [1]})
    assert tables.provenance([one, two, one]) == {
        "device": ["cpu", "cuda"],
        "seconds": 4.5,
        "date": "2025",
        "n": [1],
    }


def test_reading_agrees_with_the_general_netcdf_reader():
    table = tables.check(
        xr.Dataset(
            {
                "x": ("member", [1.0, np.nan], {"units": "s", "flags": [1, 2]}),
                "curve": (("step", "member"), np.ones((3, 2), np.float32)),
                "empty": (("member", "none"), np.ones((2, 0))),
                "status": ("member", ["fitted", "übel"]),
                "on": ("member", [True, False]),
                "scalar": 3,
                "word": "text",
            },
            coords={"step": [0.5, 1.0, 2.0], "name": ("step", ["a", "bc", ""])},
            attrs={"note": "ü", "list": [1, 2], "none": None, "map": {"a": [True]}},
        ),
        PAIR,
    )
    content = netcdf.pack(table)
    ours = netcdf.unpack(content).to_xarray()
    with xr.open_dataset(io.BytesIO(content), engine="h5netcdf") as theirs:
        own = {"layout", "json_attributes"}  # for our reader alone
        assert own <= theirs.attrs.keys()
        assert json.loads(theirs.attrs["map"]) == {"a": [True]}
        for name in (*own, "map", "none"):
            theirs.attrs.pop(name)
            ours.attrs.pop(name, None)
        xr.testing.assert_identical(ours, theirs.load())
        for name, item in theirs.variables.items():
            assert item.dtype.kind == "O" or item.dtype == ours[name].dtype
    few = netcdf.unpack(content, {"h", "seed", "status"})
    assert set(few.variables) == {"h", "seed", "status"}
    assert few["status"].values.tolist() == ["fitted", "übel"]
