from collections.abc import Callable
from pathlib import Path

import pytest

from config import load_cfg

SIZES = "VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}"
RECIPE = "k400/k400_tokshift_div4_8x32_base_224.yml"
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_yml(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write_yml


def test_experiment_of_a_few_lines_inherits_the_rest(write: Write, repository: Path) -> None:
    mine = write("mine.yml", f"_BASE_: {RECIPE}\nMODEL: {{NUM_CLASSES: 3}}\nDATA: {{ROOT: mine}}\n")
    cfg, base = load_cfg(mine), load_cfg(repository / "config" / RECIPE)
    base.defrost()
    base.MODEL.NUM_CLASSES, base.DATA.ROOT, base.OUTPUT_DIR = 3, "mine", cfg.OUTPUT_DIR
    assert cfg == base


def test_base_beside_the_file_comes_before_that_of_the_project(write: Write) -> None:
    write("sub/fir_small.yml", "_BASE_: ../top.yml\nOPTIM: {LR: 0.3}\nSEED: 4\n")
    write("top.yml", "OPTIM: {LR: 0.1, MOMENTUM: 0.5}\n")
    cfg = load_cfg(write("sub/mine.yml", "_BASE_: fir_small.yml\nSEED: 5\n"))
    assert (cfg.OPTIM.LR, cfg.OPTIM.MOMENTUM, cfg.SEED) == (0.3, 0.5, 5)


def test_circle_is_an_error_with_its_files(write: Write) -> None:
    write("b.yml", "_BASE_: c.yml\n")
    write("c.yml", "_BASE_: b.yml\n")
    a = write("a.yml", "_BASE_: b.yml\n")
    with pytest.raises(ValueError, match=r"a\.yml: .*circle: .*a\.yml -> .*b.yml -> .*c.yml"):
        load_cfg(a)


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("OPTIM: {LEARN: 1}", r"b\.yml \(_BASE_ of .*a\.yml\): unknown key 'OPTIM.LEARN'"),
        ("TRAIN: {EPOCHS: ten}", r"b\.yml \(_BASE_ of .*a\.yml\): TRAIN.EPOCHS takes an int"),
        ("TRAIN: {EPOCHS: -3}", r"b\.yml \(_BASE_ of .*a\.yml\):\n  TRAIN.EPOCHS=-3"),
    ],
)
def test_fault_of_a_base_is_told_with_the_chain(base: str, reason: str, write: Write) -> None:
    write("b.yml", base)
    with pytest.raises(ValueError, match=reason):
        load_cfg(write("a.yml", "_BASE_: b.yml\n"))


@pytest.mark.parametrize("name", ["gone.yml", "[a, b]", "''", "{a: 1}"])
def test_base_that_is_none_is_an_error(name: str, write: Write) -> None:
    with pytest.raises(ValueError, match=r"a\.yml: _BASE_="):
        load_cfg(write("a.yml", f"_BASE_: {name}\n"))


def test_backbone_of_a_child_takes_the_place_of_its_base_s_sizes(write: Write) -> None:
    write("b.yml", f"MODEL: {{BACKBONE: custom, {SIZES}}}")
    cfg = load_cfg(write("a.yml", "_BASE_: b.yml\nMODEL: {BACKBONE: ViT-S_16}"))
    assert (cfg.MODEL.VIT.HIDDEN_SIZE, cfg.MODEL.VIT.NUM_LAYERS) == (384, 12)


@pytest.mark.parametrize("name", ["custom", "toy", "small"])
def test_sizes_of_one_s_own_have_a_name(name: str, write: Write) -> None:
    cfg = load_cfg(write("a.yml", f"MODEL: {{BACKBONE: {name}, {SIZES}}}"))
    assert cfg.MODEL.VIT.HIDDEN_SIZE == 16


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_base", r"MODEL.BACKBONE='vit_base'; choose one of .*, or custom .*nearest is ViT-"),
        ("ViT-B_16", r"'ViT-B_16', but MODEL.VIT.PATCH_SIZE=8, not 16; .*call the backbone custom"),
    ],
)
def test_name_that_says_something_else_than_the_sizes_is_an_error(
    name: str, reason: str, write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    mine = write("a.yml", f"MODEL: {{BACKBONE: {name}, {SIZES}}}")
    with pytest.raises(ValueError, match=rf"a\.yml: {reason}|a\.yml: MODEL.BACKBONE={reason}"):
        load_cfg(mine)
    plain = write("b.yml", f"MODEL: {{BACKBONE: custom, {SIZES}}}")
    saved = write("config.yml", load_cfg(plain, ["MODEL.BACKBONE", "ViT-B_16"]).dump())
    assert "MODEL.VIT overrides sizes of MODEL.BACKBONE=ViT-B_16" in caplog.text
    assert load_cfg(saved).MODEL.VIT.HIDDEN_SIZE == 16  # what a run has saved can be read again


def test_config_that_is_not_here_is_the_project_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, write: Write
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_cfg("config/quickstart.yml").DATA.NAME == "toy"
    write("config/quickstart.yml", "DATA: {NAME: mine}")
    assert load_cfg("config/quickstart.yml").DATA.NAME == "mine"
    with pytest.raises(ValueError, match=r"cannot read the config 'config/gone.yml'"):
        load_cfg("config/gone.yml")


def test_paths_are_read_as_a_shell_reads_them(
    monkeypatch: pytest.MonkeyPatch, write: Write, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SET", "ucf")
    mine = write("a.yml", "OUTPUT_DIR: ~/runs/x\nDATA: {ROOT: $HOME/$SET, VAL_LIST: '${SET}.txt'}")
    cfg = load_cfg(mine, ["DATA.TRAIN_LIST", "~/t.txt", "DISTILL.TEACHER", "$SET.pth"])
    assert (cfg.OUTPUT_DIR, cfg.DATA.ROOT) == ("/home/me/runs/x", "/home/me/ucf")
    assert (cfg.DATA.VAL_LIST, cfg.DATA.TRAIN_LIST) == ("ucf.txt", "/home/me/t.txt")
    assert cfg.DISTILL.TEACHER == "ucf.pth"
    with pytest.raises(ValueError, match=r"a\.yml: DATA.ROOT='\$NO/x': the variable 'NO' is not"):
        load_cfg(write("a.yml", "DATA: {ROOT: $NO/x}"))
    with pytest.raises(ValueError, match=r"the command line: DATA.ROOT='\$NO': the variable 'NO'"):
        load_cfg(mine, ["DATA.ROOT", "$NO"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "$NO").mkdir()
    assert load_cfg(mine, ["DATA.ROOT", "$NO"]).DATA.ROOT == "$NO"


def test_fault_is_blamed_on_who_set_the_value(write: Write) -> None:
    mine = write("mine.yml", "TRAIN: {EPOCHS: 5}\nVAL: {NUM_CLIPS: 0}")
    with pytest.raises(ValueError, match=r"^the command line:\n  TRAIN.EPOCHS=-3") as caught:
        load_cfg(mine, ["TRAIN.EPOCHS", "-3"])
    assert f"\n{mine}:\n  VAL.NUM_CLIPS=0" in str(caught.value)
