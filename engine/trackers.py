"""Figures of a run sent on to services that follow experiments, beside its own records.

Each has a thread of its own: a service that is slow, or is gone, holds no training up, and one that
fails is left with a line.
"""

import logging
import math
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from yacs.config import CfgNode

from config.loading import all_leaves
from engine.tracking_services import AXES, Mlflow, Record, Service, Wandb
from engine.whole_file import whole_file

_SERVICES: dict[str, tuple[str, Callable[..., Service]]] = {  # by key of LOG: package, service
    "WANDB": ("wandb", Wandb),
    "MLFLOW": ("mlflow", Mlflow),
}
_MOST_WAITING = 100_000  # records of a service that does not answer
_CLOSE_SECONDS = 60.0  # that the end of a run waits for one

_log = logging.getLogger(__name__)


def check_trackers(cfg: CfgNode) -> None:
    """Raise ``ValueError`` where the config names a service whose package is not installed."""
    for key, (package, _) in _SERVICES.items():
        if cfg.LOG[key] and not _is_installed(package):
            raise ValueError(
                f"LOG.{key}={cfg.LOG[key]!r} needs the package {package}, which is not installed: "
                f"{sys.executable} -m pip install {package}; LOG.{key} '' does without"
            )


def build_trackers(cfg: CfgNode, folder: Path) -> list["Tracker"]:
    """Return what sends figures to each service that the config names.

    A run that goes on in its folder goes on there, too: ``wandb.id`` and ``mlflow.id`` in the
    folder's ``trackers`` say as which.

    Args:
        cfg: Config, which the services get as well.
        folder: Run folder, whose name is the run's.
    """
    own, values = folder / "trackers", dict(all_leaves(cfg))
    return [
        Tracker(f"LOG.{key}", own / f"{package}.id", partial(opens, cfg.LOG[key], folder, values))
        for key, (package, opens) in _SERVICES.items()
        if cfg.LOG[key]
    ]


@contextmanager
def open_trackers(cfg: CfgNode, folder: Path) -> Iterator[list["Tracker"]]:
    """Have the trackers of `build_trackers` within the block, for a test."""
    trackers = build_trackers(cfg, folder)
    try:
        yield trackers
    finally:
        for tracker in trackers:
            tracker.close()


class Tracker:
    """Sends figures to a service as they come, and gives up where it fails.

    Args:
        key: Key of the config that names the service.
        id_file: File that keeps the name of the run there.
        opens: Function that opens the service for a run's name there; empty: for a new run.
    """

    def __init__(self, key: str, id_file: Path, opens: Callable[[str], Service]) -> None:
        self._key, self._id_file, self._opens = key, id_file, opens
        self._waiting: queue.Queue[Record | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._run, name=key, daemon=True)
        self._thread.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take figures by tag; those of groups without an axis, and not finite ones, are left out.

        Args:
            step: Number of iterations or epochs, as the group counts.
            values: Values by TensorBoard's tags.
        """
        kept = {
            tag: float(value)
            for tag, value in values.items()
            if tag.partition("/")[0] in AXES and math.isfinite(value)
        }
        if kept and self._thread.is_alive() and not self._waiting.full():
            self._waiting.put((step, kept))

    def close(self) -> None:
        """Wait until all is sent, but not for ever."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            _log.warning(
                "%s has not taken all figures within %.0f s; they are all in log.jsonl and "
                "TensorBoard",
                *(self._key, _CLOSE_SECONDS),
            )

    def _run(self) -> None:
        try:
            known = self._id_file.read_text().strip() if self._id_file.exists() else ""
            service = self._opens(known)
            if service.run_id != known:
                self._id_file.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(self._id_file) as file:
                    file.write(f"{service.run_id}\n".encode())
            while records := self._next():
                service.add(records)
            service.close()
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not cost a training
            text = " ".join(str(error).split())[:300]
            _log.warning(
                "%s is left out from here on, the training goes on: %s: %s",
                *(self._key, type(error).__name__, text),
            )

    def _next(self) -> Sequence[Record]:
        """Wait for a record and return it with those behind it; none at the end."""
        records, record = [], self._waiting.get()
        while record is not None:
            records.append(record)
            try:
                record = self._waiting.get_nowait()
            except queue.Empty:
                return records
        if records:  # the end is met again
            self._waiting.put(None)
        return records


def _is_installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # a folder of that name is none
