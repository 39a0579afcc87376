"""2,000 damaged inputs, a share of them by default: each is read as it is, or an error says why.

tests/run.sh tests/test_damage.py -m slow -s      # the 2,000, and what came of them
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis")
pytest.importorskip("av")
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from config import load_cfg_text
from models import build_model
from tests import damage
from tests.damage import NEVER, Damage, Reader, damages

TOTALS = [60, pytest.param(2000, marks=pytest.mark.slow)]
SHARE_OF_VIDEOS, SHARE_OF_LISTS, SHARE_OF_WEIGHTS = 0.6, 0.15, 0.25
CLIPS = (
    *("x264.mp4", "x264.mkv", "x264.ts", "x264_fragments.mp4", "x264_variable.mp4", "x265.mp4"),
    *("vp8.webm", "vp9.webm", "av1.mp4", "mpeg4.avi", "mjpeg.avi", "mpeg1.mpg", "mpeg2.mpg"),
    *("ffv1.mkv", "wmv2.wmv", "flv1.flv", "moving.gif"),
)
# Judged before what is drawn, of which a few files may hold no harmless or no harmful one.
WHOLE, GONE = Damage("cut", (1.0,), 0), Damage("cut", (0.0,), 0)
VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mpg", ".gif", ".txt", ".jpg", "")
WEIGHT_SUFFIXES = (".pth", ".npz", ".pdparams", ".safetensors", ".txt")
SMALL = (
    "MODEL: {NAME: tokshift, NUM_CLASSES: 4, BACKBONE: small, VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: "
)
SMALL += (
    "16, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}}\nDATA: {IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16}"
)


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small model's weights in each kind of file."""
    pytest.importorskip("safetensors.torch")
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = build_model(load_cfg_text(SMALL, "small")).state_dict()
    damage.write_weights(folder, state, epoch=1, class_names=list("abcd"))
    return [folder / f"a{suffix}" for suffix in (".pth", ".safetensors", ".pdparams", ".npz")]


def check_each(
    originals: list[Path],
    suffixes: tuple[str, ...],
    judge: Callable[[str, str, Any], str],
    number: int,
    folder: Path,
) -> Counter[str]:
    """Damage files as Hypothesis draws it, have each judged, and count what came of them."""
    outcomes: Counter[str] = Counter()
    faults = []

    @example(originals[0], WHOLE, [0.0])
    @example(originals[0], GONE, [0.0])
    @settings(
        max_examples=number,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(originals),
        damages(suffixes),
        st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4),
    )
    def check(original: Path, what: Damage, shares: list[float]) -> None:
        suffix = what.detail if what.kind == "rename" else original.suffix
        damaged = folder / f"damaged{suffix}"
        damaged.write_bytes(what.apply(original.read_bytes()))
        outcome = judge(str(damaged), str(original), shares)
        outcomes[outcome.partition(":")[0]] += 1
        if outcome.startswith(NEVER):
            kept = damaged.rename(folder / f"fault_{len(faults)}{suffix}")
            faults.append(f"{kept}: {original.name}, {what}, {shares}: {outcome}")
        else:
            damaged.unlink()

    check()
    sys.stdout.write(f"\n{sum(outcomes.values())} damaged {originals[0].suffix} ...: ")
    sys.stdout.write(", ".join(f"{count} {name}" for name, count in outcomes.most_common()))
    assert not faults, "\n".join(faults)
    return outcomes


@pytest.mark.parametrize("total", TOTALS)
def test_damaged_videos_are_read_as_ffmpeg_decodes_them_or_reported(
    make_clip: Callable[..., Path], reader: Reader, tmp_path: Path, total: int
) -> None:
    originals = [make_clip(name) for name in CLIPS]
    judge = partial(reader.outcome, damage.judge_video)
    number = round(SHARE_OF_VIDEOS * total)
    outcomes = check_each(originals, VIDEO_SUFFIXES, judge, number, tmp_path)
    assert {damage.REPORTED, damage.AS_BEFORE} <= {*outcomes}


@pytest.mark.parametrize("total", TOTALS)
def test_damaged_lists_are_read_as_they_are_or_reported(
    reader: Reader, tmp_path: Path, total: int
) -> None:
    originals = [damage.write_list(tmp_path / "list.txt")]
    judge = partial(reader.outcome, damage.judge_list)
    outcomes = check_each(originals, (".csv",), judge, round(SHARE_OF_LISTS * total), tmp_path)
    assert {damage.REPORTED, damage.AS_BEFORE} <= {*outcomes}


def test_list_without_a_line_is_read_as_it_is_now(tmp_path: Path) -> None:
    original = damage.write_list(tmp_path / "list.txt")
    damaged = tmp_path / "damaged.txt"
    damaged.write_text("\n".join(original.read_text(encoding="utf-8").splitlines()[2:]))
    assert damage.judge_list(str(damaged), str(original), [0.0]) == damage.AS_STORED


@pytest.mark.parametrize("total", TOTALS)
def test_damaged_weights_are_read_as_they_are_or_reported(
    weights: list[Path], reader: Reader, tmp_path: Path, total: int
) -> None:
    judge = partial(reader.outcome, damage.judge_weights)
    number = round(SHARE_OF_WEIGHTS * total)
    outcomes = check_each(weights, WEIGHT_SUFFIXES, judge, number, tmp_path)
    assert {damage.REPORTED, damage.AS_BEFORE} <= {*outcomes}


@pytest.mark.parametrize(
    ("judge", "outcome"),
    [(partial(os._exit, 3), damage.CRASH), (partial(int, "x"), damage.FOREIGN)],
)
def test_process_that_dies_or_raises_is_told(
    reader: Reader, judge: Callable[..., str], outcome: str
) -> None:
    assert reader.outcome(judge).startswith(outcome)
    assert reader.outcome(str, "alive again") == "alive again"


def test_process_that_hangs_is_told(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(damage, "SECONDS_ALLOWED", 0.5)
    assert reader.outcome(time.sleep, 600) == damage.HANG
