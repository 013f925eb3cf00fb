"""What elastiq-real.py and, through it, elastiqctl do."""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from elastiq import control, ledger, questions, top
from elastiq.clock import Clock
from elastiq.config import Settings, defaults, zones
from elastiq.control import BAD_CONFIGURATION, FAILED, NO_SUCH, OK, UNREACHABLE
from elastiq.errors import BatchError, ConfigError, ElastiqError
from elastiq.plugins import loading
from elastiq.plugins.adapter import Adapter
from elastiq.process.pidfile import AlreadyRunningError, find_daemon
from elastiq.process.user import SERVICE_USER, daemon_user, service_user
from elastiq.redaction import Redactor
from elastiq.report import accounts, page
from elastiq.report.now import Now
from elastiq.report.publishing import publish
from elastiq.report.series import Past, read_past
from elastiq.report.status import picture
from elastiq.state import read_account, read_report
from elastiq.text import printable
from elastiq.version import VERSION

OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""So many new objects may be there before Python looks for cycles among them: a plan for thousands of VMs makes some
100,000 and no cycle, and with the usual 700 a fifth of its time goes into looking. (mypy takes 200,000.)"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with the exit code that the original has for wrong usage."""
        self.exit(FAILED, f"{self.format_usage()}{self.prog}: {message}\n")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(
        prog="elastiq-real.py",
        description="Run elastiq in the foreground. See elastiqctl to run it in the background.",
        usage="elastiq-real.py --config=FILE [--logdir=DIRECTORY] [--check [--cloud [--json]]] [--version] [--help] "
        "[simulate ...]",
        allow_abbrev=False,
    )
    parser.add_argument("action", nargs="?", default="run", choices=sorted(_ACTIONS), help=argparse.SUPPRESS)
    parser.add_argument("--config", metavar="FILE", type=_path, help="the configuration file")
    parser.add_argument("--logdir", metavar="DIRECTORY", type=_path, help="log to files there, not to standard error")
    parser.add_argument("--state-dir", type=_path, help=argparse.SUPPRESS)
    parser.add_argument("--user", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="check the configuration file, contact nothing, and end")
    parser.add_argument(
        "--cloud", action="store_true", help="with --check: ask the cloud, too, what it would refuse; launch nothing"
    )
    parser.add_argument("--version", action="version", version=f"elastiq {VERSION}")
    options, words = parser.parse_known_args(arguments)
    if options.cloud and not options.check:
        parser.error("--cloud goes with --check")
    if words and options.action not in _WITH_WORDS and not (options.cloud and words == ["--json"]):
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    options.words = words
    if options.config is None:
        parser.error("--config is missing")
    return options


def _path(text: str) -> Path:
    """Return an absolute path: in the background the working directory is another."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(os.path.abspath(text))  # noqa: PTH100 - symbolic links stay what they are


def collect_seldom() -> None:
    """Have this process look less often for objects that only refer to each other."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    os.umask(0o077)
    collect_seldom()
    options = _arguments(arguments)
    try:
        if options.cloud:
            return _check_cloud(options)
        return _check(options) if options.check else _ACTIONS[options.action](options)
    except ConfigError as error:
        return control.refuse(BAD_CONFIGURATION, str(error))
    except (ElastiqError, OSError) as error:
        return control.refuse(FAILED, f"elastiq: {error}")
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _state_directory(options: argparse.Namespace, settings: Settings) -> Path:
    directory: Path = options.state_dir or settings.elastiq.state_dir or defaults.state_dir()
    return directory


def _check(options: argparse.Namespace) -> int:
    settings = loading.read_settings(options.config)
    loading.load(settings.elastiq.batch_plugin, settings)
    print("\n".join([*settings.warnings, f"{printable(str(options.config))}: the configuration is good"]))
    return OK


def _check_cloud(options: argparse.Namespace) -> int:
    from elastiq import cloudcheck  # not for everybody, as the daemon

    settings = loading.read_settings(options.config)
    loading.load(settings.elastiq.batch_plugin, settings)
    as_json = "--json" in options.words
    for line in settings.warnings:
        print(line, file=sys.stderr if as_json else sys.stdout)
    return {
        cloudcheck.Result.GOOD: OK,
        cloudcheck.Result.REFUSED: BAD_CONFIGURATION,
        cloudcheck.Result.UNREACHABLE: UNREACHABLE,
    }[cloudcheck.check(settings, as_json=as_json)]


def _run(options: argparse.Namespace) -> int:
    from elastiq import daemon  # not for everybody: the client of EC2 takes longest to import

    settings = loading.read_settings(options.config)
    if service_user() is not None:
        print(
            f"elastiq runs as root now, and what it writes cannot be used later by the user {SERVICE_USER}, "
            "as whom elastiqctl and the service run it",
            file=sys.stderr,
        )
    try:
        daemon.run(settings, _state_directory(options, settings), options.logdir, lambda: None)
    except AlreadyRunningError as error:
        print(error)
        return OK
    return control.leave(OK)


def _where(options: argparse.Namespace) -> tuple[Path, str]:
    """Return the state directory, and why the configuration file cannot be used: to look and to stop, it need not."""
    try:
        return _state_directory(options, loading.read_without_plugin(options.config)), ""
    except ConfigError as error:
        return options.state_dir or defaults.state_dir(), str(error)


def _start(options: argparse.Namespace) -> int:
    settings = loading.read_without_plugin(options.config)
    return control.start(options.config, _state_directory(options, settings), options.logdir)


def _stop(options: argparse.Namespace) -> int:
    return control.stop(*_where(options))


def _retry(options: argparse.Namespace) -> int:
    return control.retry(*_where(options))


def _status(options: argparse.Namespace) -> int:
    directory, problem = _where(options)
    if problem:
        print(f"{problem}\nso the daemon is looked for in {directory}", file=sys.stderr)
    pid = find_daemon(directory)
    if pid is None:
        print("elastiq is not running")
        return FAILED
    report = read_report(directory)
    if report is None or (pid and report.get("pid") != pid):
        print(f"elastiq is running (pid {pid or 'not known yet'}); it has not reported yet")
        return OK
    told = accounts.read(read_account(directory))
    print("\n".join(picture(report, Clock().monotonic_microseconds(), told)))
    return OK


def _words(options: argparse.Namespace, most: int) -> list[str]:
    """Return the words after the command but for --json. Raise ElastiqError if they are no such."""
    options.json = "--json" in options.words
    words = [word for word in options.words if word != "--json"]
    if len(words) > most or any(word.startswith("-") or not word for word in words):
        usage = f"elastiqctl {options.action} {'[JOB|VM] ' if most else ''}[--json]"
        raise ElastiqError(f"usage: {usage}; not {printable(' '.join(options.words))}")
    return words


def _known(options: argparse.Namespace) -> tuple[questions.Known, Settings]:
    settings = loading.read_settings(options.config)
    return questions.Known.read(_state_directory(options, settings)), settings


def _show(options: argparse.Namespace, answer: questions.Answer, settings: Settings) -> int:
    """Print an answer, without secrets, and return the exit code."""
    clean = questions.redactor_of(settings).clean
    if options.json:
        print(json.dumps(questions.cleaned(answer.document, clean)))
    else:
        print("\n".join(printable(clean(line)) for line in answer.lines))
    if not answer.is_known:
        return NO_SUCH
    return OK if answer.is_whole else FAILED


def _why(options: argparse.Namespace) -> int:
    words = _words(options, 1)
    known, settings = _known(options)
    try:
        answer = questions.of_one(words[0], known, settings) if words else questions.of_all(known)
    except BatchError as error:
        # The batch system's own words may hold secrets.
        raise BatchError(questions.redactor_of(settings).clean(str(error))) from None
    return _show(options, answer, settings)


def _vms(options: argparse.Namespace) -> int:
    _words(options, 0)
    known, settings = _known(options)
    return _show(options, questions.of_vms(known, settings), settings)


def _jobs(options: argparse.Namespace) -> int:
    _words(options, 0)
    known, settings = _known(options)
    return _show(options, questions.of_jobs(known), settings)


def _plan(options: argparse.Namespace) -> int:
    from elastiq.ec2 import Ec2  # not for everybody, as the daemon

    _words(options, 0)
    known, settings = _known(options)
    name, redactor = settings.elastiq.batch_plugin, questions.redactor_of(settings)
    batch = Adapter(loading.load(name, settings), name)
    answer = questions.planned(known, settings, batch, Ec2(settings, redactor=redactor), redactor)
    return _show(options, answer, settings)


def _notify_test(options: argparse.Namespace) -> int:
    from elastiq.process import messenger

    settings = loading.read_settings(options.config)
    if not settings.notify.is_used:
        raise ElastiqError("nobody is told of anything: give mail, webhook or command in the section [notify]")
    cluster, redactor = settings.elastiq.cluster_name, questions.redactor_of(settings)
    code = OK
    for way, is_taken, said in messenger.try_all(
        settings.notify, cluster, socket.gethostname(), redactor, Clock().now()
    ):
        print(f"{way:8} {'sent' if is_taken else 'NOT sent'}: {said}")
        code = code if is_taken else FAILED
    return code


def _history(options: argparse.Namespace) -> int:
    settings = loading.read_settings(options.config)
    now = Clock().now()
    question = ledger.asked("history", options.words, now, zones.calendar(""))
    return _tell(ledger.history(_state_directory(options, settings), question, now), question, settings)


def _cost(options: argparse.Namespace) -> int:
    settings = loading.read_settings(options.config)
    now, batch, name = Clock().now(), None, settings.elastiq.batch_plugin
    told = settings.policy().cost
    question = ledger.asked("cost", options.words, now, told.calendar)
    if question.by == "user":
        batch = Adapter(loading.load(name, settings), name)
    try:
        answer = ledger.costs(_state_directory(options, settings), question, now, told, batch)
    except BatchError as error:
        raise BatchError(questions.redactor_of(settings).clean(str(error))) from None
    return _tell(answer, question, settings)


def _tell(answer: ledger.Answer, question: ledger.Asked, settings: Settings) -> int:
    """Print what was kept, without secrets, and return the exit code."""
    clean = questions.redactor_of(settings).clean
    if question.form == "json":
        print(json.dumps(questions.cleaned(answer.document, clean)))
    else:
        print("\n".join(printable(clean(line)) for line in answer.lines))
        # Beside the table, for programs that read it.
        where = sys.stderr if question.form else sys.stdout
        print("".join(f"{printable(clean(note))}\n" for note in answer.notes), end="", file=where)
    if not answer.is_known:
        return NO_SUCH
    return OK if answer.is_whole else FAILED


def _page(options: argparse.Namespace) -> int:
    words = options.words
    is_usage = not words or (len(words) == 2 and words[0] == "--into" and words[1]) or words[0].startswith("--into=")
    if not is_usage or len(words) > 2:
        raise ElastiqError(f"usage: elastiqctl page [--into FILE]; not {printable(' '.join(words))}")
    directory, clean = _to_be_shown(options)
    now, past = _look(directory)
    made = page.page(now, past, clean)
    if not words:
        print(made, end="")
        return OK
    into = _path(words[0].partition("=")[2] or words[-1])
    try:
        publish(into, made.encode())
    except OSError as error:
        raise ElastiqError(f"{printable(str(into))} cannot be written: {error.strerror}") from None
    return OK


def _top(options: argparse.Namespace) -> int:
    if options.words:
        raise ElastiqError(f"usage: elastiqctl top; not {printable(' '.join(options.words))}")
    directory, clean = _to_be_shown(options)
    top.show(lambda: _look(directory), clean, Clock(), os.environ)
    return OK


def _to_be_shown(options: argparse.Namespace) -> tuple[Path, Callable[[str], str]]:
    """Return the state directory, and what takes secrets out of texts. Without a configuration that can be used there
    is still much to be seen, from which the daemon has taken them."""
    try:
        settings = loading.read_without_plugin(options.config)
    except ConfigError:
        return options.state_dir or defaults.state_dir(), Redactor().clean
    return _state_directory(options, settings), questions.redactor_of(settings).clean


def _look(directory: Path) -> tuple[Now, Past]:
    """Return how things stand and what was. Raise StateError if it cannot be seen whether the daemon runs."""
    clock = Clock()
    now = Now.read(
        directory, clock.now(), clock.monotonic_microseconds(), is_running=find_daemon(directory) is not None
    )
    return now, read_past(directory, now.at)


def _simulate(options: argparse.Namespace) -> int:
    from elastiq.sim.replay import command  # not for everybody, as the daemon

    command.run(
        options.words,
        lambda changes: loading.read_without_plugin(options.config, changes),
        lambda settings: _state_directory(options, settings),
    )
    return OK


def _ask(options: argparse.Namespace) -> int:
    settings = loading.read_settings(options.config)
    name = settings.elastiq.batch_plugin
    batch = Adapter(loading.load(name, settings), name)
    print(printable(batch.check()))
    try:
        advice = batch.advice()
    except BatchError as error:
        print(printable(f"how jobs are placed cannot be told: {error}"))
    else:
        print("".join(f"advice: {one}\n" for one in advice), end="")
    return OK


def _conf(options: argparse.Namespace) -> int:
    directory, problem = _where(options)
    facts = {
        "python": f"{platform.python_version()} ({sys.executable})",
        "elastiq": f"{VERSION} ({Path(__file__).parent})",
        "configuration": f"{options.config} ({'cannot be used, see --check' if problem else 'good'})",
        "log directory": str(options.logdir or "none: standard error"),
        "state directory": str(directory),
        "user": options.user or daemon_user(),
    }
    for name, text in facts.items():
        print(f"{name:16} {text}")
    return OK


_WITH_WORDS = ("simulate", "why", "plan", "vms", "jobs", "history", "cost", "page", "top")

_ACTIONS = {
    "run": _run,
    "start": _start,
    "stop": _stop,
    "status": _status,
    "check": _ask,
    "retry": _retry,
    "simulate": _simulate,
    "conf": _conf,
    "why": _why,
    "plan": _plan,
    "vms": _vms,
    "jobs": _jobs,
    "notify-test": _notify_test,
    "history": _history,
    "cost": _cost,
    "page": _page,
    "top": _top,
}


if __name__ == "__main__":
    sys.exit(main())
