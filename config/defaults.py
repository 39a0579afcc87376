"""Every option with its default, meaning, unit and source.

MODEL is in model_defaults.py; LOSS, OPTIM, TRAIN and DISTILL are in training_defaults.py.
"""

from yacs.config import CfgNode as CN

from config.model_defaults import MODEL_DEFAULTS
from config.training_defaults import TRAINING_DEFAULTS

_C = CN()

# Folder of the run: logs, checkpoints, results. Empty: runs/<the release's name of the experiment>.
_C.OUTPUT_DIR = ""
# Seeds the initial weights, the shuffling, and every sample's own draws (with epoch and index).
_C.SEED = 0
# Deterministic kernels and no cuDNN search: the same weights twice on the same machine; slower.
_C.DETERMINISTIC = False

_C.DATA = CN()
# Names the data set in the run's name.
_C.DATA.NAME = "k400"
# Folder that the paths in the lists start from.
_C.DATA.ROOT = ""
# List files: a line is `path num_frames label`, or `path label` (frames counted on disk). A path is
# a folder of frames or a video file; one list may hold both.
_C.DATA.TRAIN_LIST = ""
_C.DATA.VAL_LIST = ""
# List of the final test; empty: VAL_LIST, which the release tests on.
_C.DATA.TEST_LIST = ""
# File with one class name a line, line number = label - 0-based; empty: classes go by number.
_C.DATA.CLASS_NAMES = ""
# File name of a frame inside a video's folder, and the number of the first one. Where that file
# does not exist the folder itself is asked.
_C.DATA.FRAME_TEMPLATE = "img_{:05d}.jpg"
_C.DATA.FIRST_FRAME = 1
# What decodes video files: pyav, torchcodec, or auto: PyAV, and TorchCodec only without it. PyAV
# is exact for every file; TorchCodec 0.17 was not for some AVI and MPEG files.
_C.DATA.DECODER = "auto"
# Keep every 10th line of each list, for a quick look (release: USE_SUBSET).
_C.DATA.USE_SUBSET = False
# The most pixels of a frame, width x height; a larger one is not decoded, as a small file can stand
# for gigabytes. The default holds 8K.
_C.DATA.MAX_FRAME_PIXELS = 33554432
# A video may have several classes: a list's line is `path num_frames 3,7` or `path 3,7`. Each class
# is decided on its own: the loss is binary cross-entropy of the sigmoids, its mean over clips and
# classes; the figure that chooses the best epoch is mAP, the mean average precision.
_C.DATA.MULTI_LABEL = False
# Class balance of the training, 0 to 1: a class of n videos has a share of an epoch's draws in
# proportion to n ** (1 - BALANCE). 0: every video once; 1: every class equally often. An epoch has
# as many draws as the list has videos, whatever the balance.
_C.DATA.BALANCE = 0.0
# Make the toy set of the quickstart under ROOT when its lists are not there yet.
_C.DATA.GENERATE_TOY = False
# T, frames a clip; moves the sampling, the model and the test views together.
_C.DATA.NUM_FRAMES = 8
# Frames from one frame of a dense clip to the next.
_C.DATA.FRAME_STRIDE = 32
# dense: T frames FRAME_STRIDE apart, from a random or given start; mmaction_dense: so too, but as
# MMAction2 tests its TimeSformers: one clip is the middle one, several go from end to end; uniform:
# one frame out of each of T equal spans (TSN, arXiv:1608.00859). As the TSM release has them: tsn:
# uniform, but a video with no frame to spare gives its first frame T times, in training below T
# frames, in validation up to T; tsm_dense: T frames 64 // T apart. As PaddleVideo has them:
# linspace (PP-TimeSformer): T frames evenly spread from first to last, in training one at random
# out of each of T equal spans; paddle_dense (its TokenShift): as tsm_dense, but tested on the
# middles of T equal spans. laps, as TokShift's second version: T frames evenly spread over a window
# of T x FRAME_STRIDE, both ends included (8x32: 0, 36, 72 .. 255), beyond the video from its start
# again; test clip k of n starts at k / n of the spare frames, so that ten starts differ where ten
# are spare.
_C.DATA.SAMPLING = "dense"
# What linspace and paddle_dense draw from. whole: the video; paddle: as its decoder hands it on,
# 32 T / 30 seconds of it, from a random start in training, from the first frame in the tests. With
# linspace a shorter video ends in copies of its last frame: 7 of T = 16 where it lasts 10 seconds.
_C.DATA.WINDOW = "whole"
# Frames a second of frame folders, for WINDOW paddle among others; a video file tells its own.
_C.DATA.FPS = 30.0
# With uniform and tsn sampling, test a second clip from the starts of the spans (release:
# UNIFORM_TWICE); TSM does so in the final test alone.
_C.DATA.UNIFORM_TWICE = False
# Uniform test clips as released: one frame early (frame 0 is an error), the second clip frozen.
_C.DATA.UNIFORM_AS_RELEASED = False
# Dense training clips may start at the last full start too, which the release never draws.
_C.DATA.DRAWS_LAST_START = False
# Leave out videos of fewer frames, in plain sight (TSM release: 3).
_C.DATA.MIN_FRAMES = 1
# Side of the square frames that the model sees, pixels.
_C.DATA.IMAGE_SIZE = 224
# Short side that test frames are resized to before the crops, pixels.
_C.DATA.TEST_SHORT_SIDE = 224
# Per channel, in units of 0..1: pixel / 255, minus mean, over std.
_C.DATA.PIXEL_MEAN = [0.5, 0.5, 0.5]
_C.DATA.PIXEL_STD = [0.5, 0.5, 0.5]
# Loader processes for each training process; -1: its share of the host's cores, at most 16. The
# results do not depend on it.
_C.DATA.WORKERS = -1

_C.AUG = CN()
# short_side: resize to a random short side, then crop at random (TokShift); multi_scale: crop one
# of ten sizes at one of 13 places, then resize (TSM); multi_scale_rounded: the places rounded,
# as PaddleVideo does; scale_jitter: as short_side, but bilinear without antialias, and the short
# side is a rounded draw (PaddleVideo's transformers); laps: so too, but of float frames, and after
# the colours (TokShift's second version).
_C.AUG.CROP = "short_side"
# Range of short_side, [low, high), pixels; of scale_jitter and laps [low, high], each end half as
# often as the sides between.
_C.AUG.SHORT_SIDE_RANGE = [224, 330]
# Sides of the crops of multi_scale, shares of the stored frame's short side.
_C.AUG.CROP_SCALES = [1.0, 0.875, 0.75, 0.66]
# Mirror half of the training clips. Where left and right are different classes: False, or name the
# pairs below.
_C.AUG.FLIP = True
# Classes that a mirror exchanges, as '86-87, 93-94', or 'names': found in DATA.CLASS_NAMES by their
# words left and right, and the classes with such words but no partner are not mirrored. Empty:
# every class is its own mirror image.
_C.AUG.FLIP_PAIRS = ""
# Each of the four colour changes hits one clip in so many; 0 for none (release: 10).
_C.AUG.JITTER_ONE_IN = 10
# Ranges of the changes: factors of brightness, saturation and gamma, turn of the hue circle.
_C.AUG.BRIGHTNESS = [0.5, 2.0]
_C.AUG.SATURATION = [0.5, 3.0]
_C.AUG.GAMMA = [0.8, 1.2]
_C.AUG.HUE = [-0.5, 0.5]
# RandAugment (arXiv:1909.13719) on the cropped clip, the same in all its frames: operations on each
# clip, 0 for none, and their strength on torchvision's scale of 0 to 30.
_C.AUG.RANDAUG_NUM_OPS = 0
_C.AUG.RANDAUG_MAGNITUDE = 9
# Share of the clips that lose a random box, the same in all frames, to DATA.PIXEL_MEAN
# (arXiv:1708.04896).
_C.AUG.ERASING_PROB = 0.0
# Differently drawn clips of each video, side by side in a batch (repeated augmentation,
# arXiv:1901.09335; PySlowFast: AUG.NUM_SAMPLE). An epoch has so many times the clips;
# TRAIN.CLIPS_PER_GPU counts them all.
_C.AUG.REPEATS = 1

# Beta distributions that Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899) draw the share of
# two clips from, once a batch; 0 = off. PaddleVideo's VideoMix: 0.2 and 1.0.
_C.AUG.MIXUP_ALPHA = 0.0
_C.AUG.CUTMIX_ALPHA = 0.0
# Share of the batches that are mixed, and of CutMix among them where both are on.
_C.AUG.MIX_PROB = 1.0
_C.AUG.CUTMIX_SHARE = 0.5
# What CutMix replaces: space: an H x W box in all frames; paddle: T x H in all columns, and the
# label's share is wrong, as in PaddleVideo.
_C.AUG.CUTMIX_BOX = "space"

_C.update(MODEL_DEFAULTS)
_C.update(TRAINING_DEFAULTS)

_C.VAL = CN()
# Views of each video after each epoch of training: clips in time x crops (1, 3 or 5).
# NUM_CLIPS counts for dense, mmaction_dense and laps sampling; uniform and tsn have one clip, or
# two (DATA.UNIFORM_TWICE), linspace and paddle_dense one. With tsm_dense sampling one clip starts
# at random, drawn from SEED and the number of frames.
_C.VAL.NUM_CLIPS = 1
_C.VAL.NUM_CROPS = 3
# Short side that the frames are resized to in validation, pixels; 0 = DATA.TEST_SHORT_SIDE.
_C.VAL.SHORT_SIDE = 0
# Videos a process takes at once, in validation and test.
_C.VAL.VIDEOS_PER_GPU = 2

_C.TEST = CN()
# Run the test on the best checkpoint when the training is done.
_C.TEST.AFTER_TRAINING = False
# Views of each video: clips in time x crops in space, "30 views" as published.
# NUM_CLIPS counts for dense, mmaction_dense, tsm_dense and laps sampling, as in VAL.
_C.TEST.NUM_CLIPS = 10
_C.TEST.NUM_CROPS = 3
# Side of the test's crops, pixels; 0 = DATA.IMAGE_SIZE, which a transformer is bound to.
_C.TEST.IMAGE_SIZE = 0
# Resize and crops of validation and test. tokshift: bicubic, far crops at the edge, mirrored before
# the resize; tsm: bilinear, far crops up to 3 pixels short of the edge, mirrored after the crop. As
# PaddleVideo has them, bilinear without antialias, 1 or 3 crops: uniform (UniformCrop): along the
# longer side, of frames whose short side is the crop's; multi_centre (MultiCenterCrop): centre,
# left and right of the middle rows. mmaction, as MMAction2's CenterCrop, ThreeCrop (as uniform) and
# TenCrop (5 crops and TEST.FLIP): bilinear without antialias. laps, as TokShift's second version:
# float frames, so too, not rounded to grey levels; 1 or 3 crops along the longer side, to its
# edges.
_C.TEST.CROPS = "tokshift"
# Add the mirror image of each view, in validation and test (release: VAL_FLIP).
_C.TEST.FLIP = False
# Spread the clips' starts evenly over the video. False: as released, where most of ten clips of a
# short video coincide.
_C.TEST.EVEN_STARTS = False
# The release averages logits over the views; False: probabilities.
_C.TEST.AVERAGE_LOGITS = True
# List unreadable videos and leave them out of the figures; False: they are an error.
_C.TEST.SKIPS_UNREADABLE = False
# Distinct views that go through the model at once; 0 = 16, on a GPU 64.
_C.TEST.VIEWS_PER_FORWARD = 0

_C.LOG = CN()
# Besides TensorBoard, send the figures of a training and its test to Weights & Biases: the name of
# the project there; empty = not. It needs the package wandb, which reads the environment:
# WANDB_MODE=offline keeps them in the run folder.
_C.LOG.WANDB = ""
# The same for MLflow: the name of the experiment. It needs the package mlflow;
# MLFLOW_TRACKING_URI says where they go.
_C.LOG.MLFLOW = ""


def get_defaults() -> CN:
    """Return a fresh copy of the defaults, not frozen."""
    return _C.clone()
