"""What `tools/doctor.py` examines, and what its checks have read so far."""

from dataclasses import dataclass, field
from pathlib import Path

from yacs.config import CfgNode

from datasets.annotations import VideoRecord
from datasets.toy import is_toy_missing


@dataclass
class Examination:
    """A run that is to be started, as the doctor looks at it.

    Attributes:
        cfg: Config of the run.
        num_processes: Number of processes of the training.
        checkpoint: Path of the weights that it will start from, empty for none.
        sample: Number of files of each list to open; None = all.
        num_workers: Number of processes that open them; 0 = this one.
        damaged: Path of the file that gets the damaged videos, if any.
        records: Records by split, as the lists have them: of those that could be read.
        readable: Records by split of the videos that were opened and are sound.
    """

    cfg: CfgNode
    num_processes: int
    checkpoint: str = ""
    sample: int | None = None
    num_workers: int = 0
    damaged: Path | None = None
    records: dict[str, list[VideoRecord]] = field(default_factory=dict)
    readable: dict[str, list[VideoRecord]] = field(default_factory=dict)

    @property
    def num_batches(self) -> int:
        """Batches of an epoch in each process; 0 where the training list could not be read."""
        train = self.cfg.TRAIN
        num_clips = len(self.records.get("train", [])) // self.num_processes * self.cfg.AUG.REPEATS
        return num_clips // train.CLIPS_PER_GPU

    @property
    def lacks_toy(self) -> bool:
        """Whether the data are the generated ones, and not generated yet."""
        data = self.cfg.DATA
        return bool(data.GENERATE_TOY) and is_toy_missing(data.ROOT, data.VAL_LIST)
