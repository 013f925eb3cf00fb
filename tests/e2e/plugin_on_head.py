"""Runs on the head node: calls the real batch plugin as told by lines of JSON, and answers with lines of JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from elastiq.config import Settings
from elastiq.errors import BatchError
from elastiq.model import Explanation, Shape, Worker
from elastiq.plugins.loading import load
from elastiq.plugins.sections import SECTIONS


def main() -> None:
    plugin, options = sys.argv[1:]
    section = next(section for section in SECTIONS if section.name == plugin)
    batch = load(plugin, Settings(plugins=(section.declared(**json.loads(options)),)))
    for line in sys.stdin:
        method, asked = json.loads(line)
        arguments = asked if isinstance(asked, list) else [_worker(asked)] if asked else []
        try:
            answer = getattr(batch, method)(*arguments)
        except BatchError as error:
            print(json.dumps({"error": str(error)}), flush=True)
            continue
        if isinstance(answer, tuple):
            answer = [item if isinstance(item, str) else asdict(item) for item in answer]
        elif isinstance(answer, Explanation):
            answer = asdict(answer)
        print(json.dumps({"answer": answer}, default=lambda member: member.value), flush=True)


def _worker(fields: dict[str, object]) -> Worker:
    shapes = {name: Shape(**fields[name]) for name in ("capacity", "free")}  # type: ignore[arg-type]
    return Worker(**{**fields, **shapes})  # type: ignore[arg-type]


main()
