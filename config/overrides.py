"""The words of a command line that set keys: KEY VALUE or KEY=VALUE, in any mixture."""

from collections.abc import Sequence

from config.values import shown


def override_pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return the keys with their values, as they were written.

    A word where a key is due is split at its first ``=``; what is due as a value stays whole.

    Args:
        words: KEY VALUE KEY=VALUE ...

    Raises:
        ValueError: The last key has no value, or an ``=`` stands by itself.
    """
    pairs, rest = [], iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            value = next(rest, "=")  # which is no value of any key
        if not equals and value == "=":
            raise ValueError(
                "overrides come as KEY=VALUE, without spaces, or as KEY VALUE pairs; "
                f"{shown(word)} has no value"
            )
        pairs.append((key, value))
    return pairs
