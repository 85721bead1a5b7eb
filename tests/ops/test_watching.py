"""What watches the house: each metric that the dashboard and the alerts name exists, and has the labels asked for."""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.sources import ROOT
from tests.test_docs import metrics, rows

DASHBOARD = ROOT / "deploy/grafana/dashboard.json"
ALERTS = ROOT / "deploy/grafana/alerts.yml"
REFERENCE = ROOT / "docs/reference/metrics.md"
SUFFIXES = ("_total", "_bucket", "_count", "_sum")
# What the text format adds, by the kind of metric.
ADDED = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression."""
    for panel in panels():
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    yield from ((alert["alert"], alert["expr"]) for alert in alerts())


@functools.cache
def documented() -> dict[str, tuple[str, set[str]]]:
    """Each metric as Prometheus shows it, with its kind and its labels."""
    found = {}
    for name, kind, labels, _ in (cells for cells in rows(REFERENCE) if cells[0].startswith("`callmeback_")):
        bare = name.strip("`").removesuffix("_total")
        for suffix in ADDED[kind]:
            found[bare + suffix] = (kind, {label.strip() for label in labels.split(",") if label.strip()})

    return found


def test_every_metric_that_is_watched_exists():
    named = {name for _, text in expressions() for name in re.findall(r"callmeback_\w+", text)}

    assert named <= set(documented())
    assert {name for name in named if not _made(name)} == set()


def _made(name: str) -> bool:
    return name in metrics() or any(name.removesuffix(suffix) in metrics() for suffix in SUFFIXES)


@pytest.mark.parametrize(("place", "text"), list(expressions()))
def test_labels_that_are_asked_for_exist(place: str, text: str):
    known: set[str] = {"le"}
    for name in re.findall(r"callmeback_\w+", text):
        known |= documented()[name][1]
    grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", text) for label in group.split(",")}
    matched = set(re.findall(r"[{,]\s*(\w+)\s*(?:=|!)~?", text))

    assert grouped | matched <= known, place


@pytest.mark.parametrize(("place", "text"), list(expressions()))
def test_counters_are_asked_for_their_rate(place: str, text: str):
    for name, (kind, _) in documented().items():
        if kind != "gauge" and re.search(rf"\b{name}\b", text) and not text.startswith("absent("):
            assert re.search(rf"rate\({name}\b", text), place


def test_every_metric_is_watched_somewhere():
    named = " ".join(text for _, text in expressions())

    assert {name for name in metrics() if name.removesuffix("_total") not in named} == set()


def test_every_alert_says_what_to_do_and_how_bad_it_is():
    for alert in alerts():
        assert set(alert["annotations"]) == {"summary", "action"}, alert["alert"]
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert["alert"]
    assert len({alert["alert"] for alert in alerts()}) == len(alerts())


def test_panels_stand_apart_and_have_one_source():
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels()]

    assert len(set(places)) == len(places)
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
