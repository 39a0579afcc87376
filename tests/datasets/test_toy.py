from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import toy
from datasets.annotations import read_class_names, read_list
from datasets.readers import FrameFolder
from datasets.toy import Motion, draw_frame, draw_motion, is_toy_missing, make_toy


@pytest.fixture(autouse=True)
def _few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy, "CLIPS_PER_CLASS", {"train": 2, "val": 1})


def content(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def shape_of(motion: Motion, time: int) -> np.ndarray:
    """Where the shape is: how far each pixel is from the background, (SIDE, SIDE)."""
    return np.abs(pixels(draw_frame(motion, time)) - motion.paper).sum(-1)


def centre(motion: Motion, time: int) -> tuple[float, float]:
    """The shape's centre, x and y, pixels."""
    weight = shape_of(motion, time)
    y, x = np.indices(weight.shape)
    return (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()


def motion_of(label: int) -> Motion:
    """A video of a class at a pace that floats hold exactly, in the middle of its period."""
    motion = draw_motion(label, np.random.default_rng(label))
    return motion._replace(pace=float(np.sign(motion.pace)) / 16, phase=0.5, place=(0.5, 0.5))


def test_same_seed_makes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_toy(tmp_path / name, seed)
    first, again, other = (content(tmp_path / name) for name in "abc")
    assert first == again
    assert first.keys() == other.keys()
    images = [name for name in first if name.endswith(".jpg")]
    assert not any(first[name] == other[name] for name in images)


def test_only_the_list_that_would_be_made_counts_as_missing(tmp_path: Path) -> None:
    assert is_toy_missing(tmp_path, str(tmp_path / "val.txt"))
    assert not is_toy_missing(tmp_path, tmp_path / "mine.txt")
    (tmp_path / "val.txt").write_text("")
    assert not is_toy_missing(f"{tmp_path}/", tmp_path / "val.txt")


def test_lists_name_every_video_with_its_frames_and_class(tmp_path: Path) -> None:
    make_toy(tmp_path)
    for split, clips in (("train", 2), ("val", 1)):
        records = read_list(tmp_path / f"{split}.txt", num_classes=8)
        assert [record.label for record in records] == sorted(clips * list(range(8)))
        assert {record.num_frames for record in records} == {toy.NUM_FRAMES}
        for record in records:
            assert record.path.split("/")[:2] == [split, toy.CLASSES[record.label]]
            folder = FrameFolder(tmp_path / record.path)
            assert len(folder) == record.num_frames
            assert folder.read([0, toy.NUM_FRAMES - 1]).shape == (2, toy.SIDE, toy.SIDE, 3)
    assert read_class_names(tmp_path / "classes.txt", 8) == list(toy.CLASSES)


def test_videos_all_differ(tmp_path: Path) -> None:
    make_toy(tmp_path)
    firsts = [path.read_bytes() for path in tmp_path.rglob("img_00001.jpg")]
    assert len(set(firsts)) == len(firsts) == 8 * 3


@pytest.mark.parametrize("label", range(0, 8, 2))
def test_classes_of_a_pair_differ_in_the_sign_of_the_pace_alone(label: int) -> None:
    for seed in range(20):
        one, other = (draw_motion(label + i, np.random.default_rng(seed)) for i in range(2))
        assert one.pace < 0 < other.pace
        assert other == one._replace(pace=-one.pace)


@pytest.mark.parametrize("label", range(8))
def test_video_backwards_is_a_video_of_the_other_class(label: int) -> None:
    motion, last = motion_of(label), toy.NUM_FRAMES - 1
    other = motion._replace(pace=-motion.pace, phase=(motion.phase + motion.pace * last) % 1.0)
    assert np.sign(other.pace) == np.sign(motion_of(label ^ 1).pace)
    for time in range(toy.NUM_FRAMES):
        backwards = draw_frame(motion, last - time)
        np.testing.assert_array_equal(pixels(draw_frame(other, time)), pixels(backwards))


def test_phases_are_spread_evenly_so_that_a_phase_tells_no_class() -> None:
    phases = [draw_motion(0, np.random.default_rng(seed)).phase for seed in range(400)]
    counts, _ = np.histogram(phases, bins=4, range=(0, 1))
    # 100 of 400 expected in each quarter, standard deviation 8.7
    assert counts.min() >= 65


@pytest.mark.parametrize(
    ("name", "axis", "sign"), [("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)]
)
def test_shape_moves_where_the_class_says(name: str, axis: int, sign: int) -> None:
    motion = motion_of(toy.CLASSES.index(name))
    path = np.array([centre(motion, time) for time in range(4)])
    assert (sign * np.diff(path[:, axis]) > 1).all()  # pixels a frame
    # the other direction stands still, but for the reduced drawing's rounding
    assert np.ptp(path[:, 1 - axis]) < 0.1


@pytest.mark.parametrize(("name", "sign"), [("grow", 1), ("shrink", -1)])
def test_shape_changes_size_as_the_class_says(name: str, sign: int) -> None:
    motion = motion_of(toy.CLASSES.index(name))
    areas = [shape_of(motion, time).sum() for time in range(4)]
    assert (sign * np.diff(areas) > 0).all()


@pytest.mark.parametrize(("name", "sign"), [("clockwise", 1), ("anticlockwise", -1)])
def test_shape_turns_as_the_class_says(name: str, sign: int) -> None:
    motion = motion_of(toy.CLASSES.index(name))
    middle = (toy.SIDE - 1) / 2
    directions = [np.subtract(centre(motion, time), middle) for time in range(6)]
    angles = np.unwrap([np.arctan2(y, x) for x, y in directions])  # y points down: clockwise
    # a sixteenth of a turn each frame; the centre of 32 x 32 pixels knows it to a few degrees
    np.testing.assert_allclose(np.diff(angles), sign * np.pi / 8, atol=0.15)


def test_motion_goes_on_past_the_end_of_its_period() -> None:
    for label in range(8):
        motion = motion_of(label)
        np.testing.assert_array_equal(
            pixels(draw_frame(motion, 3)), pixels(draw_frame(motion, 3 + 16))
        )


def test_command_makes_the_set_with_the_seed_asked_for(tmp_path: Path) -> None:
    toy.main([str(tmp_path / "a"), "--seed", "3"])
    make_toy(tmp_path / "b", seed=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")
