"""Random weights and generated videos: which features, of which frames, when and where."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets.loaders import read_test_clips
from datasets.readers import VideoFile, open_reader
from models import load_model
from models.feature_extractor import FeatureExtractor
from tests.ranks import Ranks
from tests.tools.test_predict import YML, write_checkpoint, write_frames
from tools.extract_features import main
from tools.features.feature_set import read_feature_set

pytest.importorskip("av")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    """A folder of a video file of uneven times and of two folders of frames, one of them deeper."""
    folder = tmp_path_factory.mktemp("videos")
    shutil.copy(make_clip("x264_variable.mp4"), folder / "uneven.mp4")
    write_frames(folder / "frames", 13, seed=0)
    write_frames(folder / "deep er" / "frames", 30, seed=1)
    return folder


def run(checkpoint: Path, *words: object, code: int = 0) -> None:
    ends = pytest.raises(SystemExit) if code else contextlib.nullcontext()
    with ends as end:
        main(["--checkpoint", str(checkpoint), *map(str, words)])
    assert not code or (end and end.value.code == code)


def described(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "videos.jsonl").read_text().splitlines()
    return {video["name"]: video for video in map(json.loads, lines)}


def test_features_are_those_of_the_tests_views(
    checkpoint: Path, videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(checkpoint, "--input", videos, "--output", out, "--views", "3x3", "--layer", "1")
    loaded = load_model(checkpoint, overrides=["TEST.NUM_CLIPS", "3", "TEST.NUM_CROPS", "3"])
    extractor = FeatureExtractor(loaded.model, "1")
    assert {*described(out)} == {"uneven.mp4", "frames", "deep er/frames"}
    for name, video in described(out).items():
        found = np.load(out / video["file"])
        clips = read_test_clips(videos / name, loaded.cfg)  # clip by clip, crop by crop
        with torch.no_grad():
            expected = extractor(clips).unflatten(0, (3, 3)).mean(1).numpy()
        assert found["frames"].shape == (3, 4, 16)
        np.testing.assert_allclose(found["frames"], expected, atol=1e-5, rtol=0)
        np.testing.assert_allclose(found["clips"], expected.mean(1), atol=1e-5, rtol=0)
        assert found["indices"].shape == found["seconds"].shape == (3, 4)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["makes"]["layer"] == "1"
    assert len(manifest["makes"]["checkpoint_sha256"]) == 64
    assert manifest["preprocessing"]["image_size"] == 16
    assert manifest["run"]["packages"]["numpy"] == np.__version__


def test_windows_slide_over_the_whole_video_with_their_times(
    checkpoint: Path, videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["--views", "1x1", "DATA.FPS", "10.0"]
    run(checkpoint, "--input", videos / "deep er", "--output", out, "--hop", 0.5, *words)
    found = np.load(out / "frames.npz")
    # a clip is four frames, two apart; half a second five frames
    expected = np.array([0, 5, 10, 15, 20, 22])[:, None] + [0, 2, 4, 6]
    assert np.array_equal(found["indices"], expected)
    np.testing.assert_allclose(found["seconds"], expected / 10)
    loaded = load_model(checkpoint)
    frames = open_reader(videos / "deep er/frames").read(found["indices"][5])
    write = tmp_path / "window"
    write_same(write, frames)
    keys = ["TEST.NUM_CLIPS", "1", "TEST.NUM_CROPS", "1", "DATA.FRAME_STRIDE", "1"]
    clip = read_test_clips(write, load_model(checkpoint, overrides=keys).cfg)
    with torch.no_grad():
        of_window = FeatureExtractor(loaded.model)(clip)[0].numpy()
    np.testing.assert_allclose(found["frames"][5], of_window, atol=1e-5, rtol=0)


def write_same(folder: Path, frames: np.ndarray) -> None:
    from PIL import Image

    folder.mkdir()
    for number, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / f"img_{number:05d}.png")


def test_times_are_those_at_which_frames_are_shown(
    checkpoint: Path, videos: Path, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    out = tmp_path / "out"
    run(checkpoint, "--input", videos / "uneven.mp4", "--output", out, "--hop", 0.1)
    found = np.load(out / "uneven.mp4.npz")
    with av.open(str(videos / "uneven.mp4")) as container:
        times = np.array([frame.time for frame in container.decode(video=0)])
    assert found["indices"].max() == len(VideoFile(videos / "uneven.mp4")) - 2  # strides by two
    np.testing.assert_allclose(found["seconds"], (times - times[0])[found["indices"]])


@pytest.mark.parametrize("form", ["npz", "npy", "safetensors"])
def test_next_run_goes_on_where_one_was_stopped(
    checkpoint: Path, videos: Path, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output", tmp_path / "out", "--format", form, "--views", "1x1"]
    run(checkpoint, "--input", videos / "frames", *words)
    run(checkpoint, "--input", videos / "uneven.mp4", *words)
    run(checkpoint, "--input", videos, *words)
    assert "features of 3 videos, 1 of them now" in capsys.readouterr().out
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.np*")}
    run(checkpoint, "--input", videos, *words)
    assert "features of 3 videos, 0 of them now" in capsys.readouterr().out
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.np*")}
    assert {*described(tmp_path / "out")} == {"uneven.mp4", "frames", "deep er/frames"}
    assert not [*(tmp_path / "out").rglob("*.part"), *(tmp_path / "out").rglob(".lock")]


def test_another_model_or_layer_has_no_place_in_the_folder(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--input", videos / "deep er", "--output", tmp_path / "out", "--views", "1x1"]
    run(checkpoint, *words)
    before = (tmp_path / "out/manifest.json").read_bytes()
    other = write_checkpoint(tmp_path / "other.pth", "MODEL.NAME", "vit")
    cases = (
        (checkpoint, ["--layer", "1"], "layer head, not 1"),
        (other, [], "checkpoint "),
        (checkpoint, ["--hop", "1"], "clips (number 1, even_starts False), not (window"),
        (checkpoint, ["--format", "npy"], "format npz, not npy"),
        (checkpoint, ["DATA.TEST_SHORT_SIDE", "20"], "DATA.TEST_SHORT_SIDE 16, not 20"),
        (checkpoint, ["--layer", "3"], "has head, 1 to 2"),
    )
    for weights, more, text in cases:
        run(weights, *words, *more, code=1)
        assert text in capsys.readouterr().out
    run(checkpoint, "--input", videos / "frames", *words[2:], code=1)
    assert "holds features of another video 'frames'" in capsys.readouterr().out
    assert (tmp_path / "out/manifest.json").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    run(checkpoint, *words[:2], "--output", tmp_path / "full", code=1)
    assert "is not empty and holds no features" in capsys.readouterr().out
    run(checkpoint, *words[:2], "--output", videos / "deep er", code=1)
    assert "is what is read" in capsys.readouterr().out


def test_broken_videos_are_named_and_left_out(
    checkpoint: Path,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = make_clip("x264.mp4").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a_cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/b.mp4").write_bytes(whole)
    (tmp_path / "in/c_empty.avi").touch()
    words = ["--input", tmp_path / "in", "--output", tmp_path / "out", "--views", "1x1"]
    run(checkpoint, *words, code=1)
    out = capsys.readouterr().out
    assert "2 of 3 videos are unreadable: a_cut.mp4, c_empty.avi" in out
    assert [bool(video["error"]) for video in described(tmp_path / "out").values()] == [1, 0, 1]
    assert [path.name for path in (tmp_path / "out").glob("*.npz")] == ["b.mp4.npz"]
    (tmp_path / "in/a_cut.mp4").write_bytes(whole)  # mended
    (tmp_path / "in/c_empty.avi").unlink()
    run(checkpoint, *words)
    assert "features of 2 videos, 1 of them now" in capsys.readouterr().out
    assert described(tmp_path / "out")["a_cut.mp4"]["error"] == ""


def test_lists_bring_their_labels_and_two_of_a_name_are_refused(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.txt").write_text("frames 13 2\ndeep er/frames 30 700,3\n")
    words = ["--views", "1x1", "DATA.ROOT", videos]
    run(checkpoint, "--input", tmp_path / "list.txt", "--output", tmp_path / "out", *words)
    labels = {name: video["label"] for name, video in described(tmp_path / "out").items()}
    assert labels == {"frames": 2, "deep er/frames": 700}
    several = {name: video["labels"] for name, video in described(tmp_path / "out").items()}
    assert several == {"frames": [], "deep er/frames": [700, 3]}
    with pytest.raises(ValueError, match="1 of 2 videos have several labels, 'deep er/frames'"):
        read_feature_set(tmp_path / "out")
    both = [videos / "frames", videos / "deep er/frames"]
    run(checkpoint, "--input", *both, "--output", tmp_path / "two", code=1)
    assert "two videos 'frames'" in capsys.readouterr().out


def test_weights_without_a_head_have_features(
    checkpoint: Path, videos: Path, tmp_path: Path
) -> None:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    headless = {name: value for name, value in state.items() if not name.startswith("head.")}
    torch.save({"state_dict": headless}, tmp_path / "headless.pth")
    (tmp_path / "tiny.yml").write_text(YML)
    words = ["--input", videos / "deep er", "--views", "1x1", "--output"]
    run(checkpoint, *words, tmp_path / "whole")
    run(tmp_path / "headless.pth", *words, tmp_path / "without", "--cfg", tmp_path / "tiny.yml")
    ours, theirs = (np.load(tmp_path / f"{w}/frames.npz") for w in ("whole", "without"))
    assert np.array_equal(ours["frames"], theirs["frames"])


@pytest.mark.slow
@pytest.mark.ddp
def test_processes_share_the_videos(
    checkpoint: Path, videos: Path, tmp_path: Path, ranks: Ranks
) -> None:
    words = ["--checkpoint", checkpoint, "--input", videos, "--views", "1x1"]
    ran = ranks.run(2, "tools/extract_features.py", *words, "--output", tmp_path / "two")
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.count("features of 3 videos, 3 of them now") == 1
    run(checkpoint, *words[2:], "--output", tmp_path / "one")
    for name, video in described(tmp_path / "one").items():
        one, two = (np.load(tmp_path / folder / video["file"]) for folder in ("one", "two"))
        np.testing.assert_allclose(one["frames"], two["frames"], atol=1e-6, rtol=0)
        assert np.array_equal(one["indices"], two["indices"]), name
