"""The report's tables as LaTeX: one booktabs tabular a file, and a document that holds them all."""

from __future__ import annotations

from corrbench.reporting.model import Cell, Group, Report, Table

ROWS = 45  # a longer table is cut into pieces that fit a page
MARKS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "−": r"$-$", "–": "--", "—": "---", "·": r"$\cdot$", "×": r"$\times$", "…": r"\dots{}", "≤": r"$\le$", "≥": r"$\ge$",
    "→": r"$\to$",
}  # fmt: skip
PREAMBLE = r"""\documentclass[10pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{booktabs,adjustbox,caption}
\setlength{\parindent}{0pt}
\captionsetup{justification=raggedright,singlelinecheck=false,font=small}
\begin{document}
"""


def tables(found: Report) -> dict[str, str]:
    """File name -> LaTeX of every table of the report."""
    return {f"{table.slug}.tex": tabular(table) for page in found.pages for table in page.tables()}


def document(found: Report) -> str:
    """A standalone document with every table, to be compiled in the folder of `tables/`."""
    parts = [PREAMBLE, rf"\section*{{{escape(found.title)}}}"]
    parts += [rf"\noindent\textbf{{{escape(words)}}}\par" for words in found.warnings]
    for page in found.pages:
        if not any(True for _ in page.tables()):
            continue
        parts.append(rf"\subsection*{{{escape(page.title)}}}")
        for table in page.tables():
            for piece in _pieces(table):
                parts += [
                    r"\begin{table}[!htbp]",
                    rf"\caption*{{{escape(piece.caption)}}}",
                    r"\begin{adjustbox}{max width=\textwidth}",
                    tabular(piece).rstrip(),
                    r"\end{adjustbox}",
                    *(rf"\par\smallskip{{\footnotesize {escape(words)}}}" for words in _notes(piece)),
                    r"\end{table}",
                ]
        parts.append(r"\clearpage")
    return "\n".join([*parts, r"\end{document}", ""])


def tabular(table: Table) -> str:
    """A booktabs tabular; groups have a line of their own, their conditions in full are comments at the
    top.
    """
    width = len(table.columns)
    notes = [f"% ({i}) {group.note}" for i, group in enumerate(table.groups, start=1) if group.note]
    lines = [
        f"% {table.caption}".replace("\n", " "),
        *notes,
        r"\begin{tabular}{" + "".join("r" if column.number else "l" for column in table.columns) + "}",
        r"\toprule",
        " & ".join(escape(column.title) for column in table.columns) + r" \\",
    ]
    for i, group in enumerate(table.groups, start=1):
        lines.append(r"\midrule")
        if group.title:
            words = f"({i}) {group.title}" if group.note else group.title
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\itshape {escape(words)}}} \\")
        lines += [" & ".join(_cell(cell) for cell in row.cells) + r" \\" for row in group.rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape(words: str) -> str:
    """Text with everything that LaTeX would read as a command taken literally."""
    return "".join(MARKS.get(c, c) for c in words).replace("\n", " ")


def _notes(table: Table) -> list[str]:
    """What stands below a table: the conditions of its groups in full, then its own notes."""
    notes = [f"({i}) {group.note}" for i, group in enumerate(table.groups, start=1) if group.note]
    return notes + table.note.splitlines()


def _cell(cell: Cell) -> str:
    return rf"\textbf{{{escape(cell.text)}}}" if cell.strong else escape(cell.text)


def _pieces(table: Table) -> list[Table]:
    """The table in pieces of at most 45 rows, each with the groups' titles it needs."""
    pieces: list[list[Group]] = [[]]
    used = 0
    for group in table.groups:
        start = 0
        while start < len(group.rows):
            if used >= ROWS:
                pieces.append([])
                used = 0
            take = min(ROWS - used, len(group.rows) - start)
            pieces[-1].append(Group(group.rows[start : start + take], group.title, group.note))
            start, used = start + take, used + take
    captions = [table.caption + (" (continued)" if i else "") for i in range(len(pieces))]
    return [
        Table(table.slug, caption, table.columns, tuple(groups), table.note if i == len(pieces) - 1 else "")
        for i, (caption, groups) in enumerate(zip(captions, pieces, strict=True))
    ]
