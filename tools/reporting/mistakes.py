"""The mistakes that a model is surest of, with a few frames of each video."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from yacs.config import CfgNode

from config import load_cfg
from datasets.annotations import VideoRecord
from datasets.decode.pyav_frames import MissingDecoderError, UnreadableVideoError
from datasets.loaders import open_frames
from engine.mean_scores import MeanScores
from tools.reporting.markup import data_uri, text
from tools.reporting.run_records import CONFIGS, RunRecords

MOST = 100  # mistakes of a run: a page holds their pictures
_NUM_FRAMES = 4
_FRAME = (160, 96)  # width and height that a frame fits into, pixels
_QUALITY = 70  # of JPEG


@dataclass(frozen=True)
class Mistake:
    """A video that was taken for another class.

    Attributes:
        video: Path of the video in the list.
        label: True class.
        predicted: Class that it was taken for.
        probability: Probability of the predicted class.
    """

    video: str
    label: int
    predicted: int
    probability: float


def surest_mistakes(mean: MeanScores, most: int) -> list[Mistake]:
    """Return the wrong answers of the highest probability, the highest first."""
    probabilities = mean.probabilities()
    predicted, sure = mean.values.argmax(-1), probabilities.max(-1)
    wrong = np.flatnonzero(~mean.hits())
    order = wrong[np.argsort(-sure[wrong], kind="stable")][:most]
    return [
        Mistake(str(mean.videos[i]), int(mean.labels[i]), int(predicted[i]), float(sure[i]))
        for i in order
    ]


def mistakes_section(
    run: RunRecords, mean: MeanScores, names: list[str], most: int, root: str | None = None
) -> str:
    """Return the mistakes as figures; where videos are not there, a line says so.

    Args:
        run: Records of the run whose test it was.
        mean: Scores of the test, averaged over views.
        names: Names of the classes.
        most: Number of mistakes.
        root: Folder that the paths start from; None: that of the test's config.
    """
    mistakes = surest_mistakes(mean, most)
    if not mistakes:
        return "<p>There is none.</p>"
    cfg, reason = _config_of(run, root)
    figures = []
    for mistake in mistakes:
        image = ""
        if cfg is not None:
            image, fault = _strip(cfg, mistake)
            reason = reason or fault
        figures.append(
            f"<figure>{image}<figcaption>{text(names[mistake.label])} taken for "
            f"<b>{text(names[mistake.predicted])}</b>, {mistake.probability:.3f}<br>"
            f'<span class="faint">{text(mistake.video)}</span></figcaption></figure>'
        )
    told = (
        f'<p class="warn">Frames are left out where the videos are not here: {text(reason)}</p>'
        if reason
        else ""
    )
    return f'{told}<div class="mistakes">{"".join(figures)}</div>'


def _config_of(run: RunRecords, root: str | None) -> tuple[CfgNode | None, str]:
    """Return the config that the videos are found by, or why there is none."""
    path = run.folder / CONFIGS["test"]
    if not path.is_file():
        return None, f"there is no {path}"
    try:
        return load_cfg(path, ["DATA.ROOT", root] if root else ()), ""
    except ValueError as error:  # of another version of the code, say
        return None, str(error)


def _strip(cfg: CfgNode, mistake: Mistake) -> tuple[str, str]:
    """Return frames spread over a video side by side, or why they cannot be read."""
    try:
        reader = open_frames(cfg, VideoRecord(mistake.video, 0, 0, 0))
        places = np.linspace(0, max(len(reader) - 1, 0), _NUM_FRAMES).round().astype(int)
        frames = [_small(frame) for frame in reader.read(places)]
    except (MissingDecoderError, UnreadableVideoError) as error:
        return "", str(error)
    width, height = frames[0].size
    strip = Image.new("RGB", (len(frames) * width, height))
    for place, frame in enumerate(frames):
        strip.paste(frame, (place * width, 0))
    address = data_uri(strip, "JPEG", quality=_QUALITY)
    return f'<img loading="lazy" src="{address}" alt="frames of {text(mistake.video)}">', ""


def _small(frame: np.ndarray) -> Image.Image:
    image = Image.fromarray(frame)
    scale = min(_FRAME[0] / image.width, _FRAME[1] / image.height)
    size = (max(round(scale * image.width), 1), max(round(scale * image.height), 1))
    return image.resize(size, Image.Resampling.BILINEAR if scale < 1 else Image.Resampling.NEAREST)


def check_root(root: str | None) -> None:
    """Raise ``ValueError`` where the folder of the videos is given and is none."""
    if root and not Path(root).is_dir():
        raise ValueError(f"--data-root {root!r} is no folder")
