import csv
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg_text
from datasets.decode.pyav_frames import decode_frames
from datasets.live import build_centre_view
from models import build_model
from ops.pixels import normalize
from ops.running_mean import FadingMean, RunningMean, WholeMean, WindowMean
from tools.stream import main

av = pytest.importorskip("av")

YML = """
DATA: {NUM_FRAMES: 4, FRAME_STRIDE: 2, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16}
MODEL:
  BACKBONE: small
  NUM_CLASSES: 3
  SHIFT: {DIRECTION: past}
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 8, MLP_DIM: 8, NUM_HEADS: 1, NUM_LAYERS: 2}
"""
TSM = ["MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18", "MODEL.TSM.DIRECTION", "past"]
TSM += ["MODEL.TSM.LAYERS", "[1, 1, 1, 1]", "MODEL.TSM.WIDTH", "8"]


def write_checkpoint(path: Path, *overrides: str) -> Path:
    """Random weights that describe themselves."""
    cfg = load_cfg_text(YML, "test", overrides)
    torch.manual_seed(0)
    model = build_model(cfg)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    content = {"state_dict": model.state_dict(), "config": cfg.dump()}
    torch.save(content | {"class_names": ["sit", "stand", "lie"]}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "past.pth")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path, rng = tmp_path / "v.mp4", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for _ in range(13):
            picture = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


def write_images(folder: Path, numbers: range) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")


def run(checkpoint: Path, source: Path | str, *words: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--checkpoint", str(checkpoint), "--input", str(source), *words])
    assert end.value.code == code


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("words", "build_mean"),
    [
        ([], WholeMean),
        (["--window", "0"], WholeMean),
        (["--window", "3"], partial(WindowMean, 3)),
        (["--decay", "0.5"], partial(FadingMean, 0.5)),
    ],
)
@pytest.mark.parametrize("overrides", [[], TSM])
def test_each_line_is_the_answer_of_the_offline_model(
    tmp_path: Path,
    video: Path,
    words: list[str],
    build_mean: Callable[[], RunningMean],
    overrides: list[str],
) -> None:
    checkpoint = write_checkpoint(tmp_path / "past.pth", *overrides)
    run(checkpoint, video, "--csv", str(tmp_path / "out.csv"), *words)
    rows = rows_of(tmp_path / "out.csv")
    cfg = load_cfg_text(YML, "test", overrides)
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(checkpoint)["state_dict"])
    view = build_centre_view(cfg)
    pictures = [np.array(image) for image in decode_frames(video)][::2]
    clip = normalize(torch.cat([view(picture) for picture in pictures]), [0.5] * 3, [0.5] * 3)
    with torch.no_grad():
        logits = model.frame_logits(clip[None])[0]
    mean = build_mean()
    scores = torch.stack([mean.add(frame).softmax(-1) for frame in logits])
    assert [int(row["frame"]) for row in rows] == [0, 2, 4, 6, 8, 10, 12]
    assert [float(row["seconds"]) for row in rows] == pytest.approx([k / 5 for k in range(7)])
    for row, expected in zip(rows, scores, strict=True):
        shown = {int(row[f"label_{k}"]): float(row[f"score_{k}"]) for k in (1, 2, 3)}
        for label, score in enumerate(expected.tolist()):
            assert shown[label] == pytest.approx(score, abs=1e-5)  # single frames, as the models do
        assert row["class_1"] == ["sit", "stand", "lie"][int(expected.argmax())]


def test_what_is_printed(checkpoint: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(checkpoint, video, "--topk", "2", "--fps", "5", "--max-frames", "3")
    head, *lines, end = capsys.readouterr().out.splitlines()
    assert "5 frames a second, mean of all so far" in head
    assert [line.split()[:4] for line in lines] == [
        ["0.000", "s", "frame", "0"],
        ["0.200", "s", "frame", "2"],
        ["0.400", "s", "frame", "4"],
    ]
    assert all(len(line.split("ms  ")[1].split("  ")) == 2 for line in lines)
    assert end.startswith("ended after 3 classified frames; ")


def test_a_growing_folder_is_followed_to_its_end(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "live", range(3))

    def write() -> None:
        for number in range(3, 9):
            time.sleep(0.1)
            write_images(tmp_path / "live", range(number, number + 1))

    writer = threading.Thread(target=write)
    writer.start()
    run(checkpoint, tmp_path / "live", "--timeout", "2", "--every", "1")
    writer.join()
    out = capsys.readouterr().out
    assert "every frame, mean of the last 4" in out
    assert [f"({number}.png)" in out for number in range(9)] == [True] * 9
    assert "ended after 9 classified frames" in out


def test_a_broken_image_shows_in_the_summary_and_the_exit_code(
    tmp_path: Path,
    checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_images(tmp_path / "live", range(3))
    (tmp_path / "live/1.png").write_bytes(b"no image")
    monkeypatch.setattr("datasets.growing_folder.POLL_SECONDS", 10)  # the second look is the last
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    run(checkpoint, tmp_path / "live", "--timeout", "0", "--every", "1", code=1)
    out = capsys.readouterr().out
    assert "ended after 2 classified frames" in out
    assert "left out: " in out
    assert "1.png: UnidentifiedImageError" in out


def test_ctrl_c_ends_it_cleanly(
    tmp_path: Path, checkpoint: Path, repository: Path, takes_interrupts: Callable[[], None]
) -> None:
    write_images(tmp_path / "live", range(2))
    words = ["--checkpoint", checkpoint, "--input", tmp_path / "live", "--timeout", "inf"]
    command = [sys.executable, "tools/stream.py", *map(str, words), "--every", "1"]
    with subprocess.Popen(
        command,
        cwd=repository,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=takes_interrupts,
    ) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(3)]  # what it is, two frames
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "(1.png)" in seen[-1]
    assert rest.startswith("stopped after 2 classified frames")


def test_a_file_that_breaks_off_is_an_error_after_its_frames(
    tmp_path: Path, checkpoint: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.avi"
    with av.open(str(video)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    run(checkpoint, cut, code=1)
    out = capsys.readouterr().out
    assert "broke off after" in out
    assert "cut.avi: after" in out


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        ("none.mp4", [], "no such file or folder"),
        ("pack.zip", [], "a pack of frames is whole"),
        ("empty", ["--timeout", "0.1"], "no frame came"),
        ("empty", ["--fps", "5"], "--fps is for videos and cameras"),
        ("v.mp4", ["--every", "0"], "it must be 1 or more"),
        ("v.mp4", ["--decay", "1"], "a decay above 0 and below 1, got 1"),
        ("v.mp4", ["--window", "-1"], "at least 1 value, got -1"),
        ("v.mp4", ["--csv", "none/out.csv"], "cannot write --csv"),
        ("v.mp4", ["DATA.SAMPLING", "uniform"], "give --every N or --fps R"),
        ("v.mp4", ["MODEL.SHIFT.DIRECTION", "both"], "config/quickstart_online.yml"),
    ],
)
def test_errors_of_the_user(
    tmp_path: Path,
    checkpoint: Path,
    video: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    words: list[str],
    said: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pack.zip").touch()
    monkeypatch.setattr("tools.stream.set_up_console", lambda is_main: None)  # it takes caplog away
    with caplog.at_level(logging.ERROR):
        run(checkpoint, tmp_path / source, *words, code=1)
    assert said in caplog.text


def test_a_camera_is_asked_for_by_its_index(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.stream.set_up_console", lambda is_main: None)
    with caplog.at_level(logging.ERROR):
        run(checkpoint, "97", code=1)
    assert "error: camera 97" in caplog.text


@pytest.mark.parametrize("words", [["--topk", "0"], ["--max-frames", "0"], ["--every", "2"]])
def test_a_wrong_command_line_exits_with_2(checkpoint: Path, video: Path, words: list[str]) -> None:
    run(checkpoint, video, "--fps", "2", *words, code=2)
