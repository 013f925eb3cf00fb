"""The list of the defects, in the words of whoever provoked them in the original, and where each is shown absent."""

from __future__ import annotations

from types import FunctionType, ModuleType

import pytest

from tests.defects import (
    test_blocks_and_dies,
    test_configuration,
    test_kills_work,
    test_leaks_and_overlaunches,
    test_process,
)

DEFECTS: dict[ModuleType, dict[str, str]] = {
    test_kills_work: {
        "test_slot_busy_between_look_and_termination": "a slot that turned busy between condor_status and "
        "TerminateInstances was killed 0.45 s later",
        "test_claimed_idle_slot": "Claimed/Idle slots killed",
        "test_short_job_between_two_looks": "a 2 s job between two 5 s polls did not reset the idle timer",
        "test_idle_vms_of_others": "idle VMs that elastiq does not own were terminated (5 of 5)",
        "test_foreign_vm_with_the_same_private_address": "a foreign VM with the same private IP",
        "test_new_vm_with_the_address_of_a_stale_ad": "a new VM that reused the IP of a stale ad",
        "test_restart_while_condor_status_fails": "after a restart while condor_status failed, three owned busy VMs "
        'were terminated as "never joined"',
        "test_clock_step_forward_and_an_idle_vm": "a clock step of +3700 s killed a VM idle for 3 s",
        "test_clock_step_forward_and_a_booting_vm": "and a booting one",
        "test_clock_step_back": "a step of -3600 s stalled the daemon",
    },
    test_leaks_and_overlaunches: {
        "test_signal_within_a_batch_of_launches": "SIGTERM or SIGKILL in a batch of 10 launches left 6 running VMs "
        "that no file knows",
        "test_answer_to_a_launch_lost_or_malformed_twice": "an answer to RunInstances lost or malformed twice left 2 "
        "unowned",
        "test_one_empty_listing": "one empty DescribeInstances answer emptied the ownership file for good",
        "test_api_error_during_the_check_for_vms_that_never_joined": "an API error during the never-joined check "
        "meant no check ever again",
        "test_restart_with_two_pending_at_the_maximum": "a restart with 2 VMs pending at max 2 made 4",
        "test_two_daemons_at_once": "two daemons at once made 8 for 4",
        "test_garbage_in_the_state_file": "garbage in the state file was accepted and overwritten",
        "test_full_disk": "on a full disk the last id was cut in half",
        "test_joined_vm_is_counted_once": "a launched-and-joined VM was counted twice until the deploy time had "
        "passed (max 4 stayed at 2 with 10 jobs waiting)",
        "test_failed_termination_is_retried_soon": "one failed TerminateInstances was retried only after another "
        "whole idle time",
        "test_dead_vm_is_terminated_once": "and a dead VM was terminated again every 10 s",
    },
    test_blocks_and_dies: {
        "test_api_refuses_connections": "API refusing connections: the first queue check came after 253 s",
        "test_describe_instances_hangs": "DescribeInstances hanging: no queue check in 270 s",
        "test_condor_q_hangs": "a hanging condor_q: 246 s in which nothing else runs",
        "test_grandchild_that_holds_the_pipe": "and a grandchild holding the pipe defeats its timeout",
        "test_unresolvable_worker_name": "an unresolvable worker name",
        "test_vm_in_error_is_seen_twice": "an error VM checked twice in a pass",
        "test_dry_run_with_a_vm_in_error": "dry run with an error VM: traceback, daemon gone",
        "test_empty_output_of_condor_q": "empty output of condor_q with exit 0 taken as 0 jobs",
    },
    test_configuration: {
        "test_typos": "typos (`max_vm`, `[quotas]`) silently ignored",
        "test_secret_that_looks_like_a_number": "everything that float() accepts became a number (secret `123e4` "
        "crashed",
        "test_key_name_that_looks_like_a_number": "key name 007 became 7.0",
        "test_percent_in_a_secret": "`%` in a secret made it fall back to a default",
        "test_max_vms_zero": "`max_vms = 0` launched 816 VMs in 15 s",
        "test_numbers_that_are_none": "nan, negative, empty values and trailing comments crashed, some only hours "
        "later",
        "test_minimum_above_maximum": "min 5 > max 3 said nothing",
        "test_invalid_base64": "invalid base64 accepted",
        "test_wrong_image": "wrong image id: ran on and did nothing",
    },
    test_process: {
        "test_concurrent_starts": "three concurrent starts left two daemons in 2 of 6 trials",
        "test_stale_pid_file_and_start": 'a stale pid file made `start` say "already running"',
        "test_stale_pid_file_and_stop": "and `stop` kill an innocent process",
        "test_modes_in_background": "the pid and log files were mode 0666 in background mode",
        "test_secret_in_the_log": "the secret key was logged in clear",
    },
}

ENTRIES = [
    pytest.param(module, name, words, id=name) for module, names in DEFECTS.items() for name, words in names.items()
]


@pytest.mark.parametrize(("module", "name", "words"), ENTRIES)
def test_each_defect_has_its_test(module: ModuleType, name: str, words: str) -> None:
    test = getattr(module, name, None)
    assert isinstance(test, FunctionType), f"{words}: no test shows it absent"
    assert (test.__doc__ or "").split() == words.split()


def test_the_list_is_as_long_as_what_was_found() -> None:
    assert [len(names) for names in DEFECTS.values()] == [10, 11, 8, 9, 5]
