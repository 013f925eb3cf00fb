"""The page in a real browser: Chromium without a network, at two widths, light and dark.

With ELASTIQ_PICTURES set to a directory the pictures that are taken are left there, to be looked at.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.report.page import page
from tests.page.scenes import SCENES
from tests.testbed import browser
from tests.testbed.browser import Browser
from tests.testbed.rootfs import UnavailableError

pytestmark = pytest.mark.xdist_group("browser")

WIDTHS = {"desktop": (1280, 900), "phone": (390, 844)}
LOOKS = list(itertools.product(SCENES, WIDTHS, (False, True)))
names = [f"{scene}-{width}-{'dark' if is_dark else 'light'}" for scene, width, is_dark in LOOKS]
each_look = pytest.mark.parametrize(("scene", "width", "is_dark"), LOOKS, ids=names)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser, with a file of each scene."""
    try:
        root = browser.root()
    except UnavailableError as reason:
        pytest.skip(f"there is no browser: {reason}")
    pages = tmp_path_factory.mktemp("pages")
    for name, scene in SCENES.items():
        (pages / f"{name}.html").write_text(page(*scene()), encoding="utf-8")
    with Browser(root, pages) as made:
        yield made


@each_look
def test_it_is_shown_without_a_complaint_as_wide_as_the_screen_and_axe_finds_nothing(
    chromium: Browser, scene: str, width: str, is_dark: bool, tmp_path: Path
) -> None:
    chromium.open(f"{scene}.html", *WIDTHS[width], is_dark=is_dark)
    assert chromium.said == []
    assert chromium.requests == [f"file:///tmp/pages/{scene}.html"], "nothing is fetched"
    assert chromium.value("document.documentElement.scrollWidth") <= WIDTHS[width][0]
    paper = chromium.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(20, 23, 26)" if is_dark else "rgb(255, 255, 255)")
    into = Path(os.environ.get("ELASTIQ_PICTURES") or tmp_path)
    picture = into / f"{scene}-{width}-{'dark' if is_dark else 'light'}.png"
    chromium.picture(picture)
    assert picture.stat().st_size > 5000
    if scene != "large" or (width == "phone" and is_dark):  # it is the usual page with more rows, and takes axe long
        assert chromium.violations() == []


def test_axe_would_find_something(chromium: Browser) -> None:
    chromium.open("usual.html", *WIDTHS["desktop"])
    chromium.value("document.querySelector('footer p').style.color = '#eee'")
    assert any(found.startswith("color-contrast") for found in chromium.violations())


@pytest.mark.parametrize("scene", SCENES)
def test_the_numbers_are_right(chromium: Browser, scene: str) -> None:
    now, past = SCENES[scene]()
    chromium.open(f"{scene}.html", *WIDTHS["desktop"])

    def texts(selector: str) -> list[str]:
        found: list[str] = chromium.value(f"[...document.querySelectorAll({selector!r})].map(one => one.textContent)")
        return found

    counts = [int(text.replace(",", "")) for text in texts("section[aria-labelledby=vms] tbody tr:last-child td")]
    assert counts == ([] if not now.told.vms else [*counts[:-1], len(now.told.vms)])
    assert sum(counts[:-1]) == len(now.told.vms)
    jobs = [int(text.replace(",", "")) for text in texts("section[aria-labelledby=jobs] td.count")]
    assert jobs == [told.jobs for _, told in now.verdicts()][:200]
    pictures = sum(5 if period.money else 4 for period in past.periods)
    assert len(texts("figure")) == len(texts("svg.chart > title")) == pictures
    assert len(texts("section[aria-labelledby=events] tbody tr")) == min(40, len(past.events))
    # The pictures are as high as what they show: the top of the layers, in thousandths from above.
    for period in past.periods:
        sums = [sum(value or 0.0 for value in values) for values in zip(*(layer.values for layer in period.capacity))]
        box = f"document.querySelector('[aria-labelledby^=\"{period.key}-vms-title\"] .plot')"
        tops = f"[...{box}.querySelectorAll('path:not(.gap):not(.line)')].map(one => one.getBBox().y)"
        high = 1.05 * max(max(sums), min(2 * max(sums), max(period.demand.known if period.demand else [0.0])))
        assert min(chromium.value(tops)) == pytest.approx(1000 * (1 - max(sums) / high), abs=1)


def test_what_others_wrote_is_text(chromium: Browser) -> None:
    chromium.open("trouble.html", *WIDTHS["desktop"])
    assert chromium.value("document.scripts.length") == 0
    assert "<script>alert(1)</script>" in chromium.value("document.body.innerText")
