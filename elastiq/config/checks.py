"""What single values do not show: whether they go together, whether one is missing, and who may read the file."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from collections.abc import Sequence

from elastiq.config import notify, offers
from elastiq.config.addresses import PLAIN_HTTP, UNVERIFIED, is_here
from elastiq.config.convert import MAX_USER_DATA_AWS, duration_text
from elastiq.config.options import Section, ValueKind
from elastiq.config.reading import Reading
from elastiq.config.vms import JOIN_TOKEN
from elastiq.redaction import SHORTEST_KEY
from elastiq.text import shown

IMAGE, URL, REGION = "[ec2] image_id", "[ec2] api_url", "[ec2] region"
KEY, SECRET_KEY = "[ec2] aws_access_key_id", "[ec2] aws_secret_access_key"
VERIFY, CA_BUNDLE = "[ec2] verify", "[ec2] ca_bundle"
TOKEN_COMMAND = "user_data_token_command"  # noqa: S105 - a name
USUAL_JOIN_TOKEN = 350
"""Characters; those of HTCondor have that, with three rights (measured)."""
_READABLE_SECRETS = (ValueKind.SECRET, ValueKind.BASE64, ValueKind.WEBHOOK)
"""Kinds of secrets that the file itself holds."""

LEAST, MOST = "[quota] min_vms", "[quota] max_vms"


def check(reading: Reading, pools: Sequence[Section] = ()) -> None:
    """Tell `reading` all that is wrong or odd about the file as a whole; `pools` are its sections [pool NAME]."""
    _check_required(reading, pools)
    _check_quota(reading)
    _check_cloud(reading)
    for section in ("ec2", *(pool.name for pool in pools)):
        _check_names(reading, section)
        offers.check(reading, section)
        _check_user_data(reading, section)
    _check_join_tokens(reading, [pool.name for pool in pools] or ["ec2"])
    _check_times(reading)
    _check_substitutes(reading)
    notify.check(reading)
    _check_placeholders(reading)
    _check_secret(reading)
    _check_access(reading)


def _check_required(reading: Reading, pools: Sequence[Section]) -> None:
    image = "the id of the image that the VMs boot, such as ami-1a2b3c4d"
    names = [pool.name for pool in pools]
    for title, option in reading.options.items():
        is_for_pools = option.section in names or (names and title == IMAGE)
        if option.required and not is_for_pools and not reading.given(title):
            reading.fault(title, f"is missing; give {image if title == IMAGE else option.kind.value}")


def _check_quota(reading: Reading) -> None:
    least, most = reading.value(LEAST), reading.value(MOST)
    if isinstance(least, int) and isinstance(most, int) and least > most:
        default = "" if reading.given(MOST) else ", which is its default"
        reading.fault(LEAST, f"{least} is more than max_vms {most}{default}")


def _check_cloud(reading: Reading) -> None:
    for one, other in ((KEY, SECRET_KEY), (SECRET_KEY, KEY)):
        if reading.given(one) and not reading.given(other):
            name = reading.options[other].name
            reading.fault(one, f"given without {name}; give both, or neither to let boto3 find them")
    if not reading.given(URL) and not reading.given(REGION) and not _boto3_has_region():
        reading.warn(
            REGION, "given neither here nor to boto3 (AWS_DEFAULT_REGION, ~/.aws/config), nor is there an api_url"
        )
    if reading.value(VERIFY) is False:
        reading.warn(VERIFY, UNVERIFIED)
    if str(reading.value(URL)).startswith("http:") and not is_here(str(reading.value(URL))):
        reading.warn(URL, PLAIN_HTTP)
    if reading.value(VERIFY) is not False and reading.value(CA_BUNDLE) and str(reading.value(URL)).startswith("http:"):
        reading.warn(CA_BUNDLE, "is of no use with an api_url that begins with http://")


def _check_names(reading: Reading, section: str) -> None:
    """A cloud says of such names only that it does not know them, and not before the first launch."""
    title, groups = f"[{section}] flavour", f"[{section}] security_groups"
    flavour = reading.value(title)
    if isinstance(flavour, str) and "," in flavour:
        text = "has a comma in it; give several types in instance_types"
        reading.fault(title, f"'{shown(flavour)}' {text}")
    for group in reading.values.get(groups) or ():  # type: ignore[union-attr]
        if isinstance(group, str) and group.startswith("sg-") and " " in group:
            reading.fault(groups, f"'{shown(group)}' has a space in it; put a comma between two ids")


def _boto3_has_region() -> bool:
    """Return whether boto3 may find a region by itself; botocore reads no other variable (AWS_REGION) for it."""
    file = os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    return bool(os.environ.get("AWS_DEFAULT_REGION")) or os.path.exists(os.path.expanduser(file))  # noqa: PTH110, PTH111


def _check_user_data(reading: Reading, section: str) -> None:
    encoded, file = f"[{section}] user_data_b64", f"[{section}] user_data_file"
    if reading.given(encoded) and reading.given(file):
        first = reading.line(encoded)
        reading.fault(file, f"given besides user_data_b64 in line {first}; give only one of them")
    for title in (encoded, file):
        content = reading.values.get(title)
        if not isinstance(content, bytes):
            continue
        length = len(content.replace(JOIN_TOKEN, b"." * USUAL_JOIN_TOKEN))
        if length > MAX_USER_DATA_AWS:
            size = f"{length} bytes long{' with a join token of the usual length' if JOIN_TOKEN in content else ''}"
            reading.warn(title, f"is {size}; AWS takes no more than {MAX_USER_DATA_AWS}")


def _check_join_tokens(reading: Reading, sections: Sequence[str]) -> None:
    """VMs that are to join by a token need one, and a command that makes tokens is of no use without a place for them.
    A pool has what [ec2] says, but for what its own section says."""
    in_vain: set[str] = set()
    of_use: dict[str, bool] = {}
    for section in sections:
        command = _where(reading, section, TOKEN_COMMAND)
        title = _where(reading, section, "user_data_b64", "user_data_file")
        content = reading.value(title) if title else b""
        has_place = isinstance(content, bytes) and JOIN_TOKEN in content
        if has_place and not command:
            in_vain.add(title)
        if command and content is not None:
            of_use[command] = of_use.get(command, False) or has_place
    for title in sorted(in_vain):
        reading.fault(title, f"has {JOIN_TOKEN.decode()} in it, and no {TOKEN_COMMAND} makes such tokens; give one")
    for title in (title for title, is_used in of_use.items() if not is_used):
        reading.warn(title, f"is never run: the user data has no {JOIN_TOKEN.decode()} in it")


def _where(reading: Reading, section: str, *names: str) -> str:
    """Return the title of the first of these options that a pool has: by its own section, or by [ec2]. "" if none."""
    titles = (f"[{place}] {name}" for place in (section, "ec2") for name in names)
    return next((title for title in titles if reading.given(title)), "")


def _check_times(reading: Reading) -> None:
    for name, other, what in (
        ("check_queue_every_s", "sleep_s", "the queue is looked at every sleep_s at best"),
        ("check_vms_every_s", "sleep_s", "VMs are looked at every sleep_s at best"),
        ("idle_for_time_s", "check_queue_every_s", "a VM may go before anybody sees that jobs wait for it"),
        ("estimated_vm_deploy_time_s", "check_vms_every_s", "a VM may go before anybody sees that it has joined"),
    ):
        small, large = reading.value(f"[elastiq] {name}"), reading.value(f"[elastiq] {other}")
        # Zero is the usual way to say "as often, or as soon, as possible".
        if isinstance(small, float) and isinstance(large, float) and 0 < small < large:
            text = f"{duration_text(small)} is shorter than {other} ({duration_text(large)}): {what}"
            reading.warn(f"[elastiq] {name}", text)


def _check_substitutes(reading: Reading) -> None:
    for title, parse in (("[substitute] ipv4", ipaddress.IPv4Address), ("[substitute] ipv6", ipaddress.IPv6Address)):
        value = reading.value(title)
        if not value:
            continue
        try:
            parse(value)
        except ValueError:
            reading.warn(title, "is not an address of that kind; it is put in as it stands")


def _check_placeholders(reading: Reading) -> None:
    for title, value in reading.values.items():
        option = reading.options[title]
        if option.placeholder and value == option.placeholder:
            shown = "" if option.secret else f" {value}"
            reading.warn(title, f"still has the value{shown} of the sample file, which only holds the place of yours")


def _check_secret(reading: Reading) -> None:
    for title, value in reading.values.items():
        if reading.options[title].secret and isinstance(value, str) and 0 < len(value) < SHORTEST_KEY:
            text = f"is shorter than {SHORTEST_KEY} characters, so that it is not hidden where it shows up in a message"
            reading.warn(title, text)
    secret = reading.values.get(SECRET_KEY)
    if isinstance(secret, str) and (re.search(r"\s", secret) or secret[0] in "'\""):
        reading.warn(
            SECRET_KEY,
            "has a space or quotes, which are taken for a part of it; only ; after a space begins a comment",
        )


def _check_access(reading: Reading) -> None:
    """Warn of a file that too many people may read or write.

    Its group may read it: packages install it as root:elastiq 0640.
    """
    options = [reading.options[title] for title in reading.values]
    secrets = [option.name for option in options if option.kind in _READABLE_SECRETS]
    if reading.mode & stat.S_IWOTH:
        reading.warn_of_file("anybody on this machine can write to this file; do chmod o= on it")
    elif reading.mode & stat.S_IROTH and secrets:
        reading.warn_of_file(
            f"anybody on this machine can read this file, and it holds {' and '.join(secrets)}; do chmod o= on it"
        )
