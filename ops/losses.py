"""Losses of several classes at once, and between the logits of a student and its teacher."""

import torch.nn.functional as F
from torch import Tensor

MUTUAL_EPSILON = 1e-12  # as in PaddleVideo's distillation head: keeps the logarithm of 0 finite


def soften(logits: Tensor, temperature: float) -> Tensor:
    """Return the probabilities of logits (B, K) divided by a temperature, in float32 or float64."""
    return (_at_least_float32(logits) / temperature).softmax(-1)


def multi_label_loss(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy of each class's sigmoid, its mean over clips and classes.

    Args:
        logits: Logits, (B, K).
        targets: Shares of the classes, 0 to 1, (B, K).
        label_smoothing: Share s of the smoothing; a target y becomes (1 - s) y + s / K.
    """
    smoothed = (1 - label_smoothing) * targets + label_smoothing / targets.shape[-1]
    return F.binary_cross_entropy_with_logits(_at_least_float32(logits), smoothed)


def kd_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return T**2 KL(targets || softened student), the batch's mean (arXiv:1503.02531, section 2).

    The factor T**2 keeps the gradient's size when the temperature changes.

    Args:
        logits: Logits of the student, (B, K).
        targets: Probabilities of the teacher, softened by the same temperature, (B, K).
        temperature: Divisor of the student's logits, above 0.
    """
    log_probs = (_at_least_float32(logits) / temperature).log_softmax(-1)
    # torch takes the student first and in logarithms; the divergence is that from the targets.
    # Its default reduction would divide by B * K, and the loss would shrink with the classes.
    return temperature**2 * F.kl_div(log_probs, targets, reduction="batchmean")


def dml_loss(logits: Tensor, other_logits: Tensor) -> Tensor:
    """Return the loss by which two models learn from each other (arXiv:1706.00384).

    It is that of PaddleVideo's distillation head: half the symmetric KL divergence of the two
    probabilities, as the batch's mean, without temperature. Both models get its gradient.

    Args:
        logits: Logits of one model, (B, K).
        other_logits: Logits of the other model, (B, K).
    """
    K = logits.shape[-1]
    p, q = soften(logits, 1.0), soften(other_logits, 1.0)
    log_ratio = ((p + MUTUAL_EPSILON) / (q + MUTUAL_EPSILON)).log()
    # The mean is over B and K; times K it is the sum over classes, averaged over the batch.
    return (0.5 * K * (p - q) * log_ratio).mean()


def _at_least_float32(logits: Tensor) -> Tensor:
    # Logits of autocast have 8 or 11 bits, in which two similar softmaxes become the same.
    return logits if logits.dtype.itemsize >= 4 else logits.float()
