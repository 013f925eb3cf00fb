"""Runs what other people wrote, and makes one error of whatever it raises."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from elastiq.errors import ElastiqError
from elastiq.text import excerpt

Answer = TypeVar("Answer")


def run_foreign(
    action: Callable[[], Answer], allowed: type[ElastiqError], refusal: Callable[[str], ElastiqError]
) -> Answer:
    """Return what `action`, which is code of others, returns. Raise what it raises if that is `allowed`; of anything
    else, its end of the program included, raise what `refusal` makes of its kind, text and place."""
    try:
        return action()
    except allowed:
        raise
    except (Exception, SystemExit) as error:
        raise refusal(error_text(error)) from error


def error_text(error: BaseException) -> str:
    """Return kind, text and place of an error that foreign code raised, in one line."""
    said = traceback.format_exception_only(type(error), error)[-1]  # survives an error that cannot be printed
    kind, _, text = said.strip().partition(": ")
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}, line {error.lineno})"
    else:
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{kind.rpartition('.')[2]}{f' {excerpt(text)}' if text else ''}{place}"
