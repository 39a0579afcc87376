from pathlib import Path

import pytest
import torch

from config import load_cfg_text
from models import build_model, load_model

YML = (
    "MODEL: {NAME: tokshift, NUM_CLASSES: 3, BACKBONE: small, VIT: {PATCH_SIZE: 8, "
    "HIDDEN_SIZE: 16, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}}\nDATA: {IMAGE_SIZE: 16, "
    "TEST_SHORT_SIDE: 16}\n"
)
CLIPS = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model() -> torch.nn.Module:
    model = build_model(load_cfg_text(YML, "small"))
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def save(path: Path, model: torch.nn.Module, **others: object) -> Path:
    torch.save({"state_dict": model.state_dict(), **others}, path)
    return path


def test_checkpoint_that_describes_itself_needs_nothing_else(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.pth", model, config=YML, class_names=["x", "y", "z"])
    loaded = load_model(path)
    assert (loaded.class_names, loaded.cfg.MODEL.NAME) == (["x", "y", "z"], "tokshift")
    assert not loaded.model.training
    assert torch.equal(loaded.model(CLIPS), model(CLIPS))
    assert len(loaded.report.loaded) == len(model.state_dict())


@pytest.mark.parametrize("as_file", [True, False])
def test_weights_alone_take_a_config_and_overrides(
    as_file: bool, model: torch.nn.Module, tmp_path: Path
) -> None:
    path, yml, names = save(tmp_path / "a.pth", model), tmp_path / "a.yml", tmp_path / "names.txt"
    names.write_text("one\ntwo\nthree\n")
    yml.write_text(YML)
    overrides = ["DATA.NUM_FRAMES", "4", "DATA.CLASS_NAMES", str(names)]
    if as_file:
        loaded = load_model(path, yml, overrides)
    else:
        loaded = load_model(path, load_cfg_text(YML, "small", overrides))
    assert (loaded.class_names, loaded.cfg.DATA.NUM_FRAMES) == (["one", "two", "three"], 4)
    assert torch.equal(loaded.model(CLIPS), model(CLIPS))


def test_names_in_the_file_go_before_those_of_a_config(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.pth", model, class_names=["x", "y", "z"])
    assert load_model(path, load_cfg_text(YML, "small")).class_names == ["x", "y", "z"]
    plain = save(tmp_path / "b.pth", model)
    assert load_model(plain, load_cfg_text(YML, "small")).class_names == ["0", "1", "2"]


def test_file_without_a_config_says_how_to_name_one(model: torch.nn.Module, tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", model)
    with pytest.raises(ValueError, match=r"a\.pth does not hold its config; name one with --cfg"):
        load_model(path)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_exported_model_is_refused_with_what_opens_it(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"exported model.*models\.exported\.load_exported"):
        load_model(tmp_path / f"model{suffix}")


def test_head_for_other_classes_is_an_error(model: torch.nn.Module, tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", model, config=YML)
    with pytest.raises(ValueError, match=r"head\.bias: \(3,\) in the file, \(5,\) in the model"):
        load_model(path, overrides=["MODEL.NUM_CLASSES", "5"])


def test_overrides_beside_a_loaded_config_are_an_error(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.pth", model)
    with pytest.raises(ValueError, match=r"DATA\.NUM_FRAMES.*give them to load_cfg"):
        load_model(path, load_cfg_text(YML, "small"), ["DATA.NUM_FRAMES", "4"])


def test_checkpoint_is_read_once(
    model: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.pth", model, config=YML)
    reads, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: reads.append(a) or load(*a, **k))
    load_model(path)
    assert len(reads) == 1


def test_weights_that_are_not_finite_are_an_error(model: torch.nn.Module, tmp_path: Path) -> None:
    torch.nn.init.constant_(model.head.bias, torch.inf)
    path = save(tmp_path / "a.pth", model, config=YML)
    with pytest.raises(ValueError, match=r"a\.pth holds weights that are not finite: head\.bias"):
        load_model(path)


def test_what_shapes_the_answer_and_differs_from_the_file_is_said(
    model: torch.nn.Module, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(tmp_path / "a.pth", model, config=YML + "OPTIM: {LR: 0.5}\n")
    load_model(path)
    assert not caplog.messages
    load_model(path, overrides=["MODEL.SHIFT.FOLD_DIV", "2", "OPTIM.LR", "0.1"])
    assert not caplog.messages  # the file's config says nothing of the shift
    path = save(tmp_path / "b.pth", model, config=load_cfg_text(YML, "small").dump())
    load_model(path, overrides=["MODEL.SHIFT.FOLD_DIV", "2", "OPTIM.LR", "0.1"])
    assert caplog.messages == [
        f"{path} was trained with MODEL.SHIFT.FOLD_DIV 4, and is used with 2"
    ]


def test_names_of_the_config_in_another_order_are_refused(
    model: torch.nn.Module, tmp_path: Path
) -> None:
    path, names = save(tmp_path / "a.pth", model, class_names=["x", "y", "z"]), tmp_path / "n.txt"
    cfg = load_cfg_text(YML, "small", ["DATA.CLASS_NAMES", str(names)])
    assert load_model(path, cfg).class_names == ["x", "y", "z"]  # the list is another machine's
    names.write_text("x\nz\ny\n")
    with pytest.raises(ValueError, match=r"label 1 is 'y' in \S+a\.pth and 'z' in DATA\.CLASS_N"):
        load_model(path, cfg)
