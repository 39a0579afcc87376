"""Crafted files of weights of each format: read or refused in one line, never anything else.

tests/run.sh tests/models/weights/test_fuzz.py -m slow -s    # 40,000, and what came of them
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("hypothesis")  # which tests.damage takes
pytest.importorskip("av")
from config import load_cfg_text
from models import build_model
from models.weights.checkpoint_file import read_checkpoint
from tests import damage, fuzz
from tests.damage import Reader
from tests.test_damage import SMALL

SUFFIXES = (".pth", ".npz", ".pdparams", ".safetensors", ".pt2")
BATCH = 50
NUMBERS = [100, pytest.param(8000, marks=pytest.mark.slow)]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory by /proc")


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    reader = Reader()
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file of each format."""
    pytest.importorskip("safetensors.torch")
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    state = build_model(load_cfg_text(SMALL, "small")).state_dict()
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
    damage.write_weights(folder, state, epoch=1, optimizer=optimizer)
    program = torch.export.export(nn.Linear(3, 2), (torch.zeros(2, 3),))
    torch.export.save(program, folder / "a.pt2", extra_files={"input": "uint8"})
    return folder


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_crafted_files_are_read_or_refused(
    suffix: str, number: int, folder: Path, tmp_path: Path, reader: Reader
) -> None:
    outcomes: Counter[str] = Counter()
    for first in range(0, number, BATCH):
        words = (str(folder / f"a{suffix}"), str(tmp_path), first, BATCH)
        outcome = reader.outcome(fuzz.judge_many, *words)
        assert outcome.startswith("{"), f"{suffix}, seeds from {first}: {outcome}"
        outcomes.update(json.loads(outcome))
    sys.stdout.write(f"\n{suffix}: {dict(outcomes)}\n")
    assert sum(outcomes.values()) == number
    assert outcomes[damage.REPORTED] > number / 10


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_every_bit_of_a_checkpoint_that_flips_is_harmless_or_refused(
    step: int, tmp_path: Path
) -> None:
    path, flipped = tmp_path / "a.pth", tmp_path / "b.pth"
    content = {"state_dict": {"w": torch.randn(3, 4), "b": torch.arange(5)}, "epoch": 3}
    torch.save(content, path)
    data, before = path.read_bytes(), repr(read_checkpoint(path))
    outcomes: Counter[str] = Counter()
    for bit in range(0, 8 * len(data), step):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        flipped.write_bytes(changed)
        try:
            outcome, text = "read", repr(read_checkpoint(flipped))
        except ValueError as error:
            outcome, text = "refused", str(error)
        is_told = text.startswith(str(flipped)) and len(text.splitlines()) == 1
        assert text == before if outcome == "read" else is_told, f"bit {bit}: {text}"
        outcomes[outcome] += 1
    sys.stdout.write(f"\n{sum(outcomes.values())} flips: {dict(outcomes)}\n")
    assert min(outcomes.values()) > 50
