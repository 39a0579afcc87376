"""TimeSformer: a ViT whose tokens attend along time, then within frames (arXiv:2102.05095).

PaddleVideo's PP-TimeSformer is the same network; its recipe differs, and its queries, keys and
values have no biases.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.vit import (
    Block,
    ViTSize,
    drop_path_rates,
    encode,
    last_norms,
    positions,
    registers,
    rotate_attention,
    transformer_layer_names,
)
from models.vit_parts import Attention, Mlp, PatchEmbed
from ops.stochastic_depth import StochasticDepth

ATTENTIONS = ("divided", "joint", "space_only")
INIT_STD = 0.02


class AttentionMaps(NamedTuple):
    """The attention weights of one block; queries stand before keys.

    Attributes:
        space: Weights among the tokens of each frame, (B, T, heads, 1+N, 1+N); joint: among all
            tokens, class token first, then place by place over time, (B, 1, heads, 1+N*T, 1+N*T).
            Registers stand behind the class token.
        time: Weights along the frames of each place, (B, N, heads, T, T); None unless divided.
    """

    space: Tensor
    time: Tensor | None = None


class DividedBlock(nn.Module):
    """Pre-norm block of divided attention: along time, within frames, then the MLP (section 3).

    Takes and gives tokens (B, 1+N*T, C): the clip's class token, then its patches, time fastest.
    The class token has no part in the attention along time; within frames each frame sees it, and
    it takes the mean over frames of the updates. So do registers, which stand behind it.

    Args:
        size: Widths of the block.
        num_frames: T.
        drop_path: Probability to skip a branch: along time for each place, within frames for each
            frame, the MLP for each clip.
    """

    def __init__(self, size: ViTSize, num_frames: int, drop_path: float = 0.0) -> None:
        super().__init__()
        C = size.hidden_size
        self.num_frames, self.num_prefix = num_frames, 1 + size.num_registers
        self.drop_path = drop_path
        self.stochastic_depth = StochasticDepth(drop_path)
        self.temporal_norm1 = size.norm()
        self.temporal_attn = Attention(C, size.num_heads, size.qkv_bias)
        self.temporal_fc = nn.Linear(C, C)
        self.norm1 = size.norm()
        self.attn = Attention(C, size.num_heads, size.qkv_bias)
        self.ls1 = size.scale()
        self.norm2 = size.norm()
        self.mlp = Mlp(C, size.mlp_dim, size.dropout, size.activation)
        self.ls2 = size.scale()

    def forward(self, x: Tensor, is_last: bool = False) -> Tensor:
        """Encode (B, 1+N*T, C) tokens.

        Args:
            x: Tokens.
            is_last: Return the class token alone, (B, 1, C); see `models.vit.encode`.
        """
        cls, patches = self._split(x)
        patches = self._along_time(patches)
        seen = self.norm1(self._frames(cls, patches))  # (B, T, 1+N, C)
        # Each frame has its copy of the class token; the updates of the T copies are averaged.
        update = self.attn(seen.flatten(0, 1), is_last)  # (B*T, 1+N, C); last: (B*T, 1, C)
        update = self.stochastic_depth(self.ls1(update)).unflatten(0, seen.shape[:2])
        num_kept = 1 if is_last else self.num_prefix
        x = cls[:, :num_kept] + update[:, :, :num_kept].mean(1)  # (B, 1, C)
        if not is_last:
            patches = patches + update[:, :, num_kept:].transpose(1, 2)  # (B, N, T, C)
            x = torch.cat([x, patches.flatten(1, 2)], dim=1)  # (B, 1+N*T, C)
        return x + self.stochastic_depth(self.ls2(self.mlp(self.norm2(x))))

    def attention_maps(self, x: Tensor) -> AttentionMaps:
        """Return the weights with which `forward` attends among tokens (B, 1+N*T, C)."""
        cls, patches = self._split(x)
        seen = self.temporal_norm1(patches)  # (B, N, T, C)
        time = self.temporal_attn.weights(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        seen = self.norm1(self._frames(cls, self._along_time(patches)))  # (B, T, 1+N, C)
        space = self.attn.weights(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])
        return AttentionMaps(space, time)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Time fastest, so that `unflatten` alone gives sequences along time; the official order.
        cls, patches = x[:, : self.num_prefix], x[:, self.num_prefix :]  # (B, 1, C), (B, N*T, C)
        return cls, patches.unflatten(1, (-1, self.num_frames))  # (B, N, T, C)

    def _along_time(self, patches: Tensor) -> Tensor:
        seen = self.temporal_norm1(patches)  # (B, N, T, C)
        update = self.stochastic_depth(self.temporal_attn(seen.flatten(0, 1)))  # (B*N, T, C)
        # where the branch is dropped, temporal_fc still adds its bias
        return patches + self.temporal_fc(update).unflatten(0, patches.shape[:2])

    def _frames(self, cls: Tensor, patches: Tensor) -> Tensor:
        cls = cls.unsqueeze(1).expand(-1, self.num_frames, -1, -1)  # (B, T, 1, C)
        return torch.cat([cls, patches.transpose(1, 2)], dim=2)  # (B, T, 1+N, C)


class TimeSformer(nn.Module):
    """Clips (B, T, 3, H, W) to logits (B, K).

    The parameters have the names of the official TimeSformer. T, H and W are those that the model
    is built for; `models.pretrained.load_weights` resizes the embeddings of other ones.

    Args:
        image_size: Side of the square frames, pixels.
        patch_size: Side of a patch, pixels.
        num_frames: T.
        hidden_size: C, channels of a token.
        num_layers: Encoder blocks.
        num_heads: Attention heads; divides hidden_size.
        mlp_dim: Width of the MLP.
        num_classes: K.
        qkv_bias: Queries, keys and values have biases.
        attention: ``divided``; ``joint``: a ViT on all tokens of the clip; ``space_only``: a ViT on
            each frame, whose class tokens are averaged before the last norm.
        drop_path: Stochastic-depth rate of the last block, growing from 0 in the first.
        dropout: Probability after the embeddings and in the MLP.
        checkpoints_blocks: Recompute each block in the backward pass, to save memory.
        time_resize: Mode in which `load_weights` resizes a time embedding, ``nearest`` or
            ``linear``.
        options: The other fields of `models.vit.ViTSize`.

    Attributes:
        narrows_last_block: Same as in `models.vit.VisionTransformer`.

    Raises:
        ValueError: The attention is none of those, or the heads do not divide the channels.
    """

    head_name = "head"

    def __init__(  # noqa: PLR0913, PLR0917 - a size of the paper each
        self,
        image_size: int,
        patch_size: int,
        num_frames: int,
        hidden_size: int,
        num_layers: int,
        num_heads: int,
        mlp_dim: int,
        num_classes: int,
        qkv_bias: bool = True,
        *,
        attention: str = "divided",
        drop_path: float = 0.0,
        dropout: float = 0.0,
        checkpoints_blocks: bool = False,
        time_resize: str = "nearest",
        **options: Any,
    ) -> None:
        super().__init__()
        if attention not in ATTENTIONS:
            raise ValueError(f"attention={attention!r}; choose one of {ATTENTIONS}")
        size = ViTSize(
            *(patch_size, hidden_size, mlp_dim, num_heads, num_layers, dropout, qkv_bias), **options
        )
        num_patches = (image_size // patch_size) ** 2
        self.size, self.num_prefix = size, 1 + size.num_registers
        self.narrows_last_block = size.pool == "token"
        self.image_size, self.num_frames = image_size, num_frames
        self.attention, self.time_resize = attention, time_resize
        self.checkpoints_blocks = checkpoints_blocks
        self.cls_token = nn.Parameter(torch.zeros(1, 1, hidden_size))
        self.reg_token, self.pos_embed = registers(size), positions(size, num_patches)
        # Not even unused: a parameter without a gradient is an error under DDP.
        if attention != "space_only":
            self.time_embed = nn.Parameter(torch.zeros(1, num_frames, hidden_size))
        self.patch_embed = PatchEmbed(patch_size, hidden_size, bias=not size.pre_norm)
        self.dropout = nn.Dropout(dropout)
        self.norm_pre = size.norm() if size.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(
            DividedBlock(size, num_frames, rate) if attention == "divided" else Block(size, rate)
            for rate in drop_path_rates(drop_path, num_layers)
        )
        if size.positions == "rotary":
            # Divided attention rotates within a frame's N patches; joint has all N * T together.
            together = num_frames if attention == "joint" else 1
            rotate_attention(self.blocks, size, image_size, together)
        self.norm, self.fc_norm = last_norms(size)
        self.head = nn.Linear(size.num_features, num_classes)
        self._initialise()

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips (B, T, 3, H, W); logits (B, K).

        Raises:
            ValueError: The clips are not (B, T, 3, H, W) of the model's frames and image size.
        """
        return self.head(self.features(clips))  # (B, K)

    @property
    def layer_names(self) -> list[tuple[str, ...]]:
        """See `models.video_model.VideoModel`; as BEiT counts (arXiv:2106.08254)."""
        return transformer_layer_names(len(self.blocks))

    def frame_logits(self, clips: Tensor) -> Tensor:
        """Return the logits of the whole clip as those of one frame, (B, 1, K)."""
        return self(clips).unsqueeze(1)

    def features(self, clips: Tensor) -> Tensor:
        """Return the features of a clip that the head sees, (B, C); ``both``: (B, 2C)."""
        recomputes = self.checkpoints_blocks and self.training
        x = encode(self.embed(clips), self.blocks, recomputes, self.narrows_last_block)
        if self.attention == "divided":
            x = x.unsqueeze(1)  # (B, 1, 1+N*T, C)
        if self.size.pool == "mean":
            return self.fc_norm(x[:, :, self.num_prefix :].mean((1, 2)))  # (B, C)
        # `space_only` averages its class tokens before norm and head, as the official one does; our
        # `vit` averages logits. With one class token (divided, joint) the mean does nothing.
        cls = self.norm(x[:, :, 0].mean(1))  # (B, C)
        if self.size.pool == "token":
            return cls
        return torch.cat([cls, self.norm(x[:, :, self.num_prefix :]).mean((1, 2))], dim=-1)

    def embed(self, clips: Tensor) -> Tensor:
        """Turn clips (B, T, 3, H, W) into tokens with class token, position and time.

        Returns:
            Divided: (B, 1+N*T, C), time fastest; joint: (B, 1, 1+N*T, C); space only:
            (B, T, 1+N, C).
        """
        self._check(clips)
        B, T = clips.shape[:2]
        patches = self.patch_embed(clips.flatten(0, 1)).unflatten(0, (B, T))  # (B, T, N, C)
        cls, patches = self._positioned(patches)
        if self.attention == "space_only":
            x = torch.cat([cls.expand(B, T, -1, -1), patches], dim=2)
            return self.norm_pre(self.dropout(x))
        # Patches pass two dropouts and the class token one, as in the official order of embeddings.
        patches = self.dropout(patches).transpose(1, 2) + self.time_embed  # (B, N, T, C)
        x = torch.cat([cls.expand(B, -1, -1), patches.flatten(1, 2)], dim=1)  # (B, 1+N*T, C)
        x = self.norm_pre(self.dropout(x))
        return x if self.attention == "divided" else x.unsqueeze(1)

    def attention_weights(self, clips: Tensor) -> list[AttentionMaps]:
        """Return each block's attention weights for clips (B, T, 3, H, W), for inspection."""
        return list(self.attention_by_block(clips))

    def attention_by_block(self, clips: Tensor) -> Iterator[AttentionMaps]:
        """Yield what `attention_weights` returns block by block: all of them can fill a GPU."""
        x = self.embed(clips)
        for block in self.blocks:
            if isinstance(block, DividedBlock):
                yield block.attention_maps(x)
            else:
                assert isinstance(block, Block)
                seen = block.norm1(x).flatten(0, 1)
                yield AttentionMaps(block.attn.weights(seen).unflatten(0, x.shape[:2]))
            x = block(x)

    def describe_time(self) -> str:
        """Say what attends along time, over how many frames and in how many blocks."""
        where = f"{self.num_frames} frames in {len(self.blocks)} blocks"
        if self.attention == "space_only":
            return f"no attention along time: the mean of {where}"
        return f"{self.attention} space-time attention over {where}"

    def _positioned(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return class token and registers, (1, P, C), and patches (B, T, N, C), with positions."""
        cls: Tensor = self.cls_token  # (1, 1, C)
        if self.pos_embed is not None:
            patches = patches + self.pos_embed[:, -patches.shape[2] :]
            if self.size.positions == "all":
                cls = cls + self.pos_embed[:, :1]
        return cls if self.reg_token is None else torch.cat([cls, self.reg_token], dim=1), patches

    def _check(self, clips: Tensor) -> None:
        shape = (self.num_frames, 3, self.image_size, self.image_size)
        if clips.dim() != 5 or clips.shape[1:] != shape:
            raise ValueError(
                f"the model takes clips (B, {', '.join(map(str, shape))}), got "
                f"{tuple(clips.shape)}; for other clips set DATA.NUM_FRAMES or DATA.IMAGE_SIZE and "
                "load the weights anew: models.pretrained.load_weights resizes the embeddings"
            )

    def _initialise(self) -> None:
        """Draw tokens, positions and linear weights; the time starts without effect."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # PaddleVideo forgets this std, so that it draws with 1.0
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for tokens in (self.cls_token, self.pos_embed, self.reg_token):
            if tokens is not None:
                nn.init.trunc_normal_(tokens, std=INIT_STD)
        for block in self.blocks:
            if isinstance(block, DividedBlock):
                # In every block: training starts from what the image ViT computes.
                nn.init.zeros_(block.temporal_fc.weight)
