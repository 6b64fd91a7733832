"""Files are whole or absent."""

import os
from pathlib import Path

import pytest

from lazyrich.core import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    files.write_atomically(path, "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unchanged_file_keeps_its_date(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x"
    assert files.write_if_changed(path, "é\n")
    os.utime(path, (1, 1))
    assert not files.write_if_changed(path, "é\n")
    assert path.stat().st_mtime == 1
    assert files.write_if_changed(path, "e\n")
    assert path.read_text() == "e\n"
