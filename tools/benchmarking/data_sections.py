"""Sections of the benchmark that read videos: training clips, and the test with all views."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from yacs.config import CfgNode

from datasets.loaders import (
    Clips,
    EpochSampler,
    build_clip_maker,
    build_test_views,
    build_train_loader,
    open_frames,
    read_records,
)
from datasets.protocols import test_image_size
from datasets.readers import UnreadableVideoError, open_reader
from datasets.view_chunks import classify_views, views_per_forward
from engine.fetching import Fetched
from engine.run import to_device
from ops.pixels import denormalize
from tools.benchmarking.drawn_videos import draw_videos, pack_videos
from tools.benchmarking.model_sections import check_close, plain_network
from tools.benchmarking.operations import count_operations
from tools.benchmarking.plain_reading import plain_clip, plain_views
from tools.benchmarking.recipe_plan import FLOPS
from tools.benchmarking.setting import Setting, precision, precision_name, random_clips
from tools.benchmarking.timing import time_side_by_side

NUM_FRAMES = 300  # of a video: ten seconds
CLIP_SIZE = (441, 331)  # width and height of the frames of a training clip, pixels
TEST_SIZE = (588, 331)
_PIXEL_TOLERANCE = 3.0  # mean grey levels: Pillow's arithmetic rounds otherwise
DRAWS = 16  # clips in turn: some are recoloured, some mirrored


def measure_load(setting: Setting) -> None:
    """Time a training clip on one core beside plain reading, and loaders of several processes."""
    cfg, cpu = videos_cfg(setting, CLIP_SIZE), torch.device("cpu")
    packed = videos_cfg(setting, CLIP_SIZE, "DATA.TRAIN_LIST", str(_packed_list(cfg)))
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader process
    try:
        calls = {"folder": _clips_in_turn(cfg)}
        if _is_read(packed):
            calls["packed file"] = _clips_in_turn(packed)
        if cfg.AUG.CROP == "short_side" and cfg.DATA.SAMPLING == "dense":
            _check_clip(cfg)
            calls["plain"] = _plain_clips_in_turn(cfg)
        times = time_side_by_side(calls, cpu, setting.seconds)
    finally:
        torch.set_num_threads(num_threads)
    plain = times.pop("plain", None)
    for kind, mine in times.items():
        milliseconds = 1e3 * mine.median / DRAWS
        setting.report.times(
            *("load", f"clip of a {kind}", mine, ("plain reading", plain) if plain else None),
            clips=DRAWS,
            clip_ms=milliseconds,
            frame_ms=milliseconds / cfg.DATA.NUM_FRAMES,
        )
    if "packed file" not in times:
        setting.report.figures("load", "clip of a packed file", not_measured="not available")
    for workers in setting.workers:
        _measure_loader(setting, workers)


def measure_test(setting: Setting) -> None:
    """Time the test of a video end to end beside as many plain forward passes as it has views."""
    cfg, root = videos_cfg(setting, TEST_SIZE), setting.folder
    record = read_records(cfg, "train")[0]
    views = build_test_views(cfg, [record], "test", lambda one: open_frames(cfg, one))
    model = setting.model(cfg).eval()
    is_plain = cfg.MODEL.NAME in ("vit", "tokshift") and cfg.DATA.SAMPLING == "dense"
    network = plain_network(cfg, model).to(setting.device).eval() if is_plain else None
    per_forward = views_per_forward(cfg.TEST.VIEWS_PER_FORWARD, setting.device)
    for amp in setting.precisions:

        def ours(amp: str = amp) -> Tensor:
            with precision(amp, setting.device):
                ((_, found, _),) = classify_views(
                    [[views[0]]], _classifier(setting, cfg, model), per_forward
                )
            assert found is not None
            return torch.as_tensor(found).mean(0)

        def plain(amp: str = amp) -> Tensor:
            assert network is not None
            clips = plain_views(root / record.path, record.num_frames, cfg)
            with precision(amp, setting.device):
                logits = [network(clip[None].to(setting.device)) for clip in clips]
            return torch.cat(logits).float().cpu().mean(0)

        calls: dict[str, Callable[[], object]] = {"ours": ours}
        if network is not None:
            check_close(ours(), plain(), "bf16", "test")  # pixels of Pillow and torchvision
            calls["plain"] = plain
        times = time_side_by_side(calls, setting.device, setting.seconds)
        baseline = ("plain views", times["plain"]) if network is not None else None
        distinct = len(views[0].distinct)
        setting.report.times(
            *("test", precision_name(amp), times["ours"], baseline),
            precision=precision_name(amp),
            views_distinct=distinct,
            views_per_s=distinct / times["ours"].median,
        )
        _measure_chunk(setting, cfg, model, amp)


def videos_cfg(setting: Setting, size: tuple[int, int], *words: str) -> CfgNode:
    """Return the config with a list of drawn videos of (width, height), made if need be."""
    number, num_frames = (4, 12) if setting.is_tiny else (8, NUM_FRAMES)
    size = (48, 40) if setting.is_tiny else size
    listed = draw_videos(setting.folder, number, num_frames, size)
    data = ["DATA.ROOT", str(setting.folder)]
    lists = [word for name in ("TRAIN", "VAL") for word in (f"DATA.{name}_LIST", str(listed))]
    return setting.cfg(*data, *lists, "DATA.CLASS_NAMES", "", *words)


def batches(loader: DataLoader[Clips]) -> Iterator[Clips]:
    """Yield batches of one epoch after another."""
    assert isinstance(loader.sampler, EpochSampler)
    for epoch in count():
        loader.sampler.set_epoch(epoch)
        yield from loader


def _packed_list(cfg: CfgNode) -> Path:
    return pack_videos(Path(cfg.DATA.ROOT), Path(cfg.DATA.TRAIN_LIST))


def _is_read(cfg: CfgNode) -> bool:
    """Tell whether the readers take the videos of a list."""
    line = Path(cfg.DATA.TRAIN_LIST).read_text(encoding="utf-8").split()
    try:
        open_reader(Path(cfg.DATA.ROOT) / line[0]).read([0])
    except UnreadableVideoError:
        return False
    return True


def _measure_chunk(setting: Setting, cfg: CfgNode, model: nn.Module, amp: str) -> None:
    """Time the forward pass of as many views as go through at once, from the host's memory."""
    is_gpu = setting.device.type == "cuda"
    number = views_per_forward(cfg.TEST.VIEWS_PER_FORWARD, setting.device) if is_gpu else 2
    views = random_clips(cfg, number, test_image_size(cfg, "test"))
    views = views.pin_memory() if is_gpu else views
    run = torch.compile(model) if is_gpu and amp == "bf16" else model

    def classify() -> Tensor:
        with precision(amp, setting.device):
            return run(to_device(views, cfg, setting.world))

    times = time_side_by_side({"chunk": classify}, setting.device, setting.seconds)["chunk"]
    views_per_s = number / times.median
    setting.report.times(
        *("test", f"forward of a chunk, {precision_name(amp)}", times),
        views=number,
        views_per_s=views_per_s,
    )
    if run is not model:
        reached = FLOPS * count_operations(cfg).forward * views_per_s
        setting.report.ratio("test", "share of the peak", reached / setting.peak)


def _clips_in_turn(cfg: CfgNode) -> Callable[[], object]:
    records, maker, seeds = read_records(cfg, "train"), build_clip_maker(cfg), count()

    def clip() -> object:
        seed = next(seeds)
        return maker.make(records[seed % len(records)], np.random.default_rng(seed))

    return lambda: [clip() for _ in range(DRAWS)]


def _plain_clips_in_turn(cfg: CfgNode) -> Callable[[], object]:
    records, seeds = read_records(cfg, "train"), count()

    def clip() -> object:
        seed = next(seeds)
        record = records[seed % len(records)]
        folder = Path(cfg.DATA.ROOT) / record.path
        return plain_clip(folder, record.num_frames, cfg, np.random.default_rng(seed))

    return lambda: [clip() for _ in range(DRAWS)]


def _classifier(setting: Setting, cfg: CfgNode, model: nn.Module) -> Callable[[Tensor], Fetched]:
    return lambda clips: Fetched(model(to_device(clips, cfg, setting.world)).float())


def _check_clip(cfg: CfgNode) -> None:
    """Raise RuntimeError unless a clip of ours shows what plain reading does."""
    record = read_records(cfg, "train")[0]
    ours, _, _ = build_clip_maker(cfg).make(record, np.random.default_rng(0))
    folder = Path(cfg.DATA.ROOT) / record.path
    plain = plain_clip(folder, record.num_frames, cfg, np.random.default_rng(0))
    pixels = denormalize(plain, cfg.DATA.PIXEL_MEAN, cfg.DATA.PIXEL_STD)
    difference = (ours.float() - pixels.float()).abs().mean().item()
    if not difference <= _PIXEL_TOLERANCE:
        raise RuntimeError(
            f"a training clip differs from plain reading by {difference:.2f} grey levels in the "
            f"mean; {_PIXEL_TOLERANCE:g} are allowed"
        )


def _measure_loader(setting: Setting, workers: int) -> None:
    words = ["DATA.WORKERS", str(workers), "TRAIN.CLIPS_PER_GPU", "2" if setting.is_tiny else "8"]
    cfg = videos_cfg(setting, CLIP_SIZE, *words)
    given = batches(build_train_loader(cfg, read_records(cfg, "train"), rank=0, world_size=1))
    for _ in range(workers + 2):  # until all have begun
        next(given)
    one = {"loader": lambda: next(given)}
    times = time_side_by_side(one, torch.device("cpu"), setting.seconds)["loader"]
    clips = cfg.TRAIN.CLIPS_PER_GPU / (sum(times.seconds) / len(times.seconds))
    setting.report.times(
        "load", f"loader of {workers} processes", times, workers=workers, loaded_per_s=clips
    )
