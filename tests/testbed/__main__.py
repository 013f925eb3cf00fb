"""`python -m tests.testbed rootfs | pool`: see `--help`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys

from tests.testbed.htcondor_pool import HtcondorPool
from tests.testbed.machines import Network
from tests.testbed.rootfs import JOB_USER, UnavailableError, rootfs


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description="A batch cluster on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rootfs", help="print the path of the root file system, built if need be")
    pool = commands.add_parser("pool", help="run an HTCondor pool until Ctrl-C, SIGTERM or the end of the parent")
    pool.add_argument("--workers", type=int, default=2, metavar="N", help="how many workers (default 2)")
    pool.add_argument("--worker-config", default="", metavar="TEXT", help="lines to add to the workers' configuration")
    pool.add_argument("--head-config", default="", metavar="TEXT", help="lines to add to the head node's configuration")
    arguments = parser.parse_args()
    try:
        if arguments.command == "rootfs":
            print(rootfs())
        else:
            _run_pool(arguments.workers, arguments.head_config, arguments.worker_config)
    except UnavailableError as reason:
        print(f"testbed: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _run_pool(workers: int, head_configuration: str, worker_configuration: str) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Network() as network:
        cluster = HtcondorPool(network, head_configuration, worker_configuration)
        machines = [
            cluster.start_worker(f"i-{number:017x}", f"10.77.1.{number}", cluster.substituted_user_data())
            for number in range(1, workers + 1)
        ]
        cluster.wait_joined(machine.name for machine in machines)
        print("The head node; put this before a command to run it there as root:")
        print(" ", shlex.join(cluster.head.enter))
        print(f"Submit jobs as {JOB_USER}: put `runuser -u {JOB_USER} --` after it. Workers likewise:")
        for machine in machines:
            print(f"  {machine.name} {machine.address}: {shlex.join(machine.enter)}")
        print(f"Logs: {network.directory}/*/log. Ctrl-C or SIGTERM to {os.getpid()} ends it all.", flush=True)
        parent = os.getppid()
        while os.getppid() == parent:
            signal.sigtimedwait([], 1)


if __name__ == "__main__":
    sys.exit(main())
