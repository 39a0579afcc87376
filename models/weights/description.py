"""Descriptions of networks in the keys of our config, read from files of other libraries."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass
class Description:
    """A network as its file describes it.

    Attributes:
        values: Values by the keys of the config, as ``MODEL.NAME``.
        lacking: Keys that neither the file nor the name of its network tells, each with the reason
            why it matters.
        class_names: Names of the classes, by label; empty where the file has none.
        notes: Remarks on what was assumed, and on what the network does that no key stands for.
    """

    values: dict[str, Any]
    lacking: dict[str, str] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def yml(self) -> str:
        """Return the values as the text of a yml file."""
        tree: dict[str, Any] = {}
        for key, value in self.values.items():
            *sections, name = key.split(".")
            node = tree
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = value
        return yaml.safe_dump(tree, sort_keys=False)

    def pixels(self) -> tuple[list[float], list[float]] | None:
        """Return mean and std of its pixels, where they are known."""
        mean, std = (self.values.get(key) for key in ("DATA.PIXEL_MEAN", "DATA.PIXEL_STD"))
        return (mean, std) if mean and std else None

    def check_complete(self, source: str, given: Sequence[str], way_out: str) -> None:
        """Raise ValueError, with the keys to set, where the user has to say something.

        Args:
            source: The file.
            given: Keys that the user sets.
            way_out: Flag that names a config.
        """
        lacking = {key: why for key, why in self.lacking.items() if key not in given}
        if lacking:
            reasons = "; ".join(f"{key}: {why}" for key, why in lacking.items())
            raise ValueError(
                f"{source} does not say {', '.join(lacking)}, nor do its weights: give KEY VALUE, "
                f"or a config with {way_out} ({reasons})"
            )
