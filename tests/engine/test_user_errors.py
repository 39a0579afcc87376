import errno
import logging
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.run_log import RunLog
from engine.user_errors import user_errors_shown
from engine.whole_file import unwritable, whole_file


def way_out() -> str:
    return "runs/a is saved; --resume goes on"


def read_missing(folder: Path) -> None:
    (folder / "missing.yml").read_text()


def fill_disk(folder: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("fail", "line"),
    [
        (read_missing, "missing.yml': No such file or directory"),
        (fill_disk, "No space left on device"),
    ],
)
def test_error_of_a_file_is_one_line(
    fail: Callable[[Path], None], line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended, user_errors_shown(True, way_out):
        fail(tmp_path)
    assert ended.value.code == 1
    (record,) = caplog.records
    assert record.message.startswith("error: ")
    assert record.message.endswith(line)
    assert not record.exc_info


def test_file_that_cannot_be_written_is_told_with_the_way_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = unwritable(Path("a/last.pth"), OSError(errno.EROFS, "Read-only file system"))
    with pytest.raises(SystemExit), user_errors_shown(False, way_out):
        raise error
    (record,) = caplog.records
    assert record.message == (
        "error: cannot write 'a/last.pth': Read-only file system; it lies on a read-only file "
        "system; runs/a is saved; --resume goes on"
    )


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "reset"), OSError("x")])
def test_other_errors_keep_their_traceback(error: OSError) -> None:
    with pytest.raises(type(error)), user_errors_shown(True, way_out):
        raise error


def test_disk_that_takes_no_line_either_is_still_one_line(tmp_path: Path) -> None:
    shown: list[str] = []
    console = logging.Handler()
    console.emit = lambda record: shown.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(console)
    runlog = RunLog(tmp_path)
    _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit))
    try:
        with (
            pytest.raises(SystemExit),
            user_errors_shown(True, way_out),
            whole_file(tmp_path / "last.pth") as file,
        ):
            file.write(bytes(99))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        runlog.close()
        root.removeHandler(console)
    assert len(shown) == 1
    assert "cannot write" in shown[0]
    assert "last.pth" in shown[0]


@pytest.mark.parametrize(
    "text",
    [
        "DataLoader worker (pid 7) is killed by signal: Killed. ",
        "DataLoader worker (pid(s) 7, 8) exited unexpectedly",
        "DataLoader timed out after 600.0 seconds",
    ],
)
def test_loader_that_is_lost_is_one_line(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended, user_errors_shown(is_common_shown=True):
        raise RuntimeError(text)
    assert ended.value.code == 1
    (record,) = caplog.records
    assert record.message.startswith("error: process 0 on ")
    assert "lower DATA.WORKERS" in record.message


def test_other_errors_of_torch_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError), user_errors_shown(is_common_shown=True):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
