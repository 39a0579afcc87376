"""Proof that all processes of a run have the same config, lists and code."""

import hashlib
import socket
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch.distributed as dist

from engine.distributed import World

_ROOT = Path(__file__).resolve().parents[1]
_ROOMS = ("config", "datasets", "engine", "models", "ops")


def check_agreement(world: World, items: Mapping[str, str]) -> None:
    """Compare what each process has read. All processes call this together.

    Another order of lines on one host would give wrong figures, another length a wait without end.

    Args:
        world: Rank and device of this process, and the number of processes.
        items: Texts to compare, digests for instance, by what they stand for; the code is added.

    Raises:
        ValueError: A process differs from process 0; raised in every process, it says in what, and
            on which.
    """
    if world.size == 1:
        return
    own = {**items, "code": code_digest()}
    everyone: list[tuple[str, dict[str, str]]] = [("", {})] * world.size
    dist.all_gather_object(everyone, (socket.gethostname(), own))
    host, expected = everyone[0]
    for what, value in expected.items():
        others = [
            f"{rank} on {its_host}"
            for rank, (its_host, has) in enumerate(everyone)
            if has.get(what) != value
        ]
        if others:
            raise ValueError(
                f"the {what} of process 0 on {host} is another than that of process "
                f"{', '.join(others)}: every host needs the same files"
            )


@cache
def code_digest() -> str:
    """Return a SHA-256 of the source files that a run imports, 64 hex digits."""
    digest = hashlib.sha256()
    files = [path for room in _ROOMS for path in (_ROOT / room).rglob("*.py")]
    for path in sorted([*files, _ROOT / "main_ddp_shift.py"]):
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
