"""Training with a teacher: frozen, cached, or learning too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from config import load_cfg
from engine import training
from engine.teachers import FrozenTeacher
from models import build_model
from tests.ranks import Ranks
from tests.test_main import CLASSES, Experiment, assert_same
from tests.test_main_errors import assert_clear
from tests.test_main_resume import KEPT, run_cut_short

Words = tuple[object, ...]

SMALL = ("MODEL.VIT.HIDDEN_SIZE", 8, "MODEL.VIT.NUM_LAYERS", 1, "MODEL.NAME", "vit")
OTHER_VIEW = (  # of a teacher: T, size, sampling and normalisation
    *("DATA.NUM_FRAMES", 3, "DATA.SAMPLING", "uniform", "DATA.IMAGE_SIZE", 24),
    *("DATA.TEST_SHORT_SIDE", 24, "AUG.SHORT_SIDE_RANGE", [24, 28], "DATA.PIXEL_STD", [0.25] * 3),
)
MIXED = ("AUG.MIXUP_ALPHA", 0.5, "AUG.CUTMIX_ALPHA", 1.0)


class Taught(Experiment):
    """An experiment with two trained teachers: of the same clips, and of other ones."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.same, self.other = folder / "teacher/best.pth", folder / "other/best.pth"
        words = ("TRAIN.EPOCHS", 1)
        self.run("--output", self.same.parent, "--seed", 5, *words)
        self.run("--output", self.other.parent, "--seed", 6, *words, *OTHER_VIEW)
        self.logits = folder / "logits.npz"
        main_dump(self, self.other, self.logits)

    def modes(self) -> dict[str, Words]:
        """The keys of each way to be taught."""
        return {
            "student_clip": ("DISTILL.TEACHER", self.same),
            "own_clip": ("DISTILL.TEACHER", self.other, "DISTILL.SEES", "own_clip"),
            "cached": ("DISTILL.LOGITS", self.logits),
            "dml": ("DISTILL.TEACHER", self.same, "DISTILL.LOSS", "dml", "DISTILL.WEIGHT", 1.0),
        }


def main_dump(experiment: Experiment, checkpoint: Path, output: Path) -> None:
    """Write a teacher's logits on the training list, as tools/dump_teacher.py does."""
    folder = experiment.folder / "dump"
    words = ("DATA.TEST_LIST", experiment.folder / "train.txt", "--output", folder)
    experiment.run("--evaluate", "--resume", checkpoint, *words, has_cfg=False)
    (folder / "scores.npz").rename(output)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """Teachers, lists and frames, to be looked at only; each test has its own run folder."""
    return Taught(tmp_path_factory.mktemp("taught"))


MODES = ("student_clip", "own_clip", "cached", "dml")


# Every mode trains, says so, and is tested


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (
            "student_clip",
            "taught by tokshift toy of {same} ({teacher} parameters, 4 frames of 16 pixels), "
            "frozen, which sees the student's clip: weight 0.5, temperature 4",
        ),
        ("own_clip", "3 frames of 24 pixels), frozen, which sees its own validation view: weight"),
        (
            "cached",
            "taught by the logits in {logits}, mean of 3 views of each of 12 videos: weight",
        ),
        (
            "dml",
            "learns with tokshift toy of {same} ({teacher} parameters, 4 frames of 16 pixels), ",
        ),
    ],
)
def test_student_learns_and_is_tested(mode: str, said: str, taught: Taught, tmp_path: Path) -> None:
    words = (*taught.modes()[mode], *SMALL, *MIXED, "--output", tmp_path / "run")
    console = taught.run(*words, "TEST.AFTER_TRAINING", True)
    num_parameters = sum(
        w.numel() for w in build_model(load_cfg(tmp_path / "run/config.yml")).parameters()
    )
    teacher = sum(w.numel() for w in torch.load(taught.same, weights_only=True)["ema"].values())
    assert said.format(same=taught.same, logits=taught.logits, teacher=teacher) in console
    assert f"vit toy: {num_parameters} parameters" in console
    assert "test of 6 of 6 videos, 30 views each" in console
    assert (tmp_path / "run/results.json").exists()
    assert "taught by" in (tmp_path / "run/train.log").read_text() or mode == "dml"


def test_teacher_of_weight_zero_changes_nothing(taught: Taught, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    taught.run("--output", alone, *MIXED)
    for mode in ("student_clip", "own_clip", "cached"):
        folder = tmp_path / mode
        words = (*taught.modes()[mode], *MIXED, "DISTILL.WEIGHT", 0.0)
        taught.run("--output", folder, *words)
        ours, expected = (taught.checkpoint(folder=where) for where in (folder, alone))
        for key in KEPT:
            assert_same(ours.get(key), expected.get(key), key)


def test_teacher_changes_what_is_learned_but_not_itself(taught: Taught, tmp_path: Path) -> None:
    before = taught.same.read_bytes()
    taught.run("--output", tmp_path / "alone", "TRAIN.EPOCHS", 1)
    teachers: list[FrozenTeacher] = []
    original = training.build_teacher

    def record(*args: Any) -> Any:
        built = original(*args)
        teachers.append(built[1])
        return built

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_teacher", record)
        words = (*taught.modes()["student_clip"], "TRAIN.EPOCHS", 1)
        taught.run("--output", tmp_path / "taught", *words)
    ours, alone = (taught.checkpoint(folder=tmp_path / name) for name in ("taught", "alone"))
    assert any(not torch.equal(ours["state_dict"][n], w) for n, w in alone["state_dict"].items())
    assert ours["optimizer"]["param_groups"] == alone["optimizer"]["param_groups"]
    content = torch.load(taught.same, weights_only=True)
    (teacher,) = teachers
    assert_same(dict(teacher.model.state_dict()), dict(content["ema"]))
    assert all(weight.grad is None for weight in teacher.model.parameters())
    assert taught.same.read_bytes() == before


def test_two_runs_in_which_a_teacher_lies_in_the_run_folder_it_moves_aside(
    taught: Taught, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    taught.run("--output", run, "TRAIN.EPOCHS", 1)
    taught.run("--output", run, "TRAIN.EPOCHS", 1, "DISTILL.TEACHER", run / "best.pth")
    assert (tmp_path / "run.1").is_dir()


# What the teacher says


def answers_of(taught: Taught, mode: str, folder: Path, *words: object) -> list[Tensor]:
    """Run an epoch and return what the teacher said of each batch."""
    said: list[Tensor] = []
    original = training.build_objective

    def record(*settings: Any) -> Callable[..., Any]:
        objective = original(*settings)

        def call(labels: Tensor, mix: Any, answers: Tensor) -> Any:
            said.append(answers)
            return objective(labels, mix, answers)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "build_objective", record)
        taught.run("--output", folder, "TRAIN.EPOCHS", 1, *taught.modes()[mode], *words)
    return said


def test_cached_logits_say_what_the_teacher_says_of_the_same_views(
    taught: Taught, tmp_path: Path
) -> None:
    # uniform sampling: the one test clip is the validation's; of one crop it is the centre's
    words = ("--evaluate", "--resume", taught.other, "TEST.NUM_CROPS", 1, "--output", tmp_path)
    listed = ("DATA.TEST_LIST", taught.folder / "train.txt")
    taught.run(*words, *listed, has_cfg=False)
    logits = ("DISTILL.TEACHER", "", "DISTILL.LOGITS", tmp_path / "scores.npz")
    flip = ("AUG.FLIP", False)  # a cached answer is that to the clip as it is
    live = answers_of(taught, "own_clip", tmp_path / "live", *flip, *MIXED)
    cached = answers_of(taught, "cached", tmp_path / "cached", *logits, *flip, *MIXED)
    assert len(live) == 3
    for ours, expected in zip(cached, live, strict=True):
        # the same clips in batches of another size: float32 rounding
        torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


# Runs that go on, and runs in two processes


@pytest.mark.parametrize("mode", MODES)
def test_resumed_run_ends_as_the_unbroken_one_to_the_last_bit(
    mode: str, taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*taught.modes()[mode], *MIXED)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    taught.run("--output", unbroken, *words)
    run_cut_short(taught, monkeypatch, "--output", broken, *words)
    taught.run("--output", broken, "--resume", broken / "last.pth", *words)
    ours, expected = (taught.checkpoint(folder=folder) for folder in (broken, unbroken))
    for key in KEPT:
        assert_same(ours.get(key), expected.get(key), key)


@pytest.mark.ddp
@pytest.mark.parametrize("mode", MODES)
def test_two_processes_with_half_the_batch_train_as_one(
    mode: str,
    taught: Taught,
    tmp_path: Path,
    ranks: Ranks,
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    words = (*taught.modes()[mode], "MODEL.VIT.DROPOUT", 0.0, "TRAIN.EPOCHS", 1)
    if mode == "dml":  # whose teacher's dropout is its config's
        words = (*words, "DISTILL.TEACHER_CFG", without_dropout(taught, tmp_path))
    taught.run("--output", one, *words)
    halved = (*words, "TRAIN.CLIPS_PER_GPU", 2)
    done = ranks.run(2, "main_ddp_shift.py", "--cfg", taught.config, "--output", two, *halved)
    assert done.returncode == 0, done.stdout
    ours, expected = (taught.checkpoint(folder=folder) for folder in (two, one))
    for name, weight in expected["state_dict"].items():
        # the gradient is summed in another order, see tests/test_main_processes.py
        torch.testing.assert_close(ours["state_dict"][name], weight, atol=1e-6, rtol=0)


def without_dropout(taught: Taught, folder: Path) -> Path:
    text = (taught.same.parent / "config.yml").read_text()
    assert "DROPOUT: 0.1" in text
    (folder / "teacher.yml").write_text(text.replace("DROPOUT: 0.1", "DROPOUT: 0.0"))
    return folder / "teacher.yml"


# Errors


def test_teacher_that_does_not_fit_ends_the_run_before_it_starts(
    taught: Taught, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES))
    renamed, run = tmp_path / "renamed.txt", tmp_path / "run"
    renamed.write_text("\n".join(reversed(CLASSES)))
    named = tmp_path / "named"
    taught.run("--output", named, "TRAIN.EPOCHS", 1, "DATA.CLASS_NAMES", names)
    faults: dict[str, Words] = {
        r"DATA\.NUM_FRAMES=4, the teacher has 3; .* own_clip": ("DISTILL.TEACHER", taught.other),
        r"label 0 is 'kick ball' in the teacher of \S+ and 'swim' in DATA\.CLASS_NAMES": (
            *("DISTILL.TEACHER", named / "best.pth", "DATA.CLASS_NAMES", renamed),
        ),
        r"gone\.pth' is not a file": ("DISTILL.TEACHER", "gone.pth"),
        r"gone\.npz is not a scores\.npz": ("DISTILL.LOGITS", "gone.npz"),
        r"do not fit the model": (
            *("DISTILL.TEACHER", taught.other, "DISTILL.TEACHER_CFG", tmp_path / "deep.yml"),
        ),
    }
    deep = taught.config.read_text().replace("NUM_LAYERS: 2", "NUM_LAYERS: 3")
    (tmp_path / "deep.yml").write_text(deep)
    for text, words in faults.items():
        code, console = taught.outcome("--output", run, *words)
        assert code == 1
        assert_clear(console, text)
        assert not run.exists()


def test_checkpoint_without_config_needs_the_teachers_yml(taught: Taught, tmp_path: Path) -> None:
    content = torch.load(taught.same, weights_only=True)
    bare = tmp_path / "bare.pth"
    torch.save({"state_dict": content["state_dict"]}, bare)
    words = ("--output", tmp_path / "run", "DISTILL.TEACHER", bare, "TRAIN.EPOCHS", 1)
    code, console = taught.outcome(*words)
    assert code == 1
    assert_clear(console, r"bare\.pth does not hold its config; name one with DISTILL\.TEACHER_CFG")
    taught.run(*words, "DISTILL.TEACHER_CFG", taught.config)
