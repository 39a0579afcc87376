import logging
import sys
import threading
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from yacs.config import CfgNode

from config import load_cfg_text
from engine import trackers
from engine.run_log import RunLog
from engine.trackers import Tracker, build_trackers, check_trackers, open_trackers


class FakeService:
    """Keeps what it gets; `fault` is raised where it is asked for."""

    def __init__(self, run_id: str = "", fault: str = "") -> None:
        self.run_id, self.fault, self.records, self.is_closed = run_id or "new", fault, [], False

    def add(self, records: list) -> None:
        if self.fault:
            raise RuntimeError(self.fault)
        self.records += records

    def close(self) -> None:
        self.is_closed = True


def module(name: str, **members: object) -> ModuleType:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None, origin="here")
    made.__dict__.update(members)
    return made


@pytest.fixture
def cfg() -> Callable[..., CfgNode]:
    return lambda **keys: load_cfg_text(
        f"LOG: {{{', '.join(f'{k}: {v}' for k, v in keys.items())}}}", "t"
    )


@pytest.fixture
def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A package wandb that keeps the calls."""
    calls = SimpleNamespace(inits=[], logs=[], configs=[], axes={}, num_finished=0)

    def init(**words: object) -> SimpleNamespace:
        calls.inits.append(words)
        return SimpleNamespace(
            id=words["id"] or "made",
            config=SimpleNamespace(update=lambda values, **_: calls.configs.append(values)),
            define_metric=lambda tags, step_metric: calls.axes.update({tags: step_metric}),
            log=calls.logs.append,
            finish=lambda: setattr(calls, "num_finished", calls.num_finished + 1),
        )

    monkeypatch.setitem(sys.modules, "wandb", module("wandb", init=init, Settings=dict))
    return calls


def test_figures_come_in_order_over_their_axes_and_the_run_ends(tmp_path: Path) -> None:
    service = FakeService()
    tracker = Tracker("LOG.X", tmp_path / "x.id", lambda _: service)
    tracker.scalars(7, {"Iteration/loss": 1.0, "Loss/train": 2.0, "val_top1_of_class/0_a": 3.0})
    tracker.scalars(8, {"Iteration/grad_norm": float("inf"), "Loss/train": 2.0})
    tracker.scalars(1, {"val/top1": 50.0, "val/loss": float("nan")})
    tracker.close()
    assert service.records == [(7, {"Iteration/loss": 1.0}), (1, {"val/top1": 50.0})]
    assert service.is_closed
    assert (tmp_path / "x.id").read_text() == "new\n"


def test_run_that_goes_on_goes_on_there(tmp_path: Path) -> None:
    asked: list[str] = []

    def opens(run_id: str) -> FakeService:
        asked.append(run_id)
        return FakeService(run_id)

    for _ in range(2):
        Tracker("LOG.X", tmp_path / "x.id", opens).close()
    assert asked == ["", "new"]


@pytest.mark.parametrize("place", ["open", "add", "close"])
def test_service_that_fails_costs_one_line(
    place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ConnectionError("no route\nto the host")

    service = FakeService()
    if place != "open":
        setattr(service, place, fails)
    tracker = Tracker("LOG.X", tmp_path / "x.id", fails if place == "open" else lambda _: service)
    for step in range(3):
        tracker.scalars(step, {"train/loss": 1.0})
    tracker.close()
    tracker.scalars(4, {"train/loss": 1.0})
    (record,) = caplog.records
    left, _, reason = record.message.partition(": ")
    assert left == "LOG.X is left out from here on, the training goes on"
    assert reason == "ConnectionError: no route to the host"


def test_service_that_never_answers_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "_CLOSE_SECONDS", 0.05)
    monkeypatch.setattr(trackers, "_MOST_WAITING", 2)
    answers = threading.Event()
    tracker = Tracker("LOG.X", tmp_path / "x.id", lambda _: answers.wait() and FakeService())
    for step in range(9):
        tracker.scalars(step, {"train/loss": 1.0})
    tracker.close()
    answers.set()
    assert "LOG.X has not taken all figures" in caplog.text


def test_missing_package_is_told_with_what_installs_it(
    cfg: Callable[..., CfgNode], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_trackers(cfg())
    for key in ("WANDB", "MLFLOW"):
        monkeypatch.setitem(sys.modules, key.lower(), None)
        with pytest.raises(
            ValueError, match=rf"LOG.{key}='mine' needs .*-m pip install {key.lower()};"
        ):
            check_trackers(cfg(**{key: "mine"}))
    (tmp_path / "wandb").mkdir()  # as wandb leaves it where it runs
    monkeypatch.delitem(sys.modules, "wandb")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"LOG.WANDB='mine' needs"):
        check_trackers(cfg(WANDB="mine"))


def test_none_is_there_unless_it_is_asked_for(cfg: Callable[..., CfgNode], tmp_path: Path) -> None:
    assert build_trackers(cfg(), tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_run_log_sends_its_figures_to_wandb(
    fake_wandb: SimpleNamespace, cfg: Callable[..., CfgNode], tmp_path: Path
) -> None:
    for epoch in (1, 2):  # the second goes on with the first
        runlog = RunLog(tmp_path / "run")
        runlog.config(cfg(WANDB="mine"))
        runlog.scalars(epoch, {"val/top1": 50.0})
        runlog.close()
    with open_trackers(cfg(WANDB="mine"), tmp_path / "run") as (tracker,):
        tracker.scalars(2, {"test/top1": 60.0})
    assert [words["id"] for words in fake_wandb.inits] == [None, "made", "made"]
    assert {words["project"] for words in fake_wandb.inits} == {"mine"}
    assert {words["dir"] for words in fake_wandb.inits} == {str(tmp_path / "run" / "trackers")}
    assert fake_wandb.logs == [
        {"epoch": 1, "val/top1": 50.0},
        {"epoch": 2, "val/top1": 50.0},
        {"epoch": 2, "test/top1": 60.0},
    ]
    assert fake_wandb.axes["Iteration/*"] == "iteration"
    assert fake_wandb.configs[0]["LOG.WANDB"] == "mine"
    assert fake_wandb.num_finished == 3


def test_mlflow_keeps_a_run_that_goes_on(
    cfg: Callable[..., CfgNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes seconds to set up
    folder = tmp_path / "run"
    folder.mkdir()
    for epoch in (1, 2):
        with open_trackers(cfg(MLFLOW="mine"), folder) as (tracker,):
            tracker.scalars(epoch, {"val/top1": 40.0 + epoch, "Iteration/loss": 1.0})
    client = MlflowClient()
    experiment = client.get_experiment_by_name("mine")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == (folder / "trackers" / "mlflow.id").read_text().strip()
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    history = client.get_metric_history(run.info.run_id, "val/top1")
    assert [(metric.step, metric.value) for metric in history] == [(1, 41.0), (2, 42.0)]
    assert run.data.params["LOG.MLFLOW"] == "mine"


def test_wandb_keeps_a_run_offline(
    cfg: Callable[..., CfgNode],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for epoch in (1, 2):
        with open_trackers(cfg(WANDB="mine"), tmp_path) as (tracker,):
            tracker.scalars(epoch, {"val/top1": 40.0 + epoch})
    assert "left out" not in caplog.text
    run_id = (tmp_path / "trackers" / "wandb.id").read_text().strip()
    files = [*(tmp_path / "trackers" / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")]
    assert files
    assert all(b"val/top1" in file.read_bytes() for file in files)


def test_nothing_of_other_processes_is_sent(
    cfg: Callable[..., CfgNode], fake_wandb: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    from engine.run_log import NullRunLog

    with caplog.at_level(logging.INFO):
        NullRunLog().config(cfg(WANDB="mine"))
    assert not fake_wandb.inits
