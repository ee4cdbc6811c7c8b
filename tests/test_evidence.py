"""The page about one window shows what drifted, runs nothing that a user named, and loads nothing from elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from components.monitoring.drift import SignalDrift, WindowVerdict, judge_window
from components.monitoring.evidence import write_evidence
from components.monitoring.window import CATEGORICAL, NUMERIC, SIGNALS, Signals
from components.params import Params

HOSTILE = "</script><img src=x onerror=alert(1)>"
LOADING = {"src", "srcset", "data", "background", "poster", "action", "formaction", "ping"}


def signals(n: int, brightness: float, label: str = "cat", **changed: np.ndarray) -> Signals:
    random = np.random.default_rng(n)
    numeric = {name: random.normal(0.5, 0.1, n) for name in NUMERIC} | {"brightness": random.normal(brightness, 0.1, n)}
    classes, formats = np.array([label, "dog"]), np.array([label, "PNG"])
    categorical = {"predicted_class": random.choice(classes, n), "format": random.choice(formats, n)}
    return Signals(numeric | changed, categorical)


def verdict(words: str) -> WindowVerdict:
    """Every signal drifted, and `words` tell how."""
    return WindowVerdict("warn", [SignalDrift(name, 1e-9, 0.3, 0.1, True, words) for name in SIGNALS])


class Page(HTMLParser):
    """What a browser would make of a page: elements with attributes, and the text outside scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with hostile classes, formats and words, a column without numbers, and one that never varies."""
    path = tmp_path_factory.mktemp("evidence") / "deep" / "window.html"
    odd = {"sharpness": np.full(300, np.nan), "entropy": np.full(300, 7.0)}
    reference = signals(300, 0.5, **odd)
    holes = np.where(np.arange(250) < 5, np.inf, 0.5)
    window = signals(250, 0.7, HOSTILE, entropy=np.full(250, 7.0), contrast=holes)
    return write_evidence(reference, window, verdict(f"more {HOSTILE}"), path)


def test_hostile_labels_become_text(hostile: Path):
    page = Page(hostile)
    assert {tag for tag, _ in page.found} & {"img", "iframe", "object", "embed", "svg", "base", "form"} == set()
    assert [name for _, attributes in page.found for name in attributes if name.startswith("on")] == []
    assert page.text.count(HOSTILE) >= 2  # in words and in the legend, as people wrote it
    assert "onerror=alert(1)>" not in hostile.read_text(encoding="utf-8")


def test_a_brightness_shift_is_shown_as_drift_and_nothing_else_is(tmp_path: Path, params: Params):
    reference, window = signals(1000, 0.5), signals(500, 0.6)
    judged = judge_window(reference, window, [], params.monitor)
    said = charts(write_evidence(reference, window, judged, tmp_path / "window.html"))
    assert next(iter(said)) == "brightness"
    assert [name for name, word in said.items() if word == "detected"] == ["brightness"]
    assert set(said) == {*NUMERIC, *CATEGORICAL}


def charts(path: Path) -> dict[str, str]:
    """Signals that Evidently draws, in their order: detected or not detected."""
    return dict(re.findall(r"Drift in column '(\w+)'\", \"label\": \"Data drift (detected|not detected)", script(path)))


def script(path: Path) -> str:
    """Evidently's data, which its script draws."""
    return path.read_text(encoding="utf-8").split("var global = globalThis")[0]


def test_what_cannot_be_drawn_is_named(hostile: Path):
    text = Page(hostile).text
    assert "sharpnessno values" in text
    assert "entropythe same in every image" in text
    assert set(charts(hostile)) == {*NUMERIC, *CATEGORICAL} - {"sharpness", "entropy"}


def test_the_page_loads_nothing_from_elsewhere(hostile: Path):
    page = Page(hostile)
    assert [(tag, name) for tag, attributes in page.found for name in attributes if name in LOADING] == []
    assert "link" not in {tag for tag, _ in page.found}
    assert not re.search(r"@import|url\((?!data:)", script(hostile))
    tag, policy = page.found[2]
    assert (tag, policy["http-equiv"]) == ("meta", "Content-Security-Policy")
    assert "default-src 'none'" in (policy["content"] or "")


def test_nothing_to_draw_is_still_a_page(tmp_path: Path):
    nobody = Signals({name: np.zeros(0) for name in NUMERIC}, {name: np.zeros(0, np.str_) for name in CATEGORICAL})
    page = Page(write_evidence(nobody, nobody, WindowVerdict("insufficient"), tmp_path / "window.html"))
    assert "insufficient" in page.text
    assert "confidenceno values" in page.text


@pytest.mark.browser
def test_a_browser_draws_the_charts(hostile: Path):
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium (apt-get install chromium)")
    command = [chromium, "--headless", "--no-sandbox", "--virtual-time-budget=20000", "--dump-dom", hostile.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    outside_scripts = re.sub(r"<script.*?</script>", "", shown, flags=re.DOTALL)
    assert "Drift in column 'brightness'" in outside_scripts
    assert "<img" not in outside_scripts
