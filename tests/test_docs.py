"""The documents name only what exists."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from config import is_key, load_cfg_text
from config.command_line import parse_args
from models import build_model

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
    "pretrain/README.md",
    "model_zoo/README.md",
)
FOLDERS = "k400|ucf101|egtea|hmdb51|ssv1|ssv2|jester"


def without_diffs(text: str) -> str:
    """What a diff adds is not here yet; tests/test_add_a_model.py applies it."""
    return re.sub(r"^```diff\n.*?^```$", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_config_keys_named_in_documents_exist(repository: Path, document: str) -> None:
    text = without_diffs((repository / document).read_text())
    sections = "DATA|AUG|MODEL|LOSS|OPTIM|TRAIN|DISTILL|VAL|TEST|LOG"
    keys = re.findall(rf"\b(?:{sections})(?:\.[A-Z_][A-Z_0-9]*)+", text)
    assert [key for key in keys if not is_key(key)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_project_files_named_in_documents_exist(repository: Path, document: str) -> None:
    text = without_diffs((repository / document).read_text())
    names = re.findall(r"\b(?:config|tools|docs|tests|ops|models|datasets)/[\w./-]+\.\w+", text)
    names += [f"config/k400/{name}.yml" for name in re.findall(r"`(k400_\w+)`", text)]
    names += [f"config/{name}.yml" for name in re.findall(rf"`((?:{FOLDERS})/\w+)`", text)]
    assert [name for name in names if not (repository / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_in_documents_lead_somewhere(repository: Path, document: str) -> None:
    text = (repository / document).read_text()
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        name, _, section = target.partition("#")
        path = (repository / document).parent / name if name else repository / document
        assert path.exists(), f"{document} links to {target}"
        assert not section or section in _sections(path), f"{document} links to {target}"


def test_commands_in_the_documents_parse(repository: Path) -> None:
    text = "\n".join((repository / document).read_text() for document in DOCUMENTS)
    text = text.replace("\\\n", " ")
    commands = re.findall(r"^\s*(?:\S+=\S+ )*\./(?:train|test)\.sh (--.*?)(?:\s+#.*)?$", text, re.M)
    assert len(commands) >= 3
    for command in commands:
        parse_args(command.split())


def test_recipes_on_their_page_are_all_recipes_of_kinetics(repository: Path) -> None:
    named = set(re.findall(r"`(?:k400/)?(\w+)`", (repository / "docs/recipes.md").read_text()))
    assert {path.stem for path in (repository / "config/k400").glob("*.yml")} <= named


def test_each_recipe_opens_with_what_is_published(repository: Path) -> None:
    for path in (repository / "config").glob("*/*.yml"):
        opening = path.read_text().partition("\nDATA:")[0]
        for word in ("# Paper:", "# Command:", "# Published:", "GFLOPs", "# Hardware:", "# Batch:"):
            assert word in opening, f"{path.name} lacks {word}"


def test_readme_classifies_a_video_in_python(
    repository: Path,
    tmp_path: Path,
    make_clip: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    code = text.partition("## In Python")[2].partition("```python\n")[2].partition("```")[0]
    cfg = load_cfg_text(
        "MODEL: {NAME: vit, NUM_CLASSES: 3, BACKBONE: small, VIT: {PATCH_SIZE: 8, HIDDEN_SIZE: 16, "
        "MLP_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}}\nDATA: {IMAGE_SIZE: 16, TEST_SHORT_SIDE: 16}",
        "small",
    )
    model = build_model(cfg)
    model.head.bias.data = torch.tensor([0.0, 9.0, 0.0])
    content = {"state_dict": model.state_dict(), "config": cfg.dump(), "class_names": list("abc")}
    torch.save(content, tmp_path / "best.pth")
    code = code.replace("runs/quickstart/best.pth", str(tmp_path / "best.pth"))
    exec(code.replace("video.mp4", str(make_clip("x264.mp4"))), {})
    assert capsys.readouterr().out == "b\n"


def _sections(document: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_helps_of_the_tools_keep_their_lines(repository: Path) -> None:
    for path in (repository / "tools").glob("*.py"):
        shown = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""
        assert max(map(len, shown.splitlines())) <= 100, path.name  # a \ at a line's end joins two
