"""The command `tokshift`, which starts the scripts of the repository that it was installed from.

It is all that `pip install -e .` installs beside the requirements: the packages `config`, `models`
and `datasets` would hide other people's.
"""

import ast
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = {"train": "train.sh", "test": "test.sh"}


def main(argv: Sequence[str] | None = None) -> int:
    """Become the script that the first word names, with the others as its command line.

    Returns:
        2 where there is no such script, 0 after the list of all; otherwise it does not return.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not (REPOSITORY / "main_ddp_shift.py").exists():
        sys.stderr.write("error: tokshift needs its repository: there, pip install -e .\n")
        return 2
    paths = commands()
    name = words[0].replace("-", "_") if words else "help"
    if name in ("help", "_h", "__help"):
        sys.stdout.write(_overview(paths))
        return 0
    if name in paths:
        _become(paths[name], words[1:])
    there = ", ".join(paths)
    sys.stderr.write(f"error: tokshift {words[0]}: no such command; there are {there}\n")
    return 2


def commands() -> dict[str, Path]:
    """Return the scripts by the name of their command: train and test, then the tools."""
    tools = sorted(path for path in (REPOSITORY / "tools").glob("*.py") if path.stem[0] != "_")
    scripts = {name: REPOSITORY / script for name, script in SCRIPTS.items()}
    return {**scripts, **{path.stem: path for path in tools}}


def _become(path: Path, words: Sequence[str]) -> NoReturn:
    if path.suffix == ".py":
        os.execv(sys.executable, [sys.executable, str(path), *words])
    # the shell scripts take the first Python of the path that has what they need: this one
    folders = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.execvpe("bash", ["bash", str(path), *words], os.environ | {"PATH": folders})


def _overview(paths: dict[str, Path]) -> str:
    lines = [f"  {name:<20} {_summary(path)}" for name, path in paths.items()]
    return "\n".join(["usage: tokshift COMMAND ...; tokshift COMMAND --help", "", *lines, ""])


def _summary(path: Path) -> str:
    """Return the first line of what a script says of itself."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".sh":
        return text.splitlines()[1].removeprefix("# ")
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
