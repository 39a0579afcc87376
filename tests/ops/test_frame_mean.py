import torch

from ops.frame_mean import mean_over_frames


def test_logits_of_autocast_are_averaged_in_float32() -> None:
    logits = torch.tensor([[[1.0, 256.0], [1.0078125, 258.0]]], dtype=torch.bfloat16)
    mean = mean_over_frames(logits)
    assert mean.dtype is torch.float32
    assert mean.tolist() == [[1.00390625, 257.0]]  # neither is a number of bfloat16


def test_wider_logits_keep_their_type() -> None:
    logits = torch.randn(2, 3, 4, dtype=torch.float64)
    assert torch.equal(mean_over_frames(logits), logits.mean(1))
    assert torch.equal(mean_over_frames(logits.float()), logits.float().mean(1))
