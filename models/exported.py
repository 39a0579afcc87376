"""Exported models, ``.onnx`` and ``.pt2``: the metadata in such a file, and how to run it.

    model = load_exported("model.onnx")
    logits = model(clips)  # uint8 (B, T, 3, H, W) to (B, K), an array or a tensor as the clips are

``tools/export.py`` writes the files.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from models.weights.checkpoint_file import is_fault_of_call
from models.weights.pt2_file import check_pt2
from ops.pixels import normalize

SUFFIXES = (".onnx", ".pt2")
CLIPS = "clips"  # name of the graph's input

_Clips = TypeVar("_Clips", Tensor, np.ndarray)


@dataclass(frozen=True)
class ExportMetadata:
    """Metadata by which a file can be used without anything else; each is a text inside the file.

    Attributes:
        class_names: Names of the classes, by label.
        preprocessing: Steps from a video to what the model sees, as in a checkpoint.
        config: The experiment, YAML for `config.load_cfg_text`; its TEST section has the views.
        checkpoint: File that the weights came from.
        input: ``uint8``: RGB pixels, normalised inside; ``normalized``: float32, by the mean and
            std of ``preprocessing``.
        input_shape: Shape of one sample, without the batch: [T, 3, H, W] or [V, T, 3, H, W].
        views: ``none``, or the views that are averaged inside, as ``10x3``: clips x crops.
        consensus: Scores that are averaged over views, inside or by the user: ``logits`` or
            ``probabilities``.
        torch_version: Version of torch that exported the file.
        opset: Opset of an ONNX file; 0 in a ``.pt2``.
        quantization: ``none`` or ``int8``.
        activation: Function from logits to probabilities: ``softmax``, or ``sigmoid`` where a video
            may have several classes.
    """

    class_names: list[str]
    preprocessing: dict[str, Any]
    config: str
    checkpoint: str
    input: str
    input_shape: list[int]
    views: str
    consensus: str
    torch_version: str
    opset: int = 0
    quantization: str = "none"
    activation: str = "softmax"

    def texts(self) -> dict[str, str]:
        """Return all of it as texts by name: JSON, but for what is text already."""
        return {
            name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], source: str) -> "ExportMetadata":
        """Read what `texts` gave.

        Raises:
            ValueError: Something is missing or no JSON.
        """
        texts = {**texts, "activation": texts.get("activation") or "softmax"}  # older files lack it
        missing = [field.name for field in fields(cls) if not texts.get(field.name)]
        if missing:
            raise ValueError(
                f"{source} does not say its {', '.join(missing)}: it was not written by "
                "tools/export.py, and without them its answers have no meaning"
            )
        try:
            values: dict[str, Any] = {
                field.name: texts[field.name]
                if field.type is str
                else json.loads(texts[field.name])
                for field in fields(cls)
            }
        except json.JSONDecodeError as error:
            raise ValueError(f"the metadata in {source} are damaged: {error}") from error
        faults = _metadata_faults(values)
        if faults:
            raise ValueError(f"the metadata in {source} are damaged: {'; '.join(faults)}")
        return cls(**values)


class ExportedModel:
    """An exported file as a callable from clips to logits.

    Args:
        run: Function from a batch that the graph takes to its output.
        metadata: Metadata in the file.
        path: Path of the file.
    """

    def __init__(self, run: Callable[[Tensor], Tensor], metadata: ExportMetadata, path: str):
        self.metadata = metadata
        self.path = path
        self._run = run

    @property
    def class_names(self) -> list[str]:
        """Class names by label."""
        return self.metadata.class_names

    @property
    def preprocessing(self) -> dict[str, Any]:
        """Steps from a video to what the model sees, as in a checkpoint."""
        return self.metadata.preprocessing

    @property
    def config(self) -> str:
        """The experiment as YAML, for `config.load_cfg_text`; as in a checkpoint."""
        return self.metadata.config

    def __call__(self, clips: _Clips) -> _Clips:
        """Classify clips.

        Args:
            clips: uint8 (B, T, 3, H, W), or (B, V, T, 3, H, W) where the file averages views;
                where it takes normalised clips, float32 of that shape, too.

        Returns:
            Logits (B, K), float32; probabilities where the file averages those over views.

        Raises:
            ValueError: The clips are of another shape or type.
        """
        batch = torch.from_numpy(clips) if isinstance(clips, np.ndarray) else clips
        self._check(batch)
        if batch.dtype == torch.uint8 and self.metadata.input == "normalized":
            batch = normalize(batch, self.preprocessing["mean"], self.preprocessing["std"])
        with torch.inference_mode():
            logits = self._run(batch)
        return logits.cpu().numpy() if isinstance(clips, np.ndarray) else logits

    def _check(self, clips: Tensor) -> None:
        wanted = self.metadata.input_shape
        if clips.dim() != len(wanted) + 1 or list(clips.shape[1:]) != wanted or not len(clips):
            views = self.metadata.views
            inside = f" ({views} views, averaged inside)" if views != "none" else ""
            raise ValueError(
                f"{self.path} takes clips (B, {', '.join(map(str, wanted))}){inside}, B at least "
                f"1, got {tuple(clips.shape)}"
            )
        allowed = [torch.uint8, *([torch.float32] if self.metadata.input == "normalized" else [])]
        if clips.dtype not in allowed:
            raise ValueError(
                f"{self.path} takes clips of {' or '.join(map(str, allowed))}, got {clips.dtype}"
                + ("; it normalises them itself" if len(allowed) == 1 else "")
            )


def _metadata_faults(values: Mapping[str, Any]) -> list[str]:
    """Return what of the metadata is not as `ExportMetadata` describes it."""
    names, pixels, shape = (values[k] for k in ("class_names", "preprocessing", "input_shape"))
    faults = []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        faults.append("class_names is no list of texts")
    is_shape = isinstance(shape, list) and len(shape) in (4, 5)
    if not is_shape or not all(type(n) is int and n > 0 for n in shape):
        faults.append("input_shape is no list of 4 or 5 sizes")
    for key in ("mean", "std"):
        three = pixels.get(key) if isinstance(pixels, dict) else None
        if not isinstance(three, list) or not all(type(n) in (int, float) for n in three):
            faults.append(f"preprocessing has no {key}")
    if type(values["opset"]) is not int:
        faults.append("opset is no number")
    return faults


def is_exported(path: str | Path) -> bool:
    """Tell by its name whether a file is an exported model, not a checkpoint."""
    return Path(path).suffix in SUFFIXES


def load_exported(path: str | Path, device: str = "cpu") -> ExportedModel:
    """Open an exported model.

    Args:
        path: ``.onnx`` or ``.pt2``.
        device: ``cpu``, or ``cuda``: for an ``.onnx`` that needs the package onnxruntime-gpu.

    Raises:
        ValueError: The file is missing, damaged or does not describe itself; a package that it
            needs is not installed, or not for the device.
    """
    path = Path(path)
    if not is_exported(path):
        raise ValueError(f"{str(path)!r}: an exported model is a file {' or '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"exported model {str(path)!r} is not a file")
    return (_load_onnx if path.suffix == ".onnx" else _load_pt2)(path, device)


def needed_package(name: str, purpose: str) -> ModuleType:
    """Import an optional package or a module of it.

    Raises:
        ValueError: The package is not installed; the text says how to install it.
    """
    package = name.partition(".")[0]
    if find_spec(package) is None:
        raise ValueError(f"{purpose} needs the package {package}: python -m pip install {package}")
    return import_module(name)


def _load_onnx(path: Path, device: str) -> ExportedModel:
    ort = needed_package("onnxruntime", "running an .onnx file")
    provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
    if provider not in ort.get_available_providers():
        raise ValueError(
            f"onnxruntime here does not run on {device}: python -m pip install onnxruntime-gpu"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = ort.InferenceSession(str(path), options, providers=[provider])
    except Exception as error:  # its kinds of error have no common parent and no public names
        if is_fault_of_call(error):
            raise
        raise ValueError(f"{path} is not a readable ONNX file: {_in_a_line(error)}") from error
    texts = session.get_modelmeta().custom_metadata_map
    metadata = ExportMetadata.from_texts(texts, str(path))

    def run(clips: Tensor) -> Tensor:
        (logits,) = session.run(None, {CLIPS: clips.cpu().contiguous().numpy()})
        return torch.from_numpy(logits)

    return ExportedModel(run, metadata, str(path))


def _load_pt2(path: Path, device: str) -> ExportedModel:
    check_pt2(path)
    texts = {field.name: "" for field in fields(ExportMetadata)}
    try:
        program = torch.export.load(path, extra_files=texts)
        module = program.module() if device == "cpu" else _moved(program, device)
    except Exception as error:  # foreign bytes make the reader raise anything
        if is_fault_of_call(error):
            raise
        raise ValueError(
            f"{path} is not a readable .pt2 file of torch.export: {_in_a_line(error)}"
        ) from error
    metadata = ExportMetadata.from_texts(texts, str(path))

    def run(clips: Tensor) -> Tensor:
        return module(clips.to(device))

    return ExportedModel(run, metadata, str(path))


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _moved(program: torch.export.ExportedProgram, device: str) -> torch.nn.Module:
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, device).module()
