"""What is written of looks is what is read, and whatever is cut off, its beginning is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.state.looks import QUEUE, WORKERS, Glass, Kind, Look, Pen, Queued, Use

counts = st.integers(0, 5)
kinds = st.dictionaries(
    st.builds(Kind, counts, st.none() | counts, st.none() | counts, counts, st.booleans()),
    st.builds(Queued, st.integers(1, 9), st.none() | counts),
    max_size=3,
)
uses = st.dictionaries(
    st.text(max_size=3), st.builds(Use, counts, counts, st.sampled_from((4, 8)), st.booleans()), max_size=4
)
scripts = st.lists(st.tuples(st.booleans(), st.none() | kinds, st.none() | uses), max_size=12)


def written(script: list[tuple[bool, dict[Kind, Queued] | None, dict[str, Use] | None]]) -> list[str]:
    """What a pen writes, in pieces, each from a beginning on."""
    pen, pieces = Pen(), []
    pen.begin(0.0)
    for number, (anew, queue, workers) in enumerate(script):
        if anew:
            pieces.append(pen.take())
            pen.begin(0.0)
        pen.workers(number + 0.1, workers)
        pen.queue(number + 0.2, queue)
    return [*pieces, pen.take()]


def looks_of(pieces: list[str]) -> list[Look]:
    glass, found = Glass(), []
    for piece in pieces:
        glass.begin()
        found += glass.read(piece, 0.0)
    return found


@pytest.mark.long
@given(scripts)
def test_what_is_written_is_what_is_read(
    script: list[tuple[bool, dict[Kind, Queued] | None, dict[str, Use] | None]],
) -> None:
    looks = looks_of(written(script))
    queue: dict[Kind, Queued] | None = None
    workers: dict[str, Use] | None = None
    for number, (_, kinds_then, uses_then) in enumerate(script):
        for look in [look for look in looks if number <= look.at < number + 1]:
            if look.of == QUEUE:
                queue = None if not look.is_known else {**({} if look.is_all else queue or {}), **look.kinds}
                queue = None if queue is None else {kind: one for kind, one in queue.items() if one.waiting}
            else:
                known = {} if look.is_all else workers or {}
                both = {**known, **look.uses} if look.is_known else None
                workers = None if both is None else {name: use for name, use in both.items() if use is not None}
        assert queue == kinds_then
        assert (None if workers is None else sorted(workers.values())) == (
            None if uses_then is None else sorted(uses_then.values())
        )


@pytest.mark.long
@given(scripts, st.data())
def test_what_is_cut_off_leaves_the_beginning(
    script: list[tuple[bool, dict[Kind, Queued] | None, dict[str, Use] | None]], data: st.DataObject
) -> None:
    whole = written([(False, *rest) for _, *rest in script])[0]  # type: ignore[misc]
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    found: list[Look] = []
    try:
        for look in Glass().read(cut, 0.0):
            found.append(look)
    except ValueError:
        assert not cut.endswith("\n")
    assert found == looks_of([whole])[: len(found)]
    assert len(found) == cut.count("\n")


def test_only_what_is_other_is_written_and_no_name() -> None:
    pen = Pen()
    pen.begin(100.0)
    some = {"alice-node": Use(1, 1, 4, True), "b": Use(0, 0, 4, True)}
    pen.workers(100.0, some)
    assert "alice" not in pen.take()
    pen.workers(145.0, dict(some))
    assert pen.take() == ""
    pen.workers(190.0, {**some, "b": Use(2, 1, 4, True)})
    assert pen.take() == "[90.0,45.0,1,0,[[2,2,1]]]\n"


@pytest.mark.parametrize(
    "line", ["{}", "[0,0,2,0,[]]", "[0,0,1,0,[[7,1,1]]]", "[NaN,0,0,0,[]]", "[0,0,0,0,[[1,1,1,1,1,-1,0]]]", "[" * 5000]
)
def test_what_cannot_be_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a look"):
        list(Glass().read(f"{line}\n", 0.0))


def test_that_nothing_is_known_is_written_once() -> None:
    pen = Pen()
    pen.begin(0.0)
    for at in range(3):
        pen.workers(float(at), None)
    pen.workers(9.0, {})
    looks = looks_of([pen.take()])
    assert [(look.at, look.of, look.is_known) for look in looks] == [(0.0, WORKERS, False), (9.0, WORKERS, True)]
