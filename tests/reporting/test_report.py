"""The report: nothing but the records' numbers, each with its signature and a link that holds; three
forms, one story.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from corrbench import record, reporting
from corrbench import scores as sc
from corrbench.reporting import build
from corrbench.reporting.model import Plot
from tests.fake_records import make_records

VOID = {"meta", "img", "br", "input", "link", "hr"}


class Page(HTMLParser):
    """Tags that do not close, text, links, ids and sources of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.errors, self.links, self.sources, self.ids, self.cells, self.data = (
            [],
            [],
            [],
            [],
            [],
            [],
            "",
        )
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in VOID:
            self.open.append((tag, found))
        self.links += [found["href"]] if tag == "a" and "href" in found else []
        self.sources += [found[k] for k in ("src", "href") if k in found and tag != "a"]
        self.ids += [found["id"]] if "id" in found else []
        if "data-s" in found:
            self.cells.append(int(found["data-s"]))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self.open or self.open[-1][0] != tag:
            self.errors.append((tag, self.open[-1:], self.getpos()))
        else:
            self.open.pop()

    def handle_data(self, text):
        if self.open and self.open[-1][1].get("id") == "corrbench-data":
            self.data += text


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Records, model and folder of a report of three tasks, one of them on real data of which a part is
    there.
    """
    root = tmp_path_factory.mktemp("runs")
    records = make_records(
        root,
        methods=("hog", "lab", "a_b<c>&"),
        protocols=("stt", "crw"),
        switches={"topk": (5,)},
        synthetic=False,
        sequences=6,
    )
    records += make_records(root, kind="pose", methods=("hog", "lab"), sequences=6)
    records += make_records(root, kind="parts", methods=("hog", "lab"), sequences=6)
    out = tmp_path_factory.mktemp("out")
    found = build.build(records, [reporting.keep(r, out) for r in records], overlays="none")
    reporting.render(found, out)
    return records, found, out


@pytest.fixture(scope="module")
def written(everything):
    return everything[0], everything[2]


@pytest.fixture(scope="module")
def model(everything):
    return everything[1]


def test_the_page_is_whole_and_needs_nothing_else(written):
    records, out = written
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.errors == []
    assert page.open == []
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"|http://www.w3.org/2000/svg', "", text)
    plain_ids = [
        i for i in page.ids if not re.fullmatch(r"[A-Za-z0-9]{9,}", i)
    ]  # matplotlib's own are hashes
    assert len(plain_ids) == len(set(plain_ids))
    data = json.loads(page.data)
    assert {r.signature for r in records} <= set(data["s"])
    assert max(page.cells) < len(data["s"])


def test_every_link_leads_to_a_record(written):
    records, out = written
    page = Page((out / "index.html").read_text(encoding="utf-8"))
    linked = {link for link in page.links if not link.startswith("#")}
    assert len(linked) == len(records)
    for link in linked:
        assert record.read(out / link).key in {r.key for r in records}
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors <= set(page.ids)
    inside = re.findall(r"\]\((records/[^)]+)\)", (out / "README.md").read_text(encoding="utf-8"))
    assert inside
    assert all((out / link).is_file() for link in inside)


def test_names_are_text_and_never_markup(written):
    _, out = written
    html = (out / "index.html").read_text(encoding="utf-8")
    assert "a_b<c>" not in html.replace("\\u003c", "<").split('id="corrbench-data"')[0]
    assert "a_b&lt;c&gt;&amp;" in html
    assert r"a\_b\<c\>&" in (out / "README.md").read_text(encoding="utf-8")
    assert r"a\_b\textless{}c\textgreater{}\&" in (out / "tables.tex").read_text(encoding="utf-8")


def test_every_measured_number_has_its_signature(model):
    for page in model.pages:
        for table in page.tables():
            for row in table.rows():
                for cell, column in zip(row.cells, table.columns, strict=True):
                    if cell.link and column.number:
                        assert cell.signature, (table.slug, column.title)


def test_two_signatures_never_share_a_group(written, model):
    """In the tables of scores, all numbers of a group come from records that differ in the method alone."""
    by_signature = {r.signature: r for r in written[0]}
    checked = 0
    for page in model.pages:
        for table in page.tables():
            if not table.slug.startswith("records") and not table.slug.endswith("scores"):
                continue
            for group in table.groups:
                found = {
                    cell.signature
                    for row in group.rows
                    for cell in row.cells
                    if cell.signature in by_signature
                }
                assert len({sc.group_key(by_signature[s]) for s in found}) == 1
                assert sc.extent(by_signature[min(found)]) in group.title
                assert by_signature[min(found)].protocol["signature"] in group.note
                checked += 1
    assert checked >= 2 * (4 + 1 + 1)


def test_two_signatures_never_share_a_column_over_tasks(written, model):
    by_signature = {r.signature: r for r in written[0]}
    (table,) = [t for page in model.pages for t in page.tables() if t.slug == "overview"]
    for i in range(2, len(table.columns)):
        found = [row.cells[i].signature for row in table.rows() if row.cells[i].signature]
        assert len({sc.group_key(by_signature[s]) for s in found}) == 1


def test_numbers_are_those_of_the_records(written, model):
    by_signature = {r.signature: r for r in written[0]}
    (table,) = [t for page in model.pages for t in page.tables() if t.slug == "davis-scores"]
    titles = [column.title for column in table.columns]
    for row in table.rows():
        found = by_signature[row.cells[titles.index("J-Decay")].signature]
        for metric in ("J&F-Mean", "J-Mean", "F-Recall", "J-Decay"):
            assert row.cells[titles.index(metric)].value == pytest.approx(found.summary[metric])
        values = dict(zip(row.detail.columns, zip(*row.detail.rows, strict=True), strict=True))
        assert values["J&F-Mean"] == pytest.approx(sc.of(found).by_sequence(), abs=0.051)


def test_partial_and_synthetic_data_are_said_beside_every_table_and_plot(written, model):
    assert any("6 of 30 sequences" in words for words in model.warnings)
    assert any("Synthetic" in words for words in model.warnings)
    for page in model.pages:
        for section in page.sections:
            for item in section.items:
                if page.slug in ("davis", "jhmdb", "vip", "protocols", "compare"):
                    words = item.caption
                    assert "6 of 30 sequences" in words or "synthetic" in words, item.slug


def published_tables(found):
    return [t.slug for page in found.pages for t in page.tables() if t.slug.endswith("-published")]


def test_published_numbers_stand_beside_whole_real_data_only(tmp_path, model):
    assert published_tables(model) == []
    whole = make_records(tmp_path, methods=("hog",), synthetic=False, sequences=30)
    found = build.build(whole, ["x"], overlays="none")
    (table,) = [t for page in found.pages for t in page.tables() if t.slug == "davis-published"]
    assert "70.7" in {cell.text for row in table.rows() for cell in row.cells}
    assert all("published" in column.title for column in table.columns if column.number)
    for row in table.rows():
        for cell, column in zip(row.cells, table.columns, strict=True):
            assert not cell.link
            assert not column.number or cell.text == "–" or cell.signature.startswith("published: ")
    rendered = make_records(tmp_path / "s", methods=("hog",), sequences=30)
    assert published_tables(build.build(rendered, ["x"], overlays="none")) == []


def test_the_same_records_give_the_same_bytes(written, tmp_path):
    records, _ = written
    some = [r for r in records if r.kind == "parts"]
    for name in ("a", "b"):
        reporting.write(some, tmp_path / name, overlays="none", published=False)
    files = {p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file()}
    assert len(files) > 10
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_what_an_earlier_report_left_is_removed_and_its_records_stay(written, tmp_path):
    records, _ = written
    reporting.write(records[-1:], tmp_path, overlays="none", published=False)
    (tmp_path / "plots" / "old.svg").write_text("old")
    again = reporting.write_from([tmp_path], tmp_path, overlays="none")
    assert not (tmp_path / "plots" / "old.svg").exists()
    assert [p.name for p in again] == ["README.md", "index.html", "tables.tex"]
    assert len(list((tmp_path / "records").rglob("record.json"))) == 1


def test_plots_follow_the_page_and_stand_alone(model):
    drawn = [i for page in model.pages for s in page.sections for i in s.items if isinstance(i, Plot)]
    assert len(drawn) > 10
    from corrbench.reporting.svg import INK, plain, themed

    for plot in drawn:
        assert plot.alt
        assert plot.caption
        assert "currentColor" in themed(plot.svg)
        assert INK not in themed(plot.svg) + plain(plot.svg)
        assert "<dc:date>" not in plot.svg


def test_latex_is_balanced_and_takes_text_literally(written):
    _, out = written
    files = [*out.glob("tables/*.tex"), out / "tables.tex"]
    assert len(files) > 10
    for path in files:
        text = re.sub(r"(?m)^%.*$", "", path.read_text(encoding="utf-8"))
        bare = text.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}"), path
        assert text.count(r"\begin{") == text.count(r"\end{")
        for columns, rows in re.findall(
            r"\\begin{tabular}{([lr]+)}(.*?)\\end{tabular}", text, flags=re.DOTALL
        ):
            for line in rows.splitlines():
                if line.endswith(r"\\") and "multicolumn" not in line:
                    assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line


def test_no_records_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"no records under .*corrbench run METHOD TASK"):
        reporting.write_from([tmp_path], tmp_path / "out")
    with pytest.raises(ValueError, match="does not exist"):
        reporting.write_from([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(ValueError, match="expected all, synthetic, none"):
        reporting.write(make_records(tmp_path, methods=("hog",)), tmp_path / "out", overlays="some")


def test_a_report_is_written_without_torch(written, tmp_path):
    records, _ = written
    code = (
        "import sys; from corrbench import reporting;"
        f"reporting.write_from({[str(r.folder) for r in records[-1:]]!r}, {str(tmp_path)!r}, overlays='none');"
        "print([m for m in ('torch', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_ablations_are_left_out_and_said(tmp_path):
    for made in make_records(tmp_path / "runs", methods=("hog", "lab", "dino")):
        path = made.folder / "record.json"
        data = json.loads(path.read_text())
        if made.method["name"] != "hog":
            data["checkpoint"] = {"name": "w", "sha256": "0" * 64, "trained": {"ablation": "one level"}}
        path.write_text(json.dumps(data))

    def shown(*paths, **options):
        reporting.write_from(paths, tmp_path / "out", overlays="none", **options)
        text = (tmp_path / "out" / "README.md").read_text()
        names = {r.method["name"] for r in record.find(*paths)}
        return {name for name in names if f"[{name}](" in text or f"| {name} |" in text}, text

    names, text = shown(tmp_path / "runs")
    assert names == {"hog"}
    assert "2 records of ablations are left out" in text
    names, text = shown(tmp_path / "runs", ablations=True)
    assert names == {"hog", "lab", "dino"}
    assert "left out" not in text
    only = [r.folder for r in record.find(tmp_path / "runs") if r.method["name"] != "hog"]
    assert shown(*only)[0] == {"lab", "dino"}
