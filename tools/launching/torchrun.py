"""torchrun without its report: the processes have said themselves what was wrong.

Takes torchrun's arguments. Exits with the status of the process that failed first; says something
only of one that was ended from outside, which could not.
"""

import logging
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main(argv: list[str]) -> int:
    """Run torchrun and return the exit status."""
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
