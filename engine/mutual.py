"""Two models that learn together and from each other (deep mutual learning, arXiv:1706.00384)."""

import torch
from torch import Tensor, nn


class MutualPair(nn.Module):
    """A student and its teacher on the same clips; in evaluation the student alone.

    Args:
        student: Model from clips (B, T, 3, H, W) to logits (B, K), which is kept in the end.
        teacher: Model of the same kind, which only learns along.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.teacher = teacher

    def forward(self, clips: Tensor) -> Tensor:
        """Return the logits of student and teacher, (2, B, K); in evaluation the former, (B, K)."""
        if not self.training:
            return self.student(clips)
        return torch.stack([self.student(clips), self.teacher(clips)])  # (2, B, K)


def models_by_prefix(model: nn.Module) -> dict[str, nn.Module]:
    """Return the models of a pair by the prefix of their parameters' names; any other by none."""
    if isinstance(model, MutualPair):
        return {"student.": model.student, "teacher.": model.teacher}
    return {"": model}
