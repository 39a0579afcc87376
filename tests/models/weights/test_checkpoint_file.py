import argparse
import os
import pickle
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.checkpoint_folder import write_checkpoint
from models.weights.checkpoint_file import read_checkpoint, read_described, read_safetensors
from tests.conftest import RELEASED_CHECKPOINTS


def content_of(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "state_dict": {"weight": torch.full((3, 2), float(epoch))}}


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_missing_file_and_directory_are_errors_that_name_them(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.pth", tmp_path):
        with pytest.raises(ValueError, match="is not a file") as caught:
            read_checkpoint(path)
        assert repr(str(path)) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "weights", "<html>404</html>", '{"epoch": 1}', "(", ".", "PK\x03\x04"]
)
def test_text_file_is_an_error_that_names_it(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    path.write_text(text)
    with pytest.raises(ValueError, match="not a readable checkpoint") as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "before-torch-1.6"])
def test_file_cut_short_anywhere_is_an_error_that_names_it(is_zip: bool, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(content_of(1), path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a readable checkpoint") as caught:
            read_checkpoint(path)
        assert str(path) in str(caught.value)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_file_of_random_bytes_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    rng = random.Random(0)
    for _ in range(300):
        path.write_bytes(rng.randbytes(rng.randrange(1, 100)))
        with pytest.raises(ValueError, match=r"model\.pth is not a readable checkpoint"):
            read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_byte_changed_inside_a_weight_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"weight": torch.full((4, 4), 3.0)}, path)
    data = bytearray(path.read_bytes())
    data[data.index(torch.full((4,), 3.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert torch.load(path)["weight"].unique().numel() == 2  # torch does not notice
    with pytest.raises(ValueError, match=r"a\.pth is damaged: the bytes of a/data/0 are not those"):
        read_checkpoint(path)


def test_argument_that_torch_does_not_take_is_no_unreadable_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "a.pth", {"epoch": 1})
    monkeypatch.setattr(torch, "load", lambda path: {})
    with pytest.raises(TypeError, match="map_location"):
        read_checkpoint(tmp_path / "a.pth")


def test_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    path, ran = tmp_path / "model.pth", tmp_path / "ran"
    torch.save(content_of(1) | {"extra": Malicious(ran)}, path)
    with pytest.raises(ValueError, match=r"model\.pth is not a readable") as caught:
        read_checkpoint(path)
    assert f"it holds a Python object, {os.mkdir.__module__}.mkdir" in str(caught.value)
    assert "weights_only" not in str(caught.value)  # torch tells how to run the code
    path.write_bytes(pickle.dumps(Malicious(ran)))
    with pytest.raises(ValueError, match=r"model\.pth is not a readable checkpoint"):
        read_checkpoint(path)
    assert not ran.exists()
    pickle.loads(path.read_bytes())
    assert ran.exists()  # the code in it does run where it is let


@pytest.mark.parametrize(
    "value",
    [
        *(np.int32(3), np.uint8(3), np.bool_(True), np.float16(0.5), np.float64(0.5), np.str_("a")),
        argparse.Namespace(lr=0.1, names=["a"], inner=argparse.Namespace(depth=2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_plain_values_of_numpy_and_argparse_are_read(value: Any, tmp_path: Path) -> None:
    torch.save(content_of(1) | {"value": value}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["value"] == value


def module_of(name: str, monkeypatch: pytest.MonkeyPatch, **members: Any) -> types.ModuleType:
    """Make a module, and those that it lies in, for pickles to refer to."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
    vars(sys.modules[name]).update(members)
    return sys.modules[name]


def history_of(monkeypatch: pytest.MonkeyPatch) -> type:
    """Make mmengine's class of log curves, which keeps arrays and functions of its own."""
    name = "mmengine.logging.history_buffer"
    methods = {"__module__": name, "mean": lambda self: 0.0}
    history = type("HistoryBuffer", (), methods)
    module_of(name, monkeypatch, HistoryBuffer=history)
    return history


def test_log_of_an_mmengine_training_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curve = history_of(monkeypatch)()
    curve.values, curve.method = np.arange(3.0), curve.mean
    content = content_of(1) | {"message_hub": {"loss": curve}}
    torch.save(content, tmp_path / "a.pth")
    monkeypatch.undo()  # the library is not here
    read = read_checkpoint(tmp_path / "a.pth")
    assert torch.equal(read["state_dict"]["weight"], torch.ones(3, 2))
    assert not vars(read["message_hub"]["loss"])


def test_stand_ins_let_no_code_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    curve, ran = history_of(monkeypatch)(), tmp_path / "ran"
    for value, found in ((Malicious(ran), "mkdir"), (Path("a"), "pathlib")):
        torch.save(content_of(1) | {"curve": curve, "value": value}, tmp_path / "a.pth")
        with pytest.raises(
            ValueError, match=rf"a\.pth is not a readable.*Python object, .*{found}"
        ):
            read_checkpoint(tmp_path / "a.pth")
    assert not ran.exists()
    # an array as numpy restores it, crafted or not, is not built
    torch.save(content_of(1) | {"curve": curve, "value": np.zeros(2)}, tmp_path / "a.pth")
    assert not isinstance(read_checkpoint(tmp_path / "a.pth")["value"], np.ndarray)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Path("a"), "pathlib.*Path"),
        (types.SimpleNamespace(a=1), "types.SimpleNamespace"),
        (np.datetime64("2020-01-01"), "numpy.*DateTime64DType"),
        (np.zeros(2), "numpy.*_reconstruct"),
    ],
)
def test_other_objects_are_named_with_a_way_out(value: Any, name: str, tmp_path: Path) -> None:
    torch.save(content_of(1) | {"value": value}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"Python object, {name}; .*save\(model\.state_dict\(\)"):
        read_checkpoint(tmp_path / "a.pth")


def test_another_librarys_config_is_none_of_ours(tmp_path: Path) -> None:
    torch.save(content_of(1) | {"config": argparse.Namespace(lr=1)}, tmp_path / "a.pth")
    assert "config" not in read_described(tmp_path / "a.pth")


@pytest.mark.parametrize(("value", "name"), [([1, 2], "list"), (torch.zeros(2), "Tensor")])
def test_checkpoint_that_is_no_dict_is_an_error(value: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pth"
    torch.save(value, path)
    with pytest.raises(ValueError, match=rf"model\.pth holds a {name}, a checkpoint is a dict"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", RELEASED_CHECKPOINTS)
def test_tensors_of_a_gpu_are_read_onto_the_cpu(
    name: str, golden_path: Callable[[str], Path]
) -> None:
    content = read_checkpoint(golden_path(name))
    assert {tensor.device.type for tensor in content["state_dict"].values()} == {"cpu"}


def test_safetensors_are_read_as_they_were_written(tmp_path: Path) -> None:
    tensors = {"a.weight": torch.randn(2, 3), "b": torch.arange(4)}
    save_file(tensors, tmp_path / "model.safetensors")
    read = read_safetensors(tmp_path / "model.safetensors")
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


def test_safetensors_that_are_missing_cut_or_of_another_kind_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match=r"model\.safetensors' are not a file"):
        read_safetensors(path)
    save_file({"a": torch.zeros(99)}, path)
    for content in (path.read_bytes()[:-50], b"<html>404: not found</html>", b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is not a readable \.safetensors file"):
            read_safetensors(path)


def test_safetensors_without_the_library_are_an_error_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ValueError, match=r"model\.safetensors: .*pip install safetensors"):
        read_safetensors(tmp_path / "model.safetensors")
