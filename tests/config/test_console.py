import os
import subprocess
import sys
from pathlib import Path

import pytest

CLASSES = "run", "上"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_tool_shows_names_that_the_console_has_no_letters_for(
    encoding: str, tmp_path: Path, repository: Path
) -> None:
    for name in CLASSES:
        (tmp_path / "videos" / name).mkdir(parents=True)
        for file in (b"caf\xe9.mp4", b"a.mp4"):
            (tmp_path / "videos" / name / os.fsdecode(file)).write_bytes(b"x")
    done = subprocess.run(
        [
            *(sys.executable, "tools/make_lists.py", "tree", tmp_path / "videos"),
            *("--split", "0.5", "--output", tmp_path / "lists"),
        ],
        cwd=repository,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    shown = CLASSES[1].encode(encoding, errors="backslashreplace")
    assert shown in done.stdout, done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
