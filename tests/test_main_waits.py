"""No iteration of the training loop waits for the GPU: it has its next work before it is done."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from yacs.config import CfgNode

import main_ddp_shift
from config import load_cfg_text
from datasets.clips import Clips, EpochSampler
from engine.accumulation import build_accumulation
from engine.bad_videos import BadVideos
from engine.checkpoint_folder import CheckpointFolder
from engine.checkpoints import TrainingList
from engine.distributed import World
from engine.learner import autocast, build_learner
from engine.mutual import MutualPair
from engine.objective import build_mixer, build_objective
from engine.position import Position
from engine.progress import Progress
from engine.resuming import Start
from engine.run import Run
from engine.save_points import SavePoints
from engine.schedule import build_schedule
from engine.stop_signals import StopSignals
from engine.teachers import CachedTeacher, FrozenTeacher, Teacher
from engine.training import Training
from models import build_model
from ops.moving import moved
from tests.fake_gpu import GPU, fake_gpu

SMALL = (
    "{DATA: {NUM_FRAMES: 4, IMAGE_SIZE: 32}, TRAIN: {CLIPS_PER_GPU: 4, ACCUMULATION: 2},"
    " MODEL: {NUM_CLASSES: 6, VIT: {PATCH_SIZE: 16, HIDDEN_SIZE: 16, MLP_DIM: 16, NUM_HEADS: 1,"
    " NUM_LAYERS: 2}, TSM: {LAYERS: [1, 1, 1, 1], WIDTH: 8}}}"
)
RESNET = ("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet50")
MIXED = ("AUG.MIXUP_ALPHA", "0.2", "AUG.CUTMIX_ALPHA", "1.0")
CASES: dict[str, tuple[str, ...]] = {
    "plain": (),
    "bf16": ("TRAIN.AMP", "bf16", "OPTIM.NAME", "adamw", "OPTIM.CLIP_GRAD_NORM", "0.0"),
    "fp16": ("TRAIN.AMP", "fp16", "TRAIN.EMA_DECAY", "0.9", "AUG.MIXUP_ALPHA", "0.2"),
    "fp16_adamw": ("TRAIN.AMP", "fp16", "OPTIM.NAME", "adamw", "AUG.CUTMIX_ALPHA", "1.0"),
    "tsm": (*RESNET, "TRAIN.EMA_DECAY", "0.9", "TRAIN.SWA.START_EPOCH", "1", "OPTIM.GROUPS", "tsm"),
    "timesformer": (
        *("MODEL.NAME", "timesformer", "MODEL.DROP_PATH", "0.2"),
        *("MODEL.CHECKPOINTS_BLOCKS", "True", "TRAIN.GLOBAL_BATCH", "8"),
    ),
}
TEACHERS = ("student_clip", "own_clip", "cached", "mutual")


class Loader(list[Clips]):
    """Batches of a training list, as the loop takes them; of one no video is readable."""

    batch_size = 4

    def __init__(self, cfg: CfgNode) -> None:
        size, T, side = self.batch_size, cfg.DATA.NUM_FRAMES, cfg.DATA.IMAGE_SIZE

        def batch() -> Clips:  # new ones: memory that NumPy has seen cannot be faked
            clips = torch.zeros(size, T, 3, side, side, dtype=torch.uint8)
            labels, flags = torch.arange(size), torch.zeros(size, dtype=torch.bool)
            return Clips(clips, labels, labels, flags, clips, errors={})

        super().__init__([batch(), Clips(*[torch.empty(0)] * 5, errors={}), batch()])
        self.sampler = EpochSampler(3 * size, 0, 1, seed=0)


def teacher_of(kind: str, cfg: CfgNode, model: nn.Module, world: World) -> Teacher | None:
    if kind == "cached":
        return CachedTeacher(torch.zeros(4, 6), 4.0, world.device, [*range(6)])
    if kind not in ("student_clip", "own_clip"):
        return None

    def prepare(clips: Tensor) -> Tensor:
        return main_ddp_shift.to_device(clips, cfg, world)

    return FrozenTeacher(
        model, prepare, 4.0, lambda: autocast("none", world.device), kind == "student_clip"
    )


def build(
    cfg: CfgNode, loader: Any, folder: Path, world: World, teacher: str = ""
) -> tuple[Run, Training]:
    """Build what the main script trains with, on the device of a process."""
    with world.device:
        model, other = build_model(cfg), build_model(cfg)
    trained = MutualPair(model, other) if teacher == "mutual" else model
    unused: Any = None
    objective = build_objective(cfg)
    objective.is_mutual = teacher == "mutual"
    training = Training(
        build_learner(cfg, trained, world),
        loader,
        names=["a", "b", "c", "d"],
        clip_shape=(cfg.DATA.NUM_FRAMES, 3, cfg.DATA.IMAGE_SIZE, cfg.DATA.IMAGE_SIZE),
        val=unused,
        objective=objective,
        mixer=build_mixer(cfg),
        schedule=build_schedule(cfg),
        groups=build_accumulation(cfg, len(loader), world.size),
        teacher=teacher_of(teacher, cfg, other, world),
        bad_videos=BadVideos(folder, [], max_share=0.0, world=world),
        listed=TrainingList("", 4, [], clips_per_step=0),
        start=Start(Position()),
        save_points=SavePoints(minutes=0, steps=0, world=world, signals=StopSignals()),
    )
    return Run(cfg, world), training


def train_between_reports(
    run: Run, training: Training, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Train an epoch; what a report and the end of the epoch read is left out."""
    means = {"loss": 0.0, "top1": 0.0, "top5": 0.0}
    monkeypatch.setattr(Progress, "report", lambda *_, **__: None)
    monkeypatch.setattr(Progress, "epoch_means", lambda _: means)
    main_ddp_shift.train_one_epoch(run, training, CheckpointFolder(folder), epoch=0)


ALL = [*((case, "") for case in CASES), *(("mixed", teacher) for teacher in TEACHERS)]


@pytest.mark.parametrize(("case", "teacher"), ALL)
def test_no_iteration_waits_for_the_gpu(
    case: str, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = load_cfg_text(SMALL, "waits", list(CASES.get(case, MIXED)))
    loader = Loader(cfg)  # on the CPU
    monkeypatch.setattr(SavePoints, "is_due", lambda *_: False)  # it is of the CPU, too
    with fake_gpu(monkeypatch) as waits:
        run, training = build(cfg, loader, tmp_path, GPU, teacher)
        main_ddp_shift.to_device(loader[0].clips, cfg, GPU)  # mean and std are made once
        with waits:
            train_between_reports(run, training, tmp_path, monkeypatch)
    assert waits.found == []
    assert training.learner.optimizer.state  # there have been steps


@pytest.mark.gpu
@pytest.mark.parametrize(("case", "teacher"), ALL)
def test_no_iteration_waits_for_a_real_gpu(
    case: str, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.cuda.set_device(0)
    cfg = load_cfg_text(SMALL, "waits", list(CASES.get(case, MIXED)))
    run, training = build(cfg, Loader(cfg), tmp_path, GPU, teacher)
    train_between_reports(run, training, tmp_path, monkeypatch)  # makes what is made once
    torch.cuda.set_sync_debug_mode("error")
    try:
        train_between_reports(run, training, tmp_path, monkeypatch)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_waits_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_gpu(monkeypatch) as waits, waits:
        there = torch.zeros(2, device=GPU.device)
        moved(torch.ones(2), GPU.device)
        there.to("cpu", non_blocking=True)
        assert waits.found == []
        torch.tensor([1.0, 2.0], device=GPU.device)
        torch.ones(2).to(GPU.device)
        there.cpu()
        there.copy_(torch.ones(2))
        with pytest.raises(DataDependentOutputException):
            there.sum().item()
    assert len(waits.found) == 5
