"""Sizes behind the backbones' names (arXiv:2010.11929, table 1; dropout as released)."""

BACKBONES: dict[str, dict[str, int | float]] = {
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
EXPLICIT_SIZES = ("custom", "toy", "small")  # names of no sizes: MODEL.VIT says them all
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
