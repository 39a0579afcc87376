import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ops.token_shift import token_shift


@pytest.fixture(scope="module")
def draw_shift(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_shift", repository / "docs/draw_shift.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_drawn_channels_move_as_the_models_do(draw_shift: ModuleType) -> None:
    frames, channels = draw_shift.NUM_FRAMES, draw_shift.NUM_CHANNELS
    x = torch.arange(1.0, frames + 1).reshape(frames, 1, 1).expand(-1, 2, channels)
    shifted = token_shift(x, frames, draw_shift.FOLD_DIV)[:, 0]
    drawn = [[draw_shift.source(t, c) + 1 for c in range(channels)] for t in range(frames)]
    assert shifted.tolist() == drawn


def test_pictures_are_what_the_script_draws(draw_shift: ModuleType, repository: Path) -> None:
    for name, inks in draw_shift.INKS.items():
        path = repository / f"docs/pictures/shift_{name}.svg"
        assert path.read_text(encoding="utf-8") == draw_shift.drawing(*inks)
