from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from config import load_cfg
from models import build_model
from tests.test_main import Experiment
from tests.test_main_swa import TSM
from tools.linear_probe import Features, accuracy, fit_head, main


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


def test_head_separates_what_a_line_separates_and_is_pulled_to_zero() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    centres = 4 * torch.eye(3, 8)
    values = 100 + 7 * (centres[labels] + torch.randn(60, 8, generator=generator))
    features = Features(values, labels)
    head = fit_head(features, num_classes=3, strength=1e-4)
    assert accuracy(head, features) == 100
    strong = fit_head(features, num_classes=3, strength=10.0)
    assert strong.weight.norm() < 0.05 * head.weight.norm()


def test_head_is_where_the_gradient_is_zero() -> None:
    generator = torch.Generator().manual_seed(1)
    features = Features(torch.randn(40, 5, generator=generator), torch.arange(40) % 4)
    head, std = fit_head(features, 4, strength=0.1), features.values.std(0, correction=0)
    loss = F.cross_entropy(head(features.values), features.labels)
    (loss + 0.05 * (head.weight * std).square().sum()).backward()
    assert head.weight.grad is not None
    assert head.weight.grad.abs().max() < 1e-4


def test_faults_are_told_in_a_line(
    experiment: Experiment, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = ["--cfg", str(experiment.config), "--tune_from", "gone.pth", "--output", "x/p.pth"]
    with pytest.raises(SystemExit) as end:
        main([*inputs[:-1], str(experiment.folder / "p.pth")])
    assert end.value.code == 1
    assert "gone.pth" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([*inputs, "--l2", "-1"])
    assert "-1 is not 0 or more" in capsys.readouterr().err
