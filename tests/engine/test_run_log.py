import inspect
import io
import json
import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config import load_cfg_text
from config.loading import KEYS, all_leaves
from engine.board import class_tag
from engine.kept_records import RecordedPart
from engine.run_folder import RunFolder
from engine.run_log import NullRunLog, RunLog, open_runlog, set_up_console
from engine.whole_file import UnwritableError


@pytest.fixture
def runlog(tmp_path: Path) -> Iterator[RunLog]:
    runlog = RunLog(tmp_path / "run")
    yield runlog
    runlog.close()


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger at INFO; its handlers and level are put back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.setLevel(logging.INFO)
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def lines_of(folder: Path) -> list[dict]:
    text = (folder / "log.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def tensorboard(folder: Path):
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = module.EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_number_that_is_not_finite_is_null_since_json_has_none(runlog: RunLog) -> None:
    runlog.line("train", grad_norm=float("inf"), loss=float("nan"), lr=0.1)
    text = (runlog.folder / "log.jsonl").read_text(encoding="utf-8")
    assert "Infinity" not in text
    assert "NaN" not in text
    (line,) = lines_of(runlog.folder)
    assert (line["grad_norm"], line["loss"], line["lr"]) == (None, None, 0.1)


def test_each_line_of_the_log_is_json_with_kind_time_and_values(runlog: RunLog) -> None:
    before = time.time()
    runlog.line("train", epoch=0, loss=1.5, name="Größe")
    runlog.line("val", top1=50.0)
    first, second = lines_of(runlog.folder)
    assert first.pop("time") == pytest.approx(before, abs=10)
    assert first == {"kind": "train", "epoch": 0, "loss": 1.5, "name": "Größe"}
    assert second["kind"] == "val"
    assert second["top1"] == 50


def test_lines_are_on_disk_before_the_log_is_closed(runlog: RunLog) -> None:
    for count in range(1, 4):
        runlog.line("train", iteration=count)
        assert len(lines_of(runlog.folder)) == count


def test_console_lines_go_to_train_log_until_it_is_closed(
    tmp_path: Path, root_logger: logging.Logger
) -> None:
    runlog = RunLog(tmp_path)
    logging.getLogger("anything").info("epoch %d trained", 3)
    runlog.close()
    logging.getLogger("anything").info("after the end")
    text = (tmp_path / "train.log").read_text()
    assert text.count("\n") == 1
    assert text.endswith("epoch 3 trained\n")


def test_scalars_can_be_read_back_from_tensorboard(runlog: RunLog) -> None:
    for step, loss in enumerate([2.0, 1.0, 0.5]):
        runlog.scalars(step, {"Loss/train": loss, "LearningRate": 0.1})
    runlog.close()
    events = tensorboard(runlog.folder).Scalars("Loss/train")
    assert [(event.step, event.value) for event in events] == [(0, 2.0), (1, 1.0), (2, 0.5)]
    assert len(tensorboard(runlog.folder).Scalars("LearningRate")) == 3


def test_config_is_shown_with_what_differs_from_the_defaults_first(runlog: RunLog) -> None:
    cfg = load_cfg_text("OPTIM: {LR: 0.25}", "test")
    runlog.config(cfg)
    runlog.close()
    changed = [key for key, value in all_leaves(cfg) if value != KEYS[key]]
    assert "OPTIM.LR" in changed
    accumulator = tensorboard(runlog.folder)
    (event,) = accumulator.Tensors("config/text_summary")
    lines = event.tensor_proto.string_val[0].decode().splitlines()
    first, end = lines.index("differs from the defaults:") + 1, lines.index("all:")
    assert [line.partition(":")[0] for line in lines[first : end - 1]] == changed
    assert lines[end + 1 : -2] == cfg.dump().splitlines()
    module = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    data = accumulator.SummaryMetadata("_hparams_/experiment").plugin_data.content
    infos = module.HParamsPluginData.FromString(data).experiment.hparam_infos
    names = [info.name for info in infos]
    assert names[: len(changed)] == changed
    assert len(names) == len({*names}) == len(KEYS)


def decoded(accumulator, tag: str) -> np.ndarray:
    (event,) = accumulator.Images(tag)
    with Image.open(io.BytesIO(event.encoded_image_string)) as image:
        return np.array(image)


def test_clips_are_shown_as_strips_of_frames_below_the_names_of_their_classes(
    runlog: RunLog,
) -> None:
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, 3, 40, 50), dtype=np.uint8)
    runlog.clips(clips, [1, 0], ["up", "down"])
    runlog.close()
    picture = decoded(tensorboard(runlog.folder), "input/clips")
    line, height, width = 16, 2 * 40, 2 * 50  # a name, and frames enlarged by a whole factor
    assert picture.shape == (2 * (line + height), 3 * width, 3)
    names = []
    for clip in range(2):
        top = clip * (line + height)
        names.append(picture[top : top + line])
        for frame in range(3):
            left = frame * width
            cell = picture[top + line : top + line + height, left : left + width]
            large = clips[clip, frame].transpose(1, 2, 0).repeat(2, axis=0).repeat(2, axis=1)
            assert np.array_equal(cell, large)
    assert all(name.min() == 0 for name in names)  # letters
    assert not np.array_equal(*names)


def test_confusion_is_shown_and_lies_in_the_folder(runlog: RunLog) -> None:
    pytest.importorskip("matplotlib")
    runlog.confusion(5, np.array([[4, 0, 0], [1, 3, 0], [0, 0, 0]]), ["a", "b", "c"], "val")
    runlog.close()
    accumulator = tensorboard(runlog.folder)
    assert accumulator.Images("val/confusion")[0].step == 5
    with Image.open(runlog.folder / "confusion.png") as image:
        assert np.array_equal(decoded(accumulator, "val/confusion"), np.asarray(image))
    assert (runlog.folder / "confusion.csv").read_text().splitlines()[2] == "b,1,3,0"


def test_tags_of_classes_sort_by_label_and_hold_no_letter_that_tensorboard_lacks() -> None:
    names = ["go left/right", "caf\udce9", "\u4e0a", *map(str, range(3, 12))]
    tags = [class_tag(label, name, 12) for label, name in enumerate(names)]
    assert tags[:3] == ["00_go_left_right", "01_caf_", "02_\u4e0a"]
    assert tags == sorted(tags)


def test_fresh_run_moves_an_old_one_aside_and_keeps_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    for number in range(3):
        runlog = open_runlog(RunFolder(folder), is_main=True)
        runlog.line("train", number=number)
        runlog.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.1", "run.2"]
    kept = [lines_of(tmp_path / name)[0]["number"] for name in ("run.1", "run.2", "run")]
    assert kept == [0, 1, 2]
    assert all(len(lines_of(path)) == 1 for path in tmp_path.iterdir())
    assert f"{folder} held a run; it is now {folder}.2" in caplog.text


def test_run_that_goes_on_appends_to_its_records(tmp_path: Path) -> None:
    for number in range(2):
        part = RecordedPart(iterations=9, epochs=1, validated=1) if number else None
        runlog = open_runlog(RunFolder(tmp_path / "run"), is_main=True, part=part)
        runlog.line("train", number=number)
        runlog.close()
    assert [line["number"] for line in lines_of(tmp_path / "run")] == [0, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_fresh_run_takes_a_folder_that_holds_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    open_runlog(RunFolder(tmp_path / "run"), is_main=True).close()
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def public_methods(kind: type) -> dict[str, inspect.Signature]:
    methods = inspect.getmembers(kind, inspect.isfunction)
    return {name: inspect.signature(f) for name, f in methods if not name.startswith("_")}


def test_null_log_takes_all_that_the_log_takes() -> None:
    methods = public_methods(RunLog)
    assert set(methods) >= {"scalars", "line", "config", "clips", "confusion", "close"}
    assert public_methods(NullRunLog) == methods


def test_other_processes_write_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    runlog = open_runlog(RunFolder(folder), is_main=False)
    runlog.scalars(0, {"Loss/train": 1.0})
    runlog.line("train", loss=1.0)
    runlog.config(load_cfg_text("SEED: 1", "test"))
    runlog.clips(np.zeros((1, 1, 3, 2, 2), np.uint8), [0], ["a"])
    runlog.confusion(0, np.eye(2, dtype=int), ["a", "b"], "val")
    runlog.close()
    assert not folder.exists()


def test_other_processes_leave_an_old_run_where_it_is(tmp_path: Path) -> None:
    runlog = open_runlog(RunFolder(tmp_path / "run"), is_main=True)
    runlog.line("train")
    runlog.close()
    open_runlog(RunFolder(tmp_path / "run"), is_main=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("is_main", "expected"), [(True, ["info", "warning"]), (False, ["warning"])]
)
def test_console_shows_all_of_the_main_process_and_warnings_of_the_others(
    is_main: bool,
    expected: list[str],
    root_logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handlers = root_logger.handlers[:]
    set_up_console(is_main)
    logging.getLogger("any").info("info")
    logging.getLogger("any").warning("warning")
    for handler in root_logger.handlers:
        if handler not in handlers:
            handler.flush()
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == expected


def test_warnings_that_all_processes_have_are_shown_once(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    for is_main in (True, False):
        set_up_console(is_main)
        logging.getLogger("config.checks").warning("what is missing is black")
        logging.getLogger("engine.bad_videos").warning("a video of this process")
    out = capsys.readouterr().out
    assert out.count("what is missing is black") == 1
    assert out.count("a video of this process") == 2


def test_flush_brings_every_record_onto_the_disk(
    runlog: RunLog, root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = set()
    for module in ("engine.run_log", "engine.event_files"):
        monkeypatch.setattr(
            f"{module}.sync_file", lambda handle: synced.add(os.fstat(handle).st_ino)
        )
    runlog.line("train", loss=1.0)
    runlog.scalars(0, {"Loss/train": 1.0})
    runlog.flush()
    files = [path for path in runlog.folder.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert synced == {path.stat().st_ino for path in files}


@pytest.mark.parametrize("name", ["log.jsonl", "train.log", "tensorboard"])
def test_record_that_cannot_be_opened_is_told(
    name: str, tmp_path: Path, root_logger: logging.Logger
) -> None:
    if name == "tensorboard":
        (tmp_path / name).write_text("a file")
    else:
        (tmp_path / name).mkdir()
    with pytest.raises(UnwritableError, match=rf"cannot write '.*{name}.*': (Is|Not|File)"):
        RunLog(tmp_path).line("train")


def test_full_disk_is_told_by_each_record(
    runlog: RunLog, root_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, limit))
    try:
        with pytest.raises(UnwritableError, match=r"cannot write '.*log\.jsonl': File too large"):
            runlog.line("train", text="x" * 99)
        with pytest.raises(UnwritableError, match=r"cannot write '.*tfevents.*': File too large"):
            runlog.scalars(0, {"Loss/train": 1.0})
        with pytest.raises(UnwritableError, match=r"cannot write '.*train\.log': File too large"):
            logging.getLogger("any").warning("x" * 99)
        logging.getLogger("any").warning("the console still has its lines")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_folder_that_is_deleted_meanwhile_is_told(runlog: RunLog) -> None:
    shutil.rmtree(runlog.folder)
    with pytest.raises(UnwritableError, match=r"log\.jsonl.*; its folder is gone"):
        runlog.line("train")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "shift_jis", "utf-8"])
def test_letters_that_the_console_lacks_come_as_escapes(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding, write_through=True))
    try:
        set_up_console(is_main=True)
        logging.getLogger("test").info("a 逆 é")
        sys.stdout.write("an 逆 é\n")
    finally:
        logging.getLogger().handlers.clear()
    for line in written.getvalue().decode(encoding).splitlines():
        assert line.endswith(("逆 é", "\\u9006 é", "\\u9006 \\xe9", "逆 \\xe9"))
