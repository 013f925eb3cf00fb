"""Generic resources (gres) as Slurm writes them: GPUs, parts of GPUs (`shard`, `mps`), and whatever a site counts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_PLACES = re.compile(r"\([^)]*\)")
"""Where on the machine they are: `(S:0-1)`, `(IDX:0,2)`."""
_PREFIX = re.compile("^gres[:/]")
_COUNT = re.compile("([0-9]{1,12})([KMGTP]?)", re.IGNORECASE)
_NOTHING = ("", "N/A", "(null)")
_NO_GRES = frozenset({"cpu", "mem", "node", "billing", "license", "energy", "pages", "vmem", "bb", "fs", "ic"})
"""What else may stand among trackable resources, those of `--tres-per-task` for example."""


def parse(text: str) -> Counter[str]:
    """Return how many there are of each kind in a list such as `gpu:a100:2(S:0),nic:1` or `cpu=1,gres/gpu:a100=2`, in
    the spelling of any version, by `name` or `name:type`; what else stands there (`cpu=1`) is left out."""
    found: Counter[str] = Counter()
    if text in _NOTHING:
        return found
    for entry in _PLACES.sub("", text).split(","):
        entry = entry.strip()
        if not _PREFIX.match(entry) and re.split("[:=/]", entry)[0] in _NO_GRES:
            continue
        name, *rest = re.split("[:=]", _PREFIX.sub("", entry))
        words = [word for word in rest if word != "no_consume"]
        # A type may be all digits (3090), so the count is what stands last.
        last = _COUNT.fullmatch(words[-1]) if words else None
        count = int(last[1]) * 1024 ** " KMGTP".index(last[2].upper() or " ") if last else 1
        kind = ":".join(words[:-1] if last else words)
        if name:
            found[f"{name}:{kind}" if kind else name] += count
    return found


def total(gres: Mapping[str, int], name: str) -> int:
    """Return how many there are of `name`, of all types together."""
    return sum(count for kind, count in gres.items() if kind.partition(":")[0] == name)


def lacking(kind: str, count: int, offered: Mapping[str, int]) -> str:
    """Return in words why a machine that has `offered` could never give so many of a kind, or nothing."""
    there_is = offered.get(kind, 0) if ":" in kind else total(offered, kind)
    if there_is >= count:
        return ""
    return (
        f"workers like this have {there_is}, and {count} are asked for on a node"
        if there_is
        else ("no worker like this has any")
    )
