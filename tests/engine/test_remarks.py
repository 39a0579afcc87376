from pathlib import Path

import pytest
from yacs.config import CfgNode

from config import load_cfg_text
from datasets.annotations import VideoRecord, list_digest, read_list
from engine.checkpoint_folder import CheckpointFolder
from engine.remarks import figure_remarks


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """A config of three lists: the first test video is trained on, the second chooses the best."""
    for name, videos in (("train", "abc"), ("val", "dxy"), ("test", "adz")):
        (tmp_path / f"{name}.txt").write_text("".join(f"{v} 9 0\n" for v in videos))
    lists = "".join(f"{s.upper()}_LIST: {tmp_path}/{s}.txt, " for s in ("train", "val", "test"))
    return load_cfg_text(
        f"{{DATA: {{{lists}ROOT: {tmp_path}}}, MODEL: {{NUM_CLASSES: 1}}}}", "test"
    )


def records_of(cfg: CfgNode, split: str) -> list[VideoRecord]:
    return read_list(cfg.DATA[f"{split.upper()}_LIST"], num_classes=1)


def best_of(folder: Path, validated_on: str) -> str:
    """Make a run folder with a best checkpoint, chosen on a list."""
    checkpoints = CheckpointFolder(folder / "run")
    checkpoints.folder.mkdir()
    checkpoints.save({"epoch": 1})
    checkpoints.keep_best(50.0, 1, validated_on)
    return str(checkpoints.best())


def test_videos_that_were_trained_on_or_chose_the_best_are_said(cfg: CfgNode) -> None:
    assert figure_remarks(cfg, records_of(cfg, "test"), "gone.pth") == [
        "the test list: 1 of 3 videos are trained on too: its accuracy is too high; first 'a'",
        "the test list: 1 of 3 videos are of the val list too, which chooses the best checkpoint; "
        "first 'd'",
    ]


def test_checkpoint_chosen_on_the_tested_list_is_said(cfg: CfgNode, tmp_path: Path) -> None:
    val = records_of(cfg, "val")
    best = best_of(tmp_path, list_digest(val))
    (remark,) = figure_remarks(cfg, val, best)
    assert remark.startswith(f"{best} was chosen as the best epoch on the list that is tested")
    assert figure_remarks(cfg, val, best.replace("best", "last")) == []
    assert len(figure_remarks(cfg, records_of(cfg, "test"), best)) == 2


@pytest.mark.parametrize("record", ['{"top1": 50.0, "epoch": 1, "validated": 1}', "damaged"])
def test_older_or_damaged_record_says_nothing(cfg: CfgNode, tmp_path: Path, record: str) -> None:
    best = Path(best_of(tmp_path, list_digest(records_of(cfg, "val"))))
    (best.parent / "best.json").write_text(record)
    assert figure_remarks(cfg, records_of(cfg, "val"), str(best)) == []


def test_lists_that_are_not_on_this_machine_are_not_compared(cfg: CfgNode, tmp_path: Path) -> None:
    test = records_of(cfg, "test")
    (tmp_path / "train.txt").unlink()
    (tmp_path / "val.txt").unlink()
    assert figure_remarks(cfg, test, "gone.pth") == []
