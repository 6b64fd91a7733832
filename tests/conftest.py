"""What all tests share: the order of the slow ones, and one build of the real book."""

import pytest

from lazyrich.publish import Result, publish

# They need both cores or quiet, so they come last and, under xdist, run on one worker.
SERIAL = ("book", "browser", "kill")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the serial tests at the end, in one group for pytest-xdist."""

    def is_serial(item: pytest.Item) -> bool:
        return any(item.get_closest_marker(name) for name in SERIAL)

    for item in items:
        if is_serial(item):
            item.add_marker(pytest.mark.xdist_group("serial"))
    items.sort(key=is_serial)


@pytest.fixture(scope="session")
def built() -> Result:
    """The real book, executed and built as by ``make book``, which shares the work."""
    return publish()
