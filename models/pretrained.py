"""Weights from elsewhere are loaded into our models, and a report accounts for every tensor.

The files that can be read are ImageNet-21k ``.npz`` files (arXiv:2010.11929); ViTs of timm and
torchvision; ResNets of torchvision; checkpoints of the TokShift, TSM and TimeSformer releases,
whatever wrapped the model; ``.pdparams`` of PaddleVideo; our own checkpoints and state dicts. All
of the torch kinds may also be ``.safetensors``.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from config.smoke_run import FLAG, smoke_iterations
from config.weight_index import fetch_hint
from models.video_model import VideoModel
from models.vit import ViTSize
from models.weights import State
from models.weights.description import Description
from models.weights.embeddings import (
    POS_MODES,
    grid_side,
    is_square,
    resize_pos_embed,
    resize_time_embed,
)
from models.weights.finite_weights import check_finite, check_floating
from models.weights.formats import FORMATS, format_of
from models.weights.found import Found
from models.weights.hub_folder import read_content
from models.weights.image_vit import read_npz
from models.weights.load_report import LoadReport
from models.weights.named_weights import COMPUTES, is_named, read_named
from models.weights.paddle import read_pdparams
from models.weights.released_tsm import describe_resnet
from models.weights.vit_computation import check_computation, option_advice, size_of

STUDENT = "student."  # prefix of the model that is kept of a pair that learned together
# Where weights lie in a file.
_WRAPPERS = (
    *("ema", "state_dict", "model_state", "model_state_dict", "model", "module", "net"),
    *("model_ema", "teacher"),  # of timm, of DINO
)
# Prefixes of names: those of DDP and torch.compile, and those of classes that hold a model among
# other things, as in the official TimeSformer.
_ENGINES = ("module.", "_orig_mod.")
_PREFIXES = (*_ENGINES, "model.", "backbone.", "net.")
_ADDED = (".temporal.", ".non_local.")  # modules of a ResNet that an image model lacks
_TEMPORAL = "temporal_"  # begins the parts of a divided block that an image model lacks


def load_weights(
    model: nn.Module, path: str | Path, head_may_differ: bool = True, drops_head: bool = False
) -> LoadReport:
    """Load the weights of a file into a model.

    A position embedding of another grid and a time embedding of another number of frames are
    resized in the model's own way. A head for other classes is zeroed in a transformer and left as
    drawn in a ResNet, as released. A TimeSformer that starts from an image ViT copies its attention
    for the attention along time; that branch and the time embedding start without effect.

    Args:
        model: A video model of ours.
        path: ``.npz``, ``.pdparams``, ``.safetensors``, a torch file or a folder of Hugging Face,
            as the module's docstring lists; or ``timm:NAME``, ``torchvision:NAME``.
        head_may_differ: A head that does not fit is replaced, and a temporal module that the file
            lacks begins afresh. False makes either an error, for testing.
        drops_head: Leave the file's head out even where it fits.

    Returns:
        Report of what became of every tensor; log it.

    Raises:
        ValueError: The file is missing, unreadable or of an unknown kind; or a tensor of the
            backbone is left over, missing, of the wrong shape or not finite.
    """
    state, report = read_weights(path, model)
    if drops_head:
        assert isinstance(model, VideoModel)
        # Shapes cannot tell: both versions of Something-Something have 174 classes, and other ones.
        report.ignored += [name for name in state if name.startswith(f"{model.head_name}.")]
        state = {name: value for name, value in state.items() if name not in report.ignored}
    return fit_weights(model, state, report, head_may_differ)


def read_weights(path: str | Path, model: nn.Module | None = None) -> tuple[State, LoadReport]:
    """Read a file's weights under our names.

    Args:
        path: Same as in `load_weights`.
        model: Model that the weights are for: a file with exactly its names is taken as it is.

    Returns:
        Weights, and a report that says what kind of file it is and what was left out.

    Raises:
        ValueError: Same cases as in `load_weights`, as far as the file alone shows them.
    """
    if not is_named(path) and (hint := fetch_hint(path)):
        raise ValueError(hint)
    suffix = "" if is_named(path) else Path(path).suffix
    if suffix in (".npz", ".pdparams"):
        arrays = read_npz(path) if suffix == ".npz" else read_pdparams(path)
        return _converted(Found(arrays, suffix, str(path), [*arrays]), model)
    content = read_named(str(path)) if is_named(path) else read_content(path)
    state, report = weights_of(content, str(path), model)
    if model is not None:
        # Where eps or activation differ, names and shapes still fit, and the logits are wrong.
        check_computation(model, content.get(COMPUTES, {}), str(path))
    if isinstance(names := content.get("class_names"), list):
        report.class_names = list(map(str, names))
    report.pixels = report.pixels or _own_pixels(content)
    return state, report


def weights_of(
    content: Mapping[str, Any], source: str, model: nn.Module | None = None
) -> tuple[State, LoadReport]:
    """Return the weights in a checkpoint's content under our names; see `read_weights`."""
    weights, place, others = _unwrapped(content)
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    student = {_plain_name(k): v for k, v in tensors.items() if _inside(k).startswith(STUDENT)}
    own = {} if model is None else model.state_dict()
    # First as they are: a pair that is to go on learning wants both models, not the student.
    as_trained = {_inside(name, _ENGINES): value for name, value in tensors.items()}
    if as_trained.keys() == own.keys():
        return as_trained, _with_notes(LoadReport(source, place), others, content)
    if student:
        # The other model of the pair is left out: the student is the one that is tested and used.
        state, place = student, f"{place}, of a pair the student"
    else:
        state = {_plain_name(name): value for name, value in tensors.items()}
        _check_one_each(tensors, state, source)
    if student and state.keys() == own.keys():
        return state, _with_notes(LoadReport(source, place), others, content)
    found = Found(state, place, source, [*weights], content)
    state, report = _converted(found, model)
    return state, _with_notes(report, others, content)


def describe(content: Mapping[str, Any], source: str) -> Description | None:
    """Return what the content of a checkpoint says of its network; None where it says too little.

    Raises:
        ValueError: The checkpoint is of a network that computes what no model here does.
    """
    weights, place, _ = _unwrapped(content)
    tensors = {_plain_name(k): value for k, value in weights.items() if isinstance(value, Tensor)}
    found = Found(tensors, place, source, [*weights], content)
    # By names of tensors, as suffixes say little: `.pth` is what all of them are called.
    kind = next((kind for kind in FORMATS if kind.matches(found)), None)
    return kind.describe(found) if kind and kind.describe else None


def fit_weights(
    model: nn.Module, state: State, report: LoadReport, head_may_differ: bool = True
) -> LoadReport:
    """Put weights under our names into a model and complete the report; see `load_weights`."""
    assert isinstance(model, VideoModel)
    own, head = model.state_dict(), f"{model.head_name}."
    # Before names are compared: one line on depths instead of hundreds of tensors left over.
    _check_resnets(state, own, report)
    if head_may_differ:
        state = _without_last_norm(state, own, report)
    is_image = not any(_TEMPORAL in name for name in state)
    if head_may_differ and is_image:
        report.copied |= _stand_ins(own, state)
    fitted: State = {}
    # Every tensor is looked at here. `strict=False` would leave what misfits as it was drawn, and a
    # test of such a model gives an accuracy that looks merely poor.
    faults = [f"left over: {name} {tuple(state[name].shape)}" for name in state.keys() - own.keys()]
    for name, target in own.items():
        value = state.get(report.copied.get(name, name))
        if value is not None and value.shape == target.shape:
            fitted[name] = value
            report.loaded += [name] if name not in report.copied else []
        elif value is not None and (resized := _resized(name, value, target, model)):
            fitted[name], report.resized[name] = resized
        elif value is None and name.endswith(".num_batches_tracked"):
            fitted[name] = target  # unknown to Paddle and old torch, and of no effect on ours
        elif head_may_differ and (
            start := _start(name, head, value is None and is_image, hasattr(model, "draws_head"))
        ):
            fitted[name] = torch.zeros_like(target) if start == "zeros" else target
            report.reinitialised[name] = f"{start}, {_why_not(value, target)}"
        else:
            faults.append(f"{name}: {_why_not(value, target)}{_no_grid(name, value, model)}")
    # All of them at once, and before the model is touched.
    if faults:
        raise ValueError(
            f"the weights of {report.source} ({report.kind}) do not fit the model:\n  "
            + "\n  ".join(sorted(faults) + _advice(state, own))
        )
    # A norm's counter is a whole number by right; weights that are so come from quantised files.
    floating = {name: value for name, value in fitted.items() if own[name].is_floating_point()}
    check_floating(floating, report.source)
    check_finite(fitted, report.source)
    num_short = sum(value.dtype in (torch.float16, torch.bfloat16) for value in fitted.values())
    if num_short:
        report.notes.append(f"{num_short} tensors of half precision are widened to float32")
    model.load_state_dict(fitted)
    return report


def _own_pixels(content: Mapping[str, Any]) -> tuple[list[float], list[float]] | None:
    """Return the pixels that a checkpoint of ours was trained on, if it says so."""
    said = content.get("preprocessing")
    # Unlike images' files, ours say it: wrong pixels cost accuracy and raise no error.
    if not isinstance(said, dict):
        return None
    mean, std = said.get("mean"), said.get("std")
    if isinstance(mean, list) and isinstance(std, list) and len(mean) == len(std) == 3:
        return mean, std
    return None


def _unwrapped(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], str, list[str]]:
    """Return the weights in a file, what to call their place, and what else has the same names."""
    held = {key: _names_of_tensors(value) for key, value in content.items()}
    # The first of the list that holds tensors: averaged weights before those of the last step, as
    # the accuracy that a run reports is that of the average.
    there = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    key = next(filter(held.get, there), "".join(there[:1]))
    if not key:
        return content, "state dict", []
    others = [other for other, names in held.items() if other != key and names & held[key]]
    return content[key], f"checkpoint, its {key}", others


def _names_of_tensors(value: Any) -> set[str]:
    if not isinstance(value, Mapping):
        return set()
    return {_inside(name) for name, tensor in value.items() if isinstance(tensor, Tensor)}


def _with_notes(
    report: LoadReport, others: Sequence[str], content: Mapping[str, Any]
) -> LoadReport:
    if iterations := smoke_iterations(content.get("config")):
        report.caveat = f"of a smoke run ({FLAG} {iterations}), whose weights have learned nothing"
    if others:
        report.notes.append(f"the file holds other weights, too: {', '.join(others)}; not used")
    return report


def _inside(name: Any, prefixes: Sequence[str] = _PREFIXES) -> str:
    """Return a parameter's name without the prefixes of whatever wrapped its model."""
    name = str(name)
    # Wrappers nest in any order: DDP of a compiled model, or the compiled DDP.
    while prefix := next((p for p in prefixes if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return name


def _plain_name(name: str) -> str:
    """Return a parameter's name in its model; in a pair, in the student."""
    return _inside(_inside(name).removeprefix(STUDENT))


def _check_one_each(tensors: Mapping[str, Tensor], state: State, source: str) -> None:
    """Raise ValueError where two tensors of a file would have one name."""
    if len(state) == len(tensors):
        return
    # A dict would have kept the last of the two without a word.
    names = Counter(map(_inside, tensors))
    twice = next(name for name, count in names.items() if count > 1)
    both = [name for name in tensors if _inside(name) == twice]
    raise ValueError(f"{source} holds two sets of weights in one: {' and '.join(both)}")


def _converted(found: Found, model: nn.Module | None) -> tuple[State, LoadReport]:
    """Bring what was found under our names, by the first format that it matches."""
    kind = format_of(found)
    if kind is not None:
        if kind.check and model is not None:
            kind.check(model, found)
        made = kind.convert(found)
        said = kind.describe(found) if kind.describe else None
        report = LoadReport(
            found.source,
            kind.title.format(place=found.place),
            ignored=made.ignored,
            renamed=made.renamed,
            fused=made.fused,
            filled=made.filled,
            notes=[*made.notes, *(said.notes if said else [])],
            class_names=said.class_names if said else [],
            pixels=(said and said.pixels()) or kind.pixels,
        )
        state = made.state
        if kind.adapt and model is not None:
            state, remark = kind.adapt(model, state)
            report.notes += [remark] if remark else []
        if report.pixels:
            # Weights do not show it, and a test on other pixels loses points without an error.
            mean, std = report.pixels
            report.notes.append(
                f"trained on pixels of mean {mean} and std {std}: DATA.PIXEL_MEAN, DATA.PIXEL_STD"
            )
        return state, report
    if model is not None and found.tensors.keys() & model.state_dict().keys():
        return dict(found.tensors), LoadReport(found.source, found.place)  # the misfit is named
    raise ValueError(
        f"{found.source} holds no weights that this model knows: neither an ImageNet-21k .npz, nor "
        "a ResNet or ViT of torchvision or timm, nor a TokShift, TSM or TimeSformer checkpoint, "
        f"released or ours; it holds {', '.join(found.held[:5]) or 'nothing'} ..."
    )


def _check_resnets(state: State, own: State, report: LoadReport) -> None:
    # Read off the weights: a file's name or its `arch` may say something else.
    theirs, ours = describe_resnet(state), describe_resnet(own)
    if theirs != ours:
        raise ValueError(
            f"{report.source} ({report.kind}) holds {theirs or 'no ResNet'}; "
            f"the model is {ours or 'no ResNet'}"
        )


def _stand_ins(own: State, state: State) -> dict[str, str]:
    """Map attention and norm along time to those of an image ViT (arXiv:2102.05095's release)."""
    # The copy alone would change the image model's outputs; `temporal_fc` starts at zero behind it.
    sources = {name: name.replace(_TEMPORAL, "") for name in own if _TEMPORAL in name}
    return {name: source for name, source in sources.items() if source in state}


def _without_last_norm(state: State, own: State, report: LoadReport) -> State:
    """Leave out the norm of all tokens where the model has one of their mean, as MAE's tuning."""
    # For training alone: a test with a norm that was never trained would be none of the file's.
    last = [name for name in state if name.startswith("norm.")]
    if not last or "fc_norm.weight" not in own or "fc_norm.weight" in state:
        return state
    report.ignored += last
    return {name: value for name, value in state.items() if name not in last}


def _start(name: str, head: str, is_new_in_time: bool, draws_head: bool) -> str:
    """Say how a tensor that the file lacks begins; "" for one that the file must have."""
    if draws_head and name.startswith(head):
        return "as drawn"
    # A ViT's new head is zero, as the release zeroes it whenever it loads an image ViT.
    if name.startswith("head.") or (
        is_new_in_time and (name == "time_embed" or ".temporal_fc." in name)
    ):
        return "zeros"
    fresh = (head, "fc_norm.")
    return "as drawn" if name.startswith(fresh) or any(part in name for part in _ADDED) else ""


def _resized(
    name: str, value: Tensor, target: Tensor, model: nn.Module
) -> tuple[Tensor, str] | None:
    """Return a tensor that can be made to fit, and how; None for one that cannot."""
    if name == "pos_embed" and value.shape[-1] == target.shape[-1] and (size := size_of(model)):
        return _resized_positions(value.to(target.dtype), target.shape[1], size)
    is_time = name == "time_embed" and hasattr(model, "time_resize")
    if is_time and value.shape[-1] == target.shape[-1]:
        how = str(model.time_resize)
        frames = f"{value.shape[1]} to {target.shape[1]} frames"
        return resize_time_embed(value, target.shape[1], how), f"{frames}, {how}"
    if name == "conv1.weight" and value.shape[1] == 3 and value[:, 0].shape == target[:, 0].shape:
        # The stem alone. The TSM release drops every `conv1.weight` for flow, those of blocks too.
        how = f"mean over RGB for each of {target.shape[1]} input channels (TSN, arXiv:1608.00859)"
        return value.mean(1, keepdim=True).repeat(1, target.shape[1], 1, 1), how
    return None


def _resized_positions(value: Tensor, num_tokens: int, size: ViTSize) -> tuple[Tensor, str] | None:
    # Only the patches' positions form a grid; that of the class token is carried over as it is.
    has_class = size.positions == "all"
    if not is_square(value.shape[1] - has_class):
        return None  # positions of other tokens than the model's
    old, new = (grid_side(num + (not has_class)) for num in (value.shape[1], num_tokens))
    resized = resize_pos_embed(value, num_tokens, size.pos_resize, has_class)
    return resized, f"{old}x{old} to {new}x{new} patches, {POS_MODES[size.pos_resize]}"


def _no_grid(name: str, value: Tensor | None, model: nn.Module) -> str:
    size = size_of(model)
    if name != "pos_embed" or value is None or value.dim() != 3 or size is None:
        return ""
    num_patches = value.shape[1] - (size.positions == "all")
    return (
        ""
        if is_square(num_patches)
        else f": a position embedding of {num_patches} patches is not a square grid"
    )


def _why_not(value: Tensor | None, target: Tensor) -> str:
    if value is None:
        return "not in the file"
    return f"{tuple(value.shape)} in the file, {tuple(target.shape)} in the model"


def _advice(state: State, own: State) -> list[str]:
    """Name the keys of the config whose change would cure a misfit."""
    advice = option_advice(state, own)
    in_file, in_model = (any(n.endswith("qkv.bias") for n in names) for names in (state, own))
    # PaddleVideo's page links such a file, and PaddleVideo drops the biases in silence.
    if in_file != in_model:
        which = "the file has biases of queries, keys and values, the model none"
        if in_model:
            which = "the model has biases of queries, keys and values, the file none"
        advice.append(f"{which}: set MODEL.VIT.QKV_BIAS {in_file}")
    in_file, in_model = (any(_TEMPORAL in n for n in names) for names in (state, own))
    if in_file and not in_model:
        advice.append(
            "the file attends along time: set MODEL.NAME timesformer and "
            "MODEL.TIMESFORMER.ATTENTION divided"
        )
    heads = [name.rpartition(".")[0] for name in own if name.startswith(("head.", "fc."))]
    if heads and not any(name.startswith(f"{heads[0]}.") for name in state):
        advice.append("the file has no head; to train one on it: --tune_from")
    if in_model and not in_file:
        advice.append("the file is no divided TimeSformer's; to train one from it: --tune_from")
    return advice
