"""The files of rows: CSV as people and Excel write it, JSON lines, and a journal on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from firstpull_cli.errors import CliError
from firstpull_cli.journal import Journal
from firstpull_cli.onboarding import batches
from firstpull_cli.rows import Row, read_rows, write_refused

_TARGET = {"connectedRegistry": "plant01", "repositories": ["hello-world"]}


def rows_of(tmp_path: Path, text: str, *, name: str = "devices.csv") -> list[Row]:
    """The rows of a file with this text."""
    file = tmp_path / name
    file.write_bytes(text.encode())
    return read_rows(str(file), form=None, defaults={})


@pytest.mark.parametrize(
    "text",
    [
        "deviceId,connectedRegistry,repositories\nd-1,plant01,hello-world\n",
        "\ufeffdeviceId;repositories;connectedRegistry\r\nd-1;hello-world;plant01\r\n\r\n",
        'deviceId,connectedRegistry,repositories,hub\n"d-1"," plant01 ","hello-world",\n',
    ],
)
def test_a_csv_is_read_as_people_and_excel_write_it(tmp_path: Path, text: str) -> None:
    (row,) = rows_of(tmp_path, text)
    assert (row.line, row.problem) == (2, None)
    assert row.document == {"deviceId": "d-1", **_TARGET}


def test_several_names_in_a_cell_are_a_list(tmp_path: Path) -> None:
    text = "deviceId,repositories,actions\nd-1,hello-world line/app,content/read;metadata/read\n"
    (row,) = rows_of(tmp_path, text)
    assert row.document["repositories"] == ["hello-world", "line/app"]
    assert row.document["actions"] == ["content/read", "metadata/read"]


def test_json_lines_are_requests_and_a_bad_line_harms_no_other(tmp_path: Path) -> None:
    text = '{"deviceId": "d-1"}\n\n[]\n{"deviceId": "d-2", "deviceId": "d-3"}\n{\n'
    rows = rows_of(tmp_path, text, name="devices.jsonl")
    assert [row.line for row in rows] == [1, 3, 4, 5]
    assert [row.problem is None for row in rows] == [True, False, False, False]


def test_a_device_that_is_named_again_has_a_problem(tmp_path: Path) -> None:
    text = "deviceId,hub\nd-1,a\nd-1,b\nd-1,A\nd-1,\nd-2,\nd-2,b\n"
    problems = [row.problem for row in rows_of(tmp_path, text)]
    assert problems[:2] == [None, None]
    assert problems[2:] == [
        "names the device of line 2 again",
        "names the device of line 2 again",
        None,
        "names the device of line 6 again",
    ]


def test_defaults_are_for_rows_that_name_no_target(tmp_path: Path) -> None:
    file = tmp_path / "ids.csv"
    file.write_text("deviceId,site\nd-1,\nd-2,works\n")
    defaults = {**_TARGET, "site": None}
    first, second = read_rows(str(file), form=None, defaults=defaults)
    assert first.document == {"deviceId": "d-1", **_TARGET}
    expected = {"deviceId": "d-2", "site": "works", "repositories": ["hello-world"]}
    assert second.document == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("deviceId,colour\n", "unknown columns 'colour'"),
        ("site\nx\n", "no column deviceId"),
        ("deviceId\n", "has no row"),
        ('deviceId\n"d-1\n', "is no CSV"),
        ("", "no column deviceId"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(CliError, match=said) as raised:
        rows_of(tmp_path, text)
    assert raised.value.advice


def test_a_file_of_refused_rows_is_read_again_after_it_was_corrected(tmp_path: Path) -> None:
    row = Row(line=7, document={"deviceId": "d-1", **_TARGET})
    for name in ("refused.csv", "refused.jsonl"):
        write_refused(tmp_path / name, [(row, "NotAllowed", "not, here")])
        (again,) = read_rows(str(tmp_path / name), form=None, defaults={})
        assert (again.document, again.problem) == (row.document, None)


def test_a_batch_is_never_larger_than_the_api_takes() -> None:
    rows = [Row(line=n, document={"deviceId": f"{n}", "site": "x" * 60_000}) for n in range(50)]
    made = list(batches(rows, at_once=1000))
    assert [row for batch in made for row in batch] == rows
    assert len(made) > 2
    assert [len(batch) for batch in batches(rows, at_once=20)][-1:] == [2]


def test_a_line_that_a_crash_cut_off_counts_as_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "state/journal.jsonl")
    assert journal.read() == []
    journal.add([{"line": 2}, {"line": 3}])
    with journal.path.open("a") as file:
        file.write('{"line": ')
    assert journal.read() == [{"line": 2}, {"line": 3}]
    journal.add([{"line": 4}])
    assert journal.read()[-1] == {"line": 4}
    assert journal.path.stat().st_mode & 0o777 == 0o600


def test_a_key_is_json_in_a_csv_and_comes_back_so(tmp_path: Path) -> None:
    key = '{"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}'
    cell = key.replace('"', '""')
    text = f'deviceId,sealingKey\nd-1,"{cell}"\nd-2,no JSON\n'
    row, bad = rows_of(tmp_path, text)
    assert row.document["sealingKey"] == {"kty": "EC", "crv": "P-256", "x": "a", "y": "b"}
    assert bad.problem == "sealingKey is not JSON"
    refused = tmp_path / "refused.csv"
    write_refused(refused, [(row, "NotAllowed", "why")])
    (again,) = read_rows(str(refused), form=None, defaults={})
    assert again.document == row.document
