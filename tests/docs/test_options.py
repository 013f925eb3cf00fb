"""The manual page, the example file, the reference and `--check` know the same options, and the table has no others."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from elastiq.config import DOCUMENTED
from elastiq.config.options import Option
from elastiq.plugins.sections import SECTIONS as PLUGINS
from tests.docs.blocks import TOP

REAL = [sys.executable, str(TOP / "scripts/elastiq-real.py")]
OPTIONS = [option for section in (*DOCUMENTED, *PLUGINS) for option in section.options]
TABLE = sorted(option.title for option in OPTIONS)
LONG = 120
"""Seconds; a bound against hangs."""


def titles(path: str, section: str, option: str) -> list[str]:
    """Return the options that a file names, by the patterns of its headings, in order of the alphabet."""
    found, where = [], ""
    for line in (TOP / path).read_text(encoding="utf-8").splitlines():
        heading, name = re.match(section, line), re.match(option, line)
        if heading:
            where = heading[1]
        elif name and where:
            found.append(f"[{where}] {name[1]}")
    return sorted(found)


def test_manual_page_example_and_reference_agree_with_the_table() -> None:
    assert titles("docs/man/elastiq.conf.5", r"\.SH \[([\w ]+)\]", r"\.BR (\w+) \"") == TABLE
    assert titles("elastiq.conf.example", r"#?\[([\w ]+)\]", r"#?(\w+) =") == TABLE
    assert titles("docs/configuration.md", r"## \[([\w ]+)\]", r"\| `(\w+)` \|") == TABLE


def check(path: Path, text: str) -> subprocess.CompletedProcess[str]:
    path.write_text(text)
    path.chmod(0o600)
    words = [*REAL, f"--config={path}", "--check"]
    return subprocess.run(words, capture_output=True, text=True, timeout=LONG, env={"HOME": str(path.parent)})


def in_the_example(*options: Option) -> str:
    """Return the example with these options no longer commented out, and with an image."""
    text = (TOP / "elastiq.conf.example").read_text(encoding="utf-8")
    for option in options:
        text = re.sub(rf"^#{option.name} =", f"{option.name} =", text, flags=re.MULTILINE)
    text = re.sub(r"^#\[", "[", text, flags=re.MULTILINE)
    return re.sub(r"^image_id =.*", "image_id = ami-1a2b3c4d", text, flags=re.MULTILINE)


def test_check_takes_the_example_with_all_its_options(tmp_path: Path) -> None:
    """But zones and webhook_file, which say the same as subnets and webhook in another way."""
    text = in_the_example(*(one for one in OPTIONS if one.name not in ("zones", "webhook_file")))
    text = re.sub("/usr/local/bin/tell-us|/usr/sbin/sendmail", "/bin/true", text)  # they need not be here
    done = check(tmp_path / "elastiq.conf", text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("the configuration is good\n")


def test_check_knows_every_option_by_its_name_alone(tmp_path: Path) -> None:
    text = re.sub(r"^(\w+) =", r"\1x =", in_the_example(*OPTIONS), flags=re.MULTILINE)
    done = check(tmp_path / "elastiq.conf", text)
    assert done.returncode == 2
    unknown = re.findall(r"(\[[\w ]+\] \w+)x: unknown option", done.stderr)
    assert sorted(unknown) == TABLE


@pytest.mark.skipif(not shutil.which("bash"), reason="there is no bash here to complete commands")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (
            ["elastiqctl", ""],
            [
                *(
                    "start",
                    "stop",
                    "status",
                    "restart",
                    "check",
                    "retry",
                    "why",
                    "plan",
                    "vms",
                    "jobs",
                    "history",
                    "cost",
                    "top",
                    "page",
                    "notify-test",
                    "simulate",
                ),
                *("log", "conf", "help"),
            ],
        ),
        (["elastiqctl", "why", "--"], ["--json"]),
        (["elastiqctl", "plan", ""], ["--json"]),
        (["elastiqctl", "simulate", "--b"], ["--boot"]),
        (["elastiqctl", "simulate", "/etc/pass"], ["/etc/passwd"]),
        (["elastiqctl", "st"], ["start", "stop", "status"]),
        (["elastiqctl", "start", ""], []),
        (["elastiqctl", "--"], ["--help", "--version"]),
        (["elastiq-real.py", "--c"], ["--config=", "--check", "--cloud"]),
        (["elastiqctl", "check", "--c"], ["--cloud"]),
        (["elastiq-real.py", "--config", "=", "/etc/pass"], ["/etc/passwd"]),
        (["elastiq-real.py", "--logdir", "=", "/et"], ["/etc"]),
    ],
)
def test_bash_completes(typed: list[str], offered: list[str]) -> None:
    function = {"elastiqctl": "_elastiqctl", "elastiq-real.py": "_elastiq_real"}[typed[0]]
    script = (
        'source "$1"; shift; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        f'{function}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    words = ["bash", "-uc", script, "bash", str(TOP / "etc/elastiqctl.bash-completion"), *typed]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG)
    assert done.stderr == ""
    assert set(offered) <= set(done.stdout.split()) if "/" in typed[-1] else done.stdout.split() == offered
