"""Which jobs pools take on Grid Engine, and what their workers are supposed to offer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins import TAKES_ONLY
from elastiq.plugins.gridengine_narrowing import judge, narrowed
from elastiq.plugins.gridengine_wants import to_text, wants_of
from tests.unit.plugins.test_gridengine_wants import COMPLEXES
from tests.unit.plugins.test_gridengine_wants import TEMPLATE as KNOWN

YES, NO, UNKNOWN = Eligibility.YES, Eligibility.NO, Eligibility.UNKNOWN
TEMPLATE = to_text(KNOWN)
OFFERS = "site=north, ssd, least=3, mine=Some, qname=cloud.q"


def wants(*queues: str, **requests: str) -> str:
    return wants_of("", queues, requests, COMPLEXES)


def one(text: str, narrowing: str) -> Judgement:
    (found,) = judge([text], narrowing, "", COMPLEXES.named)
    return found


@pytest.mark.parametrize(
    ("jobs", "text", "is_taken"),
    [
        ("cloud.q", wants("cloud.q"), True),
        ("cloud.q", wants("cloud.q@@fast"), True),
        ("cloud.q", wants("cl*"), True),
        ("cloud.q", wants("@@fast"), True),
        ("cloud.q", wants("all.q", "cloud.q"), True),
        ("cloud.q", wants("all.q"), False),
        ("cloud.q, all.q", wants("all.q"), True),
        ("cloud.q", wants(), True),
        ("cloud.q", wants(qname="all.q"), False),
        ("cloud.q", wants(qname="cloud.q"), True),
        ("cloud.q", "damaged", False),
        ("cloud.q", '{"too long":true}', False),
        ("*", wants("all.q"), True),
        ("", wants("all.q"), True),
    ],
)
def test_which_jobs_are_taken(jobs: str, text: str, is_taken: bool) -> None:
    found = one(text, narrowed("", jobs, ""))
    assert (found.answer is not NO) is is_taken
    assert found.reason.startswith(TAKES_ONLY) is not is_taken


def test_the_reason_names_what_was_asked_for() -> None:
    found = one(wants("all.q"), narrowed(TEMPLATE, "cloud.q, gpu.q", ""))
    assert found == Judgement(NO, "the pool takes only jobs for queue cloud.q or gpu.q")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (wants(), YES),
        (wants(site="NORTH"), YES),
        (wants(site="south"), NO),
        (wants(site="n*"), YES),
        (wants(ssd="true"), YES),
        (wants(ssd="false"), NO),
        (wants(least="2"), NO),
        (wants(least="4"), YES),
        (wants(mine="some"), YES),
        (wants(mine="other"), UNKNOWN),
        (wants(kind="wide"), UNKNOWN),
        (wants("cloud.q"), YES),
        (wants("other.q"), UNKNOWN),
        (wants("cloud.q@@fast"), UNKNOWN),
        (wants(qname="cloud.q"), YES),
        (wants(qname="other.q"), UNKNOWN),
        (wants(hostname="node7"), NO),
    ],
)
def test_what_is_offered_until_a_worker_was_seen(text: str, expected: Eligibility) -> None:
    assert one(text, narrowed("", "", OFFERS)).answer is expected
    assert one(text, narrowed(TEMPLATE, "", OFFERS)) == one(text, TEMPLATE)


def test_how_values_compare_is_not_known_before_the_complexes_are() -> None:
    for text, expected in ((wants(site="NORTH"), YES), (wants(site="n*"), UNKNOWN), (wants(least="2"), UNKNOWN)):
        (found,) = judge([text], narrowed("", "", OFFERS), "")
        assert found.answer is expected


@pytest.mark.parametrize(
    ("jobs", "offers", "problem"),
    [
        ("cloud.q,", "", "has a comma without a name before or after it"),
        ("cloud.q gpu.q", "", "is no name of a queue; put commas between names, as in cloud.q, gpu.q"),
        ("cl*.q", "", "is no name of a queue"),
        ("MayUseAWS =?= true", "", "is no name of a queue"),
        ("", "=3", "'=3' is no complex; write NAME=VALUE as after qsub -l, with commas between"),
        ("", "gpu=", "'gpu=' is no complex"),
        ("", "gpu=a b", "is no complex"),
        ("", 'kind="x"', "is no complex"),
        ("", "gpu=1, gpu=2", "gpu is given twice"),
        ("", "hostname=x", "hostname is another one on every worker"),
        ("", "qname=*", "names no queue; write qname=NAME"),
    ],
)
def test_what_cannot_be_read(jobs: str, offers: str, problem: str) -> None:
    with pytest.raises(BatchError) as caught:
        narrowed(TEMPLATE, jobs, offers)
    assert problem in str(caught.value)


DAMAGED = ("x", "[]", '{"jobs":1,"offers":"","template":""}', '{"jobs":"a b","offers":"","template":""}')


@pytest.mark.parametrize("text", DAMAGED)
def test_what_is_damaged_refuses_nothing(text: str) -> None:
    assert one(wants(kind="x"), text).answer is UNKNOWN
    assert one(wants(kind="x"), narrowed(text, "", "kind=x")).answer is UNKNOWN


texts = st.builds(
    lambda queues, requests: wants(*queues, **requests),
    st.lists(st.sampled_from(["all.q", "cloud.q", "wide.q", "*@@fast", "x@node7"]), max_size=2),
    st.dictionaries(
        st.sampled_from(["site", "ssd", "least", "kind", "qname", "hostname", "mine"]),
        st.sampled_from(["north", "true", "3", "wide", "cloud.q", "node7"]),
        max_size=2,
    ),
)


@given(
    text=texts,
    jobs=st.sampled_from(["", "*", "cloud.q", "all.q, gpu.q"]),
    offers=st.sampled_from(["", OFFERS, "kind=wide, qname=wide.q"]),
    template=st.sampled_from(["", TEMPLATE, "damaged"]),
)
def test_no_no_becomes_a_yes(text: str, jobs: str, offers: str, template: str) -> None:
    plain, found = one(text, template), one(text, narrowed(template, jobs, offers))
    assert not (plain.answer is NO and found.answer is not NO)
    assert not template or found == plain or found.reason.startswith(TAKES_ONLY)
