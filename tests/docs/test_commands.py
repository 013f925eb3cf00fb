"""Every command of the documentation: it is run here, is in the test that it names, or says what it needs.

Above each block of commands stands one of
    <!-- run: sandbox -->               run here, beside a daemon on a sandbox cluster; the blocks of a page in order
    <!-- run: head-node -->             run on the head node of a real pool with elastiq on it, likewise: of HTCondor,
                                        or of the batch system in the name of the page
    <!-- run: head-node as a user -->   the same, not as root
    <!-- run: make -n -->               make knows it
    <!-- run: tests/... -->             that file runs it, and has all its words but options and names of files
    <!-- needs: AWS -->                 run by nobody here; NEEDS has the words
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.process.pidfile import find_daemon
from tests.docs.blocks import PAGES, SHELL, TOP, Block, blocks, commands
from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.e2e.systems import SYSTEMS
from tests.testbed.batch import wait_until
from tests.testbed.machines import CHECKOUT, Network
from tests.testbed.rootfs import JOB_USER, UnavailableError, rootfs

ALL = [block for page in PAGES for block in blocks(page) if block.language in SHELL]
NEEDS = ("AWS", "OpenStack", "a cloud", "EL or Fedora", "root", "systemd", "HTCondor", "Slurm", "Grid Engine")
HERE = ("sandbox", "head-node", "head-node as a user", "make -n")
LONG = 300
"""Seconds; a bound against hangs."""
ENDLESS = re.compile(r"^(elastiqctl log|tail -f .*?)(\s+#.*)?$", re.MULTILINE)
"""These go on until somebody interrupts them."""


def pages(*by: str) -> list[str]:
    return list(dict.fromkeys(block.page for block in ALL if block.kind == "run" and block.by in by))


def script(block: Block, paths: dict[str, str]) -> str:
    """Return a block as a script that ends, with files where the test has them."""
    text = ENDLESS.sub(r"timeout 2 \1 || [ $? = 124 ]", block.text)
    for path, here in paths.items():
        text = text.replace(path, here)
    return f"set -eu\n{text}"


@pytest.mark.parametrize("block", ALL, ids=str)
def test_block_says_who_runs_it(block: Block) -> None:
    assert block.kind, f"{block}: write above it who runs it: see {__name__}"
    if block.kind == "needs":
        assert block.by in NEEDS
    elif block.by not in HERE:
        assert (TOP / block.by).is_file(), f"{block}: there is no {block.by}"


@pytest.mark.parametrize("block", [b for b in ALL if b.kind == "run" and b.by not in HERE], ids=str)
def test_the_test_that_is_named_runs_it(block: Block) -> None:
    def plain(text: str) -> str:
        words = re.sub(r"[\"',()\[\]]", " ", text).split()
        return " ".join(word for word in words if not word.startswith("-"))

    runs = plain((TOP / block.by).read_text(encoding="utf-8"))
    for command in commands(block):
        words = [word for word in plain(command).split() if "/" not in word and word != "."]
        assert " ".join(words) in runs, command


@pytest.mark.parametrize("block", [b for b in ALL if b.by == "make -n"], ids=str)
def test_make_knows_it(block: Block) -> None:
    for command in commands(block):
        words = command.split()
        assert words[0] == "make", command
        done = subprocess.run(["make", "-n", *words[1:]], cwd=TOP, capture_output=True, text=True, timeout=LONG)
        assert done.returncode == 0 and done.stdout, done.stderr


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of somebody whose elastiq runs on a sandbox cluster, all of it below one directory."""
    for needed in ("moto", "flask"):
        pytest.importorskip(needed, reason=f"the sandbox needs {needed}: pip install -e '.[sandbox]'")
    from elastiq.sandbox.demo import CONFIGURATION, IMAGE_ID, VM_TYPE

    environment = {
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(TOP / "scripts"), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(TOP),
        "ELASTIQ_PYTHON": sys.executable,
        "ELASTIQ_CONFIG": str(tmp_path / "elastiq.conf"),
        "ELASTIQ_LOGDIR": str(tmp_path / "log"),
        "NO_PROXY": "127.0.0.1",
    }
    endpoint = subprocess.Popen(
        [sys.executable, "-m", "elastiq.sandbox.endpoint"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        assert endpoint.stdout
        values = {"directory": tmp_path, "url": endpoint.stdout.readline().strip(), "region": "us-east-1"}
        values |= {"waiting_seconds": 2, "idle_seconds": 60, "deploy_seconds": 60, "max_vms": 2}
        values |= {"access_key_id": "sandbox", "image_id": IMAGE_ID, "vm_type": VM_TYPE}
        (tmp_path / "user-data").write_text("#!/bin/sh\n")
        (tmp_path / "elastiq.conf").write_text(CONFIGURATION.format(**values))
        (tmp_path / "elastiq.conf").chmod(0o600)
        yield environment
    finally:
        pid = find_daemon(tmp_path / "state")
        if pid:
            os.kill(pid, 9)
        endpoint.communicate(timeout=LONG)


@pytest.mark.parametrize("page", pages("sandbox"))
def test_commands_in_the_sandbox(page: str, sandbox: dict[str, str]) -> None:
    home = sandbox["HOME"]
    paths = {"/etc/elastiq.conf": f"{home}/elastiq.conf", "/var/log/elastiq": f"{home}/log"}
    paths |= {"/var/lib/elastiq": f"{home}/state", "/var/backups": home}
    has_planned = "until elastiqctl why >/dev/null; do sleep 0.2; done"
    beginning = Block("beginning", 0, "run", "sandbox", "", f"elastiqctl start\n{has_planned}\nelastiqctl status\n")
    for block in (beginning, *(block for block in ALL if block.page == page and block.by == "sandbox")):
        words = ["timeout", "--kill-after=5", str(LONG), "sh", "-c", script(block, paths)]
        done = subprocess.run(words, cwd=home, env=sandbox, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, f"{block}: exit {done.returncode}\n{block.text}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr


def fitted(configuration: str, cluster: ElasticCluster) -> str:
    """Return the configuration file of a page with the testbed's cloud, and without waiting."""
    own = cluster.ec2
    replaced = "|".join([*own, "flavour", "key_name", "security_groups"])
    text = re.sub(rf"^({replaced}) = .*\n", "", configuration, flags=re.MULTILINE)
    for section, options in {"elastiq": configurations.TIMES, "ec2": own}.items():
        lines = "".join(f"{name} = {value}\n" for name, value in options.items())
        text = text.replace(f"[{section}]\n", f"[{section}]\n{lines}")
    return text


@pytest.mark.real
@pytest.mark.parametrize("page", pages("head-node", "head-node as a user"))
def test_commands_on_a_head_node(page: str) -> None:
    try:
        rootfs()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    environment = {"PATH": f"{CHECKOUT}/scripts:/usr/sbin:/usr/bin:/sbin:/bin"}
    paths = {"/usr/share/doc/elastiq/examples": f"{CHECKOUT}/docs/examples"}
    with Network() as network:
        batch = SYSTEMS[next((name for name in SYSTEMS if name in page), "htcondor")](network, 2)
        with ElasticCluster(batch, user="") as cluster:
            for block in blocks(TOP / page):
                if block.language == "ini" and "[ec2]" in block.text:
                    cluster.configure(fitted(block.text, cluster))
                if block.kind == "run" and block.by.startswith("head-node"):
                    words = ("sh", "-c", script(block, paths))
                    user = JOB_USER if block.by.endswith("user") else ""
                    done = batch.head.run(*words, user=user, environment=environment, check=False)
                    assert done.returncode == 0, f"{block}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            wait_until(lambda: not batch.queue(), "the jobs of the page are done", LONG, batch.queue)
