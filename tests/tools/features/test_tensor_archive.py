from pathlib import Path

import numpy as np
import pytest

from tools.features.tensor_archive import TensorArchive, write_archive

ARRAYS = {
    "a/clips": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/seconds": np.linspace(0, 1, 4).reshape(2, 2),
    "b c/indices": np.array([[7, 8, 9]]),
    "empty": np.empty((0, 3), np.float32),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    forms = {name: (array.dtype, array.shape) for name, array in ARRAYS.items()}
    write_archive(path, forms, ARRAYS.__getitem__, {"layer": "6"})
    return path


def test_arrays_come_back_as_they_were(path: Path) -> None:
    archive = TensorArchive(path)
    assert {*archive.forms} == {*ARRAYS}
    for name, array in ARRAYS.items():
        found = archive.read(name)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, array)


def test_library_reads_the_file(path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata() == {"layer": "6"}
        assert {*file.keys()} == {*ARRAYS}
        for name, array in ARRAYS.items():
            assert np.array_equal(file.get_tensor(name), array)


def test_archive_of_the_library_is_read(tmp_path: Path) -> None:
    numpy_files = pytest.importorskip("safetensors.numpy")
    numpy_files.save_file({"x/clips": ARRAYS["a/clips"]}, tmp_path / "y.safetensors")
    archive = TensorArchive(tmp_path / "y.safetensors")
    assert np.array_equal(archive.read("x/clips"), ARRAYS["a/clips"])


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\2\0\0\0\0\0\0\0[]", b"\7\0\0\0\0\0\0\0" + b'{"a":1}', b"\xff" * 40]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "z").write_bytes(content)
    with pytest.raises(ValueError, match="z'"):
        TensorArchive(tmp_path / "z")


def test_file_that_is_cut_short_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="its header says"):
        TensorArchive(path)


def test_nothing_is_left_where_an_array_cannot_be_had(tmp_path: Path) -> None:
    forms = {"a": (np.dtype("<f4"), (1,)), "b": (np.dtype("<f4"), (1,))}
    arrays = {"a": np.zeros(1, np.float32)}
    with pytest.raises(KeyError):
        write_archive(tmp_path / "x", forms, arrays.__getitem__, {})
    assert [*tmp_path.iterdir()] == []
