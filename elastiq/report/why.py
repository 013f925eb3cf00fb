"""What `elastiqctl why`, `vms` and `jobs` show: one document for programs, and lines for people made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from elastiq.model import Shape
from elastiq.planning.phrases import describe
from elastiq.planning.remedies import remedy
from elastiq.planning.why import Account, GroupTold, PoolNow, Told, VmTold
from elastiq.report.cost import by_property
from elastiq.report.spans import span
from elastiq.state.kept import Life

Document = dict[str, Any]

KEY_SHOWN = 6
"""Characters of the key of a group; as many as the reason `in-vain` shows."""


def answer(told: Told) -> Document:
    """Return a verdict with what would change it."""
    return {**vars(told), "remedy": remedy(told.token)}


def group_document(group: GroupTold) -> Document:
    """Return a group of waiting jobs."""
    shape = Shape(group.cpus, group.memory_mb, group.disk_mb, group.gpus)
    return {
        **vars(group),
        "asks_for": describe(shape),
        "told": [answer(one) for one in group.told],
        "pools": [dict(vars(pool)) for pool in group.pools],
    }


def vm_document(vm: VmTold) -> Document:
    """Return a VM that is there."""
    return {**vars(vm), "told": answer(vm.told)}


def bill_document(life: Life, until: float, currency: str) -> Document:
    """Return what a VM has cost up to `until`, and for how long and for how much it was idle; None: not known."""
    line = by_property("", [life], 0.0, until)[""]
    is_priced = life.price is not None
    idle_seconds = None if life.idle_seconds is None else round(line.idle_seconds, 1)
    idle_cost = None if idle_seconds is None or life.price is None else idle_seconds / 3600 * life.price
    return {
        "price": life.price,
        "cost": round(line.money, 6) if is_priced else None,
        "lived_seconds": round(line.seconds, 1),
        "idle_seconds": idle_seconds,
        "idle_cost": None if idle_cost is None else round(idle_cost, 6),
        "currency": currency,
    }


def pool_document(pool: PoolNow) -> Document:
    """Return what the next launch of a pool depends on."""
    return {**vars(pool), "booting": list(pool.booting), "away": [dict(vars(one)) for one in pool.away]}


def whole_document(known: Account, extra: Iterable[Told] = ()) -> Document:
    """Return all that waits or is held back; `extra` comes before that."""
    return {
        "at": known.at,
        "told": [answer(one) for one in extra],
        "groups": [group_document(one) for one in known.groups],
        "groups_left_out": known.groups_left_out,
        "holds": [answer(one) for one in known.holds],
        "pools": [pool_document(one) for one in known.pools],
        "max_vms": known.max_vms,
        "vms": [vm_document(one) for one in known.vms],
    }


def lines_of_all(document: Document, now: float) -> list[str]:
    """Return what waits and what is held back, a group of jobs after the other, those with most jobs first."""
    lines = _answers(document["told"], now)
    for group in document["groups"]:
        for told in group["told"]:
            lines.append(f"{told['token']:18} {told['jobs']} of {_group(group)}")
            lines += _details(told, now)
    if document["groups_left_out"]:
        lines.append(f"and {document['groups_left_out']} groups with fewer jobs")
    if not document["groups"]:
        lines.append("no jobs wait")
    said = {told["text"] for group in document["groups"] for told in group["told"]}
    for hold in document["holds"]:
        if hold["text"] not in said:
            lines.append(f"{hold['token']:18} held back")
            lines += _details(hold, now)
    lines += _pools(document["pools"], document["max_vms"], now)
    return [*lines, _as_of(document["at"], now)]


def lines_of_job(document: Document, now: float) -> list[str]:
    """Return what was found of one job."""
    lines = [f"job {document['job']}"]
    group = document.get("group")
    lines += _answers(document["told"], now, group["jobs"] if group else 0)
    if group:
        lines.append(f"  group        {_group(group)}")
        lines += [f"  pool {pool['pool']:7} {_pool_answer(pool)}" for pool in group["pools"]]
    if document.get("said"):
        lines.append(f"  it is said   {document['said']}")
    if group:
        able = {pool["pool"].partition(" ")[0] for pool in group["pools"] if pool["answer"] != "no"}
        lines += _pools([pool for pool in document["pools"] if pool["name"] in able], document["max_vms"], now)
    return [*lines, *([_as_of(document["at"], now)] if document.get("at") else [])]


def lines_of_vm(document: Document, now: float) -> list[str]:
    """Return what was found of one VM."""
    lines = [f"VM {document['id']}" + (f" of pool {document['pool']}" if document.get("pool") else "")]
    lines += _answers(document["told"], now)
    worker = " ".join(filter(None, (document.get("worker"), document.get("address"))))
    facts = {
        "stage": document.get("stage", ""),
        "worker": worker,
        "launched": _moment(document.get("launched_at"), now),
        "joined": _moment(document.get("joined_at"), now),
        "idle since": _moment(document.get("idle_since"), now),
        "ended": _moment(document.get("ended_at"), now),
        **_bill(document),
    }
    lines += [f"  {name:12} {text}" for name, text in facts.items() if text]
    return [*lines, *([_as_of(document["at"], now)] if document.get("at") else [])]


def _bill(document: Mapping[str, Any]) -> dict[str, str]:
    if "lived_seconds" not in document:
        return {}
    lived, idle_seconds, price = span(document["lived_seconds"]), document["idle_seconds"], document["price"]
    if document.get("stage") != "gone":
        lived = f"{lived} so far"
    idle = "not known for how long" if idle_seconds is None else f"{span(idle_seconds)} of {lived}"
    if price is None:
        return {"cost": "not known: it has no price in instance_types", "idle": idle}
    currency = f" {document['currency']}" if document["currency"] else ""
    idle_cost = "" if document["idle_cost"] is None else f", which cost {document['idle_cost']:.4f}{currency}"
    cost = f"{document['cost']:.4f}{currency}, at {price:g}{currency} an hour for {lived}"
    return {"cost": cost, "idle": f"{idle}{idle_cost}"}


def table_of_vms(vms: Sequence[Mapping[str, Any]], now: float) -> list[str]:
    """Return the VMs, a line each."""
    rows = [
        (
            vm["id"],
            vm["pool"],
            vm["stage"],
            vm["worker"] or "-",
            _age(vm["launched_at"] or None, now),
            _age(vm["idle_since"], now),
            vm["told"]["token"],
        )
        for vm in vms
    ]
    return _table(("VM", "POOL", "STAGE", "WORKER", "AGE", "IDLE", "VERDICT"), rows)


def table_of_jobs(groups: Sequence[Mapping[str, Any]], now: float) -> list[str]:
    """Return the groups of waiting jobs, a line for each verdict on them."""
    rows = [
        (
            str(told["jobs"]),
            "-" if group["running"] is None else str(group["running"]),
            str(group["vms_per_job"]),
            _age(group["waits_since"], now),
            group["key"][:KEY_SHOWN],
            told["token"],
            group["asks_for"],
        )
        for group in groups
        for told in group["told"]
    ]
    return _table(("JOBS", "RUNNING", "VMS", "WAITED", "GROUP", "VERDICT", "ASKS FOR"), rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths)).rstrip() for row in (head, *rows)]


def _answers(told: Iterable[Mapping[str, Any]], now: float, jobs: int = 0) -> list[str]:
    """Return verdicts, of a group of so many jobs."""
    lines = []
    for one in told:
        lines.append(f"{one['token'].upper()}{_of_group(one.get('jobs', 0), jobs)}")
        lines += _details(one, now)
    return lines


def _of_group(some: int, jobs: int) -> str:
    if not some:
        return ""
    return f"  {some} of {_jobs(jobs)} of its group" if some < jobs else f"  {_jobs(some)} of its group"


def _details(told: Mapping[str, Any], now: float) -> list[str]:
    facts = {
        "why": told["text"],
        "since": _moment(told.get("since"), now),
        "until": _moment(told.get("until"), now) and f"{_moment(told.get('until'), now)} at the earliest",
        "to change it": told.get("remedy", ""),
    }
    return [f"  {name:12} {text}" for name, text in facts.items() if text]


def _group(group: Mapping[str, Any]) -> str:
    at_once = f" on each of {group['vms_per_job']} machines" if group["vms_per_job"] > 1 else ""
    whole = ", each with its machine for itself" if group["takes_whole_vms"] else ""
    running = "" if group["running"] is None else f", {group['running']} alike run"
    return f"{_jobs(group['jobs'])} of {group['asks_for']}{at_once}{whole}{running} (group {group['key'][:KEY_SHOWN]})"


def _pool_answer(pool: Mapping[str, Any]) -> str:
    return f"{pool['answer']}: {pool['reason']}" if pool["reason"] else str(pool["answer"])


def _pools(pools: Iterable[Mapping[str, Any]], max_vms: int | None, now: float) -> list[str]:
    lines = []
    for pool in pools:
        limits = [f"{pool['max_vms']} of its own"] if pool["max_vms"] is not None else []
        limits += [f"{max_vms} of all pools"] if max_vms is not None else []
        parts = [f"{pool['vms']} VMs of at most {' and '.join(limits) or 'any number'}"]
        if pool["vms_booting"]:
            ids = ", ".join(pool["booting"][:3]) + (", ..." if pool["vms_booting"] > 3 else "")
            parts.append(f"{pool['vms_booting']} booting ({ids}), {pool['boot_seconds']:.0f} s is usual")
        if pool["vms_asked_for"]:
            parts.append(f"{pool['vms_asked_for']} asked for and not seen yet")
        if pool["paused_until"]:
            parts.append(f"launches pause until {_moment(pool['paused_until'], now)}: {pool['pause_reason']}")
        lines.append(f"  VMs {pool['name']:8} {'; '.join(parts)}")
        lines += _put_away(pool, now)
    return lines


def _put_away(pool: Mapping[str, Any], now: float) -> list[str]:
    lines = []
    for one in pool["away"]:
        many = f" for {one['at_least']} VMs at once or more" if one["at_least"] > 1 else ""
        said = f": {one['text']}" if one["text"] else ""
        lines.append(f"  away {pool['name']:7} {one['offer']}{many} until {_moment(one['until'], now)}{said}")
    if pool["offers_away"] > len(pool["away"]):
        lines.append(f"  away {pool['name']:7} and {pool['offers_away'] - len(pool['away'])} more offers")
    return lines


def _as_of(at: float, now: float) -> str:
    return f"  planned      {_moment(at, now) or 'never'}"


def _moment(at: float | None, now: float) -> str:
    """Return a time, and how far it is from now; nothing if it is not known."""
    if not at:
        return ""
    distance = f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"
    return f"{datetime.fromtimestamp(at, timezone.utc).astimezone():%Y-%m-%d %H:%M:%S%z} ({distance})"


def _age(at: float | None, now: float) -> str:
    return "-" if at is None else span(max(0.0, now - at))


def _jobs(count: int) -> str:
    return f"{count} job{'s' if count != 1 else ''}"
