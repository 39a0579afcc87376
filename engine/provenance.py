"""Where figures come from: code, packages, command, seed, processes, lists and checkpoint."""

import hashlib
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from yacs.config import CfgNode

from datasets.annotations import VideoRecord, list_digest
from engine.distributed import World, gather_objects

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    *("torch", "torchvision", "numpy", "pillow", "scipy", "yacs", "tensorboardX"),
    *("av", "torchcodec", "safetensors"),
)
UNKNOWN = "unknown"
_GIT_SECONDS = 10.0
_CHUNK = 1 << 20


def describe_run(
    cfg: CfgNode, lists: Mapping[str, Sequence[VideoRecord]], world: World
) -> dict[str, Any]:
    """Return what a run's records say of it, as plain values; never fails. All processes call.

    Args:
        cfg: Config of the run.
        lists: Records by split: ``train``, ``val``, ``test``.
        world: Rank and device of this process, and the number of processes.
    """
    hosts = gather_objects(socket.gethostname(), world) or []
    return {
        **_code(),
        "command": shlex.join(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: found for name in PACKAGES if (found := _version_of(name))},
        "device": _device_name(world.device),
        "cuda": torch.version.cuda,
        "seed": cfg.SEED,
        "num_processes": world.size,
        "hosts": sorted(set(hosts)),
        "lists": {split: _list(cfg, split, records) for split, records in lists.items()},
    }


def file_sha256(*paths: str | Path) -> str:
    """Return the SHA-256 of a file, or of several files in a row; 64 hex digits."""
    digest = hashlib.sha256()
    for path in paths:
        with Path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _code() -> dict[str, Any]:
    """Return the git revision of this code, and whether files differ from it."""
    top = _git("rev-parse", "--show-toplevel")
    if not top or Path(top) != ROOT:  # no git, or a copy that lies in another repository
        return {"revision": UNKNOWN, "is_changed": UNKNOWN}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "revision": _git("rev-parse", "HEAD") or UNKNOWN,
        "is_changed": UNKNOWN if changes is None else bool(changes),
    }


def _git(*arguments: str) -> str | None:
    # GIT_DIR and its like, as a hook sets them, would answer for another repository
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_GIT_SECONDS,
            env={**own, "GIT_OPTIONAL_LOCKS": "0"},
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()


def _list(cfg: CfgNode, split: str, records: Sequence[VideoRecord]) -> dict[str, Any]:
    per_class = Counter(label for record in records for label in record.classes).values()
    return {
        "file": cfg.DATA[f"{split.upper()}_LIST"] or cfg.DATA.VAL_LIST,
        "sha256": list_digest(records),
        "num_videos": len(records),
        "num_classes": len(per_class),
        "videos_per_class": [min(per_class), max(per_class)] if per_class else [],
    }
