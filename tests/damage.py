"""Damaged files: how they are damaged, how they are read in a process that may die, and judged.

A judge reads one file and returns what came of it, in a word or two; those in NEVER are faults of
ours, and so are a process that hangs or dies.
"""

import io
import json
import multiprocessing
import pickle
import re
import struct
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st

from datasets.annotations import read_list
from datasets.decode.pyav_frames import decode_frames, open_video, to_upright_rgb
from datasets.readers import UnreadableVideoError, VideoFile, open_reader
from models.pretrained import read_weights

SECONDS_ALLOWED = 60.0  # for one file that undamaged takes a fraction of a second; CPUs are shared
REPORTED = "reported error"
AS_BEFORE = "read as before the damage"
AS_STORED = "read as the damaged file has it"  # what any other reader makes of it too
UNDEFINED = "concealed by FFmpeg, differently each time"
HANG, CRASH, WRONG, FOREIGN = "hang", "interpreter crash", "silently wrong", "other exception"
NEVER = (HANG, CRASH, WRONG, FOREIGN)
NUM_CLASSES = 4


class Damage(NamedTuple):
    """What is done to a file.

    Attributes:
        kind: ``cut``, ``flip``, ``zero``, ``delete``, ``insert`` or ``rename``.
        places: Where, shares of its length, 0 to 1.
        detail: Flip: what the bytes are XORed with; zero, delete: how many; insert: the bytes;
            rename: the suffix.
    """

    kind: str
    places: tuple[float, ...]
    detail: Any

    def apply(self, data: bytes) -> bytes:
        """Return the damaged bytes."""
        damaged = bytearray(data)
        at = [int(place * len(data)) for place in self.places]
        if self.kind == "cut":
            del damaged[at[0] :]
        elif self.kind == "flip":
            for place in at:
                damaged[place] ^= self.detail
        elif self.kind == "zero":
            end = min(at[0] + self.detail, len(data))
            damaged[at[0] : end] = bytes(end - at[0])
        elif self.kind == "delete":
            del damaged[at[0] : at[0] + self.detail]
        elif self.kind == "insert":
            damaged[at[0] : at[0]] = self.detail
        return bytes(damaged)


def damages(suffixes: Sequence[str]) -> st.SearchStrategy[Damage]:
    """Return all damages; ``rename`` leaves the bytes and takes another of the suffixes."""
    place = st.floats(0, 1, exclude_max=True)
    one = st.tuples(place)
    some = st.lists(place, min_size=1, max_size=50).map(tuple)
    none = st.just(())
    kinds = {
        "cut": (one, st.just(0)),
        "flip": (some, st.integers(1, 255)),
        "zero": (one, st.integers(1, 4000)),
        "delete": (one, st.integers(1, 500)),
        "insert": (one, st.binary(min_size=1, max_size=300)),
        "rename": (none, st.sampled_from(list(suffixes))),
    }
    return st.one_of(
        st.tuples(st.just(kind), places, detail).map(lambda drawn: Damage(*drawn))
        for kind, (places, detail) in kinds.items()
    )


class Reader:
    """A process that judges files one after another, and is replaced when it hangs or dies."""

    def __init__(self) -> None:
        self._start()

    def outcome(self, judge: Callable[..., str], *args: Any) -> str:
        """Return what a judge says of its arguments, or that it hangs or kills its process."""
        self._pipe.send((judge, args))
        try:
            if self._pipe.poll(SECONDS_ALLOWED):
                return self._pipe.recv()
            outcome = HANG
        except EOFError:
            outcome = CRASH
        self.close()
        self._start()
        return outcome

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()


def judge_video(damaged: str, original: str, shares: Sequence[float]) -> str:
    """Count and read frames of a damaged video.

    Args:
        damaged: The file.
        original: It before the damage.
        shares: Places of the frames to read, 0 to 1 of their number.
    """
    try:
        num_frames = len(VideoFile(damaged))
    except UnreadableVideoError:
        num_frames = 0
    wanted = sorted({int(share * (num_frames or 61)) for share in shares})
    try:
        frames = VideoFile(damaged).read(wanted)
    except UnreadableVideoError:
        return REPORTED
    before, now = _decode(original), _decode(damaged)
    if len(now) <= wanted[-1]:  # the decode breaks off: what is beyond is told by its time
        now = _decode_on(damaged, original) | now
    kinds = set()
    for number, frame in zip(wanted, frames, strict=True):
        due = now.get(number)
        if due is not None and np.array_equal(frame, due):
            is_same = np.array_equal(frame, before.get(number, np.empty(0)))
            kinds.add(AS_BEFORE if is_same else AS_STORED)
        else:
            kinds.add(UNDEFINED if _is_undefined(damaged, number, now.get(number)) else WRONG)
    return next(kind for kind in (WRONG, UNDEFINED, AS_STORED, AS_BEFORE) if kind in kinds)


def judge_list(damaged: str, original: str, _: Sequence[float]) -> str:
    """Read a damaged list, compare it with a plain reading, and look for each of its videos."""
    try:
        records = read_list(damaged, NUM_CLASSES)
    except ValueError:
        return REPORTED
    for record in records[:20]:
        with suppress(UnreadableVideoError):
            len(open_reader(Path(damaged).parent / record.path))
    ours = [(record.path, record.num_frames, record.label) for record in records]
    if ours != list(_plain_list(damaged)):
        return WRONG
    return AS_BEFORE if ours == list(_plain_list(original)) else AS_STORED


def judge_weights(damaged: str, original: str, _: Sequence[float]) -> str:
    """Read a damaged file of weights and compare each tensor."""
    try:
        state, _ = read_weights(damaged)
    except ValueError:
        return REPORTED
    before, _ = read_weights(original)
    if _are_equal(state, before):
        return AS_BEFORE
    suffix = Path(damaged).suffix
    has_no_sums = suffix in (".safetensors", ".pdparams")
    return AS_STORED if has_no_sums and _are_as_stored(state, Path(damaged)) else WRONG


def _serve(pipe: Any) -> None:
    import av

    av.logging.set_level(av.logging.PANIC)
    torch.set_num_threads(1)
    while True:
        judge, args = pipe.recv()
        try:
            outcome = judge(*args)
        except Exception:  # noqa: BLE001 - that is what is looked for
            outcome = f"{FOREIGN}: {traceback.format_exc(limit=-3)}"
        pipe.send(outcome)


def _decode(path: str) -> dict[int, np.ndarray]:
    """Decode a video from the start as far as it goes."""
    frames: dict[int, np.ndarray] = {}
    with suppress(Exception):  # whatever ends a decode of a damaged file
        for number, image in enumerate(decode_frames(path)):
            frames[number] = np.asarray(image)
    return frames


def _decode_on(path: str, original: str) -> dict[int, np.ndarray]:
    """Decode a video past errors; frames are numbered by their times in the original."""
    with open_video(original) as (container, stream):
        numbers = {frame.pts: number for number, frame in enumerate(container.decode(stream))}
    frames: dict[int, np.ndarray] = {}
    with suppress(Exception), open_video(path) as (container, stream):
        for packet in container.demux(stream):
            with suppress(Exception):  # as `ffmpeg` does, which goes on
                for frame in packet.decode():
                    if frame.pts in numbers:
                        frames[numbers[frame.pts]] = np.asarray(to_upright_rgb(frame))
    return frames


def _is_undefined(path: str, number: int, frame: np.ndarray | None) -> bool:
    """Say whether decodes from the start differ with what lies in memory: when frames are freed."""
    if frame is None:
        return False
    for num_kept, converts_all in ((0, False), (1, True), (4, False), (1000, True)):
        other = _decode_one(path, number, num_kept, converts_all)
        if other is not None and not np.array_equal(other, frame):
            return True
    return False


def _decode_one(path: str, number: int, num_kept: int, converts_all: bool) -> np.ndarray | None:
    kept: list[Any] = []
    with suppress(Exception), open_video(path) as (container, stream):
        for index, frame in enumerate(container.decode(stream)):
            image = to_upright_rgb(frame) if converts_all or index == number else None
            if index == number:
                return np.asarray(image)
            kept = [*kept, frame][-num_kept:] if num_kept else []
    return None


def _plain_list(path: str) -> Iterator[tuple[str, int, int]]:
    """Read a list by one regular expression."""
    text = Path(path).read_text(encoding="utf-8-sig", errors="surrogateescape")
    for line in text.split("\n"):  # not at a form feed
        text = line.strip()
        if text and not text.startswith("#"):
            match = re.fullmatch(r"(.*\S)\s+([-+]?\d+)\s+([-+]?\d+)", text, re.S)
            if match:
                yield match[1], int(match[2]), int(match[3])
            else:
                video, label = re.fullmatch(r"(.*\S)\s+([-+]?\d+)", text, re.S).groups()
                yield video, 0, int(label)


def _are_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        (a.dtype, a.shape) == (theirs[name].dtype, theirs[name].shape)
        and a.contiguous().numpy().tobytes() == theirs[name].contiguous().numpy().tobytes()
        for name, a in ours.items()
    )


def _are_as_stored(state: dict[str, torch.Tensor], path: Path) -> bool:
    """Compare with a reading of our own: are the bytes of each tensor among those of the file."""
    data = path.read_bytes()
    stored = _safetensors(data) if path.suffix == ".safetensors" else _pdparams(data)
    held = {_digest(array) for array in stored} | {_digest(array.T) for array in stored}
    return all(_digest(tensor.numpy()) in held for tensor in state.values())


def _digest(array: np.ndarray) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def _safetensors(data: bytes) -> list[np.ndarray]:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    spans = [value["data_offsets"] for key, value in header.items() if key != "__metadata__"]
    return [np.frombuffer(data[8 + length :][a:b], np.uint8) for a, b in spans]


def _pdparams(data: bytes) -> list[np.ndarray]:
    content = pickle.load(io.BytesIO(data))  # a pickle of our own making, damaged by us
    return [array for array in content.values() if isinstance(array, np.ndarray)]


def write_list(path: Path) -> Path:
    """Write a list with all that a list may hold."""
    lines = ["# path num_frames label", "a/b.mp4 30 0", "with space/c d.avi 61 3", "", "e 2"]
    lines += [f"videos/class {k % 4}/clip_{k:03d}.mp4 {20 + k} {k % 4}" for k in range(20)]
    path.write_text("\n".join([*lines, "ü/ß.webm 7 1"]) + "\n", encoding="utf-8")
    return path


def write_weights(folder: Path, state: dict[str, torch.Tensor], **beside: Any) -> None:
    """Write a small model's weights as a.safetensors, a.pdparams, a.npz, and a.pth with more."""
    from safetensors.torch import save_file

    torch.save({"state_dict": state, **beside}, folder / "a.pth")
    save_file(state, folder / "a.safetensors")
    turned = {
        name: (value.T if value.ndim == 2 else value).contiguous().numpy()
        for name, value in state.items()
    }
    (folder / "a.pdparams").write_bytes(pickle.dumps(turned, protocol=2))
    write_npz(folder / "a.npz")


def write_npz(path: Path, width: int = 16) -> Path:
    """Write an image ViT of one block as Google's files have it."""
    rng = np.random.default_rng(0)
    block = "Transformer/encoderblock_0/"
    attention = f"{block}MultiHeadDotProductAttention_1/"
    shapes: dict[str, tuple[int, ...]] = {
        "cls": (1, 1, width),
        "Transformer/posembed_input/pos_embedding": (1, 5, width),
        "embedding/kernel": (8, 8, 3, width),
        "embedding/bias": (width,),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
    }
    for norm in ("LayerNorm_0", "LayerNorm_2"):
        shapes |= {f"{block}{norm}/scale": (width,), f"{block}{norm}/bias": (width,)}
    for dense in ("Dense_0", "Dense_1"):
        shapes[f"{block}MlpBlock_3/{dense}/kernel"] = (width, width)
        shapes[f"{block}MlpBlock_3/{dense}/bias"] = (width,)
    for part in ("query", "key", "value"):
        shapes[f"{attention}{part}/kernel"] = (width, 2, width // 2)
        shapes[f"{attention}{part}/bias"] = (2, width // 2)
    shapes[f"{attention}out/kernel"] = (2, width // 2, width)
    shapes[f"{attention}out/bias"] = (width,)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(path, **arrays)
    assert zipfile.is_zipfile(path)
    return path
