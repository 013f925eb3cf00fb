"""No parser of foreign input ends in a traceback, and none takes garbage for "none"."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.memory import Breaker, Intent, VmRecord
from elastiq.model import Shape
from elastiq.sandbox.spool import Job, WorkerRecord, parse
from elastiq.state import records
from tests.fuzz.targets import SEEDS, TARGETS

FUZZED_ELSEWHERE = {"configuration", "htcondor_total"}
"""By tests/unit (configuration, HTCondor's parsers); here only with the seeds, and by atheris."""

NESTED = b"[" * 200_000

EXAMPLES = int(os.environ.get("ELASTIQ_FUZZ_EXAMPLES", "200"))

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@st.composite
def spliced(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A valid input with a piece replaced."""
    seed = draw(st.sampled_from(seeds))
    begin = draw(st.integers(0, len(seed)))
    end = draw(st.integers(begin, min(len(seed), begin + 40)))
    junk = draw(st.binary(max_size=20) | json_values.map(lambda value: json.dumps(value).encode()))
    return seed[:begin] + junk + seed[end:]


@st.composite
def with_other_values(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A valid input whose JSON documents have another value somewhere, so that only its type can be wrong."""
    parts = draw(st.sampled_from(seeds)).split(b"\0")
    for number, part in enumerate(parts):
        try:
            document = json.loads(part)
        except ValueError:
            continue
        if document and draw(st.booleans()):
            inner = document[0] if isinstance(document, list) else document
            if isinstance(inner, dict):
                name = draw(st.sampled_from(sorted(inner)))
                inner[name] = draw(json_values)
                if draw(st.booleans()):
                    parts[number] = json.dumps(document).encode()
                    continue
            parts[number] = json.dumps(document if isinstance(inner, dict) else draw(json_values)).encode()
    return b"\0".join(parts)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_valid_input_is_taken(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", sorted(TARGETS))
@pytest.mark.parametrize("data", [b"", b"\0", b"\xff\xfe", b"null", b"{}", b"[]", NESTED, b"9" * 10_000], ids=range(8))
def test_what_often_breaks_parsers(name: str, data: bytes) -> None:
    TARGETS[name](data)
    for seed in SEEDS[name]:
        parts = seed.split(b"\0")
        if len(parts) > 20:
            continue  # no parts, but a binary file
        for number in range(len(parts)):
            TARGETS[name](b"\0".join([*parts[:number], data, *parts[number + 1 :]]))


@pytest.mark.parametrize("name", sorted(set(TARGETS) - FUZZED_ELSEWHERE))
def test_any_bytes(name: str) -> None:
    seeds = SEEDS[name]
    target = TARGETS[name]

    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=200) | spliced(seeds) | with_other_values(seeds))
    @example(b"")
    def run(data: bytes) -> None:
        target(data)

    run()


@pytest.mark.parametrize("name", ["/", "..", "../../etc/passwd", "a" * 300, "a\0b", "\n"])
def test_no_text_of_the_sandbox_names_a_file_elsewhere(name: str) -> None:
    """Each of these is a valid string, and once was a traceback or a file outside of the spool."""
    for kind, record in ((Job, {"id": "1", "command": []}), (WorkerRecord, {"name": "node"})):
        for field in ("id", "after") if kind is Job else ("name", "instance_id"):
            with pytest.raises(BatchError, match="is damaged"):
                parse(kind, json.dumps({**record, field: name}), "file")


def test_no_field_of_the_state_goes_unchecked() -> None:
    kinds = {str(field.type) for kind in (Breaker, Intent, Shape, VmRecord) for field in fields(kind)}
    assert kinds <= set(records.TYPES)
