"""What all tests share: one build of the real book."""

import pytest

from lazyrich.publish import Result, publish


@pytest.fixture(scope="session")
def built() -> Result:
    """The real book, executed and built as by ``make book``, which shares the work."""
    return publish()
