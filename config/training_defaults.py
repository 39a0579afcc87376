"""Every option of LOSS, OPTIM, TRAIN and DISTILL: default, meaning, unit and source."""

from yacs.config import CfgNode as CN

TRAINING_DEFAULTS = _C = CN()

_C.LOSS = CN()
# Share of the target spread over all classes. The release's yml says 0.01, but its code reads that
# as "on" and smooths by 0.1; all published models are trained so. Under DATA.MULTI_LABEL a share s
# makes each class's target y (1 - s) y + s / K, as timm has it.
_C.LOSS.LABEL_SMOOTHING = 0.1
# Factor of each training clip's loss by its class: frequency: one over the class's share of the
# clips, as DATA.BALANCE draws them; or a file with a number a line, line number = label. They are
# scaled so that the mean over the clips is 1. Empty: all count alike.
_C.LOSS.CLASS_WEIGHTS = ""

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
# Batches of a smoke run (--max-iterations) in each process: of one epoch, of the validation and of
# the test, all into OUTPUT_DIR with _smoke behind it. No run goes on from it, and what it measures
# says nothing. 0 = a real run.
_C.TRAIN.MAX_ITERATIONS = 0
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
