"""What Grid Engine's commands print."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

from elastiq.errors import BatchError
from elastiq.plugins import gridengine_hosts, gridengine_narrowing, gridengine_parse, gridengine_template
from elastiq.plugins.faults import judgement_faults, template_faults
from elastiq.plugins.gridengine_complexes import parse_complexes
from elastiq.plugins.gridengine_query import AnswerError, Count, LimitReader, read_jobs, read_limits
from elastiq.plugins.gridengine_wants import to_text
from tests.fuzz.checks import NOW, Target, check_demand, check_workers

RECORDED = Path(__file__).parents[1] / "unit" / "plugins" / "recorded" / "gridengine"
COMPLEXES = parse_complexes((RECORDED / "complexes").read_text(encoding="utf-8"))


def gridengine_jobs(data: bytes) -> None:
    """Whatever qstat prints of the queue, and of the limits of arrays, separated by a NUL."""
    queue, _, arrays = data.partition(b"\0")
    count, limits = Count(()), LimitReader()
    try:
        unreadable = read_jobs(io.BytesIO(queue), count.take)
        read_limits(io.BytesIO(arrays), limits)
    except AnswerError:
        pass
    else:
        assert unreadable.jobs or count.groups({}) or queue.count(b"<job_list") == 0 or b"<state" in queue
    groups = json.dumps({"groups": count.groups(limits.limits)})
    jobs = gridengine_parse.parse_jobs(groups)
    demand, faults = gridengine_parse.demand_of(jobs.groups, {}, COMPLEXES, NOW)
    check_demand(demand)
    assert all(isinstance(fault, str) for fault in faults)


def gridengine_counted(data: bytes) -> None:
    """Whatever the child process that counts jobs prints, and qconf of a rule and of names."""
    text = data.decode("utf-8", "replace")
    for read in (
        lambda: gridengine_parse.parse_rule(text, "mpi"),
        lambda: gridengine_parse.parse_names(text, "qconf"),
        lambda: gridengine_parse.deciding_of(gridengine_parse.parse_jobs(text).groups, COMPLEXES),
    ):
        try:
            read()
        except BatchError:
            pass
    try:
        jobs = gridengine_parse.parse_jobs(text)
    except BatchError:
        return
    left = gridengine_parse.limited(jobs.groups, {"slots": 3.0}, COMPLEXES)
    demand, _ = gridengine_parse.demand_of(left, {"mpi": "$pe_slots"}, COMPLEXES, NOW, cluster_wide=["licence"])
    check_demand(demand)


_NAMED_HOST = re.compile(r"""<host\s[^>]*\bname=(?!['"]global['"])""")


def gridengine_nodes(data: bytes) -> None:
    """Whatever qconf prints of complexes and qhost of hosts, separated by a NUL."""
    complexes, _, hosts = (part.decode("utf-8", "replace") for part in data.partition(b"\0"))
    known = COMPLEXES
    try:
        known = parse_complexes(complexes)
    except BatchError:
        pass
    try:
        gridengine_hosts.parse_global(hosts, known.consumables)
    except BatchError:
        pass
    try:
        found = gridengine_hosts.parse_hosts(hosts, known)
    except BatchError:
        return
    check_workers(tuple(host.worker(host, 5.0, known.memory) for host in found))
    assert found or not _NAMED_HOST.search(hosts), f"no hosts, from {hosts!r}"


def gridengine_templates(data: bytes) -> None:
    """Whatever qconf prints of a host, a queue and the whole cluster, and whatever jobs want, separated by NULs."""
    texts = [part.decode("utf-8", "replace") for part in data.split(b"\0")]
    host, queue, everywhere, wants = (*texts[:4], *[""] * (4 - len(texts[:4])))
    text = host
    try:
        site = gridengine_template.site_of(queue, everywhere, host)
        text = to_text(gridengine_template.template_of(host, {"all.q": queue}, [], everywhere, COMPLEXES, site))
    except BatchError:
        pass
    else:
        assert template_faults(text) == []
    asked = [wants, "", json.dumps({"queues": [wants], "values": {wants: wants}})]
    for site in ("", "another"):
        assert judgement_faults(gridengine_narrowing.judge(asked, text, site, COMPLEXES.named), len(asked)) == []


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (gridengine_jobs, gridengine_counted, gridengine_nodes, gridengine_templates)
}


def _read(*names: str) -> bytes:
    return b"\0".join((RECORDED / name).read_bytes() for name in names)


SEEDS: dict[str, tuple[bytes, ...]] = {
    "gridengine_jobs": (
        _read("qstat.xml"),
        _read("qstat-odd.xml"),
        _read("qstat-odd-arrays.xml", "qstat-arrays.xml"),
        _read("qstat-wants.xml", "qstat-gone.xml"),
    ),
    "gridengine_counted": (
        b'{"groups": [["mpi", 2, {"h_vmem": "1G"}, ["all.q"], 5, 1, "2026-11-22T22:52:21"]], "unreadable": 1}',
        _read("environment-mpi"),
        b"mpi\nsmp\n",
    ),
    "gridengine_nodes": (_read("complexes", "qhost.xml"), _read("complexes-site", "qhost-used-up.xml")),
    "gridengine_templates": (_read("host", "queue-all", "host-global") + b'\0{"queues": ["all.q"], "values": {}}',),
}
