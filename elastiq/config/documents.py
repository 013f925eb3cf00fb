"""What is written from the declared options: elastiq.conf.example, the manual page elastiq.conf(5), and the reference
docs/configuration.md.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from elastiq.config.convert import duration_text
from elastiq.config.options import Option, Section, ValueKind

_EXAMPLE_HEADER = """\
# Configuration of elastiq. What every option means is said in full in elastiq.conf(5).
#
# Only image_id must be filled in. Options that are commented out show their default or an example. Times are in
# seconds, or with a unit: 90s, 10m, 2h, 1d. A comment begins with # or ; at the beginning of a line or after a space.
#
# The secret key and the user data are nobody else's business:
#   chown root:elastiq /etc/elastiq.conf; chmod 0640 /etc/elastiq.conf
# To see whether all is well, without contacting anything:
#   elastiq-real.py --config=/etc/elastiq.conf --check
"""


def example(sections: Sequence[Section]) -> str:
    """Return the text of elastiq.conf.example: good as soon as it has an image_id."""
    parts = [_EXAMPLE_HEADER]
    for section in sections:
        parts.append(f"\n{_comment(section.help)}{'#' if section.is_one_of_many else ''}[{section.name}]\n")
        for option in section.options:
            default = "" if option.required else f" Default: {default_text(option)}."
            value = option.sample or option.example or _plain_default(option)
            shown = f"{option.name} = {value}".rstrip()
            parts.append(
                f"\n{_comment(option.help + default)}{'' if option.sample or option.required else '#'}{shown}\n"
            )
    return "".join(parts)


def _comment(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"


def _plain_default(option: Option) -> str:
    """Return the default as it would stand in the file; empty if no value stands for it."""
    default = option.default
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, (int, float)):
        return f"{default:g}"
    return default if isinstance(default, str) else ""


def default_text(option: Option) -> str:
    """Return the default in words."""
    return option.default_text or _plain_default(option) or "none"


_MANUAL_HEAD = r""".TH ELASTIQ.CONF 5 "" elastiq "File formats"
.SH NAME
elastiq.conf \- configuration of elastiq, which scales a virtual batch cluster
.SH SYNOPSIS
.I /etc/elastiq.conf
(root, service),
.I ~/.elastiq/elastiq.conf
(other users)
.SH DESCRIPTION
The file is in UTF\-8 and made of sections,
.BR [section] ,
with options in them,
.BR "name = value" .
A value may go on in lines that begin with a space, where the option says so.
A line that begins with # or ; is a comment, and so is what follows a # or ; after a space; in
.BR aws_secret_access_key ,
which may have a # in it, only a ; after a space begins a comment.
Nothing else in a value has a special meaning.
.PP
Times are in seconds, or have a unit:
.BR 90s ", " 10m ", " 2h ", " 1d .
Unknown sections and options, values that make no sense and values that do not go together are errors; all of them are
listed at once, with their lines, by
.PP
.RS
.B elastiq\-real.py \-\-config=/etc/elastiq.conf \-\-check
.RE
.PP
which contacts nothing, ends with 0 if the file is good and with 2 if it is not.
A running daemon reads the file again on SIGHUP; a file with errors is refused, and the old one stays in force.
.PP
Files of elastiq 0.9 and 1.0 can be used as they are, but for a
.B max_vms
below 1, which is now written
.BR unlimited .
Options that those did not have are marked
.IR new .
"""

_MANUAL_TAIL = r""".SH SECURITY
The file should be readable by root and the user elastiq alone (root:elastiq, mode 0640): it holds the secret key and
the user data.
A file that holds them and can be read by anybody is used, with a warning.
.SH SEE ALSO
.BR elastiqctl (8),
.BR elastiq\-real (8)
"""


def manual_page(sections: Sequence[Section]) -> str:
    """Return elastiq.conf(5), in the man macros of roff."""
    parts = [_MANUAL_HEAD]
    for section in sections:
        parts.append(f".SH [{section.name}]\n{_roff(section.help)}\n")
        for option in section.options:
            new = ", new" if option.new else ""
            default = "Must be given." if option.required else f"Default: {default_text(option)}."
            parts.append(
                f'.TP\n.BR {_roff(option.name)} " ({_roff(_range_text(option) + new)})"\n'
                f"{_roff(option.help)}\n{_roff(default)}\n"
            )
    parts.append(_MANUAL_TAIL)
    return "".join(parts)


_REFERENCE_HEAD = """\
# Configuration

The file is `/etc/elastiq.conf` for root and the service, `~/.elastiq/elastiq.conf` for anybody else; copy
[elastiq.conf.example](../elastiq.conf.example) and fill in what is yours. How it is written (sections, comments, long
values, units of time such as `90s`, `10m`, `2h`, `1d`) is said in `man elastiq.conf`. To see everything that is wrong
with it, with line numbers, and contact nothing:

<!-- run: sandbox -->

    elastiq-real.py --config=/etc/elastiq.conf --check

A running daemon reads it again on SIGHUP, and keeps the old one if the new one has errors. Options that elastiq 0.9 and
1.0 did not have are marked *new*; files of those can be used as they are, but for a `max_vms` below 1, now written
`unlimited`.

This page is written from the declarations of the options (`elastiq/config/sections.py`, and
`elastiq/plugins/sections.py` for the batch plugins), like the example and the manual page.
"""


def reference(sections: Sequence[Section]) -> str:
    """Return docs/configuration.md."""
    parts = [_REFERENCE_HEAD]
    for section in sections:
        parts.append(
            f"\n## [{section.name}]\n\n{section.help}\n\n| option | value | default | meaning |\n|---|---|---|---|\n"
        )
        for option in section.options:
            value = _range_text(option) + (", *new*" if option.new else "")
            default = "must be given" if option.required else default_text(option)
            parts.append(f"| `{option.name}` | {value} | {default} | {option.help.replace('*', chr(92) + '*')} |\n")
    return "".join(parts)


def _range_text(option: Option) -> str:
    """Return what kind of value the option takes, and from what range."""
    if option.choices:
        return " or ".join(option.choices)
    if option.kind is ValueKind.DURATION:
        return f"{option.kind.value}, {duration_text(option.minimum)} to {duration_text(option.maximum)}"
    if option.kind in (ValueKind.COUNT, ValueKind.LIMIT):
        return f"{option.kind.value}, {option.minimum:.0f} to {option.maximum:.0f}"
    return str(option.kind.value)


def _roff(text: str) -> str:
    """Return `text` with what roff would take for its own made harmless; one sentence a line, as roff likes it."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti")
    sentences = re.sub(r"(?<=[a-z0-9)][.]) (?=[A-Z%])", "\n", escaped)
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in sentences.split("\n"))
