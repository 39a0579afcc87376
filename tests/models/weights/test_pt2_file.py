"""Files that torch.export.load would run code from; each does, where nothing looks at it first."""

import io
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from models.exported import load_exported
from models.weights.pt2_file import GRAPH, SAMPLES, check_pt2
from tests.models.test_exported import METADATA, SHAPE, pixels

Change = Callable[[dict[str, bytes]], None]


class Runs:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, clips: Tensor) -> Tensor:
        return self.linear(clips.float().mean((1, 3, 4)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "m.pt2"
    example = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    dynamic = {"clips": {0: Dim("batch", min=1)}}
    program = torch.export.export(Head().eval(), (example,), dynamic_shapes=dynamic)
    torch.export.save(program, path, extra_files=METADATA.texts())
    return path


def changed(path: Path, target: Path, change: Change) -> Path:
    """Write a file anew by torch's own writer, with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    change(entries)
    writer = torch._C.PyTorchFileWriter(str(target))
    for name, data in entries.items():
        if not name.startswith(".data/"):  # written by the writer
            writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return target


def in_graph(edit: Callable[[dict[str, Any]], None]) -> Change:
    def change(entries: dict[str, bytes]) -> None:
        graph = json.loads(entries[GRAPH])
        edit(graph)
        entries[GRAPH] = json.dumps(graph).encode()

    return change


def in_table(folder: str, **fields: Any) -> Change:
    def change(entries: dict[str, bytes]) -> None:
        name = f"data/{folder}/model_{folder}_config.json"
        table = json.loads(entries[name])
        next(iter(table["config"].values())).update(fields)
        entries[name] = json.dumps(table).encode()

    return change


def pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def call_function(command: str) -> Callable[[dict[str, Any]], None]:
    def edit(graph: dict[str, Any]) -> None:
        node = graph["graph_module"]["graph"]["nodes"][0]
        node["target"] = "torch.os.system"
        node["inputs"] = [{"name": "", "arg": {"as_string": command}, "kind": 1}]

    return edit


def first_size(text: str) -> Callable[[dict[str, Any]], None]:
    def edit(graph: dict[str, Any]) -> None:
        values = graph["graph_module"]["graph"]["tensor_values"]
        expressions = re.findall(r"Symbol\([^)]*\)", json.dumps(values))
        replaced = json.dumps(values).replace(json.dumps(expressions[0])[1:-1], text)
        graph["graph_module"]["graph"]["tensor_values"] = json.loads(replaced)

    return edit


def hidden_size(graph: dict[str, Any]) -> None:
    """Put a text that is evaluated where a reader of texts by their keys would not look."""
    values = graph["graph_module"]["graph"]["tensor_values"]
    sizes = next(v for v in values.values() if "as_expr" in v["sizes"][0])["sizes"]
    sizes[0]["as_expr"]["expr_str"] = {"metadata": {"stack_trace": "exec(chr(49))"}}


def renamed(old: str, new: str) -> Change:
    def change(entries: dict[str, bytes]) -> None:
        entries[GRAPH] = entries[GRAPH].replace(json.dumps(old).encode(), json.dumps(new).encode())

    return change


def test_what_the_exporter_writes_is_loaded(whole: Path, tmp_path: Path) -> None:
    same = changed(whole, tmp_path / "m.pt2", lambda entries: None)
    clips = pixels(2, *SHAPE)
    assert (load_exported(same)(clips) == load_exported(whole)(clips)).all()


def test_sample_inputs_are_plain_tensors_or_not_there(whole: Path, tmp_path: Path) -> None:
    check_pt2(changed(whole, tmp_path / "m.pt2", lambda entries: entries.update({SAMPLES: b""})))


@pytest.mark.parametrize("place", ["samples", "weight", "constant", "opaque", "old_weights"])
def test_entry_with_a_pickle_is_refused_by_name_and_not_run(
    place: str, whole: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    evil = pickled(Runs(ran))

    def change(entries: dict[str, bytes]) -> None:
        if place == "samples":
            entries[SAMPLES] = evil
        elif place == "old_weights":
            entries["data/weights/model.pt"] = evil
        elif place == "opaque":
            entries["data/constants/opaque_obj_0"] = pickle.dumps(Runs(ran))
        else:
            folder, entry = ("weights", "weight_0") if place == "weight" else ("constants", "t")
            entries[f"data/{folder}/{entry}"] = evil
            name = f"data/{folder}/model_{folder}_config.json"
            table = json.loads(entries[name])
            row = {"path_name": entry, "is_param": False, "use_pickle": True, "tensor_meta": None}
            table["config"]["evil"] = row
            entries[name] = json.dumps(table).encode()

    path = changed(whole, tmp_path / "m.pt2", change)
    with pytest.raises(ValueError, match=r"m\.pt2 is not loaded: its entry .*run code") as caught:
        load_exported(path)
    assert "\n" not in str(caught.value)
    assert not ran.exists()
    if place in ("samples", "old_weights"):
        with suppress(Exception):  # whatever torch says after it has run
            torch.export.load(path)
        assert ran.exists()  # the code in it does run where it is let


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (in_graph(call_function("true")), "has target 'torch.os.system'"),
        (in_graph(first_size("exec(chr(49))")), "has expr_str 'exec(chr(49))'"),
        (in_graph(first_size("Mul(" * 400 + ")" * 400)), "has expr_str 'Mul(Mul("),
        (in_graph(lambda graph: graph.update(guards_code=["exit(1)"])), "has guards_code"),
        (in_graph(lambda graph: graph.update(guards_code="exit(1)")), "has guards_code"),
        (in_graph(hidden_size), "has expr_str \"{'metadata'"),
        (renamed("mean", "x = exit(1)\n y"), r"has name 'x = exit(1)\n y'"),
        (renamed("mean", "class"), "has name 'class'"),
        (renamed("torch.ops.aten.mean.dim", "torch.ops.aten.from_file.default"), "has target"),
        (in_table("weights", use_pickle=True), "data/weights/weight_0', of 'linear.weight', needs"),
        (
            in_table("weights", path_name="../weight_0"),
            "it has no entry 'data/weights/../weight_0'",
        ),
        (in_table("weights", tensor_meta={"sizes": [{"as_int": 2**50}]}), "is larger than the fil"),
        (lambda entries: entries.pop(GRAPH), f"it has no entry {GRAPH}"),
        (lambda entries: entries.update({GRAPH: b"{"}), f"its entry {GRAPH} is no JSON"),
        (
            lambda entries: entries.update({"data/aotinductor/m/a.so": b""}),
            "aotinductor/m/a.so' is",
        ),
    ],
)
def test_what_the_exporter_does_not_write_is_refused(
    change: Change, text: str, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        load_exported(changed(whole, tmp_path / "m.pt2", change))
    assert str(caught.value).startswith(str(tmp_path / "m.pt2"))
    assert "\n" not in str(caught.value)


def test_spec_of_arguments_has_plain_containers(whole: Path, tmp_path: Path) -> None:
    spec = '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'

    def edit(graph: dict[str, Any]) -> None:
        graph["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = spec

    with pytest.raises(ValueError, match=r"has in_spec .*defaultdict"):
        check_pt2(changed(whole, tmp_path / "m.pt2", in_graph(edit)))


def test_damaged_file_is_named(whole: Path, tmp_path: Path) -> None:
    data = bytearray(whole.read_bytes())
    data[data.index(b'"graph_module"') + 3] ^= 1
    (tmp_path / "m.pt2").write_bytes(data)
    with pytest.raises(ValueError, match=r"m\.pt2 is damaged: the bytes of m/models/model\.json"):
        check_pt2(tmp_path / "m.pt2")
