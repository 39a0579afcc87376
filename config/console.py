"""The console of a program, whatever letters its encoding has."""

import io
import sys


def show_every_name() -> None:
    """Show letters that the console's encoding lacks, and names that are not UTF-8, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
