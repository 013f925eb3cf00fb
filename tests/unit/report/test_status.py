"""What `status` shows of a report."""

from __future__ import annotations

from typing import Any

import pytest

from elastiq.planning.why import Account
from elastiq.report.status import picture
from tests.page.scenes import usual

REPORT: dict[str, Any] = {
    "pid": 4711,
    "version": "2.0.0",
    "started_at": 0.0,
    "monotonic_microseconds": 1_000_000_000,
    "jobs_waiting": 12,
    "workers_busy": 3,
    "workers_idle": 1,
    "vms_pending": 2,
    "vms_running": 4,
    "min_vms": 0,
    "max_vms": 5,
    "last_action": {"at": 60.0, "text": "launch 2 VMs: 12 jobs wait; launched i-1, i-2"},
    "last_error": None,
    "holds": ["no room for more than 5 VMs"],
}


def test_the_picture_of_vms_whose_launch_was_not_answered() -> None:
    shown = picture({**REPORT, "vms_unconfirmed": 3}, 1_001_000_000)
    assert "  VMs           2 pending, 4 running, 3 unconfirmed of 0..5" in shown


def test_the_picture_of_vms_that_do_not_run_and_of_a_fault_that_is_over() -> None:
    fault = {"at": 60.0, "text": "VM check failed", "over_at": 120.0}
    others = {"vms_leaving": 1, "vms_in_error": 2, "vms_stopped": 3, "unconfirmed_until": 180.0, "vms_unconfirmed": 4}
    shown = picture({**REPORT, **others, "last_error": fault}, 1_001_000_000)
    assert (
        "  VMs           2 pending, 4 running, 1 leaving, 2 in error, 3 stopped, "
        "4 unconfirmed until 1970-01-01 00:03:00+0000 of 0..5" in shown
    )
    assert "  last error    1970-01-01 00:01:00+0000 (over since 1970-01-01 00:02:00+0000): VM check failed" in shown


def test_what_becomes_of_jobs_and_vms_is_summed_up() -> None:
    now, _ = usual()
    shown = picture(REPORT, 1_001_000_000, now.told)
    assert "  of jobs       112 quota-full, 8 room-booting, 7 waiting-time" in shown
    assert "  of VMs        24 at-work, 5 still-booting, 3 idle-yet-short, 1 going" in shown
    assert picture(REPORT, 1_001_000_000, Account(0.0)) == picture(REPORT, 1_001_000_000)


def test_it_is_one_screen_whatever_is_held_back() -> None:
    shown = picture({**REPORT, "holds": [f"held {number}" for number in range(500)]}, 1_001_000_000)
    assert len(shown) < 25
    assert shown[-1] == "  holding back  and 490 more: see elastiqctl why"


def test_the_picture() -> None:
    assert "\n".join(picture(REPORT, 1_001_000_000)) == (
        "elastiq 2.0.0 is running (pid 4711) since 1970-01-01 00:00:00+0000\n"
        "  jobs waiting  12\n"
        "  workers       3 busy, 1 idle\n"
        "  VMs           2 pending, 4 running of 0..5\n"
        "  last action   1970-01-01 00:01:00+0000: launch 2 VMs: 12 jobs wait; launched i-1, i-2\n"
        "  last error    none\n"
        "  holding back  no room for more than 5 VMs"
    )


def test_the_picture_of_pools() -> None:
    assert "  of pools      3 small, 0 large" in picture({**REPORT, "vms_of_pools": {"small": 3, "large": 0}}, 1)
    assert not [line for line in picture({**REPORT, "vms_of_pools": {}}, 1) if "pools" in line]


def test_the_picture_of_advice_and_of_a_report_of_before_there_was_any() -> None:
    assert "  advice        fill one after the other" in picture({**REPORT, "advice": ["fill one after the other"]}, 1)
    assert not [line for line in picture({**REPORT, "advice": None}, 1) if "advice" in line]


def test_the_picture_tells_unknown_from_none_and_names_silence() -> None:
    report = {**REPORT, "jobs_waiting": None, "workers_busy": 0, "workers_idle": None, "max_vms": None}
    text = "\n".join(picture(report, 2_000_000_000))
    assert "jobs waiting  unknown" in text
    assert "0 busy, unknown idle" in text
    assert "of 0..unlimited" in text
    assert "it has not reported for 1000 s; see the log" in text


def test_a_report_of_before_a_reboot_is_not_the_daemons() -> None:
    """In a container it often has the same number again."""
    assert "it has not reported since this machine was started" in "\n".join(picture(REPORT, 60_000_000))


def test_a_report_of_another_version_is_shown_as_far_as_it_goes() -> None:
    assert "jobs waiting  unknown" in "\n".join(picture({}, 0))


FAULT = "VM check failed: DescribeInstances: AuthFailure: the keys are not those of this account"


@pytest.mark.parametrize(
    ("error", "hold", "shown"),
    [
        (
            FAULT,
            f"the VMs cannot be read, so nothing is launched ({FAULT})",
            "the VMs cannot be read, so nothing is launched (see last error)",
        ),
        (
            "launch 2 VMs: 8 jobs have found no room; RunInstances: InvalidAMIID.NotFound: no such image",
            "8 jobs have found no room, but launches pause for 15 s more: RunInstances: InvalidAMIID.NotFound: no such "
            "image",
            "8 jobs have found no room, but launches pause for 15 s more: see last error",
        ),
        (FAULT, "no room for more than 5 VMs", "no room for more than 5 VMs"),
        ("metrics file: no", "min_vms: no", "min_vms: no"),
    ],
)
def test_an_error_is_shown_once(error: str, hold: str, shown: str) -> None:
    report = {**REPORT, "last_error": {"at": 60.0, "text": error}, "holds": [hold]}
    lines = picture(report, 1_001_000_000)
    assert f"  holding back  {shown}" in lines
    assert sum(error in line for line in lines) == 1
    over = {**report, "last_error": {"at": 60.0, "text": error, "over_at": 61.0}}
    assert f"  holding back  {hold}" in picture(over, 1_001_000_000)
