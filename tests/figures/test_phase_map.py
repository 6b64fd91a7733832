"""Phase maps: the static view, the live view, and what is refused."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from lazyrich import figures


def png(level: int, size: tuple[int, int] = (30, 20)) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).save(packed, "PNG")
    return packed.getvalue()


def phase_map(**changes: object) -> figures.PhaseMap:
    options = {
        "frames": [png(40 * k) for k in range(6)],
        "rows": ["h = 50", "h = 150"],
        "columns": ["0.1", "<1>", "10"],
        "colours": ["red", "white", "blue"] * 2,
        "name": "width and alpha",
        "alts": [f"square {k}" for k in range(6)],
        "legend": "Red: rich.",
        **changes,
    }
    return figures.PhaseMap(**options)  # pyright: ignore[reportArgumentType]


def test_every_cell_is_a_radio_button_of_one_group() -> None:
    page = phase_map(start=4).to_html()
    cells = re.findall(r"<input [^>]*>", page)
    assert len(cells) == 6
    assert len({re.search(r'name="([^"]*)"', cell)[1] for cell in cells}) == 1  # type: ignore
    assert [" checked" in cell for cell in cells] == [k == 4 for k in range(6)]
    assert 'aria-label="h = 150, &lt;1&gt;"' in cells[4]
    assert "background:#ff0000" in cells[0]
    images = re.findall(r"<img [^>]*>", page)
    assert [" hidden" in image for image in images] == [k != 4 for k in range(6)]
    assert "https:" not in page
    assert "<script" not in page


def test_two_maps_do_not_share_a_group() -> None:
    names = [re.search(r'name="([^"]*)"', phase_map().to_html())[1] for _ in "ab"]  # type: ignore
    assert names[0] != names[1]


def test_the_live_view_chooses_row_and_column() -> None:
    view = phase_map().to_widget()
    row, column, picture = view.children
    before = picture.value
    row.value, column.value = 1, 2
    assert picture.value != before
    assert "text/html" in phase_map()._repr_mimebundle_()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": [png(0)] * 5}, "frames must be as many as cells, 6"),
        ({"colours": ["red"]}, "colours must be as many"),
        ({"alts": ["a"]}, "alts must be as many"),
        ({"labels": ["a"]}, "labels must be as many"),
        ({"rows": ["one"], "columns": ["one"]}, "2 to 60 cells, got 1"),
        ({"legend": " "}, "must not be empty"),
        ({"start": 6}, "start must be 0 to 5"),
        ({"frames": [png(0)] * 5 + [png(0, (10, 10))]}, "one size"),
    ],
)
def test_bad_input_is_named(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        phase_map(**change)
