"""The option --views of the tools: clips x crops of each video, as ``10x3``."""

from yacs.config import CfgNode

from datasets.protocols import num_test_clips


def view_keys(views: str) -> list[str]:
    """Return the words KEY VALUE that a choice of views stands for.

    Raises:
        ValueError: It is no clips x crops.
    """
    num_clips, _, num_crops = views.partition("x")
    if not (num_clips.isdecimal() and num_crops.isdecimal() and int(num_clips)):
        raise ValueError(f"--views is clips x crops, as 1x1, 1x3 or 10x3; got {views!r}")
    return ["TEST.NUM_CLIPS", num_clips, "TEST.NUM_CROPS", num_crops]


def num_views(cfg: CfgNode, views: str) -> int:
    """Count the views of a video, mirror images included, that a choice has with a config.

    Raises:
        ValueError: The test's sampling has other views.
    """
    num_clips, num_crops = num_test_clips(cfg, "test"), cfg.TEST.NUM_CROPS
    if views != f"{num_clips}x{num_crops}":
        raise ValueError(
            f"--views {views}: with DATA.SAMPLING={cfg.DATA.SAMPLING!r} and DATA.UNIFORM_TWICE="
            f"{cfg.DATA.UNIFORM_TWICE} a video has {num_clips}x{num_crops} views"
        )
    return num_clips * num_crops * (2 if cfg.TEST.FLIP else 1)
