"""The studies of the book: which grids are trained, and what is measured on them.

``studies.catalogue`` knows all grids. Nothing is imported here, because a chapter's
content key covers whatever this package imports.
"""

__all__: list[str] = []
