"""Folders of Hugging Face: ``config.json``, weights in one file or in parts, preprocessing.

What a folder says comes back beside its weights, as ``hub``: ``config`` and ``preprocessor``, the
two JSON files, empty where they are not there. A file of weights that lies in such a folder, under
the name that the libraries give it, is read with what the folder says.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from config.json_files import read_json
from models.weights.checkpoint_file import (
    NoSafetensorsError,
    read_checkpoint,
    read_described,
    read_safetensors,
    read_safetensors_told,
)

CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
HUB = "hub"  # key of what the folder says
_INDEX = ".index.json"
# In the order in which the libraries look for them.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_NAMES = tuple(name for weights in WEIGHTS for name in (weights, f"{weights}{_INDEX}"))
_ROUNDED = 1e-6
_PART = re.compile(r"(.+)-\d{5}-of-\d{5}(\.\w+)")


def hub_weights(path: str | Path) -> Path | None:
    """Return the file, or the index of files, that a path's weights lie in, if it is of a hub.

    Args:
        path: A folder, or a file in one under the name that the libraries give it.

    Raises:
        ValueError: The folder has no weights, or the file is one part of several.
    """
    path = Path(path)
    if path.is_dir():
        names = (*_NAMES, *_named_weights(path))
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise ValueError(
                f"{path} is a folder without weights: neither {', '.join(_NAMES)} lies in it, nor "
                f"a file that a {CONFIG} names; name the file of weights itself"
            )
        return found
    part = _PART.fullmatch(path.name)
    index = path.with_name(f"{part[1]}{part[2]}{_INDEX}") if part else path
    if part and index.is_file():
        raise ValueError(f"{path} is a part of the weights; name its folder, or {index}")
    return path if path.name in _NAMES and (path.parent / CONFIG).is_file() else None


def read_content(path: str | Path) -> dict[str, Any]:
    """Return the content of a folder, a ``.safetensors`` or a torch file.

    Raises:
        ValueError: The file cannot be read.
    """
    weights = hub_weights(path)
    if weights:
        return read_hub(weights)
    read = read_safetensors_told if str(path).endswith(".safetensors") else read_checkpoint
    return read(path)


def read_telling(path: str | Path) -> dict[str, Any]:
    """Return the content of a path that says more than its weights; {} of one that does not.

    Raises:
        ValueError: The file cannot be read.
    """
    weights = hub_weights(path)
    if weights:
        return read_hub(weights)
    if str(path).endswith(".safetensors") and Path(path).is_file():
        try:
            content = read_safetensors_told(path)
        except NoSafetensorsError:  # it says nothing; why, is told when its weights are read
            return {}
        return content if "config" in content else {}
    return read_described(path)


def read_hub(weights: Path) -> dict[str, Any]:
    """Return the content of what `hub_weights` found: ``state_dict`` and ``hub``.

    Raises:
        ValueError: A file cannot be read, or the index does not fit the parts.
    """
    said = {
        key: read_json(file, name) if (file := weights.with_name(name)).is_file() else {}
        for key, name in (("config", CONFIG), ("preprocessor", PREPROCESSOR))
    }
    if weights.suffix == ".safetensors":
        content = read_safetensors_told(weights)
        if "config" in content:
            return content
        return {"state_dict": content, HUB: said}
    read = _read_parts if weights.name.endswith(_INDEX) else read_checkpoint
    return {"state_dict": read(weights), HUB: said}


def files_of(path: str | Path) -> list[Path]:
    """Return the files that the weights of a path lie in: itself, or those of a folder by name."""
    return hub_files(hub_weights(path) or Path(path))


def hub_files(weights: Path) -> list[Path]:
    """Do so for what `hub_weights` found."""
    if not weights.name.endswith(_INDEX):
        return [weights]
    return [weights.with_name(name) for name in sorted({*_weight_map(weights).values()})]


def hub_said(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return ``config.json`` and ``preprocessor_config.json`` of a content, {} for either."""
    said = content.get(HUB)
    said = said if isinstance(said, dict) else {}
    return said.get("config", {}), said.get("preprocessor", {})


def hub_classes(config: Mapping[str, Any], num_classes: int) -> list[str]:
    """Return the class names in a ``config.json`` by label; [] where it has none of its own."""
    names = config.get("id2label")
    if not isinstance(names, dict) or len(names) != num_classes:
        return []
    ordered = [names.get(str(label)) for label in range(num_classes)]
    are_own = ordered != [f"LABEL_{label}" for label in range(num_classes)]
    return [str(name) for name in ordered] if are_own and None not in ordered else []


def hub_pixels(preprocessor: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Return mean and std, for pixels in 0..1, of a ``preprocessor_config.json``.

    None where it names none.
    """
    mean, std = preprocessor.get("image_mean"), preprocessor.get("image_std")
    if preprocessor.get("do_normalize") is False:
        mean, std = [0.0] * 3, [1.0] * 3
    if not (_are_three(mean) and _are_three(std)):
        return None
    factor = preprocessor.get("rescale_factor", 1 / 255)
    if preprocessor.get("do_rescale") is False:
        factor = 1.0
    if not isinstance(factor, (int, float)) or not factor > 0:
        return None
    scale = 1 if abs(255 * factor - 1) < _ROUNDED else 255 * factor
    return [value / scale for value in mean], [value / scale for value in std]


def _are_three(values: Any) -> TypeGuard[list[float]]:
    is_list = isinstance(values, list) and len(values) == 3
    return is_list and all(isinstance(value, (int, float)) for value in values)


def _read_file(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    return read_checkpoint(path)


def _read_parts(index: Path) -> dict[str, Tensor]:
    weight_map = _weight_map(index)
    tensors: dict[str, Tensor] = {}
    places: dict[str, Path] = {}
    for part in hub_files(index):
        for name, value in _read_file(part).items():
            if name in places:
                raise ValueError(f"{index}: {name} lies in {places[name].name} and in {part.name}")
            if weight_map.get(name) != part.name:
                raise ValueError(f"{index} does not name {name}, which lies in {part.name}")
            tensors[name], places[name] = value, part
    lacking = [name for name in weight_map if name not in tensors]
    if lacking:
        name = lacking[0]
        raise ValueError(f"{index}: {name} is not in {weight_map[name]}, where it should lie")
    return tensors


def _weight_map(index: Path) -> dict[str, str]:
    found = read_json(index, "the index of weights").get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ValueError(f"{index} holds no weight_map, from the names of tensors to files")
    for name in found.values():
        if not isinstance(name, str) or not _is_plain(name):
            raise ValueError(f"{index} names {name!r}; the parts lie beside it, as {WEIGHTS}")
    return found


def _named_weights(folder: Path) -> list[str]:
    """Return the file of weights that the folder's config names, as ours do."""
    if not (folder / CONFIG).is_file():
        return []
    name = read_json(folder / CONFIG, CONFIG).get("weights")
    return [name] if isinstance(name, str) and _is_plain(name) else []


def _is_plain(name: str) -> bool:
    """Tell whether a name is that of a file of weights in the same folder."""
    is_there = not re.search(r"[/\\\0:]", name) and not name.startswith(".")
    return is_there and name.endswith((".safetensors", ".bin"))
