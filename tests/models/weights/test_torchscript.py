import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.pretrained import load_weights
from models.vit import ViTSize, vit
from models.weights.checkpoint_file import read_checkpoint
from tests.models.conftest import randomized

SIZE = ViTSize(
    *(8, 64, 128, 1, 2),
    norm_eps=1e-5,
    activation="quick_gelu",
    pre_norm=True,
    pos_resize="bicubic",
)


class Holder(nn.Module):
    """A module that holds tensors and modules alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def holder(state: dict[str, Tensor], **buffers: int) -> Holder:
    """Hold tensors under dotted names."""
    root = Holder()
    for name, value in state.items():
        *parts, last = name.split(".")
        module: nn.Module = root
        for part in parts:
            if not hasattr(module, part):
                module.add_module(part, Holder())
            module = getattr(module, part)
        module.register_parameter(last, nn.Parameter(value))
    for name, number in buffers.items():
        root.register_buffer(name, torch.tensor(number))
    return root


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a CLIP of ours under OpenAI's names, in half precision, with a few of its texts."""
    names = [("norm_pre", "ln_pre"), ("norm1", "ln_1"), ("norm2", "ln_2"), ("norm.", "ln_post.")]
    names += [("attn.qkv.", "attn.in_proj_"), ("attn.proj", "attn.out_proj")]
    names += [("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("patch_embed.proj", "conv1")]
    names += [("blocks.", "transformer.resblocks."), ("pos_embed", "positional_embedding")]
    names += [("cls_token", "class_embedding"), ("head.weight", "proj")]
    theirs = {}
    for name, value in state.items():
        for ours, their in names:
            name = name.replace(ours, their)
        theirs[f"visual.{name}"] = value
    theirs.pop("visual.head.bias")
    theirs["visual.proj"] = theirs["visual.proj"].T.contiguous()
    theirs["visual.class_embedding"] = theirs["visual.class_embedding"][0, 0]
    theirs["visual.positional_embedding"] = theirs["visual.positional_embedding"][0]
    theirs |= {"transformer.resblocks.0.ln_1.weight": torch.ones(3), "logit_scale": torch.ones(())}
    return {name: value.half() for name, value in theirs.items()}


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Write a TorchScript file of tensors, as OpenAI's files of CLIP are."""

    def write(state: dict[str, Tensor], **buffers: int) -> Path:
        path = tmp_path / "ViT-B-16.pt"
        torch.jit.save(torch.jit.script(holder(state, **buffers)), path)
        return path

    return write


pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # of torch.jit, which is to go
]


def test_tensors_are_those_that_torch_finds(archive: Callable[..., Path]) -> None:
    state = {"a.b.weight": torch.randn(3, 4).half(), "a.bias": torch.arange(5.0)}
    state["c"] = torch.randn(6, 2, dtype=torch.float64).T.contiguous()
    path = archive(state, input_resolution=224)
    found, expected = read_checkpoint(path), torch.jit.load(path).state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def test_openai_s_clip_loads_into_ours(archive: Callable[..., Path]) -> None:
    source = randomized(vit(SIZE, 32, 20))
    nn.init.zeros_(source.head.bias)
    path = archive(openai_names(source.state_dict()), input_resolution=32, vocab_size=9)
    model = vit(SIZE, 32, 20)
    report = load_weights(model, path, head_may_differ=False)
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.half().float()), name
    assert report.renamed["blocks.1.attn.qkv.weight"].endswith("resblocks.1.attn.in_proj_weight")
    assert report.filled == {"head.bias": "zeros, the projection to the texts' space has none"}
    assert {"logit_scale", "input_resolution"} < {*report.ignored}
    other = vit(ViTSize(**(vars(SIZE) | {"activation": "gelu"})), 32, 20)
    with pytest.raises(ValueError, match=r"set MODEL\.VIT\.ACTIVATION quick_gelu"):
        load_weights(other, path)


def test_text_of_the_error_names_what_it_is_not_called_for(archive: Callable[..., Path]) -> None:
    path = archive({"weight": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"holds no weights that this model knows.*weight"):
        load_weights(vit(SIZE, 32, 20), path)


class Bad:
    """Is pickled as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """Write the archive anew with another pickle."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    other = path.with_name("hostile.pt")
    with zipfile.ZipFile(other, "w") as new:
        for name, content in members.items():
            new.writestr(name, change(content) if name.endswith("/data.pkl") else content)
    return other


def test_a_hostile_pickle_is_refused_and_runs_nothing(
    archive: Callable[..., Path], tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    pickled = pickle.dumps({"weight": Bad(mark.touch)}, protocol=2)
    path = rewritten(archive({"weight": torch.zeros(3)}), lambda _: pickled)
    with pytest.raises(ValueError, match=r"not a readable checkpoint: .*Python object"):
        read_checkpoint(path)
    evaluated = pickle.dumps(Bad(eval, f"open({str(mark)!r}, 'w')"), protocol=2)
    with pytest.raises(ValueError, match=r"it holds a Python object, (builtins|__builtin__)\.eval"):
        read_checkpoint(rewritten(path, lambda _: evaluated))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"HalfStorage", b"QInt8Storage", "tensors of torch.QInt8Storage"),
        (b"HalfStorage", b"FloatStorage", "a tensor asks for 12 values; there are 6"),
        (b"K\x0c", b"K\x0d", "a tensor asks for 13 values; there are 12"),
        (b"K\x03K\x04", b"K\x03K\x05", "lies beyond its bytes"),
        (b"_rebuild_tensor_v2", b"_rebuild_qtensor\n#"[:16], "holds a Python object"),
        (b"ctorch._utils\n", b"cos\n", "holds a Python object, os."),
    ],
)
def test_a_pickle_that_asks_for_more_than_there_is_is_refused(
    old: bytes, new: bytes, reason: str, archive: Callable[..., Path]
) -> None:
    path = archive({"weight": torch.zeros(3, 4).half()})

    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    with pytest.raises(ValueError, match=r"hostile\.pt is not a readable checkpoint.*" + reason):
        read_checkpoint(rewritten(path, change))


def nested(depth: int) -> bytes:
    """Return a pickle of modules each of which holds the next one twice."""
    module, parts = b"c__torch__\nM\n)\x81", [b"\x80\x02", b"c__torch__\nM\n)\x81"]
    for level in range(depth):
        below = b"h" + bytes([level])
        held = b"}(X\x01\x00\x00\x00a" + below + b"X\x01\x00\x00\x00b" + below + b"ub"
        parts += [b"q" + bytes([level]), b"0", module, held]
    return b"".join(parts) + b"."


def test_modules_without_end_are_refused(archive: Callable[..., Path]) -> None:
    path = archive({"weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="its modules lie in each other without end"):
        read_checkpoint(rewritten(path, lambda _: nested(60)))


def test_a_cut_archive_is_refused(archive: Callable[..., Path]) -> None:
    path = archive({"weight": torch.zeros(300)})
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="cut short or of another kind"):
        read_checkpoint(path)
    at = content.index(b"\0" * 1000) + 100
    path.write_bytes(content[:at] + b"\1" + content[at + 1 :])
    with pytest.raises(ValueError, match="is damaged"):
        read_checkpoint(path)
