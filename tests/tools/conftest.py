"""A tiny data set to be examined before a run, and a check of it."""

import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config import load_cfg
from tests.test_main import Experiment
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import Finding


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture
def examine(experiment: Experiment) -> Callable[..., Examination]:
    """Build the examination of the tiny run: KEY VALUE words, and fields by name."""

    def build(*words: object, **fields: Any) -> Examination:
        overrides = ["OUTPUT_DIR", str(experiment.run_folder), *map(str, words)]
        return Examination(load_cfg(experiment.config, overrides), **{"num_processes": 1, **fields})

    return build


@pytest.fixture(scope="session")
def takes_interrupts() -> Callable[[], None]:
    """For a new process: an interrupt ends it, even where the tests run in the background."""
    return partial(signal.signal, signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope="session")
def only() -> Callable[..., Finding]:
    """Return the one finding of a level, or whose text holds some words."""

    def find(findings: Any, level: str, words: str = "") -> Finding:
        found = [one for one in findings if one.level == level and words in one.text]
        assert len(found) == 1, found
        assert level == "ok" or found[0].fix
        return found[0]

    return find
