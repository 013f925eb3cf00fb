"""How answers are read."""

from __future__ import annotations

import pytest

from elastiq.ec2.answers import _epoch, console_tail, instance_of, listed, shape
from elastiq.errors import CloudError
from elastiq.model import InstanceState, Shape
from elastiq.redaction import Redactor


def test_an_instance_with_hardly_anything_in_it() -> None:
    instance = instance_of({"InstanceId": "i-1"}, Redactor())
    assert (instance.state, instance.address, instance.launched_at) == (InstanceState.RUNNING, None, None)
    empty = {"InstanceId": "i-1", "PrivateIpAddress": "", "Tags": [], "StateReason": {}}
    assert instance_of(empty, Redactor()).address is None


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("pending", InstanceState.PENDING),
        ("running", InstanceState.RUNNING),
        ("shutting-down", InstanceState.STOPPING),
        ("stopping", InstanceState.STOPPING),
        ("stopped", InstanceState.STOPPED),
        ("terminated", InstanceState.TERMINATED),
        ("error", InstanceState.ERROR),
        ("rescued", InstanceState.RUNNING),
        ("", InstanceState.RUNNING),
    ],
)
def test_states_go_by_name(name: str, state: InstanceState) -> None:
    assert instance_of({"InstanceId": "i-1", "State": {"Code": 0, "Name": name}}, Redactor()).state is state


@pytest.mark.parametrize(
    ("code", "interrupted"),
    [
        ("Server.SpotInstanceTermination", True),
        ("Server.SpotInstanceShutdown", True),
        ("Client.UserInitiatedShutdown", False),
        ("", False),
    ],
)
def test_what_the_cloud_has_taken_back_itself(code: str, interrupted: bool) -> None:
    reason = {"StateReason": {"Code": code, "Message": f"{code}: text"}}
    assert instance_of({"InstanceId": "i-1", **reason}, Redactor()).interrupted is interrupted


def test_an_answer_without_a_list_is_no_empty_list() -> None:
    assert listed({"Reservations": []}, Redactor()) == ()
    for answer in ({}, {"Reservations": [{}]}, {"Reservations": [{"Instances": [{}]}]}):
        with pytest.raises(CloudError):
            listed(answer, Redactor())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00.000Z", 86400.0),
        ("1970-01-02T00:00:00Z", 86400.0),
        ("1970-01-02T00:00:00", 86400.0),
        ("1970-01-02T00:00:00.123456", 86400.0),
        ("", None),
        ("yesterday", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    assert _epoch(text) == seconds


def test_what_the_cloud_says_of_a_vm_is_short_printable_and_clean() -> None:
    redactor = Redactor()
    redactor.add(("s3cret-key",), ())
    reason = {"Message": f"cannot sign\nwith s3cret-key at http://me:pw@host {'x ' * 200}", "Code": "X"}
    detail = instance_of({"InstanceId": "i-1", "StateReason": reason}, redactor).detail
    assert detail.startswith("cannot sign with (hidden) at http://host x x")
    assert len(detail) == 200
    assert instance_of({"InstanceId": "i-1", "StateReason": {"Code": "Server.X"}}, redactor).detail == "Server.X"


def test_a_console_is_cleaned_before_its_long_lines_are_cut() -> None:
    redactor = Redactor()
    redactor.add((), (f"join {'x ' * 200} s3cret".encode(),))
    tail = console_tail(f"\x1b[31mred\x1b[0m\r\n+ join {'x ' * 200} s3cret\n\n{'y.' * 150}\n", redactor)
    assert tail.splitlines() == ["red", "+ (hidden)", "y." * 100]
    assert console_tail("line\n" * 30, redactor).splitlines() == ["line"] * 20
    assert console_tail("", redactor) == ""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"MemoryInfo": {"SizeInMiB": 8192}, "InstanceStorageInfo": {"TotalSizeInGB": 75}, "GpuInfo": {"Gpus": []}},
            Shape(2, 8192, 75_000, 0),
        ),
        ({"GpuInfo": {"Gpus": [{"Count": 1}, {"Count": 4}]}}, Shape(2, None, None, 5)),
        ({"MemoryInfo": {"SizeInMiB": 0}, "InstanceStorageInfo": {}}, Shape(2, None, None, 0)),
        ({"MemoryInfo": None, "InstanceStorageInfo": {"TotalSizeInGB": 0}, "GpuInfo": None}, Shape(2, None, None, 0)),
    ],
)
def test_what_a_type_does_not_tell_is_not_known(said: dict[str, object], expected: Shape) -> None:
    assert shape({"VCpuInfo": {"DefaultVCpus": 2}, **said}) == expected
