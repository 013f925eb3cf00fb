"""Which jobs of Grid Engine workers could run, judged without asking. What a real one does with the same requests is
tried in tests/e2e/test_gridengine_matching.py."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.model import Eligibility, Judgement
from elastiq.plugins import WANTS_LIMIT
from elastiq.plugins.gridengine_complexes import Complexes, Resource
from elastiq.plugins.gridengine_wants import Queue, Template, judged, matches, to_text, wants_of

COMPLEXES = Complexes(
    {
        "h_vmem": Resource("YES", type="MEMORY"),
        "ram": Resource("YES", type="MEMORY"),
        "mem_free": Resource(type="MEMORY"),
        "mem_total": Resource(type="MEMORY"),
        "gpu": Resource("YES"),
        "h_rt": Resource(type="TIME"),
        "arch": Resource(type="STRING", relation="=="),
        "kind": Resource(type="RESTRING", relation="=="),
        "site": Resource(type="CSTRING", relation="=="),
        "not_kind": Resource(type="STRING", relation="!="),
        "qname": Resource(type="STRING", relation="=="),
        "hostname": Resource(type="HOST", relation="=="),
        "num_proc": Resource(relation="=="),
        "least": Resource(relation=">="),
        "ssd": Resource(type="BOOL", relation="=="),
        "needs": Resource(type="BOOL", relation="==", requestable="FORCED"),
        "load_avg": Resource(type="DOUBLE", relation=">="),
        "licence": Resource("YES"),
        "excl": Resource("YES", type="BOOL", relation="EXCL"),
    }
)
TEMPLATE = Template(
    queues={
        "all.q": Queue(("mpi", "smp"), {"h_rt": "24:00:00"}, "BATCH INTERACTIVE"),
        "wide.q": Queue(("big",), {"kind": "wide"}, "NONE"),
        "odd.q": Queue(("odd",), {"needs": "TRUE", "kind": "odd"}, "BATCH"),
    },
    groups=("@fast", "@workers"),
    values={
        "arch": "lx-amd64",
        "num_proc": "8",
        "mem_total": "16G",
        "h_vmem": "14G",
        "gpu": "2",
        "site": "North",
        "not_kind": "slow",
        "least": "3",
        "ssd": "true",
        "excl": "true",
    },
    loads=("load_avg", "mem_free"),
    everywhere={"licence": "5"},
    complexes=COMPLEXES.named,
    site="now",
)
TEXT = to_text(TEMPLATE)


def wants(*queues: str, pe: str = "", **requests: str) -> str:
    return wants_of(pe, queues, requests, COMPLEXES)


def judge(text: str, template: str = TEXT, site: str = "now") -> Judgement:
    (found,) = judged([text], template, site)
    assert bool(found.reason) is (found.answer is not Eligibility.YES)
    return found


class TestWants:
    def test_nothing_special(self) -> None:
        assert wants() == ""

    def test_amounts_that_the_shape_counts_are_left_out_unless_it_cannot_tell_of_what(self) -> None:
        assert wants(gpu="1") == wants(gpu="2") != ""
        assert wants(h_vmem="1G") != wants(h_vmem="2G")  # there is ram, too
        alone = COMPLEXES.without(["ram"])
        assert wants_of("", (), {"h_vmem": "1G"}, alone) == wants_of("", (), {"h_vmem": "2G"}, alone)

    def test_order_means_nothing(self) -> None:
        assert wants("b.q", "a.q", kind="x", ssd="1") == wants("a.q", "b.q", ssd="1", kind="x")

    def test_what_is_too_long_is_not_known(self) -> None:
        long = wants(kind="x" * WANTS_LIMIT)
        assert len(long) <= WANTS_LIMIT
        assert judge(long).answer is Eligibility.UNKNOWN


class TestJudging:
    @pytest.mark.parametrize(
        "text",
        [
            wants(),
            wants("all.q"),
            wants("all.*"),
            wants("long.q", "all.q"),
            wants("nope.q|all.q"),
            wants("all.q@@workers"),
            wants("*@@fast"),
            wants("*@@f*"),
            wants("@@workers"),
            wants("all.q@node*"),
            wants("all.q@node1", "all.q@@workers"),
            wants(hostname="node*"),
            wants(hostname="!node1"),
            wants(qname="a*"),
            wants(pe="smp"),
            wants(pe="s*"),
            wants(pe="big"),
            wants(h_rt="23:59:59"),
            wants(h_rt="86400"),
            wants(h_vmem="14G"),
            wants(mem_free="16G"),
            wants(mem_total="16G"),
            wants(num_proc="8"),
            wants(least="4"),
            wants(arch="lx-*"),
            wants(arch="lx-amd64|lx-arm64"),
            wants(site="nORTH"),
            wants(not_kind="fast"),
            wants(ssd="1"),
            wants("odd.q", needs="TRUE", kind="o*&!wide"),
            wants("wide.q", pe="big", kind="wide"),
            wants(load_avg="1"),
            wants(licence="5"),
            wants(gpu="1"),
            wants(excl="TRUE"),
        ],
    )
    def test_yes(self, text: str) -> None:
        assert judge(text) == Judgement()

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (wants("long.q"), "queue long.q: workers like this are only in all.q, odd.q, wide.q"),
            (wants("all.q@@gpu"), "queue all.q@@gpu: workers like this are only in all.q, odd.q, wide.q and groups"),
            (wants("long.q@node*"), "queue long.q@node*"),
            (wants("all.q@node1"), "host node1: a new worker is another one"),
            (wants(hostname="node1"), "host node1"),
            (wants(hostname="node1|node2"), "host node1|node2"),
            (wants(qname="long.q"), "complex qname: long.q is asked for, workers like this have all.q"),
            (wants(pe="gone"), "parallel environment gone: queue all.q of workers like this has mpi, smp"),
            (wants("all.q", pe="big"), "parallel environment big"),
            (wants("wide.q"), "queue wide.q of workers like this takes parallel jobs alone"),
            (wants(h_rt="24:00:01"), "complex h_rt: 24:00:01 is asked for, workers like this have 24:00:00"),
            (wants(h_vmem="15G"), "complex h_vmem: 15G is asked for, workers like this have 14G"),
            (wants(mem_free="17G"), "complex mem_free"),
            (wants(mem_total="17G"), "complex mem_total"),
            (wants(num_proc="4"), "complex num_proc"),
            (wants(least="2"), "complex least"),
            (wants(arch="lx-arm64"), "complex arch"),
            (wants(kind="fast"), "complex kind is not offered by workers like this"),
            (wants(not_kind="slow"), "complex not_kind"),
            (wants(ssd="FALSE"), "complex ssd"),
            (wants("odd.q"), "workers like this take only jobs that ask for complex needs"),
            (wants("odd.q", needs="FALSE"), "complex needs"),
            (wants("odd.q", needs="1", kind="wide"), "complex kind: wide is asked for, workers like this have odd"),
            (wants(ram="1G"), "complex ram is not offered by workers like this"),
            (wants(new="1"), "complex new is not offered by workers like this"),
            (wants(licence="6"), "complex licence"),
            (wants(arch="(lx"), "complex arch"),
        ],
    )
    def test_no(self, text: str, reason: str) -> None:
        found = judge(text)
        assert found.answer is Eligibility.NO
        assert found.reason.startswith(reason)

    def test_a_complex_that_host_and_queue_have_has_to_fit_both(self) -> None:
        template = to_text(replace(TEMPLATE, values={**TEMPLATE.values, "kind": "slow"}))
        asked = ("odd", "slow", "odd|slow", "*")
        answers = [judge(wants("odd.q", needs="1", kind=kind), template).answer.value for kind in asked]
        assert answers == ["no", "no", "yes", "yes"]

    def test_a_host_that_takes_only_jobs_that_ask(self) -> None:
        template = to_text(replace(TEMPLATE, values={**TEMPLATE.values, "needs": "TRUE"}))
        assert judge(wants(), template).answer is Eligibility.NO
        assert judge(wants(needs="TRUE"), template) == Judgement()

    def test_what_a_template_of_another_configuration_denies_is_not_known(self) -> None:
        assert judge(wants("long.q"), site="then").answer is Eligibility.UNKNOWN
        assert judge(wants("long.q"), site="").answer is Eligibility.NO
        assert judge(wants("all.q"), site="then") == Judgement()
        assert judge(wants(hostname="node1"), site="then").answer is Eligibility.NO


class TestWithoutATemplate:
    @pytest.mark.parametrize(
        "text",
        [wants(), wants(pe="smp"), wants(h_vmem="1G"), wants(mem_free="1G"), wants(gpu="1"), wants(h_rt="60")],
    )
    def test_plain_jobs_can_run(self, text: str) -> None:
        assert judge(text, "") == Judgement()

    @pytest.mark.parametrize("text", [wants("all.q"), wants("*@@gpu"), wants(kind="fast"), wants(arch="lx-amd64")])
    def test_what_not_every_worker_offers_is_to_be_learnt(self, text: str) -> None:
        assert judge(text, "").answer is Eligibility.UNKNOWN

    def test_named_hosts_never(self) -> None:
        assert judge(wants("all.q@node1"), "").answer is Eligibility.NO


class TestDamage:
    @pytest.mark.parametrize(
        "template",
        [
            "x",
            "null",
            "[]",
            "{}",
            TEXT[:-1],
            TEXT.replace('"version":1', '"version":2'),
            TEXT.replace('"groups":["@fast"', '"groups":[1'),
            TEXT.replace('"h_rt":"24:00:00"', '"h_rt":1'),
            TEXT.replace('"types"', '"kinds"'),
            json.dumps({**json.loads(TEXT), "queues": {"all.q": 1}}),
            json.dumps({**json.loads(TEXT), "complexes": {"gpu": ["YES"]}}),
            "[" * 100_000,
        ],
    )
    def test_of_templates(self, template: str) -> None:
        if template == TEXT:
            return
        assert judge(wants(), template) == Judgement()
        assert judge(wants("all.q"), template).answer is Eligibility.UNKNOWN

    @pytest.mark.parametrize("text", ["x", "[]", "null", '{"q":1}', '{"l":{"a":1}}', '{"pe":[]}', "[" * 4000])
    def test_of_wants(self, text: str) -> None:
        assert judge(text).answer is Eligibility.UNKNOWN

    @given(st.text(max_size=60), st.text(max_size=60))
    def test_any_text(self, text: str, template: str) -> None:
        assert judge(text, template).answer in Eligibility

    @given(st.text("ab*?[]!|&() ^-\\", max_size=30))
    def test_any_expression(self, expression: str) -> None:
        assert matches(expression, "ab", "STRING") in (True, False)


@pytest.mark.parametrize(
    ("expression", "does"),
    [
        ("fast", True),
        ("FAST", False),
        ("f*", True),
        ("f?st", True),
        ("[a-f]ast", True),
        ("[^f]ast", False),
        ("!fast", False),
        ("!slow", True),
        ("!!fast", True),
        ("slow|fast", True),
        ("f*&!fast", False),
        ("(f*&!fast)|fa*", True),
        ("f* & *t", True),
        ("!(slow|fast)", False),
        ("slow|", False),
        ("(fast", False),
        ("fast)", False),
        ("&fast", False),
        ("", False),
        ("(" * 200 + "fast" + ")" * 200, False),
    ],
)
def test_expressions(expression: str, does: bool) -> None:
    assert matches(expression, "fast", "RESTRING") is does


def test_case() -> None:
    assert matches("F*", "fAST", "CSTRING")
    assert matches("@Gpu", "@gpu", "HOST")
