"""The signals that stop a run, and how a launcher hands them on."""

import signal

STOP_SIGNALS = (
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2),  # a scheduler's, before the time is up
)
# A scheduler sends a signal to launcher and processes alike, and the launcher hands it on: what
# comes so soon after the first is that one. A later one ends the run at once.
SAME_SECONDS = 1.0


def nothing_saved(number: int) -> str:
    """Return the line that a run which was stopped too early ends with."""
    name = signal.Signals(number).name
    return f"stopped by {name}: nothing was saved yet; the same command starts again\n"
