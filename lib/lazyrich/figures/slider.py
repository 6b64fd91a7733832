"""Figures with sliders that need no kernel: frames drawn before, one is shown.

On a static page each slider is a native range input: it works by finger, keyboard and
screen reader, and without any script being loaded.
"""

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lazyrich.figures.frames import Frames, texts

MOST_FRAMES = 24
MOST_PAIRS = 60
_numbers = itertools.count(1)

# Shows the frame that the inputs point at, the last one counting fastest. The handler
# stands in the element itself, so that sliders are independent and no script has to be
# loaded.
_ON_INPUT = (
    "var s=this.closest('.{0}'),i=0;"
    "s.querySelectorAll('input').forEach(function(r){{i=i*(+r.max+1)+ +r.value}});"
    "s.querySelectorAll('img').forEach(function(f,n){{f.hidden=n!==i}});"
    "var l=s.querySelectorAll('img')[i].dataset.label.split('\\n');"
    "s.querySelectorAll('output').forEach(function(o,n){{o.value=l[n]}});"
    "s.querySelectorAll('input').forEach("
    "function(r,n){{r.setAttribute('aria-valuetext',l[n])}})"
)


class _Ranges(Frames):
    """Frames on a grid of one or more axes, with a range input for each axis."""

    mark = "lr-slider"

    def __init__(
        self,
        frames: Sequence[Figure | bytes],
        axes: Mapping[str, Sequence[str]],
        alts: Sequence[str],
        start: int,
    ) -> None:
        self.axes = {name: list(values) for name, values in axes.items()}
        shown = (f"{name}: {', '.join(values)}" for name, values in self.axes.items())
        self.summary = f"Slider over {'; '.join(shown)}"
        cells = itertools.product(*self.axes.values())
        super().__init__(frames, ["\n".join(cell) for cell in cells], alts, start)

    def _places(self) -> list[int]:
        """Where on each axis the first frame lies."""
        places, rest = [], self.start
        for values in reversed(self.axes.values()):
            rest, place = divmod(rest, len(values))
            places.append(place)
        return places[::-1]

    def to_html(self) -> str:
        group = html.escape(", ".join(self.axes))
        handler = html.escape(_ON_INPUT.format(self.mark))
        inputs = []
        axes = zip(self.axes.items(), self._places(), strict=True)
        for (name, values), place in axes:
            mark = f"{self.mark}-{next(_numbers)}"
            label = html.escape(values[place])
            inputs.append(
                f'<label for="{mark}"><span>{html.escape(name)}</span>\n'
                f'<input type="range" id="{mark}" min="0" max="{len(values) - 1}" '
                f'step="1" value="{place}" aria-valuetext="{label}" '
                f'autocomplete="off" oninput="{handler}">\n'
                f'<output for="{mark}">{label}</output></label>'
            )
        controls = "\n".join(inputs)
        return (
            f'<div class="{self.mark}" role="group" aria-label="{group}">\n'
            f"{self.pictures()}\n{controls}\n</div>"
        )

    def to_widget(self) -> Any:
        import ipywidgets

        axes = zip(self.axes.items(), self._places(), strict=True)
        choices = [
            ipywidgets.SelectionSlider(
                options=[(label, number) for number, label in enumerate(values)],
                value=place,
                description=name,
            )
            for (name, values), place in axes
        ]

        def chosen() -> int:
            number = 0
            for choice, values in zip(choices, self.axes.values(), strict=True):
                number = number * len(values) + choice.value
            return number

        return ipywidgets.VBox([self.live(choices, chosen), *choices])


class Slider(_Ranges):
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
        labels = texts("labels", labels, len(frames))
        self.name = texts("name", [name], 1)[0]
        if isinstance(alt, str):
            text = texts("alt", [alt], 1)[0]
            alts = [f"{text} ({self.name}: {label})" for label in labels]
        else:
            alts = texts("alt", alt, len(frames))
        super().__init__(frames, {self.name: labels}, alts, start)


class Sliders(_Ranges):
    """Frames of a figure with several inputs, which together choose one of them.

        figures.Sliders(frames, {"width": ["50", "150"], "alpha": ["0.1", "1"]}, alts)

    Args:
        frames: at most 60 figures, or the bytes of PNG or WebP images, of one size, for
            all combinations; the last axis counts fastest.
        axes: what each input chooses, and what it says at each of its places; two or
            more axes of two or more places.
        alts: what each frame shows, in words.
        start: index of the frame shown first.

    Raises:
        ValueError: counts that do not fit, empty texts, frames of different size, bytes
            of another format, or a start out of range.
        TypeError: a frame that is neither a figure nor bytes, or texts that are not.
    """

    mark = "lr-sliders"

    def __init__(
        self,
        frames: Sequence[Figure | bytes],
        axes: Mapping[str, Sequence[str]],
        alts: Sequence[str],
        *,
        start: int = 0,
    ) -> None:
        if len(axes) < 2 or any(len(values) < 2 for values in axes.values()):
            shown = {name: len(values) for name, values in axes.items()}
            raise ValueError(
                f"axes must be two or more, of two or more places; got {shown}"
            )
        for name, values in axes.items():
            texts("axes", [name, *values], 1 + len(values))
        cells = math.prod(len(values) for values in axes.values())
        if cells > MOST_PAIRS:
            raise ValueError(f"frames must be at most {MOST_PAIRS}, got {cells}")
        if len(frames) != cells:
            raise ValueError(
                f"frames must be one for each of {cells} combinations, "
                f"got {len(frames)}"
            )
        super().__init__(frames, axes, texts("alts", alts, cells), start)
