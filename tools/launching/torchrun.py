"""Starts the processes of a run, with torchrun's arguments, and says no more than they do.

A fault in the command line or the config of the main script is told before any process starts.
Signals that ask to stop are handed on, and the processes get STOP_GRACE_SECONDS to save and end.
Exits with the status of the process that failed first, or with 128 + the signal.
"""

import argparse
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from engine.forwarding import Forwarding
from engine.parent import LAUNCHER
from engine.ports import STORE_FD
from tools.launching.host_processes import HostProcesses, say
from tools.launching.hosts import Meeting, Place, meet

MAIN_SCRIPT = "main_ddp_shift.py"
RENDEZVOUS_FACTOR = 3  # hosts come later than processes: they boot, and may make an environment
GRACE_SECONDS = 600.0  # a scheduler that has less time kills by itself


def main(argv: list[str]) -> int:
    """Run a script in several processes and return the exit status."""
    args = parse_args(argv)
    command = [sys.executable, "-u", args.script, *args.words]
    processes = HostProcesses(command, args.grace_seconds)
    with Forwarding(processes.pids) as forwarding:
        try:
            return run(args, processes, forwarding)
        except ValueError as error:
            say(f"error: {error}")
            return 1


def parse_args(argv: list[str]) -> argparse.Namespace:
    """Read torchrun's arguments; some have their values from the environment."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    add, env = parser.add_argument, os.environ
    add("--standalone", action="store_true", help="one host, which is what holds without --nnodes")
    add("--nproc-per-node", "--nproc_per_node", type=_positive, default=1, help="processes here")
    add("--nnodes", type=_positive, default=1, help="number of hosts")
    add("--node-rank", "--node_rank", type=int, default=env.get("NODE_RANK", "-1"))
    add("--rdzv-backend", "--rdzv_backend", choices=["c10d", "static"], help="has no effect")
    add("--rdzv-endpoint", "--rdzv_endpoint", default="", help="HOST:PORT of the first host")
    add("--rdzv-id", "--rdzv_id", default="", help="name of the run")
    add("--max-restarts", "--max_restarts", type=int, default=env.get("MAX_RESTARTS", "0"))
    seconds = env.get("STOP_GRACE_SECONDS", str(GRACE_SECONDS))
    add("--grace-seconds", type=float, default=seconds, help="to end in after a signal")
    add("script")
    add("words", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    if args.nnodes > 1 and not args.rdzv_endpoint:
        parser.error("--nnodes needs --rdzv-endpoint HOST:PORT")
    return args


def run(args: argparse.Namespace, processes: HostProcesses, forwarding: Forwarding) -> int:
    """Run the processes of this host, again if they fail and that is asked for.

    Raises:
        ValueError: The hosts of the run do not find each other.
    """
    minutes = RENDEZVOUS_FACTOR * _timeout_minutes(args)
    hosts = meet(_meeting(args, minutes), args.nproc_per_node)
    for attempt in range(args.max_restarts + 1):
        place = hosts.begin()
        environments = dict(_environments(args, place, attempt, hosts.store))
        with forwarding.starting():
            processes.start(environments, hosts.store)
        hosts.started()
        status = processes.wait(forwarding)
        has_restart = attempt < args.max_restarts and not forwarding.received
        if not hosts.end(status, has_restart):
            break
        say(f"restart {attempt + 1} of {args.max_restarts} (MAX_RESTARTS)")
    return forwarding.status(status)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _timeout_minutes(args: argparse.Namespace) -> float:
    """Check the command line of the main script; return the silence that its config admits."""
    from config.command_line import check_command_line  # here: the signals are taken over by now
    from config.defaults import get_defaults

    cfg = check_command_line(args.words) if Path(args.script).name == MAIN_SCRIPT else None
    return (cfg or get_defaults()).TRAIN.TIMEOUT_MINUTES


def _meeting(args: argparse.Namespace, minutes: float) -> Meeting:
    if args.nnodes == 1:
        return Meeting(minutes=minutes)
    host, _, port = args.rdzv_endpoint.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError(f"{args.rdzv_endpoint}: it must be MASTER_ADDR:MASTER_PORT, HOST:PORT")
    job, node = args.rdzv_id, args.node_rank
    return Meeting(args.nnodes, host.strip("[]"), int(port), job, node, minutes)


def _environments(
    args: argparse.Namespace, place: Place, attempt: int, store: socket.socket | None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield rank and environment of each process of this host, as torchrun has it."""
    num_here = args.nproc_per_node
    common = {
        "WORLD_SIZE": str(place.size),
        "LOCAL_WORLD_SIZE": str(num_here),
        "GROUP_RANK": str(place.node),
        "MASTER_ADDR": place.host,
        "MASTER_PORT": str(place.port),
        "TORCHELASTIC_RESTART_COUNT": str(attempt),
        "TORCHELASTIC_MAX_RESTARTS": str(args.max_restarts),
        # a peer that is gone makes torch write a page of C++ frames
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        LAUNCHER: str(os.getpid()),
    }
    if num_here > 1:
        common["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", "1")
    for local_rank in range(num_here):
        rank = place.first_rank + local_rank
        own = {"RANK": str(rank), "LOCAL_RANK": str(local_rank)}
        if store and rank == 0:
            own[STORE_FD] = str(store.fileno())
        yield rank, common | own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
