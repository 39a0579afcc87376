"""What the files of MMAction2 say of their network: ``meta['cfg']``, the config as a text.

Before its version 1.0 it is ``meta['config']``. The text is read without being run. What it leaves
out is what MMAction2's classes have by default, where the text names the class.
"""

from collections.abc import Mapping
from typing import Any, TypeGuard

from config.backbones import BACKBONES
from models.resnet_tsm import LAYERS
from models.weights import State
from models.weights.conversion import has_tensors
from models.weights.description import Description
from models.weights.embeddings import grid_side
from models.weights.python_text import read_assignments

_MODES = ("embedded_gaussian", "dot_product", "gaussian")
_ATTENTIONS = {
    "divided_space_time": "divided",
    "joint_space_time": "joint",
    "space_only": "space_only",
}
_EPS = 1e-6
# Of all its recipes, on 0..255.
_IMAGENET = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
_FLOW = ([128.0] * 3, [128.0] * 3)
_HALF = ([127.5] * 3, [127.5] * 3)


class ModelConfig:
    """The parts of a config that our model and its views depend on; empty where it has none.

    Attributes:
        values: All that the text assigns.
        meta: Other metadata in the file.
    """

    def __init__(self, values: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        self.values = values
        self.meta = meta

    def part(self, *keys: str) -> dict[str, Any]:
        """Return a dict within dicts, {} where there is none."""
        node: Any = self.values
        for key in keys:
            node = node.get(key) if isinstance(node, dict) else None
        return node if isinstance(node, dict) else {}

    def backbone(self, kind: str) -> dict[str, Any] | None:
        """Return what the text says of the backbone; None unless it is of a class."""
        found = self.part("model", "backbone")
        return found if found.get("type") == kind else None

    def pixels(self) -> dict[str, Any]:
        """Return where mean and std of the pixels stand, {} where they do not."""
        found = self.part("model", "data_preprocessor")
        older = (self.steps(split).get("Normalize", {}) for split in ("test", "val", "train"))
        return next(filter(None, (found, *older)), self.part("img_norm_cfg"))

    def steps(self, split: str) -> dict[str, dict[str, Any]]:
        """Return the steps of a split's pipeline by their class; the last of each."""
        steps = self.values.get(f"{split}_pipeline")
        if not isinstance(steps, list):
            steps = self.part(f"{split}_dataloader", "dataset").get("pipeline")
        named = (step for step in steps or [] if isinstance(step, dict))
        return {str(step.get("type")): step for step in named}


def read_model_config(content: Mapping[str, Any]) -> ModelConfig:
    """Return the config in the content of a file."""
    meta = content.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    text = meta.get("cfg", meta.get("config"))
    return ModelConfig(dict(read_assignments(text)) if isinstance(text, str) else {}, meta)


def non_local_mode(state: Mapping[str, Any], config: ModelConfig) -> str:
    """Return what non-local blocks compute; "" where it is not known."""
    if not any(name.endswith(".non_local.theta.weight") for name in state):
        return "gaussian"
    backbone = config.backbone("ResNetTSM")
    if not backbone or "non_local_cfg" not in backbone:
        return ""
    options = config.part("model", "backbone", "non_local_cfg")
    mode = options.get("mode", "embedded_gaussian")
    if mode == "embedded_gaussian" and options.get("use_scale", True):
        return "embedded_gaussian, scaled"
    return str(mode)


def describe_resnet_tsm(
    state: State, placement: str, config: ModelConfig, source: str
) -> Description:
    """Describe a TSM, or a TSN where no shift is placed.

    Args:
        state: The weights under our names.
        placement: Placement of the shift; "" for none.
        config: Settings that the file tells.
        source: The file.

    Raises:
        ValueError: The network computes what no model here does.
    """
    backbone = config.backbone("ResNetTSM" if placement else "ResNet")
    options = backbone or {}
    if options.get("style", "pytorch") != "pytorch":
        raise ValueError(
            f"{source} holds a ResNet of the style {options['style']!r}, whose strides are not on "
            "the 3x3 convolutions; here are those of the style 'pytorch'"
        )
    num_channels = state["conv1.weight"].shape[1]
    is_flow = num_channels != 3
    said = Description(
        {
            "MODEL.NAME": "tsm",
            **_resnet_sizes(state),
            "MODEL.TSM.SHIFT": bool(placement),
            "MODEL.TSM.PLACEMENT": placement or "blockres",
            "MODEL.TSM.TEMPORAL_POOL": options.get("temporal_pool") is True,
            "MODEL.TSM.NON_LOCAL": any(".non_local." in name for name in state),
            "MODEL.TSM.DROPOUT": config.part("model", "cls_head").get("dropout_ratio", 0.5),
        }
    )
    if is_flow:
        said.values |= {"MODEL.TSM.MODALITY": "Flow", "MODEL.TSM.NEW_LENGTH": num_channels // 2}
    if placement:
        why = "MMAction2's shift_div" + _of_other_class(config, backbone)
        _add(said, "MODEL.TSM.FOLD_DIV", options.get("shift_div", 8) if backbone else None, why)
    if said.values["MODEL.TSM.NON_LOCAL"]:
        _add_mode(said, non_local_mode(state, config), source)
    # a TSN classifies the mean of the features of all frames and views: the mean of the logits
    _add_views(said, config, averages_logits=not placement)
    T = options.get("num_segments", 8) if backbone and placement else _segments(config)
    why = "MMAction2's num_segments" + _of_other_class(config, backbone)
    _add(said, "DATA.NUM_FRAMES", T, why)
    _add_pixels(said, config, _FLOW if is_flow else _IMAGENET, source)
    _add_classes(said, config, "fc.weight", state)
    return said


def describe_timesformer(state: State, config: ModelConfig, source: str) -> Description:
    """Describe a TimeSformer; arguments as in `describe_resnet_tsm`.

    Raises:
        ValueError: The network computes what no model here does.
    """
    backbone = config.backbone("TimeSformer")
    options = backbone or {}
    norms = config.part("model", "backbone", "norm_cfg") if backbone else {}
    C, _, patch_size, _ = state["patch_embed.proj.weight"].shape
    sizes = {
        "PATCH_SIZE": patch_size,
        "HIDDEN_SIZE": C,
        "MLP_DIM": state["blocks.0.mlp.fc1.weight"].shape[0],
        "NUM_LAYERS": len({n.split(".")[1] for n in state if n.startswith("blocks.")}),
    }
    said = Description(
        {
            "MODEL.NAME": "timesformer",
            "MODEL.BACKBONE": "custom",
            **{f"MODEL.VIT.{key}": value for key, value in sizes.items()},
            "MODEL.VIT.NORM_EPS": norms.get("eps", _EPS),
            "MODEL.VIT.DROPOUT": options.get("dropout_ratio", 0.0),
            "MODEL.DROP_PATH": 0.1,  # fixed in its code
            "MODEL.TIMESFORMER.ATTENTION": _attention(state),
        }
    )
    heads = options.get("num_heads", 12) if backbone else _published_heads(sizes)
    why = "MMAction2's num_heads" + _of_other_class(config, backbone)
    _add(said, "MODEL.VIT.NUM_HEADS", heads, why)
    _add_views(said, config, averages_logits=False)
    T = state["time_embed"].shape[1] if "time_embed" in state else options.get("num_frames")
    _add(said, "DATA.NUM_FRAMES", T, "MMAction2's num_frames" + _of_other_class(config, backbone))
    said.values["DATA.IMAGE_SIZE"] = grid_side(state["pos_embed"].shape[1]) * patch_size
    said.values.setdefault("DATA.TEST_SHORT_SIDE", said.values["DATA.IMAGE_SIZE"])
    _add_pixels(said, config, _HALF, source)
    _add_classes(said, config, "head.weight", state)
    return said


def _resnet_sizes(state: State) -> dict[str, Any]:
    blocks = [name.split(".") for name in state if name.startswith("layer")]
    # the largest index may be anything that a file says
    counts = [len({i for stage, i, *_ in blocks if stage == f"layer{s}"}) for s in (1, 2, 3, 4)]
    is_bottleneck = "layer1.0.conv3.weight" in state
    width = state["conv1.weight"].shape[0]
    fitting = [d for d, n in LAYERS.items() if n == tuple(counts) and (d >= 50) == is_bottleneck]
    depth = fitting[0] if fitting else (50 if is_bottleneck else 18)
    sizes = {"MODEL.BACKBONE": f"resnet{depth}", "MODEL.TSM.WIDTH": width}
    return sizes if fitting else sizes | {"MODEL.TSM.LAYERS": counts}


def _attention(state: State) -> str:
    if any(".temporal_attn." in name for name in state):
        return "divided"
    return "joint" if "time_embed" in state else "space_only"


def _published_heads(sizes: Mapping[str, int]) -> int | None:
    fitting = (b for b in BACKBONES.values() if all(b[key] == sizes[key] for key in sizes))
    return next((int(backbone["NUM_HEADS"]) for backbone in fitting), None)


def _segments(config: ModelConfig) -> Any:
    """Return the frames that a TSN was trained on, else tested on."""
    samples = (config.steps(split).get("SampleFrames") for split in ("train", "test"))
    return next((sample.get("num_clips") for sample in samples if sample), None)


def _add(said: Description, key: str, value: Any, why: str) -> None:
    if isinstance(value, int) and value > 0:
        said.values[key] = value
    else:
        said.lacking[key] = why


def _of_other_class(config: ModelConfig, backbone: Mapping[str, Any] | None) -> str:
    theirs = config.part("model", "backbone").get("type")
    return f", the cfg in the file is of a {theirs}" if theirs and backbone is None else ""


def _add_mode(said: Description, mode: str, source: str) -> None:
    if mode and mode not in _MODES:
        raise ValueError(
            f"{source} has non-local blocks of MMAction2's mode {mode!r}, which no model here "
            f"computes; here are {', '.join(_MODES)} without scale"
        )
    if mode:
        said.values["MODEL.TSM.NON_LOCAL_MODE"] = mode
    else:
        said.lacking["MODEL.TSM.NON_LOCAL_MODE"] = (
            "embedded_gaussian or dot_product, which have the same names"
        )


def _add_pixels(
    said: Description,
    config: ModelConfig,
    usual: tuple[list[float], list[float]],
    source: str,
) -> None:
    theirs = config.pixels()
    if turn := next((key for key in ("to_rgb", "to_bgr") if theirs.get(key) is True), ""):
        raise ValueError(f"{source} was trained on BGR frames ({turn} turns them); here are RGB")
    mean, std = theirs.get("mean"), theirs.get("std")
    if _are_channels(mean) and _are_channels(std):
        pixels = (mean, std)
    else:
        pixels = usual
        said.notes.append("its cfg names no pixels: those of all such recipes of MMAction2's count")
    for key, values in zip(("MEAN", "STD"), pixels, strict=True):
        said.values[f"DATA.PIXEL_{key}"] = [round(value / 255, 8) for value in values[:3]]


def _are_channels(values: Any) -> TypeGuard[list[float]]:
    is_list = isinstance(values, list) and len(values) >= 3
    return is_list and all(isinstance(value, (int, float)) for value in values)


def _add_views(said: Description, config: ModelConfig, averages_logits: bool) -> None:
    """Add the views of its test, as far as the text has them in a form that is here."""
    steps, keys = config.steps("test"), said.values
    short = steps.get("Resize", {}).get("scale")
    if isinstance(short, list) and all(isinstance(side, int) for side in short) and max(short) > 0:
        keys["DATA.TEST_SHORT_SIDE"] = min(side for side in short if side > 0)
    for name, num_crops in (("CenterCrop", 1), ("ThreeCrop", 3), ("TenCrop", 5)):
        size = steps.get(name, {}).get("crop_size")
        if isinstance(size, int):
            keys |= {"DATA.IMAGE_SIZE": size, "TEST.NUM_CROPS": num_crops}
            keys["TEST.FLIP"] = name == "TenCrop"
    dense, sample = steps.get("DenseSampleFrames"), steps.get("SampleFrames", {})
    if dense is not None:
        keys["DATA.SAMPLING"] = "tsm_dense"
        keys["TEST.NUM_CLIPS"] = dense.get("num_sample_positions", 10)
    elif sample.get("clip_len", 1) == 1:
        keys["DATA.SAMPLING"] = "uniform"
        keys["DATA.UNIFORM_TWICE"] = sample.get("twice_sample") is True
    else:
        keys["DATA.SAMPLING"] = "mmaction_dense"
        keys["DATA.FRAME_STRIDE"] = sample.get("frame_interval", 1)
        keys["TEST.NUM_CLIPS"] = sample.get("num_clips", 1)
    keys |= {"TEST.CROPS": "mmaction", "VAL.NUM_CROPS": 1}
    places = (("model", "cls_head"), ("model", "test_cfg"), ("test_cfg",))
    told = [config.part(*place).get("average_clips") for place in places]
    keys["TEST.AVERAGE_LOGITS"] = averages_logits or "score" in told


def _add_classes(said: Description, config: ModelConfig, head: str, state: State) -> None:
    if not has_tensors(state, {head: 2}):
        return
    said.values["MODEL.NUM_CLASSES"] = K = state[head].shape[0]
    dataset = config.meta.get("dataset_meta")
    names = dataset.get("classes") if isinstance(dataset, dict) else None
    if isinstance(names, (list, tuple)) and len(names) == K:
        said.class_names = [str(name) for name in names]
