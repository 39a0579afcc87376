"""A list divided into parts: by class, whole recordings together, the same each time."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from config.values import shown

PARTS = ("train", "val", "test")


def read_shares(text: str) -> list[float]:
    """Return the shares of train, val and, where there are two or three, test.

    Args:
        text: Shares: ``0.8`` (the rest is val), ``0.7,0.15`` (the rest is test), or all three.

    Raises:
        ValueError: They are no shares, or add up to more or less than 1.
    """
    try:
        shares = [float(word) for word in text.split(",")]
    except ValueError:
        shares = []
    if 1 <= len(shares) <= 2:
        shares.append(1 - sum(shares))
    if not 2 <= len(shares) <= 3 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"--split {text}: give the share of the training list, as 0.8, or the shares of "
            "training, validation and test, as 0.7,0.15,0.15"
        )
    return shares


def recordings(paths: Sequence[str], pattern: str) -> list[str]:
    """Return the recording of each video: what a regular expression finds in its path.

    Args:
        paths: Paths of the videos as in the list.
        pattern: Regular expression whose groups, or else all that it matches, name the recording;
            empty: each path is one of its own.

    Raises:
        ValueError: It is no regular expression, or finds nothing in a path.
    """
    if not pattern:
        return list(paths)
    try:
        found = [re.search(pattern, path) for path in paths]
    except re.error as error:
        raise ValueError(f"--group-by {shown(pattern)} is no regular expression: {error}") from None
    names = ["\0".join(map(str, m.groups())) or m[0] if m else "" for m in found]
    lost = [path for path, name in zip(paths, names, strict=True) if not name]
    if lost:
        raise ValueError(
            f"--group-by {shown(pattern)} finds nothing in {len(lost)} of {len(paths)} paths; "
            f"first: {shown(lost[0])}"
        )
    return names


def divide(
    labels: Sequence[int], groups: Sequence[str], shares: Sequence[float], seed: int
) -> list[int]:
    """Return the part of each video: classes in proportion, groups whole.

    Large groups are dealt first, each to the part that lacks most of its classes. A class of at
    least as many groups as there are parts gets one in each, if its groups are of one class.

    Args:
        labels: Class of each video.
        groups: Recording of each video.
        shares: Shares of the parts; they add up to 1.
        seed: Seed that decides which groups go where.
    """
    videos: dict[str, Counter[int]] = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        videos[group][label] += 1
    due = _due(labels, [*videos.values()], shares)
    have = [Counter[int]() for _ in shares]
    names = list(videos)
    np.random.default_rng(seed).shuffle(names)
    part_of = {}
    for name in sorted(names, key=lambda name: -videos[name].total()):
        costs = [_cost(videos[name], mine, wanted) for mine, wanted in zip(have, due, strict=True)]
        part = int(np.argmin(costs))
        have[part] += videos[name]
        part_of[name] = part
    return [part_of[group] for group in groups]


def count_table(
    labels: Sequence[int], parts: Sequence[int], class_names: Sequence[str], names: Sequence[str]
) -> list[str]:
    """Return the lines of a table: the videos of each class in each part."""
    counts = Counter(zip(labels, parts, strict=True))
    width = max(map(len, [*class_names, "class"]))
    lines = [f"{'class':{width}}" + "".join(f"{name:>8}" for name in names)]
    for label, class_name in enumerate(class_names):
        row = "".join(f"{counts[label, part]:8d}" for part in range(len(names)))
        lines.append(f"{class_name:{width}}{row}")
    return lines


def _due(
    labels: Sequence[int], groups: Sequence[Counter[int]], shares: Sequence[float]
) -> list[dict[int, float]]:
    """Return how many videos of each class each part should have."""
    num_groups = Counter(label for group in groups for label in group)
    due: list[dict[int, float]] = [{} for _ in shares]
    for label, number in Counter(labels).items():
        smallest = number / num_groups[label]
        least = smallest if num_groups[label] >= len(shares) else 0.0
        rest = [max(share * number, least) for share in shares[1:]]
        for part, wanted in enumerate([number - sum(rest), *rest]):
            due[part][label] = wanted
    return due


def _cost(group: Counter[int], have: Counter[int], due: dict[int, float]) -> float:
    """Return how much further from its due a part comes with a group, squared and by class."""
    return sum(n * (2 * (have[label] - due[label]) + n) / n for label, n in group.items())
