"""``lazyrich serve``: the address that it shows is one that answers."""

import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from lazyrich import cli


@pytest.fixture
def pages(tmp_path, monkeypatch):
    folder = tmp_path / "_build" / "html"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("the book")
    monkeypatch.setattr("lazyrich.core.project.root", lambda: tmp_path)
    return tmp_path


def test_pages_are_served_at_the_address_that_is_shown(pages: Path) -> None:
    code = (
        "import sys, pathlib\nfrom lazyrich import cli\nfrom lazyrich.core import project\n"
        f"project.root = lambda: pathlib.Path({str(pages)!r})\n"
        "sys.exit(cli.main(['serve', '--port', '0']))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        try:
            with urllib.request.urlopen(address) as answer:
                assert answer.read() == b"the book"
        finally:
            server.terminate()


def test_a_port_in_use_is_named_before_any_address(pages, capsys) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli.main(["serve", "--port", port]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"port {port} cannot be used" in told.err


@pytest.mark.parametrize("port", ["99999", "-1"])
def test_no_such_port(pages, capsys, port) -> None:
    assert cli.main(["serve", "--port", port]) == 2
    assert f"port must be from 0 to 65535, got {port}" in capsys.readouterr().err


def test_no_pages_yet(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("lazyrich.core.project.root", lambda: tmp_path)
    assert cli.main(["serve"]) == 2
    assert "make book" in capsys.readouterr().err
