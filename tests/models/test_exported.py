import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from models.clip_classifier import ClipClassifier
from models.exported import (
    CLIPS,
    ExportedModel,
    ExportMetadata,
    is_exported,
    load_exported,
    needed_package,
)

SHAPE = [2, 3, 4, 4]
METADATA = ExportMetadata(
    class_names=["to the left", 'a "quoted" name', "ходьба"],
    preprocessing={"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.5, 0.5], "num_frames": 2},
    config="MODEL:\n  NUM_CLASSES: 3\n",
    checkpoint="best.pth",
    input="uint8",
    input_shape=SHAPE,
    views="none",
    consensus="logits",
    torch_version=torch.__version__,
)


class MeanOfChannels(nn.Module):
    """(B, T, 3, H, W) to (B, 3)."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips.mean((1, 3, 4))


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def saved(path: Path, texts: dict[str, str]) -> Path:
    module = ClipClassifier(MeanOfChannels(), **_normalisation())
    example = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    dynamic = {CLIPS: {0: Dim("batch", min=1)}}
    program = torch.export.export(module, (example,), dynamic_shapes=dynamic)
    torch.export.save(program, path, extra_files=texts)
    return path


def onnx_saved(path: Path, texts: dict[str, str]) -> Path:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper = onnx.helper
    nodes = [
        helper.make_node("Cast", [CLIPS], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info(CLIPS, onnx.TensorProto.UINT8, ["batch", *SHAPE])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("axes", onnx.TensorProto.INT64, [3], [1, 3, 4])],
    )
    imports = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=9)
    helper.set_model_props(model, texts)
    onnx.save(model, path)
    return path


def _normalisation() -> dict[str, Any]:
    return {key: METADATA.preprocessing[key] for key in ("mean", "std")}


def in_memory(**changes: Any) -> ExportedModel:
    return ExportedModel(MeanOfChannels(), replace(METADATA, **changes), "model.pt2")


def test_metadata_survive_as_texts() -> None:
    texts = METADATA.texts()
    assert texts["config"] == METADATA.config
    assert texts["class_names"] == '["to the left", "a \\"quoted\\" name", "ходьба"]'
    assert ExportMetadata.from_texts(texts, "x") == METADATA


def test_metadata_that_are_missing_or_damaged_are_errors() -> None:
    texts = METADATA.texts()
    with pytest.raises(ValueError, match=r"m\.onnx does not say its class_names, consensus: it "):
        ExportMetadata.from_texts(texts | {"class_names": "", "consensus": ""}, "m.onnx")
    with pytest.raises(ValueError, match=r"the metadata in m\.onnx are damaged"):
        ExportMetadata.from_texts(texts | {"opset": "{"}, "m.onnx")


def test_a_pt2_file_classifies_and_describes_itself(tmp_path: Path) -> None:
    model = load_exported(saved(tmp_path / "m.pt2", METADATA.texts()))
    assert model.metadata == METADATA
    assert model.class_names == METADATA.class_names
    assert (model.preprocessing, model.config) == (METADATA.preprocessing, METADATA.config)
    for B in (1, 2, 5):
        clips = pixels(B, *SHAPE)
        expected = ((clips / 255).mean((1, 3, 4)) - 0.5) / [0.25, 0.5, 0.5]
        np.testing.assert_allclose(model(clips), expected, atol=1e-6)  # float32 sums
        assert torch.equal(model(torch.from_numpy(clips)), torch.from_numpy(model(clips)))


def test_an_onnx_file_classifies_and_describes_itself(tmp_path: Path) -> None:
    model = load_exported(onnx_saved(tmp_path / "m.onnx", METADATA.texts()))
    assert model.metadata == METADATA
    clips = pixels(5, *SHAPE)
    np.testing.assert_allclose(model(clips), clips.mean((1, 3, 4)), rtol=1e-6)
    assert model(torch.from_numpy(clips)).shape == (5, 3)


def test_what_the_graph_does_not_normalise_is_normalised_before() -> None:
    model = in_memory(input="normalized")
    clips = pixels(2, *SHAPE)
    expected = ((clips / 255).mean((1, 3, 4)) - 0.5) / [0.25, 0.5, 0.5]
    np.testing.assert_allclose(model(clips), expected, atol=1e-6)  # float32 sums
    floats = torch.rand(2, *SHAPE)
    assert torch.equal(model(floats), MeanOfChannels()(floats))


@pytest.mark.parametrize(
    ("changes", "clips", "text"),
    [
        ({}, pixels(2, 3, 3, 4, 4), r"takes clips \(B, 2, 3, 4, 4\), B at least 1, got \(2, 3, 3,"),
        ({}, pixels(*SHAPE), r"got \(2, 3, 4, 4\)"),
        ({}, pixels(0, *SHAPE), r"B at least 1, got \(0, 2,"),
        ({}, pixels(1, *SHAPE).astype("f"), r"of torch\.uint8, got torch\.float32; it normalises"),
        ({"input": "normalized"}, pixels(1, *SHAPE) / 2, r"uint8 or torch\.float32, got .*float64"),
        (
            {"views": "2x1", "input_shape": [2, *SHAPE]},
            pixels(1, *SHAPE),
            r"takes clips \(B, 2, 2, 3, 4, 4\) \(2x1 views, averaged inside\)",
        ),
    ],
)
def test_clips_of_another_shape_or_type_are_errors(
    changes: dict[str, Any], clips: np.ndarray, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        in_memory(**changes)(clips)


def test_files_that_are_no_exported_models_are_errors(tmp_path: Path) -> None:
    assert is_exported("a/b.onnx")
    assert not is_exported("a/best.pth")
    with pytest.raises(ValueError, match=r"'best\.pth': an exported model is a file \.onnx or"):
        load_exported("best.pth")
    with pytest.raises(ValueError, match="is not a file"):
        load_exported(tmp_path / "none.onnx")
    (tmp_path / "m.pt2").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"m\.pt2 is not a readable \.pt2 file"):
        load_exported(tmp_path / "m.pt2")
    with pytest.raises(ValueError, match=r"bare\.pt2 does not say its class_names, preproc"):
        load_exported(saved(tmp_path / "bare.pt2", {}))


def test_argument_that_torch_does_not_take_is_no_unreadable_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "a.pt2", METADATA.texts())
    monkeypatch.setattr(torch.export, "load", lambda path: None)
    with pytest.raises(TypeError, match="extra_files"):
        load_exported(tmp_path / "a.pt2")


def test_onnx_files_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bare\.onnx does not say its class_names, preproc"):
        load_exported(onnx_saved(tmp_path / "bare.onnx", {}))
    whole = onnx_saved(tmp_path / "m.onnx", METADATA.texts()).read_bytes()
    for content in (b"nothing of the kind", b"", whole[: len(whole) // 2]):
        (tmp_path / "m.onnx").write_bytes(content)
        with pytest.raises(ValueError, match=r"m\.onnx is not a readable ONNX file"):
            load_exported(tmp_path / "m.onnx")


def test_a_missing_package_is_named_with_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="X needs the package nosuch: python -m pip install nosuc"):
        needed_package("nosuch.part", "X")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "m.onnx").touch()
    with pytest.raises(ValueError, match=r"an \.onnx file needs the package onnxruntime: python"):
        load_exported(tmp_path / "m.onnx")


def test_file_older_than_its_activation_has_a_softmax() -> None:
    texts = replace(METADATA, activation="sigmoid").texts()
    assert ExportMetadata.from_texts(texts, "new").activation == "sigmoid"
    for older in ({**texts, "activation": ""}, {k: texts[k] for k in texts if k != "activation"}):
        assert ExportMetadata.from_texts(older, "old").activation == "softmax"
