r"""Export a checkpoint as one file that needs none of our code: ONNX, or torch.export's .pt2.

Or, to hand it on: --output model.safetensors writes the weights, with config.json and a model card
beside them; the file and its folder open again wherever a checkpoint does.

    python tools/export.py --checkpoint runs/quickstart/best.pth --output model.onnx
    python tools/export.py --checkpoint FILE --cfg YML --output model.onnx --output model.pt2 \
        --views 10x3 --clips VIDEO VIDEO

The graph takes uint8 clips (B, T, 3, H, W), RGB, of any batch size and normalises them itself;
with --normalized float32 clips that are normalised already. It gives logits (B, K). With --views
it takes all views of a video, (B, V, T, 3, H, W), clips first and then crops as in the test, and
gives their mean: of logits or of probabilities as TEST.AVERAGE_LOGITS says. What a user needs to
know lies inside the file, see models/exported.py.

What was written is read again and run beside eager PyTorch, on noise and on videos; a file whose
logits are more than 1e-4 away is not left behind. KEY VALUE pairs come before --clips.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.export import Dim, ExportedProgram
from yacs.config import CfgNode

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from config.model_checks import MODEL_RULES
from config.option_numbers import whole_number
from datasets.protocols import test_image_size
from engine.checkpoints import describe_preprocessing
from engine.run_log import set_up_console
from engine.user_errors import user_errors_shown
from models import LoadedModel, load_model
from models.clip_classifier import ClipClassifier
from models.exported import (
    CLIPS,
    SUFFIXES,
    ExportedModel,
    ExportMetadata,
    load_exported,
    needed_package,
)
from models.loaded_model import read_experiment
from tools.exporting.export_check import prove, read_clips
from tools.exporting.int8 import int8_path, quantize, report_int8
from tools.exporting.weights_file import beside, check_beside, figures_of, write_weights
from tools.predicting.view_option import num_views, view_keys
from tools.writing.places import check_places

LEAST_OPSET = 18  # torch's exporter knows no older one
WEIGHTS = ".safetensors"
RUNTIMES = {".pt2": "torch.export", ".onnx": "ONNX Runtime", WEIGHTS: "the file read again"}


@dataclass(frozen=True)
class ExportOptions:
    """What is asked for beside the checkpoint.

    Attributes:
        outputs: Paths of the files to write, ``.onnx``, ``.pt2`` or ``.safetensors``.
        views: Views averaged inside, as ``10x3``, or ``none``.
        takes_normalized: Whether the graph takes normalised float32; False: uint8.
        opset: Version of ONNX's operators; 0: the newest that torch's exporter makes by itself.
        quantizes: Whether an INT8 file is written beside each ``.onnx``.
        clips: Videos to compare on; none: those of the test list.
        num_videos: Number of videos of the test list; 0 = all.
    """

    outputs: list[Path]
    views: str = "none"
    takes_normalized: bool = False
    opset: int = 0
    quantizes: bool = False
    clips: Sequence[str] = ()
    num_videos: int = 16


def main(argv: Sequence[str] | None = None) -> None:
    """Write the files and prove them."""
    args = _parse(argv)
    set_up_console(is_main=True)
    for chatty in ("onnx_ir", "onnxscript"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    options = ExportOptions(
        outputs=args.output,
        views=args.views,
        takes_normalized=args.normalized,
        opset=args.opset,
        quantizes=args.int8,
        clips=args.clips,
        num_videos=args.videos,
    )
    with user_errors_shown(is_common_shown=True):
        views = view_keys(options.views) if options.views != "none" else []
        _check_outputs(options)
        _check_places(options, [args.checkpoint, args.cfg, *options.clips])
        cfg, _ = read_experiment(args.checkpoint, args.cfg, [*args.overrides, *views])
        check_takes_images(cfg)
        export(load_model(args.checkpoint, cfg), options)


def export(loaded: LoadedModel, options: ExportOptions) -> None:
    """Write a model's exported files, each only if it gives eager PyTorch's logits.

    Args:
        loaded: Loaded model; the views of its experiment are those of the options.
        options: Options of the export.

    Raises:
        ValueError: An option does not fit, a package is missing, or a file's logits differ.
    """
    cfg, checkpoint = loaded.cfg, loaded.report.source
    metadata = describe(loaded, options)
    sys.stdout.write(f"{loaded.report}\n")
    classifier = build_classifier(loaded, metadata)
    real = read_clips(cfg, options.clips, options.num_videos, metadata.views != "none")
    is_traced = any(path.suffix in SUFFIXES for path in options.outputs)
    program = trace(classifier, metadata) if is_traced else None
    with TemporaryDirectory(dir=options.outputs[0].parent, prefix=".export-") as scratch:
        files: dict[Path, Path] = {}
        for output in options.outputs:
            place = Path(scratch) / str(len(files))  # a folder each: a large file comes in parts
            place.mkdir()
            files[place / output.name] = output
            if output.suffix == WEIGHTS:
                write_weights(loaded, place / output.name, figures_of(checkpoint))
            elif program is not None:
                _write(program, place / output.name, metadata, options.opset)
        eager = ExportedModel(classifier, metadata, checkpoint)
        runtimes = {}
        if program is not None:
            runtimes[".pt2"] = ExportedModel(program.module(), metadata, checkpoint)
        runtimes |= {path.suffix: _opened(path, metadata) for path in files}
        named = {RUNTIMES[suffix]: model for suffix, model in runtimes.items()}
        prove(eager, named, real)
        if options.quantizes:
            for path, output in list(files.items()):
                if path.suffix == ".onnx":
                    small = quantize(path)
                    files[small] = output.with_name(small.name)
                    report_int8(eager, load_exported(path), load_exported(small), real)
        for path, output in files.items():
            _move(path, output)


def check_takes_images(cfg: CfgNode) -> None:
    """Raise ValueError for a model of optical flow, or of several images a frame."""
    other_input = MODEL_RULES[cfg.MODEL.NAME].other_input(cfg)
    if other_input:
        raise ValueError(f"{other_input}: models of one RGB image a frame can be exported")


def describe(loaded: LoadedModel, options: ExportOptions) -> ExportMetadata:
    """Return what the files say of themselves.

    Raises:
        ValueError: The test's sampling has not the views asked for.
    """
    cfg = loaded.cfg
    size = test_image_size(cfg, "test")
    shape = [cfg.DATA.NUM_FRAMES, 3, size, size]
    if options.views != "none":
        shape = [num_views(cfg, options.views), *shape]
    return ExportMetadata(
        class_names=loaded.class_names,
        preprocessing=describe_preprocessing(cfg) | {"image_size": size},
        config=cfg.dump(),
        checkpoint=loaded.report.source,
        input="normalized" if options.takes_normalized else "uint8",
        input_shape=shape,
        views=options.views,
        consensus="logits" if cfg.TEST.AVERAGE_LOGITS else "probabilities",
        torch_version=torch.__version__,
        activation="sigmoid" if cfg.DATA.MULTI_LABEL else "softmax",
    )


def build_classifier(loaded: LoadedModel, metadata: ExportMetadata) -> ClipClassifier:
    """Build what the graph holds, the model and what is around it, in evaluation."""
    data = loaded.cfg.DATA
    return ClipClassifier(
        loaded.model,
        data.PIXEL_MEAN,
        data.PIXEL_STD,
        takes_normalized=metadata.input == "normalized",
        num_views=metadata.input_shape[0] if metadata.views != "none" else 0,
        averages_logits=metadata.consensus == "logits",
        is_multi_label=metadata.activation == "sigmoid",
    ).eval()


def trace(classifier: ClipClassifier, metadata: ExportMetadata) -> ExportedProgram:
    """Record the graph for any batch size."""
    dtype = torch.float32 if metadata.input == "normalized" else torch.uint8
    example = torch.zeros(2, *metadata.input_shape, dtype=dtype)  # 1 would be taken as fixed
    with torch.no_grad():
        return torch.export.export(
            classifier, (example,), dynamic_shapes={CLIPS: {0: Dim("batch", min=1)}}
        )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--checkpoint", required=True, help="the weights, any file that --evaluate takes")
    add("--cfg", help="yml of the experiment; our checkpoints hold their own config")
    add(
        "--output",
        required=True,
        action="append",
        type=Path,
        help="file to write, .onnx, .pt2 or .safetensors; may be given once for each",
    )
    add("--views", default="none", metavar="none|NxC", help="views averaged inside, as 10x3")
    add("--normalized", action="store_true", help="take normalised float32 clips, not uint8")
    add("--opset", type=int, default=0, help="of ONNX; default: torch's newest")
    add("--int8", action="store_true", help="write NAME.int8.onnx too, linear layers in INT8")
    add("--clips", nargs="+", default=[], metavar="VIDEO", help="compare on these, not the list's")
    add(
        "--videos",
        type=whole_number(),
        default=16,
        help="of the test list to compare on (16); 0 = all",
    )
    add("overrides", nargs="*", metavar="KEY VALUE", help="config keys; KEY=VALUE too")
    return parser.parse_intermixed_args(argv)


def _check_outputs(options: ExportOptions) -> None:
    """Find out what cannot be written before any work is done."""
    suffixes = [path.suffix for path in options.outputs]
    if not {*suffixes} <= {*SUFFIXES, WEIGHTS} or len({*suffixes}) < len(suffixes):
        raise ValueError(
            "--output takes one .onnx file, one .pt2 file or both, got "
            f"{' '.join(map(str, options.outputs))}; .safetensors takes the weights too"
        )
    if {*suffixes} == {WEIGHTS} and (options.views != "none" or options.takes_normalized):
        raise ValueError("--views and --normalized are for .onnx and .pt2 files")
    if WEIGHTS in suffixes:
        needed_package("safetensors", "a .safetensors file")
    if ".onnx" not in suffixes:
        if options.quantizes or options.opset:
            raise ValueError("--int8 and --opset are for an .onnx file; --output names none")
        return
    for package in ("onnx", "onnxscript", "onnxruntime"):
        needed_package(package, "ONNX export")
    newest = needed_package("onnx", "ONNX export").defs.onnx_opset_version()
    if options.opset and not LEAST_OPSET <= options.opset <= newest:
        raise ValueError(f"--opset is {LEAST_OPSET} to {newest}, got {options.opset}")


def _check_places(options: ExportOptions, inputs: Sequence[str | None]) -> None:
    places: dict[str, Path | None] = {f"--output ({p.suffix})": p for p in options.outputs}
    for output in options.outputs:
        if output.suffix == WEIGHTS:
            check_beside(output)
            places |= {f"--output ({what})": path for what, path in beside(output).items()}
    if options.quantizes:
        onnx = next(path for path in options.outputs if path.suffix == ".onnx")
        places["--int8"] = int8_path(onnx)
    check_places(places, inputs)


def _write(program: ExportedProgram, path: Path, metadata: ExportMetadata, opset: int) -> None:
    if path.suffix == ".pt2":
        torch.export.save(program, path, extra_files=metadata.texts())
        return
    onnx_program = torch.onnx.export(
        program,
        (),
        dynamo=True,
        input_names=[CLIPS],
        output_names=["logits"],
        opset_version=opset or None,
        verbose=False,
    )
    assert onnx_program is not None  # dynamo=True returns one
    made = onnx_program.model.opset_imports[""]
    if opset and made != opset:
        raise ValueError(f"torch's exporter made opset {made}, not the {opset} asked for")
    for node in onnx_program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with this machine's paths
    onnx_program.model.metadata_props.update(replace(metadata, opset=made).texts())
    onnx_program.save(path)


def _opened(path: Path, metadata: ExportMetadata) -> ExportedModel:
    """Open a file that was written, as its users will."""
    if path.suffix != WEIGHTS:
        return load_exported(path)
    return ExportedModel(build_classifier(load_model(path), metadata), metadata, str(path))


def _move(path: Path, output: Path) -> None:
    """Move a file and what lies beside it under a name that begins with its own: its parts."""
    others = [place.name for place in beside(path).values()] if path.suffix == WEIGHTS else []
    for part in [*path.parent.glob(f"{path.name}*"), *(path.with_name(name) for name in others)]:
        shutil.move(part, output.parent / part.name)
    size = output.stat().st_size
    sys.stdout.write(f"wrote {output}, {size / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
