"""What the service counts, for Prometheus. No label ever holds text that a client sent."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one application, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def name(short: str, about: str) -> tuple[str, str]:
            return f"visionloop_{short}", about

        of = self.registry
        self.requests = Counter(*name("requests", "Answered requests"), ["route", "status"], registry=of)
        self.seconds = Histogram(
            *name("request_seconds", "From the first byte read to the last sent"),
            ["route"],
            buckets=SECONDS,
            registry=of,
        )
        self.batch = Histogram(
            *name("batch_size", "Images run through the engine at once"), buckets=IMAGES, registry=of
        )
        self.queue = Gauge(*name("queue_depth", "Images waiting for a batch"), registry=of)
        self.model = Gauge(
            *name("model_info", "1 for the model that serves"),
            ["version", "digest", "target", "precision"],
            registry=of,
        )
        self.refused = Counter(*name("refused_images", "Images that cannot be predicted"), ["code"], registry=of)
        self.swap_failures = Counter(*name("swap_failures", "Promoted models that could not be loaded"), registry=of)
        self.log_failures = Counter(*name("log_failures", "Answers withheld: not logged"), registry=of)
