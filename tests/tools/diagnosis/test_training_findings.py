from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.checkpoint_folder import write_checkpoint
from models import build_model
from tests.test_main import Experiment
from tools.diagnosis import training_findings
from tools.diagnosis.data_findings import check_lists
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import Finding
from tools.diagnosis.training_findings import (
    check_batch,
    check_disk,
    check_teacher,
    check_weights,
    checkpoint_bytes,
)

Examine = Callable[..., Examination]
Only = Callable[..., Finding]
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run of two epochs."""
    experiment = Experiment(tmp_path_factory.mktemp("trained"))
    experiment.run()
    return experiment.run_folder / "last.pth"


def listed(examination: Examination) -> Examination:
    list(check_lists(examination))
    return examination


def test_own_checkpoint_fits_and_can_be_gone_on_with(
    examine: Examine, only: Only, trained: Path
) -> None:
    found = list(check_weights(examine("TRAIN.EPOCHS", 3, checkpoint=str(trained))))
    assert {finding.level for finding in found} == {"ok"}
    only(found, "ok", "--tune_from: ")
    only(found, "ok", "--resume goes on after 2 of 3 epochs")
    found = list(check_weights(examine(checkpoint=str(trained))))
    assert "nothing is left to train" in only(found, "warning").text


def test_head_of_other_classes_is_told(examine: Examine, only: Only, trained: Path) -> None:
    found = list(check_weights(examine("MODEL.NUM_CLASSES", 5, checkpoint=str(trained))))
    assert "2 re-initialised: head.weight (zeros" in only(found, "ok", "--tune_from").text
    assert "head.weight" in only(found, "ok", "--resume is not for this file").text


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is not a file"), ({"x": 1}, "no weights"), ("misfit", "do not fit the model")],
)
def test_checkpoint_that_does_not_fit_is_told(
    content: object, words: str, examine: Examine, only: Only, tmp_path: Path
) -> None:
    path = tmp_path / "a.pth"
    if content == "misfit":
        other = examine("MODEL.VIT.NUM_LAYERS", 3).cfg
        content = {"state_dict": build_model(other).state_dict()}
    if content:
        write_checkpoint(path, content)
    found = list(check_weights(examine(checkpoint=str(path))))
    assert words in only(found, "error", "--tune_from would fail").text


def test_teacher_is_tried(examine: Examine, only: Only, trained: Path) -> None:
    only(check_teacher(examine()), "ok", "no teacher model")
    only(check_teacher(examine("DISTILL.TEACHER", trained)), "ok", "the teacher fits")
    found = check_teacher(examine("DISTILL.TEACHER", trained, "MODEL.NUM_CLASSES", 4))
    assert "the teacher has 3" in only(found, "error").text
    found = check_teacher(examine("DISTILL.LOGITS", "/no/scores.npz"))
    assert "dump_teacher" in only(found, "error").fix


def test_rate_out_of_proportion_is_told_in_the_words_of_the_start(
    examine: Examine, only: Only
) -> None:
    reference = ("OPTIM.REFERENCE_LR", 0.1, "OPTIM.REFERENCE_BATCH", 4, "TRAIN.ACCUMULATION", 1)
    only(check_batch(listed(examine(*reference))), "ok", "as in the recipe")
    finding = only(check_batch(listed(examine(*reference, num_processes=2))), "warning")
    assert finding.text.startswith("the recipe's learning rate is 0.1 at batch 4; in proportion, ")
    assert finding.fix == "OPTIM.LR 0.2"


def test_batches_that_cannot_be_made_are_told(examine: Examine, only: Only) -> None:
    found = list(check_batch(listed(examine("TRAIN.GLOBAL_BATCH", 10))))
    assert "it must be a multiple of 4" in only(found, "error").text
    assert only(found, "error").fix == "TRAIN.GLOBAL_BATCH 12"
    found = list(check_batch(listed(examine("TRAIN.CLIPS_PER_GPU", 7, num_processes=2))))
    assert (
        "12 training videos do not fill one batch of 2 processes x 7" in only(found, "error").text
    )
    found = list(check_batch(listed(examine("TRAIN.ACCUMULATION", 5))))
    assert "3 batches, a step takes 5" in only(found, "warning").text
    found = list(check_batch(listed(examine("TRAIN.ACCUMULATION", 5, "TRAIN.LAST_GROUP", "drop"))))
    assert "nothing would be learned" in only(found, "error").text


def test_size_of_a_checkpoint_is_about_that_of_the_file(examine: Examine, trained: Path) -> None:
    assert trained.stat().st_size == pytest.approx(checkpoint_bytes(examine().cfg), abs=60_000)


@pytest.mark.parametrize(("num_free", "level"), [(14, "ok"), (11.5, "warning"), (10.5, "error")])
def test_disk_is_measured_against_all_checkpoints_to_come(
    num_free: float, level: str, examine: Examine, only: Only, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("TRAIN.KEEP_EVERY", 2, "TRAIN.EPOCHS", 12, "TRAIN.SWA.START_EPOCH", 9)
    examination = examine(*words)
    size = checkpoint_bytes(examination.cfg)
    usage = Usage(1, 1, num_free * size)
    monkeypatch.setattr(training_findings.shutil, "disk_usage", lambda path: usage)
    assert only(check_disk(examination), level).text.startswith("11 checkpoints of ")


def test_folder_that_cannot_be_written_or_holds_a_run_is_told(
    experiment: Experiment, examine: Examine, only: Only, tmp_path: Path
) -> None:
    experiment.run_folder.mkdir()
    (experiment.run_folder / "last.pth").write_bytes(b"x")
    only(check_disk(examine()), "ok", "a fresh run moves it aside")
    (tmp_path / "file").write_text("")
    found = check_disk(examine("OUTPUT_DIR", tmp_path / "file/run"))
    assert "cannot be written into" in only(found, "error").text
