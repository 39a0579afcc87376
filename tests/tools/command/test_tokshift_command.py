import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.command import tokshift_command


def run(repository: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(repository / "tools/command/tokshift_command.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_lists_every_script_with_what_it_does(repository: Path) -> None:
    lines = run(repository).stdout.splitlines()[2:]
    listed = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}
    scripts = {path.stem for path in (repository / "tools").glob("*.py")} - {"__init__"}
    assert set(listed) == {"train", "test"} | scripts
    assert all(len(summary) > 10 for summary in listed.values())


def test_script_gets_the_command_line_and_gives_its_exit_code(repository: Path) -> None:
    shown = run(repository, "flops", "--help")
    assert shown.returncode == 0
    assert "usage: flops.py" in shown.stdout
    wrong = run(repository, "make-lists", "nothing")
    assert wrong.returncode == 2
    assert "make_lists.py" in wrong.stderr


def test_shell_scripts_find_this_python_first(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, Sequence[str], dict[str, str]]] = []
    monkeypatch.setattr("os.execvpe", lambda *words: calls.append(words))
    tokshift_command.main(["train", "--cfg", "x.yml"])
    ((program, words, environment),) = calls
    assert program == "bash"
    assert words[2:] == ["--cfg", "x.yml"]
    assert Path(words[1]).name == "train.sh"
    assert environment["PATH"].split(":")[0] == str(Path(sys.executable).parent)


def test_unknown_command_and_a_lost_repository_are_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert tokshift_command.main(["trian"]) == 2
    assert capsys.readouterr().err.startswith("error: tokshift trian: no such command; there are")
    monkeypatch.setattr(tokshift_command, "REPOSITORY", tmp_path)
    assert tokshift_command.main(["train"]) == 2
    assert "pip install -e ." in capsys.readouterr().err
