"""Declarations: one field is an option everywhere; what is not said is worked out, and what cannot be is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from elastiq import config
from elastiq.cli import main
from elastiq.config import SECTIONS, Section, Settings, ValueKind, documents, option
from elastiq.config.sections import QuotaOptions
from elastiq.plugins.sections import SECTIONS as PLUGINS
from tests.unit.config.rig import IMAGE, OPTIONS, loaded, written


@dataclass(frozen=True)
class QuotaAndBurst(QuotaOptions):
    """How many VMs there may be."""

    burst_time_s: float = option(60.0, "For how long there may be more.", minimum=1, maximum=3600, new=True)


@pytest.fixture
def sections(monkeypatch: pytest.MonkeyPatch) -> tuple[Section, ...]:
    """The sections, one with an option more."""
    more = tuple(Section("quota", QuotaAndBurst) if section.name == "quota" else section for section in SECTIONS)
    monkeypatch.setattr(config, "SECTIONS", more)
    return (*more, *PLUGINS)


def test_one_more_field_is_one_more_option_everywhere(
    sections: tuple[Section, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = loaded(tmp_path, f"[quota]\nburst_time_s = 10m\n{IMAGE}")
    assert made.quota == QuotaAndBurst(burst_time_s=600)
    assert loaded(tmp_path, IMAGE).quota == QuotaAndBurst(burst_time_s=60)

    assert "\n# For how long there may be more. Default: 60.\n#burst_time_s = 60\n" in documents.example(sections)
    assert '\n.BR burst_time_s " (a time, 1s to 1h, new)"\nFor how long' in documents.manual_page(sections)
    row = "| `burst_time_s` | a time, 1s to 1h, *new* | 60 | For how long there may be more. |"
    assert row in documents.reference(sections).splitlines()

    for value, told in {
        "burst_time_s = 2h": "burst_time_s: '2h' is out of range; give 1s to 1h, in seconds or like 90s, 10m, 2h, 1d",
        "burst_times = 1m": "burst_times: unknown option, did you mean burst_time_s?",
        "burst_time_s = 1m\nburst_time_s = 2m": "burst_time_s: given twice, first in line 2",
        "burst_time_s = soon": "burst_time_s: 'soon' is not a time; give 1s to 1h, in seconds or like 90s, 10m, 2h, 1d",
    }.items():
        path = written(tmp_path, f"[quota]\n{value}\n{IMAGE}")
        assert main([f"--config={path}", "--check"]) == 2
        line = value.count("\n") + 2
        assert capsys.readouterr().err == f"{path}:{line}: [quota] {told}\n"


def test_every_option_is_declared_once_and_as_it_must_be() -> None:
    assert len({option.title for option in OPTIONS}) == len(OPTIONS)
    assert all(option.help.endswith(".") for option in OPTIONS)
    assert all(section.help.endswith(".") for section in (*SECTIONS, *PLUGINS))


def declared(default: Any, name: str = "what", **facts: Any) -> config.options.Option:
    """Return an option as its section has it."""
    made = type("Options", (), {"__annotations__": {name: "object"}, name: option(default, "For the test.", **facts)})
    (found,) = Section("toy", dataclass(frozen=True)(made)).options
    return found


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (declared(True), ValueKind.SWITCH),
        (declared(3, maximum=9), ValueKind.COUNT),
        (declared("word"), ValueKind.WORD),
        (declared(()), ValueKind.LIST),
        (declared(3, "what_s", maximum=9), ValueKind.DURATION),
        (declared(None, "what_s", maximum=9), ValueKind.DURATION),
        (declared(None, kind=ValueKind.DIRECTORY), ValueKind.DIRECTORY),
    ],
)
def test_kind_is_told_by_name_and_default(found: config.options.Option, kind: ValueKind) -> None:
    assert (found.kind, found.section, found.help) == (kind, "toy", "For the test.")


@pytest.mark.parametrize(
    ("default", "facts", "told"),
    [
        (None, {}, "Options.what must say its kind, which its default None does not tell"),
        (0.5, {}, "Options.what must say its kind, which its default 0.5 does not tell"),
        (3, {}, "Options.what must say the maximum of its value"),
        (3, {"minimum": 5, "maximum": 4}, "Options.what must say the maximum of its value"),
    ],
)
def test_a_declaration_that_lacks_something_is_refused(default: object, facts: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        declared(default, **facts)


def test_a_field_that_is_no_option_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        what: int = field(default=3)

    with pytest.raises(TypeError, match=r"Odd\.what is not declared by elastiq.config\.option"):
        _ = Section("toy", Odd).options


@pytest.mark.parametrize(
    ("default", "empty"), [(None, True), ("", True), (b"", True), ((), True), (0, False), (False, False), ("a", False)]
)
def test_an_option_can_be_empty_if_its_default_is(default: object, empty: bool) -> None:
    assert declared(default, kind=ValueKind.TEXT).can_be_empty is empty
    assert declared(default, kind=ValueKind.TEXT, required=True).can_be_empty


@dataclass(frozen=True)
class Toy:
    """A section with a secret, and one kind that is always one."""

    name: str = option("", "Who.")
    token: str = option("", "What nobody may know.", secret=True)
    phrase: str = option("", "Neither this.", kind=ValueKind.SECRET)


def test_secrets_are_named_and_shown_nowhere() -> None:
    made = Settings(plugins=(Toy("me", "t0ken", "phra5e"),))
    assert made.secrets() == ("t0ken", "phra5e")
    assert "me" in repr(made) and "t0ken" not in repr(made) and "phra5e" not in repr(made)
    assert made.of(Toy).token == "t0ken"
    assert Settings().of(Toy) == Toy()
