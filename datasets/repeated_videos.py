"""Videos that stand in a list more than once, or in two lists."""

import os
from collections.abc import Mapping, Sequence

from datasets.annotations import VideoRecord


def repeated_videos(records: Sequence[VideoRecord]) -> list[tuple[VideoRecord, VideoRecord]]:
    """Return the lines that name a video again, each behind the first that names it."""
    first: dict[str, VideoRecord] = {}
    pairs = ((first.setdefault(_name(record), record), record) for record in records)
    return [(known, record) for known, record in pairs if known is not record]


def shared_videos(
    records: Sequence[VideoRecord], others: Sequence[VideoRecord]
) -> list[VideoRecord]:
    """Return those records whose videos stand in another list too."""
    names = {_name(record) for record in others}
    return [record for record in records if _name(record) in names]


def list_remarks(
    lists: Mapping[str, Sequence[VideoRecord]], of: Sequence[str] = ("train", "val", "test")
) -> list[str]:
    """Say, a line each, what in the lists of a run makes its figures mean something else.

    Args:
        lists: Records by split: ``train``, ``val``, ``test``.
        of: Splits that remarks are made of.
    """
    remarks = []
    for split in filter(lists.__contains__, of):
        records = lists[split]
        repeated = repeated_videos(records)
        if repeated:
            known, again = repeated[0]
            remarks.append(
                f"the {split} list: {len(repeated)} of {len(records)} lines name a video again, "
                f"which counts each time; first lines {known.line} and {again.line}: {again.path!r}"
            )
    for split, other, meaning in (
        ("val", "train", "trained on too: its accuracy is too high"),
        ("test", "train", "trained on too: its accuracy is too high"),
        ("test", "val", "of the val list too, which chooses the best checkpoint"),
    ):
        records, others = lists.get(split, ()) if split in of else (), lists.get(other, ())
        if split != "val" and other == "val" and list(records) == list(others):
            continue  # without a DATA.TEST_LIST
        shared = shared_videos(records, others)
        if shared:
            remarks.append(
                f"the {split} list: {len(shared)} of {len(records)} videos are {meaning}; "
                f"first {shared[0].path!r}"
            )
    return remarks


def _name(record: VideoRecord) -> str:
    return os.path.normpath(record.path)
