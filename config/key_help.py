"""What each key of a config is for: its default, and the comment above it in the defaults."""

import re
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from config.legacy import LEGACY_KEYS
from config.loading import KEYS, nearest_keys
from config.values import shown

FILES = ("defaults.py", "model_defaults.py", "training_defaults.py")
_ASSIGNMENT = re.compile(r"_C\.([A-Z0-9_.]+) = ")
_MAX_WIDTH = 100
_NUM_NEAREST = 4


@dataclass(frozen=True)
class KeyHelp:
    """Keys that stand below one comment.

    Attributes:
        keys: Dotted names, in their order; or one section that has a comment of its own.
        comment: Comment that explains them.
    """

    keys: tuple[str, ...]
    comment: str

    def text(self, width: int) -> str:
        """Return the keys with their defaults, then the comment in lines of a width."""
        heads = [f"{k}  default {KEYS[k]!r}" if k in KEYS else f"{k}  a section" for k in self.keys]
        indent = " " * 4
        body = textwrap.wrap(
            self.comment,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\n".join([*heads, *body])


def explained_keys() -> list[KeyHelp]:
    """Return all keys with their comments, as the files of the defaults have them."""
    folder = Path(__file__).parent
    texts = [(folder / name).read_text(encoding="utf-8") for name in FILES]
    return [found for text in texts for found in _explained(text.splitlines())]


def shown_keys(pattern: str) -> str:
    """Return the keys of a pattern with default and comment, as the console shows them.

    Args:
        pattern: Part of a key, or a released one; with ``*``, ``?`` or ``[`` the whole of it; in
            any case of letters. Where no key has it, the comments are looked through.

    Raises:
        ValueError: Nothing matches; the text names the nearest keys.
    """
    all_keys = explained_keys()
    found = list(_named(all_keys, pattern.strip().upper()))
    if not found:
        words = pattern.strip().lower()
        found = [one for one in all_keys if words in one.comment.lower()]
    if not found:
        nearest = ", ".join(nearest_keys(pattern.strip(), _NUM_NEAREST))
        raise ValueError(f"no key, and no comment on one, has {shown(pattern)}; nearest: {nearest}")
    width = min(shutil.get_terminal_size((80, 24)).columns, _MAX_WIDTH)
    return "\n\n".join(one.text(width) for one in found) + "\n"


def _named(all_keys: Sequence[KeyHelp], pattern: str) -> Iterator[KeyHelp]:
    """Yield what has a pattern, in capitals, in its name: the keys that do, with their comment."""
    released = LEGACY_KEYS[pattern].keys if pattern in LEGACY_KEYS else ()
    wanted = pattern if re.search(r"[*?[]", pattern) else f"*{pattern}*"
    for one in all_keys:
        keys = [key for key in one.keys if key in released or fnmatchcase(key, wanted)]
        if keys:
            yield KeyHelp(tuple(keys), one.comment)


def _explained(lines: Sequence[str]) -> Iterator[KeyHelp]:
    """Yield what a file of defaults explains; assignments in a row share the comment above."""
    comment, keys = list[str](), list[str]()
    for line in [*lines, ""]:
        if keys and (line.endswith(" = CN()") or not line.startswith("_C.")):
            yield KeyHelp(tuple(keys), " ".join(comment))
            comment, keys = [], []
        if line.startswith("# "):
            comment.append(line[2:])
        assigned = _ASSIGNMENT.match(line)
        if assigned and comment:
            keys.append(assigned[1])
