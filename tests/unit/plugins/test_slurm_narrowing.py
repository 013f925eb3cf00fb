"""Which jobs pools take on Slurm, and what their nodes are supposed to offer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Eligibility, Judgement
from elastiq.plugins import TAKES_ONLY
from elastiq.plugins.slurm_match import Offer, Wants, together
from elastiq.plugins.slurm_narrowing import Taken, judge, narrowed, taken_of

YES, NO, UNKNOWN = Eligibility.YES, Eligibility.NO, Eligibility.UNKNOWN
TEMPLATE = Offer(("batch",), ("a100", "fast"), {"gpu:a100": 2, "nic": 4}, 1000).text()
OFFERS = "avx512, gres:gpu:a100:2, gres:nic, partition:gpu, feature:cloud"


def answer(wants: Wants, text: str) -> Eligibility:
    (found,) = judge([wants.text()], text)
    return found.answer


@pytest.mark.parametrize(
    ("jobs", "wants", "is_taken"),
    [
        ("gpu", Wants(submitted=("gpu",)), True),
        ("gpu, long", Wants(submitted=("long",)), True),
        ("partition:gpu", Wants(submitted=("gpu",)), True),
        ("gpu", Wants(), False),
        ("gpu, feature:cloud", Wants(constraint="cloud"), True),
        ("feature:cloud", Wants(constraint="fast&[cloud*2|other]"), True),
        ("feature:cloud", Wants(constraint="clouds"), False),
        ("feature:cloud", Wants(submitted=("cloud",)), False),
        ("*", Wants(), True),
        ("gpu, *", Wants(), True),
        ("", Wants(), True),
    ],
)
def test_which_jobs_are_taken(jobs: str, wants: Wants, is_taken: bool) -> None:
    (found,) = judge([wants.text()], narrowed("", jobs, ""))
    assert (found.answer is not NO) is is_taken
    assert found.reason.startswith(TAKES_ONLY) is not is_taken


def test_the_reason_names_what_was_asked_for() -> None:
    (found,) = judge([""], narrowed(TEMPLATE, "gpu, feature:cloud", ""))
    assert found == Judgement(NO, "the pool takes only jobs of partition gpu or with feature cloud")


def test_of_a_heterogeneous_job_a_component_is_enough() -> None:
    wants = together([Wants(constraint="cloud").text(), Wants(tmp_mb=1).text()])
    (found,) = judge([wants], narrowed("", "feature:cloud", "cloud"))
    assert found.answer is UNKNOWN


@pytest.mark.parametrize("wants", ["x", "[]", '{"too_long":true}', "[" * 9999])
def test_jobs_that_cannot_be_read_are_not_taken(wants: str) -> None:
    assert judge([wants], narrowed(TEMPLATE, "gpu", ""))[0].answer is NO
    assert judge([wants], narrowed(TEMPLATE, "*", ""))[0].answer is UNKNOWN


@pytest.mark.parametrize(
    ("wants", "expected"),
    [
        (Wants(), YES),
        (Wants(constraint="avx512&cloud"), YES),
        (Wants(constraint="avx512|ib"), YES),
        (Wants(constraint="avx512&ib"), UNKNOWN),
        (Wants(constraint="ib"), UNKNOWN),
        (Wants(constraint="!avx512"), UNKNOWN),
        (Wants(gres={"gpu:a100": 2}), YES),
        (Wants(gres={"gpu:a100": 3}), NO),
        (Wants(gres={"nic": 1}), YES),
        (Wants(gres={"nic": 2}), NO),
        (Wants(gres={"gpu:t4": 1}), UNKNOWN),
        (Wants(partitions=("gpu",)), YES),
        (Wants(partitions=("long",)), UNKNOWN),
        (Wants(partitions=("long",), usual=True), YES),
        (Wants(tmp_mb=1), UNKNOWN),
        (Wants(reservation="exam"), NO),
    ],
)
def test_what_is_offered_until_a_node_was_seen(wants: Wants, expected: Eligibility) -> None:
    assert answer(wants, narrowed("", "", OFFERS)) is expected
    assert answer(wants, narrowed(TEMPLATE, "", OFFERS)) is answer(wants, TEMPLATE)


@pytest.mark.parametrize(
    ("jobs", "offers", "problem"),
    [
        ("gpu,", "", "'gpu,' has a comma without a name before or after it"),
        ("gpu long", "", "'gpu long' is no name; put commas between names"),
        ("MayUseAWS =?= true", "", "is no name"),
        ("features:cloud", "", "'features:cloud': features: is not known, did you mean feature:?"),
        ("x:cloud", "", "x: is not known, there are feature:, partition:"),
        ("feature:", "", "'feature:' is no name"),
        ("feature:a:b", "", "is no name"),
        ("", "a,,b", "has a comma without a name"),
        ("", "gre:gpu:1", "gre: is not known, did you mean gres:?"),
        ("", "gres:", "'gres:' is no name"),
        ("", "gres:gpu::1", "is no name"),
        ("", "a&b", "'a&b' is no name"),
        ("", 'a="1"', "is no name"),
    ],
)
def test_what_cannot_be_read(jobs: str, offers: str, problem: str) -> None:
    with pytest.raises(BatchError) as caught:
        narrowed(TEMPLATE, jobs, offers)
    assert problem in str(caught.value)


def test_partitions_that_decide() -> None:
    assert taken_of("gpu, partition:long, feature:x") == Taken(frozenset({"gpu", "long"}), frozenset({"x"}))
    assert taken_of("") == taken_of("*, gpu") == Taken()


DAMAGED = ("x", "[]", '{"jobs":1,"offers":"","template":""}', '{"jobs":"a b","offers":"","template":""}')


@pytest.mark.parametrize("template", DAMAGED)
def test_what_is_damaged_refuses_nothing(template: str) -> None:
    assert answer(Wants(constraint="a"), template) is UNKNOWN
    assert answer(Wants(constraint="a"), narrowed(template, "", "a")) is UNKNOWN


names = st.sampled_from(["a100", "fast", "ib", "cloud"])
wanted = st.builds(
    Wants,
    constraint=st.one_of(st.just(""), st.lists(names, min_size=1, max_size=3).map("&".join), st.just("!x")),
    gres=st.dictionaries(st.sampled_from(["gpu:a100", "nic", "gpu:t4"]), st.integers(1, 5), max_size=2),
    partitions=st.sampled_from([(), ("batch",), ("long",)]),
    named_nodes=st.booleans(),
    submitted=st.sampled_from([(), ("gpu",)]),
)


@given(
    wants=st.lists(wanted, min_size=1, max_size=3),
    jobs=st.sampled_from(["", "*", "gpu", "feature:cloud", "long, feature:ib"]),
    offers=st.sampled_from(["", OFFERS, "ib, partition:long, gres:nic:9"]),
    template=st.sampled_from(["", TEMPLATE, "damaged"]),
)
def test_no_no_becomes_a_yes(wants: list[Wants], jobs: str, offers: str, template: str) -> None:
    texts = [one.text() for one in wants]
    for plain, found in zip(judge(texts, template), judge(texts, narrowed(template, jobs, offers))):
        assert not (plain.answer is NO and found.answer is not NO)
        assert not template or found == plain or found.reason.startswith(TAKES_ONLY)
