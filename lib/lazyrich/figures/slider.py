"""A figure with a slider that needs no kernel: frames drawn before, one is shown.

On a static page it is a native range input with its frames as WebP images inside the
page: it works from any host and from disk, by finger, keyboard and screen reader. In a
live kernel the same object shows an ipywidget.
"""

import base64
import html
import io
import itertools
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from lazyrich.figures.style import style

MOST_FRAMES = 24
DPI = 110
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_numbers = itertools.count(1)

# Shows the frame that the input points at. The handler stands in the element itself, so
# that sliders are independent and no script has to be loaded.
_ON_INPUT = (
    "var s=this.closest('.lr-slider'),i=+this.value;"
    "s.querySelectorAll('img').forEach(function(f,n){f.hidden=n!==i});"
    "var l=s.querySelectorAll('img')[i].dataset.label;"
    "s.querySelector('output').value=l;"
    "this.setAttribute('aria-valuetext',l)"
)


class Slider:
    """Frames of a figure with an input that chooses one of them.

        figures.Slider(frames, [f"{a:g}" for a in alphas], "alpha",
                       [f"Loss curve at alpha = {a:g}; ..." for a in alphas])

    Args:
        frames: 2 to 24 figures, or the bytes of PNG or WebP images, of one size.
        labels: what the input says at each frame, such as the value of alpha.
        name: what is chosen, as shown before the input; a short phrase. ``$`` is kept.
        alt: what the frames show, in words for those who cannot see them: one text a
            frame, or one for all, to which each label is added.
        start: index of the frame shown first.

    Raises:
        ValueError: too few or too many frames, lengths that differ, empty texts, frames
            of different size, bytes of another format, or a start out of range.
        TypeError: a frame that is neither a figure nor bytes, or texts that are not.
    """

    def __init__(
        self,
        frames: Sequence[Figure | bytes],
        labels: Sequence[str],
        name: str,
        alt: str | Sequence[str],
        *,
        start: int = 0,
    ) -> None:
        if not 2 <= len(frames) <= MOST_FRAMES:
            raise ValueError(f"frames must be 2 to {MOST_FRAMES}, got {len(frames)}")
        self.labels = _texts("labels", labels, len(frames))
        self.name = _texts("name", [name], 1)[0]
        if isinstance(alt, str):
            text = _texts("alt", [alt], 1)[0]
            self.alts = [f"{text} ({self.name}: {label})" for label in self.labels]
        else:
            self.alts = _texts("alt", alt, len(frames))
        if isinstance(start, bool) or not isinstance(start, int):
            raise TypeError(f"start must be an integer, got {start!r}")
        if not 0 <= start < len(frames):
            raise ValueError(f"start must be 0 to {len(frames) - 1}, got {start!r}")
        self.start = start
        images = [as_webp(frame) for frame in frames]
        sizes = {size for _, size in images}
        if len(sizes) > 1:
            raise ValueError(f"frames must have one size, got {sorted(sizes)}")
        self.images = [data for data, _ in images]
        self.size = sizes.pop()

    def to_html(self) -> str:
        """The static view: one element that needs nothing from outside."""
        mark = f"lr-slider-{next(_numbers)}"
        width, height = self.size
        pictures = "\n".join(
            f'<img src="{data_uri(data)}" '
            f'alt="{html.escape(alt)}" data-label="{html.escape(label)}" '
            f'width="{width}" height="{height}"'
            f"{'' if number == self.start else ' hidden'}>"
            for number, (data, alt, label) in enumerate(
                zip(self.images, self.alts, self.labels, strict=True)
            )
        )
        label = html.escape(self.labels[self.start])
        return (
            '<div class="lr-slider" role="group" '
            f'aria-label="{html.escape(self.name)}">\n{pictures}\n'
            f'<label for="{mark}"><span>{html.escape(self.name)}</span>\n'
            f'<input type="range" id="{mark}" min="0" max="{len(self.images) - 1}" '
            f'step="1" value="{self.start}" aria-valuetext="{label}" '
            f'autocomplete="off" oninput="{html.escape(_ON_INPUT)}">\n'
            f'<output for="{mark}">{label}</output></label>\n</div>'
        )

    def to_widget(self) -> Any:
        """The live view: an ipywidget that shows the same frames.

        Raises:
            ImportError: ipywidgets is not installed.
        """
        import ipywidgets

        picture = ipywidgets.Image(value=self.images[self.start], format="webp")
        choice = ipywidgets.SelectionSlider(
            options=[(label, number) for number, label in enumerate(self.labels)],
            value=self.start,
            description=self.name,
        )
        choice.observe(
            lambda change: setattr(picture, "value", self.images[change["new"]]),
            "value",
        )
        return ipywidgets.VBox([picture, choice])

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        """Both views; a page takes the HTML, a live front end the widget."""
        bundle: dict[str, Any] = {
            "text/html": self.to_html(),
            "text/plain": f"Slider over {self.name}: {', '.join(self.labels)}",
        }
        try:
            widget = self.to_widget()._repr_mimebundle_()
        except ImportError:
            return bundle
        view = "application/vnd.jupyter.widget-view+json"
        if view in widget:
            bundle[view] = widget[view]
        return bundle


def _texts(name: str, values: Sequence[str], count: int) -> list[str]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{name} must be strings, got {values!r}")
    if len(values) != count:
        raise ValueError(
            f"{name} must be as many as frames, {count}; got {len(values)}"
        )
    if not all(value.strip() for value in values):
        raise ValueError(f"{name} must not be empty, got {list(values)!r}")
    return list(values)


def data_uri(image: bytes) -> str:
    """A WebP image as an address that holds all of it."""
    return f"data:image/webp;base64,{base64.b64encode(image).decode()}"


def as_webp(frame: Figure | bytes) -> tuple[bytes, tuple[int, int]]:
    """The frame as WebP, and its size in CSS pixels."""
    from PIL import Image, UnidentifiedImageError

    scale = 1.0
    if isinstance(frame, Figure):
        drawn = io.BytesIO()
        with style():
            frame.savefig(drawn, format="png", dpi=2 * DPI, metadata={"Software": None})
        content, scale = drawn.getvalue(), 0.5
    elif isinstance(frame, bytes):
        content = frame
    else:
        raise TypeError(
            f"frames must be figures or bytes of images, got {type(frame).__name__}"
        )
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        raise ValueError("frames must be PNG or WebP images, got other bytes") from None
    if image.format not in {"PNG", "WEBP"}:
        raise ValueError(f"frames must be PNG or WebP images, got {image.format}")
    width, height = image.size
    size = (round(width * scale), round(height * scale))
    if image.format == "WEBP":
        return content, size
    packed = io.BytesIO()
    # Few flat colours: lossless is smaller than lossy here and keeps lines sharp.
    image.convert("RGB").save(packed, format="WEBP", lossless=True, method=6)
    return packed.getvalue(), size
