"""Which ways to place jobs spread them, by what real systems said of themselves while they did or did not.

Each was tried with four workers of four CPUs and eight jobs of one, at once and one after the other: the jobs were on
two workers then, or on three or four.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.plugins import ADVICE_LIMIT
from elastiq.plugins.faults import advice_faults
from elastiq.plugins.placement import (
    DIVIDED,
    RANK_BY_ADDRESS,
    SEVERAL,
    condor_advice,
    gridengine_advice,
    slurm_advice,
)
from elastiq.plugins.slurm_limits import Partition, parse_partitions

RECORDED = Path(__file__).with_name("recorded")
DEFAULT_RANK = "(10000000 * My.Rank) + (1000000 * (RemoteOwner =?= UNDEFINED)) - (100000 * Cpus) - Memory\n"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def partitions(name: str = "24.11-partitions") -> Mapping[str, Partition]:
    return parse_partitions(recorded(f"slurm/{name}"))


@pytest.mark.parametrize("depth_first", ["false\n", "False\n", "0\n", "F\n"])
def test_divided_slots_of_condor(depth_first: str) -> None:
    (said,) = condor_advice(depth_first, DEFAULT_RANK, [DIVIDED])
    assert "put NEGOTIATOR_DEPTH_FIRST = True into the configuration of the central manager" in said
    assert not advice_faults((said,))
    assert condor_advice(depth_first, DEFAULT_RANK, [SEVERAL]) != (said,)


@pytest.mark.parametrize(
    "depth_first",
    ["True\n", "yes\n", "1\n", "t\n", "Not defined\n", "0 || 1\n", "nonsense\n", "\n", "", "true\nfalse\n"],
)
def test_what_the_negotiator_does_not_say_for_sure_is_not_said(depth_first: str) -> None:
    assert condor_advice(depth_first, "Not defined\n", [DIVIDED, SEVERAL]) == ()


def test_several_slots_of_a_worker_of_condor_go_by_their_rank() -> None:
    (said,) = condor_advice("True\n", DEFAULT_RANK, [DIVIDED, SEVERAL])
    assert f"put NEGOTIATOR_PRE_JOB_RANK = {RANK_BY_ADDRESS} into" in said
    assert not advice_faults((said,))
    assert condor_advice("True\n", f"{RANK_BY_ADDRESS}\n", [SEVERAL]) == ()
    assert condor_advice("True\n", DEFAULT_RANK, [DIVIDED]) == ()
    assert len(condor_advice("false\n", DEFAULT_RANK, [DIVIDED, SEVERAL])) == 2


def test_slurm_packs_jobs_by_default() -> None:
    assert slurm_advice(recorded("slurm/24.11-config"), partitions(), []) == ()


def test_least_loaded_nodes_of_slurm() -> None:
    (said,) = slurm_advice(recorded("slurm/24.11-config-spread"), partitions(), [])
    assert "(CR_LLN)" in said
    assert "put SelectTypeParameters=CR_CPU_MEMORY into slurm.conf, and restart slurmctld" in said
    assert not advice_faults((said,))
    alone = re.sub(r"(SelectTypeParameters +=).*", r"\1 CR_LLN", recorded("slurm/24.11-config"))
    (said,) = slurm_advice(alone, partitions(), [])
    assert "take SelectTypeParameters=CR_LLN out of slurm.conf" in said


def test_a_partition_of_slurm_may_spread_alone() -> None:
    spread = partitions("24.11-partitions-spread")
    (said,) = slurm_advice(recorded("slurm/24.11-config"), spread, ["batch"])
    assert "jobs of partition batch over nodes" in said
    assert "put LLN=NO into its line of slurm.conf (PartitionName=batch ...), and run scontrol reconfigure" in said
    assert not advice_faults((said,))
    assert slurm_advice(recorded("slurm/24.11-config"), spread, ["other"]) == ()


@pytest.mark.parametrize("config", ["24.11-config", "24.11-config-spread"])
def test_nodes_of_slurm_that_are_not_shared_are_not_spread_over(config: str) -> None:
    down = {"batch": Partition(starts_jobs=False, spreads_jobs=True)}
    whole = {"batch": Partition(is_exclusive=True, spreads_jobs=True)}
    linear = recorded(f"slurm/{config}").replace("select/cons_tres", "select/linear")
    lln = {"batch": Partition(spreads_jobs=True)}
    said = [slurm_advice(recorded(f"slurm/{config}"), one, []) for one in (down, whole, {})]
    assert [*said, slurm_advice(linear, lln, [])] == [()] * 4


def test_many_partitions_of_slurm_are_told_in_one_sentence() -> None:
    many = {f"{'x' * 60}{number}": Partition(spreads_jobs=True) for number in range(100)}
    (said,) = slurm_advice(recorded("slurm/24.11-config"), many, [])
    assert len(said) <= ADVICE_LIMIT


def scheduler(**values: str) -> str:
    """Return what the example's scheduler says, with other values."""
    text = recorded("gridengine/scheduler")
    for name, value in values.items():
        text, count = re.subn(rf"^({name} +).*$", rf"\g<1>{value}", text, flags=re.MULTILINE)
        assert count == 1
    return text


def test_the_example_of_grid_engine_packs_jobs() -> None:
    assert gridengine_advice(scheduler()) == ()
    assert gridengine_advice(scheduler(job_load_adjustments="np_load_avg=0.50")) == ()


@pytest.mark.parametrize("formula", ["np_load_avg", "-slots"])
@pytest.mark.parametrize("adjustments", ["NONE", "np_load_avg=0.50"])
def test_formulas_of_grid_engine_that_spread_jobs(formula: str, adjustments: str) -> None:
    (said,) = gridengine_advice(scheduler(load_formula=formula, job_load_adjustments=adjustments))
    assert f"(load_formula {formula})" in said
    assert "set queue_sort_method load, load_formula slots, job_load_adjustments NONE" in said
    assert not advice_faults((said,))


def test_a_formula_that_was_not_tried_is_not_judged() -> None:
    assert gridengine_advice(scheduler(load_formula="np_load_avg*0.1+mem_used")) == ()


@pytest.mark.parametrize("answer", ["", "denied: host is no admin host\n", "queue_sort_method load\n"])
def test_no_answers(answer: str) -> None:
    with pytest.raises(BatchError, match="answered without"):
        gridengine_advice(answer)
    with pytest.raises(BatchError, match="answered without"):
        slurm_advice(answer, partitions(), [])
