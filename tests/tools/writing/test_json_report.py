import json
import os
import threading
from pathlib import Path

import pytest

from engine.whole_file import UnwritableError
from tools.writing.json_report import write_json

CONTENT = {"name": "caf\udce9", "rows": [1.5, None]}


def test_content_is_read_back_and_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "out.json")
    (tmp_path / "out.json").write_text("old")
    write_json(tmp_path / "link.json", CONTENT)
    assert json.loads((tmp_path / "out.json").read_text()) == CONTENT
    assert (tmp_path / "link.json").is_symlink()


def test_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    write_json(pipe, CONTENT)
    reader.join(5)
    assert json.loads(read[0]) == CONTENT
    assert pipe.is_fifo()


def test_missing_folder_is_told_by_the_file(tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match=r"cannot write '.*none/out.json': .*folder is gone"):
        write_json(tmp_path / "none/out.json", CONTENT)
