"""TokShift: a ViT whose encoder blocks shift the class token in time (arXiv:2108.02432)."""

from models.vit import Block, VisionTransformer, ViTSize, drop_path_rates
from ops.token_shift import TokenShift


def tokshift(
    size: ViTSize,
    image_size: int,
    num_classes: int,
    fold_div: int,
    direction: str = "both",
    shifts_residual: bool = True,
    drop_path: float = 0.0,
    checkpoints_blocks: bool = False,
) -> VisionTransformer:
    """Build the ViT that shifts before both halves of every block (section 3.3, "TokShift").

    Args:
        size: Widths of the transformer.
        image_size: Side of the square frames, pixels.
        num_classes: K.
        fold_div: Inverse of the share of class-token channels moved each way.
        direction: ``both`` as published; ``past`` moves channels forward in time alone.
        shifts_residual: Same as in `models.vit.Block`.
        drop_path: Stochastic-depth rate of the last block.
        checkpoints_blocks: Same as in `models.vit.VisionTransformer`.

    Returns:
        Model with the parameters, and so the state dict, of the image ViT.
    """
    # Every block and both halves, as released. Zeros come in at the ends of a clip: with T = 1 all
    # moved channels are zero, and a single image is not classified as by the plain ViT.
    blocks = [
        Block(
            size,
            drop_path=rate,
            # no `owns_input`: `attention_by_block` shifts tokens that the block gets afterwards
            attn_shift=TokenShift(fold_div, direction),
            # the first half has just made this tensor, so nobody else holds it
            mlp_shift=TokenShift(fold_div, direction, owns_input=shifts_residual),
            shifts_residual=shifts_residual,
        )
        for rate in drop_path_rates(drop_path, size.num_layers)
    ]
    return VisionTransformer(size, blocks, image_size, num_classes, checkpoints_blocks)
