"""Clusters of all kinds: clouds, batch systems and configurations by chance."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from elastiq.config import ADAPTIVE, Settings
from elastiq.config.sections import Ec2Options, ElastiqOptions, QuotaOptions
from elastiq.model import Shape
from elastiq.sim.things import CLUSTER, IMAGE, Traits


def draw_traits(random: Random, dialect: str) -> Traits:
    """Return a kind of cloud and batch system."""
    cpus = random.choice((1, 2, 4, 8))
    openstack = (dialect or random.choice(("aws", "openstack"))) == "openstack"
    return Traits(
        dialect="openstack" if openstack else "aws",
        capacity=Shape(cpus, cpus * 2000),
        boot_seconds=random.choice((30.0, 90.0, 180.0)),
        run_seconds=random.choice((5.0, 20.0, 60.0)),
        addresses=random.choice((8, 16, 250)),
        advertises=random.choice(("id", "address", "name")),
        exits_when_closed=random.random() < 0.5,
        negotiation_seconds=random.choice((2.0, 20.0, 60.0)),
        ad_lifetime_seconds=random.choice((30.0, 300.0, 900.0)),
        advertise_seconds=random.choice((5.0, 60.0, 300.0)),
        lease_seconds=random.choice((60.0, 600.0, 2400.0)),
        tells_capacity=random.random() < 0.5,
        shows_tokens=not openstack or random.random() < 0.7,
    )


def draw_settings(random: Random, traits: Traits) -> Settings:
    """Return a configuration that people may have, with longer intervals more often than most have."""
    maximum = random.randint(1, 6)
    deploy = random.choice((420.0, 600.0, 1200.0))
    options = ElastiqOptions(
        check_queue_every_s=random.choice((15.0, 60.0, 120.0, 300.0)),
        check_vms_every_s=random.choice((45.0, 180.0, 300.0, 600.0)),
        check_vms_in_error_every_s=random.choice((20.0, 60.0, 120.0)),
        estimated_vm_deploy_time_s=deploy,
        waiting_jobs_threshold=random.choice((0, 0, 0, 1, 3)),
        waiting_jobs_time_s=random.choice((0.0, 40.0, 120.0)),
        n_jobs_per_vm=random.choice((None, None, 1, 4)),
        idle_for_time_s=random.choice((300.0, 900.0, 3600.0)),
        lost_worker_time_s=random.choice((600.0, 1800.0, 3600.0)),
        cluster_name=CLUSTER,
        batch_plugin="simulated",
    )
    quota = QuotaOptions(min_vms=random.choice((0, 0, 0, 1, min(2, maximum))), max_vms=maximum)
    return Settings(options, quota, Ec2Options(flavour=random.choice(("", "sim.small")), image_id=IMAGE))


def made_adaptive(settings: Settings, random: Random) -> Settings:
    """Return `settings` with the policy adaptive, mostly as it is by itself, and sometimes bounded by other options."""
    options = replace(
        settings.elastiq,
        policy=ADAPTIVE,
        eagerness=random.choice((0.0, 0.25, 0.5, 0.65, 0.65, 0.9, 1.0)),
        waiting_jobs_threshold=random.choice((0, 0, 0, settings.elastiq.waiting_jobs_threshold)),
        waiting_jobs_time_s=random.choice((0.0, 0.0, 0.0, settings.elastiq.waiting_jobs_time_s)),
        n_jobs_per_vm=random.choice((None, None, settings.elastiq.n_jobs_per_vm)),
        idle_for_time_s=random.choice((60.0, 60.0, settings.elastiq.idle_for_time_s)),
    )
    return replace(settings, elastiq=options)
