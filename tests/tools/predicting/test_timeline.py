"""Windows that slide over a video, on random weights and generated videos."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.annotations import VideoRecord
from datasets.loaders import build_test_views
from datasets.readers import UnreadableVideoError, VideoFile, open_reader
from tests.tools.test_predict import NAMES, run, write_checkpoint, write_frames
from tools.predicting.timeline import Timeline, build_timeline
from tools.predicting.video_classifier import ClassifierOptions, VideoClassifier, open_classifier

av = pytest.importorskip("av")

SPAN = 8  # frames of a clip of YML: four frames, two apart


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture
def classifier(checkpoint: Path) -> VideoClassifier:
    return open_classifier(str(checkpoint), ClassifierOptions(views="1x3"))[0]


def record_of(path: Path) -> VideoRecord:
    return VideoRecord(str(path), 0, -1, 1)


@pytest.mark.parametrize("name", ["x264.mp4", "x264_variable.mp4", "mpeg2.mpg", "folder"])
def test_each_window_is_classified_as_a_video_of_its_frames(
    classifier: VideoClassifier, make_clip: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    if name == "folder":
        write_frames(tmp_path / "v", 30, seed=0)
    path = tmp_path / "v" if name == "folder" else make_clip(name)
    record = record_of(path)
    timeline = build_timeline(classifier, record, hop=0.2)
    assert timeline.length == SPAN
    reader = open_reader(path)
    assert timeline.firsts[-1] + SPAN == len(reader)
    for place in (0, 1, len(timeline.firsts) - 1):
        part = tmp_path / f"{place}"
        part.mkdir()
        frames = reader.read(np.arange(SPAN) + timeline.firsts[place])
        for number, frame in enumerate(frames, start=1):
            Image.fromarray(frame).save(part / f"img_{number:05d}.png")
        views = build_test_views(
            classifier.cfg, [record_of(part)], "test", lambda record: open_reader(record.path)
        )
        (_, logits, _), *_ = classifier.results([views[0]])
        assert logits is not None
        # one window at a time in place of two: float32 sums in another order
        torch.testing.assert_close(
            timeline.probabilities[place], classifier.probabilities(logits, "v"), atol=1e-5, rtol=0
        )


def test_times_are_those_of_the_frames(
    classifier: VideoClassifier, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    timeline = build_timeline(classifier, record_of(make_clip("x264.mp4")), hop=0.5)
    assert np.diff(timeline.firsts)[:-1].tolist() == [12] * (
        len(timeline.firsts) - 2
    )  # 25 a second
    np.testing.assert_allclose(timeline.starts, timeline.firsts / 25, atol=1e-6)
    np.testing.assert_allclose(timeline.ends - timeline.starts, (SPAN - 1) / 25, atol=1e-6)
    varied = build_timeline(classifier, record_of(make_clip("x264_variable.mp4")))
    times = [40 * n + n * n % 23 for n in range(61)]  # milliseconds, as it was written
    np.testing.assert_allclose(varied.starts, np.array(times)[varied.firsts] / 1000, atol=1e-3)
    write_frames(tmp_path / "v", 12, seed=0)
    folder = build_timeline(classifier, record_of(tmp_path / "v"))
    np.testing.assert_allclose(folder.starts, folder.firsts / 30, atol=1e-9)  # DATA.FPS


def test_short_video_is_one_window(
    classifier: VideoClassifier, make_clip: Callable[..., Path]
) -> None:
    timeline = build_timeline(classifier, record_of(make_clip("x264.mp4", 5)))
    assert (timeline.firsts.tolist(), timeline.length) == ([0], 5)
    longer = build_timeline(classifier, record_of(make_clip("x264.mp4", 5)), window=60.0)
    torch.testing.assert_close(longer.probabilities, timeline.probabilities)


def test_a_frame_is_decoded_once(
    classifier: VideoClassifier, make_clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    monkeypatch.setattr(VideoFile, "read", lambda *_: opened.append(1))
    build_timeline(classifier, record_of(make_clip("x264.mp4")), hop=0.04)
    assert not opened  # only one pass over the whole file


def test_nearest_middle_answers_for_a_time() -> None:
    starts = np.array([0.0, 1.0, 2.0])
    timeline = Timeline(np.array([0, 10, 20]), 20, starts, starts + 2, torch.eye(3))
    assert [int(timeline.at(t).argmax()) for t in (0.0, 1.4, 1.6, 2.6, 9.0)] == [0, 0, 1, 2, 2]


def test_clips_spread_over_whole_videos_need_a_window(
    checkpoint: Path,
    make_clip: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    words = ["--input", make_clip("x264.mp4"), "--timeline", tmp_path / "out"]
    run(checkpoint, *words, "DATA.SAMPLING", "uniform", code=1)
    out = capsys.readouterr().out
    assert "DATA.SAMPLING='uniform' spread 4 frames over each training video" in out
    assert "give --window SECONDS" in out
    run(checkpoint, *words, "--window", 1, "DATA.SAMPLING", "uniform")
    assert (tmp_path / "out.csv").exists()


def test_table_plot_and_windows_are_written(
    checkpoint: Path, make_clip: Callable[..., Path], tmp_path: Path, classifier: VideoClassifier
) -> None:
    pytest.importorskip("matplotlib")
    path = make_clip("x264.mp4")
    words = ["--input", path, "--timeline", tmp_path / "new/out", "--topk", 2, "--views", "1x3"]
    run(checkpoint, *words, "--json", tmp_path / "out.jsonl")
    timeline = build_timeline(classifier, record_of(path))
    with (tmp_path / "new/out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(timeline.firsts)
    for row, first, probabilities in zip(
        rows, timeline.firsts, timeline.probabilities, strict=True
    ):
        assert (int(row["first_frame"]), int(row["last_frame"])) == (first, first + SPAN - 1)
        assert float(row["start_seconds"]) == pytest.approx(first / 25, abs=1e-5)
        label = int(row["label_1"])
        assert row["class_1"] == NAMES[label]
        assert float(row["score_1"]) == pytest.approx(float(probabilities.max()), abs=1e-5)
        assert label == int(probabilities.argmax())
    windows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for window, row in zip(windows, rows, strict=True):
        assert window["path"] == str(path)
        for name in ("first_frame", "last_frame", "start_seconds", "end_seconds"):
            assert window[name] == float(row[name])
        ranks = [(rank["name"], rank["score"]) for rank in window["ranks"]]
        assert ranks == [(row[f"class_{k}"], float(row[f"score_{k}"])) for k in (1, 2)]
    with Image.open(tmp_path / "new/out.png") as image:
        colours = {colour for _, colour in image.getcolors(1 << 20) or []}
        assert image.size == (1200, 600)
    assert {(0, 114, 178), (213, 94, 0), (0, 158, 115)} <= colours  # a line for each class


def test_without_matplotlib_the_table_is_written_and_it_is_said(
    checkpoint: Path,
    make_clip: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tools.predicting.timeline.can_draw", lambda: False)
    run(checkpoint, "--input", make_clip("x264.mp4"), "--timeline", tmp_path / "out")
    assert (tmp_path / "out.csv").exists()
    assert not (tmp_path / "out.png").exists()
    assert "out.png" not in capsys.readouterr().out


def test_broken_video_is_an_error(
    classifier: VideoClassifier, checkpoint: Path, make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    whole = make_clip("mpeg4.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnreadableVideoError, match=r"cut\.avi"):
        build_timeline(classifier, record_of(tmp_path / "cut.avi"))
    run(checkpoint, "--input", tmp_path / "cut.avi", "--timeline", tmp_path / "out", code=1)
    assert not (tmp_path / "out.csv").exists()
