"""Which deliberate breaks of the daemon the simulator notices, and how soon: `python -m tests.sim`."""

from __future__ import annotations

import logging
import multiprocessing
import sys

from tests.sim.test_mutants import MUTANTS, first_violation


def main() -> int:
    """Print a line for each break; return 1 if one is not noticed as it should be."""
    noticed = 0
    with multiprocessing.Pool(initializer=logging.disable, initargs=(logging.CRITICAL,)) as pool:
        for number, (life, violation) in enumerate(pool.imap(first_violation, range(len(MUTANTS)))):
            promise, mutant, noticed_by, _ = MUTANTS[number]
            name = mutant.__name__.replace("_", " ")
            is_right = violation.split(":")[0] in noticed_by.split("|")
            noticed += is_right
            how = f"life {life + 1}: {violation}" if violation else "not noticed"
            print(f"promise {promise}: {name:50} {how}{'' if is_right else ' (wrong)'}", flush=True)
    print(f"\n{noticed} of {len(MUTANTS)} deliberate breaks noticed")
    return 0 if noticed == len(MUTANTS) else 1


if __name__ == "__main__":
    sys.exit(main())
