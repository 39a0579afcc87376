"""Fetching published weights, against servers of this process; nothing leaves the machine."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from config import load_cfg
from config.weight_index import INDEX, PROJECT, PublishedWeights, fetch_hint, read_index
from models import build_model
from models.pretrained import load_weights
from tools import fetch_weights
from tools.fetching import download

CONFIG = (
    "MODEL: {NAME: vit, NUM_CLASSES: 3, BACKBONE: small, VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16,"
    " MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}}\nDATA: {IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16}\n"
)
PAGE = b"<!DOCTYPE html><html><head><title>Sign in &amp; go</title></head></html>"


class Server:
    """A server on this machine with one file, which it gives as a test says.

    Attributes:
        data: The file.
        gives_parts: Whether it knows Range.
        cuts: After so many bytes of an answer it closes the connection; one number an answer.
        tag: ETag of the file.
        refuses: Status of the answers, as long as there are some; 0: the file.
        ranges: The Range of each request, "" without.
    """

    def __init__(self) -> None:
        self.data = b""
        self.gives_parts = True
        self.cuts: list[int] = []
        self.tag = '"1"'
        self.refuses: list[int] = []
        self.kind = "application/octet-stream"
        self.ranges: list[str] = []
        handler = type("Handler", (_Handler,), {"server_of_test": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_of_test: Server

    def do_GET(self) -> None:
        server = self.server_of_test
        server.ranges.append(self.headers.get("Range", ""))
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", f"{server.url}/{Path(self.path).name}")
            self.end_headers()
            return
        if server.refuses and (status := server.refuses.pop(0)):
            self.send_error(status)
            return
        start, total = self._start(), len(server.data)
        if start > total:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Type", server.kind)
        self.send_header("Content-Length", str(total - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        end = start + server.cuts.pop(0) if server.cuts else total
        self.wfile.write(server.data[start:end])
        self.close_connection = True

    def _start(self) -> int:
        server, asked = self.server_of_test, self.headers.get("Range", "")
        is_same = self.headers.get("If-Range", server.tag) == server.tag
        found = re.fullmatch(r"bytes=(\d+)-", asked)
        return int(found[1]) if found and server.gives_parts and is_same else 0

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    running = Server()
    yield running
    running.close()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of weights for the model of `CONFIG`."""
    folder = tmp_path_factory.mktemp("weights")
    (folder / "a.yml").write_text(CONFIG)
    torch.save(build_model(load_cfg(folder / "a.yml")).state_dict(), folder / "w.pth")
    return (folder / "w.pth").read_bytes()


Fetch = Callable[..., int]


@pytest.fixture
def fetch(tmp_path: Path, server: Server, weights: bytes) -> Fetch:
    """Run the command for the weights of `weights`, whose entry has the given fields."""
    server.data = weights
    (tmp_path / "a.yml").write_text(CONFIG)

    def run(*words: str, **fields: str) -> int:
        entry = {
            "OF": "tiny",
            "FILE": "model_zoo/w.pth",
            "ADDRESS": f"{server.url}/w.pth",
            "CONFIG": str(tmp_path / "a.yml"),
            **{name.upper(): value for name, value in fields.items()},
        }
        index = tmp_path / "index.yml"
        index.write_text(json.dumps({"STATED": "2026-11-28", "WEIGHTS": {"tiny": entry}}))
        return fetch_weights.main(list(words or ("tiny",)), index, tmp_path)

    return run


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "model_zoo").glob("*"))


def test_file_is_fetched_to_its_place_and_verified(
    fetch: Fetch, tmp_path: Path, weights: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch() == 0
    assert (tmp_path / "model_zoo/w.pth").read_bytes() == weights
    assert files_in(tmp_path) == ["w.pth"]
    said = capsys.readouterr().out
    digest = hashlib.sha256(weights).hexdigest()
    assert f"SHA-256 {digest}: none was published, so it is compared with none" in said
    assert "tensors loaded" in said
    assert "--evaluate --resume model_zoo/w.pth" in said
    assert "(as stated on 2026-11-28)" in said


def test_published_hash_is_compared(
    fetch: Fetch, tmp_path: Path, weights: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hashlib.sha256(weights).hexdigest()
    assert fetch(sha256=digest) == 0
    assert f"SHA-256 {digest}: as published" in capsys.readouterr().out
    (tmp_path / "model_zoo/w.pth").unlink()
    assert fetch(sha256="0" * 64) == 1
    assert f"has the SHA-256 {digest}, published is {'0' * 64}" in capsys.readouterr().err
    assert files_in(tmp_path) == ["w.pth.refused"]


def test_broken_connection_is_gone_on_from(
    fetch: Fetch, server: Server, tmp_path: Path, weights: bytes
) -> None:
    server.cuts = [1000, 2000]
    assert fetch() == 0
    assert (tmp_path / "model_zoo/w.pth").read_bytes() == weights
    assert server.ranges == ["", "bytes=1000-", "bytes=3000-"]


def test_next_command_goes_on_where_the_last_one_gave_up(
    fetch: Fetch,
    server: Server,
    tmp_path: Path,
    weights: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.cuts, server.refuses = [1500], [0, 503, 503]
    assert fetch() == 1
    assert "503 Service Unavailable; 0.0 MB of it are kept, and the same" in capsys.readouterr().err
    assert files_in(tmp_path) == [".w.part.pth", ".w.part.pth.json"]
    server.ranges.clear()
    assert fetch() == 0
    assert server.ranges == ["bytes=1500-"]
    assert (tmp_path / "model_zoo/w.pth").read_bytes() == weights
    assert files_in(tmp_path) == ["w.pth"]


@pytest.mark.parametrize("change", ["no parts", "another file", "another address", "shorter"])
def test_what_cannot_be_gone_on_from_is_fetched_anew(
    change: str, fetch: Fetch, server: Server, tmp_path: Path, weights: bytes
) -> None:
    server.data, server.cuts, server.refuses = b"\0" * 9000, [4000], [0, 503, 503]
    words = ("tiny", "--mirror", f"{server.url}/other.pth") if change == "another address" else ()
    assert fetch(*words) == 1
    server.data, server.gives_parts = weights, change != "no parts"
    if change == "another file":
        server.tag = '"2"'
    if change == "shorter":  # though the server says that it is the same
        (tmp_path / "model_zoo/.w.part.pth").write_bytes(b"\0" * (len(weights) + 1))
        notes = tmp_path / "model_zoo/.w.part.pth.json"
        notes.write_text(json.dumps(json.loads(notes.read_text()) | {"total": len(weights) + 9}))
    assert fetch() == 0
    assert (tmp_path / "model_zoo/w.pth").read_bytes() == weights


@pytest.mark.parametrize("status", [404, 403, 410])
def test_address_that_is_dead_is_told_with_the_ways_out(
    status: int,
    fetch: Fetch,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.refuses = [status]
    assert fetch() == 1
    said = capsys.readouterr().err
    assert re.match(rf"error: http://127\S+/w\.pth: the server answers {status} ", said)
    assert "--mirror URL, or put the file at model_zoo/w.pth by other means" in said
    assert len(said.splitlines()) == 1
    assert len(server.ranges) == 1
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_page_in_place_of_the_file_is_refused(
    kind: str,
    fetch: Fetch,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.data, server.kind = PAGE, kind
    assert fetch() == 1
    assert "/w.pth gives a web page, 'Sign in & go', not the file; " in capsys.readouterr().err
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("data", [b'{"error": "quota"}', b"PK\x03\x04 cut short", b""])
def test_other_content_is_refused_and_kept_aside(
    data: bytes,
    fetch: Fetch,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.data = data
    assert fetch() == 1
    assert "gave something else: " in capsys.readouterr().err
    assert files_in(tmp_path) == ["w.pth.refused"]


def test_redirect_is_followed_but_not_away_from_https(
    fetch: Fetch, server: Server, tmp_path: Path
) -> None:
    assert fetch(address=f"{server.url}/moved/w.pth") == 0
    assert files_in(tmp_path) == ["w.pth"]
    part = download.Part(tmp_path / "x.pth", "https://a.org/x.pth")
    with pytest.raises(ValueError, match=r"leads on to http://b\.org, which is not https"):
        download._check_source(type("Response", (), {"url": "http://b.org"}), part)


def test_mirror_is_a_file_or_a_folder_that_holds_it_by_its_name(
    fetch: Fetch, server: Server, tmp_path: Path
) -> None:
    for mirror in (f"{server.url}/x/y.pth", f"{server.url}/x/"):
        assert fetch("tiny", "--mirror", mirror, address="https://drive.google.com/a") == 0
        (tmp_path / "model_zoo/w.pth").unlink()


def test_server_that_is_not_there_is_told(fetch: Fetch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch("tiny", "--mirror", "http://127.0.0.1:9/") == 1
    assert "127.0.0.1 cannot be reached: [Errno 111] Connection ref" in capsys.readouterr().err


def test_full_disk_is_told_before_anything_is_written(
    fetch: Fetch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: usage)
    assert fetch() == 1
    assert "MB are to come, 1.0 MB are free; make room there" in capsys.readouterr().err
    assert "w.pth" not in files_in(tmp_path)


def test_file_put_by_hand_is_verified_and_used(
    fetch: Fetch,
    server: Server,
    tmp_path: Path,
    weights: bytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "model_zoo/w.pth"
    place.parent.mkdir()
    place.write_bytes(weights)
    assert fetch(address="https://drive.google.com/drive/folders/x") == 0
    assert "w.pth is there; it is verified, and stays as it is" in capsys.readouterr().out
    place.write_bytes(PAGE)
    assert fetch() == 1
    assert "w.pth is a web page, 'Sign in & go', not the file\n" in capsys.readouterr().err
    torch.save({"other.weight": torch.zeros(3)}, place)
    assert fetch() == 1
    assert "other.weight" in capsys.readouterr().err
    assert place.is_file()
    assert server.ranges == []


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"address": "https://drive.google.com/drive/folders/x"}, "open https://drive.google.com/"),
        ({"address": "", "command": "python -c 1"}, "a library has them; .*: python -c 1 ; python"),
        ({"address": "", "note": "links are empty"}, "nobody says where they lie: links are empty"),
    ],
)
def test_what_no_program_can_fetch_is_told_with_what_to_do(
    fields: dict[str, str], text: str, fetch: Fetch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch(**fields) == 1
    said = capsys.readouterr().err
    assert re.search(f"tiny cannot be fetched by a program: .*{text}", said)
    assert "model_zoo/w.pth" in said or "python -c" in said


def test_nothing_is_fetched_by_the_list(
    fetch: Fetch, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetch("--list", top1="71.06") == 0
    assert server.ranges == []
    assert re.search(r"^tiny +71\.06 +this program\n    tiny\n", capsys.readouterr().out, re.M)


def test_unknown_name_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert fetch_weights.main(["vit_b16"]) == 1
    assert "no weights 'vit_b16'; --list has all, nearest: vit_b_16" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["", "a b --mirror http://x/y", "a --mirror x"])
def test_wrong_command_line_is_an_error(words: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        fetch_weights.main(words.split())


ENTRIES = read_index()


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_each_entry_of_the_index_is_whole(entry: PublishedWeights) -> None:
    assert entry.of
    assert entry.stated == "2026-11-28"
    assert re.fullmatch(r"(pretrain|model_zoo)/[\w.-]+", entry.file)
    assert Path(entry.file).name.startswith(entry.name)
    assert not entry.address or entry.address.startswith("https://")
    assert entry.address or entry.command or entry.note
    assert not entry.sha256 or re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    config, *keys = entry.config.split() or [""]
    if config:
        load_cfg(PROJECT / config, keys)
        published = (PROJECT / config).read_text().partition("\nDATA:")[0]
        assert entry.top1 in published
    if entry.command:
        assert entry.file in entry.command


def test_places_of_the_index_are_each_of_one_entry() -> None:
    files = [entry.file for entry in ENTRIES.values()]
    assert len({*files}) == len(files)


def test_addresses_in_the_documents_are_those_of_the_index(repository: Path) -> None:
    known = INDEX.read_text()
    for document in ("pretrain/README.md", "model_zoo/README.md"):
        for address in re.findall(r"https?://[^\s`'|)]+", (repository / document).read_text()):
            assert address in known or ".example." in address or "/FOLDER" in address, address
    folders = re.findall(r"`(1[\w-]{32})`", (repository / "model_zoo/README.md").read_text())
    assert len(folders) == 7
    assert [folder for folder in folders if folder not in known] == []


def test_missing_weights_are_told_with_the_command_that_gets_them(tmp_path: Path) -> None:
    missing = tmp_path / "ViT-B_16.npz"
    assert "python tools/fetch_weights.py ViT-B_16 gets it" in fetch_hint(missing)
    (tmp_path / "a.yml").write_text(CONFIG)
    model = build_model(load_cfg(tmp_path / "a.yml"))
    with pytest.raises(ValueError, match=r"python tools/fetch_weights.py ViT-B_16 gets it"):
        load_weights(model, missing)
    missing.write_bytes(b"")
    assert fetch_hint(missing) == fetch_hint(tmp_path / "mine.pth") == ""


def test_two_that_fetch_one_file_do_not_mix_their_bytes(tmp_path: Path) -> None:
    part, other = (download.Part(tmp_path / "a.npz", "http://host/a.npz") for _ in range(2))
    text = "another process is fetching it"
    with part.held(), pytest.raises(ValueError, match=text), other.held():
        pass
    with other.held():
        pass
    assert [*tmp_path.iterdir()] == []
