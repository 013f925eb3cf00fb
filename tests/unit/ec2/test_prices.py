"""What is read of an answer with prices of the spot market."""

from __future__ import annotations

import pytest

from elastiq.ec2.prices import question, spot_prices


def entry(price: object, at: str = "2026-11-29T04:00:00Z", type_: object = "m5.large", zone: object = "z1") -> object:
    return {"InstanceType": type_, "AvailabilityZone": zone, "SpotPrice": price, "Timestamp": at}


def test_the_last_price_counts() -> None:
    history = [entry("0.03"), entry("0.05", "2026-11-29T05:00:00Z"), entry("0.04", "2026-11-28T05:00:00Z")]
    assert spot_prices({"SpotPriceHistory": [*history, entry("0.06", zone="z2")]}) == {
        ("m5.large", "z1"): 0.05,
        ("m5.large", "z2"): 0.06,
    }


@pytest.mark.parametrize("price", ["", None, "free", "nan", "inf", "-0.1", "0", "1e9"])
def test_what_is_no_price_is_left_out(price: object) -> None:
    assert spot_prices({"SpotPriceHistory": [entry(price)]}) == {}


@pytest.mark.parametrize("answer", [{}, {"SpotPriceHistory": None}, {"SpotPriceHistory": [{}]}])
def test_an_answer_without_prices_has_none(answer: dict[str, object]) -> None:
    assert spot_prices(answer) == {}


def test_what_holds_now_is_asked_for() -> None:
    asked = question(("a", "b"), 1_700_000_000.0)
    assert asked["InstanceTypes"] == ["a", "b"]
    assert asked["StartTime"] == asked["EndTime"]
    assert asked["StartTime"].isoformat() == "2023-11-14T22:13:20+00:00"
