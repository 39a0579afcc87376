"""What the backbones' names stand for: sizes (arXiv:2010.11929, table 1), options, pixels."""

from typing import Any

# What MODEL.VIT is, where neither a key nor the backbone's name says otherwise.
PLAIN: dict[str, Any] = {
    "NORM_EPS": 1e-6,
    "ACTIVATION": "gelu",
    "PRE_NORM": False,
    "LAYER_SCALE": False,
    "NUM_REGISTERS": 0,
    "POSITIONS": "all",
    "POOL": "token",
    "POS_RESIZE": "bilinear",
}
SIZES = ("PATCH_SIZE", "HIDDEN_SIZE", "MLP_DIM", "NUM_HEADS", "NUM_LAYERS")
BACKBONES: dict[str, dict[str, Any]] = {
    "ViT-B_16": {
        "PATCH_SIZE": 16,
        "HIDDEN_SIZE": 768,
        "MLP_DIM": 3072,
        "NUM_HEADS": 12,
        "NUM_LAYERS": 12,
        "DROPOUT": 0.0,
    },
    "ViT-L_16": {
        "PATCH_SIZE": 16,
        "HIDDEN_SIZE": 1024,
        "MLP_DIM": 4096,
        "NUM_HEADS": 16,
        "NUM_LAYERS": 24,
        "DROPOUT": 0.0,
    },
    "ViT-H_14": {
        "PATCH_SIZE": 14,
        "HIDDEN_SIZE": 1280,
        "MLP_DIM": 5120,
        "NUM_HEADS": 16,
        "NUM_LAYERS": 32,
        "DROPOUT": 0.1,
    },
}
BACKBONES["ViT-B_32"] = BACKBONES["ViT-B_16"] | {"PATCH_SIZE": 32}
BACKBONES["ViT-L_32"] = BACKBONES["ViT-L_16"] | {"PATCH_SIZE": 32}
BACKBONES["ViT-S_16"] = BACKBONES["ViT-B_16"] | {  # this and Ti: DeiT, arXiv:2012.12877
    "HIDDEN_SIZE": 384,
    "MLP_DIM": 1536,
    "NUM_HEADS": 6,
}
BACKBONES["ViT-S_32"] = BACKBONES["ViT-S_16"] | {"PATCH_SIZE": 32}
BACKBONES["ViT-Ti_16"] = BACKBONES["ViT-B_16"] | {
    "HIDDEN_SIZE": 192,
    "MLP_DIM": 768,
    "NUM_HEADS": 3,
}
# The networks of timm's names without their "vit_": `_sized` gives each family's options to them.
_WIDTHS = {"ti": "ViT-Ti_16", "s": "ViT-S_16", "b": "ViT-B_16", "l": "ViT-L_16", "h": "ViT-H_14"}
_CLIP = {"NORM_EPS": 1e-5, "PRE_NORM": True, "POS_RESIZE": "bicubic"}
_SCALED = {"LAYER_SCALE": True}
_DEIT3 = _SCALED | {"POSITIONS": "patches", "POS_RESIZE": "bicubic"}
_DINOV2 = _SCALED | {"POS_RESIZE": "dinov2"}
_DINOV3 = _SCALED | {"NORM_EPS": 1e-5, "NUM_REGISTERS": 4, "POSITIONS": "rotary"}
_GATED = {"ACTIVATION": "swiglu"}  # the first layer has twice the width: gates and values
_REGISTERS = {"NUM_REGISTERS": 4, "POSITIONS": "patches", "POS_RESIZE": "bicubic"}
_GIANT = _GATED | {"HIDDEN_SIZE": 1536, "MLP_DIM": 8192, "NUM_HEADS": 24, "NUM_LAYERS": 40}
_DINOV3_GATED = {  # arXiv:2508.10104; 7b is ten times as large as h
    "s16plus": BACKBONES["ViT-S_16"] | {"MLP_DIM": 3072},
    "h16plus": BACKBONES["ViT-H_14"] | {"PATCH_SIZE": 16, "MLP_DIM": 10240, "NUM_HEADS": 20},
    "7b16": BACKBONES["ViT-B_16"]
    | {"HIDDEN_SIZE": 4096, "MLP_DIM": 16384, "NUM_HEADS": 32, "NUM_LAYERS": 40},
}


def _sized(family: str, sizes: str, options: dict[str, Any], suffix: str = "") -> dict[str, Any]:
    """Return a family's backbones, ``family_vit_b16`` say, of the sizes, "b16 l16" say."""
    named = {}
    for size in sizes.split():
        width, patch = size.rstrip("0123456789"), int(size.lstrip("tismblhg"))
        base = BACKBONES[_WIDTHS.get(width, "ViT-B_16")] | {"PATCH_SIZE": patch, "DROPOUT": 0.0}
        if width == "g":
            base |= _GIANT
        if width == "m":
            base |= {"HIDDEN_SIZE": 512, "MLP_DIM": 2048, "NUM_HEADS": 8}
        named[f"{family}_vit_{size}{suffix}"] = base | options
    return named


BACKBONES |= {
    **_sized("clip", "b16 b32 l14", _CLIP | {"ACTIVATION": "quick_gelu"}),  # OpenAI's
    **_sized("openclip", "b16 b32 l14 h14", _CLIP),  # LAION's, of the exact GELU
    **_sized("dinov2", "s14 b14 l14 g14", _DINOV2),
    **_sized("dinov2", "s14 b14 l14 g14", _DINOV2 | _REGISTERS, suffix="_reg4"),
    **_sized("dinov3", "s16 b16 l16", _DINOV3),
    **{
        f"dinov3_vit_{size}": sizes | _DINOV3 | _GATED | {"DROPOUT": 0.0}
        for size, sizes in _DINOV3_GATED.items()
    },
    **_sized("deit3", "s16 m16 b16 l16 h14", _DEIT3),
    **_sized("mae", "b16 l16 h14", {"POS_RESIZE": "bicubic"}),
    **_sized("augreg", "ti16 s16 s32 b8 b16 b32 l16", {}),  # arXiv:2106.10270
}
BACKBONES = {name: PLAIN | sizes for name, sizes in BACKBONES.items()}
Pixels = tuple[list[float], list[float]]
HALF: Pixels = [0.5] * 3, [0.5] * 3
IMAGENET: Pixels = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLIP: Pixels = (
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
)
_FAMILY_PIXELS = {
    **dict.fromkeys(("clip", "openclip"), CLIP),
    **dict.fromkeys(("dinov2", "dinov3", "deit3", "mae"), IMAGENET),
    "augreg": HALF,
}


def backbone_pixels(name: str) -> Pixels | None:
    """Return mean and std of the pixels that a backbone's weights were trained on, if it tells."""
    return _FAMILY_PIXELS.get(name.partition("_")[0]) if name in BACKBONES else None


EXPLICIT_SIZES = ("custom", "toy", "small")  # names of no sizes: MODEL.VIT says them all
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
