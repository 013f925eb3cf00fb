"""Whatever code of others raises comes out as one error, in words."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from elastiq.errors import BatchError, PluginError
from elastiq.plugins.foreign import error_text, run_foreign


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def raising(error: BaseException) -> Any:
    def action() -> None:
        raise error

    return action


def test_an_answer_is_handed_on() -> None:
    assert run_foreign(lambda: 7, BatchError, PluginError) == 7


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyError("odd"), "KeyError"),
        (RecursionError("too deep"), "RecursionError 'too deep'"),
        (MemoryError(), "MemoryError"),
        (SystemExit(3), "SystemExit '3'"),
        (UnspeakableError(), "UnspeakableError"),
        (ValueError("two\nlines " + "x" * 10_000), "ValueError 'two"),
    ],
)
def test_of_all_that_may_be_raised_one_error_is_made(error: BaseException, text: str) -> None:
    with pytest.raises(PluginError) as caught:
        run_foreign(raising(error), BatchError, PluginError)
    said = str(caught.value)
    assert said.startswith(text)
    assert "test_foreign.py, line" in said
    assert len(said) < 500
    assert "\n" not in said


def test_what_is_allowed_stays_as_it_is() -> None:
    with pytest.raises(BatchError, match="the scheduler does not answer") as caught:
        run_foreign(raising(BatchError("the scheduler does not answer")), BatchError, PluginError)
    assert type(caught.value) is BatchError


def test_a_file_that_is_no_python_is_named() -> None:
    try:
        compile("def", "their.py", "exec")
    except SyntaxError as error:
        assert "their.py, line 1" in error_text(error)
    assert sys.exc_info() == (None, None, None)
