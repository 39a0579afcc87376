import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg_text
from datasets.readers import open_reader
from models import build_model
from tools.looking.animations import write_gif, write_mp4
from tools.looking.pictures import GAP, LINE_HEIGHT, enlarge_frames
from tools.visualize import main

av = pytest.importorskip("av")

YML = """
DATA: {NUM_FRAMES: 4, FRAME_STRIDE: 2, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16}
MODEL:
  BACKBONE: small
  NUM_CLASSES: 3
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 8, MLP_DIM: 8, NUM_HEADS: 1, NUM_LAYERS: 2}
"""
TSM = ["MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18"]
TSM += ["MODEL.TSM.LAYERS", "[1, 1, 1, 1]", "MODEL.TSM.WIDTH", "8"]
SIDE = 224


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
    return write_checkpoint(tmp_path / "model.pth")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """13 frames: two clips of 4 x 2, frames 0 to 6 and, ending with the video, 6 to 12."""
    path, rng = tmp_path / "v.mp4", np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(13):
            picture = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "frames"
    path.mkdir()
    for number in range(1, 14):
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path / f"img_{number:05d}.png")
    return path


def run(checkpoint: Path, source: Path, *words: str) -> Path:
    output = source.parent / "out"
    named = {"--checkpoint": checkpoint, "--input": source, "--output": output}
    main([str(word) for pair in named.items() for word in pair] + list(words))
    return output


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("overrides", "num_rows"),
    [
        ([], 2),
        (["MODEL.NAME", "vit"], 2),
        (["MODEL.NAME", "timesformer"], 3),
        (["MODEL.NAME", "timesformer", "MODEL.TIMESFORMER.ATTENTION", "joint"], 2),
        (["MODEL.NAME", "timesformer", "MODEL.TIMESFORMER.ATTENTION", "space_only"], 2),
        (TSM, 2),
    ],
)
def test_what_is_written(
    tmp_path: Path,
    video: Path,
    capsys: pytest.CaptureFixture[str],
    overrides: list[str],
    num_rows: int,
) -> None:
    output = run(write_checkpoint(tmp_path / "model.pth", *overrides), video, "--fps", "5")
    strips = ["clip_000.png", "clip_001.png"]
    times = ["clip_000_time.png", "clip_001_time.png"] if num_rows == 3 else []
    names = {path.name for path in output.iterdir()}
    assert names == {*strips, *times, "attention.gif", "attention.mp4"}
    for name in strips:
        height = 4 * LINE_HEIGHT + num_rows * SIDE
        assert Image.open(output / name).size == (4 * (SIDE + GAP), height)
    width, height = num_rows * (SIDE + GAP), 3 * LINE_HEIGHT + SIDE
    with Image.open(output / "attention.gif") as image:
        assert (image.n_frames, image.size) == (8, (width, height))
        assert image.info["duration"] == 200
    pictures = decoded(output / "attention.mp4")
    assert [picture.shape for picture in pictures] == [(height, width, 3)] * 8
    first, second, whole, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("clip 0, frames 0 to 6: ")
    assert second.startswith("clip 1, frames 6 to 12: ")
    assert whole.endswith("by the mean logits of 2 clips")


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_the_frames_are_those_that_the_model_sees(
    checkpoint: Path, kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = request.getfixturevalue(kind)
    seen: list[torch.Tensor] = []
    build = build_model

    def build_watched(cfg: object) -> torch.nn.Module:
        model = build(cfg)
        model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        return model

    monkeypatch.setattr("models.loaded_model.build_model", build_watched)
    output = run(checkpoint, source, "--clip", "1")
    pixels = ((seen[0][0].permute(0, 2, 3, 1) * 0.5 + 0.5) * 255).numpy()
    drawn = np.asarray(Image.open(output / "clip_001.png"))
    for t in range(4):
        left = t * (SIDE + GAP)
        shown = drawn[2 * LINE_HEIGHT : 2 * LINE_HEIGHT + SIDE, left : left + SIDE]
        assert np.abs(shown[::14, ::14] - pixels[t]).max() < 1e-3  # float32 of whole numbers
    if kind == "folder":  # of the model's size already: nothing is resized
        stored = enlarge_frames(open_reader(source).read([6, 8, 10, 12]))
        assert (drawn[2 * LINE_HEIGHT : 2 * LINE_HEIGHT + SIDE, :SIDE] == stored[0]).all()


def test_class_and_score_are_those_of_the_model(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(checkpoint, folder, "TEST.AVERAGE_LOGITS", "False")
    lines = capsys.readouterr().out.splitlines()
    cfg = load_cfg_text(YML, "test")
    model = build_model(cfg).eval()
    model.load_state_dict(torch.load(checkpoint)["state_dict"])
    frames = torch.from_numpy(open_reader(folder).read([0, 2, 4, 6, 6, 8, 10, 12]))
    clips = (frames.permute(0, 3, 1, 2).unflatten(0, (2, 4)) / 255 - 0.5) / 0.5
    with torch.no_grad():
        scores = model(clips).softmax(-1)
    for line, of_clip in zip(lines, [*scores, scores.mean(0)], strict=False):
        name = ["sit", "stand", "lie"][int(of_clip.argmax())]
        assert f"{name} {of_clip.max():.3f}" in line
    assert "mean probabilities of 2 clips" in lines[2]


def test_a_long_video_is_shown_in_part_and_says_so(
    checkpoint: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["DATA.FRAME_STRIDE", "1"]  # clips 0 to 3, 4 to 7, 8 to 11, 9 to 12
    output = run(checkpoint, folder, "--max-clips", "2", *words)
    assert "2 of the video's 4 clips, spread evenly" in capsys.readouterr().out
    assert sorted(path.name for path in output.glob("*.png")) == ["clip_000.png", "clip_003.png"]
    run(checkpoint, folder, "--max-clips", "0", *words)
    assert len(list(output.glob("*.png"))) == 4


def test_without_av_the_mp4_is_left_out_in_plain_sight(
    checkpoint: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tools.visualize.find_spec", lambda name: None)
    output = run(checkpoint, folder)
    assert {path.suffix for path in output.iterdir()} == {".png", ".gif"}
    assert "no attention.mp4: it needs the package av: python -m pip" in capsys.readouterr().out


def test_one_place_a_frame_is_said_to_be_no_map(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = write_checkpoint(tmp_path / "tsm.pth", *TSM)
    run(checkpoint, folder, "--clip", "0")
    assert "--layer layer2 or layer3 has more" in capsys.readouterr().out
    run(checkpoint, folder, "--clip", "0", "--layer", "layer2")
    assert "has more" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("source", "words", "said"),
    [
        ("none.mp4", [], "none.mp4: no such file or folder"),
        ("empty", [], "empty: holds no frames"),
        ("text.mp4", [], "text.mp4: PyAV"),
        ("frames", ["--clip", "2"], "--clip 2: the video has 2 clips, 0 to 1"),
        ("frames", ["--clip", "-1"], "--clip -1: the video has 2 clips"),
        ("frames", ["--layer", "layer2"], "--layer layer2 is for Grad-CAM of a tsm"),
        ("frames", ["--output", "{}/text.mp4"], "cannot make the folder --output"),
        ("frames", ["--checkpoint", "{}/text.mp4"], "text.mp4"),
        ("frames", ["MODEL.NUM_CLASSES", "4"], "head"),
        ("broken", [], "img_00003.png"),
    ],
)
def test_errors_of_the_user(
    checkpoint: Path,
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    words: Sequence[str],
    said: str,
) -> None:
    root = folder.parent
    (root / "empty").mkdir()
    (root / "text.mp4").write_text("no video")
    if source == "broken":
        (folder / "img_00003.png").write_bytes(b"no image")
        source = "frames"
    monkeypatch.setattr("tools.visualize.set_up_console", lambda is_main: None)
    with caplog.at_level(logging.ERROR), pytest.raises(SystemExit) as end:
        run(checkpoint, root / source, *(word.format(root) for word in words))
    assert end.value.code == 1
    assert said in caplog.text


@pytest.mark.parametrize("words", [["--fps", "0"], ["--max-clips", "-1"], ["--layer", "layer5"]])
def test_a_wrong_command_line_exits_with_2(
    checkpoint: Path, folder: Path, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(checkpoint, folder, *words)
    assert end.value.code == 2


def test_animations_hold_each_picture_for_its_time(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (33, 21), (value, 0, 0)) for value in (0, 100, 200)]
    write_gif(tmp_path / "a.gif", pictures, fps=2.5)
    write_mp4(tmp_path / "a.mp4", pictures, fps=2.5)
    with Image.open(tmp_path / "a.gif") as image:
        assert (image.n_frames, image.size, image.info["duration"]) == (3, (33, 21), 400)
    frames = decoded(tmp_path / "a.mp4")
    assert [frame.shape for frame in frames] == [(22, 34, 3)] * 3  # sides made even
    assert [frame[10, 15, 0] for frame in frames] == pytest.approx([0, 100, 200], abs=8)  # lossy
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].average_rate == 2.5


def test_folder_of_videos_has_a_folder_of_pictures_for_each(
    checkpoint: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "in"
    (videos / "deeper").mkdir(parents=True)
    for name in ("one.mp4", "deeper/two.mp4", "deeper/two.mkv"):
        (videos / name).write_bytes(video.read_bytes())
    run(checkpoint, videos, "--clip", "0")
    pictures = sorted((tmp_path / "out").rglob("clip_000.png"))
    folders = [str(path.parent.relative_to(tmp_path / "out")) for path in pictures]
    assert folders == ["deeper/two.mkv", "deeper/two.mp4", "one"]
    (videos / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(SystemExit) as end:
        run(checkpoint, videos, "--clip", "0")
    assert end.value.code == 1
    out = capsys.readouterr().out
    assert "left out: " in out
    assert "bad.mp4" in out
