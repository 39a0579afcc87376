"""Hugging Face's TimeSformers: folders and files of theirs give their logits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models import build_model, load_model
from models.loaded_model import read_experiment
from models.pretrained import load_weights
from tests.conftest import golden_content, golden_names
from tests.other_libraries import weights_by_rule

FOLDER = "other/hf"
CASES = golden_content(f"{FOLDER}/index.json").get("cases", {})
HERE = [Path(n).name.split(".")[0] for n in golden_names(f"{FOLDER}/timesformer_*.keys.json")]
WITH_HEAD = [name for name in HERE if "_model_" not in name]
ATOL = 1e-5  # two implementations in float32; measured 1e-6
PIXELS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}


@pytest.fixture
def folder(golden_json: Callable[[str], Any], tmp_path: Path) -> Callable[..., Path]:
    """Write a case as its library does; config keys can be set, and removed by None."""

    def write(name: str, **config: Any) -> Path:
        state = weights_by_rule(golden_json(f"{FOLDER}/{name}.keys.json"))
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
        said = {k: v for k, v in (CASES[name]["config"] | config).items() if v is not None}
        (tmp_path / "config.json").write_text(json.dumps(said))
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(PIXELS))
        return tmp_path

    return write


def clips_of(data: dict[str, Any]) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in PIXELS.values())
    return (torch.from_numpy(data["clip_u8"]).float() / 255 - mean) / std


@pytest.mark.parametrize("name", WITH_HEAD)
def test_folder_needs_nothing_else(
    name: str, folder: Callable[..., Path], golden: Callable[[str], dict[str, Any]]
) -> None:
    data, case = golden(f"{FOLDER}/{name}.npz"), CASES[name]
    names = {str(label): f"class {label}" for label in range(data["logits"].shape[1])}
    loaded = load_model(folder(name, id2label=names))
    with torch.inference_mode():
        logits = loaded.model(clips_of(data))
    # Hugging Face does not average the frames of a space-only model
    due = torch.from_numpy(data.get("official_logits", data["logits"]))
    torch.testing.assert_close(logits, due, rtol=0, atol=ATOL)
    cfg = loaded.cfg
    said = {"T": cfg.DATA.NUM_FRAMES, "image": cfg.DATA.IMAGE_SIZE, "mean": cfg.DATA.PIXEL_MEAN}
    assert said == {key: case[key] for key in said}
    assert loaded.class_names == [*names.values()]
    assert len(loaded.report.renamed) == len(loaded.report.loaded)  # all have a prefix


def test_bare_model_gives_its_features_and_starts_a_training(
    folder: Callable[..., Path], golden: Callable[[str], dict[str, Any]]
) -> None:
    name = next((name for name in HERE if "_model_" in name), None)
    if name is None:
        pytest.skip("no bare model in the part of the golden data that is here")
    path = folder(name)
    with pytest.raises(ValueError, match=r"head\.weight: not in the file(.|\n)*--tune_from"):
        load_model(path)
    model = build_model(read_experiment(path)[0])
    report = load_weights(model, path)
    assert {*report.reinitialised} == {"head.weight", "head.bias"}
    data = golden(f"{FOLDER}/{name}.npz")
    with torch.inference_mode():
        features = model.eval().features(clips_of(data))
    torch.testing.assert_close(
        features, torch.from_numpy(data["last_hidden_state"][:, 0]), rtol=0, atol=ATOL
    )


def test_file_alone_says_what_it_lacks(folder: Callable[..., Path]) -> None:
    path = folder(WITH_HEAD[0])
    (path / "config.json").unlink()
    (path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"does not say MODEL\.VIT\.NUM_HEADS, nor do its weights"):
        load_model(path)
    heads = str(CASES[WITH_HEAD[0]]["config"]["num_attention_heads"])
    loaded = load_model(path, overrides=["MODEL.VIT.NUM_HEADS", heads])
    assert loaded.cfg.DATA.PIXEL_MEAN == [0.45] * 3  # Meta's
    assert any("Meta's pixels count" in note for note in loaded.report.notes)
    (path / "model.safetensors").rename(path / "mine.safetensors")
    with pytest.raises(ValueError, match=r"mine\.safetensors does not hold its config"):
        load_model(path / "mine.safetensors")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("hidden_act", "gelu_new", "hidden_act is 'gelu_new'"),
        ("hidden_act", ["gelu"], "hidden_act is"),
        ("layer_norm_eps", -1.0, r"MODEL\.VIT\.NORM_EPS"),
        ("attention_type", {}, "attention_type is {}"),
        ("num_channels", 10, "num_channels is 10"),
        ("attention_type", "trajectory", "attention_type is 'trajectory'"),
        ("num_attention_heads", 5, r"MODEL\.VIT\.NUM_HEADS"),
        ("num_attention_heads", "four", r"MODEL\.VIT\.NUM_HEADS"),
        ("num_frames", -1, r"DATA\.NUM_FRAMES"),
        ("hidden_size", 96, r"do not fit the model"),
    ],
)
def test_config_that_cannot_be_is_an_error(
    key: str, value: Any, text: str, folder: Callable[..., Path]
) -> None:
    with pytest.raises(ValueError, match=text):
        load_model(folder(WITH_HEAD[0], **{key: value}))


def test_what_weights_do_not_show_is_of_the_config(folder: Callable[..., Path]) -> None:
    path = folder(WITH_HEAD[0], layer_norm_eps=1e-5, hidden_act="quick_gelu")
    vit = load_model(path).cfg.MODEL.VIT
    assert (vit.NORM_EPS, vit.ACTIVATION) == (1e-5, "quick_gelu")


def test_pixels_of_another_config_are_a_warning(
    folder: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    load_model(folder(WITH_HEAD[0]), overrides=["DATA.PIXEL_MEAN", "[0.5, 0.5, 0.5]"])
    assert any("was trained with DATA.PIXEL_MEAN" in message for message in caplog.messages)
