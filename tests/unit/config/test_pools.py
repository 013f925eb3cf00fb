"""Sections [pool NAME]: what they take from [ec2], and all that can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.errors import ConfigError
from elastiq.model import Pool
from elastiq.plugins.loading import read_without_plugin
from tests.unit.config.rig import IMAGE, loaded, warnings_of, written

QUOTA = "[quota]\nmax_vms = 50\n"

TWO = f"""{IMAGE}flavour = m5.large
key_name = ours
user_data_b64 = YWxs
{QUOTA}
[pool small]
[pool large]
priority = 5
flavour = m5.4xlarge
image_id = ami-7
min_vms = 1
max_vms = 10
idle_for_time_s = 2m
subnet_id = subnet-1
"""


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, text)
    return [problem.partition("elastiq.conf")[2] for problem in caught.value.problems]


def test_a_file_without_pools_has_the_one_of_its_sections(tmp_path: Path) -> None:
    settings = loaded(tmp_path, f"{IMAGE}flavour = m5.large\n[quota]\nmin_vms = 2\nmax_vms = 7\n")
    assert settings.policy().pools == (Pool("default", 2, 7, "m5.large", "ami-1a2b3c4d"),)
    assert settings.vm_options("default") == settings.ec2


def test_pools_come_by_priority_and_take_the_rest_from_ec2(tmp_path: Path) -> None:
    settings = loaded(tmp_path, TWO)
    assert settings.policy().pools == (
        Pool("large", 1, 10, "m5.4xlarge", "ami-7", 120.0, priority=5),
        Pool("small", 0, None, "m5.large", "ami-1a2b3c4d"),
    )
    large, small = settings.vm_options("large"), settings.vm_options("small")
    assert (large.key_name, large.subnet_id, large.user_data) == ("ours", "subnet-1", b"all")
    assert (small.key_name, small.subnet_id, small.user_data) == ("ours", "", b"all")
    assert settings.policy().idle_seconds_of("large") == 120.0
    assert settings.policy().idle_seconds_of("small") == settings.policy().idle_for_time_s


def test_equal_pools_come_as_in_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path, f"{IMAGE}[pool b]\n[pool c]\npriority=1\n[pool a]\n[pool d]\npriority=1\n")
    assert [pool.name for pool in settings.policy().pools] == ["c", "d", "b", "a"]


def test_either_form_of_user_data_stands_for_both_of_ec2(tmp_path: Path) -> None:
    (tmp_path / "script").write_bytes(b"own")
    settings = loaded(tmp_path, f"{IMAGE}user_data_b64 = YWxs\n[pool a]\nuser_data_file = script\n")
    assert settings.vm_options("a").user_data == b"own"


def test_what_a_pool_says_is_as_secret_as_in_ec2(tmp_path: Path) -> None:
    settings = loaded(tmp_path, f"{IMAGE}[pool a]\nuser_data_b64 = c2VjcmV0\n")
    assert "secret" not in repr(settings)
    assert "c2VjcmV0" not in repr(settings)


def test_an_image_of_each_pool_is_as_good_as_one_for_all(tmp_path: Path) -> None:
    whole = "[ec2]\napi_url = https://cloud.example.org/\n[pool a]\nimage_id = ami-1\n"
    assert loaded(tmp_path, whole).policy().pools[0].image_id == "ami-1"
    assert problems(tmp_path, f"{whole}[pool b]\n") == [
        ":5: [pool b] image_id: is missing here and in [ec2]; give the id of the image that its VMs boot, such as "
        "ami-1a2b3c4d"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[pool]\n", ":4: [pool]: a pool needs a name, such as [pool large]"),
        (
            "[pool a/b]\nx = 1\n",
            ":4: [pool a/b]: 'a/b' cannot be the name of a pool: give up to 64 letters, digits and . _ -",
        ),
        ("[pool a]\nmax_vm = 3\n", ":5: [pool a] max_vm: unknown option, did you mean max_vms?"),
        ("[pool a]\nregion = x\n", ":5: [pool a] region: unknown option, it belongs into [ec2]"),
        ("[pool a]\nmin_vms = 3\nmax_vms = 2\n", ":5: [pool a] min_vms: 3 is more than max_vms 2"),
        (
            "[pool a]\nmin_vms = 2\n[pool b]\nmin_vms = 2\n",
            ": [quota] max_vms: 3 is less than the min_vms of all pools together, 4",
        ),
        (
            "[pool a]\nflavour = m5.large, c5.large\n",
            ":5: [pool a] flavour: 'm5.large, c5.large' has a comma in it; give several types in instance_types",
        ),
        (
            "[pool a]\nsecurity_groups = sg-1 sg-2\n",
            ":5: [pool a] security_groups: 'sg-1 sg-2' has a space in it; put a comma between two ids",
        ),
        (
            "[pool a]\nuser_data_b64 = Yg==\nuser_data_file = elastiq.conf\n",
            ":6: [pool a] user_data_file: given besides user_data_b64 in line 5; give only one of them",
        ),
        ("[pool a]\n[pool  a]\n", ":5: [pool a]: section given twice, first in line 4; put them together"),
        ("[ ]\nx = 1\n", ":4: []: a section has a name, such as [elastiq]"),
        ("[poool a]\n", ":4: [poool a]: unknown section, did you mean [pool a]?"),
    ],
)
def test_problems(text: str, problem: str, tmp_path: Path) -> None:
    assert problems(tmp_path, IMAGE + text) == [problem]


def test_a_pool_that_the_quota_does_not_hold_is_warned_of(tmp_path: Path) -> None:
    warned = warnings_of(tmp_path, f"{IMAGE}[pool a]\nmax_vms = 4\n")
    assert warned == [
        "/elastiq.conf:5: [pool a] max_vms: 4 is more than max_vms 3 in [quota], which is its default: there are never "
        "more of all pools"
    ]


@pytest.mark.parametrize("change", ["pool Large.max_vms = 4", "pool large.max_vms=4"])
def test_an_option_of_a_pool_is_changed_by_its_name(change: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"{IMAGE}{QUOTA}[pool Large]\nmax_vms = 2\n")
    assert read_without_plugin(path, changes=[change]).policy().pools[0].max_vms == 4


def test_a_plain_name_means_the_option_of_all(tmp_path: Path) -> None:
    path = written(tmp_path, f"{IMAGE}[pool a]\nidle_for_time_s = 9\n")
    policy = read_without_plugin(path, changes=["idle_for_time_s=60", "max_vms=8"]).policy()
    assert (policy.idle_for_time_s, policy.idle_seconds_of("a"), policy.max_vms) == (60.0, 9.0, 8)


JOBS = f"""{IMAGE}jobs = MayUseAWS =?= true
offers = HasCVMFS = true
{QUOTA}
[pool a]
[pool b]
jobs = true
offers = HasGPFS = true, Site = "x"
"""


def test_jobs_and_offers_are_inherited_and_overridden(tmp_path: Path) -> None:
    a, b = loaded(tmp_path, JOBS).policy().pools
    assert (a.jobs, a.supposed) == ("MayUseAWS =?= true", "HasCVMFS = true")
    assert (b.jobs, b.supposed) == ("true", 'HasGPFS = true, Site = "x"')
    (alone,) = loaded(tmp_path, JOBS.partition("[pool")[0]).policy().pools
    assert (alone.jobs, alone.supposed) == (a.jobs, a.supposed)
    assert [one.place.partition("elastiq.conf")[2] for one in loaded(tmp_path, JOBS).for_plugin] == [
        ":4: [ec2] jobs", ":5: [ec2] offers", ":11: [pool b] jobs", ":12: [pool b] offers",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("job = x", "[pool a] job: unknown option, did you mean jobs?"),
        ("offer = x", "[pool a] offer: unknown option, did you mean offers?"),
        ("jobs = a\n  && b", "[pool a] jobs: begins with a space and so goes on with the value of line"),
        ("jobs = a\u200b", "[pool a] jobs: has a character in it that cannot be seen (U+200B)"),
        (f"jobs = {'x' * 4001}", "[pool a] jobs: has 4001 characters, more than 4000"),
        (f"offers = {'x' * 4001}", "[pool a] offers: has 4001 characters, more than 4000"),
        ("jobs = a\njobs = b", "[pool a] jobs: given twice, first in line"),
    ],
)
def test_jobs_and_offers_that_are_none(tmp_path: Path, line: str, problem: str) -> None:
    (found,) = problems(tmp_path, f"{IMAGE}[pool a]\n{line}\n")
    assert problem in found


def test_jobs_may_be_long_and_in_quotes(tmp_path: Path) -> None:
    for text in ("x" * 4000, '"a" == b || c == "d"'):
        (pool,) = loaded(tmp_path, f"{IMAGE}[pool a]\njobs = {text}\n").policy().pools
        assert pool.jobs == text


def test_a_change_from_outside_has_no_line_and_no_newline(tmp_path: Path) -> None:
    path = written(tmp_path, JOBS)
    (first, *_) = read_without_plugin(path, ["ec2.jobs=Other"]).for_plugin
    assert (first.place.partition("elastiq.conf")[2], first.jobs) == (": [ec2] jobs", "Other")
    with pytest.raises(ConfigError, match="cannot be seen"):
        read_without_plugin(path, ["ec2.jobs=a\n&& b"])
