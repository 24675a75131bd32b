"""Weights that corrbench ships: packed, checked, carded, loaded strictly, and never taken for the authors'."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from corrbench import api, config, scores, shipped, zoo
from corrbench.backbones.whitened import Whitened
from corrbench.record import Record
from corrbench.reproduction import PAPERS, authors_weights, reproduce
from corrbench.training import cache

ROOT = Path(__file__).parents[1]
NAME = "stt-r18-small"
WITH = [f"method.checkpoint={NAME}"]  # methods/stt.py takes another by itself


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/ship_weights.py, writing to a folder and a zoo of the test's own, as before anything was shipped."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import ship_weights

    text = zoo.PATH.read_text(encoding="utf-8")
    for name in ship_weights.shippable():
        text = ship_weights.with_sha256(text, name, "")
    (tmp_path / "zoo.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(zoo, "PATH", tmp_path / "zoo.toml")
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "checkpoints")
    monkeypatch.setenv("CORRBENCH_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    zoo._zoo.cache_clear()
    yield ship_weights
    monkeypatch.undo()
    zoo._zoo.cache_clear()


def placed(value: Any) -> Any:
    """Settings whose data lie in folders of some machine."""
    if isinstance(value, dict):
        return {
            k: [f"/somewhere/{Path(name).name}" for name in v] if k == "folders" else placed(v)
            for k, v in value.items()
        }
    return [placed(v) for v in value] if isinstance(value, list) else value


def stages(
    root: Path,
    network: torch.nn.Module,
    changes: dict[str, Any] | None = None,
    schedule: str = "small",
    **about: Any,
) -> Path:
    """The folders of the finished stages of methods/stt.py's `schedule`, with `network`'s weights; the last one."""
    data = config.load(ROOT / "methods" / "stt.py", "method").data
    parent = None
    whole = cache.chain(cache.variant(data, schedule, changes))
    for number, settings in whole[cache.beginning([settings for _, settings in whole]) :]:
        digest = hashlib.sha256(f"{number}{changes}".encode()).hexdigest()
        folder = root / digest
        folder.mkdir(parents=True)
        save_file(network.state_dict(), folder / "weights.safetensors")
        settings = placed(settings)
        (folder / "stage.json").write_text(
            json.dumps(
                {
                    "digest": digest, "type": settings["type"], "number": number, "seed": 2, "parent": parent,
                    "settings": config.canonical(settings), "data": {"name": "photographs", "synthetic": False},
                    "sha256": cache.sha256(folder / "weights.safetensors"), "updates": settings["updates"],
                    "updates_per_second": 3.5, "device": "cpu", "machine": {"cpu": "a processor"},
                    "git": {"commit": "a" * 40, "dirty": False},
                }
                | about
            )
        )  # fmt: skip
        parent = digest
    return folder


def whitened(layer: int = 3, seed: int = 0, **more: Any) -> Whitened:
    settings = {"depth": 18, "layer": layer, "strides": (1, 2, 2, 1), "stem_pool": None, "seed": seed}
    stage = config.load(ROOT / "methods" / "stt.py", "method").data["training"][2]
    joined = {key: stage[key] for key in ("layers", "means", "directions")} if layer == 3 else {}
    return Whitened({"type": "ResNet"} | settings, **joined, **more)


@pytest.fixture
def network() -> Whitened:
    """A random ResNet-18 up to its third stage, its statistics away from their start, and some linear map behind it."""
    torch.manual_seed(0)
    net = whitened()
    size = net.channels, net.whitening.in_channels
    net.set(torch.rand(size[1]), torch.eye(*size) + 0.1 * torch.randn(*size))
    for key, value in net.state_dict().items():
        if key.startswith("backbone.") and key.endswith(("running_mean", "bias")):
            value.normal_(0, 0.1)
        if key.endswith("running_var"):
            value.uniform_(0.5, 2)
    return net


def test_a_stage_becomes_a_small_file_that_is_used_by_name(
    script: ModuleType, network: Whitened, tmp_path: Path, tiny_davis: Path
) -> None:
    with pytest.raises(
        ValueError, match=r"'stt-r18-small' .* has no stt-r18-small.safetensors there.*--schedule \(paper"
    ):
        api.plan(ROOT / "methods/stt.py", ROOT / "tasks/davis.py", data=tiny_davis, overrides=WITH)
    folder = stages(tmp_path / "stages", network)
    (folder / "log.csv").write_text("update,lr\n" + "".join(f"{n},0.1\n" for n in range(1, 501)))
    weights, _, log, card = script.ship(str(folder), NAME, "float16", None, [])
    assert len(log.read_text().splitlines()) == 1 + 120
    assert f"logs/{log.name}" in card.read_text()
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    assert 2 * numbers < weights.stat().st_size < 2.05 * numbers  # two bytes each, a head, and norms in full
    stored = load_file(weights)
    assert {t.dtype for t in stored.values()} == {torch.float16, torch.float32}
    assert not any(
        key.startswith(("backbone.layer4", "backbone.fc")) or key.endswith("num_batches_tracked")
        for key in stored
    )
    assert zoo.entry(NAME).sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()

    ours = whitened(seed=9)
    found = zoo.load(NAME, ours)
    assert found.path == weights
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    x = torch.randn(2, 3, 96, 128)
    with torch.inference_mode():
        expected, got = network.eval()(x), ours.eval()(x)
    apart = (got - expected).norm(dim=1) / expected.norm(dim=1)
    assert 1e-5 < float(apart.max()) < 2e-3
    assert shipped.header(weights)["feature_difference"] < 2e-3

    about = shipped.header(weights)
    assert (about["schedule"], about["ablation"], about["seed"]) == ("small", None, 2)
    assert "/somewhere" not in json.dumps(about)
    text = card.read_text()
    for words in ("not** the weights", "CC BY-NC 4.0", "1,912 frames", "1,000 photographs", "Schedule `small`", "seed 2",
                  folder.name, "aaaaaaaaaaaa", "a processor", "No record was given"):  # fmt: skip
        assert words in text, words

    planned = api.plan(ROOT / "methods/stt.py", ROOT / "tasks/davis.py", data=tiny_davis, overrides=WITH)
    assert planned.signature.split("|")[2].startswith("stt-small@")
    assert "corrbench's own weights stt-r18-small, not the authors'" in planned.title
    trained = planned.weights.as_dict()["trained"]
    assert (trained["schedule"], trained["stages"][-1]["digest"]) == ("small", folder.name)
    with pytest.raises(ValueError, match=r"'stt-r18' .* is not on this machine"):
        api.plan(
            ROOT / "methods/stt.py",
            ROOT / "tasks/davis.py",
            data=tiny_davis,
            overrides=["method.checkpoint=stt-r18"],
        )


def test_the_same_stage_gives_the_same_bytes_and_float32_gives_the_same_features(
    script: ModuleType, network: Whitened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stages(tmp_path / "stages", network)
    first = script.ship(str(folder), NAME, "float16", None, [])[0].read_bytes()
    assert (
        script.ship(str(folder / "weights.safetensors"), NAME, "float16", None, [])[0].read_bytes() == first
    )
    with pytest.raises(ValueError, match=r"would be 14.0 MB, at most 12; use --store float16"):
        script.ship(str(folder), NAME, "float32", None, [])
    monkeypatch.setattr(script, "LIMIT", 15_000_000)
    whole = script.ship(str(folder), NAME, "float32", None, [])[0]
    assert 10_000_000 < whole.stat().st_size < script.LIMIT
    assert shipped.header(whole)["feature_difference"] == 0


def test_other_content_is_refused(script: ModuleType, network: Whitened, tmp_path: Path) -> None:
    weights = script.ship(str(stages(tmp_path / "stages", network)), NAME, "float16", None, [])[0]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"is not checkpoint 'stt-r18-small': its sha256 is"):
        zoo.locate(NAME)


def test_what_should_not_be_shipped_is_refused(script: ModuleType, network: Whitened, tmp_path: Path) -> None:
    def refused(words: str, name: str = NAME, **how: Any) -> None:
        folder = stages(tmp_path / str(len(list(tmp_path.iterdir()))), how.pop("network", network), **how)
        with pytest.raises(ValueError, match=words):
            script.ship(str(folder), name, "float16", None, [])
        assert not list((tmp_path / "checkpoints").glob("*"))
        assert zoo.entry(NAME).sha256 == ""

    refused("trained on rendered videos", data={"name": "rendered", "synthetic": True})
    refused("is no entry with `shipped = true`", name="stt-r18")
    refused("no schedule of stt.py has the settings", changes={"training.1.lr": 0.5})
    refused(
        "evaluated otherwise than stt.py",
        changes=config.load(ROOT / "methods/stt.py").data["ablations"]["spatial step only"],
    )
    refused("is of another network", network=whitened(layer=2))
    network.backbone.conv1.weight.data[0, 0, 0, 0] = 1e6
    refused("has values that float16 cannot hold")
    with pytest.raises(ValueError, match="is the folder of no finished stage"):
        script.ship("0123", NAME, "float16", None, [])


def test_an_ablation_that_is_evaluated_alike_is_named(
    script: ModuleType, network: Whitened, tmp_path: Path
) -> None:
    folder = stages(tmp_path / "stages", network, changes={"training.1.local_weight": 0.0})
    weights = script.ship(str(folder), NAME, "float16", None, [])[0]
    assert shipped.header(weights)["ablation"] == "no local distillation"


def test_a_contrast_beside_the_second_step_is_in_the_card(
    script: ModuleType, network: Whitened, tmp_path: Path
) -> None:
    folder = stages(tmp_path / "stages", network.backbone, schedule="contrast")
    text = script.ship(str(folder), NAME, "float16", None, [])[-1].read_text()
    assert "contrast between cells of two views of a photograph at the same time" in text
    assert "Schedule `contrast`" in text


def test_the_other_seeds_that_taught_a_network_are_in_the_card(
    script: ModuleType, network: Whitened, tmp_path: Path
) -> None:
    last = stages(tmp_path / "stages", network, {"training.3.updates": 5})
    about = json.loads((last / "stage.json").read_text())
    first = json.loads((tmp_path / "stages" / about["parent"] / "stage.json").read_text())
    other = first | {"digest": "b" * 64, "seed": 3, "parent": None}
    (tmp_path / "stages" / other["digest"]).mkdir()
    save_file(network.state_dict(), tmp_path / "stages" / other["digest"] / "weights.safetensors")
    (tmp_path / "stages" / other["digest"] / "stage.json").write_text(json.dumps(other))
    (last / "stage.json").write_text(json.dumps(about | {"teachers": [other["digest"]]}))

    stages_of = script.chain(last)
    assert [(s["type"], s["seed"]) for s in stages_of] == [
        ("Spatial", 2), ("Temporal", 2), ("Whitening", 2), ("Whitening", 3), ("EnsembleDistillation", 2),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"no schedule of stt\.py has the settings"):
        script.ship(str(last), NAME, "float16", None, [])
    text = script.ship(str(last), NAME, "float16", "small", [])[-1].read_text()
    assert text.count("Whitening is ours") == text.count("EnsembleDistillation is ours") == 1
    assert "| EnsembleDistillation | 5 | 2 |" in text
    assert "others 2" in text
    method = script.method_of(NAME)
    method.data["schedules"]["taught"] = method.data["schedules"]["small"] | {"training.3.updates": 5}
    taught = script.identify(stages_of, NAME, method, None)
    assert taught == {"schedule": "taught", "ablation": None}
    # A checkpoint of the zoo in the place of the first seed: the run's own stages begin with the last one.
    begun = stages_of[-1] | {"settings": stages_of[-1]["settings"] | {"weights": NAME}}
    with pytest.raises(ValueError, match=r"no schedule of stt\.py has the settings"):
        script.identify([*stages_of[:-1], begun], NAME, method, None)
    method.data["schedules"]["begun"] = method.data["schedules"]["taught"] | {"training.3.weights": NAME}
    assert script.identify([stages_of[-2], begun], NAME, method, None)["schedule"] == "begun"


@pytest.mark.parametrize(
    ("schedule", "types"),
    [
        ("chain", ["ChainDistillation"]),
        ("two-pass", ["Whitening", "ChainDistillation"]),
        ("centred-chain", ["Whitening", "ChainDistillation"]),
        ("adapted", ["Whitening"]),
    ],
)
def test_stages_that_start_from_shipped_weights_are_shipped_beside_them(
    script: ModuleType, network: Whitened, tmp_path: Path, tiny_davis: Path, schedule: str, types: list[str]
) -> None:
    first = script.ship(str(stages(tmp_path / "first", network)), NAME, "float16", None, [])[-1]
    assert f"-o method.checkpoint={NAME}" in first.read_text()
    settings: dict[str, dict[str, Any]] = {
        "two-pass": {"dropped": [1, 2]},
        "centred-chain": {"centred": True},
        "adapted": {"centred": True, "adapted": 0.4},
    }
    differently = settings.get(schedule, {})
    if differently:
        network = whitened(**differently)
    folder = stages(tmp_path / "stages", network, schedule=schedule)
    name = f"stt-r18-{schedule}"
    weights, *_, card = script.ship(str(folder), name, "float16", None, [])
    header = shipped.header(weights)
    assert (header["schedule"], [stage["type"] for stage in header["stages"]]) == (schedule, types)
    text = card.read_text()
    default = config.load(ROOT / "methods/stt.py", "method").data["method"]["checkpoint"] == name
    assert ("method.checkpoint" not in text) == default
    assert f"{types[0]} starts from `{NAME}`" in text
    assert f"{types[-1]} is ours" in text
    assert ("depend on the whole video" in text) == ("centred" in differently)
    assert ("adapted-to-the-video" in text) == ("adapted" in differently)
    planned = api.plan(
        ROOT / "methods/stt.py", ROOT / "tasks/davis.py", data=tiny_davis,
        overrides=[] if default else [f"method.checkpoint={name}"],
    )  # fmt: skip
    assert planned.signature.split("|")[2].startswith(f"stt-{schedule}@")
    backbone = planned.resolved["method"]["backbone"]
    plain = {"dropped": [], "centred": False, "adapted": 0.0}
    assert backbone["type"] == "Whitened"
    assert {key: type(plain[key])(backbone.get(key, plain[key])) for key in plain} == plain | differently
    words = scores.backbone(SimpleNamespace(data={"resolved": planned.resolved}))  # type: ignore[arg-type]
    further = [what for what in ("centred", "adapted") if what in differently]
    assert words == ", ".join(["ResNet-18, whitened", *further])


def test_the_card_takes_its_scores_from_records_of_these_weights(
    script: ModuleType, network: Whitened, tmp_path: Path, tiny_davis: Path
) -> None:
    from corrbench import runner

    script.ship(str(stages(tmp_path / "stages", network)), NAME, "float16", None, [])
    planned = api.plan(
        ROOT / "methods/stt.py", ROOT / "tasks/davis.py", data=tiny_davis,
        overrides=[*WITH, "protocol.resize=short 32"],
        out=tmp_path / "runs", device="cpu",
    )  # fmt: skip
    assert planned.resolved["method"]["backbone"]["type"] == "Whitened"  # though methods/stt.py has a ResNet
    made = runner.execute(planned)
    assert made.method["name"] == "stt-small"
    assert made.data["seed"] == 2
    assert not authors_weights(made, PAPERS["stt"])
    verdicts = reproduce([made], method="stt")
    assert {v.verdict for v in verdicts} == {"cannot tell"}
    assert all("other weights: stt-r18-small (corrbench's own training)" in v.why for v in verdicts)
    card = script.write_card(NAME, [tmp_path / "runs"])[0].read_text()
    assert f"| J&F-Mean | {made.summary['J&F-Mean']:.1f} |" in card
    assert "short side 32" in card
    assert "this file" in card
    with pytest.raises(ValueError, match="none of the 1 records given is of these weights"):
        script.ship(
            str(stages(tmp_path / "more", whitened(seed=3))),
            NAME,
            "float16",
            None,
            [tmp_path / "runs"],
        )


def record_with(checkpoint: dict[str, Any] | None) -> Record:
    return Record(Path("somewhere"), {"checkpoint": checkpoint})


@pytest.mark.parametrize(
    ("checkpoint", "theirs"),
    [
        ({"name": "stt-r18", "sha256": "1"}, True),
        ({"name": "stt-r18-small", "sha256": "1"}, False),
        (None, False),
        ({"name": "x", "trained": {"schedule": "paper", "ablation": None, "synthetic": False}}, True),
        ({"name": "x", "trained": {"schedule": "small", "ablation": None, "synthetic": False}}, False),
        (
            {
                "name": "x",
                "trained": {"schedule": "paper", "ablation": "no distillation", "synthetic": False},
            },
            False,
        ),
        ({"name": "x", "trained": {"schedule": None, "ablation": None, "synthetic": True}}, False),
    ],
)
def test_published_numbers_are_judged_by_the_authors_weights_only(checkpoint: Any, theirs: bool) -> None:
    assert authors_weights(record_with(checkpoint), PAPERS["stt"]) is theirs


def test_what_the_zoo_says_is_shipped_is_in_the_package() -> None:
    """A file without its sha256 in the zoo, or without its card, is not shipped; and the other way round."""
    for name in zoo.names():
        known = zoo.entry(name)
        if known.shipped:
            path = shipped.FOLDER / known.file
            assert path.is_file() == bool(known.sha256) == (path.with_suffix(".md")).is_file(), name
            if known.sha256:
                assert zoo.locate(name).trained
                assert path.stat().st_size <= 12_000_000
    assert {p.stem for p in shipped.FOLDER.glob("*.safetensors")} <= set(zoo.names())


def test_the_package_carries_weights_and_cards(tmp_path: Path) -> None:
    """As the build sees it: wheel and source distribution of a copy that has a weights file."""
    pytest.importorskip("hatchling")
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder

    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "corrbench" / "checkpoints", tmp_path / "corrbench" / "checkpoints")
    (tmp_path / "corrbench" / "__init__.py").touch()
    for suffix in (".safetensors", ".md"):
        (tmp_path / "corrbench" / "checkpoints" / f"net{suffix}").touch()
    for builder in (WheelBuilder(str(tmp_path)), SdistBuilder(str(tmp_path))):
        carried = {file.relative_path for file in builder.recurse_included_files()}
        assert {f"corrbench/checkpoints/net{suffix}" for suffix in (".safetensors", ".md")} <= carried
