from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ranks import Ranks


@pytest.fixture
def run_processes(tmp_path: Path, ranks: Ranks) -> Callable[..., None]:
    """Run a script's text in several processes on the CPU.

    Each gets `{rank}` in its arguments filled in, and, if it is launched, what a launcher puts into
    the environment.
    """

    def run(script: str, *arguments: str, num: int, is_launched: bool = False) -> None:
        path = tmp_path / "worker.py"
        path.write_text(script)
        done = ranks.run(num, path, *arguments, is_launched=is_launched)
        assert done.returncode == 0, done.stdout

    return run
