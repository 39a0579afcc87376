r"""Fit the classifier alone on features that are computed once; write a checkpoint to be tested.

    python tools/linear_probe.py --cfg YML --tune_from FILE --output probe.pth [--l2 1e-3 ...]
        [--device cuda] [KEY VALUE ...]

The backbone stays as the file has it. A video's feature is what the head sees, averaged over frames
and over the views of the validation; the head is linear, so this is the mean of their logits.
Several --l2 cost hardly more than one: the best on the validation list is kept.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config import load_cfg
from config.multi_label_checks import check_one_class
from datasets.annotations import read_class_names
from datasets.loaders import build_view_loader, read_records
from datasets.view_chunks import classify_views, views_per_forward
from engine.checkpoint_folder import write_checkpoint
from engine.checkpoints import build_description
from engine.distributed import World
from engine.fetching import Fetched
from engine.live_bar import LiveBar
from engine.run import Run, to_device
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from models import VideoModel, build_model
from models.pretrained import load_weights
from tools.writing.places import check_places

_log = logging.getLogger("probe")

STEPS = 300  # of L-BFGS at most; it ends where the gradient does


@dataclass(frozen=True)
class Features:
    """What the head sees of some videos.

    Attributes:
        values: (N, C), float32.
        labels: (N,).
    """

    values: Tensor
    labels: Tensor


def main(argv: Sequence[str] | None = None) -> None:
    """Fit a probe as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--cfg", required=True, help="yml of the experiment: lists, model, views")
    add("--tune_from", required=True, metavar="FILE", help="weights of the backbone")
    add("--output", required=True, type=Path, metavar="FILE", help="checkpoint to write")
    add(
        "--l2", type=_strength, nargs="+", default=[1e-3], help="pulls on the weights; default 1e-3"
    )
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    args = parser.parse_intermixed_args(argv)
    set_up_console(is_main=True)
    with user_errors_shown(is_common_shown=True):
        check_places({"--output": args.output}, [args.cfg, args.tune_from])
        cfg = load_cfg(args.cfg, args.overrides)
        check_one_class(cfg, "tools/linear_probe.py")
        probe(cfg, args.tune_from, args.output, args.l2, torch.device(args.device))


def probe(
    cfg: CfgNode, weights: str, output: Path, strengths: Sequence[float], device: torch.device
) -> float:
    """Fit heads on the features of the training list; write the model with the best of them.

    Args:
        cfg: The experiment.
        weights: File of the backbone's weights; its head is not used.
        output: Checkpoint to write.
        strengths: Each with a head of its own, see `fit_head`.
        device: What the features are computed on.

    Returns:
        Top-1 on the validation list, percent.

    Raises:
        ValueError: A list, a video or the weights cannot be read.
    """
    model = build_model(cfg)
    assert isinstance(model, VideoModel)
    _log.info("%s", load_weights(model, weights, drops_head=True))
    head = model.get_submodule(model.head_name)
    run = Run(cfg, World(rank=0, size=1, local_rank=0, device=device))
    train, val = (read_features(run, model.to(device).eval(), split) for split in ("train", "val"))
    best = -1.0
    for strength in strengths:
        fitted = fit_head(train, cfg.MODEL.NUM_CLASSES, strength)
        top1, seen = accuracy(fitted, val), accuracy(fitted, train)
        _log.info("l2 %g: top1 %.2f, on the training list %.2f", strength, top1, seen)
        if top1 > best:
            best = top1
            head.load_state_dict(fitted.state_dict())
    names = read_class_names(cfg.DATA.CLASS_NAMES, cfg.MODEL.NUM_CLASSES)
    content = {"state_dict": model.cpu().state_dict(), "val_top1": best}
    write_checkpoint(output, content | build_description(cfg, names))
    of_several = " of several, so a little too high" if len(strengths) > 1 else ""
    _log.info("%s: linear probe, validation top1 %.2f%s", output, best, of_several)
    return best


@torch.no_grad()
def read_features(run: Run, model: nn.Module, split: str) -> Features:
    """Compute the features of the videos of a list by the views of the validation.

    Raises:
        ValueError: A video is unreadable.
    """
    cfg = run.cfg
    records = read_records(cfg, split)
    loader = build_view_loader(cfg, records, "val", rank=0, world_size=1)
    look = partial(_features_of, model=model, run=run)
    size = views_per_forward(cfg.TEST.VIEWS_PER_FORWARD, run.world.device)
    values: dict[int, Tensor] = {}
    with LiveBar(len(records), "video", f"features, {split}") as bar:
        for place, seen, error in classify_views(loader, look, size):
            if seen is None:
                raise ValueError(error)
            values[place] = torch.from_numpy(seen).mean(0)  # (C,)
            bar.update()
    stacked = torch.stack([values[place] for place in range(len(records))])
    return Features(stacked, torch.tensor([record.label for record in records]))


def fit_head(features: Features, num_classes: int, strength: float) -> nn.Linear:
    """Return the head of the least cross-entropy, found by L-BFGS from zeros.

    Features are standardised for it, which is folded into the head afterwards.

    Args:
        features: Of the training videos.
        num_classes: K.
        strength: Half of it times the squared weights, of standardised features, is added.
    """
    values = features.values.double()  # in float32 the search ends too soon
    mean, std = values.mean(0), values.std(0, correction=0).clamp(min=1e-6)
    inputs = (values - mean) / std
    head = nn.Linear(inputs.shape[1], num_classes, dtype=torch.float64)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.LBFGS(
        head.parameters(), max_iter=STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(head(inputs), features.labels)
        loss = loss + strength / 2 * head.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        head.weight.div_(std)
        head.bias.sub_(head.weight @ mean)
    return head.float()


def accuracy(head: nn.Linear, features: Features) -> float:
    """Return the top-1 of a head on features, percent."""
    with torch.no_grad():
        hits = head(features.values).argmax(1) == features.labels
    return 100 * hits.float().mean().item()


def _features_of(clips: Tensor, model: nn.Module, run: Run) -> Fetched:
    """Return what the head sees of clips (D, T, 3, H, W), averaged over frames, (D, C)."""
    seen: list[Tensor] = []
    assert isinstance(model, VideoModel)
    head = model.get_submodule(model.head_name)
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        with run.autocast():
            model(to_device(clips, run.cfg, run.world))
    finally:
        hook.remove()
    (inputs,) = seen
    return Fetched(inputs.float().reshape(len(clips), -1, inputs.shape[-1]).mean(1))


def _strength(text: str) -> float:
    strength = float(text)
    if not 0 <= strength < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return strength


if __name__ == "__main__":
    main()
