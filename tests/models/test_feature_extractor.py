"""What is behind which layer, against the parts of the models themselves."""

import pytest
import torch
from torch import Tensor, nn

from models.feature_extractor import FeatureExtractor
from models.resnet_tsm import ResNetTSM, TSMOptions
from models.timesformer import ATTENTIONS, TimeSformer
from models.tokshift import tokshift
from models.vit import ViTSize, vit
from tests.models.conftest import randomized

SIZES = {"patch_size": 8, "hidden_size": 16, "mlp_dim": 24, "num_heads": 4, "num_layers": 3}
SIZE = ViTSize(**SIZES)
B, T, C, K = 2, 4, 16, 5


def clips() -> Tensor:
    return torch.randn(B, T, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def tsm(**options: object) -> ResNetTSM:
    options = {"layers": (1, 1, 1, 1), "width": 4} | options
    return ResNetTSM(18, K, options=TSMOptions(**options)).eval()


def timesformer(attention: str, **options: object) -> nn.Module:
    sizes = {"image_size": 16, "num_frames": T, "num_classes": K, **SIZES}
    return randomized(TimeSformer(**sizes, attention=attention, **options)).eval()


def vits() -> dict[str, nn.Module]:
    sizes = {"image_size": 16, "num_classes": K}
    mean = ViTSize(**SIZES, pool="mean")
    made = {"vit": vit(SIZE, **sizes), "shift": tokshift(SIZE, **sizes, fold_div=4)}
    made["mean"] = vit(mean, **sizes)
    return {name: randomized(model).eval() for name, model in made.items()}


MODELS = {
    **vits(),
    **{attention: timesformer(attention) for attention in ATTENTIONS},
    "patches": timesformer("divided", pool="mean"),
    "tsm": tsm(),
    "pooled": tsm(temporal_pool=True),
}


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_head_of_what_the_head_sees_gives_the_logits(name: str) -> None:
    model = MODELS[name]
    seen = FeatureExtractor(model)(clips())
    head = model.get_submodule(model.head_name)
    torch.testing.assert_close(head(seen), model.frame_logits(clips()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["vit", "shift", "mean"])
@torch.no_grad()
def test_last_block_normed_is_what_the_head_of_a_vit_sees(name: str) -> None:
    model = MODELS[name]
    last = FeatureExtractor(model, "3")(clips())
    assert last.shape == (B, T, C)
    expected = FeatureExtractor(model)(clips())
    # the class token alone, or all tokens at once, in the last block
    torch.testing.assert_close(model.fc_norm(model.norm(last)), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_token_behind_a_block_is_what_a_hook_sees_there() -> None:
    model = MODELS["shift"]
    seen: list[Tensor] = []
    hook = model.blocks[1].register_forward_hook(lambda *args: seen.append(args[-1]))
    model(clips())
    hook.remove()
    assert torch.equal(FeatureExtractor(model, "2")(clips()), seen[0][:, :, 0])


@pytest.mark.parametrize(("name", "S"), [("divided", 1), ("joint", 1), ("space_only", T)])
@torch.no_grad()
def test_timesformer_has_the_class_tokens_that_its_attention_has(name: str, S: int) -> None:
    model = MODELS[name]
    last = FeatureExtractor(model, "3")(clips())
    assert last.shape == (B, S, C)
    expected = FeatureExtractor(model)(clips())
    torch.testing.assert_close(
        model.norm(last.mean(1, keepdim=True)), expected, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(("name", "S"), [("tsm", T), ("pooled", T // 2)])
@torch.no_grad()
def test_stages_of_a_resnet_are_averaged_over_places(name: str, S: int) -> None:
    model = MODELS[name]
    assert torch.equal(FeatureExtractor(model, "4")(clips()), FeatureExtractor(model)(clips()))
    assert FeatureExtractor(model, "2")(clips()).shape == (B, S, 8)
    assert FeatureExtractor(model, "1")(clips()).shape == (B, T, 4)


@pytest.mark.parametrize(
    ("name", "layer", "text"),
    [
        ("vit", "4", "has head, 1 to 3"),
        ("vit", "0", "has head, 1 to 3"),
        ("tsm", "layer4", "has head, 1 to 4"),
        ("divided", "-1", "'-1'"),
    ],
)
def test_layers_that_there_are_not_are_refused(name: str, layer: str, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FeatureExtractor(MODELS[name], layer)


def test_model_without_an_entry_for_layers_has_its_head_alone() -> None:
    class Bare(nn.Module):
        head_name = "head"
        layer_names = (("stem.",), ("time.",))

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, K)

        def forward(self, clips: Tensor) -> Tensor:
            return self.frame_logits(clips).mean(1)

        def frame_logits(self, clips: Tensor) -> Tensor:
            return self.head(clips.mean((3, 4)))

        def describe_time(self) -> str:
            return "nothing"

    seen = FeatureExtractor(Bare())(clips())
    torch.testing.assert_close(seen, clips().mean((3, 4)))
    with pytest.raises(ValueError, match=r"a Bare of this size has head$"):
        FeatureExtractor(Bare(), "1")
