"""Every option of MODEL with its default, meaning, unit and source."""

from yacs.config import CfgNode as CN

MODEL_DEFAULTS = _C = CN()

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
# which the shift hardly reaches; both: side by side (DINOv2's linear heads); auto: from the name.
_C.MODEL.VIT.POOL = "auto"
# How positions of another grid are loaded: bilinear: corners aligned, as released; half_pixel: so
# too, but by the patches' centres (TokShift's second version); bicubic: with antialias, as timm;
# dinov2: as the DINOv2 release's without registers; auto: from the name.
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
