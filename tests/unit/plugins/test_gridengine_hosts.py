"""Execution hosts of Grid Engine, on recorded answers of qhost and on garbage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from elastiq.errors import BatchError
from elastiq.model import Shape
from elastiq.plugins.gridengine_complexes import Complexes, Resource, parse_complexes
from elastiq.plugins.gridengine_hosts import (
    INTERRUPTION,
    Host,
    QueueInstance,
    host_resources,
    parse_global,
    parse_hosts,
)

RECORDED = Path(__file__).parent / "recorded" / "gridengine"
COMPLEXES = parse_complexes((RECORDED / "complexes").read_text())
SITE = parse_complexes((RECORDED / "complexes-site").read_text())
"""Where the outputs that are called of a site were recorded."""

MEMORY = {"type": "MEMORY", "relation": "<="}
SHAPE_OF = Complexes(
    {
        "slots": Resource("YES"),
        "h_vmem": Resource("YES", **MEMORY),
        "m_mem_free": Resource("YES", **MEMORY),
        "ram": Resource("JOB", **MEMORY),
        "mem_free": Resource("NO", **MEMORY),
        "virtual_free": Resource("NO", **MEMORY),
        "mem_total": Resource("NO", **MEMORY),
        "virtual_total": Resource("NO", **MEMORY),
        "s_vmem": Resource("NO", **MEMORY),
        "scratch": Resource("YES", **MEMORY),
        "gpu": Resource("YES"),
        "cuda_cards": Resource("YES"),
        "exclusive": Resource("YES", type="BOOL", relation="EXCL"),
    }
)


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


def host(state: str = "", used: int = 0, **values: Any) -> Host:
    return Host("ip-10-77-1-1.pool.example", (QueueInstance("all.q", 8, used, 0, state),), **values)


def qhost(used: int = 0, **values: str) -> Host:
    """A host of 8 slots as qhost shows it: `h_vmem="hc 2G"`."""
    shown = "".join(
        f"<resourcevalue name='{name}' dominance='{value.split()[0]}'>{value.split()[1]}</resourcevalue>"
        for name, value in values.items()
    )
    queue = "".join(
        f"<queuevalue name='{name}'>{value}</queuevalue>"
        for name, value in (("slots_used", used), ("slots", 8), ("state_string", ""))
    )
    text = (
        "<qhost><host name='global'></host><host name='node1'><hostvalue name='num_proc'>8</hostvalue>"
        f"{shown}<queue name='all.q'>{queue}</queue></host></qhost>"
    )
    (found,) = parse_hosts(text, SHAPE_OF)
    return found


class TestRecordedHosts:
    """...-1 runs a job of 2 slots and two tasks of an array, on 4 slots; elastiq closed ...-4, somebody else ...-5."""

    def test_workers(self) -> None:
        busy, own, foreign = (each.worker(None, 5.0) for each in parse_hosts(recorded("qhost.xml"), COMPLEXES))
        assert (busy.name, busy.instance_id, busy.address) == ("ip-10-77-1-1.pool.example", "i-0001", "10.77.1.1")
        assert (busy.jobs, busy.idle_seconds, busy.closed) == (4, None, False)
        assert (busy.capacity, busy.free) == (Shape(4, None, gpus=None), Shape(0, 3072, gpus=2))
        assert (own.jobs, own.idle_seconds, own.closed, own.closed_by_other) == (0, 5.0, True, False)
        assert own.free == own.capacity == Shape(4, 24105)
        assert (foreign.closed, foreign.closed_by_other) == (True, True)

    def test_nobody_has_joined(self) -> None:
        assert parse_hosts("<qhost><host name='global'></host></qhost>", COMPLEXES) == ()

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "error: commlib error",
            "<qhost></qhost>",
            recorded("qhost.xml")[:2000],
            recorded("qstat.xml"),
            recorded("qhost.xml").replace("'ip-10-77-1-1.pool.example'", "'-rf /'"),
            '<!DOCTYPE a [<!ENTITY b "c">]>' + recorded("qhost.xml"),
        ],
    )
    def test_what_is_no_list_of_hosts(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_hosts(text, COMPLEXES)

    def test_an_instance_id_that_two_claim_is_nobodys(self) -> None:
        hosts = parse_hosts(recorded("qhost.xml").replace("i-0004", "i-0005"), COMPLEXES)
        assert [each.instance_id for each in hosts] == ["i-0001", None, None]


class TestHosts:
    @pytest.mark.parametrize("state", ["u", "au", "auo", "du"])
    def test_not_heard_of(self, state: str) -> None:
        assert not host(state).joined

    def test_never_reported_or_without_a_queue(self) -> None:
        assert not host(reported=False).joined
        assert not Host("node").joined
        assert not Host("node").closed

    def test_one_open_queue_is_enough_to_be_open(self) -> None:
        queues = (QueueInstance("a.q", 2, 0, 0, "d"), QueueInstance("b.q", 2, 0, 0, ""))
        assert not Host("node", queues).closed
        assert Host("node", queues).open_queues == ("b.q",)

    def test_what_others_have_disabled_beside_elastiq_is_not_its_own(self) -> None:
        queues = (QueueInstance("a.q", 2, 0, 0, "d"), QueueInstance("b.q", 2, 0, 0, "d"))
        closed = Host("node", queues, closed_queues=("b.q", "c.q"))
        assert (closed.closed, closed.closed_by_other, closed.own_closed) == (True, False, ("b.q",))

    def test_one_that_says_that_its_vm_is_taken_back(self) -> None:
        queues = (QueueInstance("a.q", 2, 1, 0, "d"), QueueInstance("b.q", 2, 0, 0, "d"))
        marked = Host("node", queues, closed_queues=(INTERRUPTION,))
        assert marked.own_closed == ("a.q", "b.q")
        worker = marked.worker()
        assert (worker.interrupted, worker.closed, worker.closed_by_other) == (True, True, False)
        assert not Host("node", queues).worker().interrupted
        assert not host(closed_queues=(INTERRUPTION,)).worker().interrupted, "it is open"

    def test_a_mark_on_an_open_queue_means_nothing(self) -> None:
        assert host(closed_queues=("all.q",)).own_closed == ()
        assert not host(closed_queues=("all.q",)).closed

    @pytest.mark.parametrize("state", ["a", "A", "C", "D", "s", "S", "E", "c", "o", "P", "dE"])
    def test_states_that_start_no_job_have_nothing_free(self, state: str) -> None:
        assert host(state).worker().free.cpus == 0

    def test_closed_ones_have_what_they_had_after_a_reopen(self) -> None:
        assert host("d").worker().free.cpus == 8

    def test_slots_of_the_host_bound_those_of_its_queues(self) -> None:
        worker = host(used=1, slots_left=3).worker()
        assert (worker.capacity.cpus, worker.free.cpus) == (4, 3)

    def test_a_reservation_is_a_claim(self) -> None:
        queues = (QueueInstance("all.q", 8, 0, 2, ""),)
        assert Host("node", queues).worker().jobs == 2

    def test_a_queue_that_somebody_disabled_beside_an_open_one_has_nothing_free(self) -> None:
        queues = (QueueInstance("a.q", 2, 0, 0, "d"), QueueInstance("b.q", 3, 0, 0, ""))
        assert Host("node", queues).worker().free.cpus == 3

    def test_of_queues_that_others_closed_too_a_reopen_gives_its_own(self) -> None:
        queues = (QueueInstance("a.q", 2, 0, 0, "d"), QueueInstance("b.q", 3, 0, 0, "d"))
        assert Host("node", queues, closed_queues=("b.q",)).worker().free.cpus == 3

    def test_an_orphaned_queue_is_no_room_and_no_capacity(self) -> None:
        queues = (QueueInstance("a.q", 2, 0, 0, ""), QueueInstance("b.q", 3, 1, 0, "o"))
        worker = Host("node", queues).worker()
        assert (worker.capacity.cpus, worker.free.cpus, worker.jobs, worker.hurt) == (2, 2, 1, True)

    @pytest.mark.parametrize(
        ("state", "is_hurt"), [("", False), ("d", False), ("a", False), ("E", True), ("o", True), ("c", True)]
    )
    def test_hurt(self, state: str, is_hurt: bool) -> None:
        assert host(state).worker().hurt is is_hurt


class TestAmounts:
    """What is left, and what there is in all, by the values of the host itself."""

    @pytest.mark.parametrize(
        ("values", "asked", "memory_mb"),
        [
            ({}, (), None),
            ({"mem_total": "hl 8G"}, (), 8192),
            ({"mem_total": "hl 8G", "h_vmem": "hc 2G"}, (), 2048),
            ({"mem_total": "hl 8G", "h_vmem": "hc 0.000"}, (), 0),
            ({"mem_total": "hl 8G", "h_vmem": "hc -2.000G"}, (), 0),
            ({"mem_total": "hl 8G", "m_mem_free": "hc 0.000"}, ("m_mem_free",), 0),
            ({"mem_total": "hl 8G", "ram": "hc 3G"}, ("ram",), 3072),
            ({"mem_total": "hl 8G", "mem_free": "hl 1G"}, (), 8192),
            ({"mem_total": "hl 8G", "mem_free": "hl 1G"}, ("mem_free",), 1024),
            ({"mem_total": "hl 8G", "virtual_free": "hl 0.000"}, ("virtual_free",), 0),
            ({"mem_total": "hl 8G", "h_vmem": "hc 6G", "mem_free": "hl 1G"}, ("h_vmem",), 6144),
            ({"mem_total": "hl 8G", "h_vmem": "hc 6G", "mem_free": "hl 1G"}, ("mem_free",), 1024),
            ({"mem_total": "hl 8G", "h_vmem": "hc 6G", "ram": "hc 2G"}, ("h_vmem", "ram"), 2048),
            ({"mem_total": "hl 8G", "h_vmem": "hc 6G", "ram": "hc 2G"}, ("h_vmem",), 6144),
            ({"mem_total": "hl 8G", "h_vmem": "hc 6G"}, ("ram",), 6144),
            ({"mem_total": "hl 8G", "s_vmem": "hf 1G"}, ("s_vmem",), 8192),
            ({"mem_total": "hl 8G", "h_vmem": "gc 1G"}, ("h_vmem",), 8192),
            ({"mem_total": "hl 8G", "scratch": "hc 1G"}, (), 8192),
        ],
    )
    def test_memory_left(self, values: dict[str, str], asked: tuple[str, ...], memory_mb: int | None) -> None:
        assert qhost(**values).worker(None, None, asked).free.memory_mb == memory_mb

    @pytest.mark.parametrize(
        ("values", "asked", "memory_mb"),
        [
            ({}, (), None),
            ({"mem_total": "hl 8G"}, ("mem_free",), 8192),
            ({"mem_total": "hl 8G", "h_vmem": "hc 6G"}, (), 6144),
            ({"mem_total": "hl 8G", "h_vmem": "hc 6G", "ram": "hc 2G"}, ("ram",), 6144),
            ({"mem_total": "hl 8G", "mem_free": "hl 7G"}, ("mem_free",), 7168),
            ({"mem_total": "hl 8G", "mem_free": "hl 7G"}, (), 8192),
            ({"mem_total": "hl 8G", "mem_free": "hl 7G", "h_vmem": "hc 4G"}, ("mem_free",), 7168),
            ({"mem_total": "hl 8G", "mem_free": "hl 7G", "h_vmem": "hc 4G"}, ("h_vmem",), 4096),
        ],
    )
    def test_memory_in_all(self, values: dict[str, str], asked: tuple[str, ...], memory_mb: int | None) -> None:
        idle = qhost(**values)
        assert idle.worker(None, None, asked).capacity.memory_mb == memory_mb
        used_up = {name: value if "total" in name else f"{value[:2]} 0.000" for name, value in values.items()}
        busy = qhost(4, **used_up)
        assert busy.worker(idle, None, asked).capacity.memory_mb == memory_mb
        consumables = any(value.startswith("hc") for value in values.values())
        never_seen_idle = busy.worker(None, None, asked).capacity.memory_mb
        assert never_seen_idle == (None if consumables else idle.totals_mb.get("mem_total"))

    @pytest.mark.parametrize(
        ("values", "asked", "gpus"),
        [
            ({}, (), 0),
            ({"gpu": "hc 2.000000"}, (), 2),
            ({"gpu": "hc 0.000000"}, (), 0),
            ({"cuda_cards": "hc 1.000000"}, ("cuda_cards",), 1),
            ({"gpu": "hc 2.000000", "cuda_cards": "hc 0.000000"}, ("gpu",), 2),
            ({"gpu": "hc 2.000000", "cuda_cards": "hc 0.000000"}, ("gpu", "cuda_cards"), 0),
            ({"gpu": "gc 7.000000"}, ("gpu",), 0),
        ],
    )
    def test_gpus_left(self, values: dict[str, str], asked: tuple[str, ...], gpus: int) -> None:
        assert qhost(**values).worker(None, None, asked).free.gpus == gpus

    def test_disk(self) -> None:
        idle = qhost(scratch="hc 9G").worker()
        assert (idle.free.disk_mb, idle.capacity.disk_mb) == (9216, 9216)
        busy = qhost(1, scratch="hc 0.000").worker()
        assert (busy.free.disk_mb, busy.capacity.disk_mb) == (0, None)
        assert qhost().worker().free.disk_mb is None

    def test_of_one_that_a_job_has_for_itself_nothing_is_left(self) -> None:
        assert qhost(1, exclusive="hc 0.000000").worker().free.cpus == 0
        assert qhost(1, exclusive="hc 1.000000").worker().free.cpus == 7


class TestRecordedSite:
    """...-1 runs a job that has all of its h_vmem and GPUs; ...-2 has its four slots in use, one by a queue that was
    taken from it."""

    def test_used_up(self) -> None:
        head, used_up, orphaned = (each.worker() for each in parse_hosts(recorded("qhost-used-up.xml"), SITE))
        assert head.name == "head.pool.example"
        assert (used_up.free, used_up.capacity) == (Shape(3, 0, gpus=0), Shape(4, None, gpus=None))
        assert (orphaned.jobs, orphaned.free.cpus, orphaned.hurt, used_up.hurt) == (4, 0, True, False)

    def test_what_the_cluster_has_left(self) -> None:
        assert parse_global(recorded("qhost-global.xml"), ["lic"]) == {"lic": 0.0}

    @pytest.mark.parametrize("text", ["", "<qhost></qhost>", recorded("qhost-global.xml").replace("0.000000", "few")])
    def test_what_does_not_say_that(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_global(text, ["lic"])

    def test_what_is_asked(self) -> None:
        assert {"slots", "mem_total", "h_vmem", "hmem", "fmem", "gpu", "excl"} <= set(host_resources(SITE))


class TestUnreadable:
    """What a load sensor or a site's complexes say must not take all other hosts away."""

    @pytest.mark.parametrize("junk", ["\x01\x1b[0m", "\ufffd\ufffe", "]]&gt;", "&amp;&quot;", "new\nline"])
    def test_odd_bytes_in_a_value(self, junk: str) -> None:
        text = recorded("qhost-used-up.xml").replace(">fast<", f">{junk}<")
        assert all(not each.unreadable for each in parse_hosts(text, SITE))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (">fast<", ">a & b<"),
            (">fast<", "><b<"),
            ("'slots_used'>1<", "'slots_used'>many<"),
            ("'slots_used'>1<", "'slots_used'><"),
            ("'slots' dominance='hc'>3.000000", "'slots' dominance='hc'>nan"),
            ("<queue name='all.q'>", "<queue name='-rf /'>"),
        ],
    )
    def test_a_host_that_cannot_be_read_is_there_busy_in_doubt(self, old: str, new: str) -> None:
        text = recorded("qhost-used-up.xml")
        before, named, rest = text.partition("<host name='ip-10-77-1-1")
        assert old in rest
        hosts = parse_hosts(before + named + rest.replace(old, new, 1), SITE)
        assert [bool(each.unreadable) for each in hosts] == [False, True, False]
        worker = hosts[1].worker()
        assert (worker.name, worker.jobs, worker.hurt) == ("ip-10-77-1-1.pool.example", 1, True)
        assert (worker.closed, worker.idle_seconds) == (False, None)
        assert worker.free == Shape(0, None, None, None)
        assert hosts[1].joined
        assert not hosts[1].swept

    def test_half_an_answer_is_none_of_hosts(self) -> None:
        text = recorded("qhost-used-up.xml").replace(">fast<", ">a & b<")
        for length in range(0, len(text) - 10, 97):
            with pytest.raises(BatchError):
                parse_hosts(text[:length], SITE)


def test_what_is_lost_in_the_host_that_stands_for_all_makes_the_answer_unknown() -> None:
    """Where the first host begins, something else stands: it would be taken for gone, with its jobs."""
    whole = recorded("qhost.xml")
    end = whole.index("</host>")
    begin = whole.index("<host name", end)
    assert len(parse_hosts(whole, COMPLEXES)) > 1
    with pytest.raises(BatchError, match="no list of hosts"):
        parse_hosts(f"{whole[:end]}&{whole[whole.index('>', begin) + 1 :]}", COMPLEXES)


def test_a_host_without_an_end_does_not_take_the_next_one_with_it() -> None:
    whole = recorded("qhost.xml")
    names = [each.name for each in parse_hosts(whole, COMPLEXES)]
    begin = whole.index(f"<host name='{names[0]}'")
    end = whole.index("</host>", begin)
    hosts = parse_hosts(f"{whole[:end]}</ho{whole[end + len('</host>') :]}", COMPLEXES)
    assert [each.name for each in hosts] == names
    assert [bool(each.unreadable) for each in hosts] == [True, False, False]


@pytest.mark.parametrize("broken", ["", "<odd>"], ids=["XML", "no XML"])
def test_of_a_host_that_is_there_twice_nobody_knows_what_is_so(broken: str) -> None:
    """The last one counted: another's ad in a value could show it idle, and hid that the first one was none."""
    whole = recorded("qhost.xml")
    name = parse_hosts(whole, COMPLEXES)[0].name
    again = f"<host name='{name}'><hostvalue name='num_proc'>4</hostvalue>{broken}</host>"
    hosts = parse_hosts(whole.replace("</qhost>", f"{again}</qhost>"), COMPLEXES)
    assert [bool(each.unreadable) for each in hosts] == [True, False, False]
    assert hosts[0].worker().jobs == 1
    end = whole.index("</host>")
    lost = f"{whole[:end]}</ho{whole[end + len('</host>') :]}"
    with pytest.raises(BatchError, match="no list of hosts"):
        parse_hosts(lost.replace("</qhost>", "<host name='global'></host></qhost>"), COMPLEXES)
