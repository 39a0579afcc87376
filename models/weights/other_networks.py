"""Networks that are not here, told by their parameter names, so that a refusal can name them."""

import re
from collections.abc import Iterable

_NOT_A_RESNET = "; of the TSM release only ResNets are here"
_NOT_A_TIMESFORMER = "; of PySlowFast's kin only TimeSformers are here"
_NO_TOKEN = " without a class token, so that there is nothing to shift"
_CLASS_TOKENS = ("cls_token", "visual.trunk.cls_token")
_LAYERS = r"features\.\d+\.\d+\."  # of torchvision's networks of stages
_NETWORKS = (  # the beginning of a parameter's name, what has it; the first that fits any name
    (r"features\.0\.0\.attn\.", "a Video Swin transformer (swin3d of torchvision)"),
    (rf"{_LAYERS}attn\.|(backbone\.)?layers\.\d+\.blocks\.\d+\.|swin\.", "a Swin transformer"),
    (r"features\.(\d+\.branch\d|0\.0\.0\.)", "an S3D"),
    (rf"{_LAYERS}layer_scale|downsample_layers\.|convnext(v2)?\.", "a ConvNeXt"),
    (r"stages\.\d+\.(\d+\.dwconv|blocks\.\d+\.conv_dw)\.", "a ConvNeXt"),
    (rf"{_LAYERS}block\.", "an EfficientNet"),
    (r"conv_stem\.", "an EfficientNet or a MobileNet of timm"),
    (r"features\.\d+\.block\.", "a MobileNetV3"),
    (r"features\.(conv0|norm0|denseblock)", "a DenseNet"),
    (r"features\.\d+\.(weight|bias|squeeze|expand)", "a VGG, an AlexNet or a SqueezeNet"),
    (r"(base_model\.)?features\.\d+\.", f"a MobileNetV2{_NOT_A_RESNET}"),
    (r"(base_model\.)?(conv1_7x7|inception_)", f"a BNInception{_NOT_A_RESNET}"),
    (r"layer1\.0\.conv1\.0\.", "a 3-D ResNet (r3d, mc3 or r2plus1d of torchvision)"),
    (r"s[1-5]\.pathway", f"a SlowFast, X3D or 3-D ResNet{_NOT_A_TIMESFORMER}"),
    (r"pos_embed_(spatial|temporal|class)|pos_encoding\.", "an MViT"),
    (r"(stages\.\d+\.)?blocks\.\d+\.attn\.(pool|norm)_[qkv]\.", "an MViT"),
    (r"layer\d\.\d+\.conv\.\d\.conv\.", "a MobileNetV2 of MMAction2; of TSN, TSM only ResNets"),
    (r"visual\.(layer1|attnpool)\.", f"a CLIP whose images go through a ResNet{_NO_TOKEN}"),
    (r"visual\.attn_pool\.", "a CoCa, whose last attention no model here has"),
    (r"vision_model\.head\.|(visual\.trunk\.)?attn_pool\.|logit_bias", f"a SigLIP{_NO_TOKEN}"),
    (r"dist_token|head_dist\.", "a DeiT with a distillation token and two heads; no model has two"),
    (r"(cls|distillation)_classifier\.", "a DeiT with two heads, which no model here has"),
    (r".*relative_position_bias|.*\.lambda_[12]$", "a BEiT, whose positions no model here has"),
    (r"blocks\.\d+\.(attn\.(inner_attn_ln|[qk]_proj)|mlp\.(w1|fc1_g))\.", "an EVA"),
    (
        r"videomae\.|encoder_to_decoder\.|(encoder\.)?blocks\.\d+\.attn\.[qv]_bias",
        f"a VideoMAE{_NO_TOKEN}, or an EVA",
    ),
)
_LINEAR = {"weight", "bias"}
_IMAGE_VIT = re.compile(r"(visual\.trunk\.)?blocks\.0\.attn\.qkv\.weight")


def other_network(names: Iterable[str]) -> str:
    """Name the network that a state dict belongs to if it is known not to be here, else ""."""
    held = {*names}
    if held == _LINEAR:
        return (
            "a linear layer alone, as the heads of DINOv2 are published; give a file of network "
            "and head together, as the state dict of torch.hub's dinov2_vitb14_lc"
        )
    for start, network in _NETWORKS:
        if any(re.match(start, name) for name in held):
            return network
    if any(_IMAGE_VIT.match(name) for name in held) and held.isdisjoint(_CLASS_TOKENS):
        return f"a ViT{_NO_TOKEN}"
    return ""
