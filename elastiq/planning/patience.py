"""Every time limit of the planning, in one place."""

from __future__ import annotations

from collections.abc import Sequence

MISSING_GRACE_SECONDS = 600.0
"""A VM that listings leave out counts for this long: listings are eventually consistent, and sometimes wrong. If the
batch system shows its worker it counts for longer: until that has been gone for as long, too."""

SETTLE_SECONDS = 120.0

SETTLE_SECONDS_PER_VM = 5.0
"""After an unclear answer to a launch, VMs may still turn up for so long (OpenStack makes about one in 2 s)."""

SETTLE_USUAL = 3.0
"""But for so many times as long as the cloud took to answer a launch of as many VMs before, if that is longer..."""

LONGEST_SETTLE_SECONDS = 900.0
"""...yet not for longer than this: what took hours may have been an outage."""

LAUNCHES_REMEMBERED = 20
"""How long the cloud takes is known from so many of its last answers."""

UNSEEN_SECONDS = 300.0
"""VMs of such a launch must be left out by listings over so long a time: one listing may be wrong."""

CLOCKS_APART_SECONDS = 300.0
"""So far the clocks of the cloud and of the head node may be apart when a VM's launch time is compared."""

STALE_WORKER_SLACK_SECONDS = 120.0
"""How much longer than its VM's age a worker may claim to have been idle; more: the ad is an earlier VM's."""

BOOT_FAILURES_TO_TRIP = 3

BOOT_PAUSES_SECONDS = (300.0, 600.0, 1200.0, 1800.0)
"""After three failed boots in a row launches pause for 5, 10, 20, then 30 minutes."""

REFUSAL_PAUSES_SECONDS = (15.0, 30.0, 60.0, 120.0, 300.0)
"""Pauses after launch requests in a row that the cloud refused; short, since quota comes back at any time."""

AWAY_PAUSES_SECONDS = (180.0, 360.0, 720.0, 1440.0, 1800.0)
"""An offer that a cloud has no room for is put away for 3, 6, 12, 24, then 30 minutes: Karpenter takes 3."""

AWAY_REMEMBERED_SECONDS = 3600.0
"""So long after that is over it is remembered how often it was so."""

CLOSE_AGAIN_SECONDS = 30.0

RETRY_SECONDS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0)
"""Pauses between tries to terminate a VM."""

REOPEN_AGAIN_SECONDS = 60.0
"""Pause after a worker could not be reopened. Its VM may be terminated meanwhile, and another one take its jobs."""

TERMINATE_AGAIN_SECONDS = 120.0
"""A VM that listings still show alive, and not on its way out, so long after the cloud accepted its termination did not
get it: a fresh VM may be unknown by its id, and OpenStack forgets terminations that fail."""

FUTILE_SECONDS = 300.0
"""Jobs that have waited for so long beside a worker with room for them do not start there: some cycles of any batch
system (HTCondor negotiates every 60 s, Slurm looks at its queue every 30 to 60 s)."""

SHORTEST_FUTILE_SECONDS = 60.0
"""With a shorter idle_for_time_s workers go before that; then so long is enough, but no less."""

TRIAL_PAUSES_SECONDS = (3600.0, 7200.0, 14400.0, 28800.0, 57600.0, 86400.0)
"""After these one VM is launched to try whether such jobs start by now."""

CLOSED_AT_BIRTH_SECONDS = 600.0
"""A worker that others closed before it ran anything is taken for a failed boot after so long; so is one that has been
hurt ever since, or as soon as it idles for long."""

CLOUD_LIMIT_SECONDS = 86400.0
"""After that it is tried again whether a cloud that gave too few VMs for a job of many, against what was asked, gives
more."""

REQUEUE_AFTER_SECONDS = 50.0
"""Jobs on a VM that the cloud takes back run on for so long after that was seen: AWS announces it 120 s before, the
worker sees it 5 s later at most, elastiq at its next look at the queue, and the batch system needs some seconds."""

REQUEUE_AGAIN_SECONDS = 15.0
"""Pause between two requests to queue the same jobs again: the first one lets them end in peace."""

INTERRUPTION_SECONDS = 600.0
"""A VM that was announced to be taken back and is still there after so long is treated as one that was not."""

OUT_OF_SIGHT_SECONDS = 120.0
"""A worker that left the batch system without being closed still counts as room for so long."""


def pause_seconds(pauses: Sequence[float], failures: int) -> float:
    """Return the pause after one more failure than `failures` in a row: they grow up to the last of `pauses`."""
    return pauses[min(failures, len(pauses) - 1)]
