"""Closed forms and symbolic derivations: the oracle that the rest is tested against.

No torch here, and nothing in the library imports it.
"""

from lazyrich.theory import _installed as _installed
