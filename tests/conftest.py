"""Fixtures that several test folders share."""

import json
import logging
import os
import re
import socket

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: the golden data were made with one thread
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from yacs.config import CfgNode

from config import load_cfg_text
from tests.clip_files import clip_kind, make_clip  # noqa: F401 - fixtures
from tests.ranks import Ranks

GOLDEN_ROOT = Path(os.environ.get("GOLDEN_ROOT") or Path(__file__).parent / "golden")
# The tiny ViT of the released golden data; a file's `arch` names only what differs from it.
RELEASED_SIZES = {"patch": 16, "hidden": 48, "mlp": 96, "heads": 4, "layers": 2}
SIZE_NAMES = {
    "patch": "patch_size",
    "hidden": "hidden_size",
    "mlp": "mlp_dim",
    "heads": "num_heads",
    "layers": "num_layers",
}


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


@pytest.fixture(autouse=True)
def log_of_its_own() -> Generator[None, None, None]:
    """Put the root logger back: a tool's handler would write to the closed console of its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True, scope="module")
def trainings_without_pictures(request: pytest.FixtureRequest) -> Generator[None, None, None]:
    """Hundreds of trainings here would each draw for half a second what no test reads."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.name.startswith("test_main"):
            for module in ("curves", "confusion"):
                patch.setattr(f"engine.{module}.can_draw", lambda: False)
        yield


@pytest.fixture(scope="session")
def legacy_rng() -> type[LegacyRng]:
    return LegacyRng


# The golden data: fixtures for what a test reads, functions for what it is parametrized by


@pytest.fixture(scope="session")
def golden_path() -> Callable[[str], Path]:
    """Find a golden file or folder by its path below the root; skip the test where it is absent."""

    def find(name: str) -> Path:
        if not (GOLDEN_ROOT / name).exists():
            pytest.skip(f"{name} is not in the part of the golden data that is here")
        return GOLDEN_ROOT / name

    return find


@pytest.fixture(scope="session")
def golden(golden_path: Callable[[str], Path]) -> Callable[[str], dict[str, Any]]:
    """Load a golden .npz by its path below the root; its JSON texts are parsed."""

    def load(name: str) -> dict[str, Any]:
        with np.load(golden_path(name)) as file:
            arrays: dict[str, Any] = {key: file[key] for key in file.files}
        texts = {key: array for key, array in arrays.items() if array.dtype.kind == "U"}
        parsed = {key: json.loads(str(a)) for key, a in texts.items() if a.ndim == 0}
        return arrays | parsed

    return load


@pytest.fixture(scope="session")
def golden_json(golden_path: Callable[[str], Path]) -> Callable[[str], Any]:
    return lambda name: json.loads(golden_path(name).read_text())


@pytest.fixture(scope="session")
def golden_root() -> Path:
    return GOLDEN_ROOT


def golden_names(pattern: str) -> list[str]:
    """List the golden files of a pattern that are here, for parametrize."""
    return sorted(str(path.relative_to(GOLDEN_ROOT)) for path in GOLDEN_ROOT.glob(pattern))


def golden_content(name: str) -> Any:
    """Read a golden JSON file for parametrize; it is empty where it is absent."""
    path = GOLDEN_ROOT / name
    return json.loads(path.read_text()) if path.exists() else {}


def golden_arrays(name: str, pattern: str) -> list[Any]:
    """List what the groups of a pattern stand for in the names of a golden .npz, for parametrize.

    Args:
        name: Path of the file below the root.
        pattern: Regular expression with groups, for whole names.

    Returns:
        For each name that fits, its groups, or its only group; numbers are ints.
    """
    if not (GOLDEN_ROOT / name).exists():
        return []
    with np.load(GOLDEN_ROOT / name) as file:
        found = filter(None, (re.fullmatch(pattern, key) for key in file.files))
        groups = [tuple(int(g) if g.isdecimal() else g for g in match.groups()) for match in found]
    return [group if len(group) > 1 else group[0] for group in groups]


def stated_number(system: str, pattern: str, default: int) -> int:
    """Read a number that a set states in the README of a system alone, by the pattern's group.

    Args:
        system: Folder of the README below the root.
        pattern: Regular expression with one group.
        default: The number in the part that stands in this repository, without those READMEs.
    """
    path = GOLDEN_ROOT / system / "README.md"
    found = re.search(pattern, path.read_text()) if path.exists() else None
    return int(found[1]) if found else default


def paddle_names(framework: str, file: str) -> list[str]:
    """List PaddleVideo's golden models of a framework that have a file, for parametrize."""
    found = []
    for name in golden_names(f"paddlevideo/models/*/{file}"):
        config = golden_content(name.replace(file, "config.json"))
        if config and config["model"]["framework"] == framework:
            found.append(Path(name).parent.name)
    return found


def released_sizes(arch: dict[str, int]) -> dict[str, int]:
    """Return the sizes of a ViT of the released golden data, as `models.vit.ViTSize` has them."""
    return {SIZE_NAMES[key]: value for key, value in (RELEASED_SIZES | arch).items()}


def released_words(arch: dict[str, int]) -> list[str]:
    """Return the sizes of such a ViT as overrides of a config."""
    sizes = released_sizes(arch).items()
    return [word for key, value in sizes for word in (f"MODEL.VIT.{key.upper()}", str(value))]


@pytest.fixture(scope="session")
def released_cfg(golden: Callable[[str], dict[str, Any]]) -> Callable[..., CfgNode]:
    """The config of the released end-to-end run, in our tree, with overrides."""
    run = golden("tokshift/f_eval.npz")
    text, sizes = yaml.safe_dump(run["cfg"]), released_words(run["arch"])
    return lambda *overrides: load_cfg_text(text, "the released run", [*sizes, *overrides])


RELEASED_CHECKPOINTS = golden_names("tokshift/f_e2e/*.pth")  # one content, saved in several ways


@pytest.fixture(scope="session")
def released_checkpoint() -> Path:
    """A checkpoint of the released end-to-end run, whichever is here."""
    if not RELEASED_CHECKPOINTS:
        pytest.skip("the released checkpoint is not in the part of the golden data that is here")
    return GOLDEN_ROOT / RELEASED_CHECKPOINTS[0]


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


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Find a port of this host that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape names that are not UTF-8 in what a test says: it ends a worker of pytest-xdist."""
    report = yield
    report.sections = [(title, _escaped(text)) for title, text in report.sections]
    if report.longrepr is not None and _escaped(str(report.longrepr)) != str(report.longrepr):
        report.longrepr = _escaped(str(report.longrepr))
    return report


def _escaped(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
