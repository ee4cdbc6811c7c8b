"""What people see of long work: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from components import report
from components.report import Terminal, duration


class Screen(io.StringIO):
    """A stdout that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The only clock: tests set clock[0]."""
    now = [100.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    return now


def count_to(total: int, clock: list[float], seconds_each: float, first: int = 0) -> None:
    terminal = Terminal()
    for done in range(first, total + 1):
        terminal.progress(done, total, "scan")
        clock[0] += seconds_each


def test_output_that_is_no_terminal_gets_plain_lines_now_and_then(capsys, clock):
    count_to(320, clock, 0.125)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "scan: 0/320",
        "scan: 80/320  8.0/s  30 s left",
        "scan: 160/320  8.0/s  20 s left",
        "scan: 240/320  8.0/s  10 s left",
        "scan: 320/320  8.0/s  in 40 s",
    ]


def test_a_terminal_gets_one_moving_bar_with_rate_and_estimate(monkeypatch, clock):
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    count_to(100, clock, 1)
    drawn = screen.getvalue().split("\r\x1b[2K")[1:]
    assert len(drawn) == 101
    assert drawn[50] == "scan ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 50/100  1.0/s  50 s left\r"
    assert drawn[-1] == "scan ━━━━━━━━━━━━━━━━━━━━━━━━ 100/100  1.0/s  in 1 min 40 s\n"


def test_a_line_during_progress_does_not_mix_with_the_bar(monkeypatch):
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    terminal = Terminal()
    terminal.progress(1, 2, "train")
    terminal.line("epoch 1: top1 0.91")
    assert screen.getvalue().endswith("\r\x1b[2Kepoch 1: top1 0.91\n")


def test_work_taken_up_again_is_timed_from_where_it_was_taken_up(capsys, clock):
    count_to(200, clock, 5, first=190)
    assert "5.0 s each" in capsys.readouterr().out


def test_the_same_work_done_twice_is_timed_afresh(capsys, clock):
    terminal = Terminal()
    for _ in range(2):
        terminal.progress(0, 20, "scan")
        clock[0] += 2
        terminal.progress(20, 20, "scan")
        clock[0] += 1000
    assert capsys.readouterr().out.count("scan: 20/20  10/s  in 2 s") == 2


def test_work_of_nothing_is_no_error(capsys):
    Terminal().progress(0, 0, "scan")
    assert capsys.readouterr().out == "scan: 0/0\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")],
)
def test_durations_are_said_as_people_say_them(seconds, words):
    assert duration(seconds) == words
