import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from datasets.augment.random_changes import RandomChanges
from datasets.sampling import Rng


class Unchanged:
    """A first transform that keeps the clip, and draws nothing."""

    def augment(self, frames: Tensor, rng: Rng, may_mirror: bool = True) -> tuple[Tensor, bool]:
        return frames, may_mirror


def changes(num_ops: int = 0, magnitude: int = 9, erasing_prob: float = 0.0) -> RandomChanges:
    return RandomChanges(Unchanged(), num_ops, magnitude, erasing_prob, fill=[0.5, 0.25, 0.0])


@pytest.fixture
def frame() -> Tensor:
    return torch.randint(0, 256, (1, 3, 32, 40), dtype=torch.uint8)


def test_frames_of_a_clip_get_the_same_operations(frame: Tensor) -> None:
    clip, changed = frame.expand(4, -1, -1, -1), 0
    for seed in range(12):
        result = changes(num_ops=2, erasing_prob=0.5).augment(clip, np.random.default_rng(seed))[0]
        assert (result.dtype, result.shape) == (torch.uint8, clip.shape)
        assert all(torch.equal(result[0], other) for other in result)
        changed += not torch.equal(result, clip)
    assert changed > 6


def test_operations_are_torchvisions_from_a_seed_of_the_clips_own_draws(frame: Tensor) -> None:
    for seed in range(6):
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))
        expected = v2.RandAugment(
            2, 9, interpolation=v2.InterpolationMode.BILINEAR, fill=[128, 64, 0]
        )(frame)
        assert torch.equal(
            changes(num_ops=2).augment(frame, np.random.default_rng(seed))[0], expected
        )


def test_clips_depend_on_their_own_draws_alone_and_leave_torchs_generator_as_it_was(
    frame: Tensor,
) -> None:
    transform, results = changes(num_ops=3, erasing_prob=1.0), []
    for state in (1, 2):
        torch.manual_seed(state)
        before = torch.random.get_rng_state()
        results.append(transform.augment(frame, np.random.default_rng(5))[0])
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(*results)
    assert not torch.equal(results[0], transform.augment(frame, np.random.default_rng(6))[0])


def test_erased_box_is_the_mean_in_all_frames() -> None:
    clip = torch.full((3, 3, 40, 40), 200, dtype=torch.uint8)
    shares = []
    for seed in range(30):
        result = changes(erasing_prob=1.0).augment(clip, np.random.default_rng(seed))[0]
        is_erased = (result != clip).any(1)  # (T, H, W)
        assert all(torch.equal(is_erased[0], other) for other in is_erased)
        rows, columns = is_erased[0].any(1), is_erased[0].any(0)
        assert int(is_erased[0].sum()) == int(rows.sum()) * int(columns.sum())  # a rectangle
        box = result[0, :, rows][:, :, columns]
        assert [channel.unique().tolist() for channel in box] == [[128], [64], [0]]
        shares.append(float(is_erased[0].float().mean()))
    assert 0.01 < min(shares) < max(shares) < 0.36  # of 0.02 to 0.33, in whole pixels


def test_so_many_clips_are_erased() -> None:
    clip = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)
    transform = changes(erasing_prob=0.25)
    erased = sum(
        not torch.equal(transform.augment(clip, np.random.default_rng(seed))[0], clip)
        for seed in range(400)
    )
    assert abs(erased - 100) < 35  # four standard deviations


def test_strength_grows_with_the_magnitude(frame: Tensor) -> None:
    def change(magnitude: int) -> float:
        transform = changes(num_ops=1, magnitude=magnitude)
        results = [transform.augment(frame, np.random.default_rng(seed))[0] for seed in range(40)]
        return sum(float((frame.float() - result.float()).abs().mean()) for result in results)

    assert change(2) < change(28)


def test_the_first_transform_comes_first_and_says_whether_it_mirrored(frame: Tensor) -> None:
    for may_mirror in (False, True):
        rng = np.random.default_rng(0)
        clip, is_mirrored = changes(erasing_prob=1.0).augment(frame, rng, may_mirror=may_mirror)
        assert is_mirrored == may_mirror
        assert not torch.equal(clip, frame)
