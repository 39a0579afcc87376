"""Damaged texts: each is read as what it says, or refused by one of our own errors.

    python tests/faults/fuzz_texts.py --count 50000          # random damage, by its seed
    python tests/faults/fuzz_texts.py --guided yml -- -max_total_time=60    # by coverage: atheris

Fuzzed are yml files, overrides, command lines, lists, class names, the data sets' annotation files
and scores.npz. A call that raises anything but ValueError itself (or argparse's exit), takes longer
than SECONDS, asks for more memory than MEMORY, answers without a clear line, or accepts what the
checks below find false is a fault; it is printed and its input kept.
"""

import argparse
import contextlib
import io
import logging
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

IS_GUIDED = "--guided" in sys.argv  # then atheris watches which lines of these are reached
if IS_GUIDED:
    import atheris

    watched = atheris.instrument_imports(include=["config", "yaml", "tools", "datasets", "engine"])
else:
    watched = contextlib.nullcontext()

with watched:
    import numpy as np

    from config import get_defaults, load_cfg, load_cfg_text
    from config.class_names import read_class_names
    from config.command_line import parse_args
    from config.loading import all_leaves
    from datasets.annotations import read_list
    from engine.scores import Scores
    from tools.listing.official_annotations import (
        FORMATS,
        check_names,
        label_entries,
        read_class_file,
    )

SECONDS = 10.0  # the machine may be shared; the longest legal text takes under two
MEMORY = 1 << 30  # bytes beyond what is in use at the start
MAX_LINE, MAX_LINES = 6000, 150  # of a message: a path has up to 4096 letters; a fault each key
NUM_CLASSES = 4

TOKENS = [
    *(b"nan", b"inf", b"-1", b"1e400", b"0x10", b"010", b"1_0", b"2001-02-30", b"12:30", b"True"),
    *(b"1" * 30, b"9" * 5000, b"-" * 300, b"9223372036854775808", b"-9223372036854775809", b"1.5"),
    *(b"&a", b"*a", b"<<: *a", b"!!python/object:os.x", b"!!binary aa", b"!!set", b"---\n", b"..."),
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"\\ud800"', b"\r\n", b"\r", b"\x85"),
    *(b"\xe2\x80\xa8", b"[" * 60, b"{a: " * 60, b"- " * 60, b"(" * 300, b"\t", b": ", b"#", b"|"),
    *(b"a" * 20000, b"{:999999999d}", b"{0.__class__}", b"..", b"/", b"/dev/zero", b"", b";", b","),
    *("٣".encode(), "\u00a0".encode(), "é".encode(), b"null", b"~", b"[]", b"{}", b"'", b'"', b"%"),
    *(b'{"a": 1}', b"[[1]]", b"[nan]", b"1e308", b"0", b"--", b"--resume", b"-j", b"--seed=1.0"),
]


class Target(NamedTuple):
    """What is fuzzed.

    Attributes:
        seeds: Sound inputs that damage starts from.
        read: Reads one from a file, and raises AssertionError where what it accepts is false.
    """

    seeds: list[bytes]
    read: Callable[[Path], None]


class Hang(BaseException):
    """A call took too long."""


def targets() -> dict[str, Target]:
    """Return every target by its name."""
    recipes = sorted(REPOSITORY.glob("config/**/*.yml"))
    found = {
        "yml": Target([path.read_bytes() for path in recipes] + FLAT_YMLS, _read_yml),
        "overrides": Target(_override_seeds(), _read_overrides),
        "command_line": Target(COMMAND_LINES, _read_command_line),
        "list": Target(LISTS, _read_list),
        "class_names": Target(
            [b"a\nb b\nc\nd\n", b"\xef\xbb\xbfa\r\nb\r\n\r\nc\r\nd"], _read_names
        ),
        "class_file": Target([b"a\nb\n", b"1 a\n2 b\n", b'{"a": "0", "b": 1}'], _read_class_file),
        "scores": Target(_score_seeds(), _read_scores),
    }
    for kind, seed in ANNOTATIONS.items():
        found[kind] = Target([seed], _annotation_reader(kind))
    return found


def mutated(data: bytes, seeds: Sequence[bytes], rng: random.Random) -> bytes:
    """Return an input with one to six places damaged."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        start = rng.randrange(len(damaged) + 1)
        end = min(len(damaged), start + rng.choice((0, 1, 4, 16, 200)))
        kind = rng.randrange(7)
        if kind == 0:
            damaged[start:end] = rng.randbytes(rng.choice((1, 2, 8)))
        elif kind == 1:
            del damaged[start:end]
        elif kind == 2:
            damaged[start:start] = damaged[start:end] * rng.choice((1, 2, 50))
        elif kind == 3:
            other = rng.choice(seeds)
            damaged[start:end] = other[rng.randrange(len(other) + 1) :][: rng.choice((8, 200))]
        elif kind == 4 and end > start:
            damaged[start] ^= 1 << rng.randrange(8)
        elif kind == 5:
            _replace_word(damaged, rng)
        else:
            damaged[start:end] = rng.choice(TOKENS)
    return bytes(damaged)


def outcome(target: Target, path: Path) -> str:
    """Read one input and say what came of it: read, refused, or the fault."""
    try:
        with time_limit(SECONDS):
            target.read(path)
    except ValueError as error:
        return "refused" if type(error) is ValueError and _is_clear(str(error)) else _told(error)
    except Hang:
        return f"hang: {traceback.format_exc(limit=-2)}"
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return _told(error)
    return "read"


def run(names: Sequence[str], count: int, seed: int, kept: Path) -> tuple[Counter[str], list[str]]:
    """Read so many damaged inputs; return what came of them, and the faults."""
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    all_targets = targets()
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory() as folder, limited_memory():
            for number in range(count):
                name = names[number % len(names)]
                rng = random.Random(f"{seed} {number}")
                seeds = all_targets[name].seeds
                path = Path(folder, "input.json" if rng.randrange(2) else "input.npz")
                path.write_bytes(mutated(rng.choice(seeds), seeds, rng))
                result = outcome(all_targets[name], path)
                outcomes[f"{name}: {result.partition(':')[0]}"] += 1
                if result not in ("read", "refused"):
                    copy = kept / f"{name}_{number}"
                    copy.write_bytes(path.read_bytes())
                    faults.append(f"{copy}: {result}")
    finally:
        logging.disable(logging.NOTSET)
    return outcomes, faults


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `Hang` in what takes longer."""

    def stop(number: int, frame: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Make what asks for MEMORY beyond today's fail with a MemoryError."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}\n{traceback.format_exc(limit=-3)[-1500:]}"


def _is_clear(message: str) -> bool:
    lines = message.split("\n")
    return bool(lines[0]) and len(lines) <= MAX_LINES and max(map(len, lines)) <= MAX_LINE


def _replace_word(damaged: bytearray, rng: random.Random) -> None:
    """Replace a word between blanks, where a value is likely to stand."""
    places = [place for place, byte in enumerate(damaged) if byte in b" \n:,;\"'"]
    if places:
        start = rng.choice(places) + 1
        end = next((place for place in places if place >= start), len(damaged))
        damaged[start:end] = rng.choice(TOKENS)


def _read_yml(path: Path) -> None:
    check_config(load_cfg(path))


def _read_overrides(path: Path) -> None:
    words = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    check_config(load_cfg_text("", "exp.yml", words))


def check_config(cfg: Any) -> None:
    """Assert that a config that was taken is one: types, finite numbers, and its own dump."""
    defaults = dict(all_leaves(get_defaults()))
    leaves = dict(all_leaves(cfg))
    assert leaves.keys() == defaults.keys()
    for key, value in leaves.items():
        if value is defaults[key] is None:
            continue
        wanted = float if defaults[key] is None else type(defaults[key])
        assert type(value) is wanted, key
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float | int):
                assert math.isfinite(number), key
                assert abs(number) < 2**63, key
            else:
                os.fsencode(number)
                assert "\0" not in number, key
    for number in (1, 99_999):
        assert len(cfg.DATA.FRAME_TEMPLATE.format(number)) < 5000
    again = load_cfg_text(cfg.dump(), "its dump")
    assert again == cfg


def _read_command_line(path: Path) -> None:
    words = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    words = [word for word in words if not word.startswith("--h") and word != "-h"]
    console = io.StringIO()
    try:
        with contextlib.redirect_stderr(console):
            args = parse_args(words)
    except SystemExit:
        error = console.getvalue().rstrip("\n").rpartition("error: ")[2]
        raise ValueError(error.replace("\n", " ")[:MAX_LINE]) from None
    assert args.start_epoch >= 0
    for number in (args.start_epoch, args.workers, args.print_freq, args.gpu):
        assert number is None or 0 <= number < 2**31


def _read_list(path: Path) -> None:
    records = read_list(path, NUM_CLASSES)
    lines = path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    lines = lines.replace("\r\n", "\n").replace("\r", "\n")
    texts = [line.strip() for line in lines.split("\n")]
    kept = [text for text in texts if text and not text.startswith("#")]
    assert len(records) == len(kept)
    for record, text in zip(records, kept, strict=True):
        assert 0 <= record.label < NUM_CLASSES
        assert 0 <= record.num_frames < 2**31
        assert text.startswith(record.path)
        rest = text.removeprefix(record.path).split()
        assert [int(field) for field in rest][-1] == record.label
        assert len(rest) == (2 if record.num_frames else 1)


def _read_names(path: Path) -> None:
    names = read_class_names(path, NUM_CLASSES)
    assert len(names) == NUM_CLASSES
    assert all(names)


def _read_class_file(path: Path) -> None:
    assert all(isinstance(name, str) for name in read_class_file(path))


def _annotation_reader(kind: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        if kind == "hmdb51":
            file = path.with_name("brush_test_split1.txt")
            file.write_bytes(path.read_bytes())
            path = path.parent
        entries = FORMATS[kind](path, "train", 1)
        check_names(entries)
        labels = label_entries(entries, sorted({entry.class_name for entry in entries}))
        assert len(labels) == len(entries)
        for entry in entries:
            for stem in entry.stems:
                assert "\n" not in stem
                assert stem.encode()

    return read


def _read_scores(path: Path) -> None:
    scores = Scores.load(path)
    for average_logits in (True, False):
        figures = scores.figures(scores.averaged(average_logits))
        assert 0 <= figures["top1"] <= figures["top5"] <= 100
    with np.load(path) as file:
        assert np.array_equal(file["view_logits"], scores.view_logits)
        assert np.array_equal(file["labels"], scores.labels)


def _override_seeds() -> list[bytes]:
    leaves = [(key, str(value)) for key, value in all_leaves(get_defaults())]
    pairs = [f"{key}\n{value}".encode() for key, value in leaves]
    return [*pairs, b"LR\n0.1\nNET\nViT\nTRN_PATCH_SIZE\n224\nVAL_PATCH_SIZE\n224"]


def _score_seeds() -> list[bytes]:
    scores = Scores(
        videos=np.array(["a/b", "c d", "e"]),
        labels=np.array([0, 2, 5]),
        view_logits=np.random.default_rng(0).standard_normal((3, 6, 8)).astype(np.float32),
        num_clips=2,
        num_crops=3,
    )
    with tempfile.TemporaryDirectory() as folder:
        scores.save(Path(folder, "scores.npz"), scores.averaged())
        np.savez_compressed(Path(folder, "other.npz"), videos=scores.videos, labels=scores.labels)
        np.save(Path(folder, "array.npy"), scores.labels)
        return [path.read_bytes() for path in sorted(Path(folder).iterdir())]


FLAT_YMLS = [
    b"{DATASET: toy, FRAME_FORMAT: '{:06d}.jpg', USE_SUBSET: True, LR: 0.05, LABEL_SMOOTH: 0.01,\n"
    b"PIXEL_MEAN: [102, 127.5, 51], LR_STEPS: [1, 2], TRN_PATCH_SIZE: 224, VAL_PATCH_SIZE: 224,\n"
    b"NET: ViT, VAL_TEST_AUG: 5, CONSENSUS_TYPE: avg, PARTIAL_BN: False, EPOCH: 3, CLIP_GD: 20}",
    b"OPTIM: &o {LR: 0.1}\nTRAIN: {EPOCHS: 3, UNDERWEIGHTS_LAST_GROUP: True}\n",
    b"a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c]\n",
    b"DATA: {NAME: 010, ROOT: 12:30, NUM_FRAMES: 8}\nMODEL: &m\n  NUM_CLASSES: 4\n",
]
COMMAND_LINES = [
    "\n".join(words.split()).encode()
    for words in (
        "--cfg config/quickstart.yml --seed 3 --start-epoch 2 -j 4 -p 5 OPTIM.LR 0.1",
        "--cfg a.yml --resume OPTIM.LR 0.1 --gpu 0 --world-size 2 --rank 1 --dist-url tcp://a:1",
        "-e --resume a.pth --cfg b.yml --output c --amp --dist-backend gloo SEED 1",
        "--tune_from a.npz --cfg b.yml --multiprocessing-distributed -- OPTIM.LR 1",
    )
]
LISTS = [
    "# path num_frames label\na/b.mp4 30 0\nwith space/c d.avi 61 3\n\ne 2\nß.webm 7 1\n".encode(),
    b"\xef\xbb\xbfa 5 0\r\nb 6 1\r\nc 7 2\rd 8 3",
]
ANNOTATIONS = {
    "kinetics": b"label,youtube_id,time_start,time_end,split\na b,x1,1,11,train\n"
    b'"c, d",x2,2.5,12,train\ne,x3,3,13,validate\n',
    "ucf101": b"Brush/v_1.avi 1\nJump/v_2.avi 2\nJump/v_3.avi\n",
    "hmdb51": b"a_b.avi 1\nc d.avi 2\ne.avi 0\n",
    "ssv1": b"1;Pushing a\n2;Pulling b\n",
    "ssv2": b'[{"id": "1", "template": "Pushing [a]", "label": "x"}, {"id": 2, "template": "b"}]',
}


def guided(name: str, words: Sequence[str]) -> None:
    """Let atheris look for faults of one target; it ends the process itself."""
    target = targets()[name]
    folder = tempfile.mkdtemp()
    corpus = Path(folder, "corpus")
    corpus.mkdir()
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    logging.disable(logging.CRITICAL)

    def one(data: bytes) -> None:
        path = Path(folder, "input.json")
        path.write_bytes(data)
        result = outcome(target, path)
        if result not in ("read", "refused"):
            raise RuntimeError(result)

    atheris.Setup([sys.argv[0], *words, str(corpus)], one)
    atheris.Fuzz()


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz as the command line says; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="names of targets")
    parser.add_argument("--guided", metavar="TARGET", help="by coverage, one target, with atheris")
    parser.add_argument("words", nargs="*", help="for atheris (libFuzzer), after --")
    args = parser.parse_args(argv)
    if args.guided:
        guided(args.guided, args.words)
    kept = Path(tempfile.mkdtemp(prefix="fuzz_texts_"))
    start = time.monotonic()
    outcomes, faults = run(args.only or list(targets()), args.count, args.seed, kept)
    for name, number in sorted(outcomes.items()):
        sys.stdout.write(f"{number:8} {name}\n")
    sys.stdout.write(f"{args.count} inputs in {time.monotonic() - start:.0f} s; ")
    sys.stdout.write(f"{len(faults)} faults" + (f", kept in {kept}\n" if faults else "\n"))
    sys.stdout.writelines(f"\n{fault}\n" for fault in faults[:20])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
