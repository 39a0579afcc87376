"""Small models, exported once for all tests: each ONNX export takes seconds."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

from config import load_cfg_text
from engine.scores import Scores
from main_ddp_shift import main as train_or_test
from models import build_model
from models.exported import ExportedModel, load_exported
from models.pretrained import load_weights
from ops.pixels import normalize
from ops.token_shift import TokenShift
from tools.export import main
from tools.exporting.export_check import read_clips

T, SIZE, NUM_CLASSES = 4, 16, 3
NAMES = ["up", "down", "around"]
EXACT = 1e-5  # float32 sums in another order, logits of about 1
YML = """
DATA:
  ROOT: {root}
  VAL_LIST: {root}/list.txt
  CLASS_NAMES: {root}/classes.txt
  NUM_FRAMES: 4
  FRAME_STRIDE: 1
  IMAGE_SIZE: 16
  TEST_SHORT_SIDE: 16
  PIXEL_STD: [0.25, 0.5, 0.4]
  WORKERS: 0
MODEL:
  NUM_CLASSES: 3
  VIT: {{PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 2}}
  TSM: {{LAYERS: [1, 1, 1, 1], WIDTH: 8, FOLD_DIV: 4}}
TEST: {{NUM_CLIPS: 2, NUM_CROPS: 1, EVEN_STARTS: True}}
"""
VARIANTS: dict[str, list[str]] = {  # name: words of the export
    "tokshift": ["--int8", "MODEL.NAME", "tokshift", "MODEL.BACKBONE", "small"],
    "tsm": ["--int8", "MODEL.NAME", "tsm", "MODEL.BACKBONE", "resnet18"],
    "timesformer": ["MODEL.NAME", "timesformer", "MODEL.BACKBONE", "small"],
    "vit": [
        *("--views", "2x1", "--normalized", "--opset", "18", "TEST.AVERAGE_LOGITS", "False"),
        *("MODEL.NAME", "vit", "MODEL.BACKBONE", "small"),
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a yml, five videos of noise, and random weights of each model."""
    folder = tmp_path_factory.mktemp("export")
    rng = np.random.default_rng(0)
    for video in range(5):
        (folder / f"v{video}").mkdir()
        for number in range(1, 13):
            noise = rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"v{video}" / f"img_{number:05d}.png")
    (folder / "list.txt").write_text("".join(f"v{k} 12 {k % 3}\n" for k in range(5)))
    (folder / "classes.txt").write_text("\n".join(NAMES))
    (folder / "small.yml").write_text(YML.format(root=folder))
    for name in VARIANTS:
        torch.manual_seed(0)
        model = build_model(experiment(folder, name))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        torch.save({"state_dict": model.state_dict()}, folder / f"{name}.pth")
    return folder


@pytest.fixture(autouse=True)
def times_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.exporting.export_check.SECONDS_TIMED", 0.0)


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """What the tool printed for each variant that is exported so far."""
    return {}


@pytest.fixture(scope="module")
def opened() -> dict[Path, ExportedModel]:
    return {}


@pytest.fixture(params=[(name, kind) for name in VARIANTS for kind in ("onnx", "pt2")], ids=str)
def exported(
    folder: Path,
    written: dict[str, str],
    opened: dict[Path, ExportedModel],
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> ExportedModel:
    """Each variant's file of each kind."""
    name, kind = request.param
    path = export(folder, name, written, capsys) / f"{name}.{kind}"
    if path not in opened:
        opened[path] = load_exported(path)
    return opened[path]


def export(
    folder: Path, name: str, written: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> Path:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    if name not in written:
        outputs = ["--output", folder / "out" / f"{name}.onnx"]
        run(folder, name, *outputs, "--output", folder / "out" / f"{name}.pt2", *VARIANTS[name])
        written[name] = capsys.readouterr().out
    return folder / "out"


def run(folder: Path, name: str, *words: Any) -> None:
    known = ["--checkpoint", folder / f"{name}.pth", "--cfg", folder / "small.yml"]
    main([str(word) for word in [*known, *words]])


def experiment(folder: Path, name: str) -> CfgNode:
    keys = VARIANTS[name][VARIANTS[name].index("MODEL.NAME") :]
    return load_cfg_text(YML.format(root=folder), "test", keys)


def eager(folder: Path, name: str, clips: Tensor) -> Tensor:
    """The model's own logits for uint8 clips; for views (B, V, T, ...) their mean probability."""
    cfg = experiment(folder, name)
    model = build_model(cfg).eval()
    load_weights(model, folder / f"{name}.pth", head_may_differ=False)
    with torch.inference_mode():
        if clips.dim() == 6:
            return torch.stack([eager(folder, name, views).softmax(-1).mean(0) for views in clips])
        return model(normalize(clips, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD))


def name_of(exported: ExportedModel) -> str:
    return Path(exported.path).stem


def random_clips(exported: ExportedModel, batch: int) -> Tensor:
    shape = (batch, *exported.metadata.input_shape)
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_every_batch_size_gives_the_models_logits(
    folder: Path, exported: ExportedModel, batch: int
) -> None:
    clips = random_clips(exported, batch)
    expected = eager(folder, name_of(exported), clips)
    assert expected.shape == (batch, NUM_CLASSES)
    torch.testing.assert_close(exported(clips), expected, atol=EXACT, rtol=0)


def test_clips_of_a_batch_do_not_leak_into_each_other(exported: ExportedModel) -> None:
    clips = random_clips(exported, 5)
    alone = torch.cat([exported(clip[None]) for clip in clips])
    torch.testing.assert_close(exported(clips), alone, atol=EXACT, rtol=0)
    assert (alone[0] - alone[1]).abs().max() > 100 * EXACT


def test_the_order_of_the_frames_matters_as_in_the_model(
    folder: Path, exported: ExportedModel
) -> None:
    name, clips = name_of(exported), random_clips(exported, 2)
    shuffled = clips.index_select(-4, torch.tensor([2, 0, 3, 1]))
    change = (exported(clips) - exported(shuffled)).abs().max()
    assert change < EXACT if name == "vit" else change > 1e-3
    expected = eager(folder, name, shuffled)
    torch.testing.assert_close(exported(shuffled), expected, atol=EXACT, rtol=0)


def test_the_file_says_what_its_user_must_know(folder: Path, exported: ExportedModel) -> None:
    name = name_of(exported)
    cfg, metadata = load_cfg_text(exported.config, exported.path), exported.metadata
    assert name == cfg.MODEL.NAME
    assert exported.class_names == NAMES
    assert exported.preprocessing["std"] == [0.25, 0.5, 0.4]
    assert (exported.preprocessing["num_frames"], exported.preprocessing["image_size"]) == (T, SIZE)
    assert metadata.checkpoint == str(folder / f"{name}.pth")
    assert metadata.torch_version == torch.__version__
    has_views = name == "vit"
    assert metadata.input_shape == [2] * has_views + [T, 3, SIZE, SIZE]
    assert metadata.views == ("2x1" if has_views else "none")
    assert metadata.consensus == ("probabilities" if has_views else "logits")
    assert metadata.input == ("normalized" if has_views else "uint8")
    if exported.path.endswith(".onnx"):
        assert metadata.opset == 18 if has_views else metadata.opset >= 18
        assert str(folder.parent).encode() not in graph_without_metadata(exported.path)


def graph_without_metadata(path: str) -> bytes:
    onnx = pytest.importorskip("onnx")
    return onnx.load(path).graph.SerializeToString()


def test_averaged_views_are_those_of_the_test(
    folder: Path, written: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = export(folder, "vit", written, capsys)
    words = ["--cfg", folder / "small.yml", "--evaluate", "--output", folder / "run"]
    words += ["--resume", folder / "vit.pth", *VARIANTS["vit"][5:]]
    train_or_test([str(word) for word in words])
    scores = Scores.load(folder / "run/scores.npz")
    model = load_exported(out / "vit.onnx")
    cfg = load_cfg_text(model.config, "test")
    views = read_clips(cfg, [], num_videos=0, has_views=True)
    assert views is not None
    np.testing.assert_allclose(
        model(views.samples.numpy()), scores.averaged(average_logits=False), atol=EXACT
    )


def test_the_report_shows_each_comparison(
    folder: Path, written: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    export(folder, "tokshift", written, capsys)
    shown = written["tokshift"]
    for text in (
        "torch.export   ONNX Runtime",
        "random clips, batch 5, frames shuffled",
        f"5 videos of {folder}/list.txt, frames shuffled",
        "logits change when the frames are shuffled",
        "INT8: 8 linear layers",  # the last block makes its query, and keys with values, apart
        "same answer for",
        "top-1",
        f"wrote {folder}/out/tokshift.int8.onnx",
    ):
        assert text in shown
    assert not list((folder / "out").glob(".export-*"))


def test_a_head_alone_is_quantized_too(
    folder: Path, written: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    export(folder, "tsm", written, capsys)
    assert "INT8: 1 linear layers" in written["tsm"]


def test_int8_stays_near_and_is_marked(
    folder: Path, written: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = export(folder, "tokshift", written, capsys)
    full, small = (load_exported(out / f"tokshift{kind}.onnx") for kind in ("", ".int8"))
    assert small.metadata == replace(full.metadata, quantization="int8")
    clips = random_clips(full, 5)
    differences = (small(clips) - full(clips)).abs().max() / full(clips).abs().max()
    assert 0 < differences < 0.1  # weights of 8 bits, twice per block


@pytest.mark.parametrize(
    "fault",
    [
        # the known one: the batch folded into time, right for a single clip alone
        lambda shift, x: shift(x.flatten(0, 1)[None])[0].unflatten(0, x.shape[:2]),
        lambda shift, x: x,  # the shift lost in tracing
        lambda shift, x: shift(x.flip(1)).flip(1),  # the two directions swapped
    ],
    ids=["batch folded", "no shift", "directions swapped"],
)
def test_a_wrong_shift_in_the_graph_is_found_and_nothing_is_left(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: Any,
) -> None:
    shift = TokenShift.forward

    def forward(self: TokenShift, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return fault(lambda tokens: shift(self, tokens), x)
        return shift(self, x)

    monkeypatch.setattr(TokenShift, "forward", forward)
    with pytest.raises(SystemExit) as stopped:
        run(folder, "tokshift", "--output", tmp_path / "m.pt2", *VARIANTS["tokshift"][1:])
    assert stopped.value.code == 1
    assert "differ from the model's by more than 0.0001 on random clips" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_named_videos_are_compared_on(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--output", tmp_path / "m.pt2", *VARIANTS["tokshift"][1:]]
    run(folder, "tokshift", *words, "--clips", folder / "v0", folder / "v3")
    assert "2 named videos, frames shuffled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--output", "m.pth"], r"--output takes one \.onnx file, one \.pt2 file or both, got m"),
        (["--output", "a.pt2", "--output", "b.pt2"], r"or both, got a\.pt2 b\.pt2"),
        (["--output", "m.pt2", "--int8"], r"--int8 and --opset are for an \.onnx file"),
        (["--output", "m.onnx", "--opset", "9"], "--opset is 18 to [0-9]+, got 9"),
        (["--output", "m.pt2", "--views", "3"], "--views is clips x crops, as .* got '3'"),
        (["--output", "m.pt2", "--views", "1x4"], r"TEST\.NUM_CROPS"),
        (
            ["--output", "m.pt2", "--views", "10x1", "DATA.SAMPLING", "uniform"],
            r"--views 10x1: with DATA\.SAMPLING='uniform' .* a video has 1x1 views",
        ),
        (["--output", "m.pt2", "--clips", "nosuch"], "nosuch"),
        (
            ["--output", "m.pt2", "MODEL.NAME", "tsm", "MODEL.TSM.MODALITY", "Flow"],
            r"MODEL\.TSM\.MODALITY='Flow'",
        ),
    ],
)
def test_what_cannot_be_done_is_an_error(
    folder: Path,
    words: list[str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    backbone = "resnet18" if "tsm" in words else "small"
    with pytest.raises(SystemExit):
        run(folder, "tokshift", *["MODEL.BACKBONE", backbone], *words)
    assert re.search(text, capsys.readouterr().out)
    assert not list(tmp_path.iterdir())
