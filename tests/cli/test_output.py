"""What a table shows: texts of people as they are, times to the second, money to the last digit that matters."""

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from rich.console import Console

from callmeback.cli import output

AT = datetime(2026, 11, 26, 10, 1, 17, 945600, UTC)


class Line(msgspec.Struct):
    name: str | None
    at: datetime
    cents: Decimal
    is_on: bool


def test_a_table_shows_texts_times_and_money_as_people_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"name": "Name", "at": "At", "cents": "Cents", "is_on": "On"}
    output.show([Line("[/] [red]", AT, Decimal("0.0694800000"), True)], columns, as_json=False)
    row = capsys.readouterr().out.splitlines()[3]

    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "[/] [red]", "2026-11-26 10:01:17+00:00", "0.06948", "yes",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (":cat: at 10:30:00", ":cat: at 10:30:00"),
        ("C:\\", "C:\\"),
        ("\\[/]", "\\[/]"),
        ("\x1b]0;title\x07\x9b2J\r", r"\x1b]0;title\x07\x9b2J\x0d"),
    ],
)
def test_nothing_in_a_text_is_read_by_the_table_or_obeyed_by_the_terminal(
    capsys: pytest.CaptureFixture[str], text: str, shown: str
) -> None:
    output.show_rows([{"name": text}], as_json=False)

    assert capsys.readouterr().out.splitlines()[3].strip("│").strip() == shown


def test_what_a_terminal_is_too_narrow_for_is_a_block_of_lines_with_every_letter_of_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "console", lambda: Console(width=24))
    rows = [{"id": "sch_01m8cacj5yecf82hb", "at": 1}, {"id": "[b]", "at": 22}]
    output.show_rows(rows, as_json=False)
    blocks = capsys.readouterr().out
    output.show_rows(rows[1:], as_json=False)
    table = capsys.readouterr().out

    assert [line.split() for line in blocks.splitlines()] == [
        ["id", "sch_01m8cacj5yecf82h"], ["b"], ["at", "1"], [], ["id", "[b]"], ["at", "22"],
    ]  # fmt: skip
    assert "│ [b] │ 22 │" in table


def test_rows_without_a_row_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_rows([], as_json=False)

    assert capsys.readouterr().out == "Nothing.\n"
