"""A phase diagram to click: a grid of coloured cells, each of which shows a frame.

Like ``Slider`` it needs no kernel and no script: cells are native radio buttons, so that
arrow keys, fingers and screen readers find their way. In a live kernel the same object
shows two ipywidgets.
"""

import html
import itertools
from collections.abc import Sequence
from typing import Any

from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lazyrich.figures.frames import Frames

MOST_CELLS = 60
_numbers = itertools.count(1)

_ON_CHANGE = (
    "var m=this.closest('.lr-map'),i=+this.value;"
    "m.querySelectorAll('img').forEach(function(f,n){f.hidden=n!==i});"
    "m.querySelector('output').value=m.querySelectorAll('img')[i].dataset.label"
)


class PhaseMap(Frames):
    """Frames of a figure in a grid of cells.

        figures.PhaseMap(frames, ["h = 50", "h = 150"], ["0.01", "1", "100"], colours,
                         "width and laziness", alts, "Dark: the kernel moves.")

    Args:
        frames: one figure, or the bytes of a PNG or WebP image, for every cell, row by
            row; of one size.
        rows, columns: what the axes of the grid say, top to bottom and left to right.
        colours: one colour a cell, row by row, in any form that matplotlib knows.
        name: what is chosen, in a short phrase.
        alts: what each frame shows, in words.
        legend: what the colours mean.
        labels: what the page says of each cell; its row and column by default.
        start: index of the cell shown first.

    Raises:
        ValueError: counts that do not fit, more than 60 cells, frames of different size,
            empty texts, or a start out of range.
        TypeError: a frame that is neither a figure nor bytes.
    """

    def __init__(
        self,
        frames: Sequence[Figure | bytes],
        rows: Sequence[str],
        columns: Sequence[str],
        colours: Sequence[Any],
        name: str,
        alts: Sequence[str],
        legend: str,
        *,
        labels: Sequence[str] | None = None,
        start: int = 0,
    ) -> None:
        cells = len(rows) * len(columns)
        if not 2 <= cells <= MOST_CELLS:
            raise ValueError(
                f"rows and columns must make 2 to {MOST_CELLS} cells, got {cells}"
            )
        if labels is None:
            labels = [f"{row}, {column}" for row in rows for column in columns]
        counted = (
            ("frames", frames), ("colours", colours), ("alts", alts), ("labels", labels),
        )  # fmt: skip
        for what, values in counted:
            if len(values) != cells:
                raise ValueError(
                    f"{what} must be as many as cells, {cells}; got {len(values)}"
                )
        if not all(
            str(text).strip() for text in (*rows, *columns, name, *alts, legend)
        ):
            raise ValueError("rows, columns, name, alts and legend must not be empty")
        self.rows, self.columns, self.name = list(rows), list(columns), name
        self.legend = legend
        self.colours = [to_hex(colour) for colour in colours]
        self.summary = f"Map over {name}: {cells} cells"
        super().__init__(frames, labels, alts, start)

    def to_html(self) -> str:
        mark = f"lr-map-{next(_numbers)}"
        grid = [
            f'<div class="lr-map-grid" role="radiogroup" '
            f'aria-label="{html.escape(self.name)}" '
            f'style="grid-template-columns:auto repeat({len(self.columns)},1fr)">',
            "<span></span>",
            *(
                f'<span class="lr-map-head">{html.escape(column)}</span>'
                for column in self.columns
            ),
        ]
        for r, row in enumerate(self.rows):
            grid.append(f'<span class="lr-map-row">{html.escape(row)}</span>')
            for c in range(len(self.columns)):
                k = r * len(self.columns) + c
                grid.append(
                    f'<input type="radio" name="{mark}" value="{k}" '
                    f'aria-label="{html.escape(self.labels[k])}" '
                    f'title="{html.escape(self.labels[k])}" autocomplete="off" '
                    f'style="background:{self.colours[k]}" '
                    f'onchange="{html.escape(_ON_CHANGE)}"'
                    f"{' checked' if k == self.start else ''}>"
                )
        grid.append("</div>")
        return (
            f'<div class="lr-map" role="group" aria-label="{html.escape(self.name)}">\n'
            + "\n".join(grid)
            + f'\n<p class="lr-map-legend">{html.escape(self.legend)} '
            f"<output>{html.escape(self.labels[self.start])}</output></p>\n"
            + self.pictures()
            + "\n</div>"
        )

    def to_widget(self) -> Any:
        import ipywidgets

        at_row, at_column = divmod(self.start, len(self.columns))
        row, column = (
            ipywidgets.SelectionSlider(
                options=[(text, k) for k, text in enumerate(texts)], value=value
            )
            for texts, value in ((self.rows, at_row), (self.columns, at_column))
        )

        def chosen() -> int:
            return row.value * len(self.columns) + column.value

        return ipywidgets.VBox([row, column, self.live((row, column), chosen)])
