import time
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from config import load_cfg_text
from datasets.annotations import VideoRecord
from models.exported import ExportedModel, ExportMetadata
from tools.exporting.export_check import (
    EAGER,
    LIMIT,
    RealClips,
    Row,
    _spread,
    answer,
    classify,
    effects_of_order,
    latencies,
    prove,
    random_samples,
    read_clips,
    real_samples,
    shuffle_frames,
)

SHAPE = [4, 3, 2, 2]


def first_frames(clips: Tensor) -> Tensor:
    return clips[..., 0, :, 0, 0].flatten(1).float()


def model(run, shape: list[int] = SHAPE) -> ExportedModel:
    metadata = ExportMetadata([], {}, "", "", "uint8", shape, "none", "logits", "")
    return ExportedModel(run, metadata, "m.onnx")


def test_frames_are_shuffled_alike_with_and_without_views() -> None:
    clips = torch.arange(4)[:, None, None, None].expand(2, 3, 4, 3, 2, 2)  # (B, V, T, 3, H, W)
    shuffled = shuffle_frames(clips)
    order = shuffled[0, 0, :, 0, 0, 0].tolist()
    assert all(order[t] != t for t in range(4))
    assert sorted(order) == [0, 1, 2, 3]
    assert torch.equal(shuffled[1, 2], shuffle_frames(clips[1, 2]))


@pytest.mark.parametrize("seed", range(8))
def test_two_frames_change_places(seed: int) -> None:
    clips = torch.arange(2)[None, :, None, None, None]
    assert shuffle_frames(clips, seed).flatten().tolist() == [1, 0]


def test_random_samples_have_each_batch_size() -> None:
    samples = random_samples(SHAPE)
    assert [len(batch) for batch in samples.values()] == [1, 2, 5, 5]
    assert all(batch.dtype == torch.uint8 for batch in samples.values())
    assert len(random_samples([1, *SHAPE[1:]])) == 3  # one frame has no order


def test_random_batches_go_through_whole() -> None:
    sizes = []

    def run(clips: Tensor) -> Tensor:
        sizes.append(len(clips))
        return first_frames(clips)

    for batch in random_samples(SHAPE).values():
        answer({EAGER: run}, batch)
    assert sizes == [1, 2, 5, 5]
    assert classify(first_frames, torch.zeros(9, *SHAPE)).shape == (9, 3)


@pytest.mark.parametrize("off", [2 * LIMIT, float("nan"), float("inf")])
def test_a_runtime_that_is_off_fails(off: float, capsys: pytest.CaptureFixture[str]) -> None:
    def run(clips: Tensor) -> Tensor:
        logits = first_frames(clips)
        logits[-1, 0] += off if len(clips) == 2 else 0
        return logits

    eager = model(first_frames)
    with pytest.raises(
        ValueError, match=r"more than 0\.0001 on random clips, batch 2: nothing was"
    ):
        prove(eager, {"fine": model(first_frames), "off": model(run)}, None)
    assert "random clips, batch 2" in capsys.readouterr().out


def test_a_runtime_within_the_limit_passes(capsys: pytest.CaptureFixture[str]) -> None:
    near = model(lambda clips: first_frames(clips) + LIMIT / 4)
    clips = random_samples(SHAPE)["random clips, batch 5"]
    rows = prove(model(first_frames), {"near": near}, RealClips(clips, None, "5 named videos"))
    assert [row.name for row in rows][-2:] == ["5 named videos", "5 named videos, frames shuffled"]
    assert all(row.is_within(LIMIT) and row.differences["near"] > 0 for row in rows)
    shown = capsys.readouterr().out
    assert "no real clips" not in shown
    assert "hardly looks at the order" not in shown


def test_a_model_of_single_frames_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    still = model(lambda clips: clips.float().mean((1, 3, 4)).round())
    prove(still, {}, None)
    shown = capsys.readouterr().out
    assert "the model itself hardly looks at the order" in shown
    assert "no real clips: the config's test list is not here" in shown


def test_the_effect_of_order_is_the_largest_change() -> None:
    def logits(value: float) -> dict[str, Tensor]:
        return {EAGER: torch.zeros(1, 2), "other": torch.tensor([[0.0, value]])}

    answers = {"a": logits(0), "a, frames shuffled": logits(2), "b": logits(5)}
    answers |= {"c": logits(1), "c, frames shuffled": logits(0)}
    assert effects_of_order(answers) == {EAGER: 0.0, "other": 2.0}
    assert effects_of_order({"b": logits(5)}) == {}


def test_a_row_is_within_only_if_every_runtime_is() -> None:
    row = Row("clips", {"a": 0.0, "b": 1e-6}, reach=1.0)
    assert row.is_within(1e-6)
    assert not row.is_within(1e-7)
    assert not replace(row, differences={"a": float("nan")}).is_within(1.0)


def test_videos_are_spread_evenly_over_the_list() -> None:
    records = [VideoRecord(f"v{k}", 8, 0, k + 1) for k in range(10)]
    assert [record.path for record in _spread(records, 4)] == ["v0", "v3", "v6", "v9"]
    assert _spread(records, 0) == _spread(records, 10) == _spread(records, 99) == records


def test_a_list_that_is_not_here_gives_no_clips() -> None:
    cfg = load_cfg_text("DATA: {VAL_LIST: none.txt}", "test")
    assert read_clips(cfg, [], num_videos=0, has_views=False) is None


def test_real_samples_keep_their_name() -> None:
    clips = RealClips(torch.zeros(2, *SHAPE, dtype=torch.uint8), None, "two")
    assert [*real_samples(clips)] == ["two", "two, frames shuffled"]


def test_the_faster_runtime_takes_less_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.exporting.export_check.SECONDS_TIMED", 0.0)
    calls: list[str] = []
    pauses = {"slow": 0.02, "fast": 0.0}
    runs = {name: partial(paused, calls, name, pause) for name, pause in pauses.items()}
    taken = latencies(runs, torch.zeros(1, *SHAPE))
    assert taken["slow"] >= 0.02
    assert 0 < taken["fast"] < taken["slow"]
    assert calls == ["slow", "fast"] * 4


def paused(calls: list[str], name: str, pause: float, clips: Tensor) -> Tensor:
    calls.append(name)
    time.sleep(pause)
    return first_frames(clips)
