"""The released test of a small TSM, protocol by protocol, from its checkpoint to the figures."""

from collections.abc import Callable
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
from tests.conftest import golden_content
from tests.models.conftest import filled, tsm_words
from tests.one_batch import accumulate

E2E = "tsm/e2e"
FRAMES = f"{E2E}/dataset/something/v1/20bn-something-something-v1"
# The release resizes frames by Pillow, we by torchvision, a grey level apart here and there: scores
# up to 1.6e-5 as measured.
MOST_APART = 1e-4
YML = """
DATA:
  FRAME_TEMPLATE: "{:05d}.jpg"
  SAMPLING: tsn
  MIN_FRAMES: 3
  TEST_SHORT_SIDE: 256
  PIXEL_MEAN: [0.485, 0.456, 0.406]
  PIXEL_STD: [0.229, 0.224, 0.225]
  WORKERS: 0
MODEL: {NAME: tsm, BACKBONE: resnet50}
TEST: {CROPS: tsm, NUM_CROPS: 1}
"""
TESTS: dict[str, Any] = golden_content(f"{E2E}/test_models.json")
ENSEMBLES = [name for name in TESTS if "--weights" in TESTS[name]["argv"]]
# Without shift the release takes a softmax over the logits of all frames at once: not a protocol.
ALONE = [
    name
    for name, test in TESTS.items()
    if "scores" in test and name not in ENSEMBLES
    if not (name.startswith("tsn_noshift") and "--softmax" in test["argv"])
]


def options_of(argv: list[str]) -> dict[str, list[str]]:
    """The values of each option of a released command."""
    options: dict[str, list[str]] = {}
    for word in argv:
        if word.startswith("-"):
            option, _, value = word.lstrip("-").partition("=")
            options[option] = [value] if value else []
        elif options:
            options[option].append(word)
    return options


@pytest.fixture
def model_words(golden_json: Callable) -> list[str]:
    """The model of the released run as overrides of a config."""
    options = options_of(golden_json(f"{E2E}/train_run.json")["run"]["argv"])
    return [
        *tsm_words(golden_json(f"{E2E}/ckpt_keys.json")),
        *("DATA.NUM_FRAMES", options["num_segments"][0]),
        *("MODEL.TSM.SHIFT", str("shift" in options)),
        *("MODEL.TSM.FOLD_DIV", options["shift_div"][0]),
        *("MODEL.TSM.PLACEMENT", options["shift_place"][0]),
    ]


@pytest.fixture
def run_test(golden_path: Callable, model_words: list[str]) -> Callable[..., Scores]:
    def run(listed: str, *overrides: str) -> Scores:
        folder = golden_path(f"{E2E}/dataset")
        lists = ("DATA.ROOT", str(golden_path(FRAMES)), "DATA.VAL_LIST", str(folder / listed))
        cfg = load_cfg_text(YML, "test", [*lists, *model_words, *overrides])
        model = build_model(cfg)
        checkpoint = golden_path(f"{E2E}/ckpt.pth.tar")
        load_weights(model, str(checkpoint), head_may_differ=False)
        records = read_records(cfg, "test")
        loader = build_view_loader(cfg, records, "test", rank=0, world_size=1)
        world = World(0, 1, 0, torch.device("cpu"))
        scores, _ = evaluate(Run(cfg, world), model.eval(), Videos(records, loader, "test"))
        assert scores is not None
        return scores

    return run


def protocol_words(options: dict[str, list[str]]) -> list[str]:
    """The views of a released test as overrides of a config."""
    num_crops = int(options["test_crops"][0])
    words = ["TEST.NUM_CROPS", str(min(num_crops, 5)), "TEST.FLIP", str(num_crops == 10)]
    words += ["DATA.UNIFORM_TWICE", str("twice_sample" in options)]
    if "full_res" in options:
        words += ["TEST.IMAGE_SIZE", "256"]
    if "dense_sample" in options:
        words += ["DATA.SAMPLING", "tsm_dense", "TEST.NUM_CLIPS", "10"]
    return words


@pytest.mark.parametrize("name", ALONE)
def test_protocols_score_as_the_release(
    name: str, run_test: Callable[..., Scores], golden_json: Callable
) -> None:
    expected = golden_json(f"{E2E}/test_models.json")[name]
    options = options_of(expected["argv"])
    is_original = name.endswith("original_val_list")
    listed = "something/v1/val_videofolder.txt" if is_original else "val_relabelled.txt"
    words = protocol_words(options)
    words += ["MODEL.TSM.SHIFT", "False"] if name.startswith("tsn_noshift") else []
    scores = run_test(listed, *words)
    averaged = scores.averaged()
    ours = softmax(averaged, axis=-1) if "softmax" in options else averaged  # of the views' mean
    np.testing.assert_allclose(ours, expected["scores"], atol=MOST_APART)
    assert scores.labels.tolist() == expected["labels"]
    assert averaged.argmax(-1).tolist() == expected["pred"]
    figures = scores.figures(averaged)
    assert figures["top1"] == pytest.approx(expected["top1"], abs=1e-4)
    assert figures["top5"] == pytest.approx(expected["top5"], abs=1e-4)
    classes = sorted({*expected["labels"], *expected["pred"]})  # the release's matrix has no others
    confusion = scores.confusion(averaged)[np.ix_(classes, classes)]
    np.testing.assert_array_equal(confusion, expected["confusion"])


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles_are_weighted_means_over_all_videos(
    name: str, run_test: Callable[..., Scores], golden_json: Callable
) -> None:
    """Testing several files, the release keeps the videos below three frames."""
    expected = golden_json(f"{E2E}/test_models.json")[name]
    options = options_of(expected["argv"])
    segments, shares, lists = (
        options[key][0].split(",") for key in ("test_segments", "coeff", "test_list")
    )
    words, total = [*protocol_words(options), "DATA.MIN_FRAMES", "1"], 0.0
    for num_segments, share, listed in zip(segments, shares, lists, strict=True):
        scores = run_test(Path(listed).name, *words, "DATA.NUM_FRAMES", num_segments)
        averaged = scores.averaged()
        ours = softmax(averaged, axis=-1) if "softmax" in options else averaged
        total = total + float(share) * ours / len(shares)
    np.testing.assert_allclose(total, expected["scores"], atol=MOST_APART)
    assert scores.labels.tolist() == expected["labels"]
    assert scores.figures(total)["top1"] == pytest.approx(expected["top1"], abs=1e-4)


def batch_of(folder: Path, samples: list[list[Any]], crops: list[list[int]] | None) -> torch.Tensor:
    """The normalised clips of recorded samples: 1-based indices, crops as (w, h, left, top)."""
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
    model_words: list[str], golden_path: Callable, golden_json: Callable, tmp_path: Path
) -> None:
    """Its samples and crops again: losses, logits and gradient norms of training and validation."""
    run = golden_json(f"{E2E}/train_run.json")["run"]
    options, folder = options_of(run["argv"]), golden_path(FRAMES)
    epochs = int(options["epochs"][0])
    words = [
        *("OPTIM.GROUPS", "tsm", "OPTIM.LR", options["lr"][0], "TRAIN.EPOCHS", str(epochs)),
        *("OPTIM.WEIGHT_DECAY", options["wd"][0], "OPTIM.CLIP_GRAD_NORM", options["gd"][0]),
        *("OPTIM.MILESTONES", f"[{', '.join(options['lr_steps'])}]"),
        *("MODEL.TSM.DROPOUT", "0", "MODEL.PARTIAL_BN", str("no_partialbn" not in options)),
    ]
    cfg = load_cfg_text(YML, "test", [*model_words, *words])
    # the weights that the run began with are drawn by the name of each tensor
    state = filled(
        {
            key.removeprefix("module."): shape
            for key, shape in golden_json(f"{E2E}/ckpt_keys.json").items()
        }
    )
    torch.save({"state_dict": state}, tmp_path / "start.pth")
    model = build_model(cfg)
    load_weights(model, str(tmp_path / "start.pth"), head_may_differ=False)
    learner = build_learner(cfg, model, World(0, 1, 0, torch.device("cpu")))
    schedule, samples, crops = build_schedule(cfg), list(run["samples"]), list(run["samples_crop"])
    is_training = [step["train"] for step in run["steps"]]
    for i, step in enumerate(run["steps"]):
        labels = torch.tensor(step["labels"])
        B = len(labels)
        batch, samples = samples[:B], samples[B:]
        assert {split for split, *_ in batch} == {"train" if step["train"] else "val"}
        model.train(step["train"])
        if step["train"]:
            learner.set_rate(schedule(sum(is_training[:i]) * epochs // sum(is_training)))
            clips, crops = batch_of(folder, batch, crops[:B]), crops[B:]
            loss, logits = accumulate(learner, clips, Target(labels).loss, 1.0, is_last=True)
            assert float(learner.step()) == pytest.approx(step["pre_clip_norm"], rel=2e-3)
        else:
            with torch.no_grad():
                logits = model(batch_of(folder, batch, None))
            loss = F.cross_entropy(logits, labels)
        assert float(loss) == pytest.approx(step["loss"], abs=1e-4)
        np.testing.assert_allclose(logits.numpy(), step["logits"], atol=1e-3)
