"""A model with what updating its weights takes: optimizer, precision, average, processes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from yacs.config import CfgNode

from engine.compiling import compile_blocks, has_norm_statistics, run_filled
from engine.distributed import World
from engine.moving_average import MovingAverage
from engine.mutual import models_by_prefix
from engine.parameter_groups import parameter_groups
from models.freezing import start_training

# From torch 2.14 on the old name warns.
_BUFFERS_OPTION = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel.__init__).parameters
    else "broadcast_buffers"
)


def build_learner(cfg: CfgNode, model: nn.Module, world: World) -> "Learner":
    """Build the learner of a config around a model on the process's device."""
    swa = cfg.TRAIN.SWA
    # Of a cycle the last epoch alone enters the mean: there the rate is lowest.
    swa_epochs = range(swa.START_EPOCH, cfg.TRAIN.EPOCHS + 1, max(swa.CYCLE_EPOCHS, 1))
    return Learner(
        model,
        build_optimizer(cfg, model),
        world,
        amp=cfg.TRAIN.AMP,
        compiles=cfg.TRAIN.COMPILE,
        ema_decay=cfg.TRAIN.EMA_DECAY,
        max_grad_norm=cfg.OPTIM.CLIP_GRAD_NORM,
        swa_epochs=swa_epochs if swa.START_EPOCH else range(0),
    )


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer over the groups of parameters that OPTIM.GROUPS names."""
    optim = cfg.OPTIM
    groups = [
        group
        for part in models_by_prefix(model).values()
        for group in parameter_groups(
            part,
            optim.GROUPS,
            optim.WEIGHT_DECAY,
            boosts_head=optim.BOOSTS_HEAD,
            is_flow=cfg.MODEL.TSM.MODALITY == "Flow",
            layer_decay=optim.LAYER_DECAY,
        )
    ]
    # one kernel a step; and under fp16 the host does not wait for what the scaler has found
    is_fused = True if next(model.parameters()).device.type == "cuda" else None
    if optim.NAME == "adamw":
        return torch.optim.AdamW(groups, optim.LR, betas=optim.BETAS, fused=is_fused)
    # The decay is added to the gradient, as in every published recipe; AdamW's is not, so that
    # OPTIM.WEIGHT_DECAY means something else to each of the two.
    return torch.optim.SGD(
        *(groups, optim.LR), momentum=optim.MOMENTUM, nesterov=optim.NESTEROV, fused=is_fused
    )


class Learner:
    """Accumulates gradients over batches and processes, and steps.

    Args:
        model: Model on the device of the process.
        optimizer: Optimizer of the model's parameters.
        world: Rank and device of this process, and the number of processes.
        amp: Precision: ``none``, ``auto``, ``bf16`` or ``fp16``.
        compiles: Whether the blocks of the model and its averages go through ``torch.compile``.
        ema_decay: Decay of the averaged weights, per step; 0 for no average.
        max_grad_norm: Largest global norm of a step's gradient; 0 for no limit.
        swa_epochs: Epochs, counted from 1, after which the weights enter the plain mean
            (arXiv:1803.05407); an empty range for no mean.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        world: World,
        amp: str = "none",
        compiles: bool = False,
        ema_decay: float = 0.0,
        max_grad_norm: float = 0.0,
        swa_epochs: range = range(0),
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.max_grad_norm = max_grad_norm or float("inf")
        self.amp_dtype = amp_dtype(amp, world.device)
        self.autocast = partial(autocast, amp, world.device)
        # fp16 alone needs it: bf16 has the range of float32.
        self.scaler = torch.amp.GradScaler(
            world.device.type, enabled=self.amp_dtype is torch.float16
        )
        # Averages are copies of the plain model: DDP does not know them, and each is compiled for
        # itself below.
        self.ema = MovingAverage(model, ema_decay) if ema_decay else None
        self.swa_epochs = swa_epochs
        self.averaged_epochs: list[int] = []
        self.swa = AveragedModel(model) if swa_epochs else None
        self.compiles, self._full_batch = compiles, 0
        averages = [average.module for average in (self.ema, self.swa) if average]
        for module in (model, *averages) if compiles else ():
            compile_blocks(module)
        self.is_parallel = world.has_group
        self.parallel: nn.Module = model
        if self.is_parallel:
            # other buffers than norms' statistics are constants
            buffers: dict[str, Any] = {_BUFFERS_OPTION: has_norm_statistics(model)}
            gpu = [world.device.index] if world.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(
                model,
                device_ids=gpu,
                # The gradients lie in what is sent, and not beside it: one copy of them less.
                gradient_as_bucket_view=True,
                **buffers,
            )

    @property
    def evaluated(self) -> nn.Module:
        """The model that is validated and kept as best: the averaged one where there is one."""
        return self.ema.module if self.ema else self.model

    def logits(self, clips: Tensor) -> Tensor:
        """Return the logits of clips, (B, K), of a pair (2, B, K), over all processes.

        What is compiled always sees as many clips as the largest batch so far.
        """
        self._full_batch = max(self._full_batch, len(clips))
        return run_filled(self.parallel, clips, self._full_batch if self.compiles else 0)

    @contextmanager
    def accumulating(self, is_last: bool) -> Iterator[None]:
        """Add up gradients in each process alone, except in the last batch before a step.

        Args:
            is_last: Whether a step follows: the processes then average gradients in the backward
                pass.
        """
        waits = self.is_parallel and not is_last
        with self.parallel.no_sync() if waits else nullcontext():  # type: ignore[operator]
            yield

    def backward(self, loss: Tensor, share: float) -> None:
        """Add the gradient of a batch's mean loss, weighed by its share of the step."""
        # Without fp16 `scale` returns the loss as it is.
        self.scaler.scale(loss * share).backward()

    def accumulate_nothing(self, shape: Sequence[int], is_last: bool) -> None:
        """Take part in a batch of which this process has no clip: the others wait for it.

        A black clip goes through the model, which does not learn from it, and its gradient is zero.

        Args:
            shape: Shape of a clip, (T, 3, H, W).
            is_last: Whether a step follows, as for `accumulating`.
        """
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()  # it keeps its statistics
        clips = torch.zeros(1, *shape, device=next(self.model.parameters()).device)
        with self.accumulating(is_last):
            with self.autocast():
                logits = self.logits(clips)
            # DDP waits for the gradient of every parameter from every process, be it zero.
            self.backward(0 * logits.float().sum(), share=1.0)
        start_training(self.model)

    def step(self) -> Tensor:
        """Update the weights by the gradients added up; return their norm before the limit."""
        # First, since the limit (1.0 in the recipes) is on true gradients; and on those of the
        # whole step, as released, not of each batch.
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.max_grad_norm)
        # Leaves the step out where fp16 has overflowed; then the norm is not finite, either.
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.drop_gradients()
        if self.ema:
            self.ema.update(self.model)
        return norm

    def drop_gradients(self) -> None:
        """Forget the gradients added up since the last step."""
        # None, not zero: decay and momentum must not move a parameter that took no part.
        self.optimizer.zero_grad(set_to_none=True)

    def not_finite(self) -> str:
        """Name a tensor of the weights, the optimizer or an average that is not finite; else ""."""
        for name, tensor in self._kept_tensors():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                number = int((~tensor.isfinite()).sum())
                return f"{number} of {tensor.numel()} values of {name} are not finite"
        return ""

    def _lay_out_momentum(self) -> None:
        """Lay out what the optimizer keeps as its parameters: fused kernels take nothing else."""
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    like = torch.empty_like(parameter, dtype=value.dtype)
                    state[key] = like.copy_(value)

    def _kept_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.model.state_dict().items()
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        for parameter, state in self.optimizer.state.items():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    yield f"{names[id(parameter)]} ({key} of the optimizer)", value
        for kind, average in (("EMA", self.ema), ("SWA", self.swa)):
            for name, tensor in average.module.state_dict().items() if average else ():
                yield f"{name} ({kind})", tensor

    def end_epoch(self, num_epochs: int) -> None:
        """Let the weights enter the plain mean where it takes them after so many epochs."""
        if self.swa and num_epochs in self.swa_epochs:
            self.swa.update_parameters(self.model)
            self.averaged_epochs.append(num_epochs)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of every group, times its factor where it has one."""
        for group in self.optimizer.param_groups:
            # So the TSM release has it: its head learns 5 times as fast at every rate of the
            # schedule.
            group["lr"] = rate * group.get("lr_mult", 1)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the learner."""
        state: dict[str, Any] = {
            "state_dict": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self.ema:
            state["ema"] = self.ema.module.state_dict()
            state["ema_steps"] = self.ema.num_steps
        if self.swa and self.averaged_epochs:
            state["swa"] = self.swa.module.state_dict()
            state["swa_epochs"] = [*self.averaged_epochs]
        return state

    def load_state(self, momentum: dict[int, Any], content: dict[str, Any]) -> None:
        """Take up a checkpoint; the weights themselves are loaded before.

        Args:
            momentum: State of the optimizer. Its settings stay those of the config.
            content: The checkpoint; ``scaler`` and the averages may be missing from it.

        Raises:
            ValueError: The optimizer of the checkpoint was of another kind.
        """
        kept = {key for state in momentum.values() for key in state}
        if kept and ("exp_avg" in kept) != isinstance(self.optimizer, torch.optim.AdamW):
            raise ValueError(
                f"the checkpoint holds {sorted(kept)} of another optimizer than OPTIM.NAME's, "
                f"{type(self.optimizer).__name__}; go on with that, or start anew by --tune_from"
            )
        # Of the config, as released: a rate or a decay that was changed takes effect in a resumed
        # run.
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": momentum, "param_groups": groups})
        self._lay_out_momentum()
        if content.get("scaler"):
            self.scaler.load_state_dict(content["scaler"])
        if self.ema:
            # A run that switches EMA on begins its average with the weights that it has got.
            average = content.get("ema") or self.model.state_dict()
            self.ema.module.load_state_dict(average)
            self.ema.num_steps = content.get("ema_steps", 0)
        if self.swa and content.get("swa"):
            self.swa.module.load_state_dict(content["swa"])
            self.averaged_epochs = [*content["swa_epochs"]]
            # The next weights are weighed by it, and it is not among those of the mean's module.
            self.swa.n_averaged.fill_(len(self.averaged_epochs))


def autocast(amp: str, device: torch.device) -> torch.autocast:
    """Return the context of a forward pass; see `amp_dtype`."""
    dtype = amp_dtype(amp, device)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def amp_dtype(amp: str, device: torch.device) -> torch.dtype | None:
    """Return the type that autocast computes in; None for float32 throughout.

    Raises:
        ValueError: fp16 is asked for on the CPU, whose kernels lack it.
    """
    if amp == "fp16" and device.type == "cpu":
        raise ValueError("TRAIN.AMP fp16 needs a GPU; on the CPU choose bf16 or none")
    if amp == "auto":
        # bf16 needs no loss scale. Where a GPU only emulates it, it is slower than fp16.
        has_bf16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        amp = "bf16" if has_bf16 else "fp16"
    return {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}[amp]
