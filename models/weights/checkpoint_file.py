"""Files of weights, torch's and safetensors', read without running code from them."""

import re
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from config.json_files import parse_json
from config.regular_file import open_regular
from models.weights import State
from models.weights.archive import MAGIC, DamagedError, open_archive
from models.weights.plain_pickle import Global
from models.weights.torch_file import check_old_torch_file, check_torch_archive
from models.weights.torchscript import is_torchscript, read_torchscript

WEIGHTS_ALONE = (".npz", ".pdparams", ".safetensors")  # files that hold nothing else
_WAY_OUT = "; its maker can write the weights alone: torch.save(model.state_dict(), FILE)"
_TOLD = ("class_names", "preprocessing")  # JSON in the header, beside the config
_OF_ANOTHER_KIND = "it is cut short or of another kind"
_FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)|<class '([\w.]+)'>")  # in torch's text
_CORES = ("core", "_core")
# The learning rate in a step-schedule checkpoint of the TSM release is a numpy float64; others keep
# counts, flags and the command line of a training. Files written before numpy 2 call the module of
# its numbers numpy.core.
_PLAIN_VALUES: list[Any] = [
    Namespace,
    np.dtype,
    *{type(np.dtype(kind)) for kind in np.typecodes["AllInteger"] + np.typecodes["Float"] + "?U"},
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in _CORES),
]


class _Nothing:
    """Stands for an object of another library that no weights are: whatever it is told, it is so.

    A class of that library's name would be looked up, built and filled; this one does none of it.
    """

    def __new__(cls, *arguments: Any) -> "_Nothing":
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _nothing(*arguments: Any) -> _Nothing:
    return _Nothing()


# What a training of mmengine's (MMAction2) writes beside the weights: curves of its log, each with
# arrays and with functions that are looked up by `getattr`. numpy's own way to restore an array
# corrupts memory where a file is crafted for it.
_HISTORY = Global("mmengine.logging.history_buffer", "HistoryBuffer")
_STAND_INS: list[Any] = [
    (_Nothing, str(_HISTORY)),
    (_nothing, "builtins.getattr"),
    (_Nothing, "numpy.ndarray"),
    *((_nothing, f"numpy.{core}.multiarray._reconstruct") for core in _CORES),
]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU with ``weights_only=True``.

    Beside what torch lets in, numbers of numpy and ``argparse.Namespace`` are: plain values. In a
    training's own file of mmengine's, nothing stands in the place of its log. Of a TorchScript
    archive, which torch does not read so, the tensors are by name.

    Raises:
        ValueError: There is no such file, it is not a checkpoint of tensors and plain values, or
            its bytes are not those that were written.
    """
    _check_is_file(path)
    state, called = _check_before_reading(path)
    if state is not None:
        return dict(state)
    stand_ins = _STAND_INS if _HISTORY in called else []
    try:
        with torch.serialization.safe_globals([*_PLAIN_VALUES, *stand_ins]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make the unpickler raise anything
        if is_fault_of_call(error):
            raise
        # torch's own text goes on to recommend loading without the safeguard
        forbidden = _FORBIDDEN.search(str(error))
        found = forbidden and (forbidden[1] or forbidden[2])
        reason = f"it holds a Python object, {found}" if found else _OF_ANOTHER_KIND
        raise _unreadable(path, reason) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, a checkpoint is a dict")
    return content


class NoSafetensorsError(ValueError):
    """A ``.safetensors`` file is damaged, or of another kind."""


def read_described(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint for what it says of itself: nothing where the file holds weights alone.

    Raises:
        ValueError: Same cases as in `read_checkpoint`.
    """
    if str(path).endswith(WEIGHTS_ALONE):
        _check_is_file(path)
        return {}
    content = read_checkpoint(path)
    if not isinstance(content.get("config", ""), str):  # another library's, of whatever kind
        del content["config"]
    return content


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
        raise NoSafetensorsError(f"{path} is not a readable .safetensors file: {error}") from error


def read_safetensors_told(path: str | Path) -> dict[str, Any]:
    """Return the content of a ``.safetensors`` file: its tensors, or more where it says more.

    A file that `tools/export.py` wrote holds in its header what our checkpoints do: ``config``,
    ``class_names``, ``preprocessing``. Its tensors come as ``state_dict`` then.

    Raises:
        ValueError: Same cases as in `read_safetensors`; or the header's text is not as it was
            written.
    """
    tensors = read_safetensors(path)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        said = file.metadata() or {}
    if "config" not in said:
        return tensors
    told = {key: parse_json(said.get(key, "null"), f"{key} in {path}") for key in _TOLD}
    if not isinstance(told["class_names"], list) or not isinstance(told["preprocessing"], dict):
        raise ValueError(f"{path} holds a config, but no class names and preprocessing as ours do")
    return {"state_dict": tensors, "config": said["config"], **told}


def _check_before_reading(path: str | Path) -> tuple[State | None, set[Global]]:
    """Refuse what ``torch.load`` would read without a look at sums, sizes and places in the file.

    Returns:
        The content of a TorchScript archive, which is read here; None for what torch is to read.
        And the names that the file calls, as far as they count.

    Raises:
        ValueError: Same cases as in `read_checkpoint`.
    """
    try:
        with open_regular(path) as file:
            is_archive = file.read(len(MAGIC)) == MAGIC  # as torch tells them apart
            file.seek(0)
            if is_archive and _holds_torchscript(file):
                return read_torchscript(path), set()
            file.seek(0)
            if is_archive:
                return None, check_torch_archive(file)
            check_old_torch_file(file)
            return None, set()
    except zipfile.BadZipFile as error:
        raise _unreadable(path, _OF_ANOTHER_KIND) from error
    except DamagedError as error:
        raise ValueError(f"{path} is damaged: {error}; copy it again") from error
    except ValueError as error:
        raise _unreadable(path, str(error) if is_archive else _OF_ANOTHER_KIND) from error
    except OSError as error:
        raise ValueError(f"cannot read the checkpoint {str(path)!r}: {error.strerror}") from error
    return None


def _holds_torchscript(file: BinaryIO) -> bool:
    with open_archive(file) as archive:
        return is_torchscript(archive.namelist())


def _unreadable(path: str | Path, reason: str) -> ValueError:
    return ValueError(
        f"{path} is not a readable checkpoint: {reason}; a checkpoint is a torch file of "
        f"tensors and plain values{_WAY_OUT if 'Python object' in reason else ''}"
    )


def _check_is_file(path: str | Path) -> None:
    if not Path(path).is_file():
        raise ValueError(f"checkpoint {str(path)!r} is not a file")
