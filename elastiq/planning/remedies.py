"""What would change what a reason says, and what single jobs and VMs are that no plan speaks of."""

from __future__ import annotations

from collections.abc import Mapping

from elastiq.decisions import Reason, Token
from elastiq.memory import VmRecord
from elastiq.model import Demand, Eligibility, Explanation, Judgement, Shape, Standing
from elastiq.planning.eligibility import Chance
from elastiq.planning.phrases import describe

STANDINGS: Mapping[Standing, Token] = {
    Standing.HELD: Token.JOB_HELD,
    Standing.DEPENDS: Token.JOB_DEPENDS,
    Standing.NOT_DUE: Token.JOB_NOT_DUE,
    Standing.LIMITED: Token.JOB_LIMITED,
    Standing.NOT_ON_WORKERS: Token.JOB_NOT_ON_WORKERS,
    Standing.ELSEWHERE: Token.JOB_ELSEWHERE,
    Standing.BOUND: Token.JOB_BOUND,
    Standing.BLOCKED: Token.JOB_BLOCKED,
    Standing.RUNS: Token.JOB_RUNS,
    Standing.ENDED: Token.JOB_ENDED,
    Standing.UNKNOWN: Token.NO_SUCH_JOB,
}
"""What is said of jobs that are no demand."""

_AS_ASKED = "ask for what a pool has, or add a pool whose VMs have it"
_READ = "mend what cannot be read; elastiqctl check tries the batch system, elastiqctl check --cloud the cloud"
_THE_CLOUD = "nothing of elastiq's: see the cloud; elastiq asks again by itself"

REMEDIES: Mapping[Token, str] = {
    Token.UNREADABLE: _READ,
    Token.HAS_ROOM: "nothing: the batch system is to start them; if it does not, see there why",
    Token.ROOM_BOOTING: "nothing: they start when these VMs have joined",
    Token.FOREIGN_ROOM: "nothing: VMs are launched if these workers have not taken them by then",
    Token.REOPENED: "nothing: they start when this worker is open again",
    Token.BELOW_THRESHOLD: "lower waiting_jobs_threshold, or submit more jobs",
    Token.WAITING_TIME: "lower waiting_jobs_time_s, or wait",
    Token.NO_ROOM: "nothing: VMs are launched for them now",
    Token.BELOW_MINIMUM: "nothing: VMs are launched now",
    Token.SPARE: "nothing: VMs are launched now",
    Token.TRIAL: "nothing: one VM is launched to try",
    Token.TRIAL_BOOTING: "see why VMs do not boot or join: the log has the end of their consoles",
    Token.LAUNCHES_PAUSED: "mend what the cloud refuses or what keeps VMs from joining, then elastiqctl retry",
    Token.QUOTA_FULL: "raise max_vms, lower idle_for_time_s, or wait until VMs are free",
    Token.QUOTA_LEAVES_TOO_FEW: "raise max_vms, or wait until enough VMs are gone",
    Token.CAP_HOUR: "raise max_per_hour in [cost], or wait until VMs are gone",
    Token.CAP_DAY: "raise max_per_day in [cost], or wait until the day is over",
    Token.CAP_MONTH: "raise max_per_month in [cost], or wait until the month is over",
    Token.WIDER_THAN_QUOTA: "raise max_vms, or ask for fewer machines at once",
    Token.CLOUD_LIMIT: "have the cloud raise its quota, then elastiqctl retry",
    Token.LARGER_THAN_VM: "ask for less, or configure a larger flavour",
    Token.LARGER_THAN_NEW_VM: "ask for less, configure a larger flavour, or wait for the workers that are there",
    Token.NOT_ELIGIBLE: _AS_ASKED,
    Token.IN_VAIN: "see why the batch system does not start them, then elastiqctl retry",
    Token.TO_LEARN: "nothing: one VM is launched, and what it offers decides",
    Token.LEARNING: "nothing: the VM that boots will tell",
    Token.IDLE: "raise idle_for_time_s or min_vms, and it would stay",
    Token.IN_THE_WAY: "raise max_vms, and it could stay",
    Token.BEYOND_CAP: "raise max_per_hour, max_per_day or max_per_month in [cost], whichever is reached",
    Token.UNFINISHED: "nothing: it is tried again; the log says what went wrong",
    Token.VM_IN_ERROR: "nothing: it goes; see the cloud for the reason",
    Token.NEVER_JOINED: "see its console in the log; raise estimated_vm_deploy_time_s if VMs need longer",
    Token.WORKER_LOST: "raise lost_worker_time_s if workers may be away for longer",
    Token.CLOSED_AND_IDLE: "open its worker in the batch system, and it stays",
    Token.CLOSED_AT_BIRTH: "see in the batch system who closes new workers, and why",
    Token.LAUNCHED_IN_VAIN: "see why the batch system does not start the jobs that it was launched for",
    Token.INTERRUPTED_IDLE: "nothing: the cloud takes it back anyway",
    Token.INTERRUPTED: "nothing: the cloud takes it back; market = on-demand has VMs that stay",
    Token.REQUEUED: "on_interruption = drain lets jobs run until the cloud ends their VM",
    Token.AT_WORK: "nothing: it stays as long as jobs run there",
    Token.IDLE_YET_SHORT: "lower idle_for_time_s, and it goes sooner",
    Token.KEPT_FOR_JOBS: "nothing: jobs are to start there; if they do not, see the batch system",
    Token.KEPT_AS_SPARE: "lower eagerness, or set policy = classic",
    Token.KEPT_FOR_MINIMUM: "lower min_vms",
    Token.STILL_BOOTING: "nothing: it goes if it has not joined by then",
    Token.WORKER_OUT_OF_SIGHT: "see why its worker has left the batch system; lower lost_worker_time_s",
    Token.CLOSED_BY_OTHER: "open its worker in the batch system, or terminate the VM in the cloud",
    Token.CLOSED_BY_SOMEBODY: "open its worker in the batch system, or terminate the VM in the cloud",
    Token.NOT_LISTED: "see region, api_url and keys, and whether the cloud still has it",
    Token.CLAIMED_TWICE: "have the batch system drop the workers that are not there",
    Token.SHARED_ADDRESS: "let workers say their instance ids, or terminate the VMs that are not in use",
    Token.UNUSED_ROOM: "see in the batch system why none starts there; close its worker there, or end the VM",
    Token.LOOKALIKE: "give it the tag elastiq:cluster, or terminate it in the cloud",
    Token.GOING: "nothing: the cloud ends it",
    Token.RETRY_LATER: "see in the log what went wrong; it is tried again by itself",
    Token.WORLD_UNKNOWN: _READ,
    Token.ANSWER_TO_COME: _THE_CLOUD,
    Token.ASKED_AGAIN: _THE_CLOUD,
    Token.VM_ENDED: "see the cloud for who ended it",
    Token.VM_VANISHED: "see the cloud for who ended it",
    Token.VM_INTERRUPTED: "nothing: spot VMs are taken back; market = on-demand has VMs that stay",
    Token.ENDED_AFTER_ALL: "nothing: it was to go",
    Token.ENDED_BY_ELASTIQ: "nothing: it was to go",
    Token.ENDED_BY_OTHERS: "see the cloud for who ended it",
    Token.NO_SUCH_VM: "see elastiqctl vms for those that there are",
    Token.JOB_HELD: "have it released, by its owner or an administrator, once the cause is mended",
    Token.JOB_DEPENDS: "nothing of elastiq's: it starts after the others, or never if they fail",
    Token.JOB_NOT_DUE: "nothing of elastiq's: it is demand once its time has come",
    Token.JOB_LIMITED: "raise the limit in the batch system, or wait until what counts against it has ended",
    Token.JOB_NOT_ON_WORKERS: "submit it as a job for workers, if it is to run there",
    Token.JOB_ELSEWHERE: "submit it where elastiq serves, or let elastiq serve that part",
    Token.JOB_BOUND: "let it run on any machine",
    Token.JOB_BLOCKED: "see the batch system for what it says of the job",
    Token.JOB_RUNS: "nothing",
    Token.JOB_ENDED: "nothing; the batch system's records say how it ended",
    Token.NO_SUCH_JOB: "see the number, and the batch system's records of jobs that have ended",
    Token.NOT_SEEN: "wait for the next look at the queue, check_queue_every_s at most",
    Token.CANNOT_TELL: "ask for the group: elastiqctl jobs lists all of them",
    Token.NOT_RUNNING: "elastiqctl start",
}
"""By the tokens that `elastiqctl why` gives."""


def remedy(token: str) -> str:
    """Return what would change what the token says; nothing for one that is not known."""
    return next((text for known, text in REMEDIES.items() if known.value == token), "")


def no_demand(explanation: Explanation) -> Reason:
    """Return what a job is that is no demand, with what the batch system says of it."""
    token = STANDINGS[explanation.standing]
    said = f" The batch system says: {explanation.text}" if explanation.text else ""
    return Reason(token, f"{token.meaning}{said}")


def not_seen(explanation: Explanation) -> Reason:
    """Return that a job is demand, but in no group that was planned for."""
    said = f" The batch system says: {explanation.text}" if explanation.text else ""
    return Reason(Token.NOT_SEEN, f"{Token.NOT_SEEN.meaning}{said}")


def no_plan_yet() -> Reason:
    return Reason(Token.NOT_SEEN, "the daemon runs, but has not made a plan yet")


def cannot_tell(plugin: str) -> Reason:
    return Reason(Token.CANNOT_TELL, f"the plugin cannot tell: {plugin} has no way to ask for a single job", plugin)


def not_running() -> Reason:
    return Reason(Token.NOT_RUNNING, Token.NOT_RUNNING.meaning)


def ended_by_elastiq(instance_id: str, because: str) -> Reason:
    why = f": {because}" if because else ""
    return Reason(Token.ENDED_BY_ELASTIQ, f"elastiq terminated it{why}", instance_id)


def ended_by_others(instance_id: str) -> Reason:
    return Reason(Token.ENDED_BY_OTHERS, Token.ENDED_BY_OTHERS.meaning, instance_id)


def no_such_vm(name: str) -> Reason:
    return Reason(Token.NO_SUCH_VM, Token.NO_SUCH_VM.meaning, name)


def just_launched(record: VmRecord) -> Reason:
    """Return what is said of a VM that has come since the last plan."""
    return Reason(Token.STILL_BOOTING, "it was launched, or found, after the last plan was made", record.id)


def of_a_pool(group: Demand, pool: str, chance: Chance, holds: Shape | None) -> tuple[Eligibility, str]:
    """Return whether VMs of a pool could run the jobs of a group, and why not or what is not known."""
    judged = group.judgements.get(pool, Judgement())
    if chance is Chance.NO:
        return Eligibility.NO, judged.reason or "the batch system says so"
    if chance is Chance.TOO_LARGE:
        return Eligibility.NO, f"a VM holds {describe(holds)}" if holds else "no VM holds as much"
    if chance is Chance.TRY:
        is_size = judged.answer is Eligibility.YES
        return Eligibility.UNKNOWN, "it is more than the VMs seen last had" if is_size else judged.reason
    return Eligibility.YES, ""
