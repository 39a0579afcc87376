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

_SEEN = {  # what is classified, by ``pool``, if it is not the class token alone
    "token": "",
    "mean": "; the mean of the patches is classified",
    "both": "; class token and mean of the patches are classified",
}


@dataclass(frozen=True)
class ViTSize:
    """What the name of a backbone stands for, ViT-B_16 say (arXiv:2010.11929, table 1).

    Attributes:
        patch_size: Side of a patch, pixels.
        hidden_size: C, channels of a token.
        mlp_dim: Width of the MLP.
        num_heads: Attention heads; divides hidden_size.
        num_layers: Encoder blocks.
        dropout: Dropout probability after the position embedding and in the MLP.
        qkv_bias: Queries, keys and values have biases.
        norm_eps: Added to variances by the LayerNorms; 1e-6 as the ImageNet-21k weights were
            trained, 1e-5 in CLIP and DINOv3.
        activation: In the MLPs, see `models.vit_parts.activated`.
        pre_norm: A norm before the first block, and no bias in the patch embedding (CLIP).
        layer_scale: Each branch has a factor for each channel (DINOv2, DINOv3, DeiT-3).
        num_registers: Tokens between the class token and the patches.
        positions: What has one: ``all``: class token and patches; ``patches``; ``rotary``: the
            queries and keys of patches, with nothing to learn (DINOv3).
        pool: What is classified: ``token``: the class token; ``mean``: the mean of the patches;
            ``both``: side by side, as by the linear heads of DINOv2.
        pos_resize: How positions of another grid are loaded, see
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
        """Channels of what the head sees."""
        return self.hidden_size * (2 if self.pool == "both" else 1)

    def norm(self) -> nn.LayerNorm:
        """Return a fresh norm of tokens."""
        return nn.LayerNorm(self.hidden_size, eps=self.norm_eps)

    def scale(self) -> nn.Module:
        """Return what a branch is scaled by."""
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
    return [last * layer / max(num_layers - 1, 1) for layer in range(num_layers)]


class Block(nn.Module):
    """Pre-norm encoder block; a video model differs from an image model in the shifts alone.

    Args:
        size: Widths of the block.
        drop_path: Probability to skip a branch for a frame (stochastic depth, arXiv:1603.09382).
        attn_shift: Applied to (B, T, N, C) tokens before the attention half; None for an image ViT.
        mlp_shift: The same before the MLP half.
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
            is_last: Give the class tokens alone, (B, T, 1, C); see `encode`.
        """
        shifted = self.attn_shift(x)
        stream, seen = self.stream(x, shifted), self.norm1(shifted)
        if is_last:
            x = stream[:, :, :1] + self.update(partial(self.attn, is_last=True), seen, self.ls1)
        else:
            x = stream + self.update(self.attn, seen, self.ls1)
        shifted = self.mlp_shift(x)
        return self.stream(x, shifted) + self.update(self.mlp, self.norm2(shifted), self.ls2)

    def stream(self, x: Tensor, shifted: Tensor) -> Tensor:
        """Return the tokens that an update is added to, of those before and behind a shift."""
        return shifted if self.shifts_residual else x

    def update(self, branch: Callable[[Tensor], Tensor], x: Tensor, scale: nn.Module) -> Tensor:
        """Apply a branch to each frame's tokens, (B, T, N, C), or for some frames give zeros."""
        update = self.stochastic_depth(scale(branch(x.flatten(0, 1))))  # (B*T, N, C)
        return update.unflatten(0, x.shape[:2])  # (B, T, N, C)


def encode(
    x: Tensor, blocks: nn.ModuleList, recomputes: bool, narrows_last: bool = False
) -> Tensor:
    """Run tokens through blocks.

    Args:
        x: Tokens.
        blocks: Of the model, in order.
        recomputes: Compute the blocks again in the backward pass, to save memory.
        narrows_last: Nobody reads the patch tokens behind the last block, so that it computes
            queries, projection and MLP for the class tokens alone: 6.9 % fewer multiply-adds of a
            ViT-B. A last block whose tokens somebody watches by a hook computes them all.

    Returns:
        The tokens; those of the class alone where the last block is narrowed.
    """
    last = len(blocks) - 1 if narrows_last and not _is_watched(blocks[-1]) else -1
    for index, block in enumerate(blocks):
        args = (x, True) if index == last else (x,)
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
    num_tokens = num_patches + (size.positions == "all")
    return nn.Parameter(torch.zeros(1, num_tokens, size.hidden_size))


def rotate_attention(
    blocks: Iterable[nn.Module], size: ViTSize, image_size: int, num_frames: int = 1
) -> None:
    """Give the attention among patches of all blocks one set of rotary positions."""
    side, head_dim = image_size // size.patch_size, size.hidden_size // size.num_heads
    rotary = RotaryPositions(side, head_dim, num_frames)
    for block in blocks:
        assert isinstance(block.attn, Attention)
        block.attn.rotary = rotary


def last_norms(size: ViTSize) -> tuple[nn.Module, nn.Module]:
    """Return the norm before and that behind the pooling, one of which does nothing."""
    norms = size.norm(), nn.Identity()
    return norms[::-1] if size.pool == "mean" else norms


def transformer_layer_names(num_blocks: int) -> list[tuple[str, ...]]:
    """Return how the names of a layer's parameters begin: the embeddings', then each block's."""
    return [EMBEDDED, *((f"blocks.{i}.",) for i in range(num_blocks))]


class VisionTransformer(nn.Module):
    """Clips (B, T, 3, H, W) to logits (B, K): the mean over frames of each frame's logits.

    T is that of the clip. H and W are those that the position embedding was made for.

    Args:
        size: Widths and options outside the blocks.
        blocks: The encoder blocks, in order.
        image_size: Side of the square frames, pixels.
        num_classes: K.
        checkpoints_blocks: Recompute each block in the backward pass, to save memory.

    Attributes:
        narrows_last_block: See `encode`; never where patches are classified. Dropout in the last
            MLP, which only ViT-H has, then draws for the class tokens alone; stochastic depth draws
            what it always does.
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
        """Return what the head sees of each frame, (B, T, C); of ``pool`` both (B, T, 2C)."""
        recomputes = self.checkpoints_blocks and self.training
        x = encode(self.embed(clips), self.blocks, recomputes, self.narrows_last_block)
        return self.pooled(x)

    def pooled(self, x: Tensor) -> Tensor:
        """Return what stands for each frame among its tokens, (B, T, N, C), as `features` does."""
        if self.size.pool == "mean":
            return self.fc_norm(x[:, :, self.num_prefix :].mean(2))
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
        """Return each block's attention weights for clips, (B, T, heads, N, N), to be looked at."""
        return list(self.attention_by_block(clips))

    def attention_by_block(self, clips: Tensor) -> Iterator[Tensor]:
        """Yield what `attention_weights` returns block by block: all of them can fill a GPU."""
        x = self.embed(clips)
        for block in self.blocks:
            assert isinstance(block, Block)
            seen = block.norm1(block.attn_shift(x)).flatten(0, 1)  # (B*T, N, C)
            yield block.attn.weights(seen).unflatten(0, x.shape[:2])
            x = block(x)

    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips (B, T, 3, H, W) into tokens (B, T, N, C) with class token and position."""
        if clips.dim() != 5 or clips.shape[2:] != (3, self.image_size, self.image_size):
            raise ValueError(
                f"the model takes clips (B, T, 3, {self.image_size}, {self.image_size}), got "
                f"{tuple(clips.shape)}; for another image size set DATA.IMAGE_SIZE and load the "
                "weights anew: models.pretrained.load_weights resizes the position embedding"
            )
        patches = self.patch_embed(clips.flatten(0, 1))  # (B*T, N-1, C)
        cls = self.cls_token.expand(patches.shape[0], -1, -1)  # (B*T, 1, C)
        x = with_positions(cls, patches, self.pos_embed)
        x = self.norm_pre(self.dropout(with_registers(x, self.reg_token)))  # (B*T, N, C)
        return x.unflatten(0, clips.shape[:2])  # (B, T, N, C)


def _is_watched(block: nn.Module) -> bool:
    """Return whether a hook sees what goes through a block or a part of it."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(vars(module)[kind] for module in block.modules() for kind in kinds)
