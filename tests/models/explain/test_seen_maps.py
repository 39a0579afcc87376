import torch

from models.explain.seen_maps import vit_maps
from models.vit import ViTSize, vit


def test_a_border_short_of_a_patch_is_not_covered() -> None:
    model = vit(ViTSize(8, 8, 8, 1, 1), image_size=20, num_classes=2)
    clips, labels = torch.zeros(1, 1, 3, 20, 20), torch.zeros(1, dtype=torch.long)
    assert vit_maps(model, clips, labels, "").covered_share == 0.8
