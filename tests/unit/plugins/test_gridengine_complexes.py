"""What complexes of Grid Engine mean, on recorded lists and on garbage."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.plugins.gridengine_complexes import (
    Asked,
    Complexes,
    Resource,
    asked_of,
    is_given,
    megabytes,
    number,
    parse_complexes,
)

RECORDED = Path(__file__).parent / "recorded" / "gridengine"


def recorded(name: str) -> Complexes:
    return parse_complexes((RECORDED / name).read_text())


class TestParsing:
    def test_recorded(self) -> None:
        named = recorded("complexes").named
        assert named["h_vmem"] == Resource("YES", "0", "MEMORY", "<=", "YES")
        assert named["mem_free"] == Resource("NO", "0", "MEMORY", "<=", "YES")
        assert named["slots"] == Resource("YES", "1", "INT", "<=", "YES")

    def test_recorded_of_a_site(self) -> None:
        named = recorded("complexes-site").named
        assert named["needs"] == Resource("NO", "0", "BOOL", "==", "FORCED")
        assert named["excl"].is_exclusive

    @pytest.mark.parametrize("text", ["", "denied: no", "#name\n", "h_vmem h_vmem MEMORY <= YES YES 0 0\n"])
    def test_what_are_none(self, text: str) -> None:
        with pytest.raises(BatchError):
            parse_complexes(text)


class TestKinds:
    def test_recorded(self) -> None:
        complexes = recorded("complexes-site")
        assert complexes.memory == {"h_vmem", "hmem", "fmem", "mem_free", "virtual_free"}
        assert (complexes.gpus, complexes.disk, complexes.exclusive) == ({"gpu"}, set(), {"excl"})
        assert complexes.crowded == {"h_vmem", "hmem"}
        assert recorded("complexes").crowded == set()

    @pytest.mark.parametrize(
        ("name", "resource", "kind"),
        [
            ("h_vmem", Resource("YES", type="MEMORY"), "memory"),
            ("s_vmem", Resource("JOB", type="MEMORY"), "memory"),
            ("h_rss", Resource("YES", type="MEMORY"), "memory"),
            ("m_mem_free", Resource("HOST", type="MEMORY"), "memory"),
            ("ram", Resource("YES", type="MEMORY"), "memory"),
            ("anything", Resource("YES", type="MEMORY"), "memory"),
            ("mem_free", Resource(type="MEMORY"), "memory"),
            ("virtual_free", Resource(type="MEMORY"), "memory"),
            ("h_vmem", Resource(type="MEMORY"), ""),
            ("s_vmem", Resource(type="MEMORY"), ""),
            ("mem_total", Resource(type="MEMORY"), ""),
            ("mem_used", Resource(type="MEMORY", relation=">="), ""),
            ("swap_free", Resource(type="MEMORY"), ""),
            ("ram", Resource("YES", type="INT"), ""),
            ("gpu_mem", Resource("YES", type="MEMORY"), ""),
            ("scratch", Resource("YES", type="MEMORY"), "disk"),
            ("tmp_free", Resource(type="MEMORY"), "disk"),
            ("h_fsize", Resource(type="MEMORY"), ""),
            ("gpu", Resource("YES"), "gpus"),
            ("ngpus", Resource("JOB"), "gpus"),
            ("gpu_a100", Resource("YES"), "gpus"),
            ("gpu", Resource(), ""),
            ("gpu_model", Resource(type="RESTRING", relation="=="), ""),
            ("lic", Resource("YES"), ""),
        ],
    )
    def test_by_type_and_use(self, name: str, resource: Resource, kind: str) -> None:
        complexes = Complexes({name: resource})
        assert [one for one in ("memory", "disk", "gpus") if name in getattr(complexes, one)] == (
            [kind] if kind else []
        )

    def test_given(self) -> None:
        complexes = Complexes({"h_vmem": Resource("YES", "1G", "MEMORY"), "ram": Resource("YES", "0", "MEMORY")})
        assert complexes.given == {"h_vmem"}
        assert is_given("h_vmem", complexes)
        assert not is_given("ram", complexes)


class TestAsked:
    @pytest.mark.parametrize(("consumable", "memory_mb"), [("YES", 4096), ("JOB", 1024), ("HOST", 1024)])
    def test_of_a_job_of_four_slots(self, consumable: str, memory_mb: int) -> None:
        complexes = Complexes({"ram": Resource(consumable, type="MEMORY")})
        assert asked_of({"ram": "1G"}, complexes, 4) == Asked(memory_mb)

    def test_without_end_is_a_limit(self) -> None:
        complexes = Complexes({"h_vmem": Resource("YES", type="MEMORY")})
        assert asked_of({"h_vmem": "INFINITY"}, complexes, 4) == Asked()


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("1.5G", "MEMORY", 1.5 * 2**30),
        ("1k", "MEMORY", 1000),
        ("24105.558594M", "MEMORY", 24105.558594 * 2**20),
        ("0.000", "MEMORY", 0),
        ("-2.000G", "MEMORY", -2 * 2**30),
        ("INFINITY", "MEMORY", float("inf")),
        ("1:30:00", "TIME", 5400),
        (":5:", "TIME", 300),
        ("82800", "TIME", 82800),
        ("2.000000", "INT", 2),
        (".5", "DOUBLE", 0.5),
        ("TRUE", "BOOL", 1),
        ("false", "BOOL", 0),
        ("1", "BOOL", 1),
        ("1:2:3:4", "TIME", None),
        ("1:x", "TIME", None),
        ("nan", "DOUBLE", None),
        ("1e400", "DOUBLE", None),
        ("", "INT", None),
        ("1GG", "MEMORY", None),
        ("9" * 400, "INT", None),
    ],
)
def test_numbers(text: str, kind: str, value: float | None) -> None:
    assert number(text, kind) == value


def test_megabytes() -> None:
    assert (megabytes(1, up=True), megabytes(2**20 - 1, up=False), megabytes(-5, up=True)) == (1, 0, 0)
