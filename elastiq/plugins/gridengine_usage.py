"""Who used which host of Grid Engine: by the accounting file and by what runs. Pure functions."""

from __future__ import annotations

from elastiq.errors import BatchError
from elastiq.model import Usage
from elastiq.plugins import kit
from elastiq.plugins.kit import LARGEST
from elastiq.text import excerpt

USED = (
    "!/^#/ && NF >= 42 && $10 ~ /^[0-9]+$/ && $11 ~ /^[0-9]+$/ && $11 + 0 >= since + 0 "
    '{ print $2 ":" $4 ":" $10 ":" $11 ":" ($42 == "NONE" ? $35 : 1) }'
)
"""Of lines of the accounting file (accounting(5)), whose fields have no colons in them: host, owner, begin, end and
slots of a job that ended at `since` or later. Of the tasks of a parallel job that have lines of their own each has
one."""

_LARGEST_SECONDS = 10**11
"""Greater ones are milliseconds, and those a thousand times as great microseconds: so count some descendants of Grid
Engine."""
_MOST_DIGITS = 17


def parse_ended(text: str, since: float) -> tuple[Usage, ...]:
    """Given what USED prints, return who used what. What never began, or has times that cannot be, is left out."""
    found = []
    for line in kit.lines(text):
        row = line.split(":")
        if len(row) != 5 or not all(word.isdecimal() and len(word) <= _MOST_DIGITS for word in row[2:4]):
            continue
        begin_at, end_at = (_seconds(int(word)) for word in row[2:4])
        host, owner = row[:2]
        if host and owner and line.isprintable() and begin_at and since <= end_at >= begin_at:
            found.append(Usage(owner, host, begin_at, end_at, _slots(row[4])))
    return tuple(found)


def parse_running(answer: str) -> tuple[Usage, ...]:
    """Given the output of `qstat -xml -s rs -u *`, return who uses what: of a parallel job it names but one host, which
    has it all here. Times are those of this machine's zone, for the answer does not say which. Raise BatchError if it
    is no list of jobs."""
    root = kit.xml_document(answer, "qstat")
    if root.tag != "job_info":
        raise BatchError(f"qstat answered what is no list of jobs: {excerpt(answer)}")
    found = []
    for job in root.iter("job_list"):
        names = ("JB_owner", "queue_name", "slots", "JAT_start_time")
        said = {name: (job.findtext(name) or "").strip() for name in names}
        host, begin_at = said["queue_name"].rpartition("@")[2], kit.local_time(said["JAT_start_time"])
        if said["JB_owner"] and host and begin_at and (said["JB_owner"] + host).isprintable():
            found.append(Usage(said["JB_owner"], host, begin_at, None, _slots(said["slots"])))
    return tuple(found)


def _slots(text: str) -> int:
    return min(max(1, int(text)), LARGEST) if text.isdecimal() and len(text) < 10 else 1


def _seconds(number: int) -> float:
    if number > _LARGEST_SECONDS * 1000:
        return number / 1_000_000
    return number / 1000 if number > _LARGEST_SECONDS else float(number)
