"""PaddleVideo's ``.pdparams`` files: read without running code from them, renamed to ours."""

import io
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from config.regular_file import open_regular
from models.video_model import VideoModel
from models.weights import State
from models.weights.archive import largest_content
from models.weights.plain_pickle import Global, PickleReader
from ops.channel_shift import ChannelShift

_NAME_TABLE = "StructuredToParameterName@@"
_SLICES = "UnpackBigParamInfor@@"
_CODE = re.compile(r"b1|[iu][1248]|f[248]")  # numpy's, of numbers alone
_DTYPE, _ARRAY = Global("numpy", "dtype"), Global("numpy", "ndarray")
# of files from before and after numpy 2
_NEW_ARRAYS = tuple(
    Global(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")
)
_ENCODE = Global("_codecs", "encode")  # how pickle protocol 2 writes bytes
_UNITS = {"conv": ("conv{}", "bn{}"), "short": ("downsample.0", "downsample.1")}
_BUFFERS = {"_mean": "running_mean", "_variance": "running_var"}
_UNIT = re.compile(
    r"(?:res(?P<stage>[2-5])(?P<letter>[a-z])(?P<number>\d*)\.)?"
    r"(?P<kind>conv|short)(?P<index>\d?)\.(?P<part>_conv|_batch_norm)\.(?P<leaf>\w+)"
)
# The maps that blocks hand on: what writes their channels, and what reads them.
_WRITES = re.compile(r"(conv1|bn1|layer\d\.\d+\.(conv3|bn3|downsample\.[01]))\.")
_READS = re.compile(r"layer\d\.\d+\.(conv1|downsample\.0)\.weight|fc\.weight")


def read_pdparams(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of a ``.pdparams`` file by Paddle's names; linear weights are (in, out).

    Raises:
        ValueError: There is no such file, or it holds anything but numbers in numpy arrays.
    """
    if not Path(path).is_file():
        raise ValueError(f"weights {str(path)!r} are not a file")
    try:
        with open_regular(path) as file:
            data = file.read()
        content = PickleReader(_call, _build, _persistent).read(io.BytesIO(data))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a readable .pdparams file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; a .pdparams file is a dict")
    content.pop(_NAME_TABLE, None)
    slices = content.pop(_SLICES, {})
    arrays, bytes_left = {}, largest_content(len(data))
    for name, stored in content.items():
        if not isinstance(stored, _StoredArray) or not isinstance(name, str):
            raise ValueError(f"{path}: {name!r} is no array of numbers but {type(stored).__name__}")
        arrays[name] = stored.array(f"{path}: {name}")
        bytes_left -= arrays[name].nbytes  # one array may have many names
        if bytes_left < 0:
            raise ValueError(f"{path}: its arrays are far larger than the file")
    try:
        return _joined(arrays, slices)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: the slices of a big array do not join: {error}") from error


def vit_from_paddle(arrays: Mapping[str, np.ndarray]) -> State:
    """Rename the arrays of a transformer to ours and turn the linear weights."""
    state = {}
    for name, array in arrays.items():
        ours = name.removeprefix("backbone.").replace("head.fc.", "head.")
        turned = array.T if array.ndim == 2 else array  # linear: (in, out) to (out, in)
        state[ours] = torch.from_numpy(np.ascontiguousarray(turned))
    return state


def tsm_from_paddle(arrays: Mapping[str, np.ndarray]) -> State:
    """Rename the arrays of a PaddleVideo TSM or ResNet to ours and turn the linear weight.

    Names that are not known are kept, to be reported as left over.
    """
    state = {}
    for name, array in arrays.items():
        ours = _tsm_name(name.removeprefix("backbone."))
        turned = array.T if ours == "fc.weight" else array
        state[ours] = torch.from_numpy(np.ascontiguousarray(turned))
    return state


def in_order_of(model: nn.Module, state: State) -> tuple[State, str]:
    """Return PaddleVideo's TSM weights for the order of a model's channel groups, and a remark.

    PaddleVideo's first group comes from frame t-1. Where the model's comes from t+1, the channels
    of the two groups change places in all maps that blocks hand on, which computes the same.

    Raises:
        ValueError: The model's two groups differ in size, so that they cannot change places.
    """
    assert isinstance(model, VideoModel)
    shift = next((m for m in model.modules() if isinstance(m, ChannelShift)), None)
    if shift is None or shift.direction != "both":
        return state, "PaddleVideo's shift goes both ways, its first group from frame t-1; " + (
            f"this model: {model.describe_time()}"
        )
    remark = (
        "PaddleVideo shifts 1/T of the channels each way, T the frames it was trained with; "
        f"this model: {model.describe_time()}"
    )
    if shift.order == "past_first":
        return state, remark
    own = model.state_dict()
    if "layer1.0.conv3.weight" not in own:
        raise ValueError(
            "the channel groups can change places in bottlenecks alone (resnet50 and deeper); "
            "set MODEL.TSM.ORDER past_first"
        )
    for width in {value.shape[1] for name, value in own.items() if _READS.match(name)}:
        first, both = shift.num_first(width), shift.num_both(width)
        if both != 2 * first:
            raise ValueError(
                f"of {width} channels this model shifts {first} one way and {both - first} the "
                "other, so that they cannot change places; set MODEL.TSM.ORDER past_first"
            )
    swapped = _with_groups_swapped(state, shift.num_first)
    return swapped, "groups swapped: past_first in the file, future_first in the model; " + remark


def _with_groups_swapped(state: Mapping[str, Tensor], num_first: Callable[[int], int]) -> State:
    def swap(value: Tensor, dim: int) -> Tensor:
        C = value.shape[dim]
        fold = num_first(C)
        order = [*range(fold, 2 * fold), *range(fold), *range(2 * fold, C)]
        return value.index_select(dim, torch.tensor(order))

    swapped = dict(state)
    for name in state:
        if _WRITES.match(name):
            swapped[name] = swap(swapped[name], 0)
        if _READS.match(name):
            swapped[name] = swap(swapped[name], 1)
    return swapped


def _joined(
    content: Mapping[str, np.ndarray], slices: Mapping[str, Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Put arrays together that pickle protocols 2 and 3 are too small for."""
    arrays = dict(content)
    for name, part in slices.items():
        flat = np.concatenate([arrays.pop(piece) for piece in part["slices"]])
        arrays[name] = flat.reshape(part["OriginShape"])
    return arrays


def _tsm_name(name: str) -> str:
    if name.startswith("head.fc."):
        return name.removeprefix("head.")
    match = _UNIT.fullmatch(name)
    if not match:
        return name
    block = ""
    if match["stage"]:
        index = int(match["number"] or ord(match["letter"]) - ord("a"))
        block = f"layer{int(match['stage']) - 1}.{index}."
    conv, norm = _UNITS[match["kind"]]
    layer = (conv if match["part"] == "_conv" else norm).format(int(match["index"] or 0) + 1)
    return f"{block}{layer}.{_BUFFERS.get(match['leaf'], match['leaf'])}"


@dataclass
class _StoredType:
    """A numpy type as a pickle has it; of its state the byte order alone counts."""

    code: str
    order: str = "<"


@dataclass
class _StoredArray:
    """A numpy array as a pickle has it."""

    shape: tuple[int, ...] = ()
    stored_type: _StoredType | None = None
    is_column_major: bool = False
    data: bytes | None = None

    def array(self, source: str) -> np.ndarray:
        """Return a copy of the numbers, which lie in the file.

        Raises:
            ValueError: They are fewer or more than the shape says, or there are none.
        """
        if self.stored_type is None or self.data is None:
            raise ValueError(f"{source} is an array without content")
        order: Literal["C", "F"] = "F" if self.is_column_major else "C"
        dtype = np.dtype(f"{self.stored_type.order}{self.stored_type.code}")
        if math.prod(self.shape) * dtype.itemsize != len(self.data):
            raise ValueError(
                f"{source} is {self.shape} numbers of {dtype.itemsize} bytes, which are not the "
                f"{len(self.data)} bytes that are there"
            )
        numbers = np.frombuffer(self.data, dtype).reshape(self.shape, order=order)
        return numbers.astype(dtype.newbyteorder("="))


def _call(called: Global, arguments: tuple[Any, ...]) -> Any:
    """Stand in for what a pickle of numpy arrays calls."""
    if called == _ENCODE and [type(argument) for argument in arguments] == [str, str]:
        return arguments[0].encode("latin1")
    if called in _NEW_ARRAYS and arguments and arguments[0] == _ARRAY:
        return _StoredArray()
    if called == _DTYPE and arguments and isinstance(arguments[0], str):
        if not _CODE.fullmatch(arguments[0]):
            raise ValueError(f"it holds an array of the type {arguments[0]!r}, not of numbers")
        return _StoredType(arguments[0])
    raise ValueError(f"it asks for {called}, not a numpy array")


def _build(built: Any, state: Any) -> Any:
    """Take in the state of an array, (version, shape, type, is column-major, bytes), or a type."""
    if isinstance(built, _StoredType) and type(state) is tuple and len(state) >= 2:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"it holds an array of the byte order {state[1]!r}")
        return _StoredType(built.code, state[1])
    if isinstance(built, _StoredArray) and type(state) is tuple and len(state) == 5:
        _, shape, stored_type, is_column_major, data = state
        is_shape = type(shape) is tuple and all(type(n) is int and 0 <= n < 2**48 for n in shape)
        if is_shape and isinstance(stored_type, _StoredType) and isinstance(data, bytes):
            # the object itself changes: the pickle may have handed it on already
            built.shape, built.stored_type, built.data = shape, stored_type, data
            built.is_column_major = bool(is_column_major)
            return built
    raise ValueError("it holds an array that is not as numpy stores them")


def _persistent(name: Any) -> Any:
    raise ValueError("it refers to something outside of it")
