"""Random weights and generated videos: what is found, shown, kept, and left out."""

import contextlib
import functools
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg_text
from engine.distributed import World
from engine.scores import Scores
from main_ddp_shift import main as train_or_test
from models import build_model
from tests.ranks import Ranks
from tools.export import main as export
from tools.predict import classify, main
from tools.predicting.find_videos import find_videos
from tools.predicting.video_classifier import ClassifierOptions, open_classifier

pytest.importorskip("av")

NAMES = ["kick ball", "run", "swim"]
YML = """
DATA: {NUM_FRAMES: 4, FRAME_STRIDE: 2, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16, WORKERS: 0}
MODEL:
  BACKBONE: small
  NUM_CLASSES: 3
  VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 2}
"""
WORLD = World(rank=0, size=1, local_rank=0, device=torch.device("cpu"))
KINDS = ("onnx", "pt2")
CLIPS = ("x264.mp4", "x264.mov", "moving.gif", "mpeg2.mpg", "vp9.webm")


def write_checkpoint(path: Path, *overrides: str, is_bare: bool = False) -> Path:
    cfg = load_cfg_text(YML, "test", overrides)
    torch.manual_seed(0)
    model = build_model(cfg)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    content: dict[str, Any] = {"state_dict": model.state_dict()}
    if not is_bare:
        content |= {"config": cfg.dump(), "class_names": NAMES}
    torch.save(content, path)
    return path


def write_frames(folder: Path, num_frames: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(1, num_frames + 1):
        noise = rng.integers(0, 256, (20, 28, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"img_{number:05d}.png")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pth")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    """A folder of five video files, and of two folders of frames, one of them deeper."""
    folder = tmp_path_factory.mktemp("videos")
    for name in CLIPS:
        shutil.copy(make_clip(name), folder / name)
    write_frames(folder / "frames", 13, seed=0)
    write_frames(folder / "deep er" / "frames", 5, seed=1)
    (folder / "notes.txt").write_text("no video")
    (folder / ".hidden.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Callable[..., Path]:
    """Export the checkpoint with some words, both kinds at once; each export takes seconds."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")

    @functools.cache
    def write(*words: str) -> Path:
        folder = checkpoint.parent / "_".join(("exported", *words))
        outputs = [word for kind in KINDS for word in ("--output", str(folder / f"model.{kind}"))]
        export(["--checkpoint", str(checkpoint), *outputs, *words])
        return folder

    return write


def run(checkpoint: Path, *words: object, code: int = 0) -> None:
    ends = pytest.raises(SystemExit) if code else contextlib.nullcontext()
    with ends as end:
        main(["--checkpoint", str(checkpoint), *map(str, words)])
    assert not code or (end and end.value.code == code)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_printed(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(checkpoint, "--input", videos / "x264.mp4", "--topk", 2, "--json", tmp_path / "o.jsonl")
    (row,) = rows_of(tmp_path / "o.jsonl")
    assert (row["file"], row["path"]) == ("x264.mp4", str(videos / "x264.mp4"))
    lines = ["Current video file: x264.mp4"]
    for number, rank in enumerate(row["ranks"], start=1):
        assert rank["name"] == NAMES[rank["class"]]
        lines.append(f"\ttop-{number} class: {rank['class']} {rank['name']}")
        lines.append(f"\ttop-{number} score: {rank['score']:.4f}")
    assert len(lines) == 5
    assert capsys.readouterr().out == "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "overrides", [[], ["TEST.AVERAGE_LOGITS", "False"], ["TEST.FLIP", "True"]], ids=str
)
def test_logits_are_those_of_the_30_view_test(
    checkpoint: Path, videos: Path, tmp_path: Path, overrides: list[str]
) -> None:
    paths = [*CLIPS, "frames", "deep er/frames"]
    listed = tmp_path / "list.txt"
    listed.write_text("".join(f"{path} {k % 3}\n" for k, path in enumerate(paths)))
    words = ["DATA.ROOT", str(videos), *overrides]
    train_or_test(
        [
            *("--evaluate", "--resume", str(checkpoint), "--output", str(tmp_path / "run")),
            *("DATA.VAL_LIST", str(listed), *words),
        ]
    )
    scores = Scores.load(tmp_path / "run/scores.npz")
    options = ClassifierOptions(views="10x3", overrides=words)
    classifier, _ = open_classifier(str(checkpoint), options)
    found = find_videos([str(videos / path) for path in paths])
    results = [result for part in classify(classifier, found, WORLD) for result in part]
    logits = np.stack([result[1] for result in results])
    assert logits.shape == (7, 60 if "TEST.FLIP" in overrides else 30, 3)
    np.testing.assert_allclose(logits, scores.view_logits, atol=1e-5, rtol=0)
    run(checkpoint, "--input", listed, "--views", "10x3", "--json", tmp_path / "o.jsonl", *words)
    averages = torch.from_numpy(scores.averaged("TEST.AVERAGE_LOGITS" not in overrides))
    if "TEST.AVERAGE_LOGITS" not in overrides:
        averages = averages.softmax(-1)  # once: probabilities that were averaged stay as they are
    for row, expected in zip(rows_of(tmp_path / "o.jsonl"), averages, strict=True):
        shown = {rank["class"]: rank["score"] for rank in row["ranks"]}
        assert [shown[k] for k in range(3)] == pytest.approx(expected.tolist(), abs=1e-5)
        assert sum(shown.values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("views", ["1x1", "1x3", "10x3"])
def test_views_are_as_many_as_asked_for(checkpoint: Path, videos: Path, views: str) -> None:
    classifier, _ = open_classifier(str(checkpoint), ClassifierOptions(views=views))
    (part,) = classify(classifier, find_videos([str(videos / "x264.mp4")]), WORLD)
    clips, crops = map(int, views.split("x"))
    assert part[0][1] is not None
    assert part[0][1].shape == (clips * crops, 3)


def test_every_kind_of_input_gives_the_same_answers(
    checkpoint: Path, videos: Path, tmp_path: Path
) -> None:
    def answers(*words: object) -> dict[str, Any]:
        run(checkpoint, *words, "--json", tmp_path / "o.jsonl")
        return {row["file"]: row["ranks"] for row in rows_of(tmp_path / "o.jsonl")}

    whole = answers("--input", videos)
    assert sorted(whole) == sorted([*CLIPS, "frames", "deep er/frames"])
    assert answers("--input", videos / "frames") == {"frames": whole["frames"]}
    globbed = answers("--input", videos / "x264.m*")
    assert globbed == {str(videos / n): whole[n] for n in ("x264.mov", "x264.mp4")}
    several = answers("--input", videos / "x264.mp4", videos / "vp9.webm", "DATA.WORKERS", "0")
    assert several == {name: whole[name] for name in ("x264.mp4", "vp9.webm")}
    listed = tmp_path / "some.txt"
    listed.write_text("# two\ndeep er/frames\nframes 13 1\n")
    assert answers("--input", listed, "DATA.ROOT", videos) == {
        name: whole[name] for name in ("deep er/frames", "frames")
    }
    with zipfile.ZipFile(tmp_path / "frames.zip", "w") as pack:
        for file in (videos / "frames").iterdir():
            pack.write(file, file.name)
    with zipfile.ZipFile(tmp_path / "no_frames.zip", "w") as archive:
        archive.writestr("notes.txt", "no video")
    for word in (tmp_path / "frames.zip", tmp_path):
        assert answers("--input", word) == {"frames.zip": whole["frames"]}


def test_labels_of_a_list_give_top1(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(checkpoint, "--input", videos, "--json", tmp_path / "o.jsonl")
    right = {row["file"]: row["ranks"][0]["class"] for row in rows_of(tmp_path / "o.jsonl")}
    assert "labelled" not in capsys.readouterr().out
    wrong = (right["vp9.webm"] + 1) % 3
    (tmp_path / "list.txt").write_text(
        f"frames {right['frames']}\nx264.mp4 61 {right['x264.mp4']}\nvp9.webm {wrong}\nmoving.gif\n"
    )
    run(checkpoint, "--input", tmp_path / "list.txt", "DATA.ROOT", videos)
    out = capsys.readouterr().out
    assert out.endswith("2 right, 1 wrong\ntop-1 of 3 labelled videos: 66.67\n")
    assert out.count("\ttrue class: ") == 3
    assert f"\ttrue class: {wrong} {NAMES[wrong]}, wrong\n" in out
    assert f"\ttrue class: {right['frames']} {NAMES[right['frames']]}, right\n" in out
    assert out.count("Current video file") == 4


def test_unreadable_videos_are_said_and_the_others_classified(
    checkpoint: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (videos / "x264.mp4").read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a_cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "in/b.mp4").write_bytes(whole)
    (tmp_path / "in/c_empty.avi").touch()
    run(checkpoint, "--input", tmp_path / "in", "--json", tmp_path / "o.jsonl", code=1)
    rows = rows_of(tmp_path / "o.jsonl")
    assert [row["file"] for row in rows] == ["a_cut.mp4", "b.mp4", "c_empty.avi"]
    assert ["error" in row for row in rows] == [True, False, True]
    assert "PyAV: InvalidDataError" in rows[0]["error"]
    shown = capsys.readouterr()
    assert f"Current video file: a_cut.mp4\n\tunreadable: {rows[0]['error']}\n" in shown.out
    assert "2 of 3 videos are unreadable: a_cut.mp4, c_empty.avi" in shown.err


def test_released_weights_take_a_yml_and_class_names(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = write_checkpoint(tmp_path / "bare.pth", is_bare=True)
    (tmp_path / "tiny.yml").write_text(YML)
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    words = ["--input", videos / "vp9.webm", "--topk", 1]
    run(bare, *words, "--cfg", tmp_path / "tiny.yml", "--class-names", tmp_path / "names.txt")
    named = capsys.readouterr().out.splitlines()[1].split()
    assert named[3] == "abc"[int(named[2])]
    run(bare, *words, "--cfg", tmp_path / "tiny.yml")
    assert capsys.readouterr().out.splitlines()[1].split()[3] == named[2]  # by its number


@pytest.mark.parametrize("views", [(), ("--views", "2x3"), ("--views", "2x3", "P")], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_exported_files_give_the_checkpoints_answers(
    checkpoint: Path,
    videos: Path,
    exported: Callable[..., Path],
    tmp_path: Path,
    kind: str,
    views: tuple[str, ...],
) -> None:
    consensus = ["TEST.AVERAGE_LOGITS", "False"] if "P" in views else []
    words = [*consensus, *views[:2]]
    path = exported(*words) / f"model.{kind}"
    answers = []
    for file in (checkpoint, path):
        own = words if file is checkpoint else []
        run(file, "--input", videos, *own, "--json", tmp_path / "o.jsonl")
        answers.append(rows_of(tmp_path / "o.jsonl"))
    for ours, theirs in zip(*answers, strict=True):
        assert ours["file"] == theirs["file"]
        for one, other in zip(ours["ranks"], theirs["ranks"], strict=True):
            assert one["name"] == other["name"]
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)


def test_file_that_averages_its_views_takes_no_others(
    videos: Path, exported: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported("--views", "2x3") / "model.pt2"
    run(path, "--input", videos / "vp9.webm", "--views", "1x1", code=1)
    assert "averages 2x3 views inside" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--input", "no/such.mp4"], "no such file, folder or glob"),
        (["--input", "no/such*.mp4"], "no video and no folder of numbered images"),
        (["--input", "{videos}/vp9.webm", "--views", "3"], "--views is clips x crops"),
        (["--input", "{videos}/vp9.webm", "--views", "10x3", "DATA.SAMPLING", "uniform"], "1x3"),
        (["--input", "{videos}/vp9.webm", "--class-names", "no.txt"], "cannot read"),
        (["--input", "{folder}/label.txt"], "line 1 of the list: label 3 of 'a.mp4' is not in"),
        (["--input", "{folder}/empty.txt"], "the list names no video"),
        (["--input", "{folder}/none"], "no video and no folder of numbered images"),
        (["--input", "{videos}", "--timeline", "out"], "take one video, --input means 7"),
    ],
)
def test_errors_name_what_is_wrong(
    checkpoint: Path,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    text: str,
) -> None:
    (tmp_path / "label.txt").write_text("a.mp4 3\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "none").mkdir()
    run(checkpoint, *(word.format(videos=videos, folder=tmp_path) for word in words), code=1)
    assert text in capsys.readouterr().out


def test_checkpoint_without_a_config_names_the_way_out(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(write_checkpoint(tmp_path / "b.pth", is_bare=True), "--input", videos, code=1)
    assert "does not hold its config; name one with --cfg" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--hop", "1"], ["--topk", "0"]])
def test_words_that_do_not_go_together_are_refused(
    checkpoint: Path, words: list[str], tmp_path: Path
) -> None:
    run(checkpoint, "--input", "v.mp4", *words, "--json", tmp_path / "o", code=2)


@pytest.mark.ddp
def test_processes_share_the_videos_and_the_answers_come_in_order(
    checkpoint: Path, videos: Path, tmp_path: Path, ranks: Ranks
) -> None:
    whole = (videos / "x264.mp4").read_bytes()
    shutil.copytree(videos, tmp_path / "in")
    (tmp_path / "in/n_cut.mp4").write_bytes(whole[: len(whole) // 2])
    printed = []
    for num in (1, 2):
        words = ["--checkpoint", checkpoint, "--input", tmp_path / "in"]
        ran = ranks.run(num, "tools/predict.py", *words, is_launched=num > 1)
        assert ran.returncode == 1, ran.stdout
        printed.append(ran.stdout)
    assert printed[0] == printed[1]
    assert printed[0].count("Current video file") == 8


def test_what_exists_decides_what_a_line_of_a_list_means(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, name in enumerate(("take", "take 2", "take 3")):
        write_frames(tmp_path / name, 6, seed)
    listed = tmp_path / "list.txt"
    listed.write_text("take\ntake 2\ntake 3\n")
    run(checkpoint, "--input", listed, "DATA.ROOT", tmp_path)
    shown = re.findall("Current video file: (.*)", capsys.readouterr().out)
    assert shown == ["take", "take 2", "take 3"]
    listed.write_text("take 2\ntake 2 0\ntake 3 6 1\n")
    run(checkpoint, "--input", listed, "--json", tmp_path / "o.jsonl", "DATA.ROOT", tmp_path)
    rows = rows_of(tmp_path / "o.jsonl")
    assert [Path(row["path"]).name for row in rows] == ["take", "take 2", "take 3"]
    assert "of 3 labelled videos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "mended"),
    [("frames,1", "frames 1"), ('"frames" 1', "frames 1"), ("deep er\\frames", "deep er/frames")],
)
def test_list_of_another_syntax_is_named_once(
    line: str,
    mended: str,
    checkpoint: Path,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "list.txt").write_text(f"{line}\n" * 20)
    run(checkpoint, "--input", tmp_path / "list.txt", "DATA.ROOT", videos, code=1)
    said = "".join(capsys.readouterr())
    assert f"write {mended!r}" in said
    assert "20 malformed lines" in said
    assert said.count("write ") == 10


def test_names_that_are_not_utf8_reach_the_table(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_frames(tmp_path / "in/caf\udce9", 6, seed=0)
    run(checkpoint, "--input", tmp_path / "in", "--json", tmp_path / "o.jsonl")
    (row,) = rows_of(tmp_path / "o.jsonl")
    assert row["file"] == "caf\udce9"


# Several classes a video


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("several")
    return write_checkpoint(folder / "tiny.pth", "DATA.MULTI_LABEL", "True")


def test_every_class_above_the_threshold_is_named(
    several: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--input", videos / "frames", "--views", "1x1", "--json", tmp_path / "o.jsonl")
    run(several, *words)
    (row,) = rows_of(tmp_path / "o.jsonl")
    scores = {rank["class"]: rank["score"] for rank in row["ranks"]}
    assert len(scores) == 3
    assert sum(scores.values()) != pytest.approx(1, abs=1e-3)  # each is its own sigmoid
    threshold = sorted(scores.values())[1]
    run(several, *words, "--threshold", threshold)
    (row,) = rows_of(tmp_path / "o.jsonl")
    assert [rank["class"] for rank in row["ranks"]] == sorted(scores, key=scores.get)[:0:-1]
    capsys.readouterr()
    run(several, *words, "--threshold", 1)
    assert rows_of(tmp_path / "o.jsonl")[0]["ranks"] == []
    assert "\tno class has a score of 1 or more\n" in capsys.readouterr().out


def test_labels_of_a_list_are_compared(
    several: Path,
    checkpoint: Path,
    videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("frames 13 2,0\nx264.mp4 1\n")
    words = ("--input", listed, "--views", "1x1", "DATA.ROOT", videos)
    run(several, "--threshold", 0, *words, "--json", tmp_path / "o.jsonl")
    out = capsys.readouterr().out
    assert "\ttrue classes: 2 swim, 0 kick ball\n" in out
    assert "of 2 labelled videos: mAP " in out
    assert "6 classes named at --threshold 0 3 are true: precision 50.00, recall 100.00" in out
    first, second = rows_of(tmp_path / "o.jsonl")
    assert (first["labels"], second["label_names"]) == ([2, 0], ["run"])
    run(checkpoint, *words, code=1)
    text = capsys.readouterr()
    assert "line 1 of the list: 'frames' has several labels, 2,0; the model was trained with " in (
        text.out + text.err
    )


@pytest.mark.parametrize("words", [("--threshold", 1.5), ("--threshold", 0.5, "--timeline", "x")])
def test_threshold_is_a_share_and_not_for_timelines(
    several: Path, words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run(several, "--input", "x.mp4", *words, code=2)
    assert "--threshold" in capsys.readouterr().err
