import hashlib
import json
import subprocess
from pathlib import Path

import pytest
import torch

from config import load_cfg_text
from datasets.annotations import VideoRecord, list_digest
from engine import provenance
from engine.distributed import World
from engine.provenance import describe_run, file_sha256

WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
RECORDS = [VideoRecord(name, 3, label, 1) for name, label in zip("abcd", (0, 0, 2, 0), strict=True)]


def described() -> dict:
    cfg = load_cfg_text("SEED: 7\nDATA: {VAL_LIST: val.txt}\n", "a text")
    return describe_run(cfg, {"test": RECORDS}, WORLD)


def git(folder: Path, *arguments: str) -> str:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder)]
    done = subprocess.run(["git", *own, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The code lies in a repository of one commit."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "main.py").write_text("1")
    git(folder, "add", "main.py")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "ROOT", folder.resolve())
    return folder


def test_record_says_what_a_stranger_needs_to_do_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main_ddp_shift.py", "--cfg", "my file.yml"])
    run = described()
    assert json.loads(json.dumps(run)) == run
    assert run["command"] == "main_ddp_shift.py --cfg 'my file.yml'"
    assert {"torch", "torchvision", "numpy", "pillow"} <= set(run["packages"])
    assert (run["seed"], run["num_processes"], len(run["hosts"])) == (7, 1, 1)
    assert run["lists"] == {
        "test": {
            "file": "val.txt",
            "sha256": list_digest(RECORDS),
            "num_videos": 4,
            "num_classes": 2,
            "videos_per_class": [1, 3],
        }
    }


def test_revision_is_that_of_the_code_and_changes_are_told(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    assert (described()["revision"], described()["is_changed"]) == (expected, False)
    (checkout / "runs.txt").write_text("not of the code")
    assert described()["is_changed"] is False
    (checkout / "main.py").write_text("2")
    assert described()["is_changed"] is True


def test_code_without_git_is_of_unknown_revision(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = checkout / "copy"  # it lies in a repository that is not its own
    copy.mkdir()
    monkeypatch.setattr(provenance, "ROOT", copy)
    assert described()["revision"] == "unknown"
    monkeypatch.setattr(provenance, "ROOT", checkout)
    monkeypatch.setenv("PATH", "")
    run = described()
    assert (run["revision"], run["is_changed"]) == ("unknown", "unknown")


def test_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 10_000
    (tmp_path / "a.pth").write_bytes(content)
    assert file_sha256(tmp_path / "a.pth") == hashlib.sha256(content).hexdigest()
