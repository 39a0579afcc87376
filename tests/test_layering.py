import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = ("config", "datasets", "engine", "models", "ops", "tools")
MAY_IMPORT = {  # of ours, besides itself
    "ops": set(),
    "config": set(),
    "models": {"ops", "config"},
    "datasets": {"ops", "config"},
    "engine": {"ops", "config", "models", "datasets"},
    "main_ddp_shift": set(PACKAGES) - {"tools"},
    "tools": {*PACKAGES, "main_ddp_shift"},
}


def source_files(root: Path) -> dict[Path, str]:
    """Return every source file and the package, or script, that it belongs to."""
    files = {path: path.stem for path in root.glob("*.py")}
    for package in PACKAGES:
        files |= dict.fromkeys((root / package).rglob("*.py"), package)
    return files


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield the first word of each module that is imported, at whatever depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: a relative import"
            yield (node.module or "").split(".")[0]


def violations(source: str, owner: str) -> list[str]:
    ours = {*PACKAGES, "main_ddp_shift", "tests"}
    allowed = MAY_IMPORT[owner] | {owner}
    return [name for name in imports(ast.parse(source)) if name in ours and name not in allowed]


def test_every_file_imports_only_what_its_layer_may(repository: Path) -> None:
    files = source_files(repository)
    assert {*MAY_IMPORT} <= {*files.values()}
    found = {
        str(path): wrong
        for path, owner in files.items()
        if (wrong := violations(path.read_text(encoding="utf-8"), owner))
    }
    assert not found


@pytest.mark.parametrize(
    ("owner", "source"),
    [
        ("ops", "from models.vit import vit"),
        ("models", "import ops.metrics, datasets.loaders"),
        ("models", "from engine.learner import Learner"),
        ("datasets", "from engine import scores"),
        ("engine", "from main_ddp_shift import main"),
        ("datasets", "def f():\n    from models import build_model"),
        ("config", "from ops import schedule"),
        ("models", "import main_ddp_shift"),
        ("main_ddp_shift", "from tools.doctor import check"),
    ],
)
def test_imports_against_the_layers_are_found(owner: str, source: str) -> None:
    assert len(violations(source, owner)) == 1


def calls_of_print(source: str) -> list[int]:
    names = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return [node.lineno for node in names if node.id == "print"]


def test_nothing_prints(repository: Path) -> None:
    assert calls_of_print("x = 1\nprint(x)") == [2]
    for path in source_files(repository):
        assert not calls_of_print(path.read_text(encoding="utf-8")), path


def test_files_are_named_after_what_they_own(repository: Path) -> None:
    stems = {path.stem for path in source_files(repository)}
    assert not stems & {"utils", "util", "helpers", "misc", "common"}


def test_tests_are_no_packages(repository: Path) -> None:
    assert not list((repository / "tests").rglob("__init__.py"))


def test_no_two_files_have_the_same_name(repository: Path) -> None:
    names = [path.stem for path in source_files(repository) if path.stem != "__init__"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("config", "load_cfg"),
        ("models", "build_model load_model"),
        ("models.pretrained", "load_weights"),
        ("models.resnet_tsm", "ResNetTSM"),
        ("models.timesformer", "TimeSformer"),
        ("models.streaming", "build_online"),
        ("ops.token_shift", "token_shift"),
        ("ops.channel_shift", "channel_shift"),
        ("datasets.sampling", "dense_clips"),
        ("datasets.readers", "VideoFile FrameFolder"),
        ("datasets.annotations", "read_list read_class_names"),
    ],
)
def test_names_that_users_import_stay_where_they_are(module: str, names: str) -> None:
    assert not set(names.split()) - set(vars(import_module(module)))
