"""Configuration files for the tests: in elastiq's own form, and in the exact form of the original's sample."""

from __future__ import annotations

import base64
import re

from tests.e2e.harness import HeadNode

ORIGINAL_SAMPLE = """\
[elastiq]

# Main loop
sleep_s = 5
check_queue_every_s = 15
check_vms_every_s = 45
check_vms_in_error_every_s = 20
estimated_vm_deploy_time_s = 600

# Conditions to start new VMs
waiting_jobs_threshold = 10
waiting_jobs_time_s = 100
n_jobs_per_vm = 4

# Conditions to stop idle VMs
idle_for_time_s = 3600

# Batch plugin
batch_plugin = htcondor

# Log level (lower is more verbose)
log_level = 0

[quota]
min_vms = 0
max_vms = 3

[ec2]
api_url = https://dummy.ec2.server/ec2/
api_version =
aws_access_key_id = my_username
aws_secret_access_key = my_password
image_id = ami-00000000
key_name =
flavour =
user_data_b64 =

[debug]
dry_run_shutdown_vms = 0
dry_run_boot_vms = 0
"""
"""The sample that the original ships, with all of its options and values."""

TIMES = {
    "sleep_s": "0.5",
    "check_queue_every_s": "1",
    "check_vms_every_s": "2",
    "check_vms_in_error_every_s": "2",
    "estimated_vm_deploy_time_s": "300",
    "waiting_jobs_time_s": "3",
    "idle_for_time_s": "20",
}
"""As small as their proportions allow, but for what a busy machine may take: until a VM has joined, and until a worker
that has joined gets a job."""


def original(cluster: HeadNode) -> str:
    """Return the original's sample with only endpoint (and what it needs: keys), image (and its user data) and times
    changed."""
    encoded = base64.b64encode(cluster.batch.user_data().encode()).decode()
    known = {name: value for name, value in cluster.ec2.items() if name != "region"}
    changes = {**TIMES, **known, "user_data_b64": encoded}
    text = ORIGINAL_SAMPLE
    for name, value in changes.items():
        line = f"{name} = {value}"
        text, count = re.subn(rf"^{name} =.*$", lambda _, line=line: line, text, flags=re.MULTILINE)
        assert count == 1, name
    return text


def own(cluster: HeadNode, **options: str) -> str:
    """Return a configuration with new options too; `options` of [elastiq], [quota] and [htcondor] replace those given
    here."""
    cluster.write_user_data(cluster.batch.user_data())
    values = {**TIMES, "batch_plugin": cluster.batch.plugin, "log_level": "debug", "cluster_name": "e2e"}
    quota = {"min_vms": "0", "max_vms": "5"}
    plugin = dict(cluster.batch.options)
    for name, value in options.items():
        (quota if name in quota else plugin if name == "query" else values)[name] = value
    sections = {
        "elastiq": values,
        "quota": quota,
        "ec2": {**cluster.ec2, "user_data_file": "user-data.sh"},
        cluster.batch.plugin: plugin,
    }
    return "\n".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
        for section, options in sections.items()
    )
