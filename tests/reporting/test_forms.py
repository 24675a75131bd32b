"""Cells and tables in each form: text, Markdown, LaTeX."""

from __future__ import annotations

from corrbench.reporting import latex, markdown, plain
from corrbench.reporting.model import Cell, Column, Group, Row, Table, interval, number, p_value


def test_latex_takes_text_literally():
    assert latex.escape("50% of a_b & {x} ~ ^ $ # \\") == (
        r"50\% of a\_b \& \{x\} \textasciitilde{} \textasciicircum{} \$ \# \textbackslash{}"
    )


def test_long_tables_are_cut_into_pages_and_lose_no_row():
    rows = tuple(Row((Cell(str(i)),)) for i in range(100))
    table = Table(
        "t", "c", (Column("n", True),), (Group(rows[:60], "first"), Group(rows[60:], "second")), "note"
    )
    pieces = latex._pieces(table)
    assert [sum(len(g.rows) for g in p.groups) for p in pieces] == [45, 45, 10]
    assert [cell.text for p in pieces for row in p.rows() for cell in row.cells] == [
        str(i) for i in range(100)
    ]
    cut = markdown.table(table, 70)
    assert "(30 more rows in index.html)" in cut
    assert [f"| {i} |" in cut for i in (0, 59, 60, 69, 70, 99)] == [True] * 4 + [False] * 2
    assert "more rows" not in markdown.table(table)


def test_cells():
    assert number(-0.04).text == "0.0"
    assert number(-1.25, 2).text == "−1.25"
    assert number(1.0, sign=True).text == "+1.0"
    assert number(float("nan")).text == "–"
    assert interval(-1.0, 2.0).text == "[−1.0, 2.0]"
    assert (p_value(0.0001).text, p_value(0.0494).text) == ("< 0.001", "0.049")
    table = Table(
        "t", "caption", (Column("a"), Column("b", True)), (Group((Row((Cell("x"), Cell("1|2", 1.5))),)),)
    )
    assert r"1\|2" in markdown.table(table)
    assert plain.as_data(table) == [{"a": "x", "b": 1.5}]
    assert plain.table(table).splitlines()[-1] == "x  1|2"
