"""Folders and tables of images: what is found in them, and what is said when they are not as expected."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from components.data.sources import Found, SourceError, open_source


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def table(root: Path, text: str | bytes, name: str = "labels.csv") -> Path:
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / name


def found_in(path: Path) -> list[Found]:
    return list(open_source(path).files())


def told(path: Path) -> dict[str, str | None]:
    return {found.name: found.label for found in found_in(path)}


def mistake(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        found_in(path)
    return str(caught.value)


# A folder for each label


def test_a_folder_is_the_label_of_what_lies_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/2.png", "dog/deeper/still/3.jpg")
    assert told(tmp_path) == {"cat/1.jpg": "cat", "dog/2.png": "dog", "dog/deeper/still/3.jpg": "dog"}


def test_files_come_in_the_same_order_on_every_machine(tmp_path: Path) -> None:
    touch(tmp_path, "b/2", "a/9", "a/z/1", "a/b/1", "a/10")
    assert list(told(tmp_path)) == ["a/10", "a/9", "a/b/1", "a/z/1", "b/2"]


def test_a_label_remembers_the_file_that_said_it(tmp_path: Path) -> None:
    (found,) = found_in(touch(tmp_path / "photos", "cat/1.jpg"))
    assert (found.path, found.said_by) == (tmp_path / "photos/cat/1.jpg", "photos/cat/1.jpg")
    assert (found.origin, found.author, found.split) == ("source", "", None)


@pytest.mark.parametrize(
    ("folder", "split"),
    [("train", "train"), ("val", "val"), ("valid", "val"), ("validation", "val"), ("Test", "test")],
)
def test_split_folders_keep_their_split(tmp_path: Path, folder: str, split: str) -> None:
    (found,) = found_in(touch(tmp_path, f"{folder}/cat/1.jpg"))
    assert (found.label, found.split) == ("cat", split)


def test_a_train_among_other_things_is_a_label(tmp_path: Path) -> None:
    touch(tmp_path, "bus/1.jpg", "car/1.jpg", "train/1.jpg")
    assert set(told(tmp_path).values()) == {"bus", "car", "train"}


def test_splits_beside_other_folders_are_not_guessed_at(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "test/cat/2.jpg", "annotations/notes.xml")
    assert "test, train, and beside them annotations" in mistake(tmp_path)


def test_splits_without_label_folders_are_refused(tmp_path: Path) -> None:
    assert "no label folders inside" in mistake(touch(tmp_path, "train/1.jpg", "test/2.jpg"))


def test_pictures_outside_a_label_folder_are_found_without_label(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "stray.JPG", "README.md", "LICENSE")
    assert told(tmp_path) == {"stray.JPG": None, "cat/1.jpg": "cat"}


def test_pictures_outside_a_label_folder_of_a_split_are_found_without_label(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/stray.png", "train/list.txt")
    assert told(tmp_path) == {"train/stray.png": None, "train/cat/1.jpg": "cat"}


def test_hidden_and_system_files_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/.DS_Store", "cat/._1.jpg", "cat/Thumbs.db", "cat/desktop.ini", ".git/config")
    touch(tmp_path, "__MACOSX/cat/._1.jpg", ".ipynb_checkpoints/1.jpg", "cat/.ipynb_checkpoints/1.jpg", "@eaDir/x/1")
    assert told(tmp_path) == {"cat/1.jpg": "cat"}


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("a b.jpg", "a b.jpg"),
        (" leading.jpg", " leading.jpg"),
        ("two\nlines.jpg", "two\\nlines.jpg"),
        ("\x1b[31mred.jpg", "\\x1b[31mred.jpg"),
        ("👩‍🚀 émoji.jpg", "👩‍🚀 émoji.jpg"),
        ("<img src=x onerror=alert(1)>.jpg", "<img src=x onerror=alert(1)>.jpg"),
        ("-rf.jpg", "-rf.jpg"),
        (os.fsdecode(b"latin-\xe9.jpg"), "latin-\\udce9.jpg"),
    ],
)
def test_any_file_name_survives_and_is_printable(tmp_path: Path, name: str, printed: str) -> None:
    (found,) = found_in(touch(tmp_path, f"cat/{name}"))
    assert found.path.exists()
    assert found.name == f"cat/{printed}"
    found.name.encode()


def test_a_label_is_printable_and_composed(tmp_path: Path) -> None:
    """macOS writes é as e and an accent; that must not make another class."""
    touch(tmp_path, "cafe\u0301 /1.jpg", "caf\u00e9/2.jpg", os.fsdecode(b"\xff") + "/3.jpg")
    assert list(told(tmp_path).values()) == ["caf\u00e9", "caf\u00e9", "\\udcff"]


def test_symlink_loops_end(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/2.jpg")
    (tmp_path / "cat/up").symlink_to(tmp_path)
    (tmp_path / "cat/self").symlink_to(tmp_path / "cat")
    (tmp_path / "dog/round").symlink_to("round")
    assert told(tmp_path) == {"cat/1.jpg": "cat", "dog/2.jpg": "dog", "dog/round": "dog"}


def test_links_to_files_and_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "deep/1.jpg", "2.jpg")
    (tmp_path / "photos/cat").mkdir(parents=True)
    (tmp_path / "photos/cat/more").symlink_to(tmp_path / "elsewhere/deep")
    (tmp_path / "photos/cat/2.jpg").symlink_to(tmp_path / "elsewhere/2.jpg")
    assert told(tmp_path / "photos") == {"cat/2.jpg": "cat", "cat/more/1.jpg": "cat"}


def test_a_fifo_is_found_and_not_opened(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg")
    os.mkfifo(tmp_path / "cat/pipe.jpg")
    assert set(told(tmp_path)) == {"cat/1.jpg", "cat/pipe.jpg"}


def test_an_empty_folder_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "photos/cat").mkdir(parents=True)
    assert "expected photos/<label>/<image>" in mistake(tmp_path / "photos")


def test_a_path_that_is_no_source_says_so(tmp_path: Path) -> None:
    touch(tmp_path, "photo.jpg")
    assert "found a .jpg file" in mistake(tmp_path / "photo.jpg")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("gone", "loop"):
        assert "found nothing" in mistake(tmp_path / name)


# A table of path, label, split


def test_a_table_gives_each_row_its_label_and_line(tmp_path: Path) -> None:
    found = found_in(table(tmp_path, "path,label\na.jpg,cat\nsub/b.jpg,dog\n"))
    assert [(each.path, each.label, each.said_by) for each in found] == [
        (tmp_path / "a.jpg", "cat", "labels.csv:2"),
        (tmp_path / "sub/b.jpg", "dog", "labels.csv:3"),
    ]


def test_a_split_column_is_kept(tmp_path: Path) -> None:
    found = found_in(table(tmp_path, "path,split,label\n1,train,x\n2,VALID,x\n3,test,x\n4,,x\n"))
    assert [each.split for each in found] == ["train", "val", "test", None]


@pytest.mark.parametrize("label", ["NA", "null", "None", "nan", "01", "1e3", "true", "a,b", "<b>", "=cmd()"])
def test_every_text_is_a_label(tmp_path: Path, label: str) -> None:
    assert told(table(tmp_path, f'path,label\n1.jpg,"{label}"\n')) == {"1.jpg": label}


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbfpath,label\n1.jpg,caf\xc3\xa9\n",
        "path;label\n1.jpg;café\n".encode(),
        "path\tlabel\r\n1.jpg\tcafé\r\n".encode(),
        " Path , LABEL \n\n 1.jpg , café \n\n".encode(),
        'path,label\n"1.jpg","café"'.encode(),
        "path,label\n1.jpg,café\n".encode("utf-16"),
        "path,label\r1.jpg,café\r".encode(),
    ],
    ids=["bom", "semicolons", "tabs", "blanks", "quotes", "utf-16", "cr"],
)
def test_the_dialects_of_spreadsheets_are_read(tmp_path: Path, text: bytes) -> None:
    assert told(table(tmp_path, text)) == {"1.jpg": "café"}


def test_quoted_names_may_hold_commas_and_line_breaks(tmp_path: Path) -> None:
    (found,) = found_in(table(tmp_path, 'path,label\n"a, b\nc.jpg",cat\n'))
    assert found.path == tmp_path / "a, b\nc.jpg"


def test_columns_that_are_not_known_are_passed_over(tmp_path: Path) -> None:
    assert told(table(tmp_path, "id,label,path\n7,cat,1.jpg\n")) == {"1.jpg": "cat"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column path and no column label; found an empty file"),
        ("path,class\n1.jpg,cat\n", "line 1: no column label; found path, class"),
        ("path,label,label\n1.jpg,cat,dog\n", "line 1: column label is there twice"),
        ("path,label\n", "a header and no rows"),
        ("path,label\n1.jpg,cat\n2.jpg\n", "line 3, fields: found 1, expected 2 (path, label)"),
        ("path,label\n1.jpg,cat,extra\n", "line 2, fields: found 3, expected 2 (path, label)"),
        ("path,label\n,cat\n", "line 2, field path: empty"),
        ("path,label\n1.jpg, \n", "line 2, field label: empty"),
        ("path,label,split\n1.jpg,cat,dev\n", "line 2, field split: found 'dev', expected train, val"),
        (b"path,label\n1.jpg,caf\xe9\n", "line 2 is not UTF-8"),
        ('path,label\n"1.jpg,cat\n', "line 2: unexpected end of data"),
        ("path,label\n1\0.jpg,cat\n", "line 2"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_field(tmp_path: Path, text: str | bytes, said: str) -> None:
    message = mistake(table(tmp_path, text))
    assert said in message
    assert "labels.csv" in message


def test_all_mistakes_of_a_table_are_told_at_once(tmp_path: Path) -> None:
    message = mistake(table(tmp_path, "path,label\n" + "only-a-path\n" * 12))
    assert "12 mistake(s); nothing was added" in message
    assert message.count("\n  line ") == 10
    assert message.endswith("and 2 more")


def test_a_table_that_went_away_says_so(tmp_path: Path) -> None:
    source = open_source(table(tmp_path, "path,label\n1.jpg,cat\n"))
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(SourceError, match=r"labels\.csv cannot be read: No such file"):
        next(source.files())


def test_a_missing_image_is_left_to_ingest(tmp_path: Path) -> None:
    (found,) = found_in(table(tmp_path, "path,label\ngone.jpg,cat\n"))
    assert not found.path.exists()
