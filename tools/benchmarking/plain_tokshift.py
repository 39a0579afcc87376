"""TokShift as its specification reads, with nothing done for speed: what ours is held against.

Attention, shift and MLP are written as in the released computation: separate queries, keys and
values, two products with a softmax between them, and a shift that copies all tokens.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.vit import ViTSize


class PlainAttention(nn.Module):
    """Multi-head self-attention with a linear map each for queries, keys and values."""

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.out = (
            nn.Linear(hidden_size, hidden_size) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attend among the tokens (M, N, C) of each frame."""
        query, key, value = (self._heads(layer(x)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        x = (scores.softmax(-1) @ value).permute(0, 2, 1, 3).contiguous()
        return self.out(x.flatten(2))  # (M, N, C)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).permute(0, 2, 1, 3)


class PlainBlock(nn.Module):
    """Encoder block that shifts the class tokens before each half."""

    def __init__(self, size: ViTSize, num_frames: int, fold_div: int) -> None:
        super().__init__()
        C = size.hidden_size
        self.num_frames, self.fold_div = num_frames, fold_div
        self.norm1 = nn.LayerNorm(C, eps=size.norm_eps)
        self.attn = PlainAttention(C, size.num_heads)
        self.norm2 = nn.LayerNorm(C, eps=size.norm_eps)
        self.fc1, self.fc2 = nn.Linear(C, size.mlp_dim), nn.Linear(size.mlp_dim, C)

    def forward(self, x: Tensor) -> Tensor:
        """Encode (B*T, N, C) tokens."""
        x = plain_shift(x, self.num_frames, self.fold_div)
        x = x + self.attn(self.norm1(x))
        x = plain_shift(x, self.num_frames, self.fold_div)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class PlainTokShift(nn.Module):
    """The whole network.

    Args:
        size: Widths of the transformer.
        image_size: Side of the square frames, pixels.
        num_classes: Number of classes, K.
        num_frames: Number of frames of a clip, T.
        fold_div: Inverse of the share of channels moved each way; 0: none are (ViT).
    """

    def __init__(
        self, size: ViTSize, image_size: int, num_classes: int, num_frames: int, fold_div: int
    ) -> None:
        super().__init__()
        C, patch = size.hidden_size, size.patch_size
        self.num_frames = num_frames
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch) ** 2, C))
        self.patch = nn.Conv2d(3, C, kernel_size=patch, stride=patch)
        blocks = (PlainBlock(size, num_frames, fold_div) for _ in range(size.num_layers))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(C, eps=size.norm_eps)
        self.head = nn.Linear(C, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify clips (B, T, 3, H, W); logits (B, K)."""
        x = self.patch(clips.flatten(0, 1)).flatten(2).transpose(-1, -2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x)[:, 0])
        return logits.unflatten(0, (-1, self.num_frames)).mean(1)


def plain_shift(x: Tensor, num_frames: int, fold_div: int) -> Tensor:
    """Shift class tokens (spec: channels [0, fold) from frame t+1, [fold, 2 fold) from t-1)."""
    if not fold_div:
        return x
    shape, fold = x.shape, x.shape[-1] // fold_div
    x = x.reshape(-1, num_frames, *shape[1:])
    out = torch.zeros_like(x)
    out[:, :-1, 0, :fold] = x[:, 1:, 0, :fold]
    out[:, 1:, 0, fold : 2 * fold] = x[:, :-1, 0, fold : 2 * fold]
    out[:, :, 0, 2 * fold :] = x[:, :, 0, 2 * fold :]
    out[:, :, 1:] = x[:, :, 1:]
    return out.reshape(shape)


def load_ours(plain: PlainTokShift, state: dict[str, Tensor]) -> PlainTokShift:
    """Give the plain network the weights of ours."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if ".attn.qkv." in name:
            for part, chunk in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                renamed[name.replace("qkv", part)] = chunk
            continue
        for ours, its in (("patch_embed.proj", "patch"), ("attn.proj", "attn.out"), (".mlp.", ".")):
            name = name.replace(ours, its)
        renamed[name] = tensor
    plain.load_state_dict(renamed)
    return plain
