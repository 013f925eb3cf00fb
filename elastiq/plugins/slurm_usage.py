"""Who used which node of a Slurm cluster: by `sacct`, or by the file of ended jobs and the queue. Pure functions."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from elastiq.errors import BatchError
from elastiq.model import Usage
from elastiq.plugins import kit
from elastiq.plugins.kit import LARGEST
from elastiq.plugins.slurm_queue import FIELD_END, RECORD_END
from elastiq.text import excerpt

SACCT = ("User", "Start", "End", "NodeList", "AllocCPUS", "NNodes")
"""Of `sacct --format`: no field of these is free text."""

RUNNING = ("UserName", "StartTime", "NodeList", "NumCPUs", "NumNodes")
"""Of `squeue --Format`."""

DATABASE = "sacct"
"""What `source_of` returns where slurmdbd keeps what jobs used."""

MOST_NODES = 10_000
"""Of one job."""

_SETTING = r"^{}\s*=\s*(\S+)"
_ITEM = re.compile(r"(?:[^\[\],]|\[[^\[\]]*\])+")
_LIST = re.compile(r"([^\[\],\s]*)(?:\[([0-9,-]+)\])?")
_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
_NOTHING = ("", "(null)", "None assigned", "N/A")
_NO_TIME = ("", "Unknown", "None", "N/A", "NONE")
_ENDED = re.compile(
    r" JobState=\S+ Partition=\S* TimeLimit=\S+ StartTime=(\S+) EndTime=(\S+) NodeList=(\S*) NodeCnt=([0-9]+) "
    r"ProcCnt=([0-9]+) WorkDir="
)
_BEGIN = re.compile(r"JobId=[0-9]+ UserId=")
_END = re.compile(r" DerivedExitCode=\S* ExitCode=\S* ?$")
_USER = re.compile(r"JobId=[0-9]+ UserId=([^\s()]+)\([0-9]+\) GroupId=")


def running_format() -> str:
    """Return what squeue is given as `--Format`."""
    *names, last = RUNNING
    return "".join(f"{name}:0{FIELD_END}," for name in names) + f"{last}:0{RECORD_END}"


def source_of(configuration: str) -> str:
    """Given the output of `scontrol show config`, return where Slurm keeps what jobs used: DATABASE, or the path of the
    file of ended jobs. Raise BatchError if nowhere."""
    said = {
        name: found[1] if (found := re.search(_SETTING.format(name), configuration, re.MULTILINE)) else ""
        for name in ("AccountingStorageType", "JobCompType", "JobCompLoc")
    }
    if said["AccountingStorageType"].lower() == "accounting_storage/slurmdbd":
        return DATABASE
    if said["JobCompType"].lower() == "jobcomp/filetxt" and said["JobCompLoc"].startswith("/"):
        return said["JobCompLoc"]
    raise BatchError(
        "Slurm keeps no record of who used what: let slurm.conf have "
        "AccountingStorageType=accounting_storage/slurmdbd, or JobCompType=jobcomp/filetxt with a JobCompLoc"
    )


def parse_sacct(text: str) -> tuple[Usage, ...]:
    """Given what `sacct --parsable2 --noheader` prints of SACCT, times as seconds, return who used what. Raise
    BatchError if it is none."""
    found: list[Usage] = []
    for line in filter(None, kit.lines(text)):
        row = line.split("|")
        if len(row) != len(SACCT):
            raise BatchError(f"sacct answered {excerpt(line)}")
        user, begin, end, nodes, cpus, machines = row
        found += _stays(user, _seconds(begin, "sacct"), _seconds(end, "sacct"), nodes, cpus, machines)
    return tuple(found)


def parse_running(text: str) -> tuple[Usage, ...]:
    """Given what squeue prints of RUNNING, without a header, times as seconds, return who uses what. Raise BatchError
    if it is none."""
    found: list[Usage] = []
    for record in text.split(RECORD_END)[:-1]:
        row = record.lstrip("\n").split(FIELD_END)
        if len(row) != len(RUNNING):
            raise BatchError(f"squeue answered {excerpt(record)}")
        user, begin, nodes, cpus, machines = (word.strip() for word in row)
        found += _stays(user, _seconds(begin, "squeue"), None, nodes, cpus, machines)
    return tuple(found)


def parse_ended(text: str, since: float) -> tuple[Usage, ...]:
    """Given the end of the file of ended jobs, return who used what until `since` or later.

    Names of jobs and directories are free text, also with new lines in it (tried on Slurm 24.11): a record of several
    lines tells nothing, for any of them may begin with the name of another user. Nor does one in which what was used
    stands twice, one that is cut, or one whose nodes are none. Times are those of this machine's zone: the file does
    not say which.
    """
    found: list[Usage] = []
    for line in _records(text):
        user, told = _USER.match(line), list(_ENDED.finditer(line))
        if not user or len(told) != 1:
            continue
        begin, end, nodes, machines, cpus = told[0].groups()
        begin_at, end_at = kit.local_time(begin), kit.local_time(end)
        if end_at is None or end_at < since:
            continue
        try:
            found += _stays(user[1], begin_at, end_at, nodes, cpus, machines)
        except BatchError:
            continue  # made up by a name, or cut
    return tuple(found)


def _records(text: str) -> Iterator[str]:
    """Yield the lines that are a record each, from its beginning to its end."""
    is_open = False
    for line in kit.lines(text):
        has_ended = _END.search(line) is not None
        if has_ended and not is_open and len(_BEGIN.findall(line)) == 1:
            yield line
        is_open = not has_ended


def nodes_of(text: str) -> list[str]:
    """Return the nodes of a list such as node[1-3,07],head. Raise BatchError if it is none, or too long."""
    found: list[str] = []
    for item in _items(text):
        pieces: list[list[str]] = []
        at = 0
        while at < len(item):
            match = _LIST.match(item, at)
            if not match or match.end() == at:
                raise BatchError(f"Slurm answered {excerpt(text)} instead of nodes")
            at = match.end()
            numbers = itertools.islice(_numbers(match[2], text), MOST_NODES + 1) if match[2] else ("",)
            pieces += [[match[1]], list(numbers)]
        found += itertools.islice(map("".join, itertools.product(*pieces)), MOST_NODES + 1)
        if len(found) > MOST_NODES:
            raise BatchError(f"Slurm answered more than {MOST_NODES} nodes of one job: {excerpt(text)}")
    return found


def _items(text: str) -> list[str]:
    """Return what stands between the commas that are in no brackets. Raise BatchError if anything is missing there."""
    if text in _NOTHING:
        return []
    items: list[str] = _ITEM.findall(text)
    if ",".join(items) != text:
        raise BatchError(f"Slurm answered {excerpt(text)} instead of nodes")
    return items


def _numbers(ranges: str, text: str) -> Iterator[str]:
    for one in ranges.split(","):
        match = _RANGE.fullmatch(one)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not match or not first <= last <= first + MOST_NODES:
            raise BatchError(f"Slurm answered {excerpt(text)} instead of nodes")
        for number in range(first, last + 1):
            yield f"{number:0{len(match[1])}}"


def _stays(
    user: str, begin_at: float | None, end_at: float | None, nodes: str, cpus: str, machines: str
) -> Iterator[Usage]:
    """Yield the stay of a job on each of its nodes, on which it is taken to have had as many CPUs as on any other."""
    if not user or not user.isprintable() or begin_at is None or (end_at is not None and end_at < begin_at):
        return
    all_cpus, all_nodes = (int(word) if word.isdecimal() and len(word) < 10 else 0 for word in (cpus, machines))
    each = min(max(1, all_cpus // max(1, all_nodes)), LARGEST)
    for node in nodes_of(nodes):
        if node.isprintable():
            yield Usage(user, node, begin_at, end_at, each)


def _seconds(text: str, who: str) -> float | None:
    if text in _NO_TIME:
        return None
    if not text.isdecimal() or len(text) > 11:
        raise BatchError(f"{who} answered {excerpt(text)} instead of a time")
    return float(text) or None
