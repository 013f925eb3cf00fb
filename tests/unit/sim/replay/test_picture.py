"""The picture: well-formed, with nothing from elsewhere, and true."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from elastiq.sim.replay.cluster import Curve
from elastiq.sim.replay.picture import means, picture
from elastiq.sim.replay.simulate import simulate
from elastiq.sim.replay.traces import Job

SVG = "{http://www.w3.org/2000/svg}"


def test_it_is_one_svg_without_anything_from_elsewhere() -> None:
    jobs = [Job(0.0, 3600.0, 4), Job(5000.0, 90000.0, 8)]
    drawn = picture(simulate(jobs), "<b> & \x07.swf")
    root = ElementTree.fromstring(drawn)
    assert root.tag == f"{SVG}svg"
    assert "href" not in drawn and "url(" not in drawn
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert texts[0].startswith("<b> & ?.swf: 2 jobs")
    assert "hours since the first job" in texts
    assert len(list(root.iter(f"{SVG}polygon"))) == len(list(root.iter(f"{SVG}polyline"))) == 1
    assert len(drawn) < 100_000


def test_no_job_is_drawn_too() -> None:
    ElementTree.fromstring(picture(simulate([]), "empty"))


def test_each_column_shows_the_mean_of_its_time() -> None:
    curve = Curve()
    for time, value in ((0.0, 2), (5.0, 0), (12.0, 4), (13.0, 0)):
        curve.step(time, value)
    assert means(curve, 0.0, 20.0, 2) == pytest.approx([1.0, 0.4])
    assert means(curve, 0.0, 20.0, 4) == pytest.approx([2.0, 0.0, 0.8, 0.0])
