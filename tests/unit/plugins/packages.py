"""Packages of others with a plugin: a good one, and broken ones."""

from __future__ import annotations

from pathlib import Path

GOOD = """
class Batch:
    def __init__(self, settings): self.name = settings.elastiq.batch_plugin
    def demand(self): return ()
    def workers(self): return ()
    def close(self, worker): raise NotImplementedError
    def reopen(self, worker): pass
    def forget(self, worker): pass
    def check(self): return "here"
def create(settings): return Batch(settings)
"""

OPTIONS = """
from dataclasses import dataclass
from elastiq.config import option
from elastiq.errors import ConfigError

@dataclass(frozen=True)
class Options:
    timeout_s: float = option(30.0, "How long.", minimum=1, maximum=3600)
    queues: tuple[str, ...] = option((), "Which queues.")
    token: str = option("", "The key to them.", secret=True)

def create(settings):
    options = settings.of(Options)
    if options.queues == ("none",):
        raise ConfigError(["[toy] queues: there is no queue none"])
    batch = Batch(settings)
    batch.check = lambda: f"asked for {options.timeout_s} s: {options.queues}, by the key {options.token}"
    return batch
"""
"""After GOOD it has options of its own."""


class Packages:
    """A directory of installed packages, on the path of this test alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def module(self, name: str, text: str) -> None:
        (self.directory / f"{name}.py").write_text(text)

    def install(self, distribution: str, entry_points: str) -> None:
        """Write what pip writes when it installs a wheel."""
        information = self.directory / f"{distribution.replace('-', '_')}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(entry_points)


BROKEN = {
    "syntax": ("def create(:\n", r"SyntaxError .*\(.*toy\.py, line 1\)"),
    "import": ("import no_such_library\n", r"ModuleNotFoundError .*no_such_library.*toy\.py, line 1\)"),
    "name": ("\nimport os\nfrom os import nonsense\n", r"ImportError .*nonsense.*toy\.py, line 3\)"),
    "raise": ("class Odd(Exception): pass\nraise Odd('two\\nlines')\n", r"Odd .*toy\.py, line 2\)"),
    "exit": ("import sys\nsys.exit('no')\n", r"SystemExit 'no' .*toy\.py, line 2\)"),
    "unprintable": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd()\n",
        r"Odd .*toy\.py, line 3\)",
    ),
    "long": ("raise ValueError('x' * 100_000)\n", r"ValueError 'x{100,200}' \("),
    "recursion": ("def f(): f()\nf()\n", r"RecursionError"),
    "assertion": ("assert 1 == 2\n", r"AssertionError \("),
}
