"""torchrun without its report: the processes have said themselves what was wrong.

Takes torchrun's arguments. A fault in the command line or the config of the main script is told
before any process starts. Exits with the status of the process that failed first; says something
only of one that was ended from outside, which could not.
"""

import logging
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from config.command_line import check_command_line

MAIN_SCRIPT = "main_ddp_shift.py"


def main(argv: list[str]) -> int:
    """Run torchrun and return the exit status."""
    if MAIN_SCRIPT in argv:
        check_command_line(argv[argv.index(MAIN_SCRIPT) + 1 :])
    # here, since torch takes seconds to import
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run.main(argv)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            sys.stderr.write(
                f"error: process {rank} was ended by signal {-failure.exitcode} "
                f"({failure.signal_name()}); out of memory, perhaps\n"
            )
            return 128 - failure.exitcode
        return failure.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
