"""Commands for who prepares data and looks for a better recipe: compare, tune, lr-find, synthesize, export-dataset.

In: the words of the command line. Out: what each flow says. `flows.cli` makes them part of `visionloop`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.opening import HERE, Folder, opened
from flows.show import show_lines, show_table


def compare(
    archs: Annotated[list[str], typer.Argument(metavar="ARCH", help="Names as train.arch takes them.")],
    epochs: Annotated[int | None, typer.Option(min=1, help="For each; those of params.yaml if not given.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1, help="For each, in place of epochs.")] = None,
    workspace: Folder = HERE,
) -> None:
    """Train nets under one budget; a table of how good and fast."""
    place, settings = opened(workspace)
    from flows.comparing import compare

    show_table(compare(place, settings, archs, epochs, seconds))


def tune(
    trials: Annotated[int, typer.Option(min=1, help="More sets of values to try.")] = 20,
    over: Annotated[list[str] | None, typer.Option(metavar="KEY=...", help="LOW:HIGH[:log] or A,B,C.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of each trial.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 1,
    workspace: Folder = HERE,
) -> None:
    """Search better values for train:, as a diff of params.yaml."""
    place, settings = opened(workspace)
    from flows.tuning import tune_recipe

    show_lines(tune_recipe(place, settings, trials, over or [], epochs, workers))


def lr_find(
    write: Annotated[bool, typer.Option("--write", help="Put it into params.yaml.")] = False, workspace: Folder = HERE
) -> None:
    """Propose a learning rate by a range test."""
    place, settings = opened(workspace)
    from flows.tuning import find_learning_rate

    show_lines(find_learning_rate(place, settings, write))


def synthesize(
    cutouts: Annotated[
        Path | None, typer.Option(metavar="DIR", help="DIR/<label>/*.png with alpha; else from your own images.")
    ] = None,
    backgrounds: Annotated[Path | None, typer.Option(metavar="DIR", help="Images; else your own.")] = None,
    prove: Annotated[bool, typer.Option("--prove", help="Keep made images only if they help on real ones.")] = False,
    workspace: Folder = HERE,
) -> None:
    """Make training images from cut-out objects, and prove them."""
    place, _ = opened(workspace)
    from flows.synthesizing import prove_batch, synthesize_batch

    show_lines(prove_batch(place) if prove else synthesize_batch(place, cutouts, backgrounds))


def export_dataset(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder.")],
    layout: Annotated[Literal["coco", "voc", "yolo", "csv"], typer.Option("--format", help="What to write.")],
    version: Annotated[
        str | None, typer.Option(metavar="V", help="Data version, or number of a model; else what stands now.")
    ] = None,
    workspace: Folder = HERE,
) -> None:
    """Write a version of the dataset for other tools."""
    place, _ = opened(workspace)
    from flows.exporting import export_version

    typer.echo(export_version(place, folder, layout, version))
