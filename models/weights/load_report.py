"""The account of a file of weights that was loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NUM_SHOWN = 3  # pairs of names in a line
NUM_IGNORED = 12  # a CLIP's texts are hundreds
PIXEL_TOLERANCE = 0.002  # half a grey level: files round the same numbers otherwise


@dataclass
class LoadReport:
    """A report of what became of every tensor of a file and of a model.

    Attributes:
        source: The file.
        kind: Kind of the file.
        loaded: Names whose tensors are taken over as they are.
        renamed: Name to the name in the file, where they differ.
        fused: Name to the names in the file that it was joined from.
        filled: Name to what it was filled with, as such a file cannot have it.
        resized: Name to how it was resized.
        copied: Name to the name in the file that stood in for it.
        reinitialised: Name to why it was set afresh.
        ignored: Names in the file that have no place in the model, and are known not to.
        notes: Remarks for the user.
        caveat: Reason why the weights are of no use but for a trial; empty where there is none.
        class_names: Names of the classes by label, where the file says them.
        pixels: Mean and std of the pixels that the weights were trained on, where that is known.
    """

    source: str
    kind: str
    loaded: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    fused: dict[str, list[str]] = field(default_factory=dict)
    filled: dict[str, str] = field(default_factory=dict)
    resized: dict[str, str] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    reinitialised: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    caveat: str = ""
    class_names: list[str] = field(default_factory=list)
    pixels: tuple[list[float], list[float]] | None = None

    def pixel_remark(self, mean: Sequence[float], std: Sequence[float]) -> str:
        """Say that the weights were trained on other pixels than they are given; "" if not.

        Args:
            mean: DATA.PIXEL_MEAN.
            std: DATA.PIXEL_STD.
        """
        theirs = [value for values in self.pixels or () for value in values]
        if all(abs(a - b) < PIXEL_TOLERANCE for a, b in zip(theirs, [*mean, *std], strict=False)):
            return ""
        return (
            f"{self.source} was trained on pixels of mean {theirs[:3]} and std {theirs[3:]}, and "
            f"is given DATA.PIXEL_MEAN {list(mean)}, DATA.PIXEL_STD {list(std)}"
        )

    def __str__(self) -> str:
        """Show the report, a line per kind of outcome."""
        lines = [f"weights from {self.source} ({self.kind}): {len(self.loaded)} tensors loaded"]
        lines += _pairs("renamed", {ours: [theirs] for ours, theirs in self.renamed.items()})
        lines += _pairs("fused", self.fused)
        for what in dict.fromkeys(self.filled.values()):
            names = [name for name, how in self.filled.items() if how == what]
            lines.append(f"  filled: {_few(names)}: {what}")
        lines += [f"  resized: {name}: {how}" for name, how in self.resized.items()]
        lines += [f"  copied: {name}: from {source}" for name, source in self.copied.items()]
        lines += [f"  re-initialised: {name}: {why}" for name, why in self.reinitialised.items()]
        if self.ignored:
            lines.append(f"  ignored: {_few(self.ignored, NUM_IGNORED)}")
        lines += [f"  note: {note}" for note in (*self.notes, *filter(None, [self.caveat]))]
        return "\n".join(lines)


def _pairs(what: str, names: Mapping[str, Sequence[str]]) -> list[str]:
    """Say how many names were changed, and the first as examples: a network has hundreds."""
    if not names:
        return []
    return [f"  {what}: " + _few([f"{' + '.join(b)} -> {a}" for a, b in names.items()])]


def _few(names: Sequence[str], num_shown: int = NUM_SHOWN) -> str:
    rest = f" and {len(names) - num_shown} more" if len(names) > num_shown else ""
    return ", ".join(names[:num_shown]) + rest
