"""Bad inputs, one a case: what is done to a sound set-up, the command, and what its one sentence must say.

`python -m tests.bad_inputs` writes the table of docs/robustness.md from what the commands really print.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
LAB = str(ROOT / "methods" / "lab.py")
TASK = str(ROOT / "tasks" / "davis.py")
SMALL = [
    "-o",
    "protocol.resize=native",
    "-o",
    "protocol.radius=3",
    "-o",
    "protocol.context=3",
    "--device",
    "cpu",
]


@dataclass(frozen=True)
class Place:
    """A test's folder: `davis` (two sequences of four 48x64 frames), `masks` (sound predictions), `runs` (one record)."""

    root: Path

    @property
    def davis(self) -> Path:
        return self.root / "DAVIS"

    @property
    def masks(self) -> Path:
        return self.root / "masks"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    def frame(self, t: int, sequence: str = "blackswan") -> Path:
        return self.davis / "JPEGImages" / "480p" / sequence / f"{t:05d}.jpg"

    def truth(self, t: int, sequence: str = "blackswan") -> Path:
        return self.davis / "Annotations" / "480p" / sequence / f"{t:05d}.png"

    def record(self) -> Path:
        return next(self.runs.rglob("record.json")).parent


@dataclass(frozen=True)
class Case:
    title: str
    harm: Callable[[Place], object]  # does the harm; a list it gives is further words of the command
    command: tuple[str, ...]  # {davis}, {masks}, {runs}, {root} are filled in
    says: str  # a regular expression that the message must match
    code: int = 2


RUN = ("run", LAB, TASK, "--data", "{davis}", "--out", "{root}/out", *SMALL)
SCORE = ("score", "{masks}", TASK, "--data", "{davis}")


def plugin(text: str) -> Callable[[Place], list[str]]:
    def harm(place: Place) -> list[str]:
        (place.root / "mine.py").write_text(text)
        return []

    return harm


def nothing(place: Place) -> None:
    """The command itself is what is wrong."""


def cut(path: Path, keep: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def save_rgb(path: Path) -> None:
    Image.open(path).convert("RGB").save(path)


def resize(path: Path) -> None:
    image = Image.open(path)
    small = Image.new("P", (32, 24))
    small.putpalette(image.getpalette() or [])
    small.save(path)


def set_id(path: Path, value: int) -> None:
    image = Image.open(path)
    image.putpixel((0, 0), value)
    image.save(path)


def sixteen_bit(path: Path) -> None:
    Image.fromarray(np.zeros((48, 64), np.uint16)).save(path)


def grey_levels(path: Path) -> None:
    mask = np.array(Image.open(path))
    Image.fromarray((mask > 0).astype(np.uint8) * 200).save(path)


def edit_record(place: Place, **changes: object) -> None:
    path = place.record() / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def second_record(place: Place) -> list[str]:
    """A copy of the record that says another protocol."""
    other = place.root / "runs2" / "davis" / "other"
    shutil.copytree(place.record(), other)
    data = json.loads((other / "record.json").read_text())
    data["protocol"]["name"], data["protocol"]["settings"]["topk"] = "crw", 3
    data["method"]["name"] = "other"
    data["signature"] = data["signature"].replace("stt.v1", "crw.v1")
    (other / "record.json").write_text(json.dumps(data))
    return []


METHOD = 'method = dict(type="LabelPropagation", backbone=dict(type="Lab"), colour="raw")\n'

CASES = [
    Case(
        "method file that does not exist",
        nothing,
        ("run", "methods/labb.py", TASK),
        r"labb\.py: there is no such file",
    ),
    Case(
        "method given, task forgotten", nothing, ("run", LAB), r"at least one method file and one task file"
    ),
    Case(
        "code in a plugin file",
        plugin("import os\n" + METHOD),
        ("check", "{root}/mine.py"),
        r"mine\.py, line 1: a plugin file holds data only",
    ),
    Case(
        "syntax error in a plugin file",
        plugin("method = dict(\n"),
        ("check", "{root}/mine.py"),
        r"mine\.py: is not valid Python",
    ),
    Case(
        "misspelt block in a plugin file",
        plugin(METHOD + "ablation = {}\n"),
        ("check", "{root}/mine.py"),
        r"nothing reads the name 'ablation'.*Did you mean 'ablations'",
    ),
    Case(
        "unregistered type",
        plugin(METHOD.replace('"Lab"', '"Lba"')),
        ("check", "{root}/mine.py"),
        r"'Lba' is not a registered backbone.*Did you mean 'Lab'",
    ),
    Case(
        "dotted name as a type",
        plugin(METHOD.replace('"Lab"', '"os.system"')),
        ("check", "{root}/mine.py"),
        r"'os\.system' is not a registered backbone",
    ),
    Case(
        "unknown setting of a class",
        plugin(METHOD.replace('"Lab"', '"ResNet", dept=50')),
        ("check", "{root}/mine.py"),
        r"ResNet has no setting 'dept'.*Did you mean 'depth'",
    ),
    Case(
        "ablation of an unknown key",
        plugin(METHOD + 'ablations = {"a": {"method.color": "rgb"}}\n'),
        ("check", "{root}/mine.py"),
        r"ablations\['a'\]: unknown key 'method\.color'.*Did you mean 'colour'",
    ),
    Case(
        "override of an unknown key",
        nothing,
        (*RUN, "-o", "protocol.topkk=5"),
        r"no field 'topkk'.*Did you mean 'topk'",
    ),
    Case(
        "override of an unknown block",
        nothing,
        (*RUN, "-o", "methd.colour=rgb"),
        r"-o methd\.colour=rgb.*Did you mean 'method'",
    ),
    Case("override without a value", nothing, (*RUN, "-o", "protocol.topk"), r"an override is key=value"),
    Case("impossible protocol value", nothing, (*RUN, "-o", "protocol.topk=0"), r"topk"),
    Case("unknown protocol", nothing, (*RUN, "--protocol", "sst"), r"no protocol 'sst'.*Did you mean 'stt'"),
    Case(
        "unknown task option of a sweep",
        nothing,
        ("sweep", LAB, TASK, "--over", "topc=5", "--data", "{davis}"),
        r"'topc' is no switch of a protocol.*Did you mean 'topk'",
    ),
    Case("GPU that is not there", nothing, (*RUN[:-1], "cuda:7"), r"--device cuda:7: torch sees \d+ GPUs"),
    Case(
        "no data, and no sample wanted",
        nothing,
        ("run", LAB, TASK, "--data", "{root}/nowhere", "--no-sample"),
        r"nowhere",
    ),
    Case(
        "list names a sequence that is not there",
        lambda p: shutil.rmtree(p.frame(0).parent),
        RUN,
        r"blackswan",
    ),
    Case("frame missing in the middle", lambda p: p.frame(2).unlink(), RUN, r"blackswan.*00002"),
    Case("annotation missing", lambda p: p.truth(2).unlink(), RUN, r"blackswan.*00002"),
    Case("truncated JPEG", lambda p: cut(p.frame(2)), RUN, r"blackswan/00002\.jpg"),
    Case("empty JPEG", lambda p: cut(p.frame(2), 0), RUN, r"blackswan/00002\.jpg"),
    Case("text in place of a JPEG", lambda p: p.frame(2).write_text("<html>"), RUN, r"blackswan/00002\.jpg"),
    Case("ground truth as RGB", lambda p: save_rgb(p.truth(1)), RUN, r"blackswan/00001\.png"),
    Case("ground truth of another size", lambda p: resize(p.truth(1)), RUN, r"blackswan/00001\.png"),
    Case(
        "frame of another size",
        lambda p: Image.new("RGB", (32, 24)).save(p.frame(2)),
        RUN,
        r"blackswan/00002\.jpg",
    ),
    Case(
        "predictions folder that does not exist",
        nothing,
        ("score", "{root}/nope", TASK, "--data", "{davis}"),
        r"nope: there is no such folder",
    ),
    Case(
        "predicted sequence missing",
        lambda p: shutil.rmtree(p.masks / "blackswan"),
        SCORE,
        r"1 of 2 sequences are missing \(blackswan\)",
    ),
    Case(
        "predicted frame missing",
        lambda p: (p.masks / "blackswan/00002.png").unlink(),
        SCORE,
        r"blackswan.*00002",
    ),
    Case(
        "predicted frame too many",
        lambda p: shutil.copy(p.masks / "blackswan/00002.png", p.masks / "blackswan/00009.png"),
        SCORE,
        r"00009",
    ),
    Case(
        "predicted mask as RGB",
        lambda p: save_rgb(p.masks / "blackswan/00002.png"),
        SCORE,
        r"blackswan/00002\.png.*RGB",
    ),
    Case(
        "predicted mask of another size",
        lambda p: resize(p.masks / "blackswan/00002.png"),
        SCORE,
        r"blackswan/00002\.png.*24 x 32",
    ),
    Case(
        "predicted mask with an unknown id",
        lambda p: set_id(p.masks / "blackswan/00002.png", 7),
        SCORE,
        r"blackswan/00002\.png.*7",
    ),
    Case(
        "predicted mask in 16 bit",
        lambda p: sixteen_bit(p.masks / "blackswan/00002.png"),
        SCORE,
        r"blackswan/00002\.png",
    ),
    Case(
        "predicted mask as grey levels",
        lambda p: grey_levels(p.masks / "blackswan/00002.png"),
        SCORE,
        r"blackswan/00002\.png.*200",
    ),
    Case("truncated PNG", lambda p: cut(p.masks / "blackswan/00002.png"), SCORE, r"blackswan/00002\.png"),
    Case(
        "report of a folder without records",
        lambda p: (p.root / "none").mkdir(),
        ("report", "{root}/none", "--out", "{root}/r"),
        r"none",
    ),
    Case(
        "report of a folder that does not exist",
        nothing,
        ("report", "{root}/nope", "--out", "{root}/r"),
        r"nope does not exist",
    ),
    Case(
        "record cut short",
        lambda p: cut(p.record() / "record.json"),
        ("report", "{runs}", "--out", "{root}/r"),
        r"record\.json is not JSON",
    ),
    Case(
        "record of a later schema",
        lambda p: edit_record(p, schema=99),
        ("report", "{runs}", "--out", "{root}/r"),
        r"schema 99",
    ),
    Case(
        "scores edited by hand",
        lambda p: (p.record() / "scores.csv").write_text("x\n1\n"),
        ("report", "{runs}", "--out", "{root}/r"),
        r"scores\.csv was changed after the run",
    ),
    Case(
        "scores deleted",
        lambda p: (p.record() / "scores.csv").unlink(),
        ("compare", "{runs}"),
        r"scores\.csv is missing",
    ),
    Case(
        "comparing records of two protocols",
        second_record,
        ("compare", "{runs}", "{root}/runs2"),
        r"protocol",
    ),
    Case("verify of an unknown data set", nothing, ("data", "verify", "davs"), r"davs.*[Dd]id you mean"),
]


def prepare(root: Path, write_davis: Callable[..., Path]) -> Place:
    """A sound set-up in `root`: data, predictions that are the ground truth, and one finished record."""
    from corrbench import api

    place = Place(root)
    write_davis(place.davis)
    for name in ("bike-packing", "blackswan"):
        shutil.copytree(place.truth(0, name).parent, place.masks / name)
    api.run(LAB, TASK, data=place.davis, out=place.runs, device="cpu", overrides=SMALL[1:6:2])
    return place


def words(case: Case, place: Place) -> list[str]:
    filled = [
        w.format(davis=place.davis, masks=place.masks, runs=place.runs, root=place.root) for w in case.command
    ]
    more = case.harm(place)
    return filled + (more if isinstance(more, list) else [])


def write_table() -> None:
    """Regenerate docs/robustness.md."""
    import tempfile

    from click.testing import CliRunner

    from corrbench.cli import main
    from tests.conftest import write_davis

    lines = [
        "# Bad input: what is printed",
        "",
        "Every line is a test (`tests/test_robustness.py`); `python -m tests.bad_inputs` writes this page. A message is one",
        "sentence on stderr, the exit code is 2, nothing wrong is scored and nothing finished is lost.",
        "",
        "| what is wrong | what is printed |",
        "|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        sound = prepare(Path(folder) / "sound", write_davis)
        for number, case in enumerate(CASES):
            root = Path(folder) / f"case{number}"
            shutil.copytree(sound.root, root)
            done = CliRunner().invoke(main, words(case, Place(root)))
            said = done.stderr.strip().rpartition("corrbench: ")[2].splitlines()[-1]
            said = said.replace(str(root), "…").replace(str(ROOT) + "/", "").replace("|", "\\|")
            lines.append(f"| {case.title} | {said} |")
    (ROOT / "docs" / "robustness.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_table()
