"""TSM: a frame-wise ResNet whose blocks shift channels between frames (arXiv:1811.08383)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, conv1x1

from models.temporal import (
    NON_LOCAL_MODES,
    DepthwiseTemporalConv,
    NonLocal,
    SqueezedTemporalConv,
    temporal_pool,
)
from ops.channel_shift import ChannelBlend, ChannelShift
from ops.frame_mean import mean_over_frames

LAYERS = {  # depth: blocks in each of the four stages (arXiv:1512.03385, table 1)
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
PLACEMENTS = ("blockres", "block")
OPS = ("shift", "blend", "squeezed_conv", "depthwise_conv")
MODALITIES = {"RGB": 3, "Flow": 2}  # channels of one image
NON_LOCAL_STAGES = (1, 2)  # layer2 and layer3
# The release counts layer3 and thins out the shifts of all four stages: 18 of 33 in ResNet-101.
_MANY_BLOCKS = 23  # in layer3: from here on only every other block of each stage shifts
# Of the release's classifier; torch's default would draw it about 13 times as wide (2048 inputs).
HEAD_STD = 0.001


@dataclass(frozen=True)
class TSMOptions:
    """Options in which the published variants differ, beside depth, share and placement.

    Attributes:
        op: ``shift``; or one of the TokShift release's ResNet modules, ``blend``, ``squeezed_conv``
            or ``depthwise_conv``.
        order: Order of the shift's two groups of channels, see `ops.channel_shift.channel_shift`.
        direction: ``both``; ``past`` for a model that runs online.
        ratio: 0, or PaddleVideo's share of the channels in place of ``1 / fold_div``.
        temporal_pool: Max-pooling before layer2 leaves half as many frames.
        non_local: A non-local block stands after every second block of layer2 and layer3.
        non_local_mode: Kind of non-local block, see `models.temporal.NonLocal`; "" if nobody chose
            one, which is ``embedded_gaussian`` as in the TSM release.
        modality: ``RGB`` or ``Flow``.
        new_length: Number of images stacked in each frame; 0: 1 for RGB, 5 for Flow.
        dropout: Probability before the classifier, frame by frame.
        consensus: ``avg``, the mean of the frames' logits; ``identity``, all of them.
        partial_bn: All norms but the first keep their statistics and parameters in training.
        layers: Number of blocks in each stage; all 0: as the depth says.
        width: Channels of the stem; 64 as published.
    """

    op: str = "shift"
    order: str = "future_first"
    direction: str = "both"
    ratio: float = 0.0
    temporal_pool: bool = False
    non_local: bool = False
    non_local_mode: str = ""
    modality: str = "RGB"
    new_length: int = 0
    dropout: float = 0.5
    consensus: str = "avg"
    partial_bn: bool = False
    layers: Sequence[int] = (0, 0, 0, 0)
    width: int = 64


class ResNetTSM(nn.Module):
    """Clips (B, T, 3, H, W) to logits (B, K): the mean over frames of each frame's logits.

    Any T will do. The parameters have torchvision's names whether there is a shift or not; those of
    other temporal modules come on top, as ``layerS.I.temporal`` and ``.non_local``.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_classes: K.
        fold_div: Inverse of the channel share moved each way; 0 for no shift (TSN).
        placement: ``blockres``: the shift stands before the first convolution of a block, whose
            shortcut sees unshifted maps; with 23 blocks or more in layer3, in every other block of
            each stage. ``block``: the shift stands before the whole block, in every block.
        options: Options of the variant; None for the defaults.

    Raises:
        ValueError: An argument has a value that is not allowed.
    """

    head_name = "fc"

    def __init__(
        self,
        depth: int,
        num_classes: int,
        fold_div: int = 8,
        placement: str = "blockres",
        options: TSMOptions | None = None,
    ) -> None:
        super().__init__()
        options = options or TSMOptions()
        _check(depth, placement, options)
        self.fold_div = fold_div
        self.placement = placement
        self.options = options
        self.in_channels = MODALITIES[options.modality] * _new_length(options)
        self.conv1 = nn.Conv2d(
            *(self.in_channels, options.width), kernel_size=7, stride=2, padding=3, bias=False
        )
        self.bn1 = nn.BatchNorm2d(options.width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        stages = _torchvision_stages(depth, options.layers, options.width)
        layers = (layer for stage in stages for block in stage for layer in block.modules())
        # For a start from nothing. Pretrained weights replace all of it but the classifier.
        _draw_as_torchvision([self.conv1, *layers])
        # `block` shifts every block however deep, as released.
        is_deep = len(stages[2]) >= _MANY_BLOCKS and placement == "blockres"
        shifted_stages = [
            nn.ModuleList(
                self._temporal_block(
                    block,
                    # a TSN is the same network, so that a comparison changes a single key
                    is_shifted=bool(fold_div) and not (is_deep and i % 2),
                    # in ResNet-50 the release's places: blocks 0, 2 of layer2 and 0, 2, 4 of layer3
                    is_non_local=options.non_local and s in NON_LOCAL_STAGES and i % 2 == 0,
                )
                for i, block in enumerate(stage)
            )
            for s, stage in enumerate(stages)
        ]
        self.layer1, self.layer2, self.layer3, self.layer4 = shifted_stages
        self.dropout = nn.Dropout(options.dropout)
        self.fc = nn.Linear(self.blocks()[-1].num_out, num_classes)
        nn.init.normal_(self.fc.weight, std=HEAD_STD)
        nn.init.zeros_(self.fc.bias)
        if options.partial_bn:
            for norm in self._frozen_norms():
                # Not in `train`: DDP waits for every parameter that learned when it was built.
                norm.requires_grad_(False)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips (B, T, 3, H, W); logits (B, K), under ``identity`` (B, T, K).

        Raises:
            ValueError: The clips are not (B, T, C, H, W) with the model's C.
        """
        logits = self.frame_logits(clips)
        return mean_over_frames(logits) if self.options.consensus == "avg" else logits  # (B, K)

    @property
    def layer_names(self) -> list[tuple[str, ...]]:
        """See `models.video_model.VideoModel`: the stem, then the four stages."""
        return [("conv1.", "bn1."), *((f"layer{s}.",) for s in (1, 2, 3, 4))]

    def frame_logits(self, clips: Tensor) -> Tensor:
        """Return the logits before the average over frames, (B, T, K); T/2 if pooled in time."""
        logits = self.classify(self.maps(clips))  # (B*T, K)
        B, T = clips.shape[:2]
        return logits.unflatten(0, (B, T // 2 if self.options.temporal_pool else T))  # (B, T, K)

    def maps(self, clips: Tensor, num_stages: int = 4) -> Tensor:
        """Return the maps of clips (B, T, C, H, W) behind the first stages, (B*T, C', H', W').

        Raises:
            ValueError: The clips are not (B, T, C, H, W) with the model's C.
        """
        if clips.dim() != 5 or clips.shape[2] != self.in_channels:
            raise ValueError(
                f"the model takes clips (B, T, {self.in_channels}, H, W) for "
                f"{self.options.modality}, got {tuple(clips.shape)}"
            )
        # Also a clip of another length than in training: a T fixed here would mix clips of a batch.
        T = clips.shape[1]
        x = self.stem(clips.flatten(0, 1))  # (B*T, C, H/4, W/4)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4)[:num_stages]:
            if stage is self.layer2 and self.options.temporal_pool:
                # The shift has to know of it: over the old T it would move frames between clips.
                x, T = temporal_pool(x, T), T // 2
            for block in stage:
                x = block(x, T)
        return x

    def stem(self, frames: Tensor) -> Tensor:
        """Turn frames (M, C, H, W) into the maps that layer1 takes, (M, 64, H/4, W/4)."""
        return self.maxpool(self.relu(self.bn1(self.conv1(frames))))

    def classify(self, maps: Tensor) -> Tensor:
        """Turn the maps of layer4, (M, C, H, W), into logits (M, K)."""
        # A mean and no pooling window: the tests at 256 pixels have maps of 8 x 8, not 7 x 7.
        return self.fc(self.dropout(maps.mean((2, 3))))

    def train(self, mode: bool = True) -> "ResNetTSM":
        """Switch to training; under partial BN the norms after the first keep evaluating."""
        # It turns all norms on again, whoever calls it: so they are turned off at each call.
        super().train(mode)
        if self.options.partial_bn:
            for norm in self._frozen_norms():
                norm.eval()
        return self

    def blocks(self) -> list["TemporalBlock"]:
        """Return the residual blocks of all stages in order."""
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        return [block for stage in stages for block in stage]  # type: ignore[misc]

    def describe_time(self) -> str:
        """Say what happens along time, in how many blocks and to how many channels."""
        blocks = self.blocks()
        moving = [block for block in blocks if block.temporal is not None]
        if not moving:
            return f"no temporal shift in any of {len(blocks)} blocks (TSN)"
        options = self.options
        text = f"{options.op} ({self.placement}) in {len(moving)} of {len(blocks)} blocks"
        if options.op in ("squeezed_conv", "depthwise_conv"):
            return text
        share = f"{options.ratio:g}" if options.ratio else f"1/{self.fold_div}"
        if options.op == "shift":
            text += f", {options.order}" if options.direction == "both" else ", from the past alone"
        first, last = (f"{self._num_moved(b)} of {b.num_in}" for b in (moving[0], moving[-1]))
        ways = "each way" if options.direction == "both" else "one way"
        return f"{text}, {share} of the channels {ways}: {first} to {last}"

    def _num_moved(self, block: "TemporalBlock") -> int:
        return ChannelShift(self.fold_div, ratio=self.options.ratio).num_first(block.num_in)

    def _temporal_block(
        self, block: BasicBlock | Bottleneck, is_shifted: bool, is_non_local: bool
    ) -> "TemporalBlock":
        # The paper's residual shift keeps a path on which a frame's own channels are whole.
        shifts_shortcut = self.placement == "block"
        return TemporalBlock(
            block,
            self._temporal_op(block.conv1.in_channels, shifts_shortcut) if is_shifted else None,
            shifts_shortcut=shifts_shortcut,
            non_local_mode=(
                self.options.non_local_mode or NON_LOCAL_MODES[0] if is_non_local else ""
            ),
        )

    def _temporal_op(self, num_channels: int, shifts_shortcut: bool) -> nn.Module:
        options = self.options
        if options.op == "blend":
            return ChannelBlend(self.fold_div)
        if options.op == "squeezed_conv":
            return SqueezedTemporalConv(num_channels)
        if options.op == "depthwise_conv":
            return DepthwiseTemporalConv(num_channels)
        return ChannelShift(
            self.fold_div,
            options.order,
            options.direction,
            options.ratio,
            # the block before has just made these maps, and no shortcut needs them unshifted
            owns_input=shifts_shortcut,
        )

    def _frozen_norms(self) -> list[nn.Module]:
        """Return the norms that partial BN leaves alone: the ResNet's, without its first.

        Those of the temporal modules are new and always learn; the release leaves them out of its
        optimizer, where a non-local block stays the identity that it starts as.
        """
        added = {
            module
            for block in self.blocks()
            for part in (block.temporal, block.non_local)
            for module in (part.modules() if part is not None else ())
        }
        norms = [module for module in self.modules() if isinstance(module, nn.BatchNorm2d)]
        return [norm for norm in norms[1:] if norm not in added]


class TemporalBlock(nn.Module):
    """A torchvision residual block, its layers under their names, with a step along time.

    Args:
        block: Residual block whose layers are taken over.
        temporal: Module before the first convolution, called with maps (B*T, C, H, W) and T.
        shifts_shortcut: The shortcut, too, sees what ``temporal`` returns.
        non_local_mode: Kind of the non-local block that follows; "" for none.
    """

    temporal: nn.Module | None
    non_local: nn.Module | None
    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    bn3: nn.BatchNorm2d
    relu: nn.ReLU
    downsample: nn.Sequential

    def __init__(
        self,
        block: BasicBlock | Bottleneck,
        temporal: nn.Module | None = None,
        shifts_shortcut: bool = False,
        non_local_mode: str = "",
    ) -> None:
        super().__init__()
        # No wrapper, whose name would stand in the state dict: files of torchvision fit by name.
        for name, layer in block.named_children():
            self.add_module(name, layer)
        self.is_bottleneck = isinstance(block, Bottleneck)
        self.has_projection = block.downsample is not None
        self.num_in = block.conv1.in_channels
        self.num_out = block.bn3.num_features if self.is_bottleneck else block.bn2.num_features
        self.shifts_shortcut = shifts_shortcut
        self.temporal = temporal
        self.non_local = NonLocal(self.num_out, non_local_mode) if non_local_mode else None

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Turn maps (B*T, C, H, W) of clips of T frames into the maps for the next block."""
        moved = self.temporal(x, num_frames) if self.temporal is not None else x
        x = self.residual(x, moved)
        return self.non_local(x, num_frames) if self.non_local is not None else x

    def residual(self, x: Tensor, moved: Tensor) -> Tensor:
        """Compute an image ResNet's block, with its branch on the moved maps (arXiv:1512.03385)."""
        # `block` lets the shortcut see shifted maps, too: the paper's in-place shift.
        return self.joined(self.branch(moved), moved if self.shifts_shortcut else x)

    def branch(self, moved: Tensor) -> Tensor:
        """Apply the convolutions to the moved maps, (M, C, H, W)."""
        out = self.relu(self.bn1(self.conv1(moved)))
        out = self.bn2(self.conv2(out))
        return self.bn3(self.conv3(self.relu(out))) if self.is_bottleneck else out

    def joined(self, out: Tensor, x: Tensor) -> Tensor:
        """Add the shortcut of the maps x to the branch's maps, in place."""
        # In place, as in torchvision: the norm before it keeps its input, not its output.
        out += self.downsample(x) if self.has_projection else x
        return self.relu(out)


def _check(depth: int, placement: str, options: TSMOptions) -> None:
    allowed = (
        ("depth", depth, tuple(LAYERS)),
        ("placement", placement, PLACEMENTS),
        ("op", options.op, OPS),
        ("modality", options.modality, tuple(MODALITIES)),
        ("consensus", options.consensus, ("avg", "identity")),
    )
    for name, value, choices in allowed:
        if value not in choices:
            raise ValueError(f"a TSM's {name} is one of {choices}, got {value!r}")
    # The release has `block` for its shift alone; the other ops would change the shortcut's maps.
    if placement == "block" and options.op != "shift":
        raise ValueError(f"placement 'block' is for op 'shift' alone, got op {options.op!r}")
    # The other ops look at the next frame: an online model of them would never be right.
    if options.direction == "past" and options.op != "shift":
        raise ValueError(f"direction 'past' is for op 'shift' alone, got op {options.op!r}")


def _new_length(options: TSMOptions) -> int:
    return options.new_length or (5 if options.modality == "Flow" else 1)


def _torchvision_stages(
    depth: int, layers: Sequence[int], width: int
) -> list[list[BasicBlock | Bottleneck]]:
    """Build the blocks of the four stages, as torchvision's ResNet does for width 64."""
    block_type = BasicBlock if depth < 50 else Bottleneck
    stages, num_in = [], width
    for s, num_blocks in enumerate(layers if any(layers) else LAYERS[depth]):
        planes, stage = width * 2**s, []
        num_out = planes * block_type.expansion
        for i in range(num_blocks):
            # In torchvision's Bottleneck the 3 x 3 convolution has it, in the paper's the 1 x 1.
            stride = 2 if s and not i else 1
            projection = None
            if stride != 1 or num_in != num_out:
                projection = nn.Sequential(
                    conv1x1(num_in, num_out, stride), nn.BatchNorm2d(num_out)
                )
            stage.append(block_type(num_in, planes, stride, projection))
            num_in = num_out
        stages.append(stage)
    return stages


def _draw_as_torchvision(modules: Iterable[nn.Module]) -> None:
    for module in modules:
        if isinstance(module, nn.Conv2d):
            # By outputs, not by inputs as torch's default: as the ResNets of torchvision start.
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
