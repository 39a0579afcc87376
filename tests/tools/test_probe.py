import json
from pathlib import Path
from typing import Any

import pytest
import torch

from config import load_cfg
from engine.statistics import wilson_interval
from models import build_model
from tests.test_main import Experiment
from tests.test_main_swa import TSM
from tools.extract_features import main as extract
from tools.probe import main


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return Experiment(tmp_path_factory.mktemp("probe"))


def weights_of(experiment: Experiment, *words: str) -> Path:
    """Weights of the experiment's model with a head of five other classes."""
    torch.manual_seed(0)
    model = build_model(load_cfg(experiment.config, [*words, "MODEL.NUM_CLASSES", "5"]))
    path = experiment.folder / "weights.pth"
    torch.save(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def features(experiment: Experiment) -> dict[str, Path]:
    """Features of both lists by a TokShift of random weights, as its validation sees them."""
    torch.manual_seed(0)
    cfg = load_cfg(experiment.config, ["VAL.NUM_CROPS", "1", "VAL.NUM_CLIPS", "1"])
    model = build_model(cfg)
    checkpoint = experiment.folder / "ours.pth"
    torch.save({"state_dict": model.state_dict(), "config": cfg.dump()}, checkpoint)
    folders = {split: experiment.folder / f"features_{split}" for split in ("train", "val")}
    for split, folder in folders.items():
        words = ["--input", experiment.folder / f"{split}.txt", "--views", "1x1"]
        extract([str(w) for w in ("--checkpoint", checkpoint, *words, "--output", folder)])
    return folders | {"checkpoint": checkpoint}


@pytest.mark.parametrize("words", [["MODEL.NAME", "tokshift"], ["MODEL.NAME", "timesformer"], TSM])
def test_probe_is_a_checkpoint_whose_validation_is_what_was_said(
    experiment: Experiment, words: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:

    words = [str(word) for word in words]
    weights, output = weights_of(experiment, *words), experiment.folder / "probe.pth"
    inputs = ["--cfg", str(experiment.config), "--tune_from", str(weights)]
    main([*inputs, "--output", str(output), "--l2", "0.1", "0.001", "--device", "cpu", *words])
    content = torch.load(output, weights_only=True)
    assert f"linear probe, validation top1 {content['val_top1']:.2f}" in capsys.readouterr().out
    backbone = torch.load(weights, weights_only=True)
    for name, value in backbone.items():
        if not name.startswith(("head.", "fc.")):
            assert torch.equal(content["state_dict"][name], value)
    # the validation's views, tested by the main script, give the same figure
    cfg = load_cfg(experiment.config, words)
    same = ["TEST.NUM_CROPS", cfg.VAL.NUM_CROPS, "TEST.NUM_CLIPS", cfg.VAL.NUM_CLIPS]
    tested = experiment.folder / "tested"
    out = experiment.run(
        *("--evaluate", "--resume", output, "--output", tested, *words, *same), has_cfg=True
    )
    assert f"top1 {content['val_top1']:.2f}" in out


def test_features_in_folders_give_the_figures_of_the_checkpoint(
    features: dict[str, Path], experiment: Experiment, tmp_path: Path
) -> None:
    words = ["--train", features["train"], "--val", features["val"], "--neighbours", 1, 3]
    main([str(word) for word in (*words, "--json", tmp_path / "folders.json")])
    words = ["--checkpoint", features["checkpoint"], "--device", "cpu", "--neighbours", 1, 3]
    main([str(word) for word in (*words, "--json", tmp_path / "checkpoint.json")])
    ours, theirs = (
        json.loads((tmp_path / f"{name}.json").read_text()) for name in ("folders", "checkpoint")
    )
    assert ours["rows"] == theirs["rows"]
    assert ours["layer"] == theirs["layer"] == "head"
    assert [row["probe"] for row in ours["rows"]] == ["linear", "neighbours", "neighbours"]
    for row in ours["rows"]:
        assert row["num_videos"] == 6
        share = wilson_interval(round(row["top1"] * 6 / 100), 6)
        assert [row["low"], row["high"]] == pytest.approx([100 * part for part in share])


def test_layer_behind_a_block_is_probed_too(
    features: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--checkpoint", str(features["checkpoint"]), "--layer", "1", "--device", "cpu"])
    out = capsys.readouterr().out
    assert "12 training and 6 validation videos, 16 channels, 3 classes" in out
    assert "1 nearest " in out
    assert "5 nearest " in out
    assert "20 nearest " not in out


def test_faults_are_told_in_a_line(
    experiment: Experiment,
    features: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fault(*words: object) -> str:
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        assert end.value.code in (1, 2)
        shown = capsys.readouterr()
        return shown.out + shown.err

    own = ["--cfg", experiment.config, "--tune_from"]
    assert "gone.pth" in fault(*own, "gone.pth", "--output", tmp_path / "p.pth")
    assert "-1 is not 0 or more" in fault(*own, "gone.pth", "--l2", "-1")
    several = ["--checkpoint", features["checkpoint"], "DATA.MULTI_LABEL", "True"]
    assert "tools/probe.py is for videos of one class" in fault(*several)
    both = ["--train", features["train"], "--val"]
    assert "no manifest.json" in fault(*both, tmp_path)
    assert "--val DIR, or --checkpoint FILE" in fault("--train", features["train"])
    assert "--val DIR, or --checkpoint FILE" in fault(*both, tmp_path, "--checkpoint", "x.pth")
    assert "go with --checkpoint" in fault(*both, features["val"], "--layer", "1")
    assert "--output is for --layer head" in fault(*own, "x", "--layer", "1", "--output", "p.pth")
    text = fault(*both, features["val"], "--neighbours", "13")
    assert "--neighbours 13: there are 12 training videos" in text
    read = features["train"] / "manifest.json"
    assert "is what is read" in fault(*both, features["val"], "--json", read)
    other = ["--checkpoint", features["checkpoint"], "--input", experiment.folder / "val.txt"]
    extract([str(w) for w in (*other, "--layer", "1", "--views", "1x1", "--output", tmp_path)])
    assert "--train and --val differ: layer head, not 1" in fault(*both, tmp_path)


def test_videos_that_are_in_both_sets_are_said(
    features: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--train", str(features["val"]), "--val", str(features["val"])])
    out = capsys.readouterr().out
    assert "6 videos of the validation are trained on" in out
    assert "1 nearest            top1 100.00" in out
