"""`python -m tests.testbed rootfs`: print the path of the root file system, built if need be."""

from __future__ import annotations

import argparse
import sys

from tests.testbed.rootfs import UnavailableError, rootfs


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description="A batch cluster on one machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("rootfs", help="print the path of the root file system, built if need be")
    parser.parse_args()
    try:
        print(rootfs())
    except UnavailableError as reason:
        print(f"testbed: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
