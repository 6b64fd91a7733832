"""Pictures: the style of all figures, and sliders that work on a static page."""

from lazyrich.figures import _installed as _installed
from lazyrich.figures.phase_map import PhaseMap
from lazyrich.figures.slider import Slider, Sliders
from lazyrich.figures.style import alpha_bar, alpha_colours, new, style, use

__all__ = [
    "PhaseMap",
    "Slider",
    "Sliders",
    "alpha_bar",
    "alpha_colours",
    "new",
    "style",
    "use",
]
