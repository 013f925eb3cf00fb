"""instance_types, market, subnets and zones: the offers that they make, and all that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.config.offers import worthwhile
from elastiq.errors import ConfigError
from elastiq.model import ON_DEMAND, SPOT, Offer, Pool
from tests.unit.config.rig import IMAGE, loaded


def pool_of(directory: Path, text: str) -> Pool:
    return loaded(directory, IMAGE + text).policy().pools[0]


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, IMAGE + text)
    return [problem.partition("elastiq.conf")[2] for problem in caught.value.problems]


def test_a_file_that_says_nothing_of_it_means_what_it_meant(tmp_path: Path) -> None:
    assert pool_of(tmp_path, "flavour = m5.large\nsubnet_id = subnet-1\nmarket = on-demand\n").offers == ()


def test_offers_come_by_market_then_price_then_zone(tmp_path: Path) -> None:
    pool = pool_of(
        tmp_path,
        """[pool cpu]
instance_types = m5.xlarge 0.192, m5a.xlarge 0.172, m6i.xlarge, c5.2xlarge 0.34, m5n.xlarge
subnets = subnet-b, subnet-a
market = spot, on-demand
""",
    )
    assert pool.instance_type == "m5a.xlarge"
    assert [one.type for one in pool.offers[10::2]] == [
        "m5a.xlarge",
        "m5.xlarge",
        "c5.2xlarge",
        "m6i.xlarge",
        "m5n.xlarge",
    ], "those without a price come last, as in the file"
    assert pool.offers[0] == Offer(SPOT, "m5a.xlarge", "subnet-b")
    assert pool.offers[1] == Offer(SPOT, "m5a.xlarge", "subnet-a")
    assert pool.offers[10] == Offer(ON_DEMAND, "m5a.xlarge", "subnet-b", 0.172)
    assert len(pool.offers) == 20


@pytest.mark.parametrize(
    ("text", "offers"),
    [
        ("flavour = m5.large\nmarket = spot\n", (Offer(SPOT, "m5.large"),)),
        ("subnet_id = subnet-1\nmarket = spot\n", (Offer(SPOT, "", "subnet-1"),)),
        ("zones = nova-1, nova-2\n", (Offer(zone="nova-1"), Offer(zone="nova-2"))),
        ("instance_types = m5.large 0.1\n", (Offer(ON_DEMAND, "m5.large", "", 0.1),)),
        ("subnet_id = subnet-1\ninstance_types = m5.large\n", (Offer(ON_DEMAND, "m5.large", "subnet-1"),)),
    ],
)
def test_each_option_alone_is_enough_and_works_in_ec2(text: str, offers: tuple[Offer, ...], tmp_path: Path) -> None:
    assert pool_of(tmp_path, text).offers == offers


@pytest.mark.parametrize(
    ("of_all", "own", "offers"),
    [
        ("flavour = m5.large", "instance_types = c5.large", (Offer(type="c5.large"),)),
        ("instance_types = m5.large, c5.large", "flavour = r5.large", ()),
        ("subnet_id = subnet-1", "zones = a", (Offer(zone="a"),)),
        ("subnets = subnet-1, subnet-2", "subnet_id = subnet-3", ()),
        ("zones = a, b", "subnets = subnet-1", (Offer(zone="subnet-1"),)),
        ("market = spot", "market = on-demand", ()),
        ("market = spot", "flavour = m5.large", (Offer(SPOT, "m5.large"),)),
    ],
)
def test_what_a_pool_says_stands_for_all_that_ec2_says_of_the_same(
    of_all: str, own: str, offers: tuple[Offer, ...], tmp_path: Path
) -> None:
    assert pool_of(tmp_path, f"{of_all}\n[pool a]\n{own}\n").offers == offers


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "instance_types = m5.large 0.1x\n",
            ":4: [ec2] instance_types: '0.1x' is not a price of m5.large; give a number such as 0.192, or put a comma "
            "between two types",
        ),
        (
            "instance_types = m5.large c5.large\n",
            ":4: [ec2] instance_types: 'c5.large' is not a price of m5.large; give a number such as 0.192, or put a "
            "comma between two types",
        ),
        (
            "instance_types = m5.large -1\n",
            ":4: [ec2] instance_types: '-1' is no price an hour of m5.large; give a number above 0",
        ),
        (
            "instance_types = m5.large 0\n",
            ":4: [ec2] instance_types: '0' is no price an hour of m5.large; give a number above 0",
        ),
        (
            "instance_types = m5.large 1e99\n",
            ":4: [ec2] instance_types: '1e99' is no price an hour of m5.large; give a number above 0",
        ),
        (
            "instance_types = m5.large 0.1, c5.large, m5.large 0.2\n",
            ":4: [ec2] instance_types: has m5.large twice; leave one of them out",
        ),
        (
            "instance_types = m5.large,\n",
            ":4: [ec2] instance_types: has a comma without a type before or after it",
        ),
        (
            "instance_types =\n",
            ":4: [ec2] instance_types: is empty; give types with commas between them, each with its price an hour "
            "behind it if you know it, or leave the line out for the default",
        ),
        (
            "[pool a]\nmarket =\n",
            ":5: [pool a] market: is empty; give spot and on-demand, in the order in which they are asked, or one of "
            "them, or leave the line out for the default",
        ),
        ("[pool a]\nmarket = spto\n", ":5: [pool a] market: 'spto' is not known, did you mean spot?"),
        ("market = spot, ondemand\n", ":4: [ec2] market: 'ondemand' is not known, did you mean on-demand?"),
        (
            "market = cheap\n",
            ":4: [ec2] market: 'cheap' is not known; give spot and on-demand, in the order in which they are asked, or "
            "one of them",
        ),
        ("market = spot, spot\n", ":4: [ec2] market: has spot twice; leave one of them out"),
        (
            "market = spot on-demand\n",
            ":4: [ec2] market: 'spot on-demand' has a space in it; put a comma between two names",
        ),
        (
            "[pool a]\nsubnets = subnet-1\nzones = a\n",
            ":6: [pool a] zones: given besides subnets in line 5; give only one of them",
        ),
        (
            "[pool a]\nzones = a\nsubnets = subnet-1\n",
            ":6: [pool a] subnets: given besides zones in line 5; give only one of them",
        ),
        (
            "flavour = m5.large\ninstance_types = m5.large\n",
            ":5: [ec2] instance_types: given besides flavour in line 4; give only one of them",
        ),
        (
            "subnet_id = subnet-1\nsubnets = subnet-2\n",
            ":5: [ec2] subnets: given besides subnet_id in line 4; give only one of them",
        ),
        (
            "subnets = nova-1\n",
            ":4: [ec2] subnets: 'nova-1' is none; give names with commas between them, such as subnet-1a2b3c4d, "
            "subnet-5e6f7a8b",
        ),
        (
            "zones = subnet-1\n",
            ":4: [ec2] zones: 'subnet-1' is none; give names with commas between them, such as nova-1, nova-2",
        ),
        (
            "security_groups = sg-1, batch\nsubnets = subnet-1\n",
            ":4: [ec2] security_groups: 'batch' is a name; with subnets, give security_groups by id (sg-...)",
        ),
        ("instance_type = m5.large\n", ":4: [ec2] instance_type: unknown option, did you mean instance_types?"),
    ],
)
def test_problems(text: str, problem: str, tmp_path: Path) -> None:
    assert problems(tmp_path, text) == [problem]


CHEAP, DEAR, UNKNOWN = Offer(ON_DEMAND, "a", "", 0.1), Offer(ON_DEMAND, "b", "", 0.2), Offer(ON_DEMAND, "c")


@pytest.mark.parametrize(
    ("spot", "others", "is_worthwhile"),
    [
        (None, (CHEAP, DEAR), True),
        (0.09, (CHEAP, DEAR), True),
        (0.1, (CHEAP, DEAR), False),
        (0.15, (CHEAP, DEAR), False),
        (0.15, (DEAR, UNKNOWN), True),
        (9.9, (UNKNOWN,), True),
        (9.9, (), True),
    ],
)
def test_spot_is_never_dearer_than_the_cheapest_on_demand(
    spot: float | None, others: tuple[Offer, ...], is_worthwhile: bool
) -> None:
    offers = (Offer(SPOT, "b", "", spot), *others)
    assert worthwhile(offers) == (offers if is_worthwhile else others)
