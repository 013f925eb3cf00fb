"""The file of docs/migration.md is what the old one on that page comes to."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from elastiq.plugins.loading import read_without_plugin
from tests.docs.blocks import TOP

PAGE = (TOP / "docs/migration.md").read_text(encoding="utf-8")


def test_the_new_file_says_what_the_old_one_said(tmp_path: Path) -> None:
    old = configparser.ConfigParser()
    old.read_string(re.findall(r"```text\n(\[global\].*?)```", PAGE, re.DOTALL)[0])
    cluster = old[f"cluster {old['global']['cluster_template']}"]
    scaling, vpc = old[f"scaling {cluster['scaling_settings']}"], old[f"vpc {cluster['vpc_settings']}"]
    file = tmp_path / "elastiq.conf"
    (text,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "gridengine-worker.sh").write_text("#!/bin/sh\n")
    file.write_text(text.replace("/etc/elastiq/gridengine", f"{tmp_path}/gridengine"))
    settings = read_without_plugin(file)
    assert not settings.warnings
    (pool,) = settings.policy().pools
    assert {(one.type, one.zone) for one in pool.offers} == {
        (cluster["compute_instance_type"], vpc["compute_subnet_id"])
    }
    assert pool.offers[0].market == cluster["cluster_type"]
    assert settings.quota.max_vms == cluster.getint("max_queue_size")
    assert settings.quota.min_vms == cluster.getint("initial_queue_size")
    assert settings.elastiq.idle_for_time_s == 60 * scaling.getint("scaledown_idletime")
    assert settings.ec2.region == old["aws"]["aws_region_name"]
    assert (settings.ec2.key_name, settings.ec2.image_id) == (cluster["key_name"], cluster["custom_ami"])
    said = "".join(row for row in PAGE.splitlines() if row.startswith("| "))
    needless = {"vpc_settings", "scaling_settings", "key_name"}
    assert [name for name in (*cluster, *scaling) if name not in needless and f"`{name}" not in said] == []
