"""Every option with its default, meaning, unit and source."""

from yacs.config import CfgNode as CN

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
# Make the toy set of the quickstart under ROOT when its lists are not there yet.
_C.DATA.GENERATE_TOY = False
# T, frames a clip; moves the sampling, the model and the test views together.
_C.DATA.NUM_FRAMES = 8
# Frames from one frame of a dense clip to the next.
_C.DATA.FRAME_STRIDE = 32
# dense: T frames FRAME_STRIDE apart, from a random or given start; uniform: one frame out of each
# of T equal spans (TSN, arXiv:1608.00859). As the TSM release has them: tsn: uniform, but a video
# with no frame to spare gives its first frame T times, in training below T frames, in validation up
# to T; tsm_dense: T frames 64 // T apart. As PaddleVideo has them: linspace (PP-TimeSformer): T
# frames evenly spread from first to last, in training one at random out of each of T equal spans;
# paddle_dense (its TokenShift): as tsm_dense, but tested on the middles of T equal spans. laps, as
# TokShift's second version: T frames evenly spread over a window of T x FRAME_STRIDE, both ends
# included (8x32: 0, 36, 72 .. 255), beyond the video from its start again; test clip k of n starts
# at k / n of the spare frames, so that ten starts differ where ten frames are spare.
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

_C.MODEL = CN()
# tokshift (arXiv:2108.02432), or vit: the same transformer without the shift; timesformer
# (arXiv:2102.05095), PaddleVideo's PP-TimeSformer too; tsm (arXiv:1811.08383), a ResNet.
_C.MODEL.NAME = "tokshift"
# K, classes; labels are 0..K-1.
_C.MODEL.NUM_CLASSES = 400
# Backbone that the empty keys of MODEL.VIT are filled from, see config/backbones.py; for tsm
# resnet18, 34, 50, 101 or 152.
_C.MODEL.BACKBONE = "ViT-B_16"
_C.MODEL.VIT = CN()
# Explicit sizes; 0 = from the backbone's name.
_C.MODEL.VIT.PATCH_SIZE = 0
_C.MODEL.VIT.HIDDEN_SIZE = 0
_C.MODEL.VIT.MLP_DIM = 0
_C.MODEL.VIT.NUM_HEADS = 0
_C.MODEL.VIT.NUM_LAYERS = 0
# Dropout probability after the embedding and in the MLPs; empty (null) = from the backbone's name.
_C.MODEL.VIT.DROPOUT = None
# Queries, keys and values have biases. PP-TimeSformer's do not, as its ImageNet-21k weights.
_C.MODEL.VIT.QKV_BIAS = True
# The keys below are by default as the backbone's name has them, and a plain ViT's without a name.
# Added to variances by the LayerNorms: 1e-6, of CLIP and DINOv3 1e-5; 0 = from the name.
_C.MODEL.VIT.NORM_EPS = 0.0
# gelu: exact; quick_gelu: x sigmoid(1.702 x), as OpenAI's CLIP; swiglu: MLP_DIM counts gate and
# values together; auto: from the name. This and NORM_EPS do not show in weights.
_C.MODEL.VIT.ACTIVATION = "auto"
# A norm before the first block, and no bias in the patch embedding (CLIP).
_C.MODEL.VIT.PRE_NORM = False
# A factor for each channel of each branch (DINOv2, DINOv3, DeiT-3).
_C.MODEL.VIT.LAYER_SCALE = False
# Tokens between class token and patches; 0 = from the name.
_C.MODEL.VIT.NUM_REGISTERS = 0
# What has a position: all: class token and patches; patches (DeiT-3, registers); rotary: queries
# and keys of patches, by their place (DINOv3); auto: from the name.
_C.MODEL.VIT.POSITIONS = "auto"
# What is classified: token: the class token; mean: the mean of the patches (a fine-tuned MAE),
# which the shift hardly reaches; auto: from the name.
_C.MODEL.VIT.POOL = "auto"
# How positions of another grid are loaded: bilinear: corners aligned, as released; bicubic: with
# antialias, as timm; dinov2: as the DINOv2 release's without registers; auto: from the name.
_C.MODEL.VIT.POS_RESIZE = "auto"
# Classifier of a transformer that starts from weights of other classes: zeros, as released; normal:
# drawn from a truncated normal of standard deviation 0.02, also without such weights (TokShift's
# second version).
_C.MODEL.HEAD_INIT = "zeros"
_C.MODEL.SHIFT = CN()
# One channel in FOLD_DIV of the class token moves back in time, and one ahead (release: SHIFT_DIV).
_C.MODEL.SHIFT.FOLD_DIV = 4
# both, or past: nothing comes from later frames, so that the model can run online.
_C.MODEL.SHIFT.DIRECTION = "both"
# The shift replaces the residual stream, as released; False: only the branches see it (ablation).
_C.MODEL.SHIFT.ON_RESIDUAL = True
_C.MODEL.TIMESFORMER = CN()
# divided: along time, then within frames; joint: among all tokens of a clip; space_only: within
# frames, whose class tokens are averaged.
_C.MODEL.TIMESFORMER.ATTENTION = "divided"
# How weights of another number of frames are loaded: nearest resizes the time embedding as
# PaddleVideo does from pretrained weights; linear, with the first and the last frame kept.
_C.MODEL.TIMESFORMER.TIME_RESIZE = "nearest"
_C.MODEL.TSM = CN()
# False: TSN, the same network without any shift.
_C.MODEL.TSM.SHIFT = True
# What happens along time: shift; or of the TokShift release's ResNet modules blend, squeezed_conv,
# depthwise_conv.
_C.MODEL.TSM.OP = "shift"
# One channel in FOLD_DIV is moved (or blended) each way.
_C.MODEL.TSM.FOLD_DIV = 8
# If not 0, the share of the channels in place of 1 / FOLD_DIV; PaddleVideo: 1 / T.
_C.MODEL.TSM.RATIO = 0.0
# blockres: before the first convolution of a block, every other block in resnet101 and 152; block:
# before all of every block, the shortcut included.
_C.MODEL.TSM.PLACEMENT = "blockres"
# Of the two groups of channels: future_first, or past_first as in PaddleVideo.
_C.MODEL.TSM.ORDER = "future_first"
# both, or past: nothing comes from later frames, so that the model can run online.
_C.MODEL.TSM.DIRECTION = "both"
# Half as many frames from layer2 on.
_C.MODEL.TSM.TEMPORAL_POOL = False
# A non-local block after every second block of layer2 and layer3 (arXiv:1711.07971).
_C.MODEL.TSM.NON_LOCAL = False
# What it computes: embedded_gaussian (TSM release), dot_product or gaussian (MMAction2). Empty:
# embedded_gaussian, but weights that may be of another kind are an error.
_C.MODEL.TSM.NON_LOCAL_MODE = ""
# RGB or Flow (x and y in turn), and the images stacked in a frame; 0: 1 for RGB, 5 for Flow.
# The loaders read RGB; Flow is for the model alone.
_C.MODEL.TSM.MODALITY = "RGB"
_C.MODEL.TSM.NEW_LENGTH = 0
# Dropout probability before the classifier.
_C.MODEL.TSM.DROPOUT = 0.5
# Blocks in each stage and channels of the stem, for other sizes than the published; 0 = by depth.
_C.MODEL.TSM.LAYERS = [0, 0, 0, 0]
_C.MODEL.TSM.WIDTH = 64
# Stochastic-depth rate of the last block, growing from 0 in the first (arXiv:1603.09382).
_C.MODEL.DROP_PATH = 0.0
# Recompute each block's activations in the backward pass: far less memory, about a third slower.
_C.MODEL.CHECKPOINTS_BLOCKS = False
# Freeze every norm but the first: LayerNorms (release: PARTIAL_BN), or the batch norms of a tsm.
_C.MODEL.PARTIAL_BN = False

_C.LOSS = CN()
# Share of the target spread over all classes. The release's yml says 0.01, but its code reads that
# as "on" and smooths by 0.1; all published models are trained so.
_C.LOSS.LABEL_SMOOTHING = 0.1

_C.OPTIM = CN()
# sgd or adamw.
_C.OPTIM.NAME = "sgd"
# Base learning rate. It is not scaled by anything.
_C.OPTIM.LR = 0.1
# The learning rate and the effective batch (processes x clips x accumulation) that the recipe was
# published with: a line at the start compares. 0 = unknown.
_C.OPTIM.REFERENCE_LR = 0.0
_C.OPTIM.REFERENCE_BATCH = 0
# SGD's momentum, and Nesterov's form of it.
_C.OPTIM.MOMENTUM = 0.9
_C.OPTIM.NESTEROV = False
# AdamW's betas.
_C.OPTIM.BETAS = [0.9, 0.999]
# On all parameters alike, as released, or as GROUPS has it.
_C.OPTIM.WEIGHT_DECAY = 0.0
# one: all parameters alike; vit: no decay on biases, norms, class token and embeddings;
# pp_timesformer: none on class token, embeddings and the head's bias, as PaddleVideo. For tsm: tsm,
# the release's groups: head faster, no decay on biases and norms; paddle: PaddleVideo's, which
# decays the head's weight by 1e-4 whatever WEIGHT_DECAY.
_C.OPTIM.GROUPS = "one"
# Factor on the learning rate from each layer to the one below: blocks of a transformer, stages of a
# ResNet (BEiT, arXiv:2106.08254: 0.65 for ViT-B). Not with the groups tsm and paddle. 1 = off.
_C.OPTIM.LAYER_DECAY = 1.0
# In the tsm groups, the head's weight learns 5 times as fast and its bias 10 times. The release
# does so unless it fine-tunes a model of the same classes, head included.
_C.OPTIM.BOOSTS_HEAD = True
# multistep: times GAMMA at each epoch of MILESTONES, where 2.5 counts from epoch 3 on (TSM release:
# --lr_steps); cosine: to MIN_LR, every iteration, or every epoch (TSM release).
_C.OPTIM.SCHEDULE = "multistep"
_C.OPTIM.MILESTONES = [10.0, 15.0, 18.0]
_C.OPTIM.GAMMA = 0.1
_C.OPTIM.MIN_LR = 0.0
_C.OPTIM.COSINE_PER_EPOCH = False
# Epochs of linear warm-up, every iteration, from WARMUP_START x the rate.
_C.OPTIM.WARMUP_EPOCHS = 0.0
_C.OPTIM.WARMUP_START = 0.01
# factor: a linear factor on the schedule; line: a straight line to where the schedule is when the
# warm-up ends (PaddleVideo, PySlowFast).
_C.OPTIM.WARMUP_RULE = "factor"
# Largest global gradient norm of a step; 0 = no limit.
_C.OPTIM.CLIP_GRAD_NORM = 1.0

_C.TRAIN = CN()
# Times that every video is seen, in AUG.REPEATS clips each time.
_C.TRAIN.EPOCHS = 18
# Epochs without a better validation top-1 after which the training ends; 0 = it has all EPOCHS.
_C.TRAIN.PATIENCE = 0
# Clips a process takes at once, on its GPU or CPU.
_C.TRAIN.CLIPS_PER_GPU = 21
# Batches whose gradients are added up for one step.
_C.TRAIN.ACCUMULATION = 10
# Clips of a step over all processes, in place of ACCUMULATION; a multiple of processes x
# CLIPS_PER_GPU (PaddleVideo: 64 or 256). 0 = ACCUMULATION counts.
_C.TRAIN.GLOBAL_BATCH = 0
# The last, smaller group of an epoch: underweight: divided by the full size too, as released;
# reweight: by its own; drop: no step, its gradients are thrown away, as PaddleVideo does.
_C.TRAIN.LAST_GROUP = "underweight"
# Mixed precision: none, auto (bf16 where the device has it, else fp16), bf16, fp16.
_C.TRAIN.AMP = "none"
# On a GPU, float32 products and convolutions keep 10 of 23 bits (TF32), several times as fast; what
# TRAIN.AMP computes in 16 bits it leaves alone.
_C.TRAIN.TF32 = False
# Run each block of the model through torch.compile, in training, validation and test.
_C.TRAIN.COMPILE = False
# Decay of the exponential moving average of the weights, per step; 0 = no average.
_C.TRAIN.EMA_DECAY = 0.0
# Stochastic weight averaging (arXiv:1803.05407), beside EMA_DECAY's average or without it.
_C.TRAIN.SWA = CN()
# The plain mean of the weights begins with those after this epoch, counted from 1; 0 = no mean. It
# is validated and saved as swa.pth after the last epoch.
_C.TRAIN.SWA.START_EPOCH = 0
# Learning rate of the epochs after START_EPOCH; 0 = the schedule goes on.
_C.TRAIN.SWA.LR = 0.0
# 0: LR is constant and the weights after each epoch enter the mean. Else cycles of so many epochs:
# the rate falls in a line from OPTIM.LR to LR, and the weights at the end of each cycle enter.
_C.TRAIN.SWA.CYCLE_EPOCHS = 0
# Epochs that the constant rate is reached in, on half a cosine from the schedule's (torch's SWALR).
_C.TRAIN.SWA.ANNEAL_EPOCHS = 0
# A checkpoint is written at each epoch's end, and after this time within one, in minutes; 0 = not.
_C.TRAIN.CHECKPOINT_MINUTES = 10.0
# Steps within an epoch after which a checkpoint is written, beside CHECKPOINT_MINUTES; 0 = not.
_C.TRAIN.CHECKPOINT_STEPS = 0
# Write checkpoints beside the training, from a copy in the memory of the CPU.
_C.TRAIN.CHECKPOINT_ASYNC = False
# Number of newest checkpoints that stay (last.pth, last.1.pth ...): if one is damaged, --resume and
# --resume auto go on from the one before it.
_C.TRAIN.KEEP_LAST = 2
# Keep the checkpoint of every so many epochs as epoch_N.pth, N counted from 1; 0 = none.
_C.TRAIN.KEEP_EVERY = 0
# plain: last.pth and best.pth with our parameter names; released: ckpt_e{N}.pth and
# best_ckpt_e{N}.pth that the released code can read.
_C.TRAIN.CHECKPOINT_LAYOUT = "plain"
# With --tune_from, leave the file's classifier out even where it fits: its classes are others.
_C.TRAIN.TUNE_DROPS_HEAD = False
# What the training leaves as it is: nothing; backbone: all but the classifier; all but last N: the
# embedding and the blocks (ResNet: stem, stages) below the last N; or patterns of parameters' names
# by commas, as 'patch_embed.*, *.norm1.*'. Batch norms that are frozen keep their statistics.
_C.TRAIN.FREEZE = "nothing"
# Unreadable videos are left out of the training, in plain sight (bad_videos.txt in the run folder);
# above this share of the list's they are an error.
_C.TRAIN.MAX_BAD_SHARE = 0.01
# Minutes of silence after which a process, its host or its loader counts as lost, and the others
# end with an error that names it. Work that takes longer is no silence.
_C.TRAIN.TIMEOUT_MINUTES = 10.0
# Iterations between two lines of the log.
_C.TRAIN.PRINT_FREQ = 10

_C.DISTILL = CN()
# Checkpoint of the model that teaches the one that is trained; empty = none. A dml teacher may
# start from fresh weights: then TEACHER_CFG alone.
_C.DISTILL.TEACHER = ""
# yml of the teacher; empty = the config inside TEACHER. The teacher keeps its own T, image size,
# sampling and normalisation.
_C.DISTILL.TEACHER_CFG = ""
# scores.npz of tools/dump_teacher.py in place of a running teacher: the mean logits of its views.
_C.DISTILL.LOGITS = ""
# kd: the teacher is frozen (Hinton et al., arXiv:1503.02531); dml: both learn, and from each other
# (arXiv:1706.00384), as PaddleVideo's distillation head does.
_C.DISTILL.LOSS = "kd"
# kd: share of the teacher's term, 0 to 1, the rest is the labels'; dml: factor of the mutual term
# (PaddleVideo: 1), beside the labels' of both models.
_C.DISTILL.WEIGHT = 0.5
# Of kd: divides both models' logits; the loss is multiplied by its square.
_C.DISTILL.TEMPERATURE = 4.0
# What a running kd teacher sees. student_clip: the very clip of the student, mixed too; it needs
# the same T and image size. own_clip: the teacher's validation view, its first clip's centre crop,
# mirrored where the student's clip is; of mixed clips the answers are mixed.
_C.DISTILL.SEES = "student_clip"

_C.VAL = CN()
# Views of each video after each epoch of training: clips in time x crops (1, 3 or 5).
# NUM_CLIPS counts for dense and laps sampling; uniform and tsn have one clip, or two
# (DATA.UNIFORM_TWICE), linspace and paddle_dense one.
# With tsm_dense sampling one clip starts at random, drawn from SEED and the number of frames.
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
# NUM_CLIPS counts for dense, tsm_dense and laps sampling, as in VAL.
_C.TEST.NUM_CLIPS = 10
_C.TEST.NUM_CROPS = 3
# Side of the test's crops, pixels; 0 = DATA.IMAGE_SIZE, which a transformer is bound to.
_C.TEST.IMAGE_SIZE = 0
# Resize and crops of validation and test. tokshift: bicubic, far crops at the edge, mirrored before
# the resize; tsm: bilinear, far crops up to 3 pixels short of the edge, mirrored after the crop. As
# PaddleVideo has them, bilinear without antialias, 1 or 3 crops: uniform (UniformCrop): along the
# longer side, of frames whose short side is the crop's; multi_centre (MultiCenterCrop): centre,
# left and right of the middle rows. laps, as TokShift's second version: float frames, bilinear
# without antialias, not rounded to grey levels; 1 or 3 crops along the longer side, to its edges.
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
# Distinct views that go through the model at once.
_C.TEST.VIEWS_PER_FORWARD = 16


def get_defaults() -> CN:
    """Return a fresh copy of the defaults, not frozen."""
    return _C.clone()
