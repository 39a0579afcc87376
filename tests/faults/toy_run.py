"""A toy set, tiny runs on it, and the comparison of a run that faults struck with a whole one."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.faults.groups import Ended

NUM_VIDEOS = {"train": 49, "val": 7}  # one video of an epoch is left over, whatever the processes
NUM_FRAMES = 3
EPOCHS = 3
CONFIG = """
OUTPUT_DIR: {folder}/run
DATA: {{NAME: tiny, ROOT: {folder}, TRAIN_LIST: {folder}/train.txt, VAL_LIST: {folder}/val.txt,
  NUM_FRAMES: 2, FRAME_STRIDE: 1, IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16, WORKERS: 0}}
AUG: {{SHORT_SIDE_RANGE: [16, 22]}}
MODEL: {{NUM_CLASSES: 3, BACKBONE: toy, VIT: {{PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 16,
  NUM_HEADS: 2, NUM_LAYERS: 1, DROPOUT: 0.0}}}}
OPTIM: {{LR: 0.05, MILESTONES: [1], CLIP_GRAD_NORM: 5.0}}
TRAIN: {{EPOCHS: 3, CLIPS_PER_GPU: 2, ACCUMULATION: 2, PRINT_FREQ: 1}}
VAL: {{NUM_CROPS: 1, VIDEOS_PER_GPU: 2}}
"""
# What draws by rank, and so keeps the number of processes; `elastic` may change it.
RECIPES = {
    "plain": "",
    "averages": "TRAIN.EMA_DECAY 0.9 TRAIN.SWA.START_EPOCH 1 OPTIM.NAME adamw OPTIM.LR 0.01 "
    "OPTIM.SCHEDULE cosine TRAIN.ACCUMULATION 5 TRAIN.LAST_GROUP reweight",
    "drawn": "MODEL.VIT.DROPOUT 0.2 MODEL.DROP_PATH 0.2 AUG.MIXUP_ALPHA 0.2 AUG.CUTMIX_ALPHA 1.0 "
    "AUG.REPEATS 2 TRAIN.AMP bf16 TRAIN.KEEP_EVERY 2",
    "elastic": "TRAIN.GLOBAL_BATCH 12",
}
COMPARED = ("state_dict", "optimizer", "ema", "ema_steps", "swa", "swa_epochs", "scaler", "epoch")


def make_toy_set(folder: Path) -> Path:
    """Write frames, lists and the config; return the config's file."""
    rng = np.random.default_rng(0)
    for split, number in NUM_VIDEOS.items():
        lines = []
        for video in range(number):
            path = folder / split / f"{video:02d}"
            path.mkdir(parents=True)
            for frame in range(1, NUM_FRAMES + 1):
                pixels = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(path / f"img_{frame:05d}.jpg")
            lines.append(f"{split}/{video:02d} {NUM_FRAMES} {video % 3}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    config = folder / "tiny.yml"
    config.write_text(CONFIG.format(folder=folder))
    return config


def newest_checkpoint(folder: Path) -> dict[str, Any]:
    """Return the content of last.pth, empty where there is none."""
    path = folder / "last.pth"
    return torch.load(path, weights_only=True) if path.exists() else {}


def differences(ours: Any, theirs: Any, place: str = "") -> list[str]:
    """Return where two contents differ in any bit."""
    if isinstance(ours, torch.Tensor) and isinstance(theirs, torch.Tensor):
        return [] if torch.equal(ours, theirs) else [place]
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        keys = {**ours, **theirs}
        return [d for k in keys for d in differences(ours.get(k), theirs.get(k), f"{place}.{k}")]
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        if len(ours) != len(theirs):
            return [place]
        pairs = zip(ours, theirs, strict=True)
        return [d for i, (a, b) in enumerate(pairs) for d in differences(a, b, f"{place}[{i}]")]
    return [] if ours == theirs else [place]


def weights_differ_by(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """Return the largest difference of two states' weights."""
    return max(
        (ours[name].double() - theirs[name].double()).abs().max().item()
        for name in theirs
        if theirs[name].is_floating_point()
    )


def faults_of_records(folder: Path) -> list[str]:
    """Return what log.jsonl has twice or lacks; its steps go on where a process count changes."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    validated = Counter(e["epoch"] for e in entries if e["kind"] == "val")
    found = [
        f"epoch {e} validated {validated[e]} times"
        for e in range(1, EPOCHS + 1)
        if validated[e] != 1
    ]
    steps = Counter(e["step"] for e in entries if e["kind"] == "train")
    found += [f"step {step} stands {n} times" for step, n in steps.items() if n != 1]
    found += [f"step {s} is missing" for s in range(1, max(steps, default=1) + 1) if s not in steps]
    return found


class Clips:
    """Which clips a chain of runs has learned from, in the order of the epochs' shuffles.

    A run goes on where its newest checkpoint ends: at the first place in the order that it learns
    from. What the run before learned beyond is not in the weights, and is learned again.

    Args:
        seed: Of the runs.
        num_repeats: Clips of a video side by side.
    """

    def __init__(self, seed: int = 0, num_repeats: int = 1) -> None:
        self.num_repeats = num_repeats
        self.places: list[dict[str, int]] = []
        for epoch in range(EPOCHS):
            generator = torch.Generator().manual_seed(seed + epoch)
            order = torch.randperm(NUM_VIDEOS["train"], generator=generator).tolist()
            self.places.append({f"train/{video:02d}": p for p, video in enumerate(order)})
        self.learned: Counter[tuple[int, int]] = Counter()  # by epoch and place, in the weights
        self.lost_iterations: list[int] = []
        self.num_processes = 1  # of the run before

    def add(self, ended: Ended, num_processes: int) -> None:
        """Take in what a run learned from; count what the one before it had to repeat."""
        places = [
            (batch.epoch, self.places[batch.epoch][video])
            for batches in ended.batches
            for batch in batches
            for video in batch.videos
        ]
        if not places:
            return
        first = min(places)
        if self.learned:
            repeated = [place for place in self.learned if place >= first]
            whole = 2 * self.num_processes  # clips of an iteration that all had done
            self.lost_iterations.append(len(repeated) // whole)
        self.num_processes = num_processes
        for place in [place for place in self.learned if place >= first]:
            del self.learned[place]
        self.learned.update(places)

    def faults(self, num_dealt: Sequence[int]) -> list[str]:
        """Return the clips that are not in the weights as often as they should be.

        Args:
            num_dealt: Videos that an epoch may have, beyond which the tail is left over.
        """
        found = []
        for epoch in range(EPOCHS):
            held = {place: n for (e, place), n in self.learned.items() if e == epoch}
            wrong = {p: n for p, n in held.items() if n != self.num_repeats}
            if wrong:
                found.append(f"epoch {epoch}: clips at {wrong} of the order, not once")
            if sorted(held) != list(range(len(held))) or len(held) not in num_dealt:
                lacks = sorted({*range(max(num_dealt))} - {*held})
                found.append(f"epoch {epoch}: {len(held)} of {num_dealt}, lacks places {lacks}")
        return found
