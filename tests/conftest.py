"""Fixtures that several test folders share."""

import json
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: the golden data were made with one thread
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clip_files import clip_kind, make_clip  # noqa: F401 - fixtures
from tests.ranks import Ranks

GOLDEN_ROOT = Path(os.environ.get("GOLDEN_ROOT") or Path(__file__).parent / "golden")


class LegacyRng:
    """numpy's legacy generator, which the releases draw from, under the names of the new one."""

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState(seed)

    def integers(self, *args: Any, **kwargs: Any) -> Any:
        return self.state.randint(*args, **kwargs)

    def uniform(self, *args: Any) -> Any:
        return self.state.uniform(*args)

    def random(self, *args: Any) -> Any:
        return self.state.random_sample(*args)

    def permutation(self, *args: Any) -> Any:
        return self.state.permutation(*args)

    def beta(self, *args: Any) -> Any:
        return self.state.beta(*args)


@pytest.fixture(scope="session")
def legacy_rng() -> type[LegacyRng]:
    return LegacyRng


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Any]]:
    """Load a golden .npz by its path below the root; its JSON texts are parsed."""

    def load(name: str) -> dict[str, Any]:
        path = GOLDEN_ROOT / name
        if not path.exists():
            pytest.skip(f"{name} is not in the part of the golden data that is here")
        with np.load(path) as file:
            arrays: dict[str, Any] = {key: file[key] for key in file.files}
        texts = {key: array for key, array in arrays.items() if array.dtype.kind == "U"}
        parsed = {key: json.loads(str(a)) for key, a in texts.items() if a.ndim == 0}
        return arrays | parsed

    return load


@pytest.fixture(scope="session")
def golden_root() -> Path:
    return GOLDEN_ROOT


def golden_names(pattern: str) -> list[str]:
    """List the golden files of a pattern that are here, for parametrize."""
    return sorted(str(path.relative_to(GOLDEN_ROOT)) for path in GOLDEN_ROOT.glob(pattern))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real clips, where DATA_ROOT names one."""
    root = os.environ.get("DATA_ROOT", "")
    if not root or not Path(root).is_dir():
        pytest.skip("DATA_ROOT names no folder of real clips")
    return Path(root)


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def torchrun() -> Callable[[int], list[str]]:
    """The command that starts the main script in so many processes, where that is tested itself."""

    def command(num_processes: int) -> list[str]:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        processes = [*launcher, str(num_processes)] if num_processes > 1 else []
        return [sys.executable, *processes, "main_ddp_shift.py"]

    return command


@pytest.fixture(scope="session")
def ranks(repository: Path) -> Ranks:
    """Runs a script in several processes, without seconds of imports in each."""
    return Ranks(repository)
