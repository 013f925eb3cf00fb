#!/usr/bin/env python3
"""Run elastiq in the foreground."""

import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
if (CHECKOUT / "elastiq" / "cli.py").is_file():
    sys.path.insert(0, str(CHECKOUT))

from elastiq.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
