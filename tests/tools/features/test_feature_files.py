from pathlib import Path
from typing import IO

import numpy as np
import pytest

from engine.process_name import ProcessName
from tools.features.feature_files import ARCHIVE, FORMATS, FeatureFiles, check_distinct

N, S, C, T = 2, 3, 4, 5


def features(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = rng.random((N, S, C), np.float32)
    return {
        "clips": frames.mean(1),
        "frames": frames,
        "indices": rng.integers(0, 9, (N, T)),
        "seconds": rng.random((N, T)),
    }


@pytest.mark.parametrize("form", FORMATS)
def test_features_that_are_written_are_held_and_read(tmp_path: Path, form: str) -> None:
    names = ["a.mp4", "class b/v", "/abs/../x", "caf\udce9"]
    files = FeatureFiles(tmp_path, form)
    for seed, name in enumerate(names):
        assert not files.holds(name)
        files.write(name, features(seed))
    for again in (files, FeatureFiles(tmp_path, form)):
        assert all(map(again.holds, names))
        assert not again.holds("other")
        for seed, name in enumerate(names):
            assert np.array_equal(again.read_clips(name), features(seed)["clips"])
    assert all(tmp_path in path.parents for path in tmp_path.rglob("*"))


def test_parts_become_one_archive_that_others_are_added_to(tmp_path: Path) -> None:
    for seed, name in enumerate(("a", "b/c", "d")):
        files = FeatureFiles(tmp_path, "safetensors")
        files.write(name, features(seed))
        files.finish(["a", "b/c", "d", "never written"], {"layer": "head"})
        assert [path.name for path in tmp_path.iterdir()] == [ARCHIVE]
    files = FeatureFiles(tmp_path, "safetensors")
    files.finish(["a"], {})  # nothing is new
    safetensors = pytest.importorskip("safetensors")
    with safetensors.safe_open(tmp_path / ARCHIVE, framework="numpy") as file:
        assert len([*file.keys()]) == 12
        for seed, name in enumerate(("a", "b/c", "d")):
            for key, array in features(seed).items():
                assert np.array_equal(file.get_tensor(f"{name}/{key}"), array)
    assert np.array_equal(files.read_clips("d"), features(2)["clips"])


def test_file_that_is_half_written_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall_over(file: IO[bytes], *arrays: object, **named: object) -> None:
        file.write(b"half of it")
        raise RuntimeError("the machine fell over")

    monkeypatch.setattr(np, "save", fall_over)
    monkeypatch.setattr(np, "savez", fall_over)
    for form in FORMATS:
        files = FeatureFiles(tmp_path, form)
        with pytest.raises(RuntimeError):
            files.write("a", features())
        assert not files.holds("a")


def test_what_dead_writers_left_is_removed(tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, "npz")
    files.write("b/a", features())
    host, pid, start = ProcessName.own()
    left = tmp_path / f"b/.a.npz.{host}.{pid}.{start + 1}.0.part"  # an earlier process of this id
    left.write_bytes(b"half")
    files.remove_stale()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["a.npz"]


def test_damaged_features_are_named(tmp_path: Path) -> None:
    for form in ("npz", "npy"):
        files = FeatureFiles(tmp_path, form)
        files.write("a", features())
        files.file_of("a").write_bytes(b"\x93NUMPY")
        with pytest.raises(ValueError, match=f"cannot read the features .*a.{form}"):
            files.read_clips("a")


def test_two_videos_of_one_name_are_refused() -> None:
    check_distinct(["a/x.mp4", "b/x.mp4", "x.mp4"])
    with pytest.raises(ValueError, match=r"two videos 'a/x\.mp4'"):
        check_distinct(["a/x.mp4", "b/x.mp4", "/a/x.mp4"])
