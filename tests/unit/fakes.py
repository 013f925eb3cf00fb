"""A batch system, a cloud, a clock and a state that tests steer by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from elastiq.config import SECTIONS, Settings
from elastiq.decisions import Decision, Outcome
from elastiq.errors import BatchError, CloudError, CloudFault, PendingError
from elastiq.memory import Memory
from elastiq.model import Demand, Instance, InstanceState, Judgement, Pool, Shape, Worker
from elastiq.plugins import Closing


def settings_with(base: Settings | None = None, /, **values: Any) -> Settings:
    """Return `base`, or else the defaults, with other values of options, which are found by their names alone."""
    settings = base or Settings()
    for section in SECTIONS:
        names = {field.name for field in fields(section.declared)} & set(values)
        changed = replace(getattr(settings, section.name), **{name: values.pop(name) for name in names})
        settings = replace(settings, **{section.name: changed})
    assert not values, f"there are no such options: {', '.join(values)}"
    return settings


class FakeClock:
    """Time that moves when it is told to."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic_microseconds(self) -> int:
        return int(self.time * 1_000_000)

    def sleep(self, seconds: float) -> None:
        self.time += seconds


class FakeBatch:
    """Workers by name; closing follows the contract, and `calls` tells what was asked."""

    def __init__(self) -> None:
        self.jobs: tuple[Demand, ...] | None = ()
        self.joined: dict[str, Worker] | None = {}
        self.lingering_jobs: set[str] = set()
        """Instance ids of unlisted workers on which the scheduler believes jobs to run."""
        self.close_fails = False
        self.judgements: dict[str, Judgement] = {}
        """By what jobs want."""
        self.advised: tuple[str, ...] | str = ()
        """Or why there is no advice."""
        self.asked_for_advice = 0
        self.calls: list[tuple[str, str]] = []

    def demand(self) -> tuple[Demand, ...]:
        self.calls.append(("demand", ""))
        if self.jobs is None:
            raise BatchError("the scheduler does not answer")
        return self.jobs

    def workers(self) -> tuple[Worker, ...]:
        self.calls.append(("workers", ""))
        if self.joined is None:
            raise BatchError("the collector does not answer")
        return tuple(self.joined.values())

    def close(self, worker: Worker) -> Closing:
        self.calls.append(("close", worker.instance_id or worker.name))
        if self.close_fails or self.joined is None:
            raise BatchError("no answer to the close")
        for name, joined in self.joined.items():
            if joined.instance_id == worker.instance_id:
                if joined.jobs:
                    return Closing.BUSY
                self.joined[name] = replace(joined, closed=True)
                return Closing.CLOSED
        return Closing.BUSY if worker.instance_id in self.lingering_jobs else Closing.CLOSED

    def reopen(self, worker: Worker) -> None:
        self.calls.append(("reopen", worker.name))
        assert self.joined is not None
        if worker.name not in self.joined:
            raise BatchError("no such worker")
        self.joined[worker.name] = replace(self.joined[worker.name], closed=False)

    def forget(self, worker: Worker) -> None:
        self.calls.append(("forget", worker.name))

    def requeue(self, worker: Worker) -> None:
        self.calls.append(("requeue", worker.name))
        if self.close_fails or self.joined is None:
            raise BatchError("no answer to the requeue")

    def check(self) -> str:
        return "fake"

    def advice(self) -> tuple[str, ...]:
        self.asked_for_advice += 1
        if isinstance(self.advised, str):
            raise BatchError(self.advised)
        return self.advised

    def template(self, worker: Worker) -> str:
        return f"like {worker.name.partition('-')[0]}"

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        if "unreadable" in jobs:
            raise BatchError("it cannot be read")
        return f"{template} for {jobs} with {offers}"

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        self.calls.append(("judge", template))
        return tuple(self.judgements.get(one, Judgement()) for one in wants)

    def join(self, instance_id: str, *, jobs: int = 0, idle_seconds: float | None = 0.0, cpus: int = 4) -> None:
        """Let the worker of a VM join, or change it."""
        assert self.joined is not None
        name = f"node-{instance_id}"
        shape = Shape(cpus, 4000)
        self.joined[name] = Worker(
            name,
            instance_id,
            None,
            shape,
            replace(shape, cpus=max(0, cpus - jobs)),
            jobs,
            None if jobs else idle_seconds,
        )


class FakeCloud:
    """Instances by id; `fault` makes every call fail, `refuse_launch` launches alone, and `lose_answer` makes launches
    succeed and then fail."""

    def __init__(self) -> None:
        self.vms: dict[str, Instance] = {}
        self.fault: CloudFault | None = None
        self.lose_answer = False
        self.refuse_launch: CloudFault | None = None
        self.refuse_terminate = False
        self.hidden: set[str] = set()
        self.launches: list[int] = []
        self.terminations: list[tuple[str, ...]] = []
        self.features: frozenset[str] = frozenset()
        self.token_is_lock = False
        self.prices: dict[tuple[str, str], float] = {}
        self.refuse_prices: CloudFault | None = None
        self.prices_asked: list[tuple[str, ...]] = []
        self.is_late = False
        """True: requests take effect, or fail, when their answer is asked for after this was set to False again."""

    @property
    def refused_features(self) -> frozenset[str]:
        return self.features

    def _trouble(self) -> None:
        if self.fault is not None:
            raise CloudError("the cloud is out of order", self.fault)

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        self._trouble()
        return tuple(vm for vm in self.vms.values() if vm.id not in self.hidden)

    def _late(self, request: Callable[[], Any]) -> PendingError:
        def answer() -> Any:
            if self.is_late:
                raise self._late(request)
            return request()

        return PendingError("the cloud has not answered", answer)

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        if self.is_late:
            raise self._late(lambda: self.launch(pool, count, token))
        self._trouble()
        if self.refuse_launch is not None:
            raise CloudError("no VM today", self.refuse_launch)
        self.launches.append(count)
        if self.token_is_lock and any(vm.client_token == token for vm in self.vms.values()):
            return tuple(vm for vm in self.vms.values() if vm.client_token == token)
        made = []
        for _ in range(count):
            vm = Instance(
                f"i-{len(self.vms) + 1:08x}",
                InstanceState.PENDING,
                client_token=token,
                cluster="test",
                pool=pool.name,
            )
            self.vms[vm.id] = vm
            made.append(vm)
        if self.lose_answer:
            raise CloudError("no answer", CloudFault.UNREACHABLE)
        return tuple(made)

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        if self.is_late:
            raise self._late(lambda: self.terminate(instance_ids))
        self._trouble()
        self.terminations.append(tuple(instance_ids))
        if self.refuse_terminate:
            raise CloudError("not allowed", CloudFault.CREDENTIALS)
        for id_ in instance_ids:
            self.vms[id_] = replace(self.vms[id_], state=InstanceState.TERMINATED)
        return tuple(instance_ids)

    def tag(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        for id_ in instance_ids:
            self.vms[id_] = replace(self.vms[id_], cluster="test", pool=pool.name)

    def console_tail(self, instance_id: str) -> str:
        return "kernel panic"

    def capacity(self, pool: Pool) -> Shape:
        raise CloudError("not known", CloudFault.CONFIGURATION)

    def spot_prices(self, types: Sequence[str], now: float) -> dict[tuple[str, str], float]:
        self.prices_asked.append(tuple(types))
        if self.refuse_prices is not None:
            raise CloudError("UnauthorizedOperation: no right to ec2:DescribeSpotPriceHistory", self.refuse_prices)
        return dict(self.prices)

    def run(self) -> None:
        """Let every pending VM run."""
        for id_, vm in self.vms.items():
            if vm.state is InstanceState.PENDING:
                self.vms[id_] = replace(vm, state=InstanceState.RUNNING)

    @property
    def alive(self) -> list[str]:
        return [vm.id for vm in self.vms.values() if vm.state.alive]


class NoState:
    """Keeps nothing, and fails at nothing."""

    def load(self, now: float) -> Memory:
        return Memory()

    def adopt_legacy(self, memory: Memory, now: float) -> Memory:
        return memory

    def save(self, memory: Memory) -> None:
        pass

    def present(self, now: float) -> None:
        pass

    def damaged_at(self) -> float | None:
        return None

    def save_refused_features(self, cloud: str, features: frozenset[str]) -> None:
        pass

    def record(self, at: float, decision: Decision, outcome: Outcome | None) -> None:
        pass

    def save_report(self, report: Mapping[str, object], account: Mapping[str, object] | None = None) -> None:
        pass
