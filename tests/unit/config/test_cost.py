"""The section [cost]: amounts to the last digit, and all that can be wrong with it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.config.offers import micros
from elastiq.errors import ConfigError
from elastiq.model import Cost
from tests.unit.config.rig import IMAGE, loaded, warnings_of

PRICED = "instance_types = m5.large 0.096, m5.xlarge 0.192\n"


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, IMAGE + text)
    return [problem.partition("elastiq.conf")[2] for problem in caught.value.problems]


def test_a_file_without_it_has_no_caps(tmp_path: Path) -> None:
    cost = loaded(tmp_path, IMAGE + PRICED + "[cost]\n").policy().cost
    assert not (cost.is_kept or cost.is_capped)


def test_amounts_are_exact(tmp_path: Path) -> None:
    text = f"{PRICED}[cost]\ncurrency = EUR\nmax_per_hour = 12.10\nmax_per_month = 0.3\ntimezone = Europe/Rome\n"
    policy = loaded(tmp_path, IMAGE + text).policy()
    cost = policy.cost
    assert (cost.max_per_hour, cost.max_per_day, cost.max_per_month) == (12_100_000, None, 300_000)
    assert (cost.currency, cost.calendar.name, cost.is_kept) == ("EUR", "Europe/Rome", True)
    assert policy.pools[0].most_micros("m5.large") == 96_000
    assert policy.pools[0].most_micros() == 192_000
    assert Cost().calendar.name == "UTC"


@given(st.decimals(0, 10**6, places=6))
def test_no_digit_is_lost(amount: Decimal) -> None:
    assert micros(float(str(amount))) == amount * 1_000_000


def test_more_digits_are_never_to_the_dearer_side() -> None:
    assert micros(0.00000123) == 2
    assert micros(0.00000123, is_limit=True) == 1


def test_spot_is_never_dearer_than_on_demand(tmp_path: Path) -> None:
    policy = loaded(tmp_path, f"{IMAGE}{PRICED}market = spot\n").policy()
    assert {offer.most_micros for offer in policy.pools[0].offers} == {96_000, 192_000}
    assert {offer.price for offer in policy.pools[0].offers} == {None}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "[cost]\nmax_per_hour = 1\n",
            ":1: [ec2]: max_per_hour is set but VMs have no price; give their types with prices, such as "
            "instance_types = m5.large 0.096",
        ),
        (
            "flavour = c5.large\n[cost]\nmax_per_day = 1\n",
            ":1: [ec2]: max_per_day is set but VMs have no price; give their types with prices, such as "
            "instance_types = c5.large 0.096",
        ),
        (
            "instance_types = m5.large, c5.large 0.1\n[cost]\nmax_per_month = 1\n",
            ":4: [ec2]: max_per_month is set but instance type m5.large has no price; give it behind the type",
        ),
        (
            f"{PRICED}[pool x]\nflavour = y\n[cost]\nmax_per_hour = 1\n",
            ":5: [pool x]: max_per_hour is set but VMs have no price; give their types with prices, such as "
            "instance_types = y 0.096",
        ),
        (
            "[pool x]\ninstance_types = y\n[cost]\nmax_per_hour = 1\n",
            ":5: [pool x]: max_per_hour is set but instance type y has no price; give it behind the type",
        ),
        (
            "[cost]\nmax_per_hour = 12,50\n",
            ":5: [cost] max_per_hour: '12,50' is not an amount of money; give a number above 0, such as 12.50, without "
            "the currency",
        ),
        (
            "[cost]\nmax_per_hour = 0\n",
            ":5: [cost] max_per_hour: '0' is no limit; give a number above 0, such as 12.50, without the currency, or "
            "leave the line out for no limit",
        ),
        ("[cost]\nmax_per_week = 3\n", ":5: [cost] max_per_week: unknown option, did you mean max_per_day?"),
        (
            "[cost]\ntimezone = Europe/Roma\n",
            ":5: [cost] timezone: 'Europe/Roma' is no time zone that this system knows, did you mean Europe/Rome?",
        ),
    ],
)
def test_problems(text: str, problem: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == [problem]


def test_pools_that_say_nothing_of_it_take_the_prices_of_ec2(tmp_path: Path) -> None:
    text = (
        f"{PRICED}[pool a]\n[pool b]\ninstance_types = c5.large 0.1\n[quota]\nmax_vms = 9\n[cost]\nmax_per_hour = 1\n"
    )
    assert warnings_of(tmp_path, IMAGE + text) == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "max_per_hour = 0.05",
            "[cost] max_per_hour: 0.05 is less than any VM of [ec2] costs (0.096), so that none of it is ever launched",
        ),
        (
            "max_per_day = 9\nmax_per_month = 5",
            "[cost] max_per_day: 9 is more than max_per_month 5, which is then reached within the time",
        ),
    ],
)
def test_what_is_odd_is_said(text: str, warning: str, tmp_path: Path) -> None:
    (found,) = warnings_of(tmp_path, f"{IMAGE}{PRICED}[cost]\n{text}\n")
    assert found.partition(": ")[2] == warning
