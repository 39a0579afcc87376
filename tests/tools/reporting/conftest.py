"""Folders of runs as a training and a test leave them, without either."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from config import load_cfg_text
from engine.results import write_results
from engine.scores import Scores
from engine.summary import write_config

NAMES = ["up", "<b>down & \"out\" 'x'</b>", "caf\udce9", "</script><img src=x onerror=boom()>"]


def log_lines(num_epochs: int = 3) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [
        {
            "kind": "start",
            "revision": "abcdef0123456789",
            "is_changed": False,
            "python": "3.11",
            "packages": {"torch": "2.14.1"},
            "lists": {"train": {"file": "train.txt", "sha256": "77" * 32, "num_videos": 9}},
        }
    ]
    for epoch in range(1, num_epochs + 1):
        figures = {"loss": 2 / epoch, "top1": 20.0 * epoch, "clips_per_s": 8.0, "data_wait": 0.1}
        place = {"kind": "train", "epoch": epoch, "step": 2 * epoch}
        lines += [place | figures | {"iteration": i, "lr": 0.1 / epoch} for i in (1, 2)]
        lines.append(
            {
                "kind": "val",
                "epoch": epoch,
                "loss_single_views": 1 / epoch,
                "top1": 25.0,
                "map": 9.5,
            }
        )
    return lines


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a run folder: scores by seed, config by KEY VALUE words, names of classes."""
    monkeypatch.setattr("engine.confusion.can_draw", lambda: False)  # a picture takes half a second

    def make(
        name: str,
        *words: str,
        seed: int = 0,
        names: list[str] = NAMES,
        num_videos: int = 12,
        videos: list[str] | None = None,
        **results: Any,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        K = len(names)
        cfg = load_cfg_text("SEED: 0", "test", ["MODEL.NUM_CLASSES", str(K), *words])
        rng = np.random.default_rng(seed)
        labels = np.arange(num_videos) % K
        logits = rng.standard_normal((num_videos, 3, K), dtype=np.float32)
        logits[np.arange(num_videos), :, labels] += 1
        paths = videos or [f"v/<i>{i}" for i in range(num_videos)]
        scores = Scores(np.array(paths), labels, logits, num_clips=1, num_crops=3)
        listed = {"file": "val.txt", "sha256": "ab" * 32, "num_videos": num_videos}
        source = {
            "protocol": "1x3 views, logits averaged",
            "checkpoint": f"{name}/best.pth",
            "run": log_lines(0)[0] | {"lists": {"test": listed}},
        }
        write_results(folder, scores, [], names, source | results)
        for file in ("config.yml", "test_config.yml"):
            write_config(folder / file, cfg)
        text = "".join(f"{json.dumps(line)}\n" for line in log_lines())
        (folder / "log.jsonl").write_text(text)
        return folder

    return make
