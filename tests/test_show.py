"""What people see: tables on a terminal, plain lines elsewhere, and nothing in a name that acts on the screen."""

from __future__ import annotations

import io

import pytest

from flows.doctor import Finding
from flows.show import show_finding, show_subjects, show_table

ROWS = [{"path": "a.jpg", "label": "cat", "confidence": 0.98765, "error": None}]


class Screen(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    monkeypatch.setenv("COLUMNS", "100")
    return screen


def test_a_table_without_a_terminal_is_tabs_that_programs_can_cut(capsys):
    show_table(ROWS)
    assert capsys.readouterr().out == "path\tlabel\tconfidence\terror\na.jpg\tcat\t0.9877\t\n"


def test_a_table_on_a_terminal_has_aligned_columns(monkeypatch):
    screen = on_screen(monkeypatch)
    show_table(ROWS, title="predictions")
    lines = screen.getvalue().splitlines()
    assert "predictions" in lines[0]
    assert [line.split() for line in lines if "cat" in line] == [["a.jpg", "cat", "0.9877"]]


@pytest.mark.parametrize("name", ["\x1b[2Ja.jpg", "a\tb.jpg", "a\nb.jpg", "a\x07.jpg", "a\u202egpj.exe"])
def test_a_hostile_file_name_cannot_move_the_cursor_or_break_the_line(name, capsys):
    show_table([{"path": name}])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    assert all(sign.isprintable() for sign in out.replace("\n", ""))


def test_a_label_that_looks_like_markup_is_shown_as_it_is(monkeypatch):
    screen = on_screen(monkeypatch)
    show_table([{"label": "[red]stop[/red] :smile:"}])
    assert "[red]stop[/red] :smile:" in screen.getvalue()


def test_no_rows_are_no_error(capsys):
    show_table([])
    assert capsys.readouterr().out.strip() == ""


def test_subjects_are_aligned(capsys):
    show_subjects([("drift", "ok"), ("champion", "v1")])
    assert capsys.readouterr().out == "drift     ok\nchampion  v1\n"


def test_a_finding_is_followed_by_what_to_do(capsys):
    show_finding(Finding("gpu", "missing", "none", "Not needed."))
    assert capsys.readouterr().out == "missing gpu          none\n                     Not needed.\n"
