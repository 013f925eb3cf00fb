"""A longer run, guided by coverage: `python -m tests.fuzz --seconds 600 [--target NAME]`, or `--replay FILE`.

Needs atheris, which is not installed with the other tools: it has no package for every Python.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

KILL_AFTER_SECONDS = 300.0
"""Beyond its time: on a busy machine the instrumenting alone takes minutes."""

INSTALL = (
    "atheris is not installed, so nothing was fuzzed: "
    ".venv/bin/pip install --require-hashes --only-binary :all: --requirement tools/requirements/fuzz.txt"
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=300, help="for all targets together")
    parser.add_argument("--target", help="only this one")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the target once on this input")
    parser.add_argument("--child", metavar="CORPUS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return fuzz(options.target, options.child, options.seconds)
    from tests.fuzz.targets import SEEDS, TARGETS

    if options.target and options.target not in TARGETS:
        parser.error(f"no target {options.target}; there are {', '.join(TARGETS)}")
    if options.replay:
        if not options.target:
            parser.error("--replay needs --target")
        TARGETS[options.target](options.replay.read_bytes())
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(INSTALL)
        return 0
    names = [options.target] if options.target else list(TARGETS)
    found = [name for name in names if not run(name, SEEDS[name], max(1, options.seconds // len(names)))]
    print(f"{len(found)} of {len(names)} targets with findings" + (f": {', '.join(found)}" if found else ""))
    return 1 if found else 0


def run(name: str, seeds: tuple[bytes, ...], seconds: int) -> bool:
    """Fuzz a target in a process of its own; return whether all went well."""
    with tempfile.TemporaryDirectory(prefix="elastiq-corpus-") as corpus:
        for number, seed in enumerate(seeds):
            (Path(corpus) / f"seed-{number}").write_bytes(seed)
        command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--seconds", str(seconds), "--child", corpus]
        try:
            done = subprocess.run(command, capture_output=True, timeout=seconds + KILL_AFTER_SECONDS)
            status, said = done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            status, said = -1, "hangs"
    runs = [line for line in said.splitlines() if line.startswith("Done ")]
    print(f"{name:20} {runs[-1] if runs and status == 0 else 'FOUND SOMETHING'}", flush=True)
    if status != 0:
        traceback = said.find("=== Uncaught")
        print(said[traceback : traceback + 4000] if traceback >= 0 else "", said[-1500:], sep="\n")
    return status == 0


def fuzz(name: str, corpus: str, seconds: int) -> int:
    """Never returns: libFuzzer ends the process. A finding is written to a file crash-... in the working directory."""
    import atheris

    with atheris.instrument_imports(include=["elastiq", "botocore.parsers"]):
        from tests.fuzz.targets import TARGETS
    logging.disable(logging.CRITICAL)
    arguments = [sys.argv[0], corpus, f"-max_total_time={seconds}", "-max_len=20000", "-timeout=20", "-verbosity=1"]
    atheris.Setup(arguments, TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
