"""What a user gets wrong ends with exit code 1 or 2 and one clear text, never with a traceback."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._utils import ExceptionWrapper

import main_ddp_shift
from datasets.decode.pyav_frames import MissingDecoderError
from engine.scores import Scores
from engine.user_errors import user_errors_shown
from tests.ranks import Ranks
from tests.test_main import Experiment, assert_same

Breakage = Callable[[Path], None]


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run of one epoch, to be looked at only."""
    experiment = Experiment(tmp_path_factory.mktemp("trained"))
    experiment.run("TRAIN.EPOCHS", 1)
    return experiment


def assert_clear(text: str, reason: str) -> None:
    """Assert that the text's last message is an error with the reason, and no traceback."""
    assert re.search(reason, text), text
    assert text.count("error:") == 1, text
    assert "Traceback" not in text, text


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])


def remove_folder(file: Path) -> None:
    for frame in file.parent.iterdir():
        frame.unlink()
    file.parent.rmdir()


BREAKAGES = {
    "cut short": (truncate, r"{video}/img_00001\.jpg: .*Error"),
    "frame missing": (
        Path.unlink,  # met by the count, or by what reads the clip
        r"{video}(: \d images, .* and no img_0000\d\.jpg|/img_0000\d\.jpg: no such frame)",
    ),
    "folder missing": (remove_folder, r"{video}: No such file or directory"),
}


def break_video(experiment: Experiment, video: str, how: str) -> str:
    """Break a video's first frame, or all; return what the message has to look like."""
    breakage, reason = BREAKAGES[how]
    frame = "img_00003.jpg" if how == "frame missing" else "img_00001.jpg"
    breakage(experiment.frames / video / frame)
    return reason.format(video=re.escape(video))


# The command line and the config


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("OPTIM.LEARNING_RATE", 1), r"unknown key 'OPTIM\.LEARNING_RATE'; the nearest valid key"),
        (("OPTIM.LR",), r"KEY VALUE pairs; 'OPTIM\.LR' has no value"),
        (("OPTIM.LR", "fast"), r"OPTIM\.LR takes a float .*got 'fast'"),
        (("DATA.IMAGE_SIZE", 20), r"DATA\.IMAGE_SIZE=20 is not a multiple of the patch"),
        (("MODEL.NAME", "resnet"), r"MODEL\.NAME='resnet'; choose one of"),
        (("DATA.VAL_LIST", "gone.txt"), r"cannot read the list file 'gone\.txt'"),
        (("DATA.TRAIN_LIST", ""), r"DATA\.TRAIN_LIST is not set"),
        (("DATA.ROOT", "gone"), r"DATA\.ROOT='gone' is not a folder"),
        (("DATA.ROOT", ""), r"none of the 12 paths .* DATA\.ROOT=''; first: '\w"),
        (("MODEL.NUM_CLASSES", 2), r"train\.txt: 4 malformed lines.*\n  line 3: label 2 is not in"),
        (("TRAIN.CLIPS_PER_GPU", 13), r"12 videos, one batch takes TRAIN\.CLIPS_PER_GPU=13"),
        (("TRAIN.AMP", "fp16"), r"TRAIN\.AMP fp16 needs a GPU"),
        (("--tune_from", "gone.npz"), r"gone\.npz is not a readable \.npz file"),
        (("--tune_from", "gone.pth"), r"checkpoint 'gone\.pth' is not a file"),
        (("--resume", "gone.pth"), r"checkpoint 'gone\.pth' is not a file"),
        (("--gpu", 0), r"--gpu 0: this host has no CUDA GPU"),
        (("--world-size", 2), r"--world-size above 1 needs --rank, or RANK in the environment"),
        (("--world-size", 2, "--rank", 0), r"--world-size above 1 needs --dist-url"),
    ],
)
def test_training_that_cannot_start_is_an_error(
    words: tuple[object, ...], reason: str, experiment: Experiment
) -> None:
    code, text = experiment.outcome(*words)
    assert code == 1
    assert_clear(text, reason)
    assert not list(experiment.folder.glob("**/*.pth"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--evaluate", "--cfg", "x.yml"], "--evaluate tests the checkpoint that --resume names"),
        ([], "--cfg names the experiment"),
        (["--evaluate", "--resume"], "--cfg names the experiment"),
        (
            ["--cfg", "x.yml", "--resume", "a.pth", "--tune_from", "b.npz"],
            "--tune_from starts a new run and --resume goes on with one",
        ),
        (["--cfg", "x.yml", "--no-such-flag"], "unrecognized arguments: --no-such-flag"),
        (["--cfg", "x.yml", "--gpu", "one"], "argument --gpu: invalid int value: 'one'"),
    ],
)
def test_flags_that_do_not_go_together_are_an_error(
    words: list[str], reason: str, experiment: Experiment
) -> None:
    code, text = experiment.outcome(*words, has_cfg=False)
    assert code == 2
    assert_clear(text, re.escape(reason))


def test_missing_config_is_an_error(experiment: Experiment) -> None:
    code, text = experiment.outcome("--cfg", experiment.folder / "gone.yml", has_cfg=False)
    assert code == 1
    assert_clear(text, r"cannot read the config '.*gone\.yml': No such file")


def test_wrong_number_of_class_names_is_an_error(experiment: Experiment) -> None:
    names = experiment.folder / "names.txt"
    names.write_text("one\ntwo\n")
    code, text = experiment.outcome("DATA.CLASS_NAMES", names)
    assert code == 1
    assert_clear(text, r"names\.txt: 2 class names, MODEL\.NUM_CLASSES is 3")


def test_fault_in_the_final_test_shows_before_the_training(experiment: Experiment) -> None:
    words = ("TEST.AFTER_TRAINING", True, "DATA.TEST_LIST", "gone.txt")
    code, text = experiment.outcome(*words)
    assert code == 1
    assert_clear(text, r"cannot read the list file 'gone\.txt'")
    assert "epoch 1" not in text


def test_error_of_the_program_itself_keeps_its_traceback(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_ddp_shift, "validate", lambda *_: [].pop())
    with pytest.raises(IndexError):
        experiment.outcome()
    monkeypatch.setattr(main_ddp_shift, "validate", lambda *_: torch.ones(2).view(3))
    with pytest.raises(RuntimeError):
        experiment.outcome()


# The checkpoint to test


def _raise_for_want_of_a_decoder(as_a_loader_does: bool) -> None:
    try:
        raise MissingDecoderError("decoding videos needs PyAV: pip install av")
    except MissingDecoderError:
        if as_a_loader_does:
            ExceptionWrapper(sys.exc_info(), "in DataLoader worker process 0").reraise()
        raise


@pytest.mark.parametrize("as_a_loader_does", [False, True])
def test_missing_decoder_is_told_in_a_line_from_a_loader_process_too(
    as_a_loader_does: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SystemExit), user_errors_shown(is_common_shown=True):
        _raise_for_want_of_a_decoder(as_a_loader_does)
    assert caplog.messages == ["error: decoding videos needs PyAV: pip install av"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("MODEL.NUM_CLASSES", 5), r"head\.bias: \(3,\) in the file, \(5,\) in the model"),
        (("MODEL.VIT.NUM_LAYERS", 3), r"blocks\.2\..*: not in the file"),
        (("MODEL.VIT.MLP_DIM", 8), r"mlp\.fc1\.bias: \(32,\) in the file, \(8,\) in the model"),
    ],
)
def test_checkpoint_of_another_model_cannot_be_tested(
    words: tuple[object, ...], reason: str, trained: Experiment, tmp_path: Path
) -> None:
    best = trained.run_folder / "best.pth"
    code, text = trained.outcome("-e", "--resume", best, "--output", tmp_path, *words)
    assert code == 1
    assert_clear(text, reason)
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_file_that_is_no_checkpoint_cannot_be_tested(
    content: bytes, trained: Experiment, tmp_path: Path
) -> None:
    path = tmp_path / "broken.pth"
    path.write_bytes(content)
    code, text = trained.outcome("-e", "--resume", path, "--output", tmp_path)
    assert code == 1
    assert_clear(text, r"broken\.pth is not a readable checkpoint")


def test_missing_checkpoint_cannot_be_tested_with_or_without_a_config(trained: Experiment) -> None:
    for is_given in (True, False):
        code, text = trained.outcome("-e", "--resume", "gone.pth", has_cfg=is_given)
        assert code == 1
        assert_clear(text, r"checkpoint 'gone\.pth' is not a file")
    code, text = trained.outcome("-e", "--resume", "gone.npz", has_cfg=False)
    assert code == 1
    assert_clear(text, r"checkpoint 'gone\.npz' is not a file")


@pytest.mark.parametrize("kind", [".pth", ".npz", ".pdparams", ".safetensors"])
def test_checkpoint_without_its_config_needs_one(
    kind: str, trained: Experiment, tmp_path: Path
) -> None:
    path = tmp_path / f"weights{kind}"
    torch.save(trained.checkpoint()["state_dict"], path)  # the name alone counts
    code, text = trained.outcome("-e", "--resume", path, has_cfg=False)
    assert code == 1
    assert_clear(text, rf"weights\{kind} does not hold its config; name one with --cfg")
    run = ("--output", tmp_path / "run")
    code, text = trained.outcome(*run, "DISTILL.TEACHER", path)
    assert code == 1
    assert_clear(text, rf"weights\{kind} does not hold its config; name .* DISTILL\.TEACHER_CFG")


# Videos


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", BREAKAGES)
def test_broken_video_ends_the_training_and_is_named(
    how: str, workers: int, experiment: Experiment
) -> None:
    reason = break_video(experiment, "swim/train_0", how)  # six frames, all in each clip
    code, text = experiment.outcome("-j", workers)
    assert code == 1
    assert_clear(text, reason)


@pytest.mark.parametrize("how", BREAKAGES)
def test_video_that_breaks_is_left_out_of_the_validation_in_plain_sight(
    how: str, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_one_epoch, reasons = main_ddp_shift.train_one_epoch, []

    def broken_meanwhile(*args: Any) -> Any:
        reasons[:] = reasons or [break_video(experiment, "run/val_0", how)]
        return train_one_epoch(*args)

    monkeypatch.setattr(main_ddp_shift, "train_one_epoch", broken_meanwhile)
    text = experiment.run()
    assert re.search(f"left out of the validation: .*{reasons[0]}", text), text
    assert "epoch 2 validated: 5 of 6 videos, 3 views each" in text
    counts = [(entry["num_videos"], entry["num_listed"]) for entry in experiment.log("val")]
    assert counts == [(5, 6), (5, 6)]


@pytest.mark.parametrize("how", BREAKAGES)
def test_final_test_keeps_the_scores_of_the_others_and_fails(
    how: str, trained: Experiment, experiment: Experiment
) -> None:
    reason = break_video(experiment, "run/val_0", how)
    best = trained.run_folder / "best.pth"
    code, text = experiment.outcome("-e", "--resume", best)
    assert code == 1
    assert_clear(text, reason)
    assert "1 of 6 videos are unreadable, and the figures are of the others" in text
    assert "TEST.SKIPS_UNREADABLE True" in text
    assert len(Scores.load(experiment.run_folder / "scores.npz").videos) == 5
    assert experiment.results()["num_listed"] == 6


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("how", BREAKAGES)
def test_broken_video_is_left_out_in_plain_sight_where_asked(
    how: str, workers: int, trained: Experiment, experiment: Experiment
) -> None:
    best = trained.run_folder / "best.pth"
    words = ("-e", "--resume", best, "-j", workers)
    experiment.run(*words)
    whole = Scores.load(experiment.run_folder / "scores.npz")
    reason = break_video(experiment, "run/val_0", how)
    code, text = experiment.outcome(*words)
    assert code == 1
    assert_clear(text, reason)
    text = experiment.run(*words, "TEST.SKIPS_UNREADABLE", True)
    assert re.search(f"left out: .*{reason}", text)
    assert "test of 5 of 6 videos" in text
    results = experiment.results()
    assert (results["num_videos"], results["num_listed"]) == (5, 6)
    (line,) = results["unreadable"]
    assert re.search(reason, line)
    scores = Scores.load(experiment.run_folder / "scores.npz")
    kept = whole.videos != "run/val_0"
    np.testing.assert_array_equal(scores.videos, whole.videos[kept])
    np.testing.assert_array_equal(scores.labels, whole.labels[kept])
    # the others share their batches differently: float32 rounding of logits of order 1
    np.testing.assert_allclose(scores.view_logits, whole.view_logits[kept], atol=1e-5)


def test_missing_video_is_left_out_also_where_the_list_gives_no_counts(
    trained: Experiment, experiment: Experiment
) -> None:
    reason = break_video(experiment, "run/val_0", "folder missing")
    listed = experiment.folder / "uncounted.txt"
    lines = (experiment.folder / "val.txt").read_text().splitlines()
    listed.write_text(
        "".join(f"{path} {label}\n" for path, _, label in (line.rsplit(" ", 2) for line in lines))
    )
    words = ("-e", "--resume", trained.run_folder / "best.pth", "DATA.VAL_LIST", listed)
    code, text = experiment.outcome(*words)
    assert code == 1
    assert_clear(text, reason)
    experiment.run(*words, "TEST.SKIPS_UNREADABLE", True)
    assert experiment.results()["num_videos"] == 5


def test_test_without_one_readable_video_is_an_error_even_so(
    trained: Experiment, experiment: Experiment
) -> None:
    for video in {path.parent for path in experiment.frames.glob("*/val_*/*")}:
        remove_folder(video / "img_00001.jpg")
    best = trained.run_folder / "best.pth"
    code, text = experiment.outcome("-e", "--resume", best, "TEST.SKIPS_UNREADABLE", True)
    assert code == 1
    assert_clear(text, "none of the 6 paths of the test list exists under DATA.ROOT=")
    assert not (experiment.run_folder / "results.json").exists()


# Numbers


@pytest.mark.parametrize("iteration", [2, 6])
def test_loss_that_is_not_finite_ends_the_run_and_the_last_checkpoint_stays(
    iteration: int, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    before = experiment.checkpoint()
    names: list[str] = []
    to_device = main_ddp_shift.to_device
    seen = 0

    def spoil(clips: torch.Tensor, *args: object) -> torch.Tensor:
        nonlocal seen
        seen += 1
        return to_device(clips, *args) * (float("nan") if seen == iteration else 1)

    monkeypatch.setattr(main_ddp_shift, "to_device", spoil)
    code, text = experiment.outcome("--resume", "TRAIN.EPOCHS", 3, "TRAIN.CLIPS_PER_GPU", 2)
    assert code == 1
    # six iterations an epoch: the last one's loss is seen too, before the validation
    assert_clear(text, rf"loss nan in epoch 2, iteration {iteration}; the run stops")
    named = re.search(r"Videos of the batch: (.*)", text)
    assert named
    names = named[1].strip().split(", ")
    assert len(names) == 2
    assert all((experiment.frames / name).is_dir() for name in names)
    assert "epoch 2 validated" not in text
    assert_same(experiment.checkpoint(), before)


def test_training_that_diverges_ends_with_an_exit_code_and_no_traceback(
    experiment: Experiment, ranks: Ranks
) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    before = experiment.checkpoint()
    words = ("--resume", "OPTIM.LR", 1e30, "OPTIM.CLIP_GRAD_NORM", 0.0, "TRAIN.EPOCHS", 3)
    words = ("main_ddp_shift.py", "--cfg", experiment.config, *words)
    done = ranks.run(1, *words, is_launched=False)
    assert done.returncode == 1
    assert_clear(done.stdout, r"loss (nan|inf) in epoch 2, .*Videos of the batch: \w")
    assert_same(experiment.checkpoint(), before)
