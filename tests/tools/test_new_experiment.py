import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from config import load_cfg
from models import build_model
from models.pretrained import load_weights
from tools.new_experiment import main


@pytest.fixture
def videos(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    whole = make_clip("x264.mp4").read_bytes()
    for name in ("up", "down", ".hidden"):
        for number in range(5):
            path = tmp_path / f"my videos/{name}/{number}.MP4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole)
    return tmp_path / "my videos"


def test_folder_becomes_lists_and_a_config_that_can_be_edited(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--videos", "my videos", "--no-run", "TRAIN.AMP", "auto"]) == 0
    folder = Path("experiments/my videos")
    cfg = load_cfg(folder / "experiment.yml")
    assert (cfg.OUTPUT_DIR, cfg.DATA.ROOT) == ("runs/my videos", "my videos")
    assert (cfg.MODEL.NUM_CLASSES, cfg.MODEL.BACKBONE) == (2, "small")
    assert cfg.TEST.AFTER_TRAINING
    assert [
        len(Path(path).read_text().splitlines())
        for path in (cfg.DATA.TRAIN_LIST, cfg.DATA.VAL_LIST)
    ] == [8, 2]
    assert Path(cfg.DATA.CLASS_NAMES).read_text() == "down\nup\n"
    shown = capsys.readouterr().out
    for name in ("train.txt", "val.txt", "classes.txt", "experiment.yml"):
        assert f"{folder / name}: " in shown
    assert shown.endswith(
        "./train.sh --cfg 'experiments/my videos/experiment.yml' TRAIN.AMP auto\n"
    )

    (folder / "experiment.yml").write_text("_BASE_: fir_small.yml\nSEED: 7\n")
    assert main(["--videos", "my videos", "--no-run"]) == 0
    assert "is there already and is taken as it is" in capsys.readouterr().out
    assert load_cfg(folder / "experiment.yml").SEED == 7


def test_weights_say_the_size_of_the_model(videos: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.npz"
    np.savez(weights, **{"embedding/kernel": np.zeros((16, 16, 3, 192), np.float32)})
    words = ["--videos", videos, "--experiment", tmp_path / "e", "--tune_from", weights, "--no-run"]
    assert main([str(word) for word in words]) == 0
    cfg = load_cfg(tmp_path / "e/experiment.yml")
    assert (cfg.MODEL.BACKBONE, cfg.MODEL.NUM_CLASSES) == ("ViT-Ti_16", 2)
    assert (cfg.OPTIM.NAME, cfg.TRAIN.TUNE_DROPS_HEAD) == ("adamw", True)


def test_name_of_timm_says_the_size_of_the_model(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    timm = pytest.importorskip("timm")
    narrow = {"embed_dim": 48, "depth": 2, "num_heads": 4, "img_size": 28}
    create = partial(timm.create_model, **narrow)
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: create(name))
    words = ["--videos", videos, "--experiment", tmp_path / "e", "--no-run", "--tune_from"]
    name = "timm:vit_small_patch14_dinov2"
    assert main([str(word) for word in [*words, name]]) == 0
    cfg = load_cfg(tmp_path / "e/experiment.yml")
    assert (cfg.MODEL.NAME, cfg.MODEL.NUM_CLASSES, cfg.DATA.IMAGE_SIZE) == ("tokshift", 2, 224)
    sizes = cfg.MODEL.VIT
    assert (sizes.PATCH_SIZE, sizes.NUM_HEADS, sizes.NUM_LAYERS) == (14, 4, 2)
    assert sizes.LAYER_SCALE
    assert cfg.DATA.PIXEL_MEAN == [0.485, 0.456, 0.406]
    report = load_weights(build_model(cfg), name, drops_head=True)
    assert report.resized["pos_embed"].startswith("2x2 to 16x16 patches, bicubic")
    words[3] = tmp_path / "f"
    assert main([str(word) for word in [*words, "timm:vit_base_patch16_siglip_gap_224"]]) == 2
    assert "without a class token" in capsys.readouterr().err
    assert main([str(word) for word in [*words, "torchvision:nonsense"]]) == 2
    assert "cannot be had from torchvision" in capsys.readouterr().err
    assert not (tmp_path / "f").exists()


def test_folder_without_classes_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    words = ["--videos", tmp_path / "empty", "--experiment", tmp_path / "e", "--no-run"]
    assert main([str(word) for word in words]) == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "e").exists()


def test_scripts_run_from_any_folder(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("_BASE_: quickstart.yml\nTRAIN: {EPOCS: 1}\n")
    for script, words in (("train.sh", []), ("test.sh", ["--resume", "x.pth"])):
        done = subprocess.run(
            ["bash", repository / script, "--cfg", "mine.yml", *words],
            cwd=tmp_path,
            env=os.environ | {"PROCESSES": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "error: mine.yml: unknown key 'TRAIN.EPOCS'; the nearest valid" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yml"]
