"""What plugins share: how a call ends in time, which machine is which, and what batch systems print.

Functions that read raise BatchError for whatever is no valid answer, naming `who` gave it: garbage is never read as
"nothing". What is merely not said is None. Names and reasons that users give are part of answers and may have any
character in them: none of these makes an answer garbage.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # nosec B405 - document types, and with them entities, are refused below

from elastiq.clock import Clock
from elastiq.command import Result, execute
from elastiq.errors import BatchError
from elastiq.model import Demand, Explanation, Shape, Standing, Usage, Worker
from elastiq.plugins import EXPLANATION_LIMIT
from elastiq.text import excerpt, one_line, printable


class Deadline:
    """The end of one call of a plugin, shared by all the commands that it runs."""

    def __init__(self, clock: Clock, seconds: float, who: str) -> None:
        self._clock = clock
        self._seconds = seconds
        self._end = clock.now() + seconds
        self._who = who

    def remaining(self) -> float:
        """Return the seconds left. Raise BatchError if there are none."""
        seconds = self._end - self._clock.now()
        if seconds <= 0:
            raise BatchError(f"{self._who} gave no complete answer within {self._seconds:g} s")
        return seconds


def run_module(
    module: str, arguments: Sequence[str], timeout_seconds: float, *, input_bytes: bytes | None = None
) -> str:
    """Run a module of elastiq's as a program of its own, and return what it prints; raise BatchError as `run` does, if
    it fails with what it says itself.

    For what must not run in the daemon: libraries that may hang or crash, and answers that take much memory.
    """
    result = execute(_module(module, arguments), timeout_seconds, input_bytes=input_bytes, environment=_environment())
    if result.status:
        says_why = result.status > 0 and result.error_output.strip()
        raise BatchError(result.excerpt if says_why else f"{module} {result.ending}")
    return result.output


def execute_module(module: str, arguments: Sequence[str], timeout_seconds: float, *, input_bytes: bytes) -> Result:
    """Like `run_module`, for modules whose exit status is an answer: return it instead of raising for it."""
    return execute(_module(module, arguments), timeout_seconds, input_bytes=input_bytes, environment=_environment())


def tell_errors_briefly() -> None:
    """Have this process, which is such a module, end with one line for whatever is raised: it becomes part of the
    daemon's error message."""
    sys.excepthook = _tell


def _tell(kind: type[BaseException], error: BaseException, traceback: object) -> None:
    print(str(error) if kind is BatchError else f"{kind.__name__}: {error}", file=sys.stderr)


def _module(module: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _environment() -> dict[str, str]:
    # -m needs to find this very package, wherever the daemon was started from.
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def is_same(one: Worker, other: Worker) -> bool:
    """Return whether both are the same VM: by instance id if both have one, else by address, else by name.

    A name or address may be another VM's next; an instance id never is.
    """
    if one.instance_id and other.instance_id:
        return one.instance_id == other.instance_id
    if one.address and other.address:
        return one.address == other.address
    return bool(one.name) and one.name.lower() == other.name.lower()


def is_posing(one: Worker, worker: Worker) -> bool:
    """Return whether `one` can be `worker` by nothing but the instance id that it says: it has another name, and not
    the address that the cloud tells. Any worker may say any id."""
    if not (one.name and worker.name and one.address and worker.address):
        return False
    return one.name.lower() != worker.name.lower() and one.address != worker.address


def label(worker: Worker) -> str:
    """Return what to call `worker` in a message."""
    return printable(f"worker {worker.name or worker.instance_id or worker.address or 'without a name'}")


def explained(standing: Standing, text: str = "", group: Demand | None = None) -> Explanation:
    """Return what a job is; `text`, which may be anybody's, is made one line of a length that may be."""
    return Explanation(standing, one_line(text, EXPLANATION_LIMIT), group)


_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,254}")
"""Of a host or node, also one that is an IPv6 address. It never begins like a command's option."""

_WORD = re.compile(r"[!-~]{1,255}")

_END_SLACK_SECONDS = 2.0
"""Ends of jobs are told in whole seconds, by another machine's clock."""

_BEGIN_SLACK_SECONDS = 10.0
"""Grid Engine's master tells when it sent a job off, and its accounting file when the host began it."""

_INSTANCE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


def stays(running: Sequence[Usage], ended: Sequence[Usage], asked_at: float) -> tuple[Usage, ...]:
    """Return what was told of jobs that run, asked for at `asked_at`, and, after it, of those that have ended: of a job
    that ended in between its end alone. Tasks of an array begin together: one that ended before is another job."""
    over: dict[tuple[str, str, int], list[float]] = {}
    for one in ended:
        if one.end_at is not None and one.end_at >= asked_at - _END_SLACK_SECONDS:
            over.setdefault((one.user, one.worker, one.cpus), []).append(one.begin_at)
    found = list(ended)
    for one in running:
        begun = over.get((one.user, one.worker, one.cpus), [])
        nearest = min(begun, key=lambda begin_at: abs(begin_at - one.begin_at), default=None)
        if nearest is not None and abs(nearest - one.begin_at) <= _BEGIN_SLACK_SECONDS:
            begun.remove(nearest)
        else:
            found.append(one)
    return tuple(found)


def local_time(text: str) -> float | None:
    """Return when a time such as 2026-11-22T22:52:21 was, in this machine's time zone; None if it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def is_name(text: object) -> bool:
    """Return whether `text` may be the name of a host or node: harmless as a word of a command, and in a message."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def name(text: str, who: str) -> str:
    """Return `text`, the name of a host or node, without space around it. Raise BatchError if it cannot be one."""
    word = text.strip()
    if not is_name(word):
        raise BatchError(f"{who} answered what is no name of a machine: {excerpt(text)}")
    return word


def instance_id(text: object) -> str | None:
    """Return the instance id that `text` may be (of any cloud: i-0abc..., a UUID), or None."""
    return text if isinstance(text, str) and _INSTANCE_ID.fullmatch(text) else None


def claimed_twice(instance_ids: Iterable[str | None]) -> frozenset[str]:
    """Return the instance ids that more than one worker advertises. They came with an image, say, and must not be
    believed of any of them: their addresses have to tell."""
    claims = Counter(found for found in instance_ids if found)
    return frozenset(found for found, workers in claims.items() if workers > 1)


def ipv4(text: object) -> str | None:
    """Return the IPv4 address that `text` is, or None if it is none."""
    try:
        return str(ipaddress.IPv4Address(text)) if isinstance(text, str) else None
    except ValueError:
        return None


def addresses(answer: str, asked: Sequence[str]) -> dict[str, str]:
    """Given the output of `getent ahostsv4` for the names `asked`, each once, return the addresses by name, in small
    letters; what was not found is left out, and so is what has several: nobody knows by which one the cloud knows it.

    getent calls a host by its full name, whatever it was asked for, on the first of its lines alone, and says nothing
    of what it did not find. If all were found their order tells which is which, otherwise only a name that is the full
    one, or its first part.
    """
    found: list[tuple[str, set[str]]] = []
    for parts in map(str.split, lines(answer)):
        address = ipv4(parts[0]) if len(parts) in (2, 3) else None
        if address and len(parts) == 3:
            found.append((parts[2].lower(), {address}))
        elif address and found:
            found[-1][1].add(address)
    names = [name.lower() for name in asked]
    by_name: dict[str, set[str]] = {}
    if len(found) == len(names):
        by_name = {name: known for name, (_, known) in zip(names, found)}
    else:
        for full_name, known in found:
            name = full_name if full_name in names else full_name.partition(".")[0]
            by_name.setdefault(name, set()).update(known)
    return {name: next(iter(known)) for name, known in by_name.items() if len(known) == 1 and name in names}


def lines(answer: str) -> list[str]:
    """Return the lines of what a command printed. They end with a line feed and with nothing else: `str.splitlines`
    would break them at other characters, too, which names and reasons may have in them."""
    return answer.removesuffix("\n").split("\n") if answer else []


def words(value: object, who: str) -> tuple[str, ...]:
    """Given a value of a JSON document, return the words that it lists, each once and in order: names of features,
    queues or tags, which may be put into one text with spaces between them. Raise BatchError if it is no such list."""
    if not isinstance(value, list) or not all(isinstance(word, str) and _WORD.fullmatch(word) for word in value):
        raise BatchError(f"{who} answered what is no list of words: {excerpt(repr(value))}")
    return tuple(sorted(set(value)))


LARGEST = 10**12
"""No machine has more of anything, no time or count of jobs comes near it; some systems turn what does not fit an
integer into their smallest or largest one."""

_SIZE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([A-Za-z]?)(?:i?B)?")


def json_document(text: str, who: str) -> Any:
    """Return what `text` says as JSON. Raise BatchError if it is none.

    Control characters in its texts, which JSON would have escaped, are taken as they are.
    """
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise BatchError(f"{who} answered what is no JSON: {excerpt(text)}") from error


_DECODER = json.JSONDecoder(strict=False)

DEEPEST = 8
"""So many lists and objects in each other are read of an item that is too deep as a whole."""

_BRACKET = re.compile(r'[\[\]{}]|"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
"""A bracket, or a text, in which brackets are none."""

_JSON_SPACE = re.compile(r"[ \t\n\r]*")


def json_items(text: str, who: str) -> Iterator[Any]:
    """Go over the items of the JSON list `text`: all of a large one at once take several times the memory of the text.
    Raise BatchError where it turns out to be no JSON, or if it is no list.

    Control characters are taken as by `json_document`. An item of lists in lists too deep to be read, as only who wants
    to do harm would make, is read without what is deeper than `DEEPEST`: the others have done nothing.
    """
    at = _after_space(text, 0)
    if text[at : at + 1] != "[":
        json_document(text, who)
        raise BatchError(f"{who} answered what is no list: {excerpt(text)}")
    at = _after_space(text, at + 1)
    try:
        more = text[at] != "]"
        while more:
            item, at = _item(text, at)
            yield item
            at = _after_space(text, at)
            more = text[at] == ","
            at = _after_space(text, at + 1) if more else at
    except (ValueError, IndexError, RecursionError) as error:
        raise BatchError(f"{who} answered what is no JSON: {excerpt(text)}") from error
    if text[at] != "]" or _after_space(text, at + 1) != len(text):
        raise BatchError(f"{who} answered what is no JSON: {excerpt(text)}")


def _item(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError:
        shallow, end = _shallow(text, at)
        return _DECODER.decode(shallow), end


def _shallow(text: str, at: int) -> tuple[str, int]:
    """Return the list or object at `at` with null in place of all that is too deep in it, and where it ends. Raise
    ValueError if it has no end."""
    parts, depth, kept_from = [], 0, at
    for token in _BRACKET.finditer(text, at):
        if token[0] in "[{":
            if depth == DEEPEST:
                parts += [text[kept_from : token.start()], "null"]
            depth += 1
        elif token[0] in "]}":
            depth -= 1
            if depth == DEEPEST:
                kept_from = token.end()
            elif depth == 0:
                return "".join((*parts, text[kept_from : token.end()])), token.end()
    raise ValueError("brackets without an end")


def _after_space(text: str, at: int) -> int:
    found = _JSON_SPACE.match(text, at)
    return at if found is None else found.end()


def xml_document(text: str, who: str) -> ElementTree.Element:
    """Return the root of the XML document `text`. Raise BatchError if it is none, or has a document type: no batch
    system sends one, and its entities could make a small answer a huge one.

    Characters that XML cannot have, such as those that steer a terminal, are read as question marks.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BatchError(f"{who} answered with a document type, which is not read: {excerpt(text)}")
    text = _REFERENCE.sub(_readable, _NO_XML.sub("?", text))
    try:
        return ElementTree.fromstring(text)  # noqa: S314  # nosec B314
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise BatchError(f"{who} answered what is no XML: {excerpt(text)}") from error


_NO_XML = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

_REFERENCE = re.compile(r"&#(?:x([0-9A-Fa-f]{1,8})|([0-9]{1,10}));")


def _readable(reference: re.Match[str]) -> str:
    number = int(reference[1], 16) if reference[1] else int(reference[2])
    return "?" if number > sys.maxunicode or number == 0 or _NO_XML.match(chr(number)) else reference[0]


def count(text: str, who: str) -> int:
    """Return the number of something that `text` is. Raise BatchError if it is no decimal number from 0 to LARGEST."""
    word = text.strip()
    if not re.fullmatch(r"[0-9]{1,13}", word) or int(word) > LARGEST:
        raise BatchError(f"{who} answered what is no count: {excerpt(text)}")
    return int(word)


def amount(value: object) -> float | None:
    """Given a value of a JSON document, return the amount that it is, or None if it cannot be one.

    Neither NaN and infinity, which Python's JSON may carry, nor true and false are amounts.
    """
    if type(value) is not int and (isinstance(value, bool) or not isinstance(value, (int, float))):
        return None
    return value if 0 <= value < LARGEST else None  # a comparison with NaN is never true


def size_mb(text: str, who: str, *, unit: str = "M", small_is_decimal: bool = False) -> int:
    """Given a size such as `4000`, `3.9G`, `512K` or `2TiB`, return it in MB of 1024 * 1024 bytes, rounded up: of what
    a job asks nothing may get lost.

    `unit` (`B`, `K`, `M`, `G`, `T`, `P`) is meant by a number without one. With `small_is_decimal`, as in Grid Engine,
    `k` is 1000 bytes and `K` 1024; otherwise both are 1024. Raise BatchError if it is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    letter = (match[2] or unit) if match else ""
    power = "BKMGTP".find(letter.upper()) if letter else -1
    if not match or power < 0:
        raise BatchError(f"{who} answered what is no size: {excerpt(text)}")
    base = 1000 if small_is_decimal and letter.islower() else 1024
    whole, _, fraction = match[1].partition(".")
    # In integers: a float would round a size of exactly so many MB up to one more.
    scale: int = 10 ** len(fraction)
    unit_bytes: int = base**power
    size = -(-int(whole + fraction) * unit_bytes // (scale * 1024 * 1024))
    if size > LARGEST:
        raise BatchError(f"{who} answered what is no size: {excerpt(text)}")
    return size


def total(shapes: Iterable[Shape]) -> Shape:
    """Return the sum of `shapes`, in which what is not known of any of them is not known; no CPU and nothing else for
    none."""
    known = tuple(shapes)
    if len(known) == 1:
        return known[0]

    def whole(values: Sequence[int | None]) -> int | None:
        counts = [value for value in values if value is not None]
        return sum(counts) if len(counts) == len(values) else None

    return Shape(
        sum([shape.cpus for shape in known]),
        whole([shape.memory_mb for shape in known]),
        whole([shape.disk_mb for shape in known]),
        whole([shape.gpus for shape in known]),
    )


def largest(shapes: Sequence[Shape]) -> Shape:
    """Return the least shape that is as large as each of `shapes`, of jobs: what none of them asks for it does not."""

    def most(name: str) -> int | None:
        return max((value for shape in shapes if (value := getattr(shape, name)) is not None), default=None)

    return Shape(max(shape.cpus for shape in shapes), most("memory_mb"), most("disk_mb"), most("gpus"))
