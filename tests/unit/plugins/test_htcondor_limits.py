"""Concurrency limits."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from elastiq.plugins.htcondor_limits import Limits, limits_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"a"', {"a": 1}),
        ('"B, a:2  c.d:0.5"', {"b": 1, "a": 2, "c.d": 0.5}),
        ('"a, a:2"', {"a": 3}),
        ('"a:0"', {"a": 1}),
        ('"a:.."', {"a": 1}),
        ('""', {}),
        ("", {}),
        ("undefined", {}),
        ('strcat("a", b)', {}),
        ('"open', {}),
        ('"a b-c"', {"a": 1}),
    ],
)
def test_what_a_job_takes(text: str, expected: Mapping[str, float]) -> None:
    assert limits_of(text) == expected


@pytest.mark.parametrize(
    ("configuration", "running", "waiting", "allowed"),
    [
        ({"a_limit": "10"}, 4, 20, 6),
        ({"a_limit": "10"}, 10, 20, 0),
        ({"a_limit": "10"}, 25, 20, 0),
        ({"a_limit": "0"}, 0, 5, 0),
        ({"a_limit": "$(X)"}, 0, 5, 5),
        ({"concurrency_limit_default": "3"}, 1, 5, 2),
        ({"concurrency_limit_default": "3", "a_limit": "4"}, 1, 5, 3),
        ({}, 100, 5, 5),
    ],
)
def test_what_is_left(configuration: Mapping[str, str], running: int, waiting: int, allowed: int) -> None:
    limits = Limits(lambda: configuration)
    limits.take({"a": 1.0}, running)
    assert limits.take({"a": 1.0}, waiting) == allowed
    assert limits.take({"other": 1.0}, 7) == min(7, int(float(configuration.get("concurrency_limit_default", "9"))))


def test_several_limits_and_groups() -> None:
    limits = Limits(lambda: {"a_limit": "10", "b_limit": "3", "concurrency_limit_default_c": "1"})
    assert limits.take({"a": 2.0, "b": 1.0}, 9) == 3
    assert limits.take({"a": 2.0}, 9) == 2
    assert limits.take({"c.x": 1.0}, 9) == 1


def test_the_configuration_is_read_once_and_only_if_need_be() -> None:
    read: list[int] = []

    def configuration() -> Mapping[str, str]:
        read.append(1)
        return {}

    limits = Limits(configuration)
    assert not read
    limits.take({"a": 1.0, "b": 1.0}, 1)
    assert len(read) == 1
