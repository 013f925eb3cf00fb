"""Whether workers of HTCondor could run jobs, and the child process that finds out.

`python -m elastiq.plugins.htcondor_judge bindings|cli SECONDS` reads a JSON document with `wants` and `template` and
prints a line of JSON for each of `wants`. It is a process of its own because users write the expressions, and because
what evaluates them may hang or crash over one.
"""

from __future__ import annotations

import json
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from elastiq.clock import Budget, Clock
from elastiq.command import run, share_group
from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins.htcondor_classads import Expression, clauses, reachable
from elastiq.plugins.htcondor_matching import (
    IDENTITIES,
    NEW_NAME,
    Ad,
    ads_of,
    asked_by,
    idle_at,
    is_momentary,
    new_classad,
    read_all,
)
from elastiq.plugins.htcondor_narrowing import SAID_CHARACTERS, SMALL, narrowing_of, refusals, untold
from elastiq.plugins.kit import lines, tell_errors_briefly
from elastiq.text import excerpt, one_line

ONE_SECONDS = 2
"""Of computing. Whatever takes longer than this to evaluate never ends."""

BATCH = 200
"""So many jobs are given to one condor_q, which takes some 15 ms for one and 50 ms for so many."""

COMMAND_SECONDS = 10.0

_PATTERNS = frozenset(
    {
        "regexp", "regexps", "regexpmember", "substr", "strcat", "split", "splitslotname", "replace",
        "replaceall", "stringlistregexpmember",
    }
)  # fmt: skip
"""Functions by which a name is compared with more than itself."""

_LARGE = dict.fromkeys(
    [
        *("cpus", "memory", "disk", "gpus", "totalcpus", "totalmemory", "totaldisk", "totalgpus", "virtualmemory"),
        *("totalslotcpus", "totalslotmemory", "totalslotdisk", "totalslotgpus", "detectedcpus", "detectedmemory"),
    ],
    str(10**12),
)

_ARCHITECTURES = {"x86_64": "X86_64", "i686": "INTEL"}


class Evaluator(Protocol):
    """HTCondor's own evaluation of expressions."""

    def truths(self, jobs: Sequence[Ad], slot: Ad) -> Sequence[tuple[bool, bool]]:
        """Return for each of `jobs` whether its Requirements are true of `slot`, and, if they are, those of `slot` of
        the job.

        Raise BatchError if one of them cannot be evaluated.
        """


def unlearnt() -> Ad:
    """Return what is supposed of workers as long as none was seen: as the head node, with room for everything."""
    machine = platform.machine()
    alike = {"arch": json.dumps(_ARCHITECTURES.get(machine, machine)), "opsys": json.dumps(platform.system().upper())}
    return {**_LARGE, **alike, "hasfiletransfer": "true", "partitionableslot": "true", "requirements": "true"}


@dataclass(frozen=True)
class Kind:
    """A kind of worker that jobs are compared with, and what is read off it once."""

    slot: Ad
    expressions: Mapping[str, Expression]
    asked: frozenset[str]
    """Attributes of jobs that it refers to."""
    deciding: frozenset[str]
    """Attributes of its own on which it depends whether it accepts a job."""
    is_learnt: bool
    offered: frozenset[str] = frozenset()
    """Attributes of which the configuration says what they are, where nothing was learnt."""
    fault: str = ""
    """Why it cannot be compared with anything."""


def kinds_of(template: str, now: float) -> tuple[Kind, ...]:
    """Return the kinds of slots that a worker like `template`, which may be narrowed, has; without one, those that are
    supposed; none if it is damaged. `now`, in seconds since the epoch, is when they are idle."""
    known = narrowing_of(template)
    if not known.template:
        return (_kind({**unlearnt(), **known.offers}, False, now, frozenset(known.offers)),)
    return tuple(_kind(ad, True, now, frozenset()) for ad in ads_of(known.template) or ())


def _kind(ad: Ad, is_learnt: bool, now: float, offered: frozenset[str]) -> Kind:
    whole = {**ad, **idle_at(now)}
    expressions = read_all(whole)
    names = reachable(["requirements"], expressions)
    parts = [expressions[name] for name in names or ()]
    needed = {"requirements"}.union(*(part.my | part.either for part in parts))
    is_odd = names is None or any(part.foreign for part in parts) or needed & (set(whole) - set(expressions))
    fault = "START: cannot be evaluated here" if is_odd else ""
    slot = {name: text for name, text in whole.items() if name in expressions}
    return Kind(slot, expressions, asked_by(ad), names or frozenset(), is_learnt, offered, fault)


def judge(wants: Sequence[str], kinds: Sequence[Kind], evaluator: Evaluator, taken: str = "") -> tuple[Judgement, ...]:
    """Return for each of `wants` whether a worker that has slots of these `kinds` could run such jobs, and the pool
    takes them, if `taken` says which it takes.

    Raise BatchError as `truths` does.
    """
    if taken:
        refused = refusals(wants, taken, evaluator.truths)
        left = [one for one, reason in zip(wants, refused) if not reason]
        found = iter(judge(left, kinds, evaluator))
        return tuple(_no(reason) if reason else next(found) for reason in refused)
    if not kinds:
        return (_unknown("what workers offer is not known: its record is damaged"),) * len(wants)
    jobs = [_job(one) for one in wants]
    answers = [_judge_kind([job for job in jobs if not isinstance(job, Judgement)], kind, evaluator) for kind in kinds]
    each = iter(zip(*answers))
    return tuple(job if isinstance(job, Judgement) else min(next(each), key=_hope) for job in jobs)


def _hope(judgement: Judgement) -> int:
    return (Eligibility.YES, Eligibility.UNKNOWN, Eligibility.NO).index(judgement.answer)


def _job(wants: str) -> dict[str, str] | Judgement:
    """Return the job ad that `wants` stands for, or why it cannot be judged."""
    try:
        job = json.loads(wants) if wants else {}
    except (ValueError, RecursionError):
        job = None
    if not isinstance(job, dict) or not all(isinstance(text, str) for text in job.values()):
        return _unknown("Requirements: what the jobs want cannot be read")
    if "too long" in job:
        return _unknown("Requirements: too long to judge")
    if "too many" in job:
        return _unknown("Requirements: too many kinds of jobs to judge")
    expressions = read_all(job)
    unread = sorted(set(job) - set(expressions))
    if unread:
        return _unknown(f"{_title(unread[0])}: cannot be read")
    if reachable(expressions, expressions) is None:
        return _unknown("Requirements: refer to themselves")
    foreign = sorted(name for expression in expressions.values() for name in expression.foreign)
    if foreign:
        return _unknown(f"Requirements: {foreign[0]}() is not evaluated here")
    return {"requirements": "true", **job}


def _judge_kind(jobs: Sequence[Ad], kind: Kind, evaluator: Evaluator) -> list[Judgement]:
    if kind.fault:
        return [_unknown(kind.fault)] * len(jobs)
    truths = evaluator.truths([{**SMALL, **job} for job in jobs], kind.slot)
    refused = [job for job, (accepts, _) in zip(jobs, truths) if not accepts]
    parts = [(job, part) for job in refused for part in clauses(job["requirements"]) or ()]
    alone = [{**SMALL, **job, "requirements": part.text} for job, part in parts]
    reasons: dict[int, list[Judgement]] = {}
    for (job, part), (is_true, _) in zip(parts, evaluator.truths(alone, kind.slot) if alone else ()):
        if not is_true:
            reasons.setdefault(id(job), []).append(_why(part, job, kind))
    return [_sum(job, truth, reasons.get(id(job), []), kind) for job, truth in zip(jobs, truths)]


def _sum(job: Ad, truth: tuple[bool, bool], found: list[Judgement], kind: Kind) -> Judgement:
    accepts, accepted = truth
    if accepts and accepted:
        return Judgement()
    if not accepted:
        found = [*found, _refused_by_slot(job, kind)]
    sure = [judgement for judgement in found if judgement.answer is Eligibility.NO]
    return (sure or found or [_unknown("Requirements: not met, and it is not clear why")])[0]


def _why(clause: Expression, job: Ad, kind: Kind) -> Judgement:
    """Return what is to be said of a clause of a job's Requirements that is not true."""
    slot, expressions = kind.slot, read_all(job)
    own = {name for name in clause.my | clause.either if name in job}
    inside = [expressions[name] for name in reachable(own, expressions) or ()]
    asked = {
        name
        for part in (clause, *inside)
        for name in part.target | {one for one in part.either if one not in job}
        if name != "requirements"
    }
    said = one_line(clause.text, SAID_CHARACTERS)
    if not asked:
        return _no(f"Requirements: {said} is not true of the jobs themselves")
    named = {name for name in asked if slot.get(name) == NEW_NAME or name in IDENTITIES}
    if any(name in named and function in _PATTERNS for part in (clause, *inside) for function, name in part.within):
        return _unknown(f"Requirements: {said} depends on the names of workers")
    if named == asked:
        return _no(f"Requirements: {said} names a machine, which no new worker is")
    if not (kind.is_learnt or asked <= kind.offered):
        return _unknown(f"Requirements: whether new workers meet {said} is not known before there is one")
    momentary = sorted(name for name in asked if is_momentary(name) and name not in slot)
    if momentary:
        return _unknown(f"Requirements: {_title(momentary[0])} changes from moment to moment")
    missing = sorted(asked - set(slot))
    if missing:
        spelled = _spelled(missing[0], clause.text)
        return _no(f"Requirements: {spelled} is not advertised by workers like this")
    values = ", ".join(
        f"{_spelled(name, clause.text)} is {one_line(slot[name], SAID_CHARACTERS)}" for name in sorted(asked)
    )
    return _no(f"Requirements: {said} is not met by workers like this" + (f" ({values})" if values else ""))


def _refused_by_slot(job: Ad, kind: Kind) -> Judgement:
    open_names = sorted(name for name in kind.asked if name not in job and name not in SMALL)
    if open_names:
        return _unknown(f"START: of these jobs it is not known what {open_names[0]} is")
    parts = [kind.expressions[name] for name in kind.deciding]
    needed = {name for part in parts for name in part.my | part.either if name not in kind.slot}
    momentary = sorted(name for name in needed if is_momentary(name))
    if momentary:
        return _unknown(f"START: {momentary[0]} changes from moment to moment")
    start = kind.expressions["start" if "start" in kind.deciding else "requirements"].text
    return _no(f"START: workers like this do not accept these jobs: {one_line(start, SAID_CHARACTERS)}")


def _no(reason: str) -> Judgement:
    return Judgement(Eligibility.NO, reason)


def _unknown(reason: str) -> Judgement:
    return Judgement(Eligibility.UNKNOWN, reason)


def _title(name: str) -> str:
    return "Requirements" if name == "requirements" else name


def _spelled(name: str, text: str) -> str:
    """Return `name` as it is written in `text`."""
    position = text.lower().find(name)
    return text[position : position + len(name)] if position >= 0 else name


class Bindings:
    """Evaluates in this process."""

    def __init__(self, classad2: Any) -> None:
        self._classad2 = classad2
        self._slots: dict[int, tuple[Ad, Any, dict[tuple[tuple[str, str], ...], tuple[bool, bool]]]] = {}
        """By slot, its ad, and what was found of it: clauses are the same in many jobs."""
        self._job: tuple[Ad, Any] = ({}, None)
        """The last job, by its attributes but for its Requirements: most jobs differ in these alone."""

    def truths(self, jobs: Sequence[Ad], slot: Ad) -> Sequence[tuple[bool, bool]]:
        """Return as Evaluator says."""
        if id(slot) not in self._slots:
            self._slots[id(slot)] = slot, self._ad(slot, needed=_decide(slot)), {}
        _, there, known = self._slots[id(slot)]
        found = []
        for texts in jobs:
            key = tuple(sorted(texts.items()))
            if key not in known:
                known[key] = self._truth(texts, there)
            found.append(known[key])
        return found

    def _truth(self, texts: Ad, there: Any) -> tuple[bool, bool]:
        rest = {name: text for name, text in texts.items() if name != "requirements"}
        if self._job[0] != rest:
            self._job = rest, self._ad(rest, needed=rest)
        job = self._job[1]
        job["requirements"] = self._read("requirements", texts["requirements"])
        # An ad matches another one if the other's Requirements are true of it.
        return bool(there.matches(job)), bool(job.matches(there))

    def _ad(self, texts: Ad, needed: Collection[str]) -> Any:
        ad = self._classad2.ClassAd()
        for name, text in texts.items():
            try:
                ad[name] = self._read(name, text)
            except BatchError:
                if name in needed:
                    raise
        return ad

    def _read(self, name: str, text: str) -> Any:
        try:
            return self._classad2.ExprTree(text)
        except self._classad2.ClassAdException as error:
            raise BatchError(f"{name} cannot be read: {excerpt(text)}") from error


def _decide(slot: Ad) -> frozenset[str]:
    return reachable(["requirements"], read_all(slot)) or frozenset(slot)


class Commands:
    """Has condor_q evaluate, which asks no daemon if it is given both sides."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds

    def truths(self, jobs: Sequence[Ad], slot: Ad) -> Sequence[tuple[bool, bool]]:
        """Return as Evaluator says."""
        plain = {"jobstatus": "1", "jobuniverse": "5", "owner": '"nobody"', "user": '"nobody@nowhere"'}
        numbered = [{**plain, **job, "clusterid": str(number), "procid": "0"} for number, job in enumerate(jobs, 1)]
        with tempfile.TemporaryDirectory(prefix="elastiq-") as directory:
            jobs_path, slots_path = Path(directory) / "jobs", Path(directory) / "slots"
            jobs_path.write_text("".join(map(new_classad, numbered)), encoding="utf-8")
            slots_path.write_text(new_classad(slot), encoding="utf-8")
            ads = ["-jobads:new", str(jobs_path), "-slotads:new", str(slots_path)]
            text = run(["condor_q", "-analyze:summary", *ads], self._timeout_seconds)
        rows = [words for words in map(str.split, lines(text)) if words and words[0].partition(".")[2] == "0"]
        found = {words[0].partition(".")[0]: words[1:] for words in rows}
        try:
            columns = [found[job["clusterid"]] for job in numbered]
            return [(int(one[0]) > 0, int(one[1]) == 0) for one in columns]
        except (KeyError, IndexError, ValueError) as error:
            raise BatchError(f"condor_q answered what is no analysis: {excerpt(text)}") from error


def main(arguments: list[str]) -> int:
    """Answer the question on standard input, and return the exit status."""
    how, seconds = arguments
    signal.alarm(int(float(seconds)) + 1)  # the end of this process, should the daemon die before it
    tell_errors_briefly()
    question = json.load(sys.stdin)
    template, wants = question["template"], question["wants"]
    kinds, taken = kinds_of(template, Clock().now()), narrowing_of(template).jobs
    if how == "cli":
        share_group()
        _say(by_commands(wants, kinds, Commands(min(float(seconds), COMMAND_SECONDS)), 0.7 * float(seconds), taken))
        return 0
    # It is htcondor2 that reads how this pool evaluates ClassAds.
    import htcondor2  # type: ignore[import-not-found,unused-ignore]  # noqa: F401  # isort: skip
    import classad2  # type: ignore[import-not-found,unused-ignore]

    _say(one_by_one(wants, kinds, Bindings(classad2), _end_after, taken))
    return 0


def _end_after(seconds: float) -> None:
    """End this process when it has computed for so long (SIGPROF does); 0: never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def one_by_one(
    wants: Iterable[str],
    kinds: Sequence[Kind],
    evaluator: Evaluator,
    end_after: Callable[[float], None],
    taken: str = "",
) -> Iterator[Judgement]:
    """Judge one after the other. Whoever takes too long ends this process, and so does a crash: what was judged before
    has been written by then."""
    for one in wants:
        end_after(ONE_SECONDS)
        judgement = _one(one, kinds, evaluator, taken)
        end_after(0)
        yield judgement


def _one(wants: str, kinds: Sequence[Kind], evaluator: Evaluator, taken: str) -> Judgement:
    try:
        return judge([wants], kinds, evaluator, taken)[0]
    except BatchError as error:
        return _unknown(f"Requirements: {error}")


def by_commands(
    wants: Sequence[str], kinds: Sequence[Kind], evaluator: Evaluator, seconds: float, taken: str = ""
) -> Iterator[Judgement]:
    """Judge many at a time, and where that fails one by one, so that one odd job is no other's trouble. What is not
    begun within `seconds` is not judged."""
    budget = Budget(Clock(), seconds)
    late = untold("Requirements: too many to judge in time", taken)
    for start in range(0, len(wants), BATCH):
        some = wants[start : start + BATCH]
        if not budget.is_left:
            yield from [late] * len(some)
            continue
        try:
            yield from judge(some, kinds, evaluator, taken)
        except BatchError:
            for one in some:
                yield _one(one, kinds, evaluator, taken) if budget.is_left else late


def _say(judgements: Iterable[Judgement]) -> None:
    for judgement in judgements:
        print(json.dumps([judgement.answer.value, judgement.reason]), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
