"""Stochastic weight averaging and kept checkpoints, through the main script."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

import main_ddp_shift
from config import load_cfg_text
from datasets.loaders import build_train_loader, read_records
from models import build_model
from models.weights.released_tokshift import from_released
from ops.pixels import normalize
from tests.ranks import Ranks
from tests.test_main import Experiment, assert_same, scalars_of
from tests.test_main_errors import assert_clear
from tests.test_main_resume import PowerCutError, run_cut_short

MID_EPOCH_4 = 7  # checkpoints: one in the middle of each epoch, one at its end
SWA = ("TRAIN.EPOCHS", 4, "TRAIN.SWA.START_EPOCH", 2, "TRAIN.KEEP_EVERY", 1)
TSM = (
    *("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18", "MODEL.TSM.WIDTH", 4),
    *("MODEL.TSM.LAYERS", [1, 1, 1, 1], "TRAIN.EMA_DECAY", 0.0),
)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, str]:
    """Four epochs with the mean from the second on, tested; and what was printed."""
    experiment = Experiment(tmp_path_factory.mktemp("averaged"))
    words = ("TRAIN.SWA.LR", 0.05, "TRAIN.SWA.ANNEAL_EPOCHS", 1)
    return experiment, experiment.run(*SWA, *words, "TEST.AFTER_TRAINING", True)


def mean_of_kept(experiment: Experiment, *epochs: int) -> dict[str, Tensor]:
    kept = [experiment.checkpoint(f"epoch_{epoch}.pth")["state_dict"] for epoch in epochs]
    return {name: torch.stack([state[name].double() for state in kept]).mean(0) for name in kept[0]}


def assert_mean(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, weight in expected.items():
        assert ours[name].dtype == torch.float32
        # a running mean in float32 of weights of order 1: a few roundings of 6e-8
        torch.testing.assert_close(ours[name].double(), weight, atol=3e-7, rtol=0, msg=name)


def test_average_is_the_mean_of_the_kept_checkpoints(averaged: tuple[Experiment, str]) -> None:
    experiment, _ = averaged
    average = experiment.checkpoint("swa.pth")
    assert_mean(average["state_dict"], mean_of_kept(experiment, 2, 3, 4))
    last = experiment.checkpoint()
    assert_same(average["state_dict"], last["swa"])
    for other in (last["state_dict"], last["ema"]):  # which stays what it is
        moved = (average["state_dict"]["head.weight"] - other["head.weight"]).abs().max()
        assert moved > 1e-3


def test_kept_checkpoints_are_those_that_were_last(averaged: tuple[Experiment, str]) -> None:
    experiment, _ = averaged
    names = {path.name for path in experiment.run_folder.glob("*.pth")}
    kept = {f"epoch_{epoch}.pth" for epoch in (1, 2, 3, 4)}
    assert names == {"last.pth", "last.1.pth", "best.pth", "swa.pth"} | kept
    assert_same(experiment.checkpoint("epoch_4.pth"), experiment.checkpoint())
    assert experiment.checkpoint("epoch_1.pth")["epoch"] == 1
    assert "swa" not in experiment.checkpoint("epoch_1.pth")
    assert experiment.checkpoint("epoch_3.pth")["swa_epochs"] == [2, 3]


def test_rate_of_the_averaging_is_reached_and_kept(averaged: tuple[Experiment, str]) -> None:
    experiment, _ = averaged
    rates = [entry["lr"] for entry in experiment.log("train")]
    cosine = [0.01 + 0.04 * (1 - share) / 2 for share in (1, 0.5, -0.5)]  # of 0, 60, 120 degrees
    expected = [0.1] * 3 + [0.01] * 3 + cosine + [0.05] * 3
    assert rates == pytest.approx(expected, rel=1e-12)


def test_average_describes_itself_and_is_tested_after_training(
    averaged: tuple[Experiment, str], tmp_path: Path
) -> None:
    experiment, console = averaged
    average, last = experiment.checkpoint("swa.pth"), experiment.checkpoint()
    (val,) = experiment.log("swa")
    assert average.keys() == {
        *("state_dict", "num_averaged", "val_top1", "config", "class_names", "preprocessing"),
        "epoch",
    }
    for key in ("config", "class_names", "preprocessing"):
        assert average[key] == last[key]
    assert (average["num_averaged"], average["val_top1"]) == (3, val["top1"])
    path = experiment.run_folder / "swa.pth"
    assert experiment.results()["checkpoint"] == str(path)
    assert "epoch 4 validated (swa): 3 views each" in console
    assert f"mean of the weights of 3 epochs: {path}" in console
    assert f"best checkpoint: {experiment.run_folder / 'best.pth'}" in console
    experiment.run(
        *("-e", "--resume", path, "--output", tmp_path, "TEST.NUM_CLIPS", 1), has_cfg=False
    )
    assert experiment.results(tmp_path)["top1"] == val["top1"]


def test_average_is_validated_once_and_the_weights_in_each_epoch(
    averaged: tuple[Experiment, str],
) -> None:
    experiment, _ = averaged
    assert [entry["epoch"] for entry in experiment.log("val")] == [1, 2, 3, 4]
    assert [entry["epoch"] for entry in experiment.log("swa")] == [4]
    scalars = scalars_of(experiment.run_folder / "tensorboard")
    for name in ("Loss", "Accuracy"):
        figures = {tag: [step for step, _ in scalars[tag]] for tag in scalars if f"{name}/" in tag}
        assert {tag: steps for tag, steps in figures.items() if "/test" in tag}
        for tag, steps in figures.items():
            assert steps == ([3] if "/swa" in tag else [0, 1, 2, 3]), tag


def test_average_cannot_be_resumed_and_the_error_names_tune_from(
    averaged: tuple[Experiment, str], tmp_path: Path
) -> None:
    experiment, _ = averaged
    path = experiment.run_folder / "swa.pth"
    code, text = experiment.outcome("--resume", path, "--output", tmp_path)
    assert code == 1
    assert_clear(text, f"holds no optimizer.*--tune_from {path}")
    words = ("--output", tmp_path, "TRAIN.EPOCHS", 1, "OPTIM.LR", 0.0)
    experiment.run("--tune_from", path, *words)
    tuned = torch.load(tmp_path / "last.pth", weights_only=True)["state_dict"]
    assert_same(tuned, experiment.checkpoint("swa.pth")["state_dict"])


CASES: dict[str, tuple[object, ...]] = {
    "constant": ("TRAIN.SWA.LR", 0.05),
    "cyclic": ("TRAIN.SWA.START_EPOCH", 1, "TRAIN.SWA.LR", 0.05, "TRAIN.SWA.CYCLE_EPOCHS", 2),
    "frozen norms": ("MODEL.PARTIAL_BN", True, "TRAIN.EMA_DECAY", 0.0),
    "released": ("TRAIN.CHECKPOINT_LAYOUT", "released"),
    "tsm": TSM,
}


@pytest.mark.parametrize("words", CASES.values(), ids=CASES)
def test_run_resumed_amid_the_averaging_ends_as_the_unbroken_one_to_the_last_bit(
    words: tuple[object, ...], experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, broken = experiment.folder / "unbroken", experiment.folder / "broken"
    experiment.run("--output", unbroken, *SWA, *words)
    run_cut_short(experiment, monkeypatch, "--output", broken, *SWA, *words, after=MID_EPOCH_4)
    assert not (broken / "swa.pth").exists()
    experiment.run("--output", broken, "--resume", *SWA, *words)
    for name in ("epoch_4.pth", "swa.pth"):
        ours, expected = (experiment.checkpoint(name, folder) for folder in (broken, unbroken))
        for key in expected.keys() - {"config"}:  # which names the folder
            assert_same(ours[key], expected[key], key)


def test_run_that_ends_before_the_average_is_saved_makes_up_for_it(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, broken = experiment.folder / "unbroken", experiment.folder / "broken"
    words = (*SWA, *TSM)
    experiment.run("--output", unbroken, *words)
    with monkeypatch.context() as patched:
        patched.setattr(main_ddp_shift, "update_average", raise_power_cut)
        with pytest.raises(PowerCutError):
            experiment.run("--output", broken, *words)
    assert not (broken / "swa.pth").exists()
    experiment.run("--output", broken, "--resume", *words)
    ours, expected = (experiment.checkpoint("swa.pth", folder) for folder in (broken, unbroken))
    assert_same(ours["state_dict"], expected["state_dict"])


def raise_power_cut(*_: Any) -> None:
    raise PowerCutError


def test_cycles_enter_the_average_where_they_end(experiment: Experiment) -> None:
    cycles = ("TRAIN.SWA.LR", 0.01, "TRAIN.SWA.CYCLE_EPOCHS", 2, "TRAIN.EPOCHS", 5)
    experiment.run(*SWA[2:], *cycles)
    rates = [entry["lr"] for entry in experiment.log("train")][6:]  # three iterations an epoch
    falling = [0.1 - 0.09 * i / 6 for i in range(6)]
    assert rates == pytest.approx(falling + falling[:3], rel=1e-12)
    assert experiment.checkpoint("swa.pth")["num_averaged"] == 2
    assert_mean(experiment.checkpoint("swa.pth")["state_dict"], mean_of_kept(experiment, 2, 4))


@pytest.mark.parametrize("is_partial", [False, True])
def test_statistics_of_an_averaged_tsm_equal_a_pass_by_hand(
    is_partial: bool, experiment: Experiment
) -> None:
    console = experiment.run(*SWA, *TSM, "MODEL.PARTIAL_BN", is_partial)
    average = experiment.checkpoint("swa.pth")
    state = average["state_dict"]
    num_norms = 1 if is_partial else sum(name.endswith("running_mean") for name in state)
    assert f"statistics of {num_norms} batch norms set by a pass over training clips" in console
    cfg = load_cfg_text(average["config"], "swa.pth")
    model = build_model(cfg)
    model.load_state_dict(state)
    loader = build_train_loader(cfg, read_records(cfg, "train"), rank=0, world_size=1)
    loader.sampler.set_epoch(4)  # one more than were trained
    clips = [normalize(batch.clips.contiguous(), [0.5] * 3, [0.5] * 3) for batch in loader]
    # the first norm's statistics depend on no other
    update_bn(clips, FirstNorm(model) if is_partial else model)
    assert_same(model.state_dict(), state)
    weights = [name for name, _ in model.named_parameters()]
    mean = mean_of_kept(experiment, 2, 3, 4)
    assert_mean(state, {name: mean[name] for name in weights})


class FirstNorm(torch.nn.Module):
    """The first norm of a TSM and what comes before it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.conv1, self.bn1 = model.conv1, model.bn1

    def forward(self, clips: Tensor) -> Tensor:
        return self.bn1(self.conv1(clips.flatten(0, 1)))


def test_average_in_the_released_layout_has_the_released_names(experiment: Experiment) -> None:
    words = (*SWA, "TRAIN.CHECKPOINT_LAYOUT", "released", "TEST.AFTER_TRAINING", True)
    experiment.run(*words)
    names = {path.name for path in experiment.run_folder.glob("*.pth")}
    assert {"swa.pth", "ckpt_e3.pth", *(f"epoch_{epoch}.pth" for epoch in (1, 2, 3, 4))} < names
    state = experiment.checkpoint("swa.pth")["state_dict"]
    assert list(state) == list(experiment.checkpoint("ckpt_e3.pth")["state_dict"])
    assert all(name.startswith("module.base_model.") for name in state)
    ours = from_released({name.removeprefix("module."): value for name, value in state.items()})
    assert_same(ours, dict(experiment.checkpoint("ckpt_e3.pth")["swa"]) | ours)
    assert_mean(state, mean_of_kept(experiment, 2, 3, 4))
    assert experiment.results()["checkpoint"] == str(experiment.run_folder / "swa.pth")


def test_averaging_changes_nothing_else(experiment: Experiment) -> None:
    plain, averaging = experiment.folder / "plain", experiment.folder / "averaging"
    experiment.run("--output", plain)
    experiment.run("--output", averaging, "TRAIN.SWA.START_EPOCH", 1)
    ours, expected = (experiment.checkpoint(folder=folder) for folder in (averaging, plain))
    for key in expected.keys() - {"config"}:
        assert_same(ours[key], expected[key], key)
    assert ours.keys() - expected.keys() == {"swa", "swa_epochs"}


def test_averaging_may_begin_with_a_run_that_goes_on(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 3)
    experiment.run("--resume", *SWA, "TRAIN.EPOCHS", 5)
    average = experiment.checkpoint("swa.pth")
    assert average["num_averaged"] == 2  # the second and third epoch are gone
    assert_mean(average["state_dict"], mean_of_kept(experiment, 4, 5))


def test_best_is_tested_where_no_epoch_was_left_to_average(experiment: Experiment) -> None:
    experiment.run("TRAIN.EPOCHS", 4)
    experiment.run("--resume", *SWA, "TEST.AFTER_TRAINING", True)
    assert not (experiment.run_folder / "swa.pth").exists()
    assert experiment.results()["checkpoint"] == str(experiment.run_folder / "best.pth")


def test_average_of_other_epochs_cannot_be_resumed(experiment: Experiment) -> None:
    experiment.run(*SWA, "TRAIN.SWA.START_EPOCH", 3)
    last = experiment.run_folder / "last.pth"
    cycles = ("TRAIN.SWA.START_EPOCH", 1, "TRAIN.SWA.CYCLE_EPOCHS", 2, "TRAIN.SWA.LR", 0.01)
    as_many = (cycles, r"\[1, 3\]")
    for words, due in ((("TRAIN.SWA.START_EPOCH", 4), r"\[4\]"), as_many):
        code, text = experiment.outcome("--resume", *SWA, *words)
        assert code == 1
        held = rf"{last} holds the mean of the weights after epochs \[3, 4\]"
        assert_clear(text, rf"{held}, under this run's TRAIN\.SWA it would be after {due};")
    experiment.run("--resume", "TRAIN.EPOCHS", 5)  # without the mean
    assert "swa" not in experiment.checkpoint()
    assert experiment.checkpoint()["epoch"] == 5


def test_averaging_that_begins_after_the_last_epoch_is_an_error(experiment: Experiment) -> None:
    code, text = experiment.outcome("TRAIN.SWA.START_EPOCH", 3)
    assert code == 1
    assert_clear(text, r"TRAIN\.SWA\.START_EPOCH=3; it must be at most TRAIN\.EPOCHS=2")


@pytest.mark.ddp
@pytest.mark.parametrize("model", ["tokshift", "tsm"])
def test_two_processes_average_as_one(model: str, experiment: Experiment, ranks: Ranks) -> None:
    one, two = experiment.folder / "one", experiment.folder / "two"
    words = (*SWA, "MODEL.VIT.DROPOUT", 0.0, *(TSM if model == "tsm" else ()))
    experiment.run("--output", one, *words)
    halved = (*words, "TRAIN.CLIPS_PER_GPU", 2)
    done = ranks.run(2, "main_ddp_shift.py", "--cfg", experiment.config, "--output", two, *halved)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("mean of the weights of 3 epochs: ") == 1
    assert done.stdout.count("batch norms set by a pass") == (model == "tsm")
    ours, expected = (experiment.checkpoint("swa.pth", folder) for folder in (two, one))
    assert ours["num_averaged"] == expected["num_averaged"] == 3
    if model == "tsm":  # half a batch has other statistics; counted are the batches of both
        assert ours["state_dict"]["bn1.num_batches_tracked"] == 6
        return
    for name, weight in expected["state_dict"].items():
        # as the weights themselves: float32 rounding of gradients in another order
        torch.testing.assert_close(ours["state_dict"][name], weight, atol=1e-6, rtol=0)
