"""Any source becomes a tracked version of the dataset, and any version can be written out again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.data.sources import inbox
from components.data.tables import LABELS, MANIFEST, read_table
from components.data.versions import UnknownVersion, recall, remember
from components.data.writers import ExportError
from components.report import Silent
from components.settings import load_settings
from components.state.database import open_state
from components.state.ledger import record_model
from components.workspace import Workspace, create_workspace
from flows.exporting import export_version
from flows.ingesting import ingest_source
from flows.watching import watch_inbox
from tests.annotated import SIZE, picture, voc, voc_object
from tests.test_ingest import NOW


def voc_set(folder: Path, *numbers: int) -> Path:
    for number in numbers:
        picture(folder / f"images/{number}.png", number)
        voc(folder / f"annotations/{number}.xml", voc_object("cell", 2, 3, 12, 23))
    return folder


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str, str]:
    """A workspace of boxes that was filled twice, and the names of both versions."""
    root = tmp_path_factory.mktemp("grown")
    workspace = create_workspace(root / "workspace", "detection")
    first = shutil.make_archive(str(root / "first"), "zip", voc_set(root / "first", 1, 2))
    ingest_source(workspace, Path(first), Silent())
    before = remember(workspace)
    ingest_source(workspace, str(voc_set(root / "second", 3)), Silent(), format="voc")
    return workspace, before, remember(workspace)


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.png")}


def test_an_archive_of_annotations_becomes_labels_of_the_task(grown):
    workspace, _, _ = grown
    labels = read_table(workspace.labels, LABELS).to_pylist()
    assert {row["label"] for row in labels} == {'[{"box":[2.0,3.0,12.0,23.0],"label":"cell"}]'}
    assert {row["source"] for row in labels} == {
        "first.zip/annotations/1.xml",
        "first.zip/annotations/2.xml",
        "second/annotations/3.xml",
    }
    sizes = read_table(workspace.manifest, MANIFEST).select(["width", "height"]).to_pylist()
    assert {tuple(row.values()) for row in sizes} == {SIZE}


def test_nothing_of_an_archive_stays_behind(grown):
    workspace, _, _ = grown
    assert not list((workspace.state / "sources").glob("archive-*"))


def test_an_older_version_is_written_out_as_it_was(grown, tmp_path):
    workspace, before, now = grown
    assert export_version(workspace, tmp_path / "now", "coco").images == 3
    assert export_version(workspace, tmp_path / "same", "csv", now).images == 3
    assert export_version(workspace, tmp_path / "old", "voc", before[:6]).images == 2
    assert (written(tmp_path / "now"), written(tmp_path / "old")) == ({"1.png", "2.png", "3.png"}, {"1.png", "2.png"})


def test_the_data_of_a_model_are_found_by_its_number(grown, tmp_path):
    workspace, before, _ = grown
    state = open_state(load_settings(workspace).database_url)
    record_model(state, 3, "digest", "run", before, {}, {}, NOW)
    assert export_version(workspace, tmp_path / "a", "yolo", "3").images == 2
    assert export_version(workspace, tmp_path / "b", "yolo", "v3").images == 2
    with pytest.raises(UnknownVersion, match="There is no model v9"):
        export_version(workspace, tmp_path / "c", "yolo", "9")


@pytest.mark.parametrize("version", ["ffffffff", "", "12z4"])
def test_a_version_that_nobody_knows_is_told(grown, tmp_path, version):
    workspace, before, now = grown
    with pytest.raises(UnknownVersion) as caught:
        export_version(workspace, tmp_path / "out", "csv", version)
    assert f"No data version(s) begin with {version!r}" in str(caught.value)
    assert before in str(caught.value)
    assert now in str(caught.value)


def test_a_table_that_is_in_no_store_is_told(grown):
    workspace, before, _ = grown
    with pytest.raises(UnknownVersion, match=r"parquet of that version \(md5 .*\) is not on this machine; fetch it"):
        recall(workspace, before, stores=[])


def test_a_workspace_without_images_has_no_version(tmp_path):
    workspace = create_workspace(tmp_path / "empty")
    assert remember(workspace) == ""
    with pytest.raises(UnknownVersion, match="known are none"):
        export_version(workspace, tmp_path / "out", "csv", "abcd")


def test_a_folder_in_the_way_is_told(grown, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ExportError, match="out is not empty"):
        export_version(grown[0], tmp_path / "out", "csv")


def test_a_watched_inbox_takes_what_arrives_and_tells_what_it_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(inbox, "SETTLED", 0.0)
    workspace = create_workspace(tmp_path / "workspace")
    picture(tmp_path / "in/cat/1.png", 1)
    arrivals = [
        lambda: None,
        lambda: picture(tmp_path / "in/dog/2.png", 2),
        lambda: (tmp_path / "in/cat/bad.png").write_bytes(b"bad"),
        lambda: (tmp_path / "in/cat/bad.png").unlink(),
    ]
    pauses = iter(arrivals)
    news = watch_inbox(workspace, tmp_path / "in", pause=lambda _: next(pauses)())
    assert next(news).startswith("1 added, 0 already known")
    assert next(news).startswith("1 added, 1 already known")
    assert "1 of 3 files cannot be used (1 not_image)" in next(news)
    assert next(news).startswith("0 added, 2 already known")
    assert not list(pauses)
