"""The content of a file of weights, before it is converted."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple


class Found(NamedTuple):
    """The content of a file of weights.

    Attributes:
        tensors: Tensors, or numpy arrays, by their names in the file.
        place: Place of the weights: the suffix of a file that holds nothing else, ``state dict``,
            or ``checkpoint, its KEY``.
        source: The file.
        held: All names beside the tensors', for the message about a file of no known format.
        content: Whole content of the file, where it holds more than weights.
    """

    tensors: Mapping[str, Any]
    place: str
    source: str
    held: Sequence[str]
    content: Mapping[str, Any] = MappingProxyType({})
