"""Imported before what publishes the book: says what to install where that is missing."""

from lazyrich.core import extras

for _package in ("jupytext", "papermill", "ipykernel", "doit", "jupyter_book"):
    extras.require(_package, "publishing the book", "book")
