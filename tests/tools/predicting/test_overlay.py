"""The video that --overlay writes: its size, times and turn are the input's, its text is drawn."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datasets.readers import UnreadableVideoError, VideoFile
from tests.tools.test_predict import run, write_checkpoint, write_frames
from tools.predicting.overlay import draw_ranks

av = pytest.importorskip("av")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pth")


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(container.streams.best("video"))]
    return [time - times[0] for time in times]


@pytest.mark.parametrize(
    "name",
    ["x264.mp4", "x264.mov", "x264_variable.mp4", "x264_odd.mp4", "moving.gif", "mpeg2.mpg"],
)
def test_overlay_has_the_frames_times_and_size_of_the_video(
    checkpoint: Path, make_clip: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    path, out = make_clip(name), tmp_path / "new/out.mp4"
    run(checkpoint, "--input", path, "--overlay", out, "--views", "1x1")
    before, after = VideoFile(path), VideoFile(out)
    assert len(after) == len(before)
    one, other = before.read([0, 30]), after.read([0, 30])
    assert other.shape == one.shape  # x264.mov is turned by 90 degrees
    np.testing.assert_allclose(times_of(out), times_of(path), atol=2e-3)
    change = np.abs(other.mean(-1) - one.mean(-1))  # of brightness; codecs halve the colours
    height, width = one.shape[1:3]
    assert change[:, -height // 4 :, -width // 4 :].mean() < 10  # bare: what two codecs cost
    assert change[:, : height // 4, : width // 4].mean() > 20
    assert [file.name for file in out.parent.iterdir()] == ["out.mp4"]


def test_folder_of_frames_becomes_a_video(checkpoint: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "v", 12, seed=0)
    out = tmp_path / "out.mp4"
    run(checkpoint, "--input", tmp_path / "v", "--overlay", out, "DATA.FPS", "10.0")
    np.testing.assert_allclose(times_of(out), np.arange(12) / 10, atol=1e-3)


def test_three_ranks_stand_on_a_dark_ground() -> None:
    grey = np.full((220, 400, 3), 200, np.uint8)
    ranks = [(0, "kick", 0.5), (1, "run", 0.3), (2, "swim", 0.2)]
    drawn = np.asarray(draw_ranks(grey, ranks))
    assert drawn.shape == grey.shape
    assert (grey == 200).all()  # the picture itself is left alone
    assert drawn[2, 2].max() < 120
    np.testing.assert_array_equal(drawn[100:], 200)
    is_text = (drawn > 240).all(-1).any(1)  # rows
    assert np.diff(is_text.astype(int)).clip(0).sum() >= 3


def test_overlay_that_cannot_be_written_leaves_nothing(
    checkpoint: Path,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--input", make_clip("x264.mp4"), "--overlay", tmp_path / "out.nonsense"]
    run(checkpoint, *words, code=1)
    assert "cannot write --overlay" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out", "out.avi", "out.webm", "out.jpg"])
def test_suffix_of_another_container_is_refused_before_the_model_is_opened(
    name: str, make_clip: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--input", make_clip("x264.mp4"), "--overlay", tmp_path / name]
    run(tmp_path / "no.pth", *words, code=1)
    text = capsys.readouterr().out
    assert f"cannot write --overlay {tmp_path / name}: its suffix is " in text
    assert ".mp4, .m4v, .mov, .mkv" in text


@pytest.mark.parametrize("name", ["holiday.mp4", "other.mp4"])
def test_video_is_not_written_over(
    checkpoint: Path,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    name: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = tmp_path / "holiday.mp4"
    video.write_bytes(make_clip("x264.mp4").read_bytes())
    (tmp_path / "other.mp4").symlink_to(video)
    (tmp_path / "list.txt").write_text("holiday.mp4 0\n")
    for read in (video, tmp_path, tmp_path / "list.txt"):
        words = ["--input", read, "--overlay", tmp_path / name, "DATA.ROOT", str(tmp_path)]
        run(checkpoint, *words, code=1)
        assert f"error: --overlay {tmp_path / name} is what is read" in capsys.readouterr().out
    assert video.read_bytes() == make_clip("x264.mp4").read_bytes()


@pytest.mark.parametrize("option", ["--json", "--timeline"])
def test_list_and_weights_are_not_written_over(
    checkpoint: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_frames(tmp_path / "v", 12, seed=0)
    words = tmp_path / "list.csv"
    words.write_text("v\n")
    run(checkpoint, "--input", words, option, words, "DATA.ROOT", str(tmp_path), code=1)
    assert f"error: {option} {words} is what is read" in capsys.readouterr().out
    assert words.read_text() == "v\n"


def test_video_that_breaks_off_is_named_and_nothing_is_left(
    checkpoint: Path,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def break_off(*_: object) -> None:
        raise UnreadableVideoError("v.mp4: after 7 frames: broken")

    monkeypatch.setattr("tools.predicting.overlay.numbered_frames", break_off)
    words = ["--input", make_clip("x264.mp4"), "--overlay", tmp_path / "out.mp4"]
    run(checkpoint, *words, code=1)
    assert "error: v.mp4: after 7 frames: broken" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("side", [32, 64, 112, 360])
def test_ground_is_in_proportion_to_the_picture(side: int) -> None:
    grey = np.full((side, side, 3), 200, np.uint8)
    ranks = [(k, name, 0.5) for k, name in enumerate(["anticlockwise", "a b", "a long name" * 9])]
    drawn = np.asarray(draw_ranks(grey, ranks))
    changed = (drawn != grey).any(-1)
    assert 0 < changed.any(1).sum() <= max(0.42 * side, 14)
    assert changed.any(0).sum() <= side
    assert (drawn > 230).any()  # letters


def test_small_pictures_keep_the_best_rank() -> None:
    grey = np.full((32, 32, 3), 200, np.uint8)
    one, other = (np.asarray(draw_ranks(grey, [(0, name, 0.9)])) for name in ("up", "down"))
    assert not np.array_equal(one, other)
