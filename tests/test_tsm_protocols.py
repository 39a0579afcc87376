"""The released test of a small TSM, protocol by protocol, from its checkpoint to the figures."""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import softmax
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from config import load_cfg_text
from datasets.augment.multi_scale import tsm_crop_boxes, tsm_resize
from datasets.augment.short_side import crop, normalize
from datasets.loaders import build_view_loader, read_records
from datasets.readers import FrameFolder
from engine.distributed import World
from engine.learner import build_learner
from engine.objective import Target
from engine.run import Run
from engine.schedule import build_schedule
from engine.scores import Scores
from engine.training import Videos
from main_ddp_shift import evaluate
from models import build_model
from models.pretrained import load_weights
from tests.one_batch import accumulate

CHECKPOINT = "tsm/e2e/ckpt.pth.tar"
# The release resizes frames by Pillow, we by torchvision, a grey level apart here and there: scores
# up to 1.6e-5 as measured.
MOST_APART = 1e-4
YML = """
DATA:
  ROOT: {frames}
  VAL_LIST: {listed}
  FRAME_TEMPLATE: "{{:05d}}.jpg"
  SAMPLING: tsn
  NUM_FRAMES: 4
  MIN_FRAMES: 3
  TEST_SHORT_SIDE: 256
  PIXEL_MEAN: [0.485, 0.456, 0.406]
  PIXEL_STD: [0.229, 0.224, 0.225]
  WORKERS: 0
MODEL:
  NAME: tsm
  BACKBONE: resnet50
  NUM_CLASSES: 6
  TSM: {{LAYERS: [2, 2, 2, 2], WIDTH: 8}}
TEST: {{CROPS: tsm, NUM_CROPS: 1}}
"""
PROTOCOLS: dict[str, list[str]] = {
    "center_1clip": [],
    "crops3": ["TEST.NUM_CROPS", "3"],
    "crops5": ["TEST.NUM_CROPS", "5"],
    "crops10": ["TEST.NUM_CROPS", "5", "TEST.FLIP", "True"],
    "fullres_crops3_twice": [
        *("TEST.NUM_CROPS", "3", "TEST.IMAGE_SIZE", "256", "DATA.UNIFORM_TWICE", "True")
    ],
    "crops1_twice": ["DATA.UNIFORM_TWICE", "True"],
    "dense_crops1": ["DATA.SAMPLING", "tsm_dense", "TEST.NUM_CLIPS", "10"],
    "crops1_fullres": ["TEST.IMAGE_SIZE", "256"],
    "tsn_noshift_crops1": ["MODEL.TSM.SHIFT", "False"],
    "tsn_noshift_crops5_twice": [
        *("MODEL.TSM.SHIFT", "False", "TEST.NUM_CROPS", "5", "DATA.UNIFORM_TWICE", "True")
    ],
}


@pytest.fixture(scope="module")
def released(golden_root: Path) -> dict[str, Any]:
    if not (golden_root / CHECKPOINT).exists():
        pytest.skip(f"{CHECKPOINT} is not in the part of the golden data that is here")
    return json.loads((golden_root / "tsm/e2e/test_models.json").read_text())


def run_test(golden_root: Path, overrides: list[str], listed: str = "val_relabelled.txt") -> Scores:
    folder = golden_root / "tsm/e2e/dataset"
    frames = folder / "something/v1/20bn-something-something-v1"
    text = YML.format(frames=frames, listed=folder / listed)
    cfg = load_cfg_text(text, "test", overrides)
    model = build_model(cfg)
    load_weights(model, str(golden_root / CHECKPOINT), head_may_differ=False)
    records = read_records(cfg, "test")
    loader = build_view_loader(cfg, records, "test", rank=0, world_size=1)
    world = World(0, 1, 0, torch.device("cpu"))
    scores, _ = evaluate(Run(cfg, world), model.eval(), Videos(records, loader, "test"))
    assert scores is not None
    return scores


@pytest.mark.parametrize("protocol", [*PROTOCOLS, "center_1clip_original_val_list"])
def test_protocols_score_as_the_release(
    released: dict[str, Any], golden_root: Path, protocol: str
) -> None:
    expected = released[protocol]
    if protocol in PROTOCOLS:
        scores = run_test(golden_root, PROTOCOLS[protocol])
    else:
        scores = run_test(golden_root, [], "something/v1/val_videofolder.txt")
    averaged = scores.averaged()
    np.testing.assert_allclose(averaged, expected["scores"], atol=MOST_APART)
    assert scores.labels.tolist() == expected["labels"]
    assert averaged.argmax(-1).tolist() == expected["pred"]
    figures = scores.figures(averaged)
    assert figures["top1"] == pytest.approx(expected["top1"], abs=1e-4)
    assert figures["top5"] == pytest.approx(expected["top5"], abs=1e-4)
    classes = sorted({*expected["labels"], *expected["pred"]})  # the release's matrix has no others
    confusion = scores.confusion(averaged)[np.ix_(classes, classes)]
    np.testing.assert_array_equal(confusion, expected["confusion"])


def test_softmax_after_the_mean_over_views_is_the_releases(
    released: dict[str, Any], golden_root: Path
) -> None:
    probabilities = softmax(run_test(golden_root, []).averaged(), axis=-1)
    np.testing.assert_allclose(probabilities, released["crops1_softmax"]["scores"], atol=MOST_APART)


def test_ensembles_are_weighted_means_over_all_videos(
    released: dict[str, Any], golden_root: Path
) -> None:
    """Testing several files, the release keeps the videos below three frames."""
    four, eight = (
        run_test(golden_root, ["DATA.MIN_FRAMES", "1", "DATA.NUM_FRAMES", frames]).averaged()
        for frames in ("4", "8")
    )
    expected = released["ensemble_two_segment_counts"]["scores"]
    np.testing.assert_allclose((four + 0.5 * eight) / 2, expected, atol=MOST_APART)
    combined = (2 * softmax(four, axis=-1) + softmax(eight, axis=-1)) / 2
    expected = released["ensemble_softmax"]["scores"]
    np.testing.assert_allclose(combined, expected, atol=MOST_APART)


def filled_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that the run began with, drawn by the name of each tensor."""
    filled = {}
    for key, value in checkpoint["state_dict"].items():
        name, shape = key.removeprefix("module."), tuple(value.shape)
        seed = zlib.crc32(name.encode())
        noise = np.random.Generator(np.random.PCG64(seed)).standard_normal(size=shape)
        if name.endswith("running_mean") or (len(shape) < 2 and name.endswith("bias")):
            noise = 0.1 * noise
        elif name.endswith("running_var"):
            noise = 1 + 0.1 * np.abs(noise)
        elif len(shape) >= 2:
            noise = noise / np.sqrt(np.prod(shape[1:]))
        else:
            noise = 0 * noise if name.endswith("num_batches_tracked") else 1 + 0.1 * noise
        filled[key] = torch.from_numpy(np.asarray(noise)).to(value.dtype)
    return filled


def batch_of(
    golden_root: Path, samples: list[list[Any]], crops: list[list[int]] | None
) -> torch.Tensor:
    """The normalised clips of recorded samples: 1-based indices, crops as (w, h, left, top)."""
    folder = golden_root / "tsm/e2e/dataset/something/v1/20bn-something-something-v1"
    clips = []
    for i, (_, video, indices) in enumerate(samples):
        frames = FrameFolder(folder / video, "{:05d}.jpg").read(np.array(indices) - 1)
        clip = torch.from_numpy(frames).permute(0, 3, 1, 2)
        if crops is None:
            resized = tsm_resize(clip, 256)
            (box,) = tsm_crop_boxes(*resized.shape[-2:], 224, num_crops=1)
            clips.append(crop(resized, box, 224))
        else:
            width, height, left, top = crops[i]
            cut = TF.crop(clip, top, left, height, width)
            clips.append(TF.resize(cut, [224, 224], InterpolationMode.BILINEAR, antialias=True))
    return normalize(torch.stack(clips), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_a_training_run_goes_as_the_release(
    released: dict[str, Any], golden_root: Path, tmp_path: Path
) -> None:
    """Its samples and crops again: losses, logits and gradient norms of training and validation."""
    run = json.loads((golden_root / "tsm/e2e/train_run.json").read_text())["run"]
    words = "OPTIM.GROUPS tsm OPTIM.LR 0.005 OPTIM.WEIGHT_DECAY 1e-4 OPTIM.MILESTONES [1,2]"
    words += " OPTIM.CLIP_GRAD_NORM 20 TRAIN.EPOCHS 3 MODEL.TSM.DROPOUT 0 MODEL.PARTIAL_BN True"
    cfg = load_cfg_text(YML.format(frames="", listed=""), "test", words.split())
    checkpoint = torch.load(golden_root / CHECKPOINT, weights_only=False)
    torch.save({"state_dict": filled_weights(checkpoint)}, tmp_path / "start.pth")
    model = build_model(cfg)
    load_weights(model, str(tmp_path / "start.pth"), head_may_differ=False)
    learner = build_learner(cfg, model, World(0, 1, 0, torch.device("cpu")))
    schedule, samples, crops = build_schedule(cfg), list(run["samples"]), list(run["samples_crop"])
    for i, step in enumerate(run["steps"]):
        labels = torch.tensor(step["labels"])
        batch, samples = samples[: len(labels)], samples[len(labels) :]
        assert {split for split, *_ in batch} == {"train" if step["train"] else "val"}
        model.train(step["train"])
        if step["train"]:
            learner.set_rate(schedule(i // 4))
            clips, crops = batch_of(golden_root, batch, crops[:4]), crops[4:]
            loss, logits = accumulate(learner, clips, Target(labels).loss, 1.0, is_last=True)
            assert float(learner.step()) == pytest.approx(step["pre_clip_norm"], rel=2e-3)
        else:
            with torch.no_grad():
                logits = model(batch_of(golden_root, batch, None))
            loss = F.cross_entropy(logits, labels)
        assert float(loss) == pytest.approx(step["loss"], abs=1e-4)
        np.testing.assert_allclose(logits.numpy(), step["logits"], atol=1e-3)
