"""The options of fine-tuning through the main script."""

from pathlib import Path
from typing import Any

import pytest
import torch

import main_ddp_shift
from models.vit import VisionTransformer
from ops.mixing import Mixer, batch_rng
from tests.test_main import Experiment, assert_same

MIXING = ("AUG.MIXUP_ALPHA", 0.8, "AUG.CUTMIX_ALPHA", 1.0)
ADAMW = (
    *("OPTIM.NAME", "adamw", "OPTIM.LR", 0.02, "OPTIM.WEIGHT_DECAY", 0.05),
    *("OPTIM.GROUPS", "vit", "OPTIM.LAYER_DECAY", 0.75),
    *("OPTIM.SCHEDULE", "cosine", "OPTIM.WARMUP_EPOCHS", 1.0, "OPTIM.WARMUP_RULE", "line"),
)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.mark.parametrize(
    "model",
    [
        ("MODEL.NAME", "tokshift", "MODEL.DROP_PATH", 0.1),
        ("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18", "MODEL.TSM.WIDTH", 4),
    ],
    ids=["transformer", "resnet"],
)
def test_model_learns_with_all_of_fine_tuning_on(
    model: tuple[object, ...], experiment: Experiment
) -> None:
    words = (*ADAMW, *MIXING, "TRAIN.GLOBAL_BATCH", 4, "TRAIN.LAST_GROUP", "drop")
    experiment.run(*model, *words, "TRAIN.EPOCHS", 10, "DATA.TEST_SHORT_SIDE", 18)
    losses = [entry["loss"] for entry in experiment.log("train")]
    assert sum(losses[-9:]) < sum(losses[:9])  # three epochs each
    # a mixed clip's hit counts by its label's share, so that few sums are whole
    tops = [entry["top1"] for entry in experiment.log("train")]
    assert any(abs(top * 12 / 100 - round(top * 12 / 100)) > 1e-3 for top in tops)
    groups = experiment.checkpoint()["optimizer"]["param_groups"]
    assert len({group["lr_mult"] for group in groups}) >= 4


def test_each_batch_of_each_epoch_has_draws_of_its_own(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    batch_rng = main_ddp_shift.batch_rng

    def record(*place: int) -> object:
        asked.append(place)
        return batch_rng(*place)

    monkeypatch.setattr(main_ddp_shift, "batch_rng", record)
    experiment.run(*MIXING, "--seed", 3)
    assert asked == [(3, epoch, i, 0) for epoch in range(2) for i in range(3)]


def test_learner_sees_the_mixed_clips(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = [], []
    to_device, embed = main_ddp_shift.to_device, VisionTransformer.embed

    def record_plain(*args: Any) -> torch.Tensor:
        plain.append(to_device(*args))
        return plain[-1]

    def record_seen(self: VisionTransformer, clips: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append((plain[-1], clips))
        return embed(self, clips)

    monkeypatch.setattr(main_ddp_shift, "to_device", record_plain)
    monkeypatch.setattr(VisionTransformer, "embed", record_seen)
    experiment.run(*MIXING, "TRAIN.EPOCHS", 1)
    for i, (clips, mixed) in enumerate(seen):
        mix = Mixer(0.8, 1.0).draw(clips.shape, batch_rng(0, 0, i, 0))
        assert mix is not None
        assert torch.equal(mixed, mix.apply(clips))
    assert len(seen) == 3
    # not each: the third permutation drawn leaves every clip with itself
    assert any(not torch.equal(mixed, clips) for clips, mixed in seen)


def test_mixing_changes_the_training_unless_no_batch_is_mixed(experiment: Experiment) -> None:
    states = []
    for name, words in (("off", ()), ("never", (*MIXING, "AUG.MIX_PROB", 0.0)), ("on", MIXING)):
        folder = experiment.folder / name
        experiment.run("--output", folder, *words)
        states.append(experiment.checkpoint(folder=folder)["state_dict"])
    off, never, on = states
    assert_same(never, off)
    assert not torch.equal(on["head.weight"], off["head.weight"])


def test_checkpoint_with_a_key_of_an_earlier_version_still_tests_and_trains(
    experiment: Experiment,
) -> None:
    experiment.run("TRAIN.EPOCHS", 1)
    content = experiment.checkpoint()
    now, before = "LAST_GROUP: underweight", "UNDERWEIGHTS_LAST_GROUP: false"
    assert now in content["config"]
    content["config"] = content["config"].replace(now, before)
    path, config = experiment.run_folder / "old.pth", experiment.folder / "old.yml"
    torch.save(content, path)
    config.write_text(content["config"])
    note = "TRAIN.UNDERWEIGHTS_LAST_GROUP: False is TRAIN.LAST_GROUP reweight now"
    assert note in experiment.run("--evaluate", "--resume", path, has_cfg=False)
    assert experiment.results()["num_videos"] == 6
    console = experiment.run("--cfg", config, "--resume", path, "TRAIN.EPOCHS", 2, has_cfg=False)
    assert note in console
    assert "LAST_GROUP: reweight" in (experiment.run_folder / "config.yml").read_text()
