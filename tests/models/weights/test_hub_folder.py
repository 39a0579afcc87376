import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from models.weights.hub_folder import files_of, read_content, read_telling

TENSORS = {"a": torch.arange(3.0), "b": torch.ones(2), "c": torch.zeros(1)}
CONFIG = {"model_type": "vit", "id2label": {"0": "x"}}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def folder_of(path: Path, **files: dict[str, Tensor]) -> Path:
    """Write a folder whose parts hold tensors, by the end of the part's name."""
    path.mkdir(exist_ok=True)
    write_json(path / "config.json", CONFIG)
    names = {part: f"model-0000{part[-1]}-of-00002.safetensors" for part in files}
    for part, tensors in files.items():
        save_file(tensors, path / names[part])
    weight_map = {name: names[part] for part, tensors in files.items() for name in tensors}
    write_json(path / "model.safetensors.index.json", {"weight_map": weight_map})
    return path


def parts_of(path: Path) -> Path:
    tensors = dict(TENSORS)
    return folder_of(path, part2={"c": tensors.pop("c")}, part1=tensors)


def is_same(content: dict[str, Any]) -> bool:
    state = content["state_dict"]
    return {*state} == {*TENSORS} and all(torch.equal(state[name], TENSORS[name]) for name in state)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_folder_and_file_in_it_are_read_with_what_the_folder_says(
    name: str, tmp_path: Path
) -> None:
    (save_file if name.endswith("safetensors") else torch.save)(TENSORS, tmp_path / name)
    write_json(tmp_path / "config.json", CONFIG)
    for path in (tmp_path, tmp_path / name, str(tmp_path)):
        content = read_content(path)
        assert is_same(content)
        assert content["hub"] == {"config": CONFIG, "preprocessor": {}}
        assert files_of(path) == [tmp_path / name]
    write_json(tmp_path / "preprocessor_config.json", {"image_mean": [0.5]})
    assert read_telling(tmp_path)["hub"]["preprocessor"] == {"image_mean": [0.5]}


def test_another_name_or_folder_says_nothing_of_a_file(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "mine.safetensors")
    write_json(tmp_path / "config.json", CONFIG)
    assert read_content(tmp_path / "mine.safetensors").keys() == TENSORS.keys()
    (tmp_path / "config.json").unlink()
    save_file(TENSORS, tmp_path / "model.safetensors")
    assert read_content(tmp_path / "model.safetensors").keys() == TENSORS.keys()
    assert read_content(tmp_path)["hub"] == {"config": {}, "preprocessor": {}}


def test_parts_become_one(tmp_path: Path) -> None:
    folder = parts_of(tmp_path / "parts")
    for path in (folder, folder / "model.safetensors.index.json"):
        assert is_same(read_content(path))
    assert [path.name[:11] for path in files_of(folder)] == ["model-00001", "model-00002"]
    with pytest.raises(ValueError, match=r"is a part of the weights; name its folder, or"):
        read_content(folder / "model-00001-of-00002.safetensors")


def test_parts_that_do_not_fit_their_index_are_errors(tmp_path: Path) -> None:
    one, other = torch.ones(1), torch.ones(1)
    folder = folder_of(tmp_path / "twice", part1={"a": one, "b": other}, part2={"c": one})
    save_file({"b": other, "c": one}, folder / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"index\.json: b lies in .*00001.* and in .*00002"):
        read_content(folder)
    save_file({"c": one, "d": other}, folder / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"index\.json does not name d, which lies in"):
        read_content(folder)
    save_file({}, folder / "model-00002-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"index\.json: c is not in model-00002"):
        read_content(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ValueError, match=r"model-00002-of-00002\.safetensors' are not a file"):
        read_content(folder)


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "x.py", 3, None, ".bin"],
)
def test_index_names_nothing_outside_of_its_folder(name: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "model.safetensors.index.json", {"weight_map": {"a": name}})
    with pytest.raises(ValueError, match=r"index\.json names .*; the parts lie beside it"):
        read_content(tmp_path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not JSON"),
        ("[]", "holds a list"),
        ("{" * 9, "is not JSON"),
        ('{"a":' * 100_000, "is nested too deeply|is not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "a number of 5000 digits"),
        ("\xff", "is not JSON"),
    ],
)
def test_config_that_is_no_object_is_an_error_that_names_it(
    text: str, fault: str, tmp_path: Path
) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=rf"config\.json '?.*({fault})"):
        read_content(tmp_path)


def test_folder_without_weights_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a folder without weights: neither model\.safetensor"):
        read_content(tmp_path)
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="is a folder without weights"):
        read_content(tmp_path)


def test_index_without_a_map_is_an_error(tmp_path: Path) -> None:
    for content in ({}, {"weight_map": []}, {"weight_map": {}}):
        write_json(tmp_path / "model.safetensors.index.json", content)
        with pytest.raises(ValueError, match=r"index\.json holds no weight_map"):
            read_content(tmp_path)


def test_bin_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"a": torch.ones(1), "b": Malicious()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is not a readable checkpoint"):
        read_content(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_folder_names_its_weights_itself(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "mine.safetensors")
    write_json(tmp_path / "config.json", {"weights": "mine.safetensors"})
    assert is_same(read_content(tmp_path))
    write_json(tmp_path / "config.json", {"weights": "../mine.safetensors"})
    with pytest.raises(ValueError, match="is a folder without weights"):
        read_content(tmp_path)
