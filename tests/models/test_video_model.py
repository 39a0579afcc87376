import pytest
import torch
from torch import nn

from models import MODELS, build_model
from models.video_model import VideoModel
from tests.models.conftest import randomized
from tests.models.test_build_model import cfg_of


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> nn.Module:
    backbone = "resnet18" if request.param == "tsm" else "toy"
    cfg = cfg_of("MODEL.NAME", request.param, "MODEL.BACKBONE", backbone)
    return randomized(build_model(cfg)).eval()


def test_every_model_meets_the_contract(model: nn.Module) -> None:
    assert isinstance(model, VideoModel)
    assert "\n" not in model.describe_time()


def test_every_answer_is_the_mean_of_the_frame_logits(model: nn.Module) -> None:
    clips = torch.randn(2, 4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(clips), model.frame_logits(clips).mean(1), rtol=0, atol=0)


def test_every_parameter_lies_in_one_layer_or_with_the_head(model: nn.Module) -> None:
    names = [name for name, _ in model.named_parameters()]
    for name in names:
        layers = [starts for starts in model.layer_names if name.startswith(starts)]
        assert len(layers) <= 1
        assert layers or name.startswith((f"{model.head_name}.", "norm.")), name
    assert all(any(name.startswith(starts) for name in names) for starts in model.layer_names)


def test_the_head_alone_depends_on_the_classes(model: nn.Module) -> None:
    of_head = [p for name, p in model.named_parameters() if name.startswith(f"{model.head_name}.")]
    assert [len(parameter) for parameter in of_head] == [7, 7]
    assert not isinstance(nn.Linear(1, 1), VideoModel)
