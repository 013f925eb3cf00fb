"""Who used which node, by sacct, by squeue and by the file of ended jobs; odd texts cost themselves alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Usage
from elastiq.plugins.faults import usage_faults
from elastiq.plugins.slurm_queue import FIELD_END, RECORD_END
from elastiq.plugins.slurm_usage import (
    DATABASE,
    MOST_NODES,
    nodes_of,
    parse_ended,
    parse_running,
    parse_sacct,
    source_of,
)

AT = 1_795_000_000.0
RECORDED = Path(__file__).parent / "recorded" / "slurm"


@pytest.fixture(autouse=True)
def zone(in_zone: Callable[[str], None]) -> None:
    in_zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("", []),
        ("(null)", []),
        ("None assigned", []),
        ("head", ["head"]),
        ("w[1-3,07],head", ["w1", "w2", "w3", "w07", "head"]),
        ("w[08-11]", ["w08", "w09", "w10", "w11"]),
        ("r[0-1]n[1,3].x", ["r0n1.x", "r0n3.x", "r1n1.x", "r1n3.x"]),
        ("a,b[2],c-3", ["a", "b2", "c-3"]),
    ],
)
def test_nodes(text: str, nodes: list[str]) -> None:
    assert nodes_of(text) == nodes


@pytest.mark.parametrize(
    "text", ["w[1-", "w[3-1]", "w[a]", "w[1-99999999]", "w]1[", "r[0-999]n[0-999]", "w[]", "a,,b", "a,", ",", "]"]
)
def test_what_are_no_nodes(text: str) -> None:
    with pytest.raises(BatchError, match="Slurm answered"):
        nodes_of(text)


def config(**settings: str) -> str:
    told = {"AccountingStorageType": "(null)", "JobCompLoc": "/var/log/slurm_jobcomp.log", "JobCompType": "(null)"}
    return "Configuration data as of now\n" + "".join(f"{k:23} = {v}\n" for k, v in {**told, **settings}.items())


def test_where_it_is_kept() -> None:
    assert source_of(config(AccountingStorageType="accounting_storage/slurmdbd")) == DATABASE
    assert source_of(config(JobCompType="jobcomp/filetxt")) == "/var/log/slurm_jobcomp.log"
    for nowhere in (config(), config(AccountingStorageType="accounting_storage/none"), ""):
        with pytest.raises(BatchError, match=r"keeps no record .* let slurm.conf have"):
            source_of(nowhere)


def test_sacct() -> None:
    """In the form of sacct(1), with SLURM_TIME_FORMAT=%s, made by hand: ended, running, cancelled, on two nodes."""
    text = (
        "ann|1795000000|1795000600|w1|2|1\nbob|1795000100|Unknown|w1|1|1\n"
        "bob|Unknown|1795000100|None assigned|0|1\nann|1795000000|1795000600|w[1-2]|8|2\n"
    )
    assert parse_sacct(text) == (
        Usage("ann", "w1", AT, AT + 600, 2),
        Usage("bob", "w1", AT + 100, None, 1),
        Usage("ann", "w1", AT, AT + 600, 4),
        Usage("ann", "w2", AT, AT + 600, 4),
    )
    assert parse_sacct("") == ()


@pytest.mark.parametrize("text", ["ann|1|2|w1|1\n", "ann|soon|2|w1|1|1\n", "sacct: error\n", "a|1|2|w[|1|1\n"])
def test_what_is_no_answer_of_sacct(text: str) -> None:
    with pytest.raises(BatchError, match="answered"):
        parse_sacct(text)


def record(*fields: str) -> str:
    return FIELD_END.join(fields) + RECORD_END + "\n"


def test_running() -> None:
    text = record("ann", "1795000000", "w1", "2", "1") + record("bob", "N/A", "", "1", "1")
    assert parse_running(text) == (Usage("ann", "w1", AT, None, 2),)
    assert parse_running("") == ()
    with pytest.raises(BatchError, match="squeue answered"):
        parse_running(record("ann", "1795000000"))


def line(name: str = "wrap", user: str = "ann", directory: str = "/home/ann", end: str = "2026-11-18T11:16:40") -> str:
    """As Slurm 22.05 writes it (src/plugins/jobcomp/filetxt)."""
    return (
        f"JobId=7 UserId={user}(1000) GroupId={user}(1000) Name={name} JobState=COMPLETED Partition=batch "
        f"TimeLimit=UNLIMITED StartTime=2026-11-18T11:06:40 EndTime={end} NodeList=w[1-2] NodeCnt=2 ProcCnt=8 "
        f"WorkDir={directory} ReservationName= Tres=cpu=8,mem=2G,node=2,billing=8 Account= QOS= WcKey= "
        "Cluster=unknown SubmitTime=2026-11-18T11:06:00 EligibleTime=2026-11-18T11:06:00 DerivedExitCode=0:0 "
        "ExitCode=0:0 \n"
    )


FORGED = line().partition("Name=wrap")[2].partition(" ReservationName")[0]


def test_ended() -> None:
    both = (Usage("ann", "w1", 1794996400.0, 1794997000.0, 4), Usage("ann", "w2", 1794996400.0, 1794997000.0, 4))
    assert parse_ended(line(), 0.0) == both == parse_ended(line(), 1794997000.0)
    assert parse_ended(line(), 1794997001.0) == ()
    assert parse_ended(line().replace("GroupId=ann(", "GroupId=domain users("), 0.0) == both
    cut = line()
    for odd in (
        line().replace("w[1-2]", "w[1-"),
        line(end="2026-11-18T11:06:39"),
        line().replace("StartTime=2026-11-18T11:06:40", "StartTime=Unknown"),
        line(end="Unknown"),
        line(name=f"x{FORGED}"),
        line(directory=f"/x{FORGED}"),
        line(name="two\nlines"),
        cut[40:],
    ):
        assert parse_ended(odd + line(), 0.0) == both, "it costs itself alone"
    for half in (cut[:150], f"{cut[:150]}\n"):
        assert parse_ended(half + line() + line(), 0.0) == both, "it costs the next one, which may be a part of it"


def test_nobody_is_charged_by_a_name_with_a_new_line_in_it() -> None:
    """A real file of Slurm 24.11.5: the name of job 4 and the directory of job 5 have a line with `UserId=root(0)`."""
    text = (RECORDED / "24.11-ended-jobs").read_text()
    assert "\nJobId=999 UserId=root(0) GroupId=root(0) Name=z JobState=COMPLETED" in text
    found = parse_ended(text, 0.0)
    assert {(one.user, one.worker) for one in found} == {("alice", "i-1"), ("alice", "i-2")}
    assert len(found) == 6, "of jobs 1, 8, 2, 3 on two nodes, and 7"


def test_sacct_of_a_real_slurmdbd() -> None:
    """Of the same jobs, by slurmdbd 24.11.5 with MariaDB 11.8, whose client library was 10.11 (that of 11.8.9 makes
    slurmdbd end at its start): names are no part of it, and job 9 runs."""
    found = parse_sacct((RECORDED / "24.11-sacct").read_text())
    assert {one.user for one in found} == {"alice"}
    assert [one.end_at for one in found].count(None) == 1
    assert len(found) == 9
    both = [one for one in found if (one.begin_at, one.end_at) == (1795926483.0, 1795926486.0)]
    assert [(one.worker, one.cpus) for one in both] == [("i-1", 1), ("i-2", 1)], "3 CPUs on two nodes"


@given(st.text() | st.text(alphabet="JobId=7 UserId(1)\n|[]-,0123456789\x1e\x1f"))
def test_any_text_is_an_answer_or_a_batch_error(text: str) -> None:
    for read in (parse_sacct, parse_running, lambda told: parse_ended(told, 0.0)):
        try:
            assert usage_faults(read(text)) == []
        except BatchError:
            pass


@pytest.mark.long
def test_many() -> None:
    assert len(parse_sacct("ann|1795000000|1795000600|w1|2|1\n" * 100_000)) == 100_000
    assert len(parse_ended(line() * 10_000, 0.0)) == 20_000
    assert len(nodes_of(f"w[1-{MOST_NODES}]")) == MOST_NODES
    every = [f"i-{number:017x}" for number in range(MOST_NODES)]
    assert nodes_of(",".join(every)) == every
