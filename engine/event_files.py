"""TensorBoard's files of events: written as they come, read back, and cut down to what holds.

A file is a series of TFRecords: length and its checksum, the event, its checksum (little-endian;
masked CRC-32C). The events are written here and now: a writer with a thread of its own, as
tensorboardX has, dies unseen on a full disk, and then hangs whoever waits for it.
"""

import itertools
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from engine.whole_file import errors_told, sync_file, sync_folder, whole_file

_HEADER = struct.Struct("<QI")  # length of the event, checksum of the length
_CHECKSUM = struct.Struct("<I")
_numbers = itertools.count()


class EventFile:
    """A new file of events in a folder.

    Args:
        folder: TensorBoard's folder; made if it is missing.

    Raises:
        UnwritableError: A file cannot be written; likewise the methods.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}"
        self.path = folder / f"{name}.{os.getpid()}.{next(_numbers)}"
        with errors_told(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("xb", buffering=0)
            sync_folder(folder)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, step: int, summary: Any) -> None:
        """Write a summary, as the functions of `tensorboardX.summary` return it."""
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def flush(self) -> None:
        """Bring what was written onto the disk."""
        with errors_told(self.path):
            sync_file(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, event: Any) -> None:
        record = memoryview(_record_of(event.SerializeToString()))
        with errors_told(self.path):
            while record:
                record = record[self._file.write(record) :]


def cut_events(folder: Path, holds: Callable[[str, int], bool]) -> None:
    """Remove events from all files of a folder, and what a killed writer left of its last one.

    Args:
        folder: TensorBoard's folder.
        holds: Function that tells whether an event stays, by its tag and its step.

    Raises:
        UnwritableError: A file cannot be written.
    """
    for path in sorted(folder.glob("events.out.tfevents.*")):
        records = [*_read_records(path)]
        kept = [record for record, event in records if _stays(event, holds)]
        if sum(map(len, kept)) == path.stat().st_size:
            continue
        with whole_file(path) as file:
            file.writelines(kept)


def _stays(event: Any, holds: Callable[[str, int], bool]) -> bool:
    tags = [value.tag for value in event.summary.value]
    return not tags or any(holds(tag, event.step) for tag in tags)


def _read_records(path: Path) -> Iterator[tuple[bytes, Any]]:
    """Yield each whole record with its event, up to the first that is none."""
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, checksum = _HEADER.unpack(header)
            if masked_crc32c(header[:8]) != checksum:
                return
            body = file.read(length + _CHECKSUM.size)
            if len(body) < length + _CHECKSUM.size:
                return
            data = body[:length]
            if body[length:] != _CHECKSUM.pack(masked_crc32c(data)):
                return
            yield header + body, Event.FromString(data)


def _record_of(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, _CHECKSUM.pack(masked_crc32c(length)), data, _CHECKSUM.pack(masked_crc32c(data)))
    )
