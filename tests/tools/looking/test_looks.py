import torch

from models.vit import ViTSize, vit
from tools.looking.looks import covered_share


def test_a_border_short_of_a_patch_is_not_covered() -> None:
    model = vit(ViTSize(8, 8, 8, 1, 1), image_size=20, num_classes=2)
    assert covered_share(model, {"map": torch.zeros(1, 1, 2, 2)}) == 0.8
