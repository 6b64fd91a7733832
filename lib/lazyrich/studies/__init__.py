"""The studies of the book: which grids are trained, and what is measured on them.

Importing this package registers every study, so that commands find them by name. The
modules that measure for one chapter alone are not imported here: a chapter's content key
covers whatever this package imports.
"""

from lazyrich.studies import alpha_sweep

__all__ = ["alpha_sweep"]
