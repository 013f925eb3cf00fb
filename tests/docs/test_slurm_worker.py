"""docs/examples/slurm-worker.sh: what it makes of the VM that it finds; the rest of it runs on the testbed."""

from __future__ import annotations

import re
from pathlib import Path

from elastiq.command import run

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "slurm-worker.sh"
FOUND = (
    b"NodeName=ip-10-0-0-7 CPUs=4 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=2 RealMemory=15741\n"
    b"UpTime=0-00:01:40\n"
)


def test_every_hyperthread_is_a_cpu_of_its_own() -> None:
    """With cores and threads Slurm gives each job whole cores: half of the jobs that elastiq reckons with fit."""
    (program,) = re.findall(r"\$\(slurmd -C \| awk '(.+?)'\)", EXAMPLE.read_text(encoding="utf-8"), re.DOTALL)
    assert run(["awk", program], 60, input_bytes=FOUND).split() == ["CPUs=4", "RealMemory=14953"]
