"""A configuration file for tests, and how to look at what was read."""

from __future__ import annotations

from pathlib import Path

from elastiq.config import DOCUMENTED, Settings
from elastiq.config.pools import POOL
from elastiq.config.schedules import SCHEDULE
from elastiq.plugins.loading import read_settings as load
from elastiq.plugins.sections import SECTIONS as PLUGINS

ALL = (*DOCUMENTED, *PLUGINS)


OPTIONS = [option for section in ALL for option in section.options]


IMAGE = "[ec2]\nimage_id = ami-1a2b3c4d\napi_url = https://cloud.example.org:8773/services/Cloud\n"


def written(directory: Path, text: str | bytes) -> Path:
    path = directory / "elastiq.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o640)
    return path


def loaded(directory: Path, text: str | bytes) -> Settings:
    return load(written(directory, text))


def value_of(made: Settings, name: str, section: str = "") -> object:
    """Return the value of an option, which is found by its name, and its section if several have it."""
    held = [
        next((pool.limits for pool in made.named_pools), None)
        if found is POOL
        else next(iter(made.schedules), None)
        if found is SCHEDULE
        else getattr(made, found.name, None) or made.of(found.declared)
        for found in ALL
        if section in ("", found.name)
    ]
    return next(getattr(options, name) for options in held if hasattr(options, name))


def warnings_of(directory: Path, text: str) -> list[str]:
    return [warning.replace(str(directory), "") for warning in loaded(directory, text).warnings]
