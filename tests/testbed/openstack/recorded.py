"""What a real OpenStack answered, as record.py has written it down."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import unescape

ANSWERS = Path(__file__).with_name("answers.json")


@dataclass(frozen=True)
class Answer:
    """An answer to an EC2 request."""

    status: int
    content_type: str
    body: str

    @property
    def refusal(self) -> tuple[str, str]:
        """Its code and message, if it is an error of EC2."""
        found = re.search(r"<Error><Code>(.*?)</Code><Message>(.*?)</Message></Error>", self.body, re.DOTALL)
        assert found, f"no error of EC2: {self.body}"
        return unescape(found[1]), unescape(found[2], {"&apos;": "'", "&quot;": '"'})


def answers() -> dict[str, Answer]:
    """Return all of them, by occasion."""
    recorded = json.loads(ANSWERS.read_text(encoding="utf-8"))
    return {occasion: Answer(**answer) for occasion, answer in recorded.items()}
