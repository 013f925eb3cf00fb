"""What batch systems tell of one job, and of who used what; and what an administrator names of jobs and workers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Standing, Usage
from elastiq.plugins import (
    gridengine_explain,
    gridengine_narrowing,
    gridengine_usage,
    htcondor_explain,
    htcondor_narrowing,
    htcondor_usage,
    kit,
    slurm_explain,
    slurm_narrowing,
    slurm_usage,
)
from elastiq.plugins.faults import judgement_faults, usage_faults
from elastiq.plugins.slurm_queue import FIELD_END, RECORD_END
from tests.fuzz.checks import NOW, Target

RECORDED = Path(__file__).parents[1] / "unit" / "plugins" / "recorded"


def stays(data: bytes) -> None:
    """What tells of jobs that run, and of those that have ended, separated by a NUL, of any batch system."""
    runs, _, ended = (part.decode("utf-8", "replace") for part in data.partition(b"\0"))
    running = (
        *_read(lambda: slurm_usage.parse_running(runs)),
        *_read(lambda: gridengine_usage.parse_running(runs)),
        *_read(lambda: htcondor_usage.parse_running(runs)),
    )
    over = (
        *_read(lambda: slurm_usage.parse_sacct(ended)),
        *slurm_usage.parse_ended(ended, 0.0),
        *gridengine_usage.parse_ended(ended, 0.0),
        *_read(lambda: htcondor_usage.parse_history(ended)),
    )
    assert usage_faults(running) == []
    assert usage_faults(over) == []
    told = kit.stays(running, over, NOW)
    assert usage_faults(told) == []
    assert len(over) <= len(told) <= len(over) + len(running)


def slurm_lists(data: bytes) -> None:
    """A list of nodes, and the configuration that says where Slurm keeps what jobs used."""
    text = data.decode("utf-8", "replace")
    try:
        assert len(slurm_usage.nodes_of(text)) <= slurm_usage.MOST_NODES
    except BatchError:
        pass
    try:
        source = slurm_usage.source_of(text)
    except BatchError:
        return
    assert source == slurm_usage.DATABASE or source.startswith("/")


def single_jobs(data: bytes) -> None:
    """What any batch system says of one job."""
    text = data.decode("utf-8", "replace")
    for read in (
        lambda: slurm_explain.parse_job(text, NOW),
        lambda: _gridengine(text),
        lambda: _htcondor(text),
    ):
        try:
            read()
        except BatchError as error:
            assert str(error).isprintable()


def _gridengine(text: str) -> None:
    found = gridengine_explain.parse_job(text)
    if found:
        listed = gridengine_explain.parse_listed(text, found.job.number) if "<job_info" in text else [range(1, 3)]
        assert found.standing(NOW, sum(map(len, listed))) in Standing
        assert found.standing_of(1, NOW, listed, ()) in Standing
        assert found.standing_of(1, NOW, (), listed) in Standing
        assert found.group.jobs == 1
        assert kit.explained(found.standing(NOW, 0), found.text).text.isprintable()


def _htcondor(text: str) -> None:
    found = htcondor_explain.parse_job(text)
    if found:
        htcondor_explain.nearer(found, "1", None)
        assert found.standing_if_left_out
        assert kit.explained(found.standing, found.text).text.isprintable()


def narrowing(data: bytes) -> None:
    """The options `jobs` and `offers` of a pool, a template, and what jobs want, separated by NULs; and the narrowing
    as it is remembered."""
    texts = [part.decode("utf-8", "replace") for part in data.split(b"\0")]
    jobs, offers, template, wants = (*texts[:4], *[""] * (4 - len(texts[:4])))
    asked = [wants, ""]
    for narrowed, judge in (
        (slurm_narrowing.narrowed, slurm_narrowing.judge),
        (gridengine_narrowing.narrowed, lambda asked, text: gridengine_narrowing.judge(asked, text, "")),
    ):
        text = template
        try:
            text = narrowed(template, jobs, offers)
        except BatchError as error:
            assert str(error).isprintable()
        for one in (text, jobs):
            assert judgement_faults(judge(asked, one), len(asked)) == []
    try:
        htcondor = htcondor_narrowing.narrowing_of(htcondor_narrowing.narrowed(template, jobs, offers))
    except BatchError as error:
        assert str(error).isprintable()
        htcondor = htcondor_narrowing.narrowing_of(jobs)
    assert all(isinstance(name, str) for name in htcondor.asked)
    said = htcondor_narrowing.refusals(asked, jobs, lambda ads, _: [(True,)] * len(ads))
    assert len(said) == len(asked)
    assert all(one.isprintable() for one in said)
    assert htcondor_narrowing.untold("why", jobs).answer in (Eligibility.NO, Eligibility.UNKNOWN)


def _read(read: Callable[[], tuple[Usage, ...]]) -> tuple[Usage, ...]:
    try:
        return read()
    except BatchError as error:
        assert str(error).isprintable()
        return ()


TARGETS: dict[str, Target] = {target.__name__: target for target in (stays, slurm_lists, single_jobs, narrowing)}

_QSTAT = (
    b"<job_info><queue_info><job_list state='running'><JB_owner>ann</JB_owner><queue_name>all.q@w1</queue_name>"
    b"<JAT_start_time>2026-11-22T22:52:21</JAT_start_time><slots>2</slots></job_list></queue_info></job_info>"
)
_ENDED = (
    b"JobId=7 UserId=ann(1001) GroupId=ann(1001) Name=a JobState=COMPLETED Partition=batch TimeLimit=60 "
    b"StartTime=2026-11-22T22:52:21 EndTime=2026-11-22T22:53:21 NodeList=w[1-3] NodeCnt=3 ProcCnt=6 WorkDir=/home/ann\n"
)


def _squeue(fields: tuple[str, ...], *words: str) -> bytes:
    return (FIELD_END.join(words) + RECORD_END + "\n").encode()


SEEDS: dict[str, tuple[bytes, ...]] = {
    "stays": (
        _squeue(slurm_usage.RUNNING, "ann", "999000", "w[1-2]", "4", "2") + b"\0ann|999000|999900|w[1-2]|4|2\n",
        _QSTAT + b"\0w1:ann:999000:999900:2\n",
        b"ann slot1_2@w1 999000 2 2\n\0ann slot1_2@w1 999000 999900 999900 2 2\n",
        b"\0" + _ENDED,
    ),
    "slurm_lists": (
        b"w[1-3,07],head",
        b"a[1-2]b[3-4]c",
        b"AccountingStorageType = accounting_storage/none\nJobCompType = jobcomp/filetxt\nJobCompLoc = /var/log/j\n",
    ),
    "single_jobs": (
        _squeue(slurm_explain.FIELDS, *slurm_explain.FIELDS)
        + _squeue(slurm_explain.FIELDS, "7", "PD", "N/A", "Resources", "batch", ""),
        *(path.read_bytes() for path in sorted((RECORDED / "gridengine").glob("qstat-job-*.xml"))[:4]),
        (RECORDED / "gridengine" / "qstat-held.xml").read_bytes(),
        (RECORDED / "htcondor" / "job-local.json").read_bytes(),
        b'[{"ClusterId": 7, "ProcId": 0, "JobStatus": 5, "JobUniverse": 5, "HoldReason": "why"}]',
    ),
    "narrowing": (
        b"partition:gpu, feature:fast\0gres:gpu:2, fast, partition:gpu\0\0",
        b'cloud.q\0site=north, ssd, qname=cloud.q\0\0{"queues": ["cloud.q"]}',
        b'MayUseAWS =?= true\0HasCVMFS = true, OpSysAndVer = "Debian12"\0\0{"mayuseaws": "true"}',
        b'{"jobs": "cloud.q", "offers": "ssd", "template": ""}',
    ),
}
