"""What a proof found: numbers by ratio and by class, as rows for tables, metrics and lines for people."""

from __future__ import annotations

from dataclasses import dataclass

from components.report import Row
from components.synthesis.evidence import Difference, Verdict


@dataclass(frozen=True)
class ClassFinding:
    """One class; `real` and `made` are the task's class metric without and with made images, mean over seeds."""

    name: str
    images: int  # of val, that have to do with it
    real: float
    made: float
    difference: Difference  # of the scores of these images


@dataclass(frozen=True)
class Finding:
    """One ratio of made to real images; `values` is the metric of each training with them."""

    ratio: float
    made: int
    values: tuple[float, ...]
    difference: Difference
    classes: tuple[ClassFinding, ...]

    @property
    def hurt(self) -> list[str]:
        """The classes that are proven to have lost."""
        return [each.name for each in self.classes if each.difference.verdict == "hurts"]

    @property
    def verdict(self) -> Verdict:
        """A gain on the whole does not make up for a class that lost."""
        return "hurts" if self.hurt else self.difference.verdict

    @property
    def helps(self) -> bool:
        return self.verdict == "helps"


@dataclass(frozen=True)
class Proof:
    """All findings; `baseline` is the metric of each training without made images, `kept` the image_ids that stay."""

    metric: str
    images: int  # real ones of val
    steps: int  # of each training
    baseline: tuple[float, ...]
    findings: tuple[Finding, ...]
    kept: frozenset[str]

    def rows(self) -> list[Row]:
        """One row a ratio, that without made images first."""
        first: Row = {"ratio": 0.0, "made": 0, self.metric: _mean(self.baseline), "steps": self.steps}
        return [first] + [
            {"ratio": each.ratio, "made": each.made, self.metric: _mean(each.values), "steps": self.steps}
            | _numbers(each.difference)
            | {"verdict": each.verdict, "classes_hurt": ", ".join(each.hurt)}
            for each in self.findings
        ]

    def class_rows(self) -> list[Row]:
        """One row a ratio and class."""
        return [
            {"ratio": each.ratio, "class": name.name, "images": name.images, "real": name.real, "made": name.made}
            | _numbers(name.difference)
            | {"verdict": name.difference.verdict}
            for each in self.findings
            for name in each.classes
        ]

    def metrics(self) -> dict[str, float]:
        """By flat name."""
        found = {f"proof/{self.metric}": _mean(self.baseline), "proof/kept": float(len(self.kept))}
        for each in self.findings:
            found |= {f"proof/ratio_{each.ratio:.3g}/{key}": value for key, value in _numbers(each.difference).items()}
        return found

    def lines(self) -> list[str]:
        """What a person is told."""
        return [
            f"{self.metric} {_mean(self.baseline):.4f} without made images ({self.images:,} real val images, "
            f"{len(self.baseline)} training(s) of {self.steps:,} steps each)",
            *(_line(each, self.metric) for each in self.findings),
        ]


def _line(found: Finding, metric: str) -> str:
    change = found.difference
    told = (
        f"ratio {found.ratio:.3g} ({found.made:,} made): {found.verdict}, {metric} {_mean(found.values):.4f}, "
        f"{change.value:+.4f} (interval {change.low:+.4f} to {change.high:+.4f})"
    )
    gained = [each.name for each in found.classes if each.difference.verdict == "helps"]
    told += f"; helps {', '.join(gained)}" if gained else ""
    return told + (f"; hurts {', '.join(found.hurt)}" if found.hurt else "")


def _numbers(found: Difference) -> dict[str, float]:
    return {"difference": found.value, "low": found.low, "high": found.high}


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)
