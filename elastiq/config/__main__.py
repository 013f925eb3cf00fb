"""Prints what is written from the declared options: `python -m elastiq.config example|man|reference`."""

from __future__ import annotations

import sys

from elastiq.config import DOCUMENTED, documents
from elastiq.plugins.sections import SECTIONS as PLUGINS

if __name__ == "__main__":
    writers = {"example": documents.example, "man": documents.manual_page, "reference": documents.reference}
    if len(sys.argv) != 2 or sys.argv[1] not in writers:
        sys.exit("usage: python -m elastiq.config example|man|reference")
    sys.stdout.write(writers[sys.argv[1]]((*DOCUMENTED, *PLUGINS)))
