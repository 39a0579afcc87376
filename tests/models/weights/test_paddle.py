"""What PaddleVideo's files hold besides arrays by name; the values are in test_golden_paddle.py."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from models.pretrained import load_weights, read_weights
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.vit import ViTSize
from models.weights.paddle import read_pdparams
from tests import fuzz
from tests.models.conftest import randomized

SIZE = ViTSize(patch_size=8, hidden_size=12, mlp_dim=24, num_heads=3, num_layers=2)


def paddle_arrays(model: torch.nn.Module, prefix: str = "backbone.") -> dict[str, np.ndarray]:
    """The weights as Paddle saves them: linear ones (in, out)."""
    arrays = {}
    for name, value in model.state_dict().items():
        turned = value.T if value.dim() == 2 else value
        theirs = f"{prefix}{name}"
        if prefix and name.startswith("head."):
            theirs = name.replace("head.", "head.fc.")
        arrays[theirs] = np.ascontiguousarray(turned.numpy())
    return arrays


def written(content: dict, folder: Path, protocol: int = 4) -> Path:
    path = folder / "weights.pdparams"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def sliced(arrays: dict[str, np.ndarray], largest: int) -> dict:
    """Split big arrays as paddle.save does for pickle protocols 2 and 3."""
    content, table = {}, {}
    for name, array in arrays.items():
        if array.size <= largest:
            content[name] = array
            continue
        starts = range(0, array.size, largest)
        names = [f"{name}@@.{i}" for i in range(len(starts))]
        table[name] = {"OriginShape": array.shape, "slices": names}
        flat = array.ravel()
        content |= {n: flat[i : i + largest] for n, i in zip(names, starts, strict=True)}
    return content | {"UnpackBigParamInfor@@": table}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_slices_of_big_arrays_are_joined(protocol: int, tmp_path: Path) -> None:
    source = randomized(TimeSformer(24, 8, 4, 12, 2, 3, 24, 5), seed=1)
    content = sliced(paddle_arrays(source), largest=100)
    assert sum("@@." in name for name in content) > 50
    model = TimeSformer(24, 8, 4, 12, 2, 3, 24, 5)
    path = written(content, tmp_path, protocol)
    report = load_weights(model, path, head_may_differ=False)
    assert report.loaded == list(model.state_dict())
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}}, "w@@.1"),
        ({"w": {"OriginShape": (2, 4), "slices": ["w@@.0"]}}, "reshape"),
        ({"w": {"slices": ["w@@.0"]}}, "OriginShape"),
        ({"w": 3}, "subscriptable"),
        (3, "items"),
    ],
)
def test_slices_that_do_not_join_are_an_error(table: object, text: str, tmp_path: Path) -> None:
    content = {"w@@.0": np.zeros(6, np.float32), "UnpackBigParamInfor@@": table}
    with pytest.raises(ValueError, match="slices of a big array do not join") as caught:
        read_pdparams(written(content, tmp_path))
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("has_time", "qkv_bias", "prefix", "family"),
    [
        (True, True, "backbone.", "PaddleVideo TimeSformer"),
        (True, False, "backbone.", "PaddleVideo PP-TimeSformer"),
        (False, True, "backbone.", "PaddleVideo TokenShift"),
        (False, True, "", "Paddle image ViT"),
    ],
)
def test_families_are_told_by_their_names(
    has_time: bool, qkv_bias: bool, prefix: str, family: str, tmp_path: Path
) -> None:
    if has_time:
        model = TimeSformer(24, 8, 4, 12, 2, 3, 24, 5, qkv_bias=qkv_bias)
    else:
        model = tokshift(SIZE, 24, 5, fold_div=4)
    randomized(model)
    arrays = paddle_arrays(model, prefix)
    state, report = read_weights(written(arrays, tmp_path))
    assert report.kind == f"{family}, .pdparams"
    assert state.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value)
        assert state[name].is_contiguous()


def test_pixels_of_a_family_are_said(tmp_path: Path) -> None:
    for qkv_bias, pixels in (
        (True, "mean [0.45, 0.45, 0.45] and std [0.225"),
        (False, "[0.0, 0.0"),
    ):
        model = TimeSformer(24, 8, 4, 12, 2, 3, 24, 5, qkv_bias=qkv_bias)
        report = load_weights(model, written(paddle_arrays(model), tmp_path))
        assert len(report.notes) == 1
        assert pixels in report.notes[0]


def crafted(folder: Path, code: str, state: tuple[object, ...], raw: object) -> Path:
    """Write an array by an attacker's hand: numpy restores it into memory that is not its own."""
    dtype = fuzz.Called("numpy dtype", (code, False, True), state)
    array_state = (1, (1,), dtype, False, raw)
    name = "numpy.core.multiarray _reconstruct"
    array = fuzz.Called(name, (fuzz.Named("numpy ndarray"), (0,), b"b"), array_state)
    path = folder / "weights.pdparams"
    path.write_bytes(b"\x80\2" + fuzz.dumped({"w": array}) + b".")
    return path


def test_flags_of_a_type_are_of_no_effect(tmp_path: Path) -> None:
    """Bit 1 says that the bytes are pointers to objects; numpy follows them."""
    state = (3, "<", None, None, None, -1, -1, 63)
    path = crafted(tmp_path, "f4", state, np.float32(2).tobytes())
    assert read_pdparams(path)["w"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("code", "state", "raw", "text"),
    [
        ("O8", (3, "|", None, None, None, -1, -1, 63), b"12345678", "of the type 'O8', not of num"),
        ("V8", (3, "|", None, ("a",), {"a": 1}, 8, 1, 0), b"12345678", "of the type 'V8', not of"),
        ("f4", (3, "?", None, None, None, -1, -1, 0), b"1234", "of the byte order '\\?'"),
        ("f4", (3, "<", None, None, None, -1, -1, 0), [1], "is not as numpy stores them"),
        (
            "f8",
            (3, "<", None, None, None, -1, -1, 0),
            b"1234",
            "1.*numbers of 8 bytes, which",
        ),
    ],
)
def test_crafted_arrays_are_refused(
    code: str, state: tuple[object, ...], raw: object, text: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=text):
        read_pdparams(crafted(tmp_path, code, state, raw))


def test_one_array_under_ten_thousand_names_is_refused(tmp_path: Path) -> None:
    array = np.zeros(2**16, np.float32)
    content = {f"w{number}": array for number in range(1000)}
    with pytest.raises(ValueError, match="its arrays are far larger than the file"):
        read_pdparams(written(content, tmp_path))
