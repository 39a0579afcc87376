"""Processes: how they start, find each other and combine what they know."""

import argparse
import datetime
import logging
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from engine.forwarding import Forwarding
from engine.links import Peer, gather_links, join_links
from engine.parent import LAUNCHER, end_with_parent
from engine.rendezvous import open_store, read_address
from engine.watch import Watch

_log = logging.getLogger(__name__)

# Of a collective: rank 0 may write and test as long as it likes. What hangs, the watch ends.
_COLLECTIVE_TIMEOUT = datetime.timedelta(days=1)
_NO_WAY = (
    "the processes reach process 0, but not each other: GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME "
    "name the network that joins the hosts, as eth0"
)


@dataclass(frozen=True)
class World:
    """Rank and device of this process, and the number of processes.

    Attributes:
        rank: Number of this process, 0-based, over all hosts.
        size: Number of processes.
        local_rank: Number of this process on its host; picks the GPU.
        device: Device that this process computes on.
        is_launched: Whether a process group is up, if only of this process.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device
    is_launched: bool = False

    @property
    def has_group(self) -> bool:
        """Whether there is a process group; with one process it exercises DDP and its backend."""
        return self.is_launched or self.size > 1

    @property
    def is_main(self) -> bool:
        """Whether this process keeps the records."""
        return self.rank == 0


@dataclass(frozen=True)
class LaunchOptions:
    """The released flags that say which processes there are.

    Attributes:
        spawn: Whether to start one process for each GPU of this host (``--multiprocessing-
            distributed``).
        world_size: Number of hosts with spawn, otherwise of processes; -1 = one.
        rank: Number of this host or process; -1 = 0.
        url: Address of the group, ``tcp://HOST:PORT`` or ``env://``; empty = a free port of this
            host.
        backend: Name of the backend, ``nccl`` or ``gloo``; empty = what suits the device.
        gpu: Index of the GPU to use, if not that of the local rank.
        minutes: Silence of a process that counts as its end, minutes.
    """

    spawn: bool = False
    world_size: int = -1
    rank: int = -1
    url: str = ""
    backend: str = ""
    gpu: int | None = None
    minutes: float = 10.0


def launch_options(args: argparse.Namespace, minutes: float = 10.0) -> LaunchOptions:
    """Return what the released flags of a command line say of the processes.

    Args:
        args: Parsed command line.
        minutes: Silence of a process that counts as its end, minutes.
    """
    return LaunchOptions(
        spawn=args.multiprocessing_distributed,
        world_size=args.world_size,
        rank=args.rank,
        url=args.dist_url,
        backend=args.dist_backend,
        gpu=args.gpu,
        minutes=minutes,
    )


def launch(run: Callable[..., None], options: LaunchOptions, *args: Any) -> None:
    """Call ``run(world, *args)`` in every process of this host, with the process group up.

    Under a launcher its environment decides and the options are ignored. A process of several that
    fails ends here, and the others with it, see `engine.watch`.

    Raises:
        ValueError: The options cannot work together or on this machine, or a process does not come.
    """
    if LAUNCHER in os.environ:
        end_with_parent(int(os.environ[LAUNCHER]))
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and "LOCAL_RANK" in os.environ:
        rank, size, local_rank = (int(os.environ[k]) for k in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        options = replace(options, gpu=None)  # the local rank picks it
        _run_in_group(local_rank, run, rank, size, "env://", options, args)
    elif options.spawn:
        _spawn(run, options, args)
    elif options.world_size > 1:
        rank = _rank_or_environment(options)
        if not options.url:
            raise ValueError("--world-size above 1 needs --dist-url tcp://HOST:PORT of rank 0")
        local_rank = options.gpu if options.gpu is not None else 0
        _run_in_group(local_rank, run, rank, options.world_size, options.url, options, args)
    else:
        run(World(rank=0, size=1, local_rank=0, device=_device(0, options)), *args)


def all_reduce_sum(tensor: Tensor) -> Tensor:
    """Add up a tensor over all processes, in place; nothing to do in a single one."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def gather_objects(item: Any, world: World) -> list[Any] | None:
    """Collect an object of each process on rank 0, in order of rank; None elsewhere."""
    if world.size == 1:
        return [item]
    gathered = [None] * world.size if world.is_main else None
    dist.gather_object(item, gathered, dst=0)
    return gathered


def decided_by_main(decide: Callable[[], Any], world: World) -> Any:
    """Return in every process what a function returns on rank 0; an error is raised in all.

    Raises:
        ValueError: The function raised one.
    """
    answer: list[Any] = [None, None]
    if world.is_main:
        try:
            answer = [decide(), None]
        except ValueError as error:
            answer = [None, str(error)]
    if world.size > 1:
        dist.broadcast_object_list(answer, src=0)
    if answer[1] is not None:
        raise ValueError(answer[1])
    return answer[0]


def broadcast_buffers(module: nn.Module) -> None:
    """Give every process rank 0's buffers (norms' statistics), which a checkpoint keeps."""
    if dist.is_initialized():
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def barrier() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def _spawn(run: Callable[..., None], options: LaunchOptions, args: tuple[Any, ...]) -> None:
    per_host = max(torch.cuda.device_count(), 1)
    hosts, host = max(options.world_size, 1), max(options.rank, 0)
    if hosts > 1 and not options.url:
        raise ValueError("several hosts need --dist-url tcp://HOST:PORT of the first one")
    url = options.url or f"tcp://127.0.0.1:{_free_port()}"
    shared = (run, host * per_host, hosts * per_host, url, options, args, os.getpid())
    with Forwarding(lambda: [child.pid or 0 for child in mp.active_children()]) as forwarding:
        try:
            with forwarding.starting():
                context = mp.spawn(_run_spawned, args=shared, nprocs=per_host, join=False)
            while not context.join():
                pass
        except mp.ProcessExitedException as error:  # the process has said why, if it could
            if error.exit_code < 0 and not forwarding.received:
                _log.error("error: %s; out of memory, perhaps", error)
            sys.exit(forwarding.status(error.exit_code))


def _run_spawned(
    local_rank: int,
    run: Callable[..., None],
    first_rank: int,
    size: int,
    url: str,
    options: LaunchOptions,
    args: tuple[Any, ...],
    parent: int,
) -> None:
    os.environ["RANK"] = str(first_rank + local_rank)  # for who asks before the group is up
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which hands it on
    end_with_parent(parent)
    _run_in_group(local_rank, run, first_rank + local_rank, size, url, options, args)


def _run_in_group(
    local_rank: int,
    run: Callable[..., None],
    rank: int,
    size: int,
    url: str,
    options: LaunchOptions,
    args: tuple[Any, ...],
) -> None:
    device = _device(local_rank, options, size)
    if device.type == "mps":  # no backend has collectives there
        run(World(rank, size, local_rank, device), *args)
        return
    address, me = read_address(url), Peer(rank, socket.gethostname())
    # a group that starts again must not find the addresses of the last one
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = dist.PrefixStore(f"attempt {attempt}", open_store(address, rank, size, options.minutes))
    if rank == 0:
        links = gather_links(me, size, address.host, store, options.minutes)
    else:
        links = join_links(me, store, options.minutes)
    # tensors on the GPU travel by NCCL, objects and what lies on the CPU by gloo
    backend = "gloo" if device.type == "cpu" else f"cpu:gloo,cuda:{options.backend or 'nccl'}"
    with Watch(me, links, local_rank, options.minutes) as watch:
        with watch.limited(_NO_WAY):
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=size, timeout=_COLLECTIVE_TIMEOUT
            )
            dist.barrier()
        run(World(rank, size, local_rank, device, is_launched=True), *args)
    dist.destroy_process_group()  # only here: under NCCL it waits for the others


def _device(local_rank: int, options: LaunchOptions, size: int = 1) -> torch.device:
    if not torch.cuda.is_available():
        if options.gpu is not None:
            raise ValueError(f"--gpu {options.gpu}: this host has no CUDA GPU; leave it out")
        if options.backend == "nccl":
            _log.warning("--dist-backend nccl needs GPUs and none is there: using gloo")
        return _device_without_cuda(size)
    index = local_rank if options.gpu is None or options.spawn else options.gpu
    if index >= torch.cuda.device_count():
        raise ValueError(f"GPU {index} asked for, this host has {torch.cuda.device_count()}")
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


def _device_without_cuda(size: int) -> torch.device:
    """Return Apple's GPU for one process; the CPU for several: that GPU has no collectives."""
    if not torch.backends.mps.is_available():
        return torch.device("cpu")
    if size > 1:
        _log.warning("%d processes cannot share the GPU of a Mac and run on its CPU", size)
        return torch.device("cpu")
    _log.warning("running on Apple's GPU (mps), which was never tested; CPU: PROCESSES=2")
    return torch.device("mps")


def _rank_or_environment(options: LaunchOptions) -> int:
    if options.rank < 0 and "RANK" not in os.environ:
        raise ValueError("--world-size above 1 needs --rank, or RANK in the environment")
    return options.rank if options.rank >= 0 else int(os.environ["RANK"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
