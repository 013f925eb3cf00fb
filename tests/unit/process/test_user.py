"""As whom root starts the daemon."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from elastiq.errors import ConfigError
from elastiq.process.user import become_service_user


class Root:
    """Root, as far as cli can tell; writes down what it does instead of doing it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, user: SimpleNamespace | None, readable: bool = True) -> None:
        self.done: list[tuple[Any, ...]] = []
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setattr(os, "access", lambda path, mode: readable)
        for name in ("initgroups", "setgid", "setuid", "execv", "chown"):
            monkeypatch.setattr(os, name, lambda *arguments, name=name: self.done.append((name, *arguments)))
        for name in ("HOME", "USER", "LOGNAME"):
            monkeypatch.setenv(name, "root")

        def getpwnam(name: str) -> SimpleNamespace:
            if user is None:
                raise KeyError(name)
            return user

        monkeypatch.setattr(pwd, "getpwnam", getpwnam)


USER = SimpleNamespace(pw_name="elastiq", pw_uid=990, pw_gid=980, pw_dir="/var/lib/elastiq")


def options(tmp_path: Path, state: Path) -> tuple[Path, Path, Path]:
    return tmp_path / "c", state, tmp_path / "a" / "log"


def test_root_goes_on_as_the_system_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(monkeypatch, USER)
    state = tmp_path / "state"
    state.mkdir()
    become_service_user(*options(tmp_path, state))
    log = tmp_path / "a" / "log"
    names = [step[0] for step in root.done]
    assert names == ["chown", "initgroups", "setgid", "setuid", "execv"], "groups go first, the program last"
    assert root.done[0] == ("chown", log, 990, 980), "what exists is left alone"
    assert root.done[1:4] == [("initgroups", "elastiq", 980), ("setgid", 980), ("setuid", 990)]
    assert root.done[4][2][2:] == ["start", f"--config={tmp_path / 'c'}", f"--state-dir={state}", f"--logdir={log}"]
    assert os.environ["HOME"] == "/var/lib/elastiq"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755
    assert log.stat().st_mode & 0o777 == 0o700


def test_a_file_that_the_system_user_can_not_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(monkeypatch, USER, readable=False)
    with pytest.raises(ConfigError, match="the user elastiq cannot read it; do chown root:elastiq"):
        become_service_user(*options(tmp_path, tmp_path))
    assert "execv" not in [step[0] for step in root.done]


@pytest.mark.parametrize("user", [None, SimpleNamespace(pw_uid=0)])
def test_root_stays_root_without_the_system_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: SimpleNamespace | None
) -> None:
    root = Root(monkeypatch, user)
    become_service_user(*options(tmp_path, tmp_path))
    assert root.done == []
