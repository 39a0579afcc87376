"""What makes the figures of a test mean something else than they seem to."""

from collections.abc import Sequence
from pathlib import Path

from yacs.config import CfgNode

from datasets.annotations import VideoRecord, list_digest
from datasets.records import read_listed
from datasets.repeated_videos import list_remarks
from engine.checkpoint_folder import CheckpointFolder
from engine.smoke_part import smoke_remark


def figure_remarks(
    cfg: CfgNode, records: Sequence[VideoRecord], checkpoint: str, caveat: str = ""
) -> list[str]:
    """Say, a line each, what a reader of the figures must know.

    The lists that the config names are compared as far as they can be read: a machine that tests
    need not have those of the training.

    Args:
        cfg: Config of the test.
        records: Videos that were tested.
        checkpoint: Path of the file that was tested.
        caveat: Remark of the file on its weights, see `LoadReport`.
    """
    of_weights = f"{checkpoint} is {caveat}" if caveat else ""
    first = [*filter(None, (smoke_remark(cfg), of_weights))]
    if cfg.TRAIN.MAX_ITERATIONS:
        return first
    lists = {split: _list_of(cfg, split) for split in ("train", "val")}
    if list_digest(lists["val"]) == list_digest(records):
        del lists["val"]
    chosen = [CHOSEN.format(checkpoint)] if _is_chosen_on(records, Path(checkpoint)) else []
    return [*first, *list_remarks({**lists, "test": records}, of=("test",)), *chosen]


CHOSEN = (
    "{} was chosen as the best epoch on the list that is tested, so its accuracy is a little too "
    "high; DATA.TEST_LIST names a list of its own for the test"
)


def _list_of(cfg: CfgNode, split: str) -> list[VideoRecord]:
    path = cfg.DATA[f"{split.upper()}_LIST"]
    try:
        return read_listed(cfg, path)
    except ValueError:
        return []


def _is_chosen_on(records: Sequence[VideoRecord], checkpoint: Path) -> bool:
    folder = CheckpointFolder(checkpoint.parent)
    try:
        return folder.best().name == checkpoint.name and (
            folder.record().validated_on == list_digest(records)
        )
    except ValueError:  # nothing was validated there, or its record is damaged
        return False
