"""Files of weights, torch's and safetensors', read without running code from them."""

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

WEIGHTS_ALONE = (".npz", ".pdparams", ".safetensors")  # files that hold nothing else
_CORES = ("core", "_core")
# The learning rate in a step-schedule checkpoint of the TSM release is a numpy float64. Files
# written before numpy 2 call its module numpy.core.
_NUMPY_SCALARS: list[Any] = [
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in _CORES),
]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU with ``weights_only=True``; numpy numbers are let in.

    Raises:
        ValueError: There is no such file, it is not a checkpoint of tensors and plain values, or
            its bytes are not those that were written.
    """
    _check_is_file(path)
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALARS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler raise anything
        if is_fault_of_call(error):
            raise
        # torch's own text goes on to recommend loading without the safeguard
        forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = (
            f"it holds a Python object, {forbidden[1]}"
            if forbidden
            else "it is cut short or of another kind"
        )
        raise ValueError(
            f"{path} is not a readable checkpoint: {reason}; a checkpoint is a torch file of "
            "tensors and plain values"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, a checkpoint is a dict")
    _check_sums(path)
    return content


def read_described(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint for what it says of itself: nothing where the file holds weights alone.

    Raises:
        ValueError: As `read_checkpoint`.
    """
    if str(path).endswith(WEIGHTS_ALONE):
        _check_is_file(path)
        return {}
    return read_checkpoint(path)


def is_fault_of_call(error: Exception) -> bool:
    """Tell whether a call that was caught failed by itself, before anything looked at the file.

    That is a fault of the code: arguments that the installed library does not take, a name that it
    does not have. To be asked in the function that called.
    """
    assert error.__traceback__ is not None
    is_of_code = isinstance(error, (TypeError, AttributeError, NameError))
    return is_of_code and error.__traceback__.tb_next is None


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Read the tensors of a ``.safetensors`` file onto the CPU.

    Raises:
        ValueError: There is no such file, it is of another kind, or the library is not there.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ValueError(
            f"{path}: reading .safetensors takes a library: pip install safetensors"
        ) from error
    if not Path(path).is_file():
        raise ValueError(f"weights {str(path)!r} are not a file")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a readable .safetensors file: {error}") from error


def _check_sums(path: str | Path) -> None:
    """Compare a torch archive with the check sums in it, which ``torch.load`` does not look at."""
    if not zipfile.is_zipfile(path):
        return  # of the time before archives
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: {error}; copy it again") from error
    if damaged:
        raise ValueError(
            f"{path} is damaged: the bytes of {damaged} are not those that were written; copy it "
            "again"
        )


def _check_is_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise ValueError(f"checkpoint {str(path)!r} is not a file")
