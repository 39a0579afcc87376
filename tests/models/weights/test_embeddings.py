import pytest
import torch
import torch.nn.functional as F

from models.weights.embeddings import resize_pos_embed, resize_time_embed


@pytest.mark.parametrize(("old", "new"), [(14, 16), (14, 24), (24, 14), (2, 3), (3, 2), (1, 3)])
def test_position_embedding_is_resized_with_aligned_corners(old: int, new: int) -> None:
    pos_embed = torch.randn(1, 1 + old * old, 6, generator=torch.Generator().manual_seed(0))
    resized = resize_pos_embed(pos_embed, 1 + new * new)
    assert resized.shape == (1, 1 + new * new, 6)
    assert resized.dtype is torch.float32
    assert torch.equal(resized[:, 0], pos_embed[:, 0])  # the class token has no place
    grid = pos_embed[:, 1:].transpose(1, 2).unflatten(2, (old, old))
    expected = F.interpolate(grid.double(), (new, new), mode="bilinear", align_corners=True)
    expected = expected.flatten(2).transpose(1, 2).float()
    # both interpolate in float64 and round to float32 at the end: half an ulp of values below 8
    torch.testing.assert_close(resized[:, 1:], expected, atol=5e-7, rtol=0)


def test_resizing_worked_by_hand() -> None:
    pos_embed = torch.tensor([[9.0, 0, 2, 4, 6]])[..., None]  # class token, then 2 rows of 2
    resized = resize_pos_embed(pos_embed, 10)
    expected = [9, 0, 1, 2, 2, 3, 4, 4, 5, 6]
    assert resized.flatten().tolist() == pytest.approx(expected, abs=1e-6)  # float32


def test_resizing_by_half_pixels_worked_by_hand() -> None:
    pos_embed = torch.tensor([[9.0, 0, 2, 4, 6]])[..., None]  # class token, then 2 rows of 2
    resized = resize_pos_embed(pos_embed, 17, "half_pixel")
    row = [0, 0.5, 1.5, 2]
    expected = [9, *(x + y for y in (0, 1, 3, 4) for x in row)]
    assert resized.flatten().tolist() == pytest.approx(expected, abs=1e-6)  # float32


def test_unknown_way_to_resize_positions_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'bilinear', 'half_pixel', .* got 'nearest'"):
        resize_pos_embed(torch.zeros(1, 5, 4), 10, "nearest")


@pytest.mark.parametrize(("num_old", "num_new"), [(1 + 6, 1 + 9), (1 + 9, 1 + 6)])
def test_grid_that_is_not_square_is_an_error(num_old: int, num_new: int) -> None:
    with pytest.raises(ValueError, match="of 6 patches is not a square grid"):
        resize_pos_embed(torch.zeros(1, num_old, 4), num_new)


@pytest.mark.parametrize(
    ("old", "new", "mode", "expected"),
    [
        (4, 8, "nearest", [0, 0, 1, 1, 2, 2, 3, 3]),
        (4, 6, "nearest", [0, 0, 1, 2, 2, 3]),
        (8, 4, "nearest", [0, 2, 4, 6]),
        (3, 1, "nearest", [0]),
        (1, 3, "nearest", [0, 0, 0]),
        (3, 5, "linear", [0, 0.5, 1, 1.5, 2]),
        (5, 3, "linear", [0, 2, 4]),
        (1, 3, "linear", [0, 0, 0]),
    ],
)
def test_resizing_in_time_worked_by_hand(
    old: int, new: int, mode: str, expected: list[float]
) -> None:
    time_embed = torch.stack([torch.arange(old), 10 * torch.arange(old)], dim=-1)[None].float()
    resized = resize_time_embed(time_embed, new, mode)
    torch.testing.assert_close(resized[0, :, 0], torch.tensor(expected).float())
    assert torch.equal(resized[..., 1], 10 * resized[..., 0])
    assert resized.shape == (1, new, 2)
    assert resized.is_contiguous()


@pytest.mark.parametrize("old", [2, 3, 8, 12])
@pytest.mark.parametrize("new", [1, 4, 8, 12, 16, 32, 96])
def test_nearest_in_time_is_that_of_torch(old: int, new: int) -> None:
    time_embed = torch.randn(1, old, 6, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(time_embed.transpose(1, 2), size=new, mode="nearest")
    assert torch.equal(resize_time_embed(time_embed, new), expected.transpose(1, 2))


def test_unknown_way_to_resize_in_time_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"one of \('nearest', 'linear'\), got 'cubic'"):
        resize_time_embed(torch.zeros(1, 4, 2), 8, "cubic")
