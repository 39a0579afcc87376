"""Networks that are not here, told by their parameter names, so that a refusal can name them."""

import re
from collections.abc import Iterable

_NOT_A_RESNET = "; of the TSM release only ResNets are here"
_NOT_A_TIMESFORMER = "; of PySlowFast's kin only TimeSformers are here"
_OTHER_NAMES = "; its names are not the official ones, which alone are known here"
_NETWORKS = (  # the beginning of a parameter's name, what has it
    (r"(base_model\.)?features\.\d+\.", f"a MobileNetV2{_NOT_A_RESNET}"),
    (r"(base_model\.)?(conv1_7x7|inception_)", f"a BNInception{_NOT_A_RESNET}"),
    (r"s[1-5]\.pathway", f"a SlowFast, X3D or 3-D ResNet{_NOT_A_TIMESFORMER}"),
    (r"pos_embed_(spatial|temporal|class)|blocks\.\d+\.attn\.(pool|norm)_[qkv]\.", "an MViT"),
    (r"(backbone\.)?layers\.\d+\.blocks\.\d+\.", "a Swin transformer"),
    (r"backbone\.transformer_layers\.", f"a TimeSformer of MMAction2{_OTHER_NAMES}"),
    (r"timesformer\.", f"a TimeSformer of Hugging Face{_OTHER_NAMES}"),
    (r"((vit|deit)\.)?embeddings\.cls_token", "a ViT of Hugging Face; timm's names are known here"),
    (r"(visual\.)?(class_embedding|transformer\.resblocks\.)", "a CLIP"),
    (r"dist_token|head_dist\.", "a DeiT with a distillation token, which no model here has"),
    (r"fc_norm\.", "a ViT that classifies the mean of its patch tokens, not its class token"),
    (r"reg(ister)?_tokens?", "a ViT with register tokens, which no model here has"),
    (r"blocks\.\d+\.(ls[12]\.|gamma_[12])", "a ViT with LayerScale, which no model here has"),
)


def other_network(names: Iterable[str]) -> str:
    """Name the network that a state dict belongs to if it is known not to be here, else ""."""
    found = [network for name in names for start, network in _NETWORKS if re.match(start, name)]
    return found[0] if found else ""
