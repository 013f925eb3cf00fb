"""`python -m tests.testbed rootfs | pool | openstack`: see `--help`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys

from tests.testbed.htcondor_pool import HtcondorPool
from tests.testbed.machines import Network
from tests.testbed.openstack.cloud import REGION, OpenStack
from tests.testbed.openstack.set_up import QUOTA, layers
from tests.testbed.rootfs import JOB_USER, UnavailableError, rootfs


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description="A cluster or a cloud on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rootfs", help="print the path of the root file system, built if need be")
    pool = commands.add_parser("pool", help="run an HTCondor pool until Ctrl-C, SIGTERM or the end of the parent")
    pool.add_argument("--workers", type=int, default=2, metavar="N", help="how many workers (default 2)")
    pool.add_argument("--worker-config", default="", metavar="TEXT", help="lines to add to the workers' configuration")
    pool.add_argument("--head-config", default="", metavar="TEXT", help="lines to add to the head node's configuration")
    cloud = commands.add_parser("openstack", help="run an OpenStack until Ctrl-C, SIGTERM or the end of the parent")
    cloud.add_argument("--build-only", action="store_true", help="only make what it is started from, if need be")
    cloud.add_argument("--quota", type=int, default=QUOTA, metavar="N", help=f"of instances (default {QUOTA})")
    arguments = parser.parse_args()
    try:
        if arguments.command == "rootfs":
            print(rootfs())
        elif arguments.command == "openstack":
            _run_openstack(arguments.quota, arguments.build_only)
        else:
            _run_pool(arguments.workers, arguments.head_config, arguments.worker_config)
    except UnavailableError as reason:
        print(f"testbed: {reason}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _run_openstack(quota: int, build_only: bool) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if build_only:
        print(*layers(), sep="\n")
        return
    with OpenStack() as cloud:
        cloud.set_quota(quota)
        known = cloud.facts
        print("The section [ec2] of a project with a quota of", quota, "instances:")
        print(f"  api_url = {cloud.url}\n  region = {REGION}\n  image_id = {known.image_id}")
        print(f"  flavour = {known.flavours[0]}\n  key_name = {known.key_name}")
        print(f"  aws_access_key_id = {known.access_key}\n  aws_secret_access_key = {known.secret_key}")
        print(f"Other flavours: {', '.join(known.flavours[1:])} (that one fits nowhere). Keys of another project:")
        print(f"  {known.other_access_key} {known.other_secret_key}")
        print(f"nova: {cloud.nova_url}  keystone: {cloud.keystone_url}  logs: {cloud.system.root}/var/log/openstack")
        _wait_for_the_end()


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
        print(f"Logs: {network.directory}/*/log.")
        _wait_for_the_end()


def _wait_for_the_end() -> None:
    print(f"Ctrl-C or SIGTERM to {os.getpid()} ends it all.", flush=True)
    parent = os.getppid()
    while os.getppid() == parent:
        signal.sigtimedwait([], 1)


if __name__ == "__main__":
    sys.exit(main())
