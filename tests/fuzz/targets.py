"""What is fuzzed. A target takes any bytes and raises nothing: an error that its parser's contract allows is caught
here, any other one is a finding, as is garbage taken for "no jobs", "no workers" or "no VMs" (an AssertionError)."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from xml.etree import ElementTree

from botocore.awsrequest import AWSResponse

from elastiq.clock import Clock
from elastiq.command import run
from elastiq.config import ini
from elastiq.ec2 import Ec2, Limits
from elastiq.ec2.client import OPERATIONS, QUESTIONS_OF_CHECK, ClientMaker
from elastiq.ec2.features import Features
from elastiq.ec2.trial import Trial
from elastiq.errors import BatchError, CloudError, ConfigError, StateError
from elastiq.memory import Memory
from elastiq.model import Eligibility, Observation, Policy, Pool
from elastiq.planning.plan import plan
from elastiq.plugins import (
    TEMPLATE_LIMIT,
    WANTS_LIMIT,
    htcondor,
    htcondor_demand,
    htcondor_judge,
    htcondor_matching,
    htcondor_parse,
    loading,
    slurm_limits,
    slurm_match,
    slurm_parse,
    slurm_queue,
)
from elastiq.plugins.faults import judgement_faults, template_faults
from elastiq.plugins.kit import Deadline
from elastiq.plugins.sandbox import SandboxBatch
from elastiq.redaction import Redactor
from elastiq.report.status import picture
from elastiq.sandbox.spool import FOLDERS, Job, Spool, parse
from elastiq.state import State, read_decisions, read_report
from tests.fuzz import gridengine, history, outside, usage
from tests.fuzz.checks import NOW, Target, check_demand, check_workers, directory
from tests.unit.fakes import FakeClock, settings_with


class Shell:
    """Stands in for the commands of HTCondor: all of them answer `said`."""

    def __init__(self, said: bytes) -> None:
        # As elastiq.command decodes it.
        self.said = said.decode("utf-8", "replace")

    def run(self, *_: object, **__: object) -> str:
        return self.said


def htcondor_commands(data: bytes) -> None:
    """Whatever the commands print with exit status 0. The first part is what condor_status -schedd says."""
    schedds, _, rest = data.partition(b"\0")

    def run(arguments: list[str], *_: object, **__: object) -> str:
        return Shell(schedds if "-schedd" in arguments else rest).run()

    def numbers(_: object, rows: Sequence[htcondor_demand.Row]) -> list[tuple[int | None, ...]]:
        return [(1, None, None, None, None)] * len(rows)

    with (
        mock.patch.object(htcondor, "run", run),
        mock.patch.object(htcondor_demand, "run", run),
        mock.patch.object(htcondor_demand.Commands, "numbers", numbers),
    ):
        try:
            source = htcondor_demand.Commands(Deadline(Clock(), 60.0, "HTCondor"))
            demand, _ = htcondor_parse.parse_demand(json.dumps(htcondor_demand.counted(source, ["owner"])))
        except BatchError:
            pass
        else:
            check_demand(demand)
            said = rest.decode("utf-8", "replace")
            rows = [] if "Total for query: 0" in said else json.loads(said, strict=False)
            # Names of attributes are in any case.
            is_none = all({name.lower(): value for name, value in row.items()}["jobstatus"] != 1 for row in rows)
            assert demand or is_none, f"no jobs, from {said!r}"
        try:
            workers = htcondor.HTCondor("cli", 60.0).workers()
        except BatchError:
            return
        check_workers(workers)
        said = rest.decode("utf-8", "replace").strip()
        assert workers or said in ("", "[]", "[\n]") or json.loads(said, strict=False) == [], (
            f"no workers, from {said!r}"
        )


def htcondor_bindings(data: bytes) -> None:
    """Whatever the child processes print."""

    def said(*_: object, **__: object) -> str:
        return data.decode("utf-8", "replace")

    with mock.patch.multiple(htcondor, run_module=said):
        plugin = htcondor.HTCondor("bindings", 60.0)
        try:
            demand = plugin.demand()
        except BatchError:
            pass
        else:
            check_demand(demand)
            assert demand or json.loads(said(), strict=False)["groups"] == []
        try:
            workers = plugin.workers()
        except BatchError:
            return
        check_workers(workers)
        assert workers or json.loads(said(), strict=False) == []


def htcondor_matching_texts(data: bytes) -> None:
    """Whatever users write as Requirements, and whatever a worker or the state says of workers."""
    text = data.decode("utf-8", "replace")
    wants = htcondor_matching.wants_of({"requirements": text, "a": text}, ["a"])
    assert len(wants) <= WANTS_LIMIT
    assert isinstance(json.loads(wants), dict)
    htcondor_judge.kinds_of(text, 0.0)
    try:
        slots = json.loads(text)
        template = htcondor_matching.template_of([slot for slot in slots if isinstance(slot, dict)])
    except (ValueError, TypeError, RecursionError, BatchError):
        return
    assert len(template) <= TEMPLATE_LIMIT
    assert htcondor_judge.kinds_of(template, 0.0)


def htcondor_total(data: bytes) -> None:
    """The totals line that decides whether a job may run on an unlisted worker."""
    try:
        total = htcondor_parse.parse_total(data.decode("utf-8", "replace"))
    except BatchError:
        return
    assert b"Total for query: " in data
    assert 0 <= total < 10**12


def slurm_groups(data: bytes) -> None:
    """Whatever comes out of the pipeline of squeue and awk."""
    said = data.decode("utf-8", "replace")
    try:
        waiting, counts = slurm_queue.parse_queue(said)
    except BatchError:
        return
    check_demand(slurm_queue.demand_of(waiting, counts, NOW))
    assert waiting or counts != slurm_queue.Counts() or said.count(slurm_queue.RECORD_END) == 1, (
        f"no jobs, from {said!r}"
    )


def slurm_jobs(data: bytes) -> None:
    """Whatever a job's record is in the output of squeue: those before and behind it are read all the same."""
    header = slurm_queue.FIELD_END.join("X" for _ in slurm_queue.QUEUE_FIELDS).encode() + b"\x1e\n"
    sound = _SLURM_JOB + b"\x1e\n"
    awk = ["awk", "-v", f"now={NOW:.0f}", slurm_queue.GROUP_JOBS]
    waiting, counts = slurm_queue.parse_queue(run(awk, 60, input_bytes=header + sound + data + b"\x1e\n" + sound))
    demand = slurm_queue.demand_of(waiting, counts, NOW)
    check_demand(demand)
    assert sum(group.jobs for group in demand if group.shape.cpus == 77) >= (2 if b"%" not in data else 1)


def slurm_settings(data: bytes) -> None:
    """Whatever scontrol prints of partitions, licences and its configuration."""
    said = data.decode("utf-8", "replace")
    slurm_limits.parse_sharing(said)
    for read in (slurm_limits.parse_partitions, slurm_limits.parse_licenses):
        try:
            read(said)
        except BatchError:
            pass


def slurm_judge(data: bytes) -> None:
    """Any wants and any template, separated by a NUL."""
    wants, _, template = (part.decode("utf-8", "replace") for part in data.partition(b"\0"))
    asked = [wants, slurm_match.Wants(constraint=wants).text(), slurm_match.Wants(gres={wants: 1}).text(), ""]
    assert judgement_faults(slurm_match.judge(asked, template), len(asked)) == []
    assert slurm_match.judge([""], template)[0].answer is Eligibility.YES


def slurm_nodes(data: bytes) -> None:
    """Whatever scontrol prints of the nodes."""
    said = data.decode("utf-8", "replace")
    try:
        nodes = slurm_parse.parse_nodes(said, NOW)
    except BatchError:
        return
    check_workers(tuple(node.worker for node in nodes))
    for node in nodes:
        assert template_faults(node.offer.text()) == []
    assert nodes or "No nodes in the system" in said or "FUTURE" in said or "POWER" in said, f"no nodes, from {said!r}"


def sandbox(data: bytes) -> None:
    """A job file and a worker file, separated by a NUL, a job that runs on that worker, and one judged by its file."""
    job, _, worker = data.partition(b"\0")
    with directory() as spool_directory:
        spool = Spool(spool_directory)
        spool.create()
        (spool_directory / "queue" / "000001.json").write_bytes(job)
        (spool_directory / "workers" / "node.json").write_bytes(worker)
        (spool_directory / "running" / "node").mkdir()
        batch = SandboxBatch(spool, spool._clock)
        with mock.patch.object(Spool, "is_alive", lambda *_: True):
            try:
                workers = batch.workers()
            except BatchError:
                pass
            else:
                check_workers(workers)
                assert workers, f"no workers, from {worker!r}"
            (spool_directory / "workers" / "node.json").unlink()
            try:
                demand = batch.demand()
            except BatchError:
                return
            check_demand(demand)
            asked = ["", "gpu", *(group.wants for group in demand)]
            judged = batch.judge(asked, worker.decode("utf-8", "replace"))
            assert judgement_faults(judged, len(asked)) == []
            assert judged[0].answer is Eligibility.YES
            try:
                waits = json.loads(job)
                parse(Job, job.decode(), "the job")
            except (ValueError, RecursionError, BatchError):
                assert not demand, f"jobs, from {job!r}"
                return
            assert demand or waits.get("after") or waits.get("not_before", 0) > 0, f"no jobs, from {job!r}"
        assert set(FOLDERS) <= {path.name for path in spool_directory.iterdir()}


def configuration(data: bytes) -> None:
    """A configuration file, and its form alone."""
    ini.parse(data.decode("utf-8", "replace"))
    with directory() as place:
        path = place / "elastiq.conf"
        path.write_bytes(data)
        try:
            settings = loading.read_without_plugin(path)
        except ConfigError as error:
            assert error.problems
            assert all(problem.isprintable() for problem in error.problems)
            return
    assert settings.ec2.image_id
    assert settings.quota.max_vms is None or settings.quota.max_vms >= 1
    settings.policy()


def use(state: State) -> Memory:
    """Do with the memory what the daemon does with it."""
    memory = state.load(NOW)
    made = plan(Observation(NOW, (), workers=(), instances=()), memory, Policy(cluster="test"))
    state.save(made.memory)
    state.refused_features("")
    return memory


def state_file(data: bytes) -> None:
    """A database file of any content."""
    with directory() as place:
        (place / "elastiq.db").write_bytes(data)
        try:
            state = State(place, NOW)
            use(state)
            damaged = state.damaged
            state.close()
        except StateError:
            return
        assert damaged or not data or data.startswith(b"SQLite format 3\0"), "it was taken for an empty database"
        if damaged:
            assert Path(damaged).read_bytes() == data
        read_report(place)
        read_decisions(place, 0)


FACTS = ("breakers", "capacities", "once_own", "refused_features", "report", "to_forget")


def state_rows(data: bytes) -> None:
    """A sound database with any text in its rows: a VM, a launch, and the facts, separated by NULs."""
    texts = [part.decode("utf-8", "replace") for part in data.split(b"\0")]
    texts += [""] * (2 + len(FACTS) - len(texts))
    with directory() as place:
        State(place, NOW).close()
        database = sqlite3.connect(place / "elastiq.db")
        if texts[0]:
            database.execute("INSERT INTO vms VALUES ('i-1', ?)", (texts[0],))
        if texts[1]:
            database.execute("INSERT INTO launches VALUES ('token', ?)", (texts[1],))
        for name, text in zip(FACTS, texts[2:]):
            if text:
                database.execute("INSERT INTO facts VALUES (?, ?)", (name, text))
        database.commit()
        database.close()
        report = read_report(place)
        if report is not None:
            picture(report, int(NOW * 1_000_000))
        try:
            state = State(place, NOW)
            memory = use(state)
            state.close()
        except StateError:
            return
        assert state.damaged or bool(memory.vms) == bool(texts[0]), "a VM was forgotten"


def legacy_state_file(data: bytes) -> None:
    """The original's state file."""
    with directory() as place:
        (place / "state").write_bytes(data)
        state = State(place, NOW)
        try:
            memory = state.adopt_legacy(state.load(NOW), NOW)
        finally:
            state.close()
        assert (place / "state.imported").read_bytes() == data, "it was overwritten"
        for id_ in memory.vms:
            assert id_.encode() in data
            assert id_.startswith("i-")


class Replaying(ClientMaker):
    """Makes real botocore clients whose every request is answered with the same bytes."""

    status = 200
    body = b""

    def make(self, read_seconds: float) -> Any:
        client = super().make(read_seconds)
        client.meta.events.register("before-send.ec2", self._answer)
        return client

    def _answer(self, request: Any, **_: object) -> AWSResponse:
        raw = SimpleNamespace(stream=lambda **_: iter([self.body]), read=lambda *_: self.body)
        return AWSResponse(request.url, self.status, {"Content-Type": "text/xml"}, raw)


EC2_SETTINGS = settings_with(
    api_url="http://127.0.0.1:1/",
    aws_access_key_id="key",
    aws_secret_access_key="secret",
    image_id="ami-12345678",
    flavour="m5.large",
    cluster_name="test",
)
CLOUD = Ec2(EC2_SETTINGS, limits=Limits(attempts=1), clock=FakeClock())
CLIENTS = CLOUD._sender.clients = Replaying(EC2_SETTINGS, 1.0)
CHECK_CLIENTS = Replaying(EC2_SETTINGS, 1.0, OPERATIONS | QUESTIONS_OF_CHECK)
STATUSES = (200, 200, 400, 403, 500, 503)


def ec2(data: bytes) -> None:
    """The body of any answer of EC2; the first byte chooses the HTTP status."""
    CLIENTS.status = STATUSES[data[0] % len(STATUSES)] if data else 200
    CLIENTS.body = data[1:]
    CLOUD._features = Features(frozenset(), takes_all=False)
    CLOUD._shapes.clear()
    try:
        instances = CLOUD.list_instances(everything=True)
    except CloudError:
        pass
    else:
        assert CLIENTS.status == 200
        assert all(isinstance(instance.id, str) and instance.id for instance in instances)
        assert instances or says_empty(CLIENTS.body), f"no VMs, from {CLIENTS.body!r}"
    try:
        instances = CLOUD.launch(Pool(), 2, "token")
    except CloudError as error:
        assert error.uncertain or CLIENTS.status != 200, f"a launch that may have worked was written off: {error}"
    else:
        assert instances
    for call in (
        lambda: CLOUD.terminate(["i-1", "i-2"]),
        lambda: CLOUD.console_tail("i-1"),
        lambda: CLOUD.capacity(Pool(instance_type="m5.large")),
    ):
        try:
            call()
        except CloudError as error:
            assert len(str(error)) < 1000
            assert "\n" not in str(error)


def cloud_check(data: bytes) -> None:
    """The same, as what `--check --cloud` is told."""
    trial = Trial(EC2_SETTINGS, {}, Redactor(), limits=Limits(attempts=1), clock=FakeClock())
    trial._sender.clients = trial._cloud._sender.clients = CHECK_CLIENTS
    CHECK_CLIENTS.status = STATUSES[data[0] % len(STATUSES)] if data else 200
    CHECK_CLIENTS.body = data[1:]
    found = list(trial.findings())
    assert found
    assert all("\n" not in str(one) for one in found)


def says_empty(body: bytes) -> bool:
    """Return whether an XML document says in so many words that there are no reservations, or no instances in them."""
    root = ElementTree.parse(io.BytesIO(body)).getroot()
    return any(child.tag.rpartition("}")[2] == "reservationSet" for child in root)


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        htcondor_commands,
        htcondor_bindings,
        htcondor_matching_texts,
        htcondor_total,
        slurm_groups,
        slurm_jobs,
        slurm_settings,
        slurm_judge,
        slurm_nodes,
        sandbox,
        configuration,
        state_file,
        state_rows,
        legacy_state_file,
        ec2,
        cloud_check,
    )
}
for others in (gridengine, history, outside, usage):
    TARGETS.update(others.TARGETS)


def _database() -> bytes:
    with directory() as place:
        State(place, NOW).close()
        return (place / "elastiq.db").read_bytes()


_JOB = (
    b'{"id": "000001", "command": ["true"], "cpus": 1, "submitted_at": 5.0, "after": "", "exit_code": null, '
    b'"needs": ["gpu"], "whole": true}'
)
_WORKER = (
    b'{"name": "node", "instance_id": "i-1", "address": "10.0.0.1", "cpus": 4, "memory_mb": 8, "idle_seconds": 7.5}'
)


def _slurm_group(*words: bytes) -> bytes:
    return b"\x1f".join(words) + b"\x1e"


_JOBS_HEADER = _slurm_group(*[b"X"] * len(slurm_queue.QUEUE_FIELDS))
_SLURM_ASKED = b"\x1f".join(
    [b"1", b"cpu=3,mem=2100M,node=1", b"", b"(null)", b"a:1", b"batch", b"1", b"3", b"700M", b"0"]
    + [b"N/A"] * 4
    + [b"(a&b)|c", b"0"]
)
_SLURM_JOB = b"\x1f".join(
    [
        *(b"7", b"N/A", b"PD", b"5", b"Resources", b"N/A", b"1", b"cpu=77,mem=2100M,node=1", b"batch", b"", b"(null)"),
        *(b"(null)", b"1", b"77", b"2100M", b"0", b"N/A", b"N/A", b"N/A", b"N/A", b"(null)", b"OK"),
    ]
)
_SLOT = (
    b'{"Machine": "node", "Name": "slot1@node", "State": "Unclaimed", "Cpus": 4, "Memory": 8000, "Disk": 1024.0, '
    b'"MyAddress": "<10.77.0.11:9618?addrs=10.77.0.11-9618>", "MyCurrentTime": 10000, "EnteredCurrentState": 9900}'
)
_VM = b'{"id": "i-1", "pool": "default", "launched_at": 5.0, "state": "running", "joined_at": null, "tagged": true}'
_ROWS = (
    _VM,
    b'{"token": "token", "pool": "default", "count": 2, "requested_at": 999.5, "image_id": "ami-1"}',
    b'{"default": {"failed_boots": 3, "paused_until": 5.0, "reason": "r"}}',
    b'{"default": {"cpus": 4, "memory_mb": 8000}}',
    b'["i-0"]',
    b'["MaxResults"]',
    b'{"pid": 5, "started_at": 5.0, "monotonic_microseconds": 9, "max_vms": null, '
    b'"last_action": {"at": 5.0, "text": "t"}, "last_error": null, "holds": ["why"]}',
)
_INSTANCE = (
    b"<item><instanceId>i-00000001</instanceId><instanceState><code>16</code><name>running</name></instanceState>"
    b"<privateIpAddress>10.0.0.1</privateIpAddress><launchTime>2026-01-01T00:00:00.000Z</launchTime><clientToken>token"
    b"</clientToken><tagSet><item><key>elastiq:cluster</key><value>test</value></item></tagSet></item>"
)
_LISTING = (
    b"<DescribeInstancesResponse><requestId>r</requestId><reservationSet><item><instancesSet>%b</instancesSet></item>"
    b"</reservationSet></DescribeInstancesResponse>"
) % _INSTANCE

SEEDS: dict[str, tuple[bytes, ...]] = {
    "htcondor_commands": (
        b'schedd-a@\n\0[{"JobCount": 5, "JobStatus": 1, "RequestCpus": 1, "Requirements": "/Expr(HasA && (B))/"}]',
        b"schedd-a@\n\0[%b]" % _SLOT,
        b"schedd-a@\n\0Total for query: 0 jobs; 0 completed\n",
        b"schedd-a@\n\0[\n]",
    ),
    "htcondor_bindings": (
        b'{"groups": [[5, 0, 1, 100, 5, null, 1, false, 0]], "wants": ["w"], "schedds": ["a"]}',
        b"[%b]" % _SLOT,
        b"[]",
    ),
    "htcondor_matching_texts": (
        b'(TARGET.Arch == "X86_64") && (HasCVMFS || regexp("^a", MY.b) ? {1, [c = 2]} : -1.5e3) isnt undefined',
        b"[%b]" % _SLOT,
    ),
    "htcondor_total": (b"\n\nTotal for query: 0 jobs; 0 completed, 0 removed\nTotal for all users: 3 jobs\n",),
    "slurm_groups": (
        _JOBS_HEADER
        + _slurm_group(b"W", b"20", b"1700000000", b"", b"", _SLURM_ASKED.replace(b"N/A", b"gres/gpu:2", 1))
        + _slurm_group(b"W", b"1", b"1700000000", b"19", b"3,5-9:2,20-30%2", _SLURM_ASKED)
        + _slurm_group(b"R", b"19", b"1")
        + _slurm_group(b"K", b"3", b"batch", _SLURM_ASKED)
        + _slurm_group(b"U", b"1", b"garbage"),
        _JOBS_HEADER,
    ),
    "slurm_jobs": (b"", _SLURM_JOB, _SLURM_JOB.replace(b"Resources", b"two\nlines|bars")),
    "slurm_settings": (
        b"PartitionName=batch Default=YES MaxNodes=2 NodeSets=ALL OverSubscribe=EXCLUSIVE State=UP MaxMemPerNode=15\n",
        b"LicenseName=fluent Total=2 Used=1 Free=1 Reserved=0 Remote=no\n",
        b"SelectType = select/cons_tres\nSelectTypeParameters = CR_CPU_MEMORY\n",
    ),
    "slurm_judge": (
        b'{"constraint":"(a&b)|c","gres":{"gpu:a100":2},"partitions":["long"],"usual":true,"tmp_mb":5}\0'
        b'{"features":["a"],"gres":{"gpu:a100":2},"partitions":["batch"],"tmp_mb":9,"arch":"x86_64","os":"Linux"}',
        b'{"components":[{"named_nodes":true},{"reservation":"exam"},{"never":"why"}]}\0',
    ),
    "slurm_nodes": (
        b"NodeName=i-01234567 CPUAlloc=0 CPUEfctv=4 CPUTot=4 AvailableFeatures=(null) Gres=gpu:a100:2(S:0) "
        b"GresUsed=gpu:a100:1(IDX:0) NodeAddr=10.77.1.1 RealMemory=4000 AllocMem=0 State=IDLE+DRAIN+DYNAMIC_NORM "
        b"LastBusyTime=1700000000 Reason=elastiq: idle [slurm@1700000000]\n",
        b"No nodes in the system\n",
    ),
    "sandbox": (_JOB + b"\0" + _WORKER, _JOB.replace(b'"after": ""', b'"after": "000007"') + b"\0" + _WORKER),
    "configuration": (
        b"[ ]\nsleep_s = 5\n[elastiq]\n",
        b"[elastiq]\nsleep_s = 5\n[quota]\nmax_vms = unlimited\n[ec2]\nimage_id = ami-1a2b3c4d\n"
        b"user_data_b64 = IyEvYmluL3NoCg==\naws_access_key_id = a\naws_secret_access_key = 007\n[debug]\n",
    ),
    "state_file": (_database(), b"", b"SQLite format 3\0"),
    "state_rows": (b"\0".join(_ROWS), b"\0".join((*_ROWS[:5], b"", b"", b"", b"", _ROWS[-1])), _VM),
    "legacy_state_file": (b"i-0123456789abcdef0\ni-00000001\n",),
    "ec2": (
        b"\0" + _LISTING,
        b"\0" + _LISTING.replace(_INSTANCE, b""),
        b"\0<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>",
        b"\0<RunInstancesResponse><instancesSet>%b</instancesSet></RunInstancesResponse>" % _INSTANCE,
        b"\x02<Response><Errors><Error><Code>InvalidAMIID.NotFound</Code><Message>m</Message></Error></Errors></Response>",
        b"\0<GetConsoleOutputResponse><output>a2VybmVsIHBhbmlj</output></GetConsoleOutputResponse>",
        b"\0<DescribeInstanceTypesResponse><instanceTypeSet><item><instanceType>m5.large</instanceType><vCpuInfo>"
        b"<defaultVCpus>4</defaultVCpus></vCpuInfo></item></instanceTypeSet></DescribeInstanceTypesResponse>",
    ),
}
SEEDS["cloud_check"] = SEEDS["ec2"]
for others in (gridengine, history, outside, usage):
    SEEDS.update(others.SEEDS)
