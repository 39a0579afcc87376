"""INT8 forms of exported ONNX files: the linear layers' weights in bytes, by ONNX Runtime."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

from models.exported import ExportedModel, load_exported, needed_package
from tools.exporting.export_check import RealClips, classify, latencies, random_samples


def int8_path(path: Path) -> Path:
    """Return where the INT8 form of an ONNX file lies."""
    return path.with_name(f"{path.stem}.int8.onnx")


def quantize(path: Path) -> Path:
    """Write the INT8 form of an ONNX file beside it, its linear layers' weights in bytes."""
    onnx = needed_package("onnx", "INT8 quantization")
    quantization = needed_package("onnxruntime.quantization", "INT8 quantization")
    small = int8_path(path)
    model = onnx.load(path)
    del model.graph.value_info[:]  # shapes of weights that are about to be transposed
    logging.disable(logging.WARNING)  # it tells of every tensor, through the root logger
    try:
        quantization.quantize_dynamic(
            model,
            small,
            op_types_to_quantize=["MatMul"],  # Gemm becomes one; convolutions stay as they are
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            # to 7 bits: CPUs without VNNI add two products in 16 bits, where those of 8 overflow
            reduce_range=True,
        )
    finally:
        logging.disable(logging.NOTSET)
    model = onnx.load(small)
    texts = replace(load_exported(path).metadata, quantization="int8").texts()
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, small)
    return small


def report_int8(
    eager: ExportedModel, full: ExportedModel, small: ExportedModel, real: RealClips | None
) -> None:
    """Print what INT8 costs in answers and saves in bytes and time."""
    onnx = needed_package("onnx", "INT8 quantization")
    nodes = onnx.load(small.path, load_external_data=False).graph.node
    num_linear = sum(node.op_type == "MatMulInteger" for node in nodes)
    noise = next(iter(random_samples(eager.metadata.input_shape).values()))
    taken = latencies({"full": full, "small": small}, noise)
    sizes = [Path(model.path).stat().st_size for model in (full, small)]
    lines = [
        f"INT8: {num_linear} linear layers, file {sizes[1] / 1e6:.2f} MB, "
        f"{sizes[1] / sizes[0]:.2f} of {sizes[0] / 1e6:.2f} MB",
        f"  latency {1e3 * taken['small']:.1f} ms, {taken['small'] / taken['full']:.2f} of "
        f"{1e3 * taken['full']:.1f} ms",
    ]
    if real:
        logits = [classify(model, real.samples) for model in (eager, small)]
        answers = [part.argmax(-1) for part in logits]
        same = 100 * float((answers[0] == answers[1]).float().mean())
        difference = float((logits[0] - logits[1]).abs().max())
        line = (
            f"  {real.name}: same answer for {same:.2f} %, logits differ by up to {difference:.3g}"
        )
        if real.labels is not None:
            top1 = [100 * float((answer == real.labels).float().mean()) for answer in answers]
            line += f", top-1 {top1[0]:.2f} -> {top1[1]:.2f} ({top1[1] - top1[0]:+.2f})"
        lines.append(line)
    sys.stdout.write("\n".join(lines) + "\n")
