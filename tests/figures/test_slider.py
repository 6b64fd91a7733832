"""Sliders: the static view, the live view, and what is refused."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lazyrich import figures


def png(level: int, size: tuple[int, int] = (30, 20)) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).save(packed, "PNG")
    return packed.getvalue()


def slider(**changes: object) -> figures.Slider:
    options = {
        "frames": [png(0), png(100), png(200)],
        "labels": ["0.1", "1", "<10>"],
        "name": "alpha",
        "alt": "A grey square",
        **changes,
    }
    return figures.Slider(**options)  # pyright: ignore[reportArgumentType]


class Tags(HTMLParser):
    """All start tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def test_one_frame_is_visible_and_each_has_a_text() -> None:
    images = Tags(slider(start=1).to_html()).named("img")
    assert ["hidden" in image for image in images] == [True, False, True]
    assert [image["alt"] for image in images] == [
        "A grey square (alpha: 0.1)",
        "A grey square (alpha: 1)",
        "A grey square (alpha: <10>)",
    ]


def test_frames_are_webp_with_their_pixels() -> None:
    images = Tags(slider().to_html()).named("img")
    for level, image in zip((0, 100, 200), images, strict=True):
        kind, _, data = str(image["src"]).partition(",")
        assert kind == "data:image/webp;base64"
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert (image["width"], image["height"]) == ("30", "20")
        assert np.all(pixels[..., :3] == level)


def test_the_input_is_labelled_and_loads_nothing() -> None:
    text = slider().to_html()
    tags = Tags(text)
    (choice,) = tags.named("input")
    assert (choice["type"], choice["min"], choice["max"]) == ("range", "0", "2")
    assert tags.named("label")[0]["for"] == choice["id"]
    assert not tags.named("script")
    assert "http" not in text
    assert ">0.1</output>" in text


def test_labels_are_escaped() -> None:
    assert "<10>" not in slider(start=2).to_html()


def test_two_sliders_on_a_page_have_two_names() -> None:
    text = slider().to_html() + slider().to_html()
    names = re.findall(r'<input type="range" id="([^"]+)"', text)
    assert len(set(names)) == 2


def test_figures_become_frames_of_screen_size() -> None:
    frames = []
    for power in (1, 2):
        figure, axes = figures.new(height=2.0)
        axes[0, 0].plot(np.arange(5.0) ** power)
        frames.append(figure)
    made = slider(frames=frames, labels=["1", "2"])
    assert made.size == (770, 220)
    assert made.images[0] != made.images[1]
    assert Image.open(io.BytesIO(made.images[0])).size == (1540, 440)


def test_the_live_view_shows_the_chosen_frame() -> None:
    made = slider()
    picture, choice = made.to_widget().children
    choice.value = 2
    assert picture.value == made.images[2]
    assert {"text/html", "text/plain"} <= set(made._repr_mimebundle_())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"frames": [png(0)], "labels": ["a"]}, ValueError, "frames must be 2 to 24"),
        (
            {"frames": [png(0)] * 25, "labels": ["a"] * 25},
            ValueError,
            "2 to 24, got 25",
        ),
        ({"labels": ["a", "b"]}, ValueError, "labels must be as many as frames, 3"),
        ({"labels": ["a", "b", " "]}, ValueError, "labels must not be empty"),
        ({"labels": [1, 2, 3]}, TypeError, "labels must be strings"),
        ({"alt": ""}, ValueError, "alt must not be empty"),
        ({"start": 3}, ValueError, "start must be 0 to 2, got 3"),
        ({"frames": [png(0), png(0), b"gif"]}, ValueError, "PNG or WebP"),
        ({"frames": [png(0), png(0), 5]}, TypeError, "got int"),
        (
            {"frames": [png(0), png(0), png(0, (9, 9))]},
            ValueError,
            "frames must have one size",
        ),
    ],
)
def test_bad_input_is_named(
    changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        slider(**changes)


# ------------------------------------------------------------------ several axes


def sliders(**changes: object) -> figures.Sliders:
    options = {
        "frames": [png(40 * k) for k in range(6)],
        "axes": {"width": ["50", "150"], "alpha": ["0.1", "<1>", "10"]},
        "alts": [f"square {k}" for k in range(6)],
        **changes,
    }
    return figures.Sliders(**options)  # pyright: ignore[reportArgumentType]


def test_two_inputs_share_the_frames() -> None:
    text = sliders(start=4).to_html()
    tags = Tags(text)
    width, alpha = tags.named("input")
    assert (width["max"], width["value"]) == ("1", "1")
    assert (alpha["max"], alpha["value"]) == ("2", "1")
    assert alpha["aria-valuetext"] == "<1>"
    hidden = ["hidden" in image for image in tags.named("img")]
    assert hidden == [k != 4 for k in range(6)]
    assert tags.named("img")[5]["data-label"] == "150\n10"
    assert len({tag["for"] for tag in tags.named("label")}) == 2
    assert not tags.named("script")


def test_the_live_view_follows_both_inputs() -> None:
    made = sliders()
    picture, width, alpha = made.to_widget().children
    assert picture.value == made.images[0]
    width.value, alpha.value = 1, 2
    assert picture.value == made.images[5]
    assert "alpha: 0.1, <1>, 10" in made._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"width": ["1", "2"]}}, "axes must be two or more"),
        ({"axes": {"a": ["1"], "b": ["1", "2"]}}, "two or more places"),
        ({"axes": {"a": ["1", " "], "b": ["1", "2", "3"]}}, "axes must not be empty"),
        ({"frames": [png(0)] * 5}, "one for each of 6 combinations, got 5"),
        ({"alts": ["a"]}, "alts must be as many as frames, 6"),
        ({"start": 6}, "start must be 0 to 5"),
        ({"axes": {"a": ["x"] * 8, "b": ["x"] * 8}}, "at most 60, got 64"),
    ],
)
def test_bad_axes_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sliders(**changes)
