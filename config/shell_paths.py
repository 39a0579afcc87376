"""Paths as a shell would read them: ``~`` and variables, where a yml or a flag hid them from it."""

import os
import re

PATH_KEYS = (
    "OUTPUT_DIR",
    "DATA.ROOT",
    "DATA.TRAIN_LIST",
    "DATA.VAL_LIST",
    "DATA.TEST_LIST",
    "DATA.CLASS_NAMES",
    "DISTILL.TEACHER",
    "DISTILL.TEACHER_CFG",
    "DISTILL.LOGITS",
    "LOSS.CLASS_WEIGHTS",
)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)


def expanded(path: str, name: str, is_strict: bool) -> str:
    """Return a path with ``~`` and ``~USER`` as home folders, and with variables as their values.

    Args:
        path: Path as written. One with a dollar sign that exists as it is stays.
        name: Name of the key or flag, for the message.
        is_strict: Whether a variable that is not set is an error; False: it is a part of the path.

    Raises:
        ValueError: A variable is not set.
    """
    if not path or "\0" in path or ("$" in path and os.path.lexists(path)):
        return path
    found = os.path.expandvars(os.path.expanduser(path))  # noqa: PTH111 - Path drops a last slash
    unset = _VARIABLE.search(found)
    if unset and is_strict and unset[0] in path:
        variable = unset[1] or unset[2]
        raise ValueError(f"{name}={path!r}: the variable {variable!r} is not set")
    return found
