"""The studies of the book: which grids are trained, and what is measured on them.

Importing this package registers every study, so that commands find them by name.
"""

from lazyrich.studies import alpha_sweep, flow_checks, statistics

__all__ = ["alpha_sweep", "flow_checks", "statistics"]
