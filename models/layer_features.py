"""What a model knows of each frame behind one of its layers, to be kept or classified.

Layers are counted as `VideoModel.layer_names` has them, without the embedding or stem: a
transformer's blocks from 1, a ResNet's stages 1 to 4. Behind the last comes what the head sees,
which a transformer has normed.
"""

from torch import Tensor, nn

from models.resnet_tsm import ResNetTSM
from models.timesformer import TimeSformer
from models.video_model import VideoModel
from models.vit import VisionTransformer


def head_features(model: nn.Module, clips: Tensor) -> Tensor:
    """Return what the head sees of clips (B, T, 3, H, W) in any model, (B, S, C); see `vit_layer`.

    S is as in `VideoModel.frame_logits`.
    """
    assert isinstance(model, VideoModel)
    seen: list[Tensor] = []
    head = model.get_submodule(model.head_name)
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        model(clips)
    finally:
        hook.remove()
    (inputs,) = seen
    return inputs.reshape(len(clips), -1, inputs.shape[-1])


def vit_layer(model: VisionTransformer, clips: Tensor, layer: int) -> Tensor:
    """Return each frame's class token behind a block of a ViT or TokShift, (B, T, C).

    Where only the mean of the patches is classified, it is that instead. No norm has been applied.

    Args:
        model: Model in evaluation mode.
        clips: Normalised clips, (B, T, 3, H, W).
        layer: Number of the block, from 1.
    """
    x = model.embed(clips)
    for block in model.blocks[:layer]:
        x = block(x)
    return _tokens(x, model)


def timesformer_layer(model: TimeSformer, clips: Tensor, layer: int) -> Tensor:
    """Do so for a TimeSformer: a clip has one class token, (B, 1, C); space alone: (B, T, C)."""
    x = model.embed(clips)
    for block in model.blocks[:layer]:
        x = block(x)
    if model.attention == "divided":
        x = x.unsqueeze(1)  # (B, 1, 1+N*T, C)
    return _tokens(x, model)


def tsm_layer(model: ResNetTSM, clips: Tensor, layer: int) -> Tensor:
    """Return the mean over places of each frame's maps behind a stage of a ResNet, (B, T, C).

    T is half of the clip's from layer2 on where frames are pooled.
    """
    maps = model.maps(clips, num_stages=layer)  # (B*T, C, H, W)
    return maps.mean((2, 3)).unflatten(0, (len(clips), -1))


def _tokens(x: Tensor, model: VisionTransformer | TimeSformer) -> Tensor:
    """Return of tokens (B, T, N, C) those of the class, or the mean of the patches, (B, T, C)."""
    if model.size.pool == "mean":
        return x[:, :, model.num_prefix :].mean(2)
    return x[:, :, 0]
