"""Image ViT applied to every frame of a clip (arXiv:2010.11929), its frame logits averaged."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.vit_parts import (
    REGISTER_STD,
    Attention,
    LayerScale,
    Mlp,
    PatchEmbed,
    RotaryPositions,
    with_positions,
    with_registers,
)
from ops.frame_mean import mean_over_frames
from ops.stochastic_depth import StochasticDepth
from ops.token_shift import TokenShift

EMBEDDED = (  # below the first block
    *("cls_token", "reg_token", "pos_embed", "time_embed", "patch_embed.", "norm_pre."),
)

_SEEN = {  # what `describe_time` adds where more than the class token is classified, by ``pool``
    "token": "",
    "mean": "; the mean of the patches is classified",
    "both": "; class token and mean of the patches are classified",
}


@dataclass(frozen=True)
class ViTSize:
    """Sizes and options that the name of a backbone stands for (arXiv:2010.11929, table 1).

    Attributes:
        patch_size: Side of a patch, pixels.
        hidden_size: C, channels of a token.
        mlp_dim: Width of the MLP.
        num_heads: Attention heads; divides hidden_size.
        num_layers: Encoder blocks.
        dropout: Dropout probability after the position embedding and in the MLP.
        qkv_bias: Queries, keys and values have biases.
        norm_eps: Summand of the variances in the LayerNorms; 1e-6 for the ImageNet-21k weights,
            1e-5 in CLIP and DINOv3.
        activation: Activation of the MLPs, see `models.vit_parts.activated`.
        pre_norm: A norm stands before the first block, and the patch embedding has no bias (CLIP).
        layer_scale: Each branch has a factor for each channel (DINOv2, DINOv3, DeiT-3).
        num_registers: Tokens between the class token and the patches.
        positions: Tokens that have a position: ``all``: class token and patches; ``patches``;
            ``rotary``: the queries and keys of patches, with nothing to learn (DINOv3).
        pool: Features that are classified: ``token``: the class token; ``mean``: the mean of the
            patches; ``both``: the two side by side, as by the linear heads of DINOv2.
        pos_resize: Way in which positions of another grid are resized, see
            `models.weights.embeddings.resize_pos_embed`.
    """

    patch_size: int
    hidden_size: int
    mlp_dim: int
    num_heads: int
    num_layers: int
    dropout: float = 0.0
    qkv_bias: bool = True
    norm_eps: float = 1e-6
    activation: str = "gelu"
    pre_norm: bool = False
    layer_scale: bool = False
    num_registers: int = 0
    positions: str = "all"
    pool: str = "token"
    pos_resize: str = "bilinear"

    @property
    def num_features(self) -> int:
        """Number of channels of the features that the head sees."""
        return self.hidden_size * (2 if self.pool == "both" else 1)

    def norm(self) -> nn.LayerNorm:
        """Return a fresh norm of tokens."""
        return nn.LayerNorm(self.hidden_size, eps=self.norm_eps)

    def scale(self) -> nn.Module:
        """Return the module that scales a branch."""
        return LayerScale(self.hidden_size) if self.layer_scale else nn.Identity()


def vit(
    size: ViTSize,
    image_size: int,
    num_classes: int,
    drop_path: float = 0.0,
    checkpoints_blocks: bool = False,
) -> "VisionTransformer":
    """Build the image ViT that sees each frame alone; arguments as in `VisionTransformer`."""
    blocks = [Block(size, rate) for rate in drop_path_rates(drop_path, size.num_layers)]
    return VisionTransformer(size, blocks, image_size, num_classes, checkpoints_blocks)


def drop_path_rates(last: float, num_layers: int) -> list[float]:
    """Return stochastic-depth rates that grow evenly from 0 to that of the last block."""
    # A single block gets 0, as from torch.linspace(0, last, 1).
    return [last * layer / max(num_layers - 1, 1) for layer in range(num_layers)]


class Block(nn.Module):
    """Pre-norm encoder block; a video model differs from an image model in the shifts alone.

    Args:
        size: Widths of the block.
        drop_path: Probability to skip a branch for a frame (stochastic depth, arXiv:1603.09382).
        attn_shift: Shift of (B, T, N, C) tokens before the attention half; None for an image ViT.
        mlp_shift: Shift before the MLP half.
        shifts_residual: The shift replaces the residual stream, as released; otherwise only the
            branches see shifted tokens (ablation).
    """

    def __init__(
        self,
        size: ViTSize,
        drop_path: float = 0.0,
        attn_shift: nn.Module | None = None,
        mlp_shift: nn.Module | None = None,
        shifts_residual: bool = True,
    ) -> None:
        super().__init__()
        C = size.hidden_size
        # Neither a shift nor an Identity has parameters, so that ViT and TokShift load each other's
        # checkpoints name by name.
        self.attn_shift = attn_shift or nn.Identity()
        self.norm1 = size.norm()
        self.attn = Attention(C, size.num_heads, size.qkv_bias)
        self.ls1 = size.scale()
        self.mlp_shift = mlp_shift or nn.Identity()
        self.norm2 = size.norm()
        self.mlp = Mlp(C, size.mlp_dim, size.dropout, size.activation)
        self.ls2 = size.scale()
        self.drop_path = drop_path
        self.stochastic_depth = StochasticDepth(drop_path)
        self.shifts_residual = shifts_residual

    def forward(self, x: Tensor, is_last: bool = False) -> Tensor:
        """Encode (B, T, N, C) tokens; T = 1 where all tokens of a clip attend to each other.

        Args:
            x: Tokens.
            is_last: Return the class tokens alone, (B, T, 1, C); see `encode`.
        """
        # The ViT paper's block, with a shift before each half. It stands before the norm, where the
        # residual stream moves too: TSM's `blockres` would leave that alone.
        shifted = self.attn_shift(x)
        stream, seen = self.stream(x, shifted), self.norm1(shifted)
        if is_last:
            # The second shift moves class tokens alone, and so does without the patches.
            x = stream[:, :, :1] + self.update(partial(self.attn, is_last=True), seen, self.ls1)
        else:
            x = stream + self.update(self.attn, seen, self.ls1)
        shifted = self.mlp_shift(x)
        return self.stream(x, shifted) + self.update(self.mlp, self.norm2(shifted), self.ls2)

    def stream(self, x: Tensor, shifted: Tensor) -> Tensor:
        """Choose the tokens that an update is added to: those before or those after a shift."""
        # The published top-1 of 77.28 rests on the shifted stream: each block moves what all blocks
        # before it have gathered, and zeros come in at the ends of the clip again and again.
        return shifted if self.shifts_residual else x

    def update(self, branch: Callable[[Tensor], Tensor], x: Tensor, scale: nn.Module) -> Tensor:
        """Return a branch's updates of tokens (B, T, N, C), zeros for frames that it skips."""
        # Flattened to frames, so that attention stays within a frame and a branch is dropped for
        # single frames, as in PaddleVideo's TokenShift. The TokShift release drops nothing.
        update = self.stochastic_depth(scale(branch(x.flatten(0, 1))))  # (B*T, N, C)
        return update.unflatten(0, x.shape[:2])  # (B, T, N, C)


def encode(
    x: Tensor, blocks: nn.ModuleList, recomputes: bool, narrows_last: bool = False
) -> Tensor:
    """Run tokens through blocks.

    Args:
        x: Tokens.
        blocks: Encoder blocks of the model, in order.
        recomputes: Compute the blocks again in the backward pass, to save memory.
        narrows_last: Nothing reads the patch tokens after the last block. It then computes queries,
            projection and MLP for the class tokens alone, which saves 6.9 % of the multiply-adds
            of a ViT-B. A last block with a hook on it computes all tokens.

    Returns:
        Tokens; the class tokens alone where the last block is narrowed.
    """
    last = len(blocks) - 1 if narrows_last and not _is_watched(blocks[-1]) else -1
    for index, block in enumerate(blocks):
        args = (x, True) if index == last else (x,)
        # The reentrant form gives no gradients where the tokens need none, below frozen embeddings.
        x = checkpoint(block, *args, use_reentrant=False) if recomputes else block(*args)
    return x


def registers(size: ViTSize) -> nn.Parameter | None:
    """Return fresh registers, (1, R, C); None for a model without."""
    shape = (1, size.num_registers, size.hidden_size)
    return nn.Parameter(REGISTER_STD * torch.randn(shape)) if size.num_registers else None


def positions(size: ViTSize, num_patches: int) -> nn.Parameter | None:
    """Return positions of zeros, class token first where it has one; None where none is learned."""
    if size.positions == "rotary":
        return None
    # Zeros, as released: pretrained weights bring their own, and from scratch they are learned.
    num_tokens = num_patches + (size.positions == "all")
    return nn.Parameter(torch.zeros(1, num_tokens, size.hidden_size))


def rotate_attention(
    blocks: Iterable[nn.Module], size: ViTSize, image_size: int, num_frames: int = 1
) -> None:
    """Give the attention among patches of all blocks one set of rotary positions."""
    side, head_dim = image_size // size.patch_size, size.hidden_size // size.num_heads
    # One module for all blocks, as the angles depend on the patches' places alone.
    rotary = RotaryPositions(side, head_dim, num_frames)
    for block in blocks:
        assert isinstance(block.attn, Attention)
        block.attn.rotary = rotary


def last_norms(size: ViTSize) -> tuple[nn.Module, nn.Module]:
    """Return the norms before and after the pooling, one of which is the identity."""
    # MAE's fine-tuning and timm norm the mean of the patches: `fc_norm` in their files.
    norms = size.norm(), nn.Identity()
    return norms[::-1] if size.pool == "mean" else norms


def transformer_layer_names(num_blocks: int) -> list[tuple[str, ...]]:
    """Return the prefixes of each layer's parameter names, embeddings first, then the blocks."""
    return [EMBEDDED, *((f"blocks.{i}.",) for i in range(num_blocks))]


class VisionTransformer(nn.Module):
    """Clips (B, T, 3, H, W) to logits (B, K): the mean over frames of each frame's logits.

    Any T will do. H and W are the image size that the position embedding was made for.

    Args:
        size: Widths and options outside the blocks.
        blocks: The encoder blocks, in order.
        image_size: Side of the square frames, pixels.
        num_classes: K.
        checkpoints_blocks: Recompute each block in the backward pass, to save memory.

    Attributes:
        narrows_last_block: The last block computes class tokens alone, see `encode`; False where
            patches are classified. Dropout in the last MLP, which only ViT-H has, then draws for
            the class tokens alone; stochastic depth draws as always.
    """

    head_name = "head"

    def __init__(
        self,
        size: ViTSize,
        blocks: list[Block],
        image_size: int,
        num_classes: int,
        checkpoints_blocks: bool = False,
    ) -> None:
        super().__init__()
        C = size.hidden_size
        num_patches = (image_size // size.patch_size) ** 2
        self.size, self.image_size = size, image_size
        self.num_prefix = 1 + size.num_registers  # tokens that are no patches
        self.narrows_last_block = size.pool == "token"
        self.checkpoints_blocks = checkpoints_blocks
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.reg_token, self.pos_embed = registers(size), positions(size, num_patches)
        self.patch_embed = PatchEmbed(size.patch_size, C, bias=not size.pre_norm)
        self.dropout = nn.Dropout(size.dropout)
        self.norm_pre = size.norm() if size.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(blocks)
        if size.positions == "rotary":
            rotate_attention(blocks, size, image_size)
        self.norm, self.fc_norm = last_norms(size)
        self.head = nn.Linear(size.num_features, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips (B, T, 3, H, W); logits (B, K).

        Raises:
            ValueError: The clips are not (B, T, 3, H, W) of the model's image size.
        """
        # Logits are averaged, not probabilities: the release takes no softmax, here or over views.
        return mean_over_frames(self.frame_logits(clips))  # (B, K)

    @property
    def layer_names(self) -> list[tuple[str, ...]]:
        """See `models.video_model.VideoModel`; as BEiT counts (arXiv:2106.08254)."""
        return transformer_layer_names(len(self.blocks))

    def frame_logits(self, clips: Tensor) -> Tensor:
        """Return the logits before the average over frames, (B, T, K)."""
        return self.head(self.features(clips))  # (B, T, K)

    def classify(self, x: Tensor) -> Tensor:
        """Turn the tokens behind the last block, (B, T, N, C), into frame logits (B, T, K)."""
        return self.head(self.pooled(x))

    def features(self, clips: Tensor) -> Tensor:
        """Return the features of each frame that the head sees, (B, T, C); ``both``: (B, T, 2C)."""
        # Evaluation takes no gradients as a rule, and only their memory is saved by recomputing.
        recomputes = self.checkpoints_blocks and self.training
        x = encode(self.embed(clips), self.blocks, recomputes, self.narrows_last_block)
        return self.pooled(x)

    def pooled(self, x: Tensor) -> Tensor:
        """Reduce each frame's tokens, (B, T, N, C), to the features that the head sees."""
        if self.size.pool == "mean":
            return self.fc_norm(x[:, :, self.num_prefix :].mean(2))
        # A LayerNorm sees one token at a time: the class token needs no other to be normed.
        cls = self.norm(x[:, :, 0])
        if self.size.pool == "token":
            return cls
        return torch.cat([cls, self.norm(x[:, :, self.num_prefix :]).mean(2)], dim=-1)

    def describe_time(self) -> str:
        """Say in how many blocks class tokens shift, and how many of their channels."""
        C, moved, direction = self.cls_token.shape[-1], 0, "none"
        shift = self.blocks[0].attn_shift
        if isinstance(shift, TokenShift):
            moved, direction = C // shift.fold_div, shift.direction
        return (
            f"class-token channels shifted: {moved} of {C} ({direction}), "
            f"twice in {len(self.blocks)} blocks{_SEEN[self.size.pool]}"
        )

    def attention_weights(self, clips: Tensor) -> list[Tensor]:
        """Return each block's attention weights for clips, (B, T, heads, N, N), for inspection."""
        return list(self.attention_by_block(clips))

    def attention_by_block(self, clips: Tensor) -> Iterator[Tensor]:
        """Yield what `attention_weights` returns block by block: all of them can fill a GPU."""
        x = self.embed(clips)
        for block in self.blocks:
            assert isinstance(block, Block)
            # Computed again beside the block, as the fused kernel keeps no weights.
            seen = block.norm1(block.attn_shift(x)).flatten(0, 1)  # (B*T, N, C)
            yield block.attn.weights(seen).unflatten(0, x.shape[:2])
            x = block(x)

    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips (B, T, 3, H, W) into tokens (B, T, N, C) with class token and position."""
        # Any T will do, for shift and mean. H and W are fixed, as each patch has a position of its
        # own: those of another grid with as many patches would be added in the wrong places.
        if clips.dim() != 5 or clips.shape[2:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"the model takes clips (B, T, 3, {self.image_size}, {self.image_size}), got "
                f"{tuple(clips.shape)}; for another image size set DATA.IMAGE_SIZE and load the "
                "weights anew: models.pretrained.load_weights resizes the position embedding"
            )
        patches = self.patch_embed(clips.flatten(0, 1))  # (B*T, N-1, C)
        # A class token for each frame, where TimeSformer has one a clip: these are shifted.
        cls = self.cls_token.expand(patches.shape[0], -1, -1)  # (B*T, 1, C)
        x = with_positions(cls, patches, self.pos_embed)
        x = self.norm_pre(self.dropout(with_registers(x, self.reg_token)))  # (B*T, N, C)
        return x.unflatten(0, clips.shape[:2])  # (B, T, N, C)


def _is_watched(block: nn.Module) -> bool:
    """Return whether a block or a part of it has a hook."""
    # Whoever hangs a hook on a block expects N tokens, and would see one.
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(vars(module)[kind] for module in block.modules() for kind in kinds)
