"""The demonstration: the real daemon scales a small cluster on this machine up and down again, and is checked."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from elastiq import state
from elastiq.clock import Clock
from elastiq.errors import ElastiqError
from elastiq.sandbox.hypervisor import ACCESS_KEY_ID, REGION, Endpoint, Hypervisor, Machine, uninterrupted
from elastiq.sandbox.screen import Event, Scene, Screen, Vm
from elastiq.sandbox.spool import Job, Spool, WorkerRecord

MAX_VMS = 5
JOBS_PER_VM = 2
WAITING_SECONDS = 2
IDLE_SECONDS = 5
DEPLOY_SECONDS = 15
VM_TYPE = "c5.large"
"""moto knows it: 2 CPUs, 4096 MB."""
IMAGE_ID = "ami-03cf127a"
"""One of those that moto brings along."""
BOOT_SECONDS = (2.5, 3.5, 3.0, 2.0, 4.0)
DUD = 3
"""The fourth VM hangs when it boots."""

FIRST_WAVE = (9, 7, 11, 6, 10, 8, 6, 9, 7, 8, 6, 7, 8, 6)
SECOND_WAVE = (8, 7, 8, 9, 7, 8, 7, 8, 7, 6)
"""Seconds that each job takes."""
TOO_BIG_CPUS = 64
NOT_OFFERED = "gpu"
IN_VAIN = 2
"""One job asks for so many CPUs, and one for what no worker offers."""
FIRST_WAVE_AT_SECONDS = 1.0
SECOND_WAVE_AT_SECONDS = 18.0

LOOK_EVERY_SECONDS = 0.2
MACHINES_EVERY_SECONDS = 0.5
START_SECONDS = 120.0
STOP_SECONDS = 60.0
LATE_SECONDS = 6.0
"""Every VM but the dud has booted by then."""
GIVE_UP_SECONDS = 300.0
"""A bound against hangs, like the two above: the demonstration takes about 45 s."""

CONFIGURATION = """\
[elastiq]
batch_plugin = sandbox
cluster_name = sandbox
state_dir = {directory}/state
sleep_s = 0.5
check_queue_every_s = 1
check_vms_every_s = 2
check_vms_in_error_every_s = 1
waiting_jobs_time_s = {waiting_seconds}
idle_for_time_s = {idle_seconds}
estimated_vm_deploy_time_s = {deploy_seconds}

[quota]
min_vms = 0
max_vms = {max_vms}

[ec2]
api_url = {url}
region = {region}
aws_access_key_id = {access_key_id}
aws_secret_access_key = not-checked-here
image_id = {image_id}
flavour = {vm_type}
user_data_file = {directory}/user-data

[sandbox]
spool_dir = {directory}/spool
"""

USER_DATA = """\
#!/bin/sh
# What every VM does when it boots: start a worker that joins the batch system.
exec "$PYTHON" -m elastiq.sandbox.worker --spool={spool} --name="$INSTANCE_ID" --instance-id="$INSTANCE_ID" \\
    --address="$LOCAL_IPV4" --cpus={cpus} --memory-mb=4096
"""


INSTANCE_ID = re.compile("i-[0-9a-f]+")


class DemoError(ElastiqError):
    """The demonstration did not show what it should."""


@dataclass
class Progress:
    """What has happened so far."""

    events: list[Event] = field(default_factory=list)
    last_decision: int = 0
    submitted: int = 0
    slots: list[str] = field(default_factory=lambda: [""] * MAX_VMS)
    joined: set[str] = field(default_factory=set)


class Demo:
    """Everything that runs, and what it looks like."""

    def __init__(self, directory: Path, screen: Screen, clock: Clock) -> None:
        self._directory = directory
        self._screen = screen
        self._clock = clock
        self._spool = Spool(directory / "spool", clock)
        self._progress = Progress()
        self._children: list[subprocess.Popen[str]] = []
        self._started_at = clock.now()
        self._hypervisor: Hypervisor | None = None

    def run(self) -> str:
        """Run it all and return the summary. Raise ElastiqError if anything was not as promised."""
        caption = "A small cloud (moto's EC2; its VMs are processes) and the real elastiq daemon start on this machine."
        self._screen.show(Scene(vms=(Vm(),) * MAX_VMS, caption=caption))
        for name in ("machines", "state", "logs"):
            (self._directory / name).mkdir(mode=0o700)
        self._spool.create()
        endpoint = self._start_endpoint()
        hypervisor = self._hypervisor = Hypervisor(
            endpoint, self._directory / "machines", self._clock, BOOT_SECONDS, duds=(DUD,)
        )
        daemon = self._start_daemon(endpoint.url)
        self._wait_for_first_report(daemon)
        self._started_at = self._clock.now()
        machines_due_at = 0.0
        while not self._is_over(hypervisor):
            self._clock.sleep(LOOK_EVERY_SECONDS)
            self._check_alive(daemon)
            self._submit_what_is_due()
            if self._clock.now() >= machines_due_at:
                hypervisor.look()
                machines_due_at = self._clock.now() + MACHINES_EVERY_SECONDS
            self._show(hypervisor)
        return self.summary(endpoint, self._stop_daemon(daemon))

    def clean_up(self) -> None:
        """End every process that was started."""
        if self._hypervisor is not None:
            self._hypervisor.stop()
        for child in reversed(self._children):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def _elapsed(self) -> float:
        return self._clock.now() - self._started_at

    def _start(self, command: list[str], output: int | IO[str], errors: IO[str]) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        # Ctrl-C is for the demonstration alone, which ends its children in order: hence their own sessions.
        environment |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "AWS_EC2_METADATA_DISABLED": "true"}
        with uninterrupted():
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                text=True,
                env=environment,
                start_new_session=True,
            )
            self._children.append(child)
        return child

    def _start_endpoint(self) -> Endpoint:
        with (self._directory / "logs" / "endpoint.log").open("w") as errors:
            child = self._start([sys.executable, "-m", "elastiq.sandbox.endpoint"], subprocess.PIPE, errors)
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        if not url:
            raise DemoError("the EC2 endpoint did not start")
        return Endpoint(url)

    def _start_daemon(self, url: str) -> subprocess.Popen[str]:
        configuration = self._directory / "elastiq.conf"
        values = {
            "directory": self._directory,
            "waiting_seconds": WAITING_SECONDS,
            "idle_seconds": IDLE_SECONDS,
            "deploy_seconds": DEPLOY_SECONDS,
            "max_vms": MAX_VMS,
            "url": url,
            "region": REGION,
            "access_key_id": ACCESS_KEY_ID,
            "image_id": IMAGE_ID,
            "vm_type": VM_TYPE,
        }
        user_data = USER_DATA.format(spool=shlex.quote(str(self._spool.directory)), cpus=JOBS_PER_VM)
        for path, text in ((configuration, CONFIGURATION.format(**values)), (self._directory / "user-data", user_data)):
            path.write_text(text)
            path.chmod(0o600)
        logs = self._directory / "logs"
        with (logs / "daemon.out").open("w") as output:
            command = [sys.executable, str(daemon_script()), f"--config={configuration}", f"--logdir={logs}"]
            return self._start(command, output, output)

    def _wait_for_first_report(self, daemon: subprocess.Popen[str]) -> None:
        while state.read_report(self._directory / "state") is None:
            self._check_alive(daemon)
            if self._elapsed() > START_SECONDS:
                raise DemoError(f"the daemon has not reported anything in {START_SECONDS:g} s")
            self._clock.sleep(LOOK_EVERY_SECONDS)

    def _check_alive(self, daemon: subprocess.Popen[str]) -> None:
        if daemon.poll() is not None:
            output = (self._directory / "logs" / "daemon.out").read_text().strip().splitlines()
            raise DemoError(f"the daemon ended with code {daemon.returncode}: {' '.join(output[-3:])[:500]}")

    def _stop_daemon(self, daemon: subprocess.Popen[str]) -> int:
        daemon.terminate()
        try:
            return daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise DemoError(f"the daemon did not stop in {STOP_SECONDS:g} s") from None

    def _submit_what_is_due(self) -> None:
        if not self._progress.submitted and self._elapsed() >= FIRST_WAVE_AT_SECONDS:
            self._submit(FIRST_WAVE)
            self._spool.submit(Job("new", ["true"], cpus=TOO_BIG_CPUS))
            self._spool.submit(Job("new", ["true"], needs=[NOT_OFFERED]))
            asked = f"one that asks for {TOO_BIG_CPUS} CPUs, and one that needs a {NOT_OFFERED}"
            self._say("you", f"submit {len(FIRST_WAVE)} jobs, {asked}")
        elif self._progress.submitted == len(FIRST_WAVE) and self._elapsed() >= SECOND_WAVE_AT_SECONDS:
            self._submit(SECOND_WAVE)
            self._say("you", f"submit {len(SECOND_WAVE)} more jobs")

    def _submit(self, wave: tuple[int, ...]) -> None:
        for seconds in wave:
            self._spool.submit(Job("new", ["sleep", str(seconds)]))
        self._progress.submitted += len(wave)

    def _is_over(self, hypervisor: Hypervisor) -> bool:
        if self._elapsed() > GIVE_UP_SECONDS:
            raise DemoError(f"not over after {GIVE_UP_SECONDS:g} s")
        all_done = len(self._spool.files("done")) == len(FIRST_WAVE) + len(SECOND_WAVE)
        return all_done and all(machine.is_gone for machine in hypervisor.machines.values())

    def _say(self, kind: str, text: str) -> None:
        self._progress.events.append(Event(self._elapsed(), kind, text))

    def _show(self, hypervisor: Hypervisor) -> None:
        self._read_decisions(hypervisor)
        machines = [machine for machine in hypervisor.machines.values() if not machine.is_gone]
        self._seat(machines)
        waiting, running, done = (self._count(folder) for folder in ("queue", "running", "done"))
        in_vain = IN_VAIN if self._progress.submitted else 0
        names = {id_: f"VM {number}" for number, id_ in enumerate(hypervisor.machines, 1)}
        by_id = {machine.id: machine for machine in machines}
        with self._spool.locked():
            workers = {record.name: (record, jobs) for record, jobs in self._spool.records()}
        vms = tuple(self._vm(by_id.get(id_), names.get(id_, ""), workers.get(id_)) for id_ in self._progress.slots)
        ages = [self._age(by_id[id_]) for id_ in by_id if id_ not in workers]
        late = max(ages, default=0.0) > LATE_SECONDS
        caption = self._caption(waiting - in_vain, running, [vm.state for vm in vms if vm.name], late=late)
        events = tuple(self._progress.events)
        self._screen.show(Scene(self._elapsed(), waiting - in_vain, running, done, in_vain, vms, events, caption))

    def _age(self, machine: Machine) -> float:
        return self._clock.now() - machine.seen_at

    def _count(self, folder: str) -> int:
        return sum(1 for _ in (self._spool.directory / folder).rglob("*.json"))

    def _seat(self, machines: list[Machine]) -> None:
        """Give each VM a place on the screen that it keeps as long as it lives."""
        alive = [machine.id for machine in machines]
        slots = [id_ if id_ in alive else "" for id_ in self._progress.slots]
        for id_ in alive:
            if id_ not in slots:
                if "" not in slots:
                    slots.append("")  # more than max_vms: to be seen, and the summary will say so
                slots[slots.index("")] = id_
        self._progress.slots = slots

    def _vm(self, machine: Machine | None, name: str, worker: tuple[WorkerRecord, list[Job]] | None) -> Vm:
        if machine is None:
            return Vm()
        if worker is None:
            return Vm(name, "booting", f"{self._age(machine):.0f} s")
        record, jobs = worker
        if machine.id not in self._progress.joined:
            self._progress.joined.add(machine.id)
            self._say("vm", f"{name} has booted and joined the batch system")
        if jobs:
            numbers = ", ".join(job.id.lstrip("0") for job in jobs)
            return Vm(name, "working", f"job {numbers}")
        if self._spool.closed_mark(record.key).exists():
            return Vm(name, "closed", "no new jobs")
        return Vm(name, "idle", f"{record.idle_seconds:.0f} s")

    def _read_decisions(self, hypervisor: Hypervisor) -> None:
        decisions = state.read_decisions(self._directory / "state", self._progress.last_decision)
        if any(id_ not in hypervisor.machines for row in decisions for id_ in INSTANCE_ID.findall(row["detail"])):
            hypervisor.look()
        names = {id_: str(number) for number, id_ in enumerate(hypervisor.machines, 1)}
        told: dict[tuple[str, str], list[str]] = {}
        for row in decisions:
            self._progress.last_decision = row["number"]
            ids = INSTANCE_ID.findall(f"{row['subject']} {row['detail']}")
            vms = [names[id_] for id_ in ids if id_ in names]
            detail = "launched" if row["kind"] == "launch" and vms else row["detail"]
            told.setdefault((row["kind"], f"{detail}: {row['reason']}" if detail else row["reason"]), []).extend(vms)
        for (kind, text), vms in told.items():
            self._say(kind, f"{_spans(sorted(vms, key=int))} {text}" if vms else text)

    def _caption(self, waiting: int, running: int, states: list[str], *, late: bool) -> str:
        if not self._progress.submitted:
            return "No jobs, no VMs: an empty cluster costs nothing."
        if waiting and not states:
            return f"Jobs wait and there is no VM. After {WAITING_SECONDS} s elastiq launches some."
        if late:
            return f"One VM does not come up. After {DEPLOY_SECONDS} s elastiq replaces it, if jobs wait."
        if waiting and "booting" in states and "working" not in states:
            return "VMs boot and run their user data: it starts a worker that joins the cluster."
        if waiting:
            return f"A VM runs {JOBS_PER_VM} jobs at a time. The rest waits: {MAX_VMS} VMs are the maximum."
        if running:
            return "Nothing waits any more; the last jobs run."
        if states:
            return f"Idle for {IDLE_SECONDS} s: closed for new jobs, then terminated. No job is ever killed."
        return "All VMs are gone again."

    def summary(self, endpoint: Endpoint, exit_code: int) -> str:
        """Return the summary from the endpoint's and the batch system's own accounts. Raise DemoError if it is bad."""
        account = endpoint.statistics()
        jobs = self._spool.jobs("done")
        launched, terminated = account["launched_at"], account["terminated_at"]
        left = [id_ for id_, _, instance_state in endpoint.instances() if instance_state != "terminated"]
        problems = {
            "jobs are missing": len(jobs) != len(FIRST_WAVE) + len(SECOND_WAVE),
            "a job was started more than once": any(job.starts != 1 for job in jobs),
            "a job was killed": any(job.exit_code for job in jobs),
            "the jobs that no VM could run did not stay in the queue": len(self._spool.jobs("queue")) != IN_VAIN,
            f"{account['most_vms']} VMs at once are more than {MAX_VMS}": account["most_vms"] > MAX_VMS,
            f"VMs are left behind: {', '.join(left)}": bool(left),
            "VMs were not all terminated by request": launched.keys() != terminated.keys(),
            "the VM that never joined was not replaced": len(launched) <= MAX_VMS,
            f"the daemon ended with code {exit_code}": exit_code != 0,
        }
        found = [problem for problem, is_so in problems.items() if is_so]
        if found:
            raise DemoError("; ".join(found))
        vm_seconds = sum(terminated[id_] - launched[id_] for id_ in launched)
        requests = account["requests"]
        return (
            f"{len(jobs)} jobs done, each started once; {len(launched)} VMs launched by {requests['RunInstances']} "
            f"RunInstances, terminated by {requests['TerminateInstances']} TerminateInstances, "
            f"{account['most_vms']} at once (max {MAX_VMS}); {vm_seconds:.0f} VM-seconds in {self._elapsed():.0f} s; "
            "nothing left behind"
        )


def _spans(vms: list[str]) -> str:
    """Return numbers of VMs as a reader likes them: VM 1 to 5, or VM 2, 4."""
    in_a_row = len(vms) > 2 and [str(int(vms[0]) + number) for number in range(len(vms))] == vms
    return f"VM {vms[0]} to {vms[-1]}" if in_a_row else f"VM {', '.join(vms)}"


def daemon_script() -> Path:
    """Return where elastiq-real.py is: in the source tree, beside the interpreter, or on the path. Raise DemoError."""
    places = [Path(__file__).parents[2] / "scripts", Path(sys.executable).parent]
    found = shutil.which("elastiq-real.py")
    for path in [*(place / "elastiq-real.py" for place in places), *([Path(found)] if found else [])]:
        if path.exists():
            return path
    raise DemoError("elastiq-real.py is not to be found; put it on the PATH")


def run(screen: Screen) -> int:
    """Run the demonstration, print its summary and return the exit code."""
    directory = Path(tempfile.mkdtemp(prefix="elastiq-demo-"))
    demo = Demo(directory, screen, Clock())
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        finished = False
        screen.start()
        try:
            summary = demo.run()
            finished = True
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C must not leave processes behind
            screen.stop(keep=finished)
            demo.clean_up()
    except KeyboardInterrupt:
        shutil.rmtree(directory)
        print("interrupted; everything is ended and removed")
        return 130
    except (ElastiqError, OSError) as error:
        print(f"the demonstration failed: {error}; logs: {directory}/logs")
        return 1
    shutil.rmtree(directory)
    print(summary)
    return 0
