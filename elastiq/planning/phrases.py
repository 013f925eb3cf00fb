"""Parts of sentences that several files make."""

from __future__ import annotations

from elastiq.model import Shape


def describe(shape: Shape) -> str:
    """Return what a job asks for, or a VM holds, in words."""
    parts = [f"{shape.cpus} CPU{'s' if shape.cpus != 1 else ''}"]
    parts += [f"{shape.memory_mb} MB memory"] if shape.memory_mb else []
    parts += [f"{shape.disk_mb} MB disk"] if shape.disk_mb else []
    parts += [f"{shape.gpus} GPU{'s' if shape.gpus != 1 else ''}"] if shape.gpus else []
    return ", ".join(parts)
