"""What lies in a file of weights, before anything is made of it."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple


class Found(NamedTuple):
    """What lies in a file.

    Attributes:
        tensors: Tensors, or numpy arrays, by their names in the file.
        place: Where they lie: the suffix of a file that holds nothing else, or ``state dict``, or
            ``checkpoint, its KEY``.
        source: The file.
        held: All names beside the tensors', for the message about a file of no known format.
        content: All that the file holds, where it holds more.
    """

    tensors: Mapping[str, Any]
    place: str
    source: str
    held: Sequence[str]
    content: Mapping[str, Any] = MappingProxyType({})
