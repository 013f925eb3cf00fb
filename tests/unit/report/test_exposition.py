"""The text that Prometheus reads, checked by Prometheus's own Python library."""

from __future__ import annotations

import math

import pytest

from elastiq.report.exposition import Family, Histogram, histograms, lines

parser = pytest.importorskip("prometheus_client.parser", reason="pip install '.[test]'")


def read(family: Family, **always: str) -> list[tuple[str, dict[str, str], float]]:
    text = "".join(f"{line}\n" for line in lines(family, always))
    return [
        (sample.name, sample.labels, sample.value)
        for found in parser.text_string_to_metric_families(text)
        for sample in found.samples
    ]


def test_a_gauge() -> None:
    family = Family("elastiq_x", "gauge", 'what "it" \\ means\nhere', [({"pool": 'a"\\\nb'}, 3), ({}, math.inf)])
    assert read(family, cluster="c") == [
        ("elastiq_x", {"cluster": "c", "pool": 'a"\\\nb'}, 3),
        ("elastiq_x", {"cluster": "c"}, math.inf),
    ]


def test_nothing_known_is_no_metric() -> None:
    assert lines(Family("elastiq_x", "gauge", "what", []), {"cluster": "c"}) == []


def test_a_histogram() -> None:
    made = Histogram((1, 60))
    made.observe(1)
    made.observe(30, 2)
    made.observe(61)
    assert read(histograms("elastiq_x_seconds", "what", [({"pool": "p"}, made)])) == [
        ("elastiq_x_seconds_bucket", {"pool": "p", "le": "1"}, 1),
        ("elastiq_x_seconds_bucket", {"pool": "p", "le": "60"}, 3),
        ("elastiq_x_seconds_bucket", {"pool": "p", "le": "+Inf"}, 4),
        ("elastiq_x_seconds_sum", {"pool": "p"}, 122),
        ("elastiq_x_seconds_count", {"pool": "p"}, 4),
    ]
