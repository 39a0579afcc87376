"""How long a run will still take."""

import time


class Pace:
    """Tells the time left from what the run took so far, validations and checkpoints included."""

    def __init__(self) -> None:
        self._start: tuple[float, float] | None = None
        self.is_told = False

    def begin(self, epochs_done: float) -> None:
        """Take the first place that is given for the start of the clock."""
        self._start = self._start or (time.perf_counter(), epochs_done)

    def seconds_left(self, epochs_done: float, num_epochs: int) -> float:
        """Return the seconds until the last epoch's end.

        Args:
            epochs_done: Number of epochs since the run began, with fraction; more than at the start
                of the clock.
            num_epochs: Number of epochs of the run.
        """
        assert self._start is not None
        start, epochs_before = self._start
        self.is_told = True
        per_epoch = (time.perf_counter() - start) / (epochs_done - epochs_before)
        return per_epoch * (num_epochs - epochs_done)
