"""Other modules of a ResNet along time: pooling, non-local blocks, temporal convolutions.

All take frame-wise maps (B*T, C, H, W) and T. The two convolutions are those of the TokShift
release's ResNet modules; they have parameters and replace their input.
"""

import torch.nn.functional as F
from torch import Tensor, nn

NON_LOCAL_MODES = ("embedded_gaussian", "dot_product", "gaussian")
SQUEEZE = 8  # channels in over channels of the temporal convolution
_MOMENTUM = 0.01  # of the convolutions' norms


def temporal_pool(x: Tensor, num_frames: int) -> Tensor:
    """Return the maps of half as many frames: the maximum of each second frame's neighbourhood.

    Args:
        x: Maps, (B*T, C, H, W).
        num_frames: T; even.

    Returns:
        Maps, (B*T/2, C, H, W).

    Raises:
        ValueError: T is odd.
    """
    if num_frames % 2:
        raise ValueError(f"temporal pooling halves the frames; T={num_frames} is odd")
    clips = _by_clip(x, num_frames)
    pooled = F.max_pool3d(clips, kernel_size=(3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
    return _by_frame(pooled)  # (B*T/2, C, H, W)


class NonLocal(nn.Module):
    """Attention of every place and time to every other, added to the input (arXiv:1711.07971).

    Keys and values are pooled 2 x 2. The last norm starts at zero, so that a new block changes
    nothing.

    Args:
        num_channels: C.
        mode: ``embedded_gaussian``: softmax over the keys, without scale; ``dot_product``, of the
            same parameters: the products divided by the number of keys; ``gaussian``: softmax over
            the products of the maps themselves, which has neither theta nor phi.

    Raises:
        ValueError: The mode is none of those.
    """

    def __init__(self, num_channels: int, mode: str = "embedded_gaussian") -> None:
        super().__init__()
        if mode not in NON_LOCAL_MODES:
            raise ValueError(f"a non-local block's mode is one of {NON_LOCAL_MODES}, got {mode!r}")
        inner = num_channels // 2
        self.mode = mode
        self.g = nn.Conv3d(num_channels, inner, kernel_size=1)
        self.theta: nn.Module
        self.phi: nn.Module
        if mode == "gaussian":
            self.theta, self.phi = nn.Identity(), nn.Identity()
        else:
            self.theta = nn.Conv3d(num_channels, inner, kernel_size=1)
            self.phi = nn.Conv3d(num_channels, inner, kernel_size=1)
        self.out = nn.Conv3d(inner, num_channels, kernel_size=1)
        self.norm = nn.BatchNorm3d(num_channels)
        nn.init.zeros_(self.norm.weight)
        nn.init.zeros_(self.norm.bias)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Attend within clips of T frames, (B*T, C, H, W)."""
        clips = _by_clip(x, num_frames)  # (B, C, T, H, W)
        query = self.theta(clips).flatten(2).transpose(1, 2)  # (B, T*H*W, C/2)
        key = F.max_pool3d(self.phi(clips), kernel_size=(1, 2, 2))
        value = F.max_pool3d(self.g(clips), kernel_size=(1, 2, 2))
        key, value = (part.flatten(2).transpose(1, 2) for part in (key, value))  # (B, M, C/2)
        if self.mode == "dot_product":
            seen = query @ (key.transpose(1, 2) @ value) / key.shape[1]  # (B, T*H*W, C/2)
        else:
            seen = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        seen = seen.transpose(1, 2).unflatten(2, clips.shape[2:])  # (B, C/2, T, H, W)
        return x + _by_frame(self.norm(self.out(seen)))


class DepthwiseTemporalConv(nn.Module):
    """Each channel's own convolution over three frames, norm, ReLU.

    Args:
        num_channels: C.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            *(num_channels, num_channels),
            kernel_size=(3, 1, 1),
            padding=(1, 0, 0),
            groups=num_channels,
            bias=False,
        )
        self.norm = nn.BatchNorm3d(num_channels, momentum=_MOMENTUM)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Convolve along the T frames of (B*T, C, H, W)."""
        return _by_frame(F.relu(self.norm(self.conv(_by_clip(x, num_frames)))))


class SqueezedTemporalConv(nn.Module):
    """`DepthwiseTemporalConv` on an eighth of the channels, between two 1 x 1 convolutions.

    Args:
        num_channels: C, at least 8.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        inner = num_channels // SQUEEZE
        if inner < 1:
            raise ValueError(f"squeezed_conv needs {SQUEEZE} channels or more, got {num_channels}")
        self.squeeze = nn.Conv2d(num_channels, inner, kernel_size=1, bias=False)
        self.squeeze_norm = nn.BatchNorm2d(inner, momentum=_MOMENTUM)
        self.temporal = DepthwiseTemporalConv(inner)
        self.expand = nn.Conv2d(inner, num_channels, kernel_size=1, bias=False)
        self.expand_norm = nn.BatchNorm2d(num_channels, momentum=_MOMENTUM)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Convolve along the T frames of (B*T, C, H, W)."""
        x = F.relu(self.squeeze_norm(self.squeeze(x)))  # (B*T, C/8, H, W)
        x = self.temporal(x, num_frames)
        return F.relu(self.expand_norm(self.expand(x)))  # (B*T, C, H, W)


def _by_clip(x: Tensor, num_frames: int) -> Tensor:
    return x.unflatten(0, (-1, num_frames)).transpose(1, 2)  # (B, C, T, H, W)


def _by_frame(clips: Tensor) -> Tensor:
    return clips.transpose(1, 2).flatten(0, 1)  # (B*T, C, H, W)
