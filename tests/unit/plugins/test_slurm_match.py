"""What jobs want compared with what workers offer."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Eligibility
from elastiq.plugins import WANTS_LIMIT
from elastiq.plugins.faults import judgement_faults
from elastiq.plugins.slurm_match import Offer, Wants, judge, together

OFFER = Offer(("batch",), ("a100", "fast"), {"gpu:a100": 2, "nic": 4}, 1000, "x86_64", "Linux")
TEMPLATE = OFFER.text()
YES, NO, UNKNOWN = Eligibility.YES, Eligibility.NO, Eligibility.UNKNOWN


def answers(wants: Wants, *templates: str) -> list[tuple[Eligibility, str]]:
    return [(one.answer, one.reason) for template in templates for one in judge([wants.text()], template)]


@pytest.mark.parametrize(
    ("wants", "reason"),
    [
        (Wants(), ""),
        (Wants(constraint="a100&fast"), ""),
        (Wants(constraint="a100&ib"), "constraint a100&ib: no worker like this has the feature ib"),
        (Wants(constraint="ib|mpi"), "constraint ib|mpi: no worker like this has the features ib, mpi"),
        (Wants(gres={"gpu:a100": 2}), ""),
        (Wants(gres={"gpu:t4": 1}), "gres gpu:t4: no worker like this has any"),
        (Wants(gres={"gpu:a100": 4}), "gres gpu:a100: workers like this have 2, and 4 are asked for on a node"),
        (Wants(gres={"license": 1}), "gres license: no worker like this has any"),
        (Wants(partitions=("batch", "long")), ""),
        (Wants(partitions=("long",)), "partition long: workers like this are only in batch"),
        (Wants(partitions=("long",), usual=True), "partition long: workers like this are only in batch"),
        (Wants(tmp_mb=1000), ""),
        (Wants(tmp_mb=1001), "1001 MB of temporary disk space: workers like this have 1000 MB"),
        (Wants(never="partition short: at most 2 nodes"), "partition short: at most 2 nodes"),
        (
            Wants(named_nodes=True),
            "certain nodes are asked for by name, and a VM that is launched gets a name of its own",
        ),
        (Wants(reservation="exam"), "reservation exam: a VM that is launched is in no reservation"),
        (Wants(constraint="!a", gres={"gpu:t4": 1}), "gres gpu:t4: no worker like this has any"),
    ],
)
def test_workers_that_are_known(wants: Wants, reason: str) -> None:
    assert answers(wants, TEMPLATE) == [(NO if reason else YES, reason)]


@pytest.mark.parametrize(
    ("wants", "answer"),
    [
        (Wants(), YES),
        (Wants(partitions=("batch",), usual=True), YES),
        (Wants(partitions=("long",)), UNKNOWN),
        (Wants(constraint="fast"), UNKNOWN),
        (Wants(gres={"gpu:a100": 1}), UNKNOWN),
        (Wants(tmp_mb=1), UNKNOWN),
        (Wants(named_nodes=True), NO),
        (Wants(reservation="exam"), NO),
        (Wants(never="why"), NO),
    ],
)
def test_before_any_worker_was_seen(wants: Wants, answer: Eligibility) -> None:
    """Were plain jobs unknown, the first launch of a cluster would always be one VM, however many jobs wait."""
    ((found, reason),) = answers(wants, "")
    assert found is answer
    assert bool(reason) == (answer is not YES)


DAMAGED = ["x", "[]", "{", "null", '{"features": "fast"}', '{"gres": {"gpu": "2"}}', '{"of_tomorrow": 1}', "[" * 10_000]


@pytest.mark.parametrize("template", DAMAGED)
def test_a_damaged_template_is_none(template: str) -> None:
    (first, second) = answers(Wants(constraint="fast"), template) + answers(Wants(), template)
    assert first == (UNKNOWN, "constraint fast: what is remembered of earlier workers cannot be read")
    assert second == (YES, "")


@pytest.mark.parametrize("wants", ["x", "[]", "5", '{"constraint": 5}', '{"of_tomorrow": 1}', "[" * 10_000])
def test_wants_that_cannot_be_read_are_unknown(wants: str) -> None:
    (judgement,) = judge([wants], TEMPLATE)
    assert judgement.answer is UNKNOWN


def test_an_expression_that_cannot_be_read_is_unknown() -> None:
    assert answers(Wants(constraint="a100&&ib"), TEMPLATE) == [(UNKNOWN, "constraint a100&&ib: that cannot be read")]


def test_wants_are_short_and_the_same_for_the_same() -> None:
    assert Wants().text() == together(["", ""]) == ""
    assert Wants(gres={"b": 1, "a": 2}).text() == Wants(gres={"a": 2, "b": 1}).text()
    long = Wants(constraint="|".join(f"feature{number}" for number in range(1000))).text()
    assert len(long) <= WANTS_LIMIT
    assert judge([long], TEMPLATE)[0].answer is UNKNOWN


def test_a_worker_must_be_fit_for_every_component() -> None:
    fit, unfit = Wants(constraint="fast").text(), Wants(constraint="slow").text()
    assert judge([together([fit, ""])], TEMPLATE)[0].answer is YES
    (judgement,) = judge([together([fit, unfit])], TEMPLATE)
    assert judgement.answer is NO
    assert judgement.reason == (
        "a component of a heterogeneous job: constraint slow: no worker like this has the feature slow"
    )
    assert together([fit, unfit]) == together([unfit, fit, fit])


def test_a_template_is_never_too_long() -> None:
    with pytest.raises(BatchError, match="characters"):
        replace(OFFER, features=tuple(f"feature{number}" for number in range(20_000))).text()


@pytest.mark.long
@given(st.text(), st.text(), st.dictionaries(st.text(), st.integers(1, 10**12)), st.lists(st.text()))
def test_every_question_has_an_answer(
    constraint: str, reservation: str, gres: dict[str, int], names: list[str]
) -> None:
    wants = Wants(constraint=constraint, gres=gres, partitions=tuple(names)).text()
    asked = [wants, Wants(reservation=reservation).text(), constraint, json.dumps(gres)]
    for template in ("", TEMPLATE, constraint, json.dumps({"features": names}), json.dumps({"gres": gres})):
        assert judgement_faults(judge(asked, template), len(asked)) == []
