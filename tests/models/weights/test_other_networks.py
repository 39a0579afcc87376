from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models
from torchvision.models import video

from models.pretrained import load_weights
from models.timesformer import TimeSformer
from models.tokshift import tokshift
from models.vit import ViTSize
from models.weights.other_networks import other_network

NETWORKS = [
    ("features.0.0.weight", "a MobileNetV2"),
    ("features.0.0.attn.qkv.weight", "a Video Swin transformer"),
    ("features.1.0.attn.qkv.weight", "a Swin transformer"),
    ("features.0.0.0.weight", "an S3D"),
    ("features.5.branch2.1.0.0.weight", "an S3D"),
    ("features.1.0.layer_scale", "a ConvNeXt"),
    ("downsample_layers.0.0.weight", "a ConvNeXt"),
    ("stages.0.blocks.0.conv_dw.weight", "a ConvNeXt"),
    ("convnext.embeddings.patch_embeddings.weight", "a ConvNeXt"),
    ("features.1.0.block.0.0.weight", "an EfficientNet"),
    ("features.3.weight", "a VGG, an AlexNet or a SqueezeNet"),
    ("layer1.0.conv1.0.weight", "a 3-D ResNet"),
    ("layer1.0.conv1.0.0.weight", "a 3-D ResNet"),
    ("videomae.embeddings.patch_embeddings.projection.weight", "a VideoMAE"),
    ("blocks.0.attn.q_bias", "a VideoMAE"),
    ("encoder.blocks.0.attn.v_bias", "a VideoMAE"),
    ("vision_model.head.probe", "a SigLIP without a class token"),
    ("attn_pool.latent", "a SigLIP without a class token"),
    ("visual.trunk.attn_pool.latent", "a SigLIP without a class token, so that there is nothing"),
    ("visual.layer1.0.conv1.weight", "a CLIP whose images go through a ResNet without"),
    ("visual.attn_pool.query", "a CoCa"),
    ("blocks.0.attn.qkv.weight", "a ViT without a class token"),
    ("cls_classifier.weight", "a DeiT with two heads"),
    ("blocks.0.attn.relative_position_bias_table", "a BEiT"),
    ("encoder.layer.0.lambda_1", "a BEiT"),
    ("blocks.0.mlp.fc1_g.weight", "an EVA"),
    ("pos_encoding.class_token", "an MViT"),
    ("stages.0.blocks.0.attn.pool_q.weight", "an MViT"),
    ("base_model.conv1_7x7_s2.weight", "a BNInception"),
    ("s1.pathway0_stem.conv.weight", "a SlowFast, X3D or 3-D ResNet; of PySlowFast's kin only"),
    ("s2.pathway1_res0.branch1.weight", "a SlowFast"),
    ("pos_embed_spatial", "an MViT"),
    ("blocks.0.attn.pool_q.weight", "an MViT"),
    ("layers.0.blocks.0.norm1.weight", "a Swin transformer"),
    ("backbone.layer1.0.conv.0.conv.weight", "a MobileNetV2 of MMAction2; of TSN, TSM only"),
    ("dist_token", "a DeiT with a distillation token"),
    ("head_dist.weight", "a DeiT with a distillation token"),
]


@pytest.mark.parametrize(("name", "text"), NETWORKS)
@pytest.mark.parametrize("wrapper", ["", "model_state", "state_dict"])
def test_network_that_is_not_here_is_named(
    name: str, text: str, wrapper: str, tmp_path: Path
) -> None:
    state = {"head.weight": torch.zeros(1), name: torch.zeros(1)}
    torch.save({wrapper: state, "cfg": "TRAIN: {}"} if wrapper else state, tmp_path / "other.pyth")
    model = TimeSformer(16, 8, 4, 16, 1, 2, 24, 5)
    with pytest.raises(ValueError, match=rf"other\.pyth holds {text}"):
        load_weights(model, tmp_path / "other.pyth")


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (video.swin3d_t, "a Video Swin transformer"),
        (video.s3d, "an S3D"),
        (video.r3d_18, "a 3-D ResNet"),
        (video.mvit_v2_s, "an MViT"),
        (models.convnext_tiny, "a ConvNeXt"),
        (models.mobilenet_v2, "a MobileNetV2"),
        (models.resnet18, ""),
        (models.vit_b_16, ""),
    ],
)
def test_networks_of_torchvision_have_their_names(build: Callable[..., Any], text: str) -> None:
    with torch.device("meta"):
        found = other_network(build(weights=None).state_dict())
    assert found.startswith(text)
    assert bool(found) == bool(text)


def test_head_without_its_network_is_refused_with_what_to_give_instead(tmp_path: Path) -> None:
    head = {"weight": torch.zeros(5, 32), "bias": torch.zeros(5)}
    torch.save(head, tmp_path / "dinov2_vits14_linear_head.pth")
    model = TimeSformer(16, 8, 4, 16, 1, 2, 24, 5)
    with pytest.raises(ValueError, match=r"holds a linear layer alone, .* dinov2_vitb14_lc"):
        load_weights(model, tmp_path / "dinov2_vits14_linear_head.pth")


def test_networks_that_are_here_are_not_taken_for_others() -> None:
    size = ViTSize(patch_size=8, hidden_size=16, mlp_dim=24, num_heads=2, num_layers=2)
    models = [TimeSformer(16, 8, 4, 16, 2, 2, 24, 5), tokshift(size, 16, 5, fold_div=4)]
    assert [other_network(model.state_dict()) for model in models] == ["", ""]
    assert other_network([]) == ""
