"""Show what a model looks at in a video: maps over the frames as PNG strips, a GIF and an mp4.

    python tools/visualize.py --checkpoint runs/quickstart/best.pth --input VIDEO --output DIR

The maps are attention rollout (arXiv:2005.00928) from the class tokens to the patches for ViT and
TokShift; the same over space and time for TimeSformer, with its space alone and its time beside it;
and Grad-CAM (arXiv:1610.02391) of the predicted class for TSM. models/explain/rollout.py and
models/explain/grad_cam.py say what exactly is computed.

VIDEO is a file or a folder of frames; or a folder that holds such, at any depth: each of them then
has a folder of its own in DIR. It is gone through from its first frame to its last, clip by
clip: clips as the model was trained on (DATA.NUM_FRAMES, DATA.FRAME_STRIDE), each beginning where
the one before ends, the centre crop of the test. Where the frames of a clip are spread over the
whole video, there is one. Of a long video --max-clips of them are shown, spread evenly; --clip K
shows the Kth alone, from 0.

In DIR: clip_000.png and so on, the frames as the model sees them above the maps; attention.gif and
attention.mp4 (needs the package av) of all clips; of a TimeSformer clip_000_time.png. Colours go
from dark blue, the least of a clip, to red, its most, as the scale below them says.

Exit codes: 0; 1 an error, or a video of the folder that cannot be read: the others are shown.
"""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from datasets.annotations import VideoRecord
from datasets.protocols import test_image_size, test_short_side
from datasets.readers import UnreadableVideoError
from datasets.records import open_frames, pick_frames
from datasets.view_crops import VIEW_CROPS
from datasets.views import TestViews
from datasets.windows import build_windows
from engine.fonts import drawn_names
from engine.live_bar import LiveBar
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from models import MODELS, LoadedModel, load_model
from models.explain.grad_cam import STAGES
from ops.metrics import to_probabilities
from ops.pixels import to_levels
from tools.looking.animations import write_gif, write_mp4
from tools.looking.looks import Look, look
from tools.looking.pictures import (
    beside,
    enlarge_frames,
    overlay,
    strip,
    time_map,
    with_caption,
    with_scale,
)
from tools.predicting.find_videos import find_videos, is_frame_folder
from tools.writing.places import check_folder, check_not_read

ANIMATIONS = ("attention.gif", "attention.mp4")

_log = logging.getLogger("visualize")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pictures of what --input names."""
    args = build_parser().parse_intermixed_args(argv)
    set_up_console(is_main=True)
    unreadable = 0
    with user_errors_shown(is_common_shown=True):
        videos = find_outputs(args.input, args.output)
        check_folder("--output", args.output, [args.input])
        animations = [folder / name for folder in videos.values() for name in ANIMATIONS]
        check_not_read({f"--output {path.parent}:": path for path in animations}, [args.input])
        loaded = load_model(args.checkpoint, args.cfg, args.overrides)
        stage = choose_stage(loaded.cfg.MODEL.NAME, args.layer)
        loaded.model.to("cuda" if torch.cuda.is_available() else "cpu")
        is_one = len(videos) == 1
        with LiveBar(len(videos), "video", "visualize", is_shown=not is_one) as bar:
            for path, folder in videos.items():
                try:
                    with bar.aside():
                        visualize(loaded, path, folder, stage, args)
                except UnreadableVideoError as error:
                    if is_one:
                        raise
                    _log.warning("left out: %s", error)
                    unreadable += 1
                bar.update()
    if unreadable:
        sys.exit(1)


def find_outputs(source: str, output: Path) -> dict[str, Path]:
    """Return the videos that --input means, and the folder of each one's pictures.

    Raises:
        ValueError: There are none.
    """
    path = Path(source)
    if not path.is_dir() or is_frame_folder(path) or not any(path.iterdir()):
        return {source: output}
    found = find_videos([source])
    stems = Counter(str(Path(video.name).with_suffix("")) for video in found)
    folders = {}
    for name, record in found:
        stem = str(Path(name).with_suffix(""))
        folders[record.path] = output / (stem if stems[stem] == 1 else name)
    return folders


def visualize(
    loaded: LoadedModel, path: str, folder: Path, stage: str, args: argparse.Namespace
) -> None:
    """Write the pictures of one video into a folder.

    Raises:
        UnreadableVideoError: The video cannot be read.
        ValueError: It has no such clip.
    """
    clips = ClipsOfVideo(loaded.cfg, path)
    chosen = choose_clips(len(clips), args.clip, args.max_clips)
    check_folder("--output", folder, [path])
    looks = ((k, look(loaded.model, loaded.cfg, *clips[k], stage)) for k in chosen)
    write_pictures(looks, loaded.class_names, loaded.cfg, folder, args.fps)


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, help="the weights; ours hold all that is needed")
    add("--cfg", help="yml of the experiment, for weights without one")
    add(
        "--input", required=True, help="a video, a folder or a pack of frames, or a folder of these"
    )
    add("--output", required=True, type=Path, metavar="DIR", help="folder to write into")
    add("--clip", type=int, metavar="K", help="show the Kth clip alone, from 0")
    add("--max-clips", type=_count, default=16, metavar="N", help="at most so many; 0: all (16)")
    add("--layer", choices=STAGES, help="of a TSM, where Grad-CAM looks (layer4)")
    add("--fps", type=_pace, default=4.0, metavar="R", help="frames a second of GIF and mp4 (4)")
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    return parser


class ClipsOfVideo:
    """The clips of one video, read when they are asked for.

    Args:
        cfg: Config of the experiment.
        path: Path of a video file or a folder of frames.

    Raises:
        UnreadableVideoError: It is neither, or has no frames.
    """

    def __init__(self, cfg: CfgNode, path: str) -> None:
        self.cfg = cfg
        self.record = VideoRecord(str(Path(path).resolve()), 0, 0, line=0)
        if not Path(path).exists():
            raise UnreadableVideoError(f"--input {path}: no such file or folder")
        num_frames = len(open_frames(cfg, self.record))
        if not num_frames:
            raise UnreadableVideoError(f"--input {path}: holds no frames")
        self.record = self.record._replace(num_frames=num_frames)
        windows = build_windows(cfg)
        self.indices = pick_frames(self.record, windows, partial(open_frames, cfg))  # (clips, T)

    def __len__(self) -> int:
        """Count the clips."""
        return len(self.indices)

    def __getitem__(self, k: int) -> tuple[np.ndarray, Tensor]:
        """Return the indices (T,) and the test's centre crops of a clip, uint8 (T, 3, S, S)."""
        cfg, indices = self.cfg, self.indices[k]
        views = TestViews(
            [self.record],
            partial(open_frames, cfg),
            lambda num_frames: indices[None],
            short_side=test_short_side(cfg, "test"),
            image_size=test_image_size(cfg, "test"),
            num_crops=1,
            crops=VIEW_CROPS[cfg.TEST.CROPS],
        )[0]
        if views.error:
            raise UnreadableVideoError(views.error)
        return indices, to_levels(views.distinct[0])


def choose_clips(num_clips: int, clip: int | None, most: int) -> list[int]:
    """Return which clips to show, and say so where they are not all.

    Raises:
        ValueError: There is no such clip.
    """
    if clip is not None:
        if not 0 <= clip < num_clips:
            raise ValueError(
                f"--clip {clip}: the video has {num_clips} clips, 0 to {num_clips - 1}"
            )
        return [clip]
    if not 0 < most < num_clips:
        return list(range(num_clips))
    sys.stdout.write(
        f"{most} of the video's {num_clips} clips, spread evenly; --max-clips 0 shows all\n"
    )
    return np.linspace(0, num_clips - 1, most).round().astype(int).tolist()


def choose_stage(name: str, layer: str | None) -> str:
    """Return where a model is looked at: --layer, or the last of its stages; "" where it has none.

    Raises:
        ValueError: Nothing can be shown of the model, or it has no such stage.
    """
    entry = MODELS[name]
    if entry.maps is None:
        raise ValueError(f"MODEL.NAME={name!r}: nothing can be shown of where it looks")
    if layer and layer not in entry.stages:
        raise ValueError(f"--layer {layer} is for Grad-CAM of a tsm; this model has attention")
    return layer or "".join(entry.stages[-1:])


def write_pictures(
    looks: Iterator[tuple[int, Look]], names: Sequence[str], cfg: CfgNode, folder: Path, fps: float
) -> None:
    """Write strips as they come, and GIF and mp4 of all; print what is seen and what is written."""
    pictures, logits, drawn = [], [], drawn_names(names)
    for k, seen in looks:
        probabilities = to_probabilities(seen.logits, cfg.DATA.MULTI_LABEL)
        answer = best_of(probabilities, names)
        place = f"clip {k}, frames {seen.indices[0]} to {seen.indices[-1]}"
        sys.stdout.write(f"{place}: {answer}\n")
        answer = best_of(probabilities, drawn)
        pictures += draw_clip(seen, answer, place, folder / f"clip_{k:03d}.png")
        logits.append(seen.logits)
    stacked = torch.stack(logits)  # (clips, K)
    is_of_logits = cfg.TEST.AVERAGE_LOGITS
    kept = stacked.mean(0, keepdim=True) if is_of_logits else stacked
    scores = to_probabilities(kept, cfg.DATA.MULTI_LABEL).mean(0)  # (K,)
    kind = "logits" if is_of_logits else "probabilities"
    sys.stdout.write(f"{best_of(scores, names)} by the mean {kind} of {_number(logits, 'clip')}\n")
    if any(values[0].numel() == 1 for values in seen.maps.values()):
        sys.stdout.write("one place a frame is no map; --layer layer2 or layer3 has more of them\n")
    write_gif(folder / "attention.gif", pictures, fps)
    written = f"{_number(logits, 'strip')}, attention.gif"
    if find_spec("av"):
        write_mp4(folder / "attention.mp4", pictures, fps)
        written += ", attention.mp4"
    else:
        sys.stdout.write("no attention.mp4: it needs the package av: python -m pip install av\n")
    sys.stdout.write(f"wrote {written} into {folder}\n")


def best_of(scores: Tensor, names: Sequence[str]) -> str:
    """Say which class has the highest of the scores (K,), and its score."""
    label = int(scores.argmax())
    return f"{names[label]} {float(scores[label]):.3f}"


def draw_clip(seen: Look, answer: str, place: str, path: Path) -> list[Image.Image]:
    """Write the strip of a clip, and its map in time; return its pictures for an animation."""
    caption = f"{place}: {answer}"
    frames = enlarge_frames(seen.frames)
    rows = [frames]
    rows += [overlay(frames, values, seen.covered_share) for values in seen.maps.values()]
    of_what = "; ".join(["as the model sees it", *seen.maps])
    numbers = [f"frame {index}" for index in seen.indices]
    strip(rows, numbers, [caption, of_what]).save(path)
    if seen.time is not None:
        lines = [caption, "along time: in each frame's row what it has of others"]
        time_map(seen.time, [str(index) for index in seen.indices], lines).save(
            path.with_name(f"{path.stem}_time.png")
        )
    return [
        with_scale(with_caption(beside(panels), [f"{answer}; {number}", of_what]))
        for *panels, number in zip(*rows, numbers, strict=True)
    ]


def _number(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) > 1 else ''}"


def _count(word: str) -> int:
    count = int(word)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{word} is below 0")
    return count


def _pace(word: str) -> float:
    pace = float(word)
    if not 0.1 <= pace <= 50:  # a GIF has hundredths of a second
        raise argparse.ArgumentTypeError(f"{word} is not 0.1 to 50")
    return pace


if __name__ == "__main__":
    main()
