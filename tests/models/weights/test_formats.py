from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from models.pretrained import load_weights
from models.weights.formats import FORMATS


class Foreign(nn.Module):
    """A model whose names are those of a network that is refused, under a prefix of others."""

    head_name = "classifier"

    def __init__(self, num_classes: int = 3, num_blocks: int = 1) -> None:
        super().__init__()
        blocks = (nn.ModuleDict({"blocks": nn.ModuleList([nn.Linear(2, 2)])}),)
        self.model = nn.ModuleDict({"layers": nn.ModuleList(blocks * num_blocks)})
        self.classifier = nn.Linear(2, num_classes)

    layer_names = (("model.",),)

    def frame_logits(self, clips: Tensor) -> Tensor:
        return clips

    def describe_time(self) -> str:
        return ""


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_a_model_takes_its_own_names_whatever_they_are_like(prefix: str, tmp_path: Path) -> None:
    source, model = Foreign(), Foreign()
    state = {f"{prefix}{name}": value for name, value in source.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "own.pth")
    report = load_weights(model, tmp_path / "own.pth", head_may_differ=False)
    assert report.kind == "checkpoint, its state_dict"
    assert report.loaded == list(source.state_dict())
    assert torch.equal(model.classifier.weight, source.classifier.weight)


def test_a_head_of_any_name_may_differ(tmp_path: Path) -> None:
    torch.save(Foreign(num_classes=5).state_dict(), tmp_path / "own.pth")
    report = load_weights(Foreign(), tmp_path / "own.pth")
    assert report.reinitialised == {
        "classifier.weight": "as drawn, (5, 2) in the file, (3, 2) in the model",
        "classifier.bias": "as drawn, (5,) in the file, (3,) in the model",
    }
    report = load_weights(Foreign(5), tmp_path / "own.pth", drops_head=True)
    assert report.ignored == ["classifier.weight", "classifier.bias"]
    with pytest.raises(ValueError, match=r"classifier\.bias: \(5,\) in the file, \(3,\)"):
        load_weights(Foreign(), tmp_path / "own.pth", head_may_differ=False)


def test_what_a_file_of_the_model_lacks_is_named(tmp_path: Path) -> None:
    torch.save({"classifier.weight": torch.zeros(3, 2)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"classifier\.bias: not in the file"):
        load_weights(Foreign(), tmp_path / "part.pth", head_may_differ=False)


def test_pixels_are_three_numbers() -> None:
    for kind in FORMATS:
        assert kind.pixels is None or [len(values) for values in kind.pixels] == [3, 3]
