"""Weights of another library under our names, and what became of each."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from models.weights import State

Table = Sequence[tuple[str, str]]  # a regular expression, what stands in place of what it matches


@dataclass
class Conversion:
    """The result of converting a file.

    Attributes:
        state: The weights under our names. Names that are not known are kept, to be left over.
        ignored: Names in the file that are known to have no place in a model of ours.
        renamed: The name in the file by our name, where they differ.
        fused: The names in the file that one of ours is joined from.
        filled: Names of ours that the file cannot have, to what they are filled with.
        notes: Remarks for the user.
    """

    state: State
    ignored: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    fused: dict[str, list[str]] = field(default_factory=dict)
    filled: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def convert(
    tensors: Mapping[str, Tensor], table: Table, source: str, left_out: str | None = None
) -> Conversion:
    """Rename tensors by a table.

    Args:
        tensors: Tensors by their names in the file.
        table: Replacements, applied to each name in this order.
        source: The file.
        left_out: Regular expression of the beginnings of names that have no place in our model.

    Raises:
        ValueError: Two tensors would have one name.
    """
    conversion = Conversion({})
    for theirs, value in tensors.items():
        if left_out is not None and re.match(left_out, theirs):
            conversion.ignored.append(theirs)
            continue
        ours = theirs
        for pattern, replacement in table:
            ours = re.sub(pattern, replacement, ours)
        if ours in conversion.state:
            both = f"{conversion.renamed.get(ours, ours)} and {theirs}"
            raise ValueError(f"{source} holds two tensors for {ours}: {both}")
        conversion.state[ours] = value
        if ours != theirs:
            conversion.renamed[ours] = theirs
    return conversion


def has_tensors(state: Mapping[str, Tensor], dims: Mapping[str, int]) -> bool:
    """Tell whether weights hold tensors of so many dimensions, by name: what sizes are read off."""
    return all(name in state and state[name].dim() == count for name, count in dims.items())
