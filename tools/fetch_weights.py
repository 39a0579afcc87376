"""Gets published weights to their place, or says how they can be had, and verifies them.

    python tools/fetch_weights.py --list
    python tools/fetch_weights.py ViT-B_16 [NAME ...] [--mirror URL]

Names and addresses are those of model_zoo/index.yml. A file that is at its place already is
verified and used as it is: that is the way of a machine without a network, and of what only a
browser gets. A broken fetch goes on where it was when the same command is given again. The SHA-256
is compared where one was published, and shown in any case; then the file is read as a training or
a test reads it, every name and shape against the recipe's model. Nothing else is fetched.

Exit codes: 0; 1 a file that could not be had, or is not what it should be; 2 a wrong command line.
"""

import argparse
import difflib
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, urlsplit

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.console import show_every_name
from config.values import shown
from config.weight_index import INDEX, PROJECT, PublishedWeights, read_index
from engine.whole_file import errors_told, sync_folder
from tools.fetching.download import Part, download
from tools.fetching.verify import verify

_log = logging.getLogger("fetch")
_FOR_BROWSERS = ("drive.google.com", "docs.google.com")  # they ask a visitor before a large file


def main(argv: Sequence[str] | None = None, index: Path = INDEX, root: Path = PROJECT) -> int:
    """Get what the command line names; return the exit code.

    Args:
        argv: Words of the command line.
        index: Path of the table of the weights.
        root: Folder that their places are relative to.
    """
    args = _parse(argv)
    show_every_name()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        entries = read_index(index)
        if args.list:
            sys.stdout.write(listed(list(entries.values()), root))
        for entry in [find(name, entries) for name in args.names]:
            get(entry, root, args.mirror)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("stopped; what came is kept, and the same command goes on from there\n")
        return 130
    return 0


def find(name: str, entries: Mapping[str, PublishedWeights]) -> PublishedWeights:
    """Return the weights of a name, or of the name of their file.

    Raises:
        ValueError: There are none; says which are nearest.
    """
    by_file = {Path(entry.file).name: entry for entry in entries.values()}
    found = entries.get(name) or by_file.get(Path(name).name)
    if found is None:
        nearest = difflib.get_close_matches(name, entries, n=3, cutoff=0.0)
        near = ", ".join(nearest)
        raise ValueError(f"no weights {shown(name)}; --list has all, nearest: {near}")
    return found


def get(entry: PublishedWeights, root: Path = PROJECT, mirror: str = "") -> None:
    """Verify weights that are at their place, or fetch them there.

    Args:
        entry: Entry of the weights in the table.
        root: Folder that their place is relative to.
        mirror: Another URL of the file, or of a folder, ending in /, that holds it by its name.

    Raises:
        ValueError: They cannot be had this way, or are not what they should be.
    """
    place = entry.place(root)
    _log.info("%s: %s", entry.name, entry.of)
    if place.exists():
        _log.info("%s is there; it is verified, and stays as it is", entry.file)
        try:
            verify(entry, place)
        except ValueError as error:
            raise ValueError(f"{error}\n{place}: move it away to get another") from error
    else:
        _fetch(entry, place, mirror)
    _log.info("ready: %s", use_of(entry))


def use_of(entry: PublishedWeights) -> str:
    """Return the command that uses weights."""
    config, *keys = entry.config.split() or [""]
    words = ["--cfg", config] if config else []
    if entry.is_start:
        return " ".join(["./train.sh", *words, "--tune_from", entry.file, *keys])
    return " ".join(["./test.sh", *words, "--evaluate", "--resume", entry.file, *keys])


def listed(entries: Sequence[PublishedWeights], root: Path = PROJECT) -> str:
    """Return the table of --list: each name, what it is, whether it is here, and how it is had."""
    width = max(len(entry.name) for entry in entries)
    rows = [f"{'name':{width}}  top-1  here  had by"]
    for entry in entries:
        here = "yes" if entry.place(root).exists() else ""
        rows.append(f"{entry.name:{width}}  {entry.top1:>5}  {here:4}  {_kind(entry)}")
        rows.append(f"    {entry.of}")
    stated = entries[0].stated if entries else ""
    rows.append(f"Addresses and top-1 as their publishers or users stated them on {stated}.")
    return "\n".join(rows) + "\n"


def way_by_hand(entry: PublishedWeights) -> str:
    """Say how weights come to their place without this program."""
    then = f"python tools/fetch_weights.py {entry.name} then verifies it"
    if entry.command:
        return f"a library has them; from the project's folder: {entry.command} ; {then}"
    if not entry.address:
        return f"nobody says where they lie: {entry.note}; a file put at {entry.file} is verified"
    also = f", or {entry.also}" if entry.also else ""
    note = f" ({entry.note})" if entry.note else ""
    save = f"save the file as {entry.file}"
    return f"open {entry.address}{also} in a browser{note} and {save}; {then}"


def _kind(entry: PublishedWeights) -> str:
    if entry.command:
        return "a library"
    if not entry.address:
        return "nobody says"
    return "a browser" if _is_for_browsers(entry) else "this program"


def _is_for_browsers(entry: PublishedWeights) -> bool:
    return urlsplit(entry.address).hostname in _FOR_BROWSERS


def _fetch(entry: PublishedWeights, place: Path, mirror: str) -> None:
    """Fetch a file, and give it its name once it is verified."""
    if not mirror and (not entry.address or _is_for_browsers(entry)):
        why = "Google Drive gives its files to browsers alone: " if entry.address else ""
        raise ValueError(f"{entry.name} cannot be fetched by a program: {why}{way_by_hand(entry)}")
    address = f"{mirror}{quote(place.name)}" if mirror.endswith("/") else mirror or entry.address
    _log.info("from %s%s", address, "" if mirror else f" (as stated on {entry.stated})")
    with errors_told(place):
        place.parent.mkdir(parents=True, exist_ok=True)
    part = Part(place, address)
    with part.held():
        _fetch_part(entry, place, part)


def _fetch_part(entry: PublishedWeights, place: Path, part: Part) -> None:
    try:
        path = download(part)
    except ValueError as error:
        also = f" ({entry.also} is said to be a copy)" if entry.also else ""
        raise ValueError(
            f"{error}; where there is no network or the address is dead: --mirror URL, or put the "
            f"file at {entry.file} by other means{also}; it is verified and used"
        ) from error
    try:
        verify(entry, path)
    except ValueError as error:
        refused = place.with_name(f"{place.name}.refused")
        with errors_told(refused):
            path.replace(refused)
        text = f"{part.address} gave something else: {error}; kept as {refused}"
        raise ValueError(text) from error
    with errors_told(place):
        path.replace(place)
        sync_folder(place.parent)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of --list, or a file's name")
    parser.add_argument("--list", action="store_true", help="show what there is")
    parser.add_argument(
        "--mirror", default="", metavar="URL", help="the file elsewhere; or its folder, ending in /"
    )
    args = parser.parse_args(argv)
    if not args.list and not args.names:
        parser.error("name weights; --list shows what there is")
    if args.mirror and not args.mirror.startswith(("http://", "https://")):
        parser.error("--mirror takes http or https; a file on a disk is put at its place")
    if args.mirror and len(args.names) > 1 and not args.mirror.endswith("/"):
        parser.error("--mirror of several files is their folder, ending in /")
    return args


if __name__ == "__main__":
    sys.exit(main())
