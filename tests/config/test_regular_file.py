import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from config import load_cfg
from config.class_names import read_class_names
from config.regular_file import check_regular, open_regular


@pytest.fixture(params=["FIFO", "socket", "device"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def irregular(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Something that is no file; the pipe would be waited at for ever."""
    if kind == "device":
        yield Path(os.devnull)
    elif kind == "FIFO":
        os.mkfifo(tmp_path / "it")
        yield tmp_path / "it"
    else:
        monkeypatch.chdir(tmp_path)  # the name of a socket is short
        with socket.socket(socket.AF_UNIX) as own:
            own.bind("it")
            yield tmp_path / "it"


@pytest.mark.parametrize("use", [open_regular, check_regular])
def test_what_is_no_file_is_named_as_what_it_is(
    use: Callable[[Path], object], kind: str, irregular: Path
) -> None:
    with pytest.raises(OSError, match=f"^it is a {kind}, not a file$") as caught:
        use(irregular)
    assert caught.value.filename == str(irregular)


def test_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "it")
    monkeypatch.setattr("config.regular_file.check_regular", lambda path: None)
    with pytest.raises(OSError, match="it is a FIFO"):
        open_regular(tmp_path / "it")


def test_folder_and_missing_file_are_the_errors_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "none")


def test_configs_and_class_names_that_are_no_files_are_errors(kind: str, irregular: Path) -> None:
    with pytest.raises(ValueError, match=f"cannot read the config .*: it is a {kind}, not a file"):
        load_cfg(irregular)
    with pytest.raises(ValueError, match=f"cannot read DATA.CLASS_NAMES .*: it is a {kind}"):
        read_class_names(irregular, 3)
