"""Frames of a figure, one of which is shown: what sliders and phase maps share.

On a static page the frames are WebP images inside the page, so that a view works from any
host and from disk. In a live kernel the same object shows ipywidgets.
"""

import base64
import html
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.figure import Figure

from lazyrich.figures.style import style

DPI = 110


class Frames(ABC):
    """Images of one size, each with a label and a text for those who cannot see it.

    A subclass says by ``to_html`` and ``to_widget`` how one of them is chosen.

    Attributes:
        images: WebP data of each frame.
        size: width and height in CSS pixels.
        labels, alts: one text a frame.
        start: the frame shown first.
        summary: all of it in one line, where nothing else can be shown.

    Raises:
        ValueError: frames of different size, bytes of another format, or a start out of
            range.
        TypeError: a frame that is neither a figure nor bytes, or a start that is no
            integer.
    """

    summary: str = "frames"

    def __init__(
        self,
        frames: Sequence[Figure | bytes],
        labels: Sequence[str],
        alts: Sequence[str],
        start: int,
    ) -> None:
        if isinstance(start, bool) or not isinstance(start, int):
            raise TypeError(f"start must be an integer, got {start!r}")
        if not 0 <= start < len(frames):
            raise ValueError(f"start must be 0 to {len(frames) - 1}, got {start!r}")
        self.labels, self.alts, self.start = list(labels), list(alts), start
        images = [as_webp(frame) for frame in frames]
        sizes = {size for _, size in images}
        if len(sizes) > 1:
            raise ValueError(f"frames must have one size, got {sorted(sizes)}")
        self.images = [data for data, _ in images]
        self.size = sizes.pop()

    def pictures(self) -> str:
        """All frames as ``img`` elements, hidden but for the first one to be seen."""
        width, height = self.size
        return "\n".join(
            f'<img src="{data_uri(data)}" alt="{html.escape(alt)}" '
            f'data-label="{html.escape(label)}" width="{width}" height="{height}"'
            f"{'' if number == self.start else ' hidden'}>"
            for number, (data, alt, label) in enumerate(
                zip(self.images, self.alts, self.labels, strict=True)
            )
        )

    @abstractmethod
    def to_html(self) -> str:
        """The static view: one element that needs nothing from outside."""

    @abstractmethod
    def to_widget(self) -> Any:
        """The live view: ipywidgets that show the same frames.

        Raises:
            ImportError: ipywidgets is not installed.
        """

    def live(self, choices: Sequence[Any], chosen: Callable[[], int]) -> Any:
        """A picture that follows some ipywidgets.

        Args:
            choices: the widgets.
            chosen: which frame they point at.
        """
        import ipywidgets

        picture = ipywidgets.Image(value=self.images[self.start], format="webp")

        def show(_change: Any) -> None:
            picture.value = self.images[chosen()]

        for choice in choices:
            choice.observe(show, "value")
        return picture

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, Any]:
        """Both views; a page takes the HTML, a live front end the widget."""
        bundle: dict[str, Any] = {
            "text/html": self.to_html(),
            "text/plain": self.summary,
        }
        try:
            widget = self.to_widget()._repr_mimebundle_()
        except ImportError:
            return bundle
        view = "application/vnd.jupyter.widget-view+json"
        if view in widget:
            bundle[view] = widget[view]
        return bundle


def texts(name: str, values: Sequence[str], count: int) -> list[str]:
    """``values``, if they are ``count`` strings with something in them.

    Raises:
        TypeError, ValueError: they are not.
    """
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
