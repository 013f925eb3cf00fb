"""What qconf says of a host and its queues, on recorded answers and on garbage."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.plugins.gridengine_complexes import parse_complexes
from elastiq.plugins.gridengine_template import parse_object, parse_values, site_of, template_of

RECORDED = Path(__file__).parent / "recorded" / "gridengine"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text()


COMPLEXES = parse_complexes(recorded("complexes-site"))


def test_recorded() -> None:
    queues = {"all.q": recorded("queue-all"), "long.q": recorded("queue-long")}
    template = template_of(recorded("host"), queues, ["@workers", "@gpu"], recorded("host-global"), COMPLEXES, "s")
    assert template.queues["all.q"].environments == ("mpi", "smp", "two")
    assert template.queues["long.q"].environments == ()
    long = template.queues["long.q"].values
    assert {name: long[name] for name in ("h_rt", "needs", "kind")} == {
        "h_rt": "24:00:00",
        "needs": "TRUE",
        "kind": "long",
    }
    assert "h_vmem" not in long  # INFINITY
    assert (template.values["kind"], template.values["arch"], template.values["h_vmem"]) == ("fast", "lx-amd64", "4G")
    assert template.everywhere == {"lic": "3"}
    assert template.groups == ("@gpu", "@workers")
    assert "mem_free" in template.loads
    assert not {"mem_free", "load_avg", "slots", "elastiq_instance", "elastiq_address"} & set(template.values)


@pytest.mark.parametrize("broken", ["host", "queue", "global"])
def test_what_is_none(broken: str) -> None:
    host = "" if broken == "host" else recorded("host")
    queue = "denied" if broken == "queue" else recorded("queue-all")
    everywhere = "\n" if broken == "global" else recorded("host-global")
    with pytest.raises(BatchError):
        template_of(host, {"all.q": queue}, [], everywhere, COMPLEXES, "")


def test_objects() -> None:
    assert parse_object("hostname  a\ncomplex_values  b=1, \\\n    c=2\n", "qconf", "complex_values") == {
        "hostname": "a",
        "complex_values": "b=1, c=2",
    }


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("NONE", {}),
        ("", {}),
        ("slots=4,h_vmem=8G", {"slots": "4", "h_vmem": "8G"}),
        ("needs=TRUE kind=long", {"needs": "TRUE", "kind": "long"}),
        ("a=b=c, d=", {"a": "b=c", "d": ""}),
        ("=x,,y", {}),
    ],
)
def test_values(text: str, values: dict[str, str]) -> None:
    assert parse_values(text) == values


class TestSite:
    def site(self, queues: str) -> str:
        return site_of(queues, recorded("host-global"), recorded("complexes-site"))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("slots                 9999,[head.pool.example=0]", "slots 9999,[head.pool.example=0],[node7=4]"),
            ("hostlist              @workers", "hostlist  @workers node7 \\\n   node8"),
            ("h_rt                  24:00:00", "h_rt 24:00:00,[node7=1:00:00]"),
        ],
    )
    def test_hosts_that_come_and_go_change_nothing(self, old: str, new: str) -> None:
        assert old in recorded("queues")
        assert self.site(recorded("queues").replace(old, new)) == self.site(recorded("queues"))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("hostlist              @workers", "hostlist @workers @gpu"),
            ("pe_list               smp mpi two", "pe_list smp"),
            ("h_rt                  24:00:00", "h_rt 24:00:00,[@gpu=1:00:00]"),
            ("long.q", "longer.q"),
        ],
    )
    def test_what_decides_where_jobs_run_does(self, old: str, new: str) -> None:
        assert old in recorded("queues")
        assert self.site(recorded("queues").replace(old, new)) != self.site(recorded("queues"))


@pytest.mark.parametrize("character", "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
def test_a_value_with_an_odd_character_is_no_line_of_its_own(character: str) -> None:
    shown = f"hostname h\ncomplex_values slots=4\nload_values note=x{character}complex_values NONE\n"
    assert parse_object(shown, "qconf -se", "complex_values")["complex_values"] == "slots=4"
