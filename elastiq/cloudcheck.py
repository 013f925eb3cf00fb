"""What `--check --cloud` says: what the cloud would refuse, a line each as it is found out, or all of it as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from enum import Enum

from elastiq.config import Settings
from elastiq.ec2 import userdata
from elastiq.ec2.trial import Answer, Finding, Trial
from elastiq.questions import cleaned, redactor_of
from elastiq.text import printable

_WIDTH = max(len(answer.value) for answer in Answer)


class Result(Enum):
    """What came of all questions together."""

    GOOD = "good"
    """Nothing is refused; not all need have been checked."""
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    """The cloud did not answer, so nothing is known."""


def check(settings: Settings, *, as_json: bool) -> Result:
    """Ask the cloud, print what it answers, and return what that comes to. Launches, ends and writes nothing."""
    logging.getLogger("elastiq.ec2").addHandler(logging.NullHandler())
    redactor = redactor_of(settings)
    user_data, _ = userdata.rendered(settings)
    trial = Trial(settings, user_data, redactor)
    found = []
    for finding in trial.findings():
        found.append(finding)
        if not as_json:
            print(printable(redactor.clean(line(finding, settings))), flush=True)
    result = result_of(found, is_reachable=trial.is_reachable)
    if as_json:
        document = {"result": result.value, "answers": [entry(finding, settings) for finding in found]}
        print(json.dumps(cleaned(document, redactor.clean)))
    else:
        print(printable(f"{settings.path}: {summary(found, result)}"))
    return result


def result_of(found: list[Finding], *, is_reachable: bool) -> Result:
    """Return what the findings come to."""
    if not is_reachable:
        return Result.UNREACHABLE
    return Result.REFUSED if any(one.answer is Answer.REFUSED for one in found) else Result.GOOD


def summary(found: list[Finding], result: Result) -> str:
    """Return the last line."""
    if result is Result.UNREACHABLE:
        return "the cloud does not answer, so nothing can be checked"
    unknown = sum(one.answer is Answer.UNKNOWN for one in found)
    rest = f", and {unknown} cannot be checked" if unknown else ""
    refused = sum(one.answer is Answer.REFUSED for one in found)
    if refused:
        return f"the cloud would refuse {refused} of {len(found)}{rest}"
    return f"the cloud would refuse nothing of {len(found)}{rest}"


def line(finding: Finding, settings: Settings) -> str:
    """Return a finding as a line."""
    place = settings.place_of(finding.pool, finding.options) if finding.answer is Answer.REFUSED else ""
    parts = [finding.about, place, finding.text.removeprefix(f"{finding.about}: ")]
    return f"{finding.answer.value:<{_WIDTH}}  {': '.join(part for part in parts if part)}"


def entry(finding: Finding, settings: Settings) -> Mapping[str, str]:
    """Return a finding as JSON has it."""
    return {
        "answer": finding.answer.value,
        "about": finding.about,
        "pool": finding.pool,
        "place": settings.place_of(finding.pool, finding.options),
        "right": finding.right,
        "text": finding.text,
    }
