"""`bench` prints what it measured and keeps it in one file, part by part."""

from __future__ import annotations

import json

import pytest

from components.registry.bundle import BundleError
from components.settings import load_settings
from flows import bench


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, bench.Part]:
    """A part that takes no time and counts its calls, and one that fails."""
    calls: list[int] = []

    def quick(*_: object) -> list[bench.Row]:
        """How quick it is."""
        calls.append(1)
        return [{"what": "quick", "ratio": float(len(calls))}]

    def failing(*_: object) -> list[bench.Row]:
        """How it fails."""
        raise BundleError("The champion's files are damaged.")

    found: dict[str, bench.Part] = {"quick": quick, "failing": failing}
    monkeypatch.setattr(bench, "PARTS", found)
    return found


def rows_of(workspace) -> list[dict[str, object]]:
    return json.loads((workspace.state / "bench.json").read_text())["rows"]


@pytest.mark.usefixtures("parts")
def test_what_was_measured_before_an_error_is_kept(workspace, capsys):
    with pytest.raises(BundleError):
        bench.run_bench(workspace, load_settings(workspace))
    assert capsys.readouterr().out.splitlines()[:2] == ["quick: How quick it is.", "what\tratio"]
    assert [row["part"] for row in rows_of(workspace)] == ["quick"]


def test_a_part_measured_again_replaces_its_rows_and_leaves_the_others(workspace, parts):
    parts["failing"] = lambda *_: [{"what": "other"}]
    bench.run_bench(workspace, load_settings(workspace))
    bench.run_bench(workspace, load_settings(workspace), "quick")
    assert [(row["part"], row.get("ratio")) for row in rows_of(workspace)] == [("failing", None), ("quick", 2.0)]


def test_the_bound_on_wrong_promotions_is_printed(workspace, capsys):
    bench.run_bench(workspace, load_settings(workspace), "promotion")
    assert "promoted_most" in capsys.readouterr().out
    equal = [row for row in rows_of(workspace) if row["gain"] == 0]
    assert [row["disagreement"] for row in equal] == [0.1, 0.2]
    assert all(row["promoted_most"] <= 0.05 for row in equal)


@pytest.mark.slow
def test_the_engine_is_timed_beside_torch_and_is_faster(workspace):
    bench.run_bench(workspace, load_settings(workspace), "engine")
    ratios = {(row["runtime"], row["batch"]): row["ratio_to_torch_fp32"] for row in rows_of(workspace)}
    assert ratios["torch", 8] == 1
    assert max(ratios.values()) > 1
