import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from config import load_cfg_text
from config.checks import CHOICES
from engine.objective import build_mixer
from ops.mixing import BOXES, Mix, Mixer, batch_rng
from tests.conftest import golden_arrays

SHAPE = torch.Size((4, 3, 3, 8, 10))  # B, T, C, H, W


class ScriptedRng:
    """Gives the numbers it was made with, and notes what was asked for."""

    def __init__(self, random: float, share: float, places: list[int]) -> None:
        self.choice = random
        self.share = share
        self.places = iter(places)
        self.asked: list[str] = []

    def random(self) -> float:
        self.asked.append("random")
        return self.choice

    def permutation(self, size: int) -> np.ndarray:
        self.asked.append("permutation")
        return np.roll(np.arange(size), 1)

    def beta(self, a: float, b: float) -> float:
        assert a == b
        self.asked.append(f"beta {a}")
        return self.share

    def integers(self, high: int) -> int:
        self.asked.append(f"place below {high}")
        return next(self.places)


def toy_clips(seed: int = 0) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def drawn(random: float, share: float, places: list[int], **kwargs: Any) -> tuple[Mix, list[str]]:
    rng = ScriptedRng(random, share, places)
    mix = Mixer(**kwargs).draw(SHAPE, rng)  # type: ignore[arg-type]
    assert mix is not None
    return mix, rng.asked


# Worked by hand


def test_mixup_worked_by_hand() -> None:
    clips = torch.arange(3.0).reshape(3, 1, 1, 1, 1).expand(3, 2, 3, 2, 2)
    mix = Mix(torch.tensor([2, 0, 1]), share=0.75)
    assert mix.apply(clips)[:, 1, 2, 0, 1].tolist() == [0.5, 0.75, 1.75]
    assert mix.other_labels(torch.tensor([5, 6, 7])).tolist() == [7, 5, 6]


def test_box_in_space_is_cut_through_all_frames_and_counts_by_its_area() -> None:
    # sides are half of 10 columns and 8 rows: 5 and 4, of which 2 + 2 and 2 + 2 are cut
    mix, asked = drawn(0.0, 0.75, [4, 7], cutmix_alpha=1.0)
    assert asked == ["permutation", "beta 1.0", "place below 10", "place below 8"]
    assert mix.box == (slice(0, 3), slice(5, 8), slice(2, 6))  # the last row is the border
    assert mix.share == 1 - 3 * 4 / 80
    clips = toy_clips()
    mixed = mix.apply(clips)
    for i, frame, row, column in itertools.product(range(4), range(3), range(8), range(10)):
        source = i - 1 if 5 <= row < 8 and 2 <= column < 6 else i
        assert torch.equal(mixed[i, frame, :, row, column], clips[source, frame, :, row, column])


def test_box_of_paddle_is_frames_by_rows_and_counts_as_if_it_were_rows_by_columns() -> None:
    mix, asked = drawn(0.0, 0.0, [1, 4], cutmix_alpha=1.0, box="paddle")
    assert asked == ["permutation", "beta 1.0", "place below 3", "place below 8"]
    assert mix.box == (slice(0, 2), slice(0, 8), slice(0, 10))  # two of three frames, whole
    assert mix.share == 1 - 2 * 8 / 80


# Invariants


@pytest.mark.parametrize("seed", range(20))
def test_label_s_share_is_that_of_the_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mix = Mixer(cutmix_alpha=1.0).draw(SHAPE, rng)
    assert mix is not None
    own = torch.arange(4.0).reshape(4, 1, 1, 1, 1).expand(SHAPE)
    stayed = mix.apply(own) == own
    for i in range(4):
        share = 1.0 if mix.order[i] == i else mix.share
        assert stayed[i].double().mean().item() == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize("kwargs", [{"mixup_alpha": 0.5}, {"cutmix_alpha": 1.0}])
def test_mixing_leaves_the_batch_itself_alone_and_keeps_its_mean(kwargs: dict[str, float]) -> None:
    clips = toy_clips()
    before = clips.clone()
    mix = Mixer(**kwargs).draw(clips.shape, np.random.default_rng(0))
    assert mix is not None
    mixed = mix.apply(clips)
    assert torch.equal(clips, before)
    assert mixed.dtype is clips.dtype
    assert not torch.equal(mixed, clips)
    # each clip is mixed in once: sums over the batch stay, up to float32 rounding
    torch.testing.assert_close(mixed.sum(0), clips.sum(0), atol=1e-5, rtol=0)


def test_what_leaves_no_choice_draws_nothing() -> None:
    assert drawn(0.9, 0.5, [0, 0], mixup_alpha=0.2)[1] == ["permutation", "beta 0.2"]
    both = {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}
    assert drawn(0.49, 0.5, [0, 0], **both)[1][:3] == ["random", "permutation", "beta 1.0"]
    assert drawn(0.5, 0.5, [0, 0], **both)[1] == ["random", "permutation", "beta 0.2"]
    assert drawn(0.1, 0.5, [0, 0], **both, prob=0.2)[1][:3] == ["random", "random", "permutation"]
    rng = ScriptedRng(0.0, 0.5, [])
    assert Mixer().draw(SHAPE, rng) is None  # type: ignore[arg-type]
    assert not rng.asked


def test_as_many_batches_are_mixed_and_cut_as_asked() -> None:
    mixer, rng = Mixer(0.2, 1.0, prob=0.6, cutmix_share=0.25), np.random.default_rng(0)
    mixes = [mixer.draw(SHAPE, rng) for _ in range(2000)]
    mixed = [mix for mix in mixes if mix]
    cut = [mix for mix in mixed if mix.box]
    # three standard deviations of the counts are 0.033 and 0.038 of them
    assert len(mixed) / len(mixes) == pytest.approx(0.6, abs=0.033)
    assert len(cut) / len(mixed) == pytest.approx(0.25, abs=0.038)


def test_draws_of_a_batch_are_its_own_and_come_again() -> None:
    places = list(itertools.product((0, 1), repeat=4))
    first = {place: batch_rng(*place).random() for place in places}
    assert len(set(first.values())) == len(places)
    assert all(batch_rng(*place).random() == value for place, value in first.items())
    sample = np.random.default_rng((1, 1, 1)).random()  # as datasets.loaders draws for a clip
    assert batch_rng(1, 1, 1, 0).random() != sample


# Golden


def mixer_of(kind: str, alpha: str) -> Mixer:
    """PaddleVideo's mixer of a recorded batch; its third takes one of the others at a time."""
    if kind == "videomix":
        return Mixer(mixup_alpha=0.2, cutmix_alpha=1.0, box="paddle")
    return Mixer(**{f"{kind}_alpha": float(alpha)}, box="paddle")


@pytest.mark.parametrize(
    ("kind", "alpha", "seed"),
    golden_arrays(
        "paddlevideo/data/mix.npz", r"(mixup|cutmix|videomix)([\d.]*)/seed(\d+)/labels_b"
    ),
)
def test_mixed_batches_of_paddlevideo_exactly(
    kind: str, alpha: str, seed: int, golden: Callable, legacy_rng: type
) -> None:
    data = golden("paddlevideo/data/mix.npz")
    clips = torch.from_numpy(data["imgs"]).transpose(1, 2)  # (B, T, 3, H, W)
    labels = torch.from_numpy(data["labels"])[:, 0]
    mix = mixer_of(kind, alpha).draw(clips.shape, legacy_rng(seed))
    of = f"{kind}{alpha}/seed{seed}"
    theirs = {key: data[f"{of}/{key}"] for key in ("imgs", "labels_a", "labels_b", "lam")}
    mixed = mix.apply(clips).transpose(1, 2).numpy()  # (B, 3, T, H, W)
    np.testing.assert_array_equal(mixed, theirs["imgs"])
    np.testing.assert_array_equal(labels, theirs["labels_a"][:, 0])
    np.testing.assert_array_equal(mix.other_labels(labels), theirs["labels_b"][:, 0])
    assert set(theirs["lam"]) == {np.float32(mix.share)}


# Config and errors


def test_mixer_of_a_config_mixes_as_the_config_says() -> None:
    text = """AUG: {MIXUP_ALPHA: 0.25, CUTMIX_ALPHA: 0.5, MIX_PROB: 0.75, CUTMIX_SHARE: 0.125,
        CUTMIX_BOX: paddle}"""
    mixer = build_mixer(load_cfg_text(text, "test"))
    assert vars(mixer) == {
        "mixup_alpha": 0.25,
        "cutmix_alpha": 0.5,
        "prob": 0.75,
        "cutmix_share": 0.125,
        "box": "paddle",
    }
    assert build_mixer(load_cfg_text("", "test")).draw(SHAPE, np.random.default_rng(0)) is None


def test_unknown_box_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"one of \('space', 'paddle'\), got 'time'"):
        Mixer(box="time")
    assert CHOICES["AUG.CUTMIX_BOX"] == BOXES
