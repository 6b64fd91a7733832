"""Imported before all figures: says what to install where they cannot be drawn."""

from lazyrich.core import extras

extras.require("matplotlib", "drawing figures", "chapters")
