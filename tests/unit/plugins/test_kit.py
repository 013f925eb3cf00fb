"""What plugins share: sizes, names, addresses and deadlines, on what is good and on garbage."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.clock import Clock
from elastiq.errors import BatchError
from elastiq.model import Shape, Usage, Worker
from elastiq.plugins import kit
from elastiq.plugins.kit import Deadline, is_same, label


@pytest.mark.parametrize(
    ("written", "megabytes"),
    [
        ("4000", 4000),
        ("0", 0),
        ("4000M", 4000),
        (" 4G\n", 4096),
        ("3.9G", 3994),
        ("1T", 1024 * 1024),
        ("2TiB", 2 * 1024 * 1024),
        ("1024K", 1),
        ("1025K", 2),
        ("1k", 1),
        ("0.1G", 103),
        ("999999999999", 999999999999),
    ],
)
def test_size_mb(written: str, megabytes: int) -> None:
    assert kit.size_mb(written, "it") == megabytes


def test_size_mb_of_grid_engine() -> None:
    assert kit.size_mb("1048576", "it", unit="B", small_is_decimal=True) == 1
    assert kit.size_mb("1000000", "it", unit="B", small_is_decimal=True) == 1
    assert kit.size_mb("8g", "it", unit="B", small_is_decimal=True) == 7630
    assert kit.size_mb("8G", "it", unit="B", small_is_decimal=True) == 8192


@pytest.mark.parametrize(
    "garbage", ["", "-", "-1", "4 G", "4X", "G", "1e9", "nan", "1.", "²", "9999999999999", "9999P9"]
)
def test_no_size(garbage: str) -> None:
    with pytest.raises(BatchError, match="squeue answered what is no size"):
        kit.size_mb(garbage, "squeue")


def test_a_size_that_no_machine_has() -> None:
    with pytest.raises(BatchError):
        kit.size_mb("999999999999P", "squeue")


def test_count() -> None:
    assert kit.count(" 12\n", "it") == 12
    for garbage in ("", "-1", "1.5", "\u0661", "1e3", "many", str(10**12 + 1), "9" * 5000):
        with pytest.raises(BatchError, match="it answered what is no count"):
            kit.count(garbage, "it")


@pytest.mark.parametrize("value", [True, False, -1, float("nan"), float("inf"), 10**12, "1", None, [1], 10**400])
def test_no_amount(value: object) -> None:
    assert kit.amount(value) is None


def test_amount() -> None:
    assert (kit.amount(0), kit.amount(1.5), kit.amount(7)) == (0, 1.5, 7)


def test_json_document() -> None:
    assert kit.json_document('{"a": [1]}', "it") == {"a": [1]}
    for garbage in ("", "{", "[" * 100_000, "slurm_load_jobs error"):
        with pytest.raises(BatchError, match="it answered what is no JSON") as caught:
            kit.json_document(garbage, "it")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["[]", " [ ]\n", "[1]", '\n[{"a": [1, "]"]},\t2 , [] ]\n', '[{"name": "a\x01b"}]'])
def test_items_of_a_json_list_are_those_of_the_whole_document(text: str) -> None:
    assert list(kit.json_items(text, "it")) == kit.json_document(text, "it")


@pytest.mark.parametrize(
    "text", ["", "[", "[1", "[1,", "[1,]", "[,]", "[1 2]", "[1] 2", "[1]]", "[" * 100_000, "Error: no collector"]
)
def test_half_a_json_list_is_none(text: str) -> None:
    with pytest.raises(BatchError, match="it answered what is no JSON"):
        list(kit.json_items(text, "it"))


@pytest.mark.parametrize("text", ["{}", "1", '"[1]"'])
def test_what_is_no_json_list(text: str) -> None:
    with pytest.raises(BatchError, match="it answered what is no list"):
        list(kit.json_items(text, "it"))


def test_xml_document() -> None:
    assert kit.xml_document("<?xml version='1.0'?>\n<a><b>1</b></a>", "it").findtext("b") == "1"
    for garbage in ("", "<a>", "error: commlib error", "<a>\0</a>"):
        with pytest.raises(BatchError, match="it answered what is no XML"):
            kit.xml_document(garbage, "it")


ODD = [
    "\x01",
    "\x1b[31m",
    "\x0b\x0c",
    "\x7f",
    "\x85",
    "\u2028",
    "\ud800",
    "\ufffe",
    "\U0001f41c",
    '"',
    "'",
    "|",
    ";",
    "\t",
    "\n",
]
"""Of what the name of a job may consist, or the reason why somebody closed a node."""


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_character_in_a_text_makes_no_answer_garbage(odd: str) -> None:
    document = f"<jobs><job><name>a{odd}b</name></job><job><name>c</name></job></jobs>"
    names = [name.text or "" for name in kit.xml_document(document, "it").iter("name")]
    assert names[1] == "c"
    assert (names[0][0], names[0][-1]) == ("a", "b")
    if odd != '"':
        assert kit.json_document(f'[{{"name": "a{odd}b"}}, {{"name": "c"}}]', "it") == [
            {"name": f"a{odd}b"},
            {"name": "c"},
        ]


@pytest.mark.parametrize(
    "reference", ["&#1;", "&#x1B;", "&#xD800;", "&#55296;", "&#0;", "&#xFFFFFFFF;", "&#9999999999;"]
)
def test_a_reference_to_a_character_that_xml_can_not_have(reference: str) -> None:
    assert kit.xml_document(f"<a><b>x{reference}y &#65;&#x42;&#10;&amp;</b></a>", "it").findtext("b") == "x?y AB\n&"


def test_words() -> None:
    assert kit.words(["ssd", "x86_64", "gpu:a100", "ssd", "(a&b)|c"], "it") == ("(a&b)|c", "gpu:a100", "ssd", "x86_64")
    assert kit.words([], "it") == ()
    for garbage in (None, "gpu", {"gpu": 1}, ("gpu",), [""], ["a b"], ["a\n"], [1], [None], ["a\u00a0b"], ["x" * 256]):
        with pytest.raises(BatchError, match="it answered what is no list of words"):
            kit.words(garbage, "it")


def test_xml_that_would_grow() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
    with pytest.raises(BatchError, match="document type"):
        kit.xml_document(bomb, "it")


def test_names() -> None:
    assert kit.name(" node-1.example\n", "it") == "node-1.example"
    for garbage in ("", "-rf", "a b", "a\nb", "a;b", "$(a)", "é", "a" * 256):
        assert not kit.is_name(garbage)
        with pytest.raises(BatchError, match="it answered what is no name of a machine"):
            kit.name(garbage, "it")
    assert not kit.is_name(None)


def test_addresses_and_ids() -> None:
    assert kit.ipv4("10.0.0.1") == "10.0.0.1"
    assert [kit.ipv4(value) for value in ("10.0.0.256", "", "::1", "10.0.0.1\n", 167772161, None)] == [None] * 6
    assert kit.instance_id("i-0123456789abcdef0") == "i-0123456789abcdef0"
    assert [kit.instance_id(value) for value in ("", "-i", "a b", 1, None)] == [None] * 5


RESOLVED = """\
10.0.0.7        STREAM Worker3.pool.example
10.0.0.7        DGRAM  \n\
10.0.0.7        RAW    \n\
192.168.0.8     STREAM worker4.pool.example
192.168.0.8     DGRAM  \n\
10.0.0.8        STREAM \n\
10.0.0.8        DGRAM  \n\
10.0.0.9        STREAM ip-10-0-0-9.internal
10.0.0.9        DGRAM  \n\
"""
"""What getent says of worker3; of worker4, which is in two networks; and of worker5, which is another's alias."""


@pytest.mark.parametrize(
    ("answer", "asked", "addresses"),
    [
        (RESOLVED, ["Worker3", "worker4", "worker5"], {"worker3": "10.0.0.7", "worker5": "10.0.0.9"}),
        (RESOLVED, ["gone", "worker3", "worker4", "worker5"], {"worker3": "10.0.0.7"}),
        (RESOLVED, ["worker3", "worker3.pool.example", "4", "5"], {"worker3.pool.example": "10.0.0.7"}),
        ("10.0.0.7 STREAM worker3.a\n10.0.0.8 STREAM worker3.b\n", ["gone", "one-b", "worker3"], {}),
        ("10.0.0.7 DGRAM\n", ["worker3"], {}),
        ("", ["worker3"], {}),
        ("x STREAM worker3\n", ["worker3"], {}),
        ("getent: unknown database\n", ["worker3"], {}),
    ],
)
def test_addresses_by_the_names_that_were_asked_for(answer: str, asked: list[str], addresses: dict[str, str]) -> None:
    assert kit.addresses(answer, asked) == addresses


def test_claimed_twice() -> None:
    assert kit.claimed_twice(["i-1", None, "i-2", "i-1", None, ""]) == {"i-1"}


def test_total() -> None:
    assert kit.total([]) == Shape(0, 0, 0, 0)
    assert kit.total([Shape(1, 2, 3, 4), Shape(10, 20, 30, 40)]) == Shape(11, 22, 33, 44)
    assert kit.total([Shape(1, 0, None, 4), Shape(10, 20, 30, None)]) == Shape(11, 20, None, None)
    assert kit.total([Shape(1), Shape(2)]) == Shape(3)


numbers_and_garbage = st.text() | st.from_regex(r"[0-9.]{1,20}[A-Za-z]{0,3}", fullmatch=True)


@given(numbers_and_garbage, st.sampled_from("BKMGTP"), st.booleans())
def test_every_text_is_a_size_or_an_error(written: str, unit: str, small_is_decimal: bool) -> None:
    try:
        size = kit.size_mb(written, "it", unit=unit, small_is_decimal=small_is_decimal)
    except BatchError:
        return
    assert 0 <= size <= kit.LARGEST
    assert any(character in "123456789" for character in written) or size == 0


@given(numbers_and_garbage)
def test_every_text_is_a_count_or_an_error(written: str) -> None:
    try:
        assert str(kit.count(written, "it")) == written.strip().lstrip("0") or int(written) == 0
    except BatchError:
        assert not written.isascii() or not written.strip().isdecimal() or len(written.strip()) > 12


@given(st.text())
def test_every_text_is_a_document_or_an_error(written: str) -> None:
    for document in (kit.json_document, kit.xml_document):
        try:
            document(written, "it")
        except BatchError as error:
            assert "\n" not in str(error)


class Hands(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.at = 100.0

    def now(self) -> float:
        return self.at


def test_a_deadline_ends() -> None:
    clock = Hands()
    deadline = Deadline(clock, 10, "Slurm")
    clock.at = 104
    assert deadline.remaining() == 6
    clock.at = 110
    with pytest.raises(BatchError, match="Slurm gave no complete answer within 10 s"):
        deadline.remaining()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (Worker("a", "i-1", "10.0.0.1"), Worker("b", "i-1", "10.0.0.2"), True),
        (Worker("a", "i-1", "10.0.0.1"), Worker("a", "i-2", "10.0.0.1"), False),
        (Worker("a", None, "10.0.0.1"), Worker("b", "i-1", "10.0.0.1"), True),
        (Worker("a", None, "10.0.0.1"), Worker("a", None, "10.0.0.2"), False),
        (Worker("A.example"), Worker("a.example", "i-1", "10.0.0.1"), True),
        (Worker("", None, None), Worker("", None, None), False),
    ],
)
def test_is_same(one: Worker, other: Worker, same: bool) -> None:
    assert is_same(one, other) is same
    assert is_same(other, one) is same


def test_label() -> None:
    assert label(Worker("a\x1b[31m\nb")) == "worker a?[31m?b"
    workers = (Worker("a", "i-1"), Worker("", "i-1"), Worker("", None, "10.0.0.1"), Worker(""))
    assert [label(worker) for worker in workers] == [
        "worker a", "worker i-1", "worker 10.0.0.1", "worker without a name",
    ]  # fmt: skip


def test_the_largest_of_shapes_holds_each_of_them() -> None:
    assert kit.largest([Shape(4, None, None, 0), Shape(1, 9000, None, 2)]) == Shape(4, 9000, None, 2)
    assert kit.largest([Shape(1, None)]) == Shape(1, None)


NO_LINE_ENDS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\r"
"""Characters at which `str.splitlines` ends a line, and no command does."""


@pytest.mark.parametrize("text", ["", "a", "a\n", "a\nb", "a\n\nb\n", "\n", *(f"a{one}b\nc\n" for one in NO_LINE_ENDS)])
def test_lines_end_with_a_line_feed_alone(text: str) -> None:
    assert "\n".join(kit.lines(text)) == text.removesuffix("\n")
    assert len(kit.lines(text)) == (text.removesuffix("\n").count("\n") + 1 if text else 0)


def test_no_plugin_lets_anything_but_a_line_feed_end_a_line() -> None:
    folder = Path(kit.__file__).parent
    assert not [path.name for path in folder.glob("*.py") if ".splitlines(" in path.read_text(encoding="utf-8")]


def test_a_job_that_ends_while_it_is_asked_about_is_told_once() -> None:
    runs, other = Usage("ann", "w1", 10.0), Usage("ann", "w1", 40.0)
    ended = Usage("ann", "w1", 10.0, 99.0)
    assert kit.stays([runs, other], [ended], 100.0) == (ended, other)
    assert kit.stays([runs, runs], [ended], 100.0) == (ended, runs), "of two that began together one ended"
    late = Usage("ann", "w1", 12.0, 99.0)
    assert kit.stays([other, runs], [late], 100.0) == (late, other), "Grid Engine has two beginnings of a job"
    assert kit.stays([], [ended], 100.0) == (ended,) and kit.stays([runs], [], 100.0) == (runs,)


def test_a_task_of_an_array_that_ended_before_is_not_the_one_that_runs() -> None:
    runs, before = Usage("ann", "w1", 10.0), Usage("ann", "w1", 10.0, 50.0)
    assert kit.stays([runs], [before], 100.0) == (before, runs)
