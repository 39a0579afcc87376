from collections.abc import Callable

import pytest
import torch

from tools.diagnosis import speed_findings
from tools.diagnosis.data_findings import check_files, check_lists
from tools.diagnosis.examination import Examination
from tools.diagnosis.findings import Finding
from tools.diagnosis.speed_findings import (
    GIB,
    ModelCost,
    bytes_kept,
    check_speed,
    cost_of_model,
    seconds_of_loader,
)

Examine = Callable[..., Examination]
Only = Callable[..., Finding]


@pytest.fixture(autouse=True)
def on_a_cpu_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(speed_findings, "SECONDS_MEASURED", 0.05)


def opened(examination: Examination) -> Examination:
    list(check_lists(examination))
    list(check_files(examination))
    return examination


def test_both_times_are_measured(examine: Examine) -> None:
    examination = opened(examine())
    threads = torch.get_num_threads()
    assert 0 < cost_of_model(examination.cfg, torch.device("cpu")).seconds < 10
    assert 0 < seconds_of_loader(examination) < 10
    assert torch.get_num_threads() == threads


def test_tsm_is_measured_too(examine: Examine) -> None:
    words = ("MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18", "MODEL.TSM.WIDTH", 8)
    words += ("DATA.IMAGE_SIZE", 32, "MODEL.VIT.PATCH_SIZE", 0, "MODEL.VIT.HIDDEN_SIZE", 0)
    assert cost_of_model(examine(*words).cfg, torch.device("cpu")).seconds > 0


@pytest.mark.parametrize(
    ("of_loader", "workers", "level", "words"),
    [
        (2.5, 2, "warning", "the model needs 3 loaders in each process, DATA.WORKERS is 2"),
        (2.5, 3, "ok", "each process needs 3 of its 3 DATA.WORKERS"),
        (0.1, 0, "warning", "needs 1 loaders in each process, DATA.WORKERS is 0"),
    ],
)
def test_loaders_are_measured_against_the_model(
    of_loader: float,
    workers: int,
    level: str,
    words: str,
    examine: Examine,
    only: Only,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(speed_findings, "cost_of_model", lambda cfg, device: ModelCost(1.0, 0))
    monkeypatch.setattr(speed_findings, "seconds_of_loader", lambda examination: of_loader)
    found = list(check_speed(opened(examine("DATA.WORKERS", workers))))
    only(found, level, words)


def test_batch_that_does_not_fit_into_memory_is_told(
    examine: Examine, only: Only, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(cfg: object, device: object) -> float:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(speed_findings, "cost_of_model", fail)
    assert "TRAIN.CLIPS_PER_GPU=4" in only(check_speed(examine()), "error").text


def test_without_readable_videos_the_model_alone_is_measured(examine: Examine, only: Only) -> None:
    only(check_speed(examine()), "ok", "loading was not measured")


def test_whole_run_is_estimated_from_what_was_measured(
    examine: Examine, only: Only, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = ModelCost(seconds=2.0, num_bytes=3 * GIB)
    monkeypatch.setattr(speed_findings, "cost_of_model", lambda cfg, device: cost)
    monkeypatch.setattr(speed_findings, "seconds_of_loader", lambda examination: 0.1)
    words = ("TRAIN.EPOCHS", 30, "VAL.NUM_CROPS", 1, "TEST.AFTER_TRAINING", False)
    examination = opened(examine(*words))
    num_val = len(examination.records["val"])
    num_clips = examination.num_batches * examination.cfg.TRAIN.CLIPS_PER_GPU
    seconds = 30 * (num_clips + num_val / 3 / examination.num_processes) * 2.0
    seconds *= examination.num_processes  # they share the cores
    text = only(check_speed(examination), "ok", "the whole run, 30 epochs").text
    assert f"will take about {seconds / 60:.0f} minutes" in text
    assert "about 3 GiB" in text


def test_memory_is_what_the_backward_pass_needs() -> None:
    layer = torch.nn.Linear(100, 50)
    clips = torch.zeros(8, 100)
    kept = bytes_kept(lambda: layer(clips).square().sum(), layer)
    assert kept == 4 * (8 * 100 + 8 * 50)  # the input of the product, and that of the square
