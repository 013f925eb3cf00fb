"""Partitions, licences and how nodes are shared out: recorded on Slurm 24.11, and such as no daemon should give."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.model import Shape
from elastiq.plugins.slurm_limits import (
    Cluster,
    Partition,
    license_counts,
    parse_licenses,
    parse_partitions,
    parse_sharing,
)

RECORDED = Path(__file__).parent / "recorded" / "slurm"


def test_recorded_partitions() -> None:
    every = Partition(has_all_nodes=True)
    assert parse_partitions((RECORDED / "24.11-partitions").read_text()) == {
        "batch": Partition(has_all_nodes=True, is_default=True),
        "short": Partition(has_all_nodes=True, max_nodes=2, max_cpus_per_node=2, max_memory_mb_per_node=1500),
        "off": Partition(has_all_nodes=True, starts_jobs=False),
        "idle": Partition(has_all_nodes=True, starts_jobs=False),
        "drains": every,
        "excl": Partition(has_all_nodes=True, is_exclusive=True),
        "onlyc": Partition(),
    }


def test_no_partitions_are_said_in_words() -> None:
    assert parse_partitions("No partitions in the system\n") == {}


@pytest.mark.parametrize("answer", ["", "\n", "scontrol: error\n", "PartitionName=\n", "PartitionName=x Nodes=ALL\n"])
def test_what_is_no_list_of_partitions_is_an_error(answer: str) -> None:
    with pytest.raises(BatchError, match="scontrol"):
        parse_partitions(answer)


def test_a_limit_that_cannot_be_read_is_none() -> None:
    assert parse_partitions("PartitionName=x State=UP MaxNodes=many MaxCPUsPerNode=\n") == {"x": Partition()}


@pytest.mark.parametrize(
    ("names", "shape", "nodes", "refusal", "start"),
    [
        (("batch",), Shape(64, 10**6), 9, "", ("batch",)),
        (("short",), Shape(1, 100), 3, "partition short: at most 2 nodes a job, and 3 are asked for", ("short",)),
        (("short",), Shape(2, 100), 1, "partition short: at most 1 CPUs on a node, and 2 are asked for", ("short",)),
        (("short",), Shape(1, 101), 1, "partition short: at most 100 MB of memory on a node, and 101", ("short",)),
        (("short",), Shape(1, None), 1, "", ("short",)),
        (("short", "batch"), Shape(1, 100), 3, "", ("short", "batch")),
        (("off",), Shape(1, 100), 3, "", ()),
        (("off", "short"), Shape(1, 100), 3, "", ("short",)),
        (("gone",), Shape(1, 100), 3, "", ("gone",)),
    ],
)
def test_what_partitions_refuse(
    names: tuple[str, ...], shape: Shape, nodes: int, refusal: str, start: tuple[str, ...]
) -> None:
    short = Partition(max_nodes=2, max_cpus_per_node=1, max_memory_mb_per_node=100)
    cluster = Cluster({"batch": Partition(), "short": short, "off": Partition(starts_jobs=False)})
    assert cluster.refusal(names, shape, nodes).startswith(refusal)
    assert bool(cluster.refusal(names, shape, nodes)) == bool(refusal)
    assert cluster.start(names) == start


def test_recorded_licenses() -> None:
    assert parse_licenses((RECORDED / "24.11-licenses").read_text()) == {"ansys": 10, "fluent": 2}


@pytest.mark.parametrize(
    ("line", "free"),
    [
        ("LicenseName=a Total=10 Used=4 Free=6 Remote=no", 6),
        ("LicenseName=a Total=10 Used=4 Free=6 Reserved=5 Remote=no", 1),
        ("LicenseName=a Total=10 Used=10 Free=0 Reserved=0 Remote=no", 0),
        ("LicenseName=a Total=3 Used=5 Free=0 Reserved=0 Remote=no", 0),
        ("LicenseName=a@server Total=10 Used=0 Free=10 Reserved=0 Remote=yes LastConsumed=0", 10),
    ],
)
def test_licenses_that_are_free(line: str, free: int) -> None:
    assert list(parse_licenses(f"{line}\n").values()) == [free]


@pytest.mark.parametrize("answer", ["error\n", "LicenseName=a Total=10\n", "LicenseName=a Total=x Used=1\n"])
def test_what_are_no_licenses_is_an_error(answer: str) -> None:
    with pytest.raises(BatchError, match="scontrol"):
        parse_licenses(answer)
    assert parse_licenses("No licenses configured in Slurm.\n") == {}


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("a", {"a": 1}),
        ("a:2,b@server:3", {"a": 2, "b@server": 3}),
        ("a=2,a:1", {"a": 3}),
        ("a:0", {}),
        ("a|b", {}),
        ("a:many", {}),
        ("", {}),
    ],
)
def test_licenses_that_a_job_needs(text: str, counts: dict[str, int]) -> None:
    assert license_counts(text) == counts


@pytest.mark.parametrize(
    ("kind", "parameters", "shares_memory", "whole_nodes"),
    [
        ("select/cons_tres", "CR_CPU_MEMORY", True, False),
        ("select/cons_tres", "CR_CORE", False, False),
        ("select/linear", "CR_MEMORY", False, True),
        ("select/cons_res", "NONE", False, False),
    ],
)
def test_how_nodes_are_shared_out(kind: str, parameters: str, shares_memory: bool, whole_nodes: bool) -> None:
    said = f"SelectType              = {kind}\nSelectTypeParameters    = {parameters}\n"
    assert parse_sharing(said) == Cluster(shares_memory=shares_memory, whole_nodes=whole_nodes)


@pytest.mark.parametrize("character", "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
def test_odd_characters_end_no_record(character: str) -> None:
    """Names of accounts, and of licences of other clusters, are free text."""
    partitions = f"PartitionName=batch AllowAccounts=a{character}b Default=YES State=UP\n"
    assert parse_partitions(partitions)["batch"].is_default
    licences = f"LicenseName=fluent Total=2 Used=0 Note=a{character}b Reserved=1\n"
    assert parse_licenses(licences) == {"fluent": 1}
