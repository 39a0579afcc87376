import ast
import re
from pathlib import Path

import pytest

from config import get_defaults
from config.loading import all_leaves

KEYS = [key for key, _ in all_leaves(get_defaults())]
FILES = ("defaults.py", "model_defaults.py", "training_defaults.py")


def undocumented(lines: list[str]) -> list[str]:
    """Return the keys whose run of assignments does not begin below a comment."""
    missing, is_below_comment = [], False
    for line in lines:
        match = re.match(r"_C\.([\w.]+) = ", line)
        if not match:
            is_below_comment = line.startswith("# ")
        elif line.endswith("CN()"):
            is_below_comment = False
        elif not is_below_comment:
            missing.append(match[1])
    return missing


def test_every_key_stands_below_a_comment(repository: Path) -> None:
    texts = [(repository / "config" / name).read_text(encoding="utf-8") for name in FILES]
    assert undocumented("\n".join(texts).splitlines()) == []


def test_every_key_stands_in_one_place(repository: Path) -> None:
    text = "".join((repository / "config" / name).read_text(encoding="utf-8") for name in FILES)
    written = re.findall(r"^_C\.([A-Z.0-9_]+) = (?!CN\()", text, re.M)
    assert sorted(written) == sorted(KEYS)


def test_missing_comments_are_found() -> None:
    lines = ["_C.A = CN()", "_C.A.B = 1", "# What C and D mean.", "_C.A.C = 1", "_C.A.D = 1", ""]
    assert undocumented([*lines, "_C.A.E = 1"]) == ["A.B", "A.E"]


@pytest.fixture(scope="module")
def sources(repository: Path) -> dict[Path, str]:
    """The text of every source file but the defaults; of legacy.py what reads a config."""
    files = [*repository.glob("*.py")]
    for folder in ("config", "datasets", "engine", "models", "ops", "tools"):
        files += (repository / folder).rglob("*.py")
    return {
        path: path.read_text(encoding="utf-8")
        for path in files
        if path.name not in (*FILES, "checks.py", "data_checks.py", "model_checks.py")
    }


@pytest.mark.parametrize("key", [key for key in KEYS if not key.startswith("MODEL.VIT.")])
def test_every_key_has_a_reader(key: str, sources: dict[Path, str]) -> None:
    *sections, name = key.split(".")
    section = sections[-1] if sections else "cfg"
    # cfg.SECTION.NAME, or section.NAME where the section has a name of its own
    reader = re.compile(rf"\b(?:{section}|{section.lower()})\.{name}\b(?! = )")
    assert any(reader.search(text) for text in sources.values())


def test_every_size_of_the_transformer_is_a_field_of_it(repository: Path) -> None:
    tree = ast.parse((repository / "models/vit.py").read_text(encoding="utf-8"))
    (size,) = (node for node in tree.body if getattr(node, "name", "") == "ViTSize")
    fields = {node.target.id for node in size.body if isinstance(node, ast.AnnAssign)}
    assert {name.lower() for name in get_defaults().MODEL.VIT} == fields


def test_defaults_are_a_fresh_copy_each_time() -> None:
    first = get_defaults()
    first.MODEL.NUM_CLASSES = 3
    first.OPTIM.MILESTONES.append(99)
    assert get_defaults().MODEL.NUM_CLASSES == 400
    assert 99 not in get_defaults().OPTIM.MILESTONES
    assert not get_defaults().is_frozen()


def test_floats_are_written_as_floats() -> None:
    for key in ("OPTIM.LR", "OPTIM.WEIGHT_DECAY", "OPTIM.CLIP_GRAD_NORM", "OPTIM.MIN_LR"):
        assert type(dict(all_leaves(get_defaults()))[key]) is float


def test_defaults_reproduce_the_published_recipe() -> None:
    cfg = get_defaults()
    assert (cfg.DATA.NUM_FRAMES, cfg.DATA.FRAME_STRIDE, cfg.DATA.IMAGE_SIZE) == (8, 32, 224)
    assert (cfg.OPTIM.LR, cfg.OPTIM.MOMENTUM, cfg.OPTIM.WEIGHT_DECAY) == (0.1, 0.9, 0.0)
    assert (cfg.OPTIM.MILESTONES, cfg.OPTIM.GAMMA, cfg.TRAIN.EPOCHS) == ([10, 15, 18], 0.1, 18)
    assert (cfg.TRAIN.ACCUMULATION, cfg.OPTIM.CLIP_GRAD_NORM) == (10, 1.0)
    assert cfg.LOSS.LABEL_SMOOTHING == 0.1
    assert (cfg.VAL.NUM_CLIPS, cfg.VAL.NUM_CROPS) == (1, 3)
    assert cfg.TEST.NUM_CLIPS * cfg.TEST.NUM_CROPS == 30
    assert (cfg.MODEL.SHIFT.FOLD_DIV, cfg.MODEL.SHIFT.ON_RESIDUAL) == (4, True)
    assert cfg.AUG.SHORT_SIDE_RANGE == [224, 330]
