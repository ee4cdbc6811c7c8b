"""The demo's report.json and traffic -> report.html: one self-contained page of plots of the same story.

In: what was measured, the answers in the order they were given, and the windows that the monitor judged. Out: a page
without a single outside address. Measuring is left to `flows.demo`.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import select

from components.settings import load_settings
from components.state.database import open_state, windows
from components.workspace import Workspace, replace_file
from flows.digits import photograph

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from flows.traffic import Answer

Traffic = Sequence[tuple[str, Sequence["Answer"]]]
BLUE, ORANGE, GREY = "#1f6feb", "#d9730d", "#8b949e"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1f2328 }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.2rem } img { max-width: 100% }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 1.5rem 0 }
dl div { border: 1px solid #d0d7de; border-radius: 8px; padding: .7rem .9rem }
dt { font-size: .8rem; color: #59636e } dd { margin: 0; font-size: 1.45rem; font-weight: 600 }
table { border-collapse: collapse; font-size: .85rem }
td { border-top: 1px solid #d0d7de; padding: .25rem .8rem .25rem 0 }
"""


def write_page(workspace: Workspace, report: Mapping[str, Any], traffic: Traffic) -> Path:
    """Write report.html into the workspace and return its path."""
    state = open_state(load_settings(workspace).database_url)
    with state.begin() as connection:
        judged = [dict(row) for row in connection.execute(select(windows).order_by(windows.c.id)).mappings()]
    page = workspace.root / "report.html"
    with replace_file(page) as path:
        path.write_text(_page(report, traffic, judged), encoding="utf-8")
    return page


def _page(report: Mapping[str, Any], traffic: Traffic, judged: Sequence[Mapping[str, Any]]) -> str:
    recovered = report["accuracy_recovered"] >= report["accuracy_before"] - 0.03
    ending = "relearned and recovered" if recovered else "relearned, but did not recover"
    tiles = {
        "accuracy before": f"{report['accuracy_before']:.1%}",
        "under drift": f"{report['accuracy_under_drift']:.1%}",
        "recovered": f"{report['accuracy_recovered']:.1%}",
        "false alarms": report["false_alarms_on_good_traffic"],
        "windows to the alert": report["windows_to_alert"],
        "labels used": report["labels_used"],
        "first model": f"{report['time_to_first_model_s']:.0f} s",
        "whole story": f"{report['wall_s']:.0f} s",
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    lines = [(html.escape(key), html.escape(str(value))) for key, value in report.items()]
    rows = "".join(f"<tr><td>{key}</td><td>{value}</td></tr>" for key, value in lines)
    return f"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>visionloop: the demo</title><style>{STYLE}</style>
<h1>A camera changed, the model broke, was noticed, {ending}</h1>
<dl>{cells}</dl>
<h2>What the cameras saw</h2>{_image(_cameras(), "Digits by the good camera, and by the changed one")}
<h2>Accuracy of the served answers</h2>{_image(_accuracy(traffic), "Accuracy over the requests, phase by phase")}
<h2>What the monitor measured, window by window</h2>{_image(_signals(judged), "Effect of each signal in each window")}
<p>A cell is a signal's shift as a multiple of its floor; a dot marks one that is also statistically sure.
An alert needs the same signal in two of three windows. A new model starts a new reference.</p>
<h2>Everything that was measured</h2><table>{rows}</table></html>"""


def _cameras() -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.2), layout="constrained")
    axes = figure.subplots(2, 12)
    for row, changed in enumerate((False, True)):
        for axis, photo in zip(axes[row], photograph(range(12), 1, changed, seed=1), strict=True):
            axis.imshow(_pixels(photo.png), vmin=0, vmax=255)
            axis.set_axis_off()
    return figure


def _accuracy(traffic: Traffic, smooth: int = 50) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axis = figure.subplots()
    start = 0
    for name, answers in traffic:
        right = np.array([each.right for each in answers], dtype=float)
        moving = np.convolve(right, np.ones(smooth) / smooth, mode="valid")
        places = start + smooth - 1 + np.arange(len(moving))
        axis.plot(places, moving, color=BLUE if right.mean() > 0.9 else ORANGE)
        axis.axvline(start, color=GREY, linewidth=0.6)
        title = name.replace(", ", ",\n")
        axis.text(start + len(right) / 2, 1.05, f"{title}\n{right.mean():.1%}", ha="center", fontsize=7.5)
        start += len(right)
    axis.set(ylim=(0, 1.03), xlim=(0, start), xlabel="images answered", ylabel=f"accuracy, last {smooth}")
    axis.spines[["top", "right"]].set_visible(False)
    return figure


def _signals(judged: Sequence[Mapping[str, Any]]) -> Figure:
    from matplotlib.figure import Figure

    names = [signal["name"] for signal in judged[0]["signals"]]
    ratio = np.array([[abs(each["effect"]) / each["floor"] for each in row["signals"]] for row in judged]).T
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    shown = axis.imshow(np.minimum(ratio, 10), aspect="auto", cmap="Blues", vmin=0, vmax=10)
    for column, row in enumerate(judged):
        for line, each in enumerate(row["signals"]):
            if each["drifted"]:
                axis.plot(column, line, "o", color=ORANGE, markersize=5)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=8)
    labels = [f"v{row['model_version']}\n{row['verdict']}" for row in judged]
    axis.set_xticks(range(len(judged)), labels, fontsize=8)
    figure.colorbar(shown, ax=axis, label="shift / floor (10 = ten times or more)")
    return figure


def _pixels(png: bytes) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)


def _image(figure: Figure, alt: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
