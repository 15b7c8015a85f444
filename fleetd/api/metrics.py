"""``GET /metrics``: the figures of the controller in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from fleetd import __version__
from fleetd.controller.commands import Figures

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Figures:
    """One answer's figures, as prometheus-client collects them."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        figures = self._figures
        yield _one("fleetd_info", "The running release.", 1, version=__version__)
        yield _by("fleetd_rollouts", "Rollouts by phase.", "phase", figures.rollouts)
        yield _by("fleetd_hosts", "Hosts of the fleet by state; idle: in no rollout.", "state", figures.hosts)
        yield _one("fleetd_unproven_hosts", "Hosts that may run an unproven system.", figures.unproven)
        yield _one("fleetd_lost_hosts", "Hosts in a trial that do not answer.", figures.lost)
        yield _one("fleetd_stranded_hosts", "Hosts that need a person.", figures.stranded)
        yield _one("fleetd_unwell_hosts", "Hosts known to be unwell: what the brake counts.", figures.unwell)
        yield _by(
            "fleetd_found_hosts", "Hosts in no rollout with something wrong, by what it is.", "what", figures.found
        )
        yield _one("fleetd_owed_hosts", "Hosts that are to have a system when they can.", figures.owed)
        yield _one("fleetd_drained_hosts", "Hosts that their hooks have drained and not returned.", figures.drained)
        yield _one("fleetd_isolated", "1 while the control node hears nobody: nothing starts.", figures.isolated)
        yield _one("fleetd_journal_records", "The newest number of the journal.", figures.seq)
        yield _one("fleetd_controller_term", "How often a controller took the journal over.", figures.term)
        yield _one("fleetd_fleet_broken", "1 while the fleet cannot be read: nothing new starts.", figures.broken)


def text_of(figures: Figures) -> bytes:
    """Return the page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(figures))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


def _one(name: str, text: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def _by(name: str, text: str, label: str, counts: Iterable[tuple[str, int]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for word, count in counts:
        family.add_metric([word], count)
    return family
