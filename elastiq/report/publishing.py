"""Files that others read: the metrics and the page."""

from __future__ import annotations

import os
from pathlib import Path

FILE_MODE = 0o644
"""Who reads them is another user, such as that of node_exporter or of a web server, and nothing in them is secret."""


def publish(path: Path, content: bytes) -> None:
    """Replace the file at `path`, so that nobody reads half of it. Raise OSError."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    with temporary.open("xb") as file:
        os.fchmod(file.fileno(), FILE_MODE)
        file.write(content)
    temporary.replace(path)
