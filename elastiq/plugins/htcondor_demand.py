"""The waiting jobs of HTCondor, counted in a child process: by what they ask for, and by what else they want.

`python -m elastiq.plugins.htcondor_demand bindings|cli SECONDS` reads a JSON document with the attributes `asked` of
jobs by workers, asks every schedd that the collector knows, and prints one JSON document. The schedds group the jobs,
so that 100,000 alike cost no more than one; the rest of the work does not burden the daemon. If `one` in the document
has the name of a schedd, a constraint that a job alone meets and, if that asks for a time to start, a third word, that
job alone is counted.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from elastiq.clock import Clock
from elastiq.command import run, share_group
from elastiq.errors import BatchError
from elastiq.plugins.htcondor_limits import Limits, limits_of
from elastiq.plugins.htcondor_matching import Ad, new_classad, text_of, wants_of
from elastiq.plugins.htcondor_parse import parse_schedds, parse_total
from elastiq.plugins.kit import LARGEST, Deadline, json_document, lines, tell_errors_briefly
from elastiq.text import excerpt

WAITING = "JobStatus == 1"
RUNNING = "(JobStatus == 2 || JobStatus == 6 || JobStatus == 7)"
"""Running, or sending its output, or suspended."""

ON_WORKERS = (
    # Grid, local and scheduler universe: they run on the submit node or elsewhere, never on a worker.
    "JobUniverse =!= 9 && JobUniverse =!= 12 && JobUniverse =!= 7"
    # In the hands of the job router or another manager: the schedd does not match it.
    ' && Managed =!= "External"'
)

IS_DUE = "(DeferralTime - DeferralPrepTime > time() + ScheddInterval) =!= true"
"""The very condition under which HTCondor itself matches a job with a deferral time or a cron schedule."""

CONSTRAINT = f"({WAITING} && {IS_DUE} || {RUNNING}) && {ON_WORKERS}"
"""Jobs that a new worker could run, and those that run."""


TAKERS = f"{RUNNING} && {ON_WORKERS} && ConcurrencyLimits =!= undefined"
"""Jobs that have taken their part of limits."""

TAKER_ATTRIBUTES = ("JobStatus", "ConcurrencyLimits")

SHAPE_EXPRESSIONS = (
    "int(RequestCpus)",
    "int(ceiling(RequestMemory))",
    "int(ceiling(RequestDisk / 1024.0))",
    "int(RequestGPUs)",
    "int(MinHosts)",
)
"""CPUs, memory (MB), disk (MB, from KB), GPUs, and how many slots a job of the parallel universe needs. `int` makes
an error of whatever is no number, so that nobody's text gets into the answer."""

JOB_ATTRIBUTES = (
    *("JobStatus", "RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs", "MinHosts"),
    *("Requirements", "RequireGPUs", "ConcurrencyLimits"),
)
"""The schedd groups by these, and adds what their expressions refer to, but for RequireGPUs (measured with 23.9.6).
Without JobStatus it returns no group."""

MOST_WANTS = 2000
"""So many kinds of jobs are told apart, those with most jobs first; what is beyond is too much to be judged."""

BEYOND = json.dumps({"too many": "kinds"})

_WHOLE = re.compile(r"(?:TARGET\.)?(?:Total|TotalSlot|Detected)?(?:Cpus|Memory)", re.IGNORECASE)
"""What a job asks for that wants its worker for itself, however large it is."""

OWN_SHARE = 0.95
"""Of the time that the daemon gives this process: so that it says itself which command hung."""

_SIZES_GIVEN = frozenset({"requestcpus", "requestmemory", "requestdisk", "requestgpus", "minhosts"})


class Source(Protocol):
    """A way to ask HTCondor."""

    def rows(self, attributes: Sequence[str]) -> tuple[list[str], list[Row]]:
        """Return the names of the schedds, and their jobs grouped by `attributes`. Raise BatchError."""

    def one(self, schedd: str, constraint: str) -> list[Row]:
        """Return the job that meets `constraint`, with all that it has: a schedd puts no single job into groups (none
        met a constraint on its number, measured with 23.9.6). Raise BatchError."""

    def takers(self) -> list[Row]:
        """Return the jobs that run and have concurrency limits, with these alone. Raise BatchError."""

    def numbers(self, rows: Sequence[Row]) -> list[tuple[int | None, ...]]:
        """Return the values of SHAPE_EXPRESSIONS for each row, None for what is no number."""

    def limits(self) -> Mapping[str, str]:
        """Return the configuration of concurrency limits: values by the names of variables, in small letters."""


@dataclass
class Row:
    """Jobs that are alike in all that was asked for."""

    ad: Ad
    jobs: int
    is_waiting: bool
    origin: Any = field(default=None, repr=False)


def counted(source: Source, asked: Sequence[str], one: Sequence[str] = ()) -> dict[str, Any]:
    """Return what waits and runs as a JSON document: `schedds`, `wants`, and `groups` of counts, sizes and an index
    into `wants`; with `one` of that job alone. Raise BatchError."""
    schedds, rows = source.rows([*JOB_ATTRIBUTES, *sorted(asked)]) if not one else _alone(source, *one)
    known: dict[tuple[tuple[str, str], ...], str] = {}
    waiting: Counter[tuple[Any, ...]] = Counter()
    running: Counter[tuple[Any, ...]] = Counter()
    limits = Limits(source.limits) if any("concurrencylimits" in row.ad for row in rows) else None
    shapes = source.numbers(rows)
    # What runs has taken its part of the limits; then come the most, and the same ones every time.
    pairs = sorted(zip(rows, shapes), key=lambda pair: (pair[0].is_waiting, -pair[0].jobs, sorted(pair[0].ad.items())))
    for row, shape in pairs:
        key = tuple(sorted((name, text) for name, text in row.ad.items() if name not in ("jobstatus", "minhosts")))
        wants = known.get(key)
        if wants is None:
            wants = known[key] = wants_of(row.ad, asked)
        group = (*shape, _takes_whole(row.ad), wants)
        needed = limits_of(row.ad.get("concurrencylimits", ""))
        if not row.is_waiting:
            running[group] += row.jobs
            if limits and needed:
                limits.take(needed, row.jobs)
            continue
        jobs = limits.take(needed, row.jobs) if limits and needed else row.jobs
        if jobs:
            waiting[group] += jobs
    return {"schedds": sorted(schedds), **_document(waiting, running)}


def _alone(source: Source, schedd: str, constraint: str, deferred: str = "") -> tuple[list[str], list[Row]]:
    """Return a job, and those that run and may take what it needs of a limit."""
    # More than its number makes the schedd look through all jobs.
    rows = source.one(schedd, f"{constraint} && {IS_DUE}" if deferred else constraint)
    if any("concurrencylimits" in row.ad for row in rows):
        rows += source.takers()
    return [schedd], rows


def _takes_whole(ad: Ad) -> bool:
    return any(_WHOLE.fullmatch(ad.get(name, "")) for name in ("requestcpus", "requestmemory"))


def _document(waiting: Counter[tuple[Any, ...]], running: Counter[tuple[Any, ...]]) -> dict[str, Any]:
    by_wants: Counter[str] = Counter()
    for group, jobs in waiting.items():
        by_wants[group[-1]] += jobs
    kept = [wants for wants, _ in sorted(by_wants.items(), key=lambda item: (-item[1], item[0]))[:MOST_WANTS]]
    index = {wants: number for number, wants in enumerate(kept)}
    texts = kept if len(kept) == len(by_wants) else [*kept, BEYOND]
    sums: dict[tuple[Any, ...], list[int]] = {}
    for group, jobs in waiting.items():
        alike = sums.setdefault((*group[:-1], index.get(group[-1], len(kept))), [0, 0])
        alike[0] += jobs
        alike[1] += running[group]
    return {"wants": texts, "groups": [[*counts, *group] for group, counts in sums.items()]}


class Bindings:
    """Asks through the Python bindings of HTCondor."""

    def __init__(self, htcondor2: Any, classad2: Any) -> None:
        self._htcondor2, self._classad2 = htcondor2, classad2

    def rows(self, attributes: Sequence[str]) -> tuple[list[str], list[Row]]:
        """Return as Source says."""
        api = self._htcondor2
        schedds = list(api.Collector().locateAll(api.DaemonType.Schedd))
        if not schedds:
            raise BatchError("the collector knows no schedd: has it just been restarted?")
        rows = []
        for location in schedds:
            answer = api.Schedd(location).query(
                constraint=CONSTRAINT, projection=list(attributes), opts=api.QueryOpt.GroupBy
            )
            for ad in answer:
                rows.append(_row(_texts(ad), ad))
        return [str(location["Name"]) for location in schedds], rows

    def one(self, schedd: str, constraint: str) -> list[Row]:
        """Return as Source says."""
        api = self._htcondor2
        location = api.Collector().locate(api.DaemonType.Schedd, schedd)
        return [_row_alone(_texts(ad), ad) for ad in api.Schedd(location).query(constraint=constraint)]

    def takers(self) -> list[Row]:
        """Return as Source says."""
        api = self._htcondor2
        asked = {"constraint": TAKERS, "projection": list(TAKER_ATTRIBUTES)}
        ads = [ad for one in api.Collector().locateAll(api.DaemonType.Schedd) for ad in api.Schedd(one).query(**asked)]
        return [_row_alone(_texts(ad), ad) for ad in ads]

    def numbers(self, rows: Sequence[Row]) -> list[tuple[int | None, ...]]:
        """Return as Source says."""
        expressions = [self._classad2.ExprTree(expression) for expression in SHAPE_EXPRESSIONS]
        return [tuple(_number(expression.eval(row.origin)) for expression in expressions) for row in rows]

    def limits(self) -> Mapping[str, str]:
        """Return as Source says."""
        param = self._htcondor2.param
        return {str(name).lower(): str(param[name]) for name in param.keys() if "limit" in str(name).lower()}  # noqa: SIM118


def _number(value: Any) -> int | None:
    # `undefined` and `error` are members of an integer enumeration: 2 and 1, which must not pass for numbers.
    return int(value) if type(value) in (int, float) and abs(value) < LARGEST else None


class Commands:
    """Asks by the commands of HTCondor."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline

    def rows(self, attributes: Sequence[str]) -> tuple[list[str], list[Row]]:
        """Return as Source says. Not `condor_q -global`: it leaves out the schedds of which the collector believes that
        they have no jobs."""
        schedds = parse_schedds(run(["condor_status", "-schedd", "-af", "Name"], self._deadline.remaining()))
        return list(schedds), [row for schedd in schedds for row in self._rows_of(schedd, attributes)]

    def _rows_of(self, schedd: str, attributes: Sequence[str]) -> list[Row]:
        question = ["condor_q", "-name", schedd, "-allusers", "-constraint", CONSTRAINT]
        text = run(
            [*question, "-group-by", "-attributes", ",".join(attributes), "-json"],
            self._deadline.remaining(),
        )
        if not text.strip() or text.split() == ["[", "]"]:
            if parse_total(run([*question, "-totals"], self._deadline.remaining())):
                raise BatchError(f"schedd {schedd} counts waiting jobs, but condor_q lists none")
            return []
        return [_row(ad, ad) for ad in _texts_of(text)]

    def one(self, schedd: str, constraint: str) -> list[Row]:
        """Return as Source says."""
        question = ["condor_q", "-name", schedd, "-allusers", "-constraint", constraint, "-json"]
        text = run(question, self._deadline.remaining())
        return [_row_alone(ad, ad) for ad in _texts_of(text)]

    def takers(self) -> list[Row]:
        """Return as Source says."""
        listed = parse_schedds(run(["condor_status", "-schedd", "-af", "Name"], self._deadline.remaining()))
        asked = ["-allusers", "-constraint", TAKERS, "-json", "-attributes", ",".join(TAKER_ATTRIBUTES)]
        texts = [run(["condor_q", "-name", schedd, *asked], self._deadline.remaining()) for schedd in listed]
        return [_row_alone(ad, ad) for text in texts for ad in _texts_of(text)]

    def numbers(self, rows: Sequence[Row]) -> list[tuple[int | None, ...]]:
        """Return as Source says; what is more than a number is evaluated by one condor_q, which asks nobody."""
        with tempfile.TemporaryDirectory(prefix="elastiq-") as directory:
            path = Path(directory) / "jobs"
            ads = ({**row.ad, "clusterid": str(number), "procid": "0"} for number, row in enumerate(rows, 1))
            path.write_text("".join(map(new_classad, ads)), encoding="utf-8", errors="replace")
            question = ["condor_q", "-jobads:new", str(path), "-af", "ClusterId", *SHAPE_EXPRESSIONS]
            text = run(question, self._deadline.remaining()) if rows else ""
        found = {}
        for words in map(str.split, lines(text)):
            if len(words) == 1 + len(SHAPE_EXPRESSIONS) and words[0].isdecimal():
                found[int(words[0])] = tuple(_printed_number(word) for word in words[1:])
        if len(found) != len(rows):
            raise BatchError(f"condor_q evaluated {len(found)} of {len(rows)} groups of jobs: {excerpt(text)}")
        return [found[number] for number in range(1, len(rows) + 1)]

    def limits(self) -> Mapping[str, str]:
        """Return as Source says."""
        text = run(["condor_config_val", "-dump", "LIMIT"], self._deadline.remaining())
        pairs = (line.partition("=") for line in lines(text) if "=" in line and not line.startswith("#"))
        return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _row_alone(ad: Mapping[str, str], origin: Any) -> Row:
    return _row({**ad, "jobcount": "1"}, origin)


def _texts(ad: Any) -> dict[str, str]:
    """Return the expressions of an ad of the bindings by their names in small letters."""
    return {name.lower(): str(ad.lookup(name)) for name in ad.keys()}  # noqa: SIM118


def _texts_of(text: str) -> list[dict[str, str]]:
    """Given ads as condor_q prints them in JSON, return the expressions of each by their names in small letters. Of no
    ads it prints nothing."""
    if not text.strip():
        return []
    ads = json_document(text, "condor_q")
    if not isinstance(ads, list) or not all(isinstance(ad, dict) for ad in ads):
        raise BatchError(f"condor_q answered what is no list of jobs: {excerpt(text)}")
    texts = ({name.lower(): text_of(value) for name, value in ad.items()} for ad in ads)
    return [{name: value for name, value in ad.items() if value is not None} for ad in texts]


def _printed_number(word: str) -> int | None:
    return int(word) if re.fullmatch(r"-?[0-9]{1,12}", word) else None


def _row(ad: Mapping[str, str], origin: Any) -> Row:
    jobs, status = ad.get("jobcount", ""), ad.get("jobstatus", "")
    if not re.fullmatch("[0-9]{1,12}", jobs) or not int(jobs) or not status.isdecimal():
        raise BatchError(f"HTCondor answered with a group of {excerpt(jobs)} jobs of status {excerpt(status)}")
    kept = {name: text for name, text in ad.items() if name not in ("id", "jobids", "jobcount")}
    return Row(kept, int(jobs), status == "1", origin)


def main(arguments: list[str]) -> int:
    """Answer the question on standard input and return the exit status; raise whatever the bindings raise."""
    how, seconds = arguments
    signal.alarm(int(float(seconds)) + 1)  # the end of this process, should the daemon die before it
    tell_errors_briefly()
    question = json.load(sys.stdin)
    asked, one = question["asked"], question.get("one", ())
    source: Source
    if how == "cli":
        share_group()
        source = Commands(Deadline(Clock(), OWN_SHARE * float(seconds), "HTCondor"))
    else:
        import htcondor2  # type: ignore[import-not-found,unused-ignore]  # isort: skip
        import classad2  # type: ignore[import-not-found,unused-ignore]

        source = Bindings(htcondor2, classad2)
    sys.stdout.write(json.dumps(counted(source, asked, one), separators=(",", ":")) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
