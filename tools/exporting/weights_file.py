"""A model as a ``.safetensors`` file, with ``config.json`` and a model card beside it.

The file says in its header what our checkpoints say, so that it opens wherever it lies:
`models.load_model` takes it, and its folder too.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from config.json_files import read_json
from datasets.protocols import SAMPLINGS, describe_protocol
from engine.checkpoints import build_description
from engine.provenance import file_sha256
from models import LoadedModel
from models.video_model import VideoModel
from models.weights.hub_folder import CONFIG, files_of

CARD = "README.md"
NUM_SHOWN = 10  # names of classes in the card
_MARK = "<!-- written by tools/export.py -->"
_KINDS = ("single_label_classification", "multi_label_classification")  # Hugging Face's words
_TOLD = ("class_names", "preprocessing")  # beside the config, as JSON


def beside(output: Path) -> dict[str, Path]:
    """Return the files that go with a file of weights, by what they are."""
    return {CONFIG: output.with_name(CONFIG), "model card": output.with_name(CARD)}


def check_beside(output: Path) -> None:
    """Make sure that the files beside the weights are none of another's.

    Raises:
        ValueError: A config or a card lies there that belongs to something else.
    """
    config, card = beside(output).values()
    if config.exists() and read_json(config, CONFIG).get("weights") != output.name:
        raise ValueError(f"{config} belongs to other weights; give {output.name} its own folder")
    if card.exists() and not card.read_text(encoding="utf-8", errors="replace").startswith(_MARK):
        raise ValueError(f"{card} is not of this tool; give {output.name} its own folder")


def write_weights(loaded: LoadedModel, output: Path, figures: Mapping[str, Any]) -> None:
    """Write the weights and, beside them, the config and the card.

    Args:
        loaded: Loaded model, with what its checkpoint says.
        output: Path of the ``.safetensors`` file.
        figures: Figures of a test of this very checkpoint, as results.json has them; {} for none.
    """
    from safetensors.torch import save_file

    described = build_description(loaded.cfg, loaded.class_names)
    header = {key: json.dumps(described[key], ensure_ascii=False) for key in _TOLD}
    state = {name: value.contiguous().clone() for name, value in loaded.model.state_dict().items()}
    save_file(state, output, {"format": "pt", "config": described["config"], **header})
    config, card = beside(output).values()
    content = _config_of(loaded, output.name)
    config.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    card.write_text(_card_of(loaded, output.name, figures), encoding="utf-8")


def figures_of(checkpoint: str) -> dict[str, Any]:
    """Return what results.json beside a checkpoint says of it; {} where it is of another one."""
    results = Path(checkpoint).parent / "results.json"
    if not results.is_file():
        return {}
    figures = read_json(results, "results.json")
    is_of_it = figures.get("checkpoint_sha256") == file_sha256(*files_of(checkpoint))
    return figures if is_of_it else {}


def _config_of(loaded: LoadedModel, name: str) -> dict[str, Any]:
    cfg = loaded.cfg
    return {
        "weights": name,
        "library": "token shift for video transformers",
        "model_type": cfg.MODEL.NAME,
        "backbone": cfg.MODEL.BACKBONE,
        "num_frames": cfg.DATA.NUM_FRAMES,
        "image_size": cfg.DATA.IMAGE_SIZE,
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "image_mean": list(cfg.DATA.PIXEL_MEAN),
        "image_std": list(cfg.DATA.PIXEL_STD),
        "problem_type": _KINDS[cfg.DATA.MULTI_LABEL],
        "id2label": {str(label): name for label, name in enumerate(loaded.class_names)},
        "config": cfg.dump(),
    }


def _card_of(loaded: LoadedModel, name: str, figures: Mapping[str, Any]) -> str:
    cfg, data, model = loaded.cfg, loaded.cfg.DATA, loaded.model
    assert isinstance(model, VideoModel)
    sampling = f"{data.SAMPLING}, {data.NUM_FRAMES} frames"
    if stride := SAMPLINGS[data.SAMPLING].stride(cfg):
        sampling += f", {stride} apart"
    return f"""{_MARK}
# {name}

A {cfg.MODEL.NAME} ({cfg.MODEL.BACKBONE}) with {cfg.MODEL.NUM_CLASSES} classes:
{model.describe_time()}.

## Data

- Trained on {data.NAME}, as its config says.
- Clips: {sampling}, {data.IMAGE_SIZE} x {data.IMAGE_SIZE} pixels, RGB.
- Pixels: value / 255, minus {list(data.PIXEL_MEAN)}, over {list(data.PIXEL_STD)}.
- Classes: {_classes(loaded.class_names)}; all of them in {CONFIG}.

## Accuracy

{_accuracy(figures)}
Protocol of the test: {describe_protocol(cfg)}.

## Commands

```bash
./test.sh --evaluate --resume {name} DATA.ROOT FOLDER DATA.TEST_LIST LIST
python tools/predict.py --checkpoint {name} --input VIDEO
./train.sh --cfg YML --tune_from {name}
```

In Python: `models.load_model("{name}")`, or its folder.
"""


def _classes(names: Sequence[str]) -> str:
    more = f" and {len(names) - NUM_SHOWN} more" if len(names) > NUM_SHOWN else ""
    return ", ".join(names[:NUM_SHOWN]) + more


def _accuracy(figures: Mapping[str, Any]) -> str:
    if not figures:
        return "Not measured: no results.json of this very checkpoint lay beside it.\n"
    shown = {"map": "mAP", "top1": "top-1", "top5": "top-5"}
    shown["mean_class_accuracy"] = "mean class accuracy"
    values = [f"{name} {float(figures[key]):.2f}" for key, name in shown.items() if key in figures]
    remarks = "".join(f"- {remark}\n" for remark in figures.get("remarks", []))
    return (
        f"{', '.join(values)}, percent, on {figures.get('num_videos')} of "
        f"{figures.get('num_listed')} videos, measured as: {figures.get('protocol')}.\n{remarks}"
    )
