import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.weights.npz_file import NUMBERS, TEXTS, read_arrays

ARRAYS = {
    "a/b": np.arange(6, dtype=np.float32).reshape(2, 3),
    "column": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "one": np.array(3),
    "none": np.zeros((0, 4)),
    "half": np.ones(2, np.float16),
    "flags": np.array([True, False]),
    "big": np.arange(3, dtype=">i4"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numbers_are_read_as_numpy_reads_them(save: object, tmp_path: Path) -> None:
    save(tmp_path / "a.npz", **ARRAYS)
    found = read_arrays(tmp_path / "a.npz")
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype.newbyteorder("=")
        assert found[name].flags.writeable
    assert list(read_arrays(tmp_path / "a.npz", names=["one"])) == ["one"]


def test_texts_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    texts = np.array(["ü", "longer"])
    np.savez(tmp_path / "a.npz", t=texts)
    assert read_arrays(tmp_path / "a.npz", NUMBERS + TEXTS)["t"].tolist() == texts.tolist()
    with pytest.raises(ValueError, match=r"'t' in it is no array of numbers$"):
        read_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], dtype=object),
        np.array([(1, 2.0)], dtype="i4,f4"),
        np.zeros(2, np.longdouble),
        np.zeros(2, np.complex64),
        np.array(["2001-01-01"], dtype="M8[D]"),
    ],
    ids=["object", "fields", "longdouble", "complex", "date"],
)
def test_other_values_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=array)
    with pytest.raises(ValueError, match="'x' in it is no array of numbers"):
        read_arrays(tmp_path / "a.npz")


def test_header_that_says_more_than_there_is_takes_no_room(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3, np.float32))
    crafted = buffer.getvalue().replace(b"(3,), }" + b" " * 11, b"(300000000000,), }")
    assert crafted != buffer.getvalue()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", crafted)
    with pytest.raises(ValueError, match="'x' in it has 12 bytes, its header says otherwise"):
        read_arrays(tmp_path / "a.npz")


def test_missing_arrays_and_files_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="it has no y, z"):
        read_arrays(tmp_path / "a.npz", names=["x", "y", "z"])
    with pytest.raises(ValueError, match="No such file"):
        read_arrays(tmp_path / "b.npz")
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match="it is a FIFO"):
        read_arrays(tmp_path / "pipe.npz")
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(ValueError, match="not a zip file"):
        read_arrays(tmp_path / "single.npy")
