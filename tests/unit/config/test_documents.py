"""The example, the manual page and the reference are those of the declared options."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from elastiq.config import documents
from elastiq.errors import ConfigError
from tests.unit.config.rig import ALL, OPTIONS, loaded

TOP = Path(__file__).parents[3]


def test_files_in_the_tree_are_those_of_the_table() -> None:
    advice = (
        "run: python -m elastiq.config example > elastiq.conf.example; same with man > docs/man/elastiq.conf.5 "
        "and reference > docs/configuration.md"
    )
    assert (TOP / "elastiq.conf.example").read_text() == documents.example(ALL), advice
    assert (TOP / "docs/man/elastiq.conf.5").read_text() == documents.manual_page(ALL), advice
    assert (TOP / "docs/configuration.md").read_text() == documents.reference(ALL), advice


def test_example_lacks_nothing_but_the_image(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, documents.example(ALL))
    assert [problem.split(": ", 2)[1] for problem in caught.value.problems] == ["[ec2] image_id"]
    filled = (
        documents.example(ALL)
        .replace("image_id =", "image_id = ami-1a2b3c4d")
        .replace("#region =", "region = eu-west-1")
    )
    made = loaded(tmp_path, filled)
    assert made.warnings == ()
    assert (made.elastiq.policy, made.elastiq.waiting_jobs_time_s) == ("adaptive", 0.0)


def test_example_names_every_option_and_all_may_be_uncommented(tmp_path: Path) -> None:
    """But zones and webhook_file, which say the same as subnets and webhook in another way."""
    lines = documents.example(ALL).splitlines()
    for option in OPTIONS:
        assert any(line.lstrip("#").startswith(f"{option.name} =") for line in lines), option.name
        assert option.name in documents.manual_page(ALL)
    text = "\n".join(line[1:] if re.match(r"#(?!zones|webhook_file)[a-z\[]", line) else line for line in lines)
    text = re.sub(
        "/usr/local/bin/tell-us|/usr/sbin/sendmail|/usr/bin/condor_token_fetch", "/bin/true", text
    )  # they need not be here
    loaded(tmp_path, text.replace("image_id =", "image_id = ami-1a2b3c4d"))


@pytest.mark.skipif(not shutil.which("man"), reason="there is no man here to look at the manual pages with")
@pytest.mark.parametrize("page", sorted((TOP / "docs/man").iterdir()), ids=lambda page: page.name)
def test_manual_page_has_no_faults(page: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")
