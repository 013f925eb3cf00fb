"""Generic resources, in the spellings of Slurm's versions."""

from __future__ import annotations

import pytest

from elastiq.plugins.slurm_gres import lacking, parse, total


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("(null)", {}),
        ("N/A", {}),
        ("gpu", {"gpu": 1}),
        ("gpu:2", {"gpu": 2}),
        ("gpu:a100", {"gpu:a100": 1}),
        ("gpu:a100:2(S:0-1)", {"gpu:a100": 2}),
        ("gpu:3090:4(IDX:0,2-4)", {"gpu:3090": 4}),
        ("gres:gpu:2080:2", {"gpu:2080": 2}),
        ("gres/gpu:4090=2", {"gpu:4090": 2}),
        ("gres/gpu=3", {"gpu": 3}),
        ("gpu:a100:no_consume:2", {"gpu:a100": 2}),
        ("gpu:tesla:4,gpu:3090:2,nic:1", {"gpu:tesla": 4, "gpu:3090": 2, "nic": 1}),
        ("gpu:a100:1,gpu:a100:1", {"gpu:a100": 2}),
        ("cpu=1,gres/gpu=1,mem=5G,license/x=1", {"gpu": 1}),
        ("shard:8,mps:tesla:200", {"shard": 8, "mps:tesla": 200}),
        ("gres/license:2", {"license": 2}),
        ("bandwidth:lustre:4G", {"bandwidth:lustre": 4 * 1024**3}),
        ("gpu:x|y:1", {"gpu:x|y": 1}),
        (",,::,=", {}),
    ],
)
def test_what_is_counted(text: str, found: dict[str, int]) -> None:
    assert parse(text) == found


def test_all_types_together() -> None:
    assert total({"gpu": 1, "gpu:a100": 2, "gpus": 5, "nic": 7}, "gpu") == 3


@pytest.mark.parametrize(
    ("kind", "count", "reason"),
    [
        ("gpu:a100", 2, ""),
        ("gpu", 3, ""),
        ("nic", 1, ""),
        ("gpu:t4", 1, "no worker like this has any"),
        ("gpu:a100", 3, "workers like this have 2, and 3 are asked for on a node"),
        ("mps", 50, "no worker like this has any"),
    ],
)
def test_what_is_lacking_is_said(kind: str, count: int, reason: str) -> None:
    assert lacking(kind, count, {"gpu:a100": 2, "gpu:p100": 1, "nic:ib": 1}) == reason
