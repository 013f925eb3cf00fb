"""The page that `elastiqctl page` and the option page_file write: one HTML file that needs nothing else, and no script.

It is a pure function of how things stand and of what was. All that is not written here is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone

from elastiq.model import Shape
from elastiq.planning.phrases import describe
from elastiq.planning.why import GroupTold, Told
from elastiq.report.charts import Chart, figure
from elastiq.report.markup import Markup, joined, tag, text
from elastiq.report.now import STAGES, Happened, Now
from elastiq.report.series import Past, Period
from elastiq.report.spans import span
from elastiq.report.style import sheet
from elastiq.state.kept import Event
from elastiq.text import cut

ROWS_MOST = 200
"""Verdicts on jobs that are shown; the others are counted."""
ROWS_OPEN = 20
"""The others are behind a line to be opened, or the pictures would be far down."""
HOLDS_MOST = 20
POOLS_MOST = 60
EVENTS_MOST = 40
SENTENCE_CHARACTERS = 400
"""Of a sentence; most are a line long, but what a cloud answers may be in them."""

ERROR_CHARACTERS = 2000
BYTES_TRIED = 1000
"""How long the markup of a sentence is, is told from so much of it."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""What the page may load: nothing. Its one style sheet is in it."""

LOOKS = dict(zip(STAGES, ("boot", "work", "idle", "out", "out", "bad", "go", "go", "go")))
"""The colours of the stages."""

Clean = Callable[[str], str]


def page(now: Now, past: Past, clean: Clean = str) -> str:
    """Return the page; `clean` takes secrets out of what others wrote."""
    known: dict[str, str] = {}

    def words(told: str) -> str:
        if told not in known:
            # As markup it may be longer, if it is all of characters that are escaped.
            most = SENTENCE_CHARACTERS * len(told[:BYTES_TRIED]) // max(1, len(text(told[:BYTES_TRIED]).encode()))
            known[told] = cut(clean(now.without_error(told)), max(40, most))
        return known[told]

    cluster = words(now.report.cluster) if now.report and now.report.cluster else "elastiq"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="robots", content="noindex"),
        tag("title", f"{cluster}: {now.state}"),
        tag("style", Markup(sheet())),
    )
    currency = words(now.report.currency) if now.report else ""
    main = tag(
        "main",
        _holds(now, words),
        _vms(now, words),
        _jobs(now, words),
        *(_period(period, currency) for period in past.periods),
        _events(past, now.at, words),
        id="main",
    )
    body = tag("body", _header(now, cluster, words, clean), main, _footer(now, past, words))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _header(now: Now, cluster: str, words: Clean, clean: Clean) -> Markup:
    look = "state bad" if now.is_in_trouble else "state good"
    report = now.report
    lines = [tag("h1", cluster), tag("p", now.state, _since(now), ".", class_=look)]
    if report is not None:
        age = "" if now.silent_seconds is None else f", {span(now.silent_seconds)} before this page"
        lines.append(tag("p", "What is shown is of ", _moment(report.updated_at), f"{age}.", class_="soft"))
        if report.summary and now.is_running:
            lines.append(tag("p", words(report.summary), class_="say"))
    if now.error is not None:
        words_of_error = cut(clean(now.error.text), ERROR_CHARACTERS)
        error = tag(
            "p", tag("strong", "Error"), ", last ", _moment(now.error.at), f": {words_of_error}", class_="say alarm"
        )
        lines.insert(2, error)
    if report is not None and report.last_action is not None:
        lines.append(tag("p", "Last action, ", _happened(report.last_action, words), class_="say"))
    lines += (
        [tag("p", tag("strong", "Advice"), f": {words(one)}", class_="say") for one in report.advice] if report else []
    )
    return tag("header", *lines, _tiles(now))


def _since(now: Now) -> Markup:
    if now.report is None:
        return Markup()
    if now.is_running and not now.is_silent:
        return joined(", since ", _moment(now.report.started_at))
    return joined("; it has last reported ", _moment(now.report.updated_at))


def _happened(what: Happened, words: Clean) -> Markup:
    return joined(_moment(what.at), f": {words(what.text)}")


def _tiles(now: Now) -> Markup:
    report = now.report
    if report is None:
        return Markup()
    at_most = "no limit" if report.max_vms is None else f"of at most {report.max_vms:,}"
    tiles: list[tuple[str, object, str]] = [
        ("Jobs waiting", report.jobs_waiting, ""),
        ("Workers busy", report.workers_busy, ""),
        ("Workers idle", report.workers_idle, ""),
        ("VMs", sum(pool.vms for pool in now.told.pools) if now.told.at else None, at_most),
    ]
    parts = [
        tag(
            "div",
            tag("dt", name),
            tag("dd", _count(value), " ", tag("small", note)) if note else tag("dd", _count(value)),
        )
        for name, value, note in tiles
    ]
    return tag("dl", *parts, class_="tiles")


def _count(value: object) -> str:
    return "unknown" if value is None else f"{value:,}"


def _section(name: str, title: str, *parts: str) -> Markup:
    return tag("section", tag("h2", title, id=name), *parts, aria_labelledby=name)


def _holds(now: Now, words: Clean) -> Markup:
    holds = now.holds()
    if not holds:
        return Markup()
    rows = [
        tag("li", tag("p", tag("code", hold.token), f" {words(hold.text)}"), _remedy(hold.remedy))
        for hold in holds[:HOLDS_MOST]
    ]
    more = [tag("p", f"and {len(holds) - HOLDS_MOST:,} more", class_="soft")] if len(holds) > HOLDS_MOST else []
    return _section("holds", "What is held back, and what to do", tag("ul", *rows, class_="holds"), *more)


def _remedy(remedy: str) -> Markup:
    return tag("p", f"To change it: {remedy}", class_="soft") if remedy else Markup()


def _vms(now: Now, words: Clean) -> Markup:
    pools = now.stages()
    total: Counter[str] = sum(pools.values(), Counter())
    if not total:
        return Markup()
    stages = [stage for stage in STAGES if total[stage]]
    largest = sorted(pools.items(), key=lambda item: -sum(item[1].values()))
    rows = [(words(name), counts) for name, counts in largest[:POOLS_MOST]]
    others = sum((counts for _, counts in largest[POOLS_MOST:]), Counter())
    rows += [(f"{len(pools) - POOLS_MOST:,} other pools", others)] if len(pools) > POOLS_MOST else []
    rows += [("all pools", total)] if len(pools) > 1 else []
    table = tag(
        "table",
        tag("caption", "How many VMs are in which stage of their lives"),
        _head(("Pool", ""), *((stage, "count") for stage in stages), ("all", "count")),
        tag("tbody", *(_vm_row(name, counts, stages) for name, counts in rows)),
        class_="cards",
    )
    return _section("vms", "VMs by stage", _bar(total, stages), table)


def _bar(total: Counter[str], stages: Sequence[str]) -> Markup:
    """Return the stages as parts of a bar; the table says the same."""
    whole, at, parts = sum(total.values()), 0.0, []
    for stage in stages:
        width = 100.0 * total[stage] / whole
        parts.append(
            tag("rect", x=f"{at:.2f}%", width=f"{width:.2f}%", height="100%", fill="var(--c)", class_=LOOKS[stage])
        )
        at += width
    said = ", ".join(f"{total[stage]:,} {stage}" for stage in stages)
    return tag("svg", tag("title", said, id="bar"), *parts, role="img", aria_labelledby="bar", width="100%", height=18)


def _vm_row(name: str, counts: Counter[str], stages: Sequence[str]) -> Markup:
    cells = (_counted(counts[stage], stage) for stage in stages)
    return tag("tr", tag("th", name, scope="row"), *cells, _counted(sum(counts.values()), "in all"))


def _counted(count: int, of: str) -> Markup:
    """Return a cell with a number, which on a narrow screen says what it is the number of."""
    return tag("td", f"{count:,}", class_="count" if count else "count none", data_of=of)


def _head(*columns: tuple[str, str]) -> Markup:
    cells = (
        tag("th", name, scope="col", class_=look) if look else tag("th", name, scope="col") for name, look in columns
    )
    return tag("thead", tag("tr", *cells))


def _jobs(now: Now, words: Clean) -> Markup:
    if not now.told.at:
        return Markup()
    verdicts = now.verdicts()
    if not verdicts:
        return _section("jobs", "Jobs that wait", tag("p", "No jobs wait." if _is_queue_known(now) else "Not known."))
    rows = [_job_row(now, group, told, words) for group, told in verdicts[:ROWS_MOST]]
    left_out = len(verdicts) - ROWS_MOST if len(verdicts) > ROWS_MOST else 0
    left_out += now.told.groups_left_out
    more = [tag("p", f"and {left_out:,} more, of fewer jobs", class_="soft")] if left_out else []
    jobs = sum(group.jobs for group in now.told.groups)
    about = f"{jobs:,} jobs in {len(now.told.groups):,} groups, and what becomes of them"
    tables = [_job_table(about, rows[:ROWS_OPEN])]
    if len(rows) > ROWS_OPEN:
        rest = f"The next {len(rows) - ROWS_OPEN:,}"
        tables.append(tag("details", tag("summary", rest), _job_table("Of fewer jobs each", rows[ROWS_OPEN:])))
    return _section("jobs", "Jobs that wait", *tables, *more)


def _job_table(about: str, rows: Sequence[Markup]) -> Markup:
    head = _head(("Jobs", "count"), ("They ask for", ""), ("Verdict", ""))
    return tag("table", tag("caption", about), head, tag("tbody", *rows), class_="cards")


def _is_queue_known(now: Now) -> bool:
    return now.report is not None and now.report.jobs_waiting is not None


def _job_row(now: Now, group: GroupTold, told: Told, words: Clean) -> Markup:
    shape = describe(Shape(group.cpus, group.memory_mb, group.disk_mb, group.gpus))
    at_once = f", on each of {group.vms_per_job} machines" if group.vms_per_job > 1 else ""
    waits = "" if group.waits_since is None else f"for {span(max(0.0, now.at - group.waits_since))}"
    asks = [tag("p", f"{shape}{at_once}"), tag("p", f"the oldest waits {waits}", class_="soft") if waits else Markup()]
    until = ["; until ", _moment(told.until), " at the earliest"] if told.until else []
    verdict = tag("p", tag("code", told.token), " ", words(told.text), *until)
    return tag("tr", _counted(told.jobs, "jobs"), tag("td", *asks, class_="asks"), tag("td", verdict))


def _period(period: Period, currency: str) -> Markup:
    key, span_, wide = period.key, period.span, period.wide or period.span
    ends = "Launches, and below them ends"
    charts = (
        Chart(f"{key}-vms", "Demand and capacity", "VMs", span_, period.capacity, line=period.demand),
        Chart(f"{key}-jobs", "Waiting jobs", "jobs", span_, (period.waiting,) if period.waiting else ()),
        Chart(f"{key}-ends", ends, "VMs", wide, period.launches, period.ends, is_columns=True),
        Chart(f"{key}-hours", "VM-hours", "hours", wide, period.spent, is_columns=True),
        Chart(f"{key}-cost", "Cost", currency or "in the unit of the prices", wide, period.money, is_columns=True),
    )
    shown = [picture for picture in map(figure, charts) if picture]
    return _section(key, period.name, tag("div", *shown, class_="figures")) if shown else Markup()


def _events(past: Past, at: float, words: Clean) -> Markup:
    if not past.events:
        return Markup()
    rows = [_event_row(event, at, words) for event in past.events[:EVENTS_MOST]]
    table = tag(
        "table",
        tag("caption", "What was done or decided, and why, the newest first"),
        _head(("When", ""), ("What", ""), ("Why", "")),
        tag("tbody", *rows),
        class_="cards",
    )
    return _section("events", "Newest events", table)


def _event_row(event: Event, at: float, words: Clean) -> Markup:
    what = f"{event.kind} {words(event.subject)}".strip()
    why = tag("td", tag("code", event.token), " ", words(event.text)) if event.token else tag("td", words(event.text))
    return tag("tr", tag("td", _moment(event.at), class_="when"), tag("td", what), why)


def _footer(now: Now, past: Past, words: Clean) -> Markup:
    version = f" {now.report.version}" if now.report else ""
    system = f" on {words(now.report.batch_plugin)}" if now.report and now.report.batch_plugin else ""
    lines: Iterable[Markup] = [tag("p", f"elastiq{version}{system}; this page was written ", _moment(now.at), ".")]
    if past.damage:
        lines = [*lines, tag("p", f"Some of what was cannot be read: {words(past.damage)}")]
    return tag("footer", *lines)


def _moment(at: float | None) -> Markup:
    if not at:
        return Markup("at an unknown time")
    try:
        local = datetime.fromtimestamp(at, timezone.utc).astimezone()
    except (OverflowError, ValueError, OSError):
        return Markup("at an unknown time")
    return tag("time", f"{local:%Y-%m-%d %H:%M:%S %z}", datetime=local.isoformat(timespec="seconds"))
