"""Weights & Biases and MLflow, as far as a run sends its figures there."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

# What the figures of a group of tags stand over; other groups are not sent.
AXES = {
    "Iteration": "iteration",
    **dict.fromkeys(("train", "val", "swa", "test"), "epoch"),
}
Record = tuple[int, Mapping[str, float]]  # step, figures by tag
_METRICS_AT_ONCE = 1000  # MLflow's limits of a request
_PARAMETERS_AT_ONCE = 100
_LONGEST_PARAMETER = 500


class Service(Protocol):
    """A run at a service; each method may raise whatever the service does."""

    run_id: str

    def add(self, records: Sequence[Record]) -> None:
        """Send figures."""

    def close(self) -> None:
        """Send what is left, and end the run there."""


class Wandb:
    """A run at Weights & Biases; with WANDB_MODE=offline in the run folder's ``trackers``.

    Args:
        project: Name of the project there.
        folder: Run folder.
        config: Values of the config by key.
        run_id: Id of a run to go on with; empty: a new one.
    """

    def __init__(
        self, project: str, folder: Path, config: Mapping[str, Any], run_id: str = ""
    ) -> None:
        import wandb

        (folder / "trackers").mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=project,
            name=folder.resolve().name,
            dir=str(folder / "trackers"),
            id=run_id or None,
            resume="allow",
            settings=wandb.Settings(console="off"),  # the console has its own file, train.log
        )
        self._run.config.update(dict(config), allow_val_change=True)
        for group, axis in AXES.items():
            self._run.define_metric(f"{group}/*", step_metric=axis)
        self.run_id = str(self._run.id)

    def add(self, records: Sequence[Record]) -> None:
        """Send figures, each with the step that it stands over."""
        for step, values in records:
            axis = AXES[next(iter(values)).partition("/")[0]]
            self._run.log({axis: step, **values})

    def close(self) -> None:
        """End the run there."""
        self._run.finish()


class Mlflow:
    """A run at MLflow, where MLFLOW_TRACKING_URI says.

    Args:
        experiment: Name of the experiment there; made if it is missing.
        folder: Run folder.
        config: Values of the config by key.
        run_id: Id of a run to go on with, whose parameters stay as they are; empty: a new one.
    """

    def __init__(
        self, experiment: str, folder: Path, config: Mapping[str, Any], run_id: str = ""
    ) -> None:
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient()
        self.run_id = run_id
        if run_id:
            self._client.update_run(run_id, status="RUNNING")
            return
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment)
        created = self._client.create_run(number, run_name=folder.resolve().name)
        self.run_id = str(created.info.run_id)
        self._send_parameters(config)

    def add(self, records: Sequence[Record]) -> None:
        """Send figures."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(tag, value, now, step)
            for step, values in records
            for tag, value in values.items()
        ]
        for start in range(0, len(metrics), _METRICS_AT_ONCE):
            part = metrics[start : start + _METRICS_AT_ONCE]
            self._client.log_batch(self.run_id, metrics=part)

    def close(self) -> None:
        """End the run there."""
        self._client.set_terminated(self.run_id)

    def _send_parameters(self, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, str(value)[:_LONGEST_PARAMETER]) for key, value in config.items()]
        for start in range(0, len(params), _PARAMETERS_AT_ONCE):
            part = params[start : start + _PARAMETERS_AT_ONCE]
            self._client.log_batch(self.run_id, params=part)
