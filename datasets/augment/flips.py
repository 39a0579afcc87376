"""What a mirror image shows: the class of "left" becomes that of "right".

Two classes are a pair when their names differ only in words that a mirror exchanges. A class whose
name holds such a word but has no partner is never mirrored: its mirror image is of no class.
"""

import logging
import re
from collections.abc import Sequence

from yacs.config import CfgNode

from datasets.annotations import read_class_names

MIRRORED_WORDS = {
    "left": "right",
    "right": "left",
    "leftward": "rightward",
    "rightward": "leftward",
    "leftwards": "rightwards",
    "rightwards": "leftwards",
    "clockwise": "anticlockwise",
    "anticlockwise": "clockwise",
}
FROM_NAMES = "names"

_log = logging.getLogger(__name__)


def build_mirrored_labels(cfg: CfgNode) -> list[int | None]:
    """Return the class of each class's mirror image, as AUG.FLIP_PAIRS says; None: has none.

    Where AUG.FLIP mirrors nothing, no names are needed and each class is its own.

    Raises:
        ValueError: The pairs are malformed, or come from names that DATA.CLASS_NAMES does not give.
    """
    num_classes, text = cfg.MODEL.NUM_CLASSES, cfg.AUG.FLIP_PAIRS
    if not cfg.AUG.FLIP:
        return list(range(num_classes))
    names = read_class_names(cfg.DATA.CLASS_NAMES, num_classes) if cfg.DATA.CLASS_NAMES else []
    from_names = mirrored_by_name(names) if names else []
    if text == FROM_NAMES:
        if not names:
            raise ValueError("AUG.FLIP_PAIRS 'names' needs the class names, DATA.CLASS_NAMES")
        return from_names
    table = mirrored_by_pairs(parse_pairs(text, num_classes), num_classes)
    doubtful = [name for k, name in enumerate(names) if from_names[k] not in (k, table[k])]
    if doubtful:
        _log.warning(
            "AUG.FLIP mirrors clips of %s and keeps their class; AUG.FLIP_PAIRS names takes the "
            "class of the mirror image instead, AUG.FLIP False mirrors none",
            ", ".join(repr(name) for name in doubtful[:6]),
        )
    return table


def mirrored_by_name(names: Sequence[str]) -> list[int | None]:
    """Find each class's mirror image by its name.

    Args:
        names: Name of each class; case and punctuation are ignored, ``SwipeLeft`` is two words.

    Returns:
        For each class the class of its mirror image: itself, its partner, or None where the name
        tells left from right and the mirrored name is not there.
    """
    words = [_words(name) for name in names]
    place = {key: label for label, key in enumerate(words)}
    return [
        label if (mirrored := _mirrored(key)) == key else place.get(mirrored)
        for label, key in enumerate(words)
    ]


def mirrored_by_pairs(pairs: Sequence[tuple[int, int]], num_classes: int) -> list[int | None]:
    """Return the table of `mirrored_by_name` for given pairs; other classes are their own image."""
    table: list[int | None] = list(range(num_classes))
    for one, other in pairs:
        table[one], table[other] = other, one
    return table


def parse_pairs(text: str, num_classes: int) -> list[tuple[int, int]]:
    """Read pairs of classes written as ``86-87, 93-94``; an empty text holds none.

    Raises:
        ValueError: A pair is malformed, out of range, or a class is in two pairs.
    """
    pairs: list[tuple[int, int]] = []
    seen: set[int] = set()
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = re.fullmatch(r"(\d+)\s*-\s*(\d+)", part)
        pair = (int(match[1]), int(match[2])) if match else (-1, -1)
        if not all(0 <= label < num_classes for label in pair) or seen & {*pair}:
            raise ValueError(
                f"AUG.FLIP_PAIRS: {part!r} in {text!r}; allowed are '', 'names', or pairs of "
                f"classes 0..{num_classes - 1} like '86-87, 93-94', each class once"
            )
        seen |= {*pair}
        pairs.append(pair)
    return pairs


def _words(name: str) -> tuple[str, ...]:
    name = re.sub(r"(?i)(?:counter|anti)[\s_-]?clockwise", " anticlockwise ", name)
    return tuple(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+", name))


def _mirrored(words: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(MIRRORED_WORDS.get(word, word) for word in words)
