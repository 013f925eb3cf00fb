"""Which jobs VMs are launched for on real HTCondor: elastiq's answer is what the negotiator does with a real slot."""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

import pytest

from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import PluginOnHead
from tests.testbed.batch import PATIENCE_SECONDS, wait_until
from tests.testbed.htcondor_pool import HtcondorPool
from tests.testbed.rootfs import JOB_USER

REQUIREMENTS = int(os.environ.get("ELASTIQ_RANDOM_REQUIREMENTS", "40"))
"""So many are tried on each kind of worker; 200 take some minutes."""
SEED = int(os.environ.get("ELASTIQ_SEED", "11"))

KINDS = {
    "plain": "NUM_CPUS = 300\nMEMORY = 4000\n",
    "rich": (
        'NUM_CPUS = 400\nMEMORY = 16000\nHasCVMFS = true\nSite = "north"\nSoftware = "root,geant4"\nRelease = 9.4\n'
        "STARTD_ATTRS = $(STARTD_ATTRS) HasCVMFS Site Software Release\n"
    ),
    "choosy": (
        'NUM_CPUS = 300\nMEMORY = 8000\nSite = "south"\nRelease = 7\nNights = (ClockMin >= 0)\n'
        'STARTD_ATTRS = $(STARTD_ATTRS) Site Release Nights\nSTART = (TARGET.Project =?= "a" || Grade >= 3) && Nights\n'
    ),
}
"""Kinds of workers. Each takes the jobs of its own lane alone, so that every job meets one real slot."""
EVERY_KIND = """
Lane = "{lane}"
STARTD_ATTRS = $(STARTD_ATTRS) Lane
START = ($(START)) && TARGET.Lane == MY.Lane
MODIFY_REQUEST_EXPR_REQUESTMEMORY = RequestMemory
MODIFY_REQUEST_EXPR_REQUESTDISK = RequestDisk
CLAIM_WORKLIFE = 0
"""
"""Without a life after its first job, no claim on a small dynamic slot is given to a job that would not have matched
the whole one (one that wants less memory than there is, say)."""

CLAUSES = (
    "HasCVMFS", "TARGET.HasCVMFS =?= true", "HasCVMFS =!= true", "!isUndefined(TARGET.HasCVMFS)", "TARGET.HasGPFS",
    'Site == "north"', 'TARGET.Site == "SOUTH"', 'TARGET.Site =?= "SOUTH"', 'Site != "west"', "isUndefined(Site)",
    'stringListMember("geant4", TARGET.Software)', 'stringListIMember("ROOT", Software, ",")', "size(Software) > 3",
    "Release >= 8", "TARGET.Release < 8.0", "Release =?= 7", "int(TARGET.Release) == 9", 'string(Release) == "7"',
    "Memory >= 6000", "TARGET.Memory < 10000", "TARGET.TotalSlotMemory / 2 > 3000", "Memory >= 200 * RequestMemory",
    "TotalSlotCpus >= 350", "TARGET.Cpus >= RequestCpus * 2", "DetectedMemory > 0", "TARGET.Disk > RequestDisk * 4",
    'OpSys == "LINUX"', 'OpSys == "WINDOWS"', 'TARGET.OpSysName == "Debian"', "OpSysMajorVer >= 9",
    "OpSysMajorVer == 7",
    'TARGET.Arch == "X86_64"', 'Arch == "aarch64"', 'versioncmp(split(CondorVersion)[1], "10.0.0") > 0',
    'version_gt(split(TARGET.CondorVersion)[1], "99.1.0")', 'regexp("^\\\\$CondorVersion", CondorVersion)',
    'regexp("deb[a-z]+", OpSysLongName, "i")', 'Machine == "node7.example"', 'TARGET.Machine != "node7.example"',
    'TARGET.Name == "slot1@node7"', 'Machine =!= "node8"', "TARGET.Nowhere > 3", "Nowhere =?= undefined", "Nowhere",
    'MY.Project == "a"', 'Project == "b"', "MY.Grade > 2", "Grade + Release > 10", "MY.Unsaid =?= undefined", "true",
    "false", "1 + 1 == 2", '1 + "a" == 2', "ifThenElse(HasCVMFS, Release > 9, Release < 8)",
    'TARGET.State == "Unclaimed"',
    "HasFileTransfer", "TARGET.LoadAvg >= 0", "max({Release, 3}) > 8", 'member(Site, {"north", "east"})', "time() > 10",
)  # fmt: skip


def _requirements(chance: random.Random) -> str:
    """Return one to four clauses, joined and turned round by chance."""
    text = chance.choice(CLAUSES)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        other = chance.choice(CLAUSES)
        how = chance.choice(("{} && {}", "({}) && ({})", "({}) || ({})", "({}) && !({})", "({} ? {} : false)"))
        text = how.format(text, other)
    return text


def _submit(pool: HtcondorPool, lane: str, texts: list[str], chance: random.Random) -> None:
    head = (
        "executable = /bin/true\ntransfer_executable = false\nshould_transfer_files = yes\nrequest_memory = 20\n"
        f'request_disk = 1M\nrequest_cpus = 1\n+Lane = "{lane}"\nrequirements = $(wanted)\n'
    )
    jobs = []
    for number, text in enumerate(texts):
        project, grade = chance.choice(('"a"', '"b"', "undefined")), chance.choice(("1", "3", "undefined"))
        jobs.append(f"+Number = {number}\n+Project = {project}\n+Grade = {grade}\nrequirements = {text}\nqueue\n")
    description = head.replace("requirements = $(wanted)\n", "") + "".join(jobs)
    pool.head.run("condor_submit", "-terse", "-", user=JOB_USER, stdin=description)


def _started(pool: HtcondorPool) -> set[tuple[str, int]]:
    """Return lane and number of the jobs that were started."""
    found = set()
    for command in (("condor_q", "-allusers"), ("condor_history",)):
        text = pool.head.run(*command, "-constraint", "NumJobStarts > 0", "-af", "Lane", "Number").stdout
        found |= {(lane, int(number)) for lane, number in map(str.split, text.splitlines())}
    return found


def _rejected(pool: HtcondorPool, since: float = 0.0) -> int:
    """Return how many waiting jobs the negotiator has turned down after `since`: it says so of one of those that are
    alike to it."""
    asked = ("-constraint", "JobStatus == 1", "-af", "AutoClusterId", "LastRejMatchTime")
    jobs = [line.split() for line in pool.head.run("condor_q", "-allusers", *asked).stdout.splitlines()]
    refused = {alike for alike, at in jobs if at.isdecimal() and int(at) > since}
    return sum(alike in refused for alike, _ in jobs)


@pytest.mark.real
def test_what_is_judged_is_what_the_negotiator_does(make_htcondor: PoolMaker) -> None:
    chance = random.Random(SEED)
    texts = [*CLAUSES, *(_requirements(chance) for _ in range(max(0, REQUIREMENTS - len(CLAUSES))))]
    texts = chance.sample(texts, REQUIREMENTS)
    pool = make_htcondor()
    workers = {lane: f"i-0000000{number}" for number, lane in enumerate(KINDS, 1)}
    for number, (lane, instance_id) in enumerate(workers.items(), 1):
        configuration = KINDS[lane] + EVERY_KIND.replace("{lane}", lane)
        pool.start_worker(instance_id, f"10.77.1.{number}", pool.substituted_user_data(), configuration)
    pool.wait_joined(set(workers.values()))
    pool.head.run("condor_off", "-daemon", "negotiator")
    for lane in KINDS:
        _submit(pool, lane, texts, chance)
    judged = {query: _judged(pool, query, workers) for query in ("bindings", "cli")}
    assert judged["bindings"] == judged["cli"]
    pool.head.run("condor_on", "-daemon", "negotiator")
    _let_the_negotiator_decide(pool, len(texts) * len(KINDS))
    started = _started(pool)
    wrong = []
    for lane in KINDS:
        for number, text in enumerate(texts):
            answer, reason = judged["bindings"][lane, number]
            if answer != ("yes" if (lane, number) in started else "no"):
                wrong.append(f"{lane}: {text}: {answer} {reason}, started: {(lane, number) in started}")
    print(f"{len(texts) * len(KINDS) - len(wrong)} of {len(texts) * len(KINDS)} alike, {len(started)} of them started")
    assert not wrong, "\n".join(wrong)
    assert 0.2 < len(started) / (len(texts) * len(KINDS)) < 0.8


@pytest.mark.real
def test_memory_that_one_job_has_used_up_is_none_left(make_htcondor: PoolMaker) -> None:
    pool = make_htcondor(worker_configuration="NUM_CPUS = 4\nMEMORY = 1024\n")
    pool.start_worker("i-00000001", "10.77.1.1", pool.substituted_user_data())
    pool.wait_joined({"i-00000001"})
    pool.submit(1, 600, memory_mb=1024)
    wait_until(lambda: pool.busy() and pool.slots("-constraint", "Memory == 0"), "it has all memory", detail=pool.slots)
    pool.submit(3, 600, memory_mb=512)
    for query in ("bindings", "cli"):
        with PluginOnHead(pool, query) as plugin:
            (worker,) = plugin.call("workers")
            assert (worker["free"]["cpus"], worker["free"]["memory_mb"]) == (3, 0)
            assert (worker["capacity"]["memory_mb"], worker["hurt"]) == (1024, False)
            (group,) = plugin.call("demand")
            assert (group["jobs"], group["shape"]["memory_mb"]) == (3, 512)
            (judgement,) = plugin.call("judge", [[group["wants"]], plugin.call("template", worker)])
            assert judgement["answer"] == "yes", "another VM would have the memory"


def _judged(pool: HtcondorPool, query: str, workers: dict[str, str]) -> dict[tuple[str, int], tuple[str, str]]:
    """Return by lane and number what is judged of the jobs, by templates taken before any of them ran.

    The number is one of the attributes that the workers are said to ask for, so that it gets into `wants`.
    """
    answers = {}
    with PluginOnHead(pool, query) as plugin:
        known = {worker["instance_id"]: worker for worker in plugin.call("workers")}
        templates = {lane: plugin.call("template", known[instance_id]) for lane, instance_id in workers.items()}
        numbered = json.dumps([{"requirements": "TARGET.Number >= 0"}])
        plugin.call("judge", [[], numbered])
        demand: list[dict[str, Any]] = plugin.call("demand")
        for lane, template in templates.items():
            wants = [group["wants"] for group in demand if json.loads(group["wants"]).get("lane") == f'"{lane}"']
            for one, judgement in zip(wants, plugin.call("judge", [wants, template])):
                answers[lane, int(json.loads(one)["number"])] = judgement["answer"], judgement["reason"]
    return answers


def _let_the_negotiator_decide(pool: HtcondorPool, jobs: int) -> None:
    """Wait until jobs have started that could, and all others were turned down while every slot was idle."""
    before, since = -1, 0.0

    def is_decided() -> bool:
        idle = not pool.busy() and not any(job["JobStatus"] == 2 for job in pool.queue())
        return idle and len(_started(pool)) + _rejected(pool, since) == jobs

    while before != len(_started(pool)):
        before = len(_started(pool))
        wait_until(is_decided, "every job was started or turned down", PATIENCE_SECONDS + jobs, pool.queue)
        # What was turned down while another job had some of the slot gets it by itself now.
        since = time.time()
        pool.head.run("condor_reschedule")
        wait_until(is_decided, "those that wait were turned down again", PATIENCE_SECONDS + jobs, pool.queue)
