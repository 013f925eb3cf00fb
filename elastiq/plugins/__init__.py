"""The contract of a batch plugin. elastiq/plugins/loading.py finds plugins, kit.py helps to write one.

`python -m elastiq.plugins.check` tries a plugin on a live system by this contract, tests/contract tries all of it, and
docs/plugins.md says how to write one.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from elastiq.model import Demand, Explanation, Judgement, Usage, Worker


class Closing(Enum):
    """Answer to `close`."""

    CLOSED = "closed"
    """No job runs there, and from now on none can start there until `reopen`."""
    BUSY = "busy"
    """A job runs there or has just got in. Nothing was changed: further jobs may start there as before."""


class BatchSystem(Protocol):
    """What elastiq needs of a batch system.

    For every method:

    - It raises BatchError alone. The text names what happened, to what, and what to do; it carries no secret.
    - Whoever cannot answer raises. An empty tuple, a zero and False are statements about the batch system: a command
      that failed, was cut short, printed garbage or printed nothing where it prints something never becomes one.
    - It ends within a deadline of its own, well under GIVE_UP_SECONDS of elastiq.process.lanes, whatever hangs: every
      command runs through elastiq.command, which kills its whole process group then. The deadline is for the whole
      call.
    - It is called from one thread at a time, not always the same one and hardly ever the main thread. A call that is
      not answered within seconds may be left to itself, and its late answer thrown away.
    - It keeps nothing on disk and relies on nothing that an earlier process knew: what one process has closed, the next
      one closes again and opens.
    - It takes time from a Clock, and never compares the clock of one machine with that of another.

    `create(settings)`, which makes it, asks the batch system nothing; it raises ConfigError if `settings` lack
    something. `settings.of(Options)` has the plugin's own options, which a dataclass `Options` beside it declares by
    elastiq.config.option.
    """

    def demand(self) -> tuple[Demand, ...]:
        """Return the waiting jobs that a new worker could run, grouped by all that decides where they may run: one
        Demand for each shape, `vms_per_job`, `wants` and `takes_whole_vms`.

        Jobs that are held, depend on others, are not yet due, are capped by their own array or a limit (licences that
        are used up, a partition that is down), or may never run on a worker are left out; a running job is none that
        waits. The tasks of an array count one by one. A job that waits only because no machine is large enough is in
        it: the planner knows what VMs can hold. So is one that asks for what not every worker offers: that goes into
        `wants`, for `judge`. A job that cannot be read is left out, and nothing else because of it.

        `jobs` is at least 1, `shape.cpus` too; of `shape` None is what the job does not ask for. `vms_per_job` is 1
        unless a job needs several machines at the same time; then `shape` is what it needs on each, and `jobs` counts
        jobs, not machines. `oldest_wait_seconds` is None where it is not to be had cheaply, and `running` too.

        The batch system's own delay before it shows a job is all right. The cost in the daemon's process does not grow
        with the number of jobs: 50,000 of them, all different or all alike, are counted in seconds and megabytes.

        Raise BatchError if the queue cannot be read completely, every queue if there are several.
        """

    def workers(self) -> tuple[Worker, ...]:
        """Return every machine that has joined, elastiq's own or not, busy or idle, open or closed.

        One Worker for a machine, however many slots or queues it has; no two with the same name and address, and no
        instance id twice. One bulk query, whose cost does not grow with the number of jobs.

        - `name` is what `close`, `reopen` and `forget` need to find it again. `instance_id`, or else `address`, says
          which VM it is; None where the batch system does not know it for sure.
        - `capacity` has at least one CPU. `free` is what new jobs could still use of it; of a closed worker, after
          `reopen`. In both None is not known, and 0 is none (left): it is never said for the other.
        - `interrupted` is True only if the worker itself says that the cloud is about to take its VM back, and it is
          closed for that: elastiq terminates it as soon as no job is there.
        - `hurt` is True if `capacity` is less than its VM holds: a broken slot, a lost queue.
        - `jobs` counts what is running, starting, ending, suspended or has a claim on the machine. It is never 0 while
          any such thing is there; in doubt it is 1.
        - `idle_seconds` is None while `jobs` is not 0, and else the time since the last job ended there, or since the
          machine joined if it never had one: by the clock of one machine, and never more than the truth. A job that
          came and went between two calls starts it over.
        - `closed` is True only if no job can start there until somebody reopens it, whoever closed it. Of a closed
          worker that still ends jobs, `jobs` is not 0.
        - `closed_by_other` is True only if `closed` is, and the batch system says that somebody else than elastiq
          closed it. Where that cannot be told it is False.

        A machine whose VM is gone may be listed until `forget`, or until the batch system notices.

        Raise BatchError if the answer is missing, partial or implausible.
        """

    def close(self, worker: Worker) -> Closing:
        """Close `worker` if and only if no job runs there; atomically, by the batch system itself.

        Of `worker` only `name`, `instance_id` and `address` count; the rest is a picture of some time ago. It may have
        left the batch system, or never have joined (then `name` is empty): look again. If it is listed after all, close
        it like any other. If it is not, return CLOSED if the batch system believes no job to run on it, otherwise BUSY.
        It is never another VM that has got its name or address since.

        CLOSED is said when the close is in force, not when it was asked for, and it holds across restarts of elastiq
        and of the batch system. A closed worker may leave the list of workers if `reopen` brings it back. Closing a
        closed worker returns CLOSED again. After BUSY the worker is as open as before, and its jobs never notice.

        Raise BatchError if neither answer can be given; the worker may then be open or closed. Raise it, too, and leave
        everything alone, if the batch system says that somebody else closed it: they may open it at any moment.
        """

    def reopen(self, worker: Worker) -> None:
        """Undo `close`: when this returns, jobs can start there again.

        Reopening an open worker is no error.

        Raise BatchError if it failed, or if somebody else closed it: then it stays closed. Of a worker that is gone
        both are right.
        """

    def forget(self, worker: Worker) -> None:
        """Remove what the batch system still remembers of a worker whose VM is gone (stale ads, node entries).

        Called when a VM is gone that elastiq did not terminate, so that nothing waits until the batch system notices.
        It is never another VM that has got its name or address since. What elastiq's own terminations leave behind is
        up to `close`.

        Raise BatchError if it failed; an unknown worker is no error.
        """

    def check(self) -> str:
        """Return one line on what was found (version, number of workers, rights). Changes nothing.

        Raise BatchError if it cannot work.
        """


class Matchmaker(BatchSystem, Protocol):
    """A BatchSystem that tells which jobs a worker could ever run, by two methods more. A plugin has both or neither;
    without them every worker is taken to run every job whose shape fits.
    """

    def template(self, worker: Worker) -> str:
        """Return what decides which jobs workers like `worker` may run, as a text for `judge`.

        It is kept across restarts, stands for workers that do not exist yet, and is used long after: in it is what the
        machine offers (attributes, features, queues, groups), not what is only now, or only of this one: names,
        addresses, states, loads, what of it is in use. At most TEMPLATE_LIMIT characters.

        Raise BatchError if the worker is not there, or is none that others are like: closed, or hurt.
        """

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        """Return for each of `wants`, which are of Demands, whether a worker like `template` could ever run such jobs,
        if it were idle.

        `template` is empty before there is one. It may also be damaged, or another version's: UNKNOWN. NO is said only
        for sure, with what is asked for and not offered as the reason; UNKNOWN has a VM launched to learn from, so it
        is said only if a template would tell more. How many CPUs and how much memory a VM has is judged elsewhere.
        """


class Narrower(Matchmaker, Protocol):
    """A Matchmaker that reads the options `jobs` and `offers` of pools, by a method that a plugin need not have.
    Without it they are refused.
    """

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        """Return a text for `judge` that stands for workers like `template` of a pool that takes only such `jobs`; if
        `template` is empty, for such that offer `offers` beside the usual, and of which nothing else is known yet. Each
        of the three may be empty. The same three make the same text.

        Of jobs that are not such, and of those of which that cannot be told, `judge` says NO by it, with a reason that
        begins with TAKES_ONLY. Of no job it says more than without `jobs`: what a template denies stays denied. What is
        asked for and all in `offers` is decided by them; the rest is as unknown as without. Once there is a template,
        `offers` count no more.

        It asks nobody, and is called before all else with what the configuration says, so that `demand` has in `wants`
        what decides. Raise BatchError if `jobs` or `offers` cannot be read, with what is wrong; `template` may be
        damaged, which is for `judge` to say.
        """


class Adviser(BatchSystem, Protocol):
    """A BatchSystem that tells what of its configuration costs VM-hours, by a method that a plugin need not have."""

    def advice(self) -> tuple[str, ...]:
        """Return a sentence for each thing that the batch system is known to do now, that costs VM-hours, and that one
        line of its configuration ends, with this line and where it goes: jobs are spread over workers, for example, so
        that one long job on each keeps all of them.

        Nothing is said that is not known of the batch system as it runs, whatever files say, and nothing that matters
        to no worker that is there. It is asked once an hour, changes nothing, and may be called while another method
        is: it shares with them only what may be lost. Raise BatchError if it cannot be told.
        """


class Explainer(BatchSystem, Protocol):
    """A BatchSystem that tells of single jobs, by a method that a plugin need not have."""

    def explain(self, job: str) -> Explanation:
        """Return what the job is that people call `job`, as the batch system's own commands do; whatever they typed
        may be in it.

        Only this job is asked for: with 100,000 in the queue the answer comes within a second. `group` is equal to the
        Demand that `demand` counts it in, but for counts and ages, if it WAITS; a job that `demand` leaves out never
        does. Of an array, or whatever is several jobs by one name, it is told what is nearest to a start: a task that
        waits, else one that runs, else any. UNKNOWN is a statement about the batch system: raise BatchError if it does
        not answer, or if `job` names several jobs that have nothing to do with each other.

        It is asked by people, in a process of their own, and changes nothing.
        """


class Requeuer(BatchSystem, Protocol):
    """A BatchSystem that takes jobs from a worker, by a method that a plugin need not have. Without it such jobs end
    with their VM."""

    def requeue(self, worker: Worker) -> None:
        """Have all jobs of `worker` wait in the queue again, by the batch system's own means; first so that they may
        end in peace, and if it is asked again, at once. Jobs that may not run twice are left where they are.

        It is only asked of a worker that is `interrupted`, when the cloud is about to end its VM within a minute: look
        again, and leave the jobs of one alone that is not. It returns when the request is accepted; an unknown worker
        is no error. Raise BatchError if it failed.
        """


class Accountant(BatchSystem, Protocol):
    """A BatchSystem that tells who used which worker, by a method that a plugin need not have."""

    def usage(self, since: float) -> tuple[Usage, ...]:
        """Return who had jobs on which worker at any time from `since` on, each stay of a job by itself; those that run
        now have no end. The batch system's own accounting is asked, so it is up to that how far back is known.

        What is not known is left out, never guessed: a job without a user, a worker or a beginning. A job of several
        workers is told once for each. It is asked by people, in a process of their own, and changes nothing. Raise
        BatchError if accounting is off, or does not answer, or not completely.
        """


TEMPLATE_LIMIT = 100_000

WANTS_LIMIT = 4_000
"""Characters of `Demand.wants`; whoever has more to say leaves such jobs to be judged UNKNOWN."""

METHODS = {"demand": 0, "workers": 0, "close": 1, "reopen": 1, "forget": 1, "check": 0}
"""The methods of a plugin, and how many arguments each is called with."""

MATCHMAKING = {"template": 1, "judge": 2}
"""Those that it may have, both or neither."""

NARROWING = {"narrowed": 3}
"""The one that it may have beside them."""

TAKES_ONLY = "the pool takes only jobs"
"""How the reason begins why a pool does not take a job that it could run."""

ADVICE_LIMIT = 400
"""Characters of one sentence of advice."""

ADVISING = {"advice": 0}
"""The one that it may have."""

EXPLAINING = {"explain": 1}
"""Likewise."""

REQUEUING = {"requeue": 1}
"""Likewise."""

ACCOUNTING = {"usage": 1}
"""Likewise."""

EXPLANATION_LIMIT = 300
"""Characters of `Explanation.text`."""
