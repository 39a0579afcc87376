"""The account of a file of weights that was loaded."""

from dataclasses import dataclass, field


@dataclass
class LoadReport:
    """What became of every tensor of a file and of a model.

    Attributes:
        source: The file.
        kind: What sort of file it is.
        loaded: Names taken over as they are.
        resized: Name to how it was resized.
        copied: Name to the name in the file that stood in for it.
        reinitialised: Name to why it was set afresh.
        ignored: Names in the file that have no place in the model, and are known not to.
        notes: What else the user should know.
        class_names: By label, where the file says them.
    """

    source: str
    kind: str
    loaded: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    copied: dict[str, str] = field(default_factory=dict)
    reinitialised: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    class_names: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Show the report, a line per kind of outcome."""
        lines = [f"weights from {self.source} ({self.kind}): {len(self.loaded)} tensors loaded"]
        lines += [f"  resized: {name}: {how}" for name, how in self.resized.items()]
        lines += [f"  copied: {name}: from {source}" for name, source in self.copied.items()]
        lines += [f"  re-initialised: {name}: {why}" for name, why in self.reinitialised.items()]
        if self.ignored:
            lines.append(f"  ignored: {', '.join(self.ignored)}")
        lines += [f"  note: {note}" for note in self.notes]
        return "\n".join(lines)
