"""Make a trained stage part of the package: fp16 file, its sha256 in the zoo, and a model card.

    python scripts/ship_weights.py STAGE --as stt-r18-small                           ship it
    python scripts/ship_weights.py --card stt-r18-small --records reports/stt         its scores into its card

STAGE is a stage's folder in the cache, the weights file in it, or the beginning of its digest. Kernels are stored as float16
(`--store float32`: as they are) and everything else as float32; only what the method evaluates is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import model_card
import torch
from safetensors.torch import save

from corrbench import __version__, config, plugins, record, shipped, zoo
from corrbench.ablation import FULL, changes_of
from corrbench.ablation_study import placeless, thinned
from corrbench.backbones.adapted import to_video
from corrbench.backbones.centred import over_video
from corrbench.backbones.colour import to_input
from corrbench.registry import BACKBONES, build
from corrbench.run_weights import network_of
from corrbench.training import cache, checkpoint

ROOT = Path(__file__).parents[1]
LIMIT = 12_000_000  # bytes of a file
STORES = {"float16": torch.float16, "float32": torch.float32}
COMPARED_ON = "four smooth random 128x192 frames"
# A feature difference above this says that float16 does not hold these weights (rounding alone gives about 5e-4).
MOST = 5e-3


def main(arguments: Sequence[str] | None = None) -> int:
    words = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    words.add_argument("stage", nargs="?", help="folder, weights file or digest of a finished stage")
    words.add_argument("--as", dest="name", help=f"one of {', '.join(shippable())}")
    words.add_argument("--card", help="write the card of these shipped weights anew, and nothing else")
    words.add_argument("--store", choices=list(STORES), default="float16")
    words.add_argument(
        "--schedule", help="say which schedule it was, where the method file has changed since"
    )
    words.add_argument("--records", type=Path, nargs="+", default=[], help="records for the card's scores")
    given = words.parse_args(arguments)
    if not zoo.PATH.is_relative_to(ROOT):
        print(
            f"Error: corrbench is imported from {zoo.PATH.parent}, not from {ROOT}; pip install -e {ROOT} first",
            file=sys.stderr,
        )
        return 1
    try:
        if given.card:
            for path in write_card(given.card, given.records):
                print(path)
            return 0
        if not given.stage or not given.name:
            words.error("give a STAGE and --as NAME, or --card NAME")
        for path in ship(given.stage, given.name, given.store, given.schedule, given.records):
            print(path)
    except ValueError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def ship(stage: str, name: str, store: str, schedule: str | None, records: Sequence[Path]) -> list[Path]:
    """Write the weights, the sha256 and the card of `name`; the paths written. Nothing is written where a check fails."""
    if name not in shippable():
        raise ValueError(
            f"{name!r} is no entry with `shipped = true` in {zoo.PATH}; there are {', '.join(shippable())}"
        )
    folder = folder_of(stage)
    stages = chain(folder)
    if any(one["data"]["synthetic"] for one in stages):
        raise ValueError(
            f"{folder} was trained on rendered videos; train it on real ones before it is shipped"
        )
    method = method_of(name)
    found = identify(stages, name, method, schedule)
    whole = checkpoint.load_weights(folder / "weights.safetensors")
    backbone = network_of(stages, method.data["method"]["backbone"])
    tensors = pack(whole, backbone, STORES[store], folder)
    difference = feature_difference(backbone, method.data["method"]["colour"], whole, tensors)
    if difference > MOST:
        raise ValueError(
            f"{folder}: stored as {store}, features differ by {difference:.1e} of their length (at most {MOST:g}); "
            "use --store float32"
        )
    about = {
        "name": name, **found, "seed": stages[-1]["seed"], "synthetic": False, "stored": store,
        "feature_difference": float(f"{difference:.2e}"), "compared_on": COMPARED_ON,
        "corrbench": __version__, "stages": stages,
    }  # fmt: skip
    # One entry only: the library writes several in no fixed order, and the file's bytes are to depend on its content alone.
    content = save(tensors, {shipped.FIELD: json.dumps(about, sort_keys=True)})
    if len(content) > LIMIT:
        raise ValueError(
            f"{name} would be {len(content) / 1e6:.1f} MB, at most {LIMIT / 1e6:.0f}; use --store float16"
        )
    path = shipped.FOLDER / zoo.entry(name).file
    path.parent.mkdir(exist_ok=True)
    record.write_atomic(path, content)
    digest = hashlib.sha256(content).hexdigest()
    record.write_atomic(zoo.PATH, with_sha256(zoo.PATH.read_text(encoding="utf-8"), name, digest).encode())
    zoo._zoo.cache_clear()
    print(
        f"{name}: {len(content) / 1e6:.2f} MB, features within {difference:.1e} of float32's, sha256 {digest}",
        file=sys.stderr,
    )
    return [path, zoo.PATH, *write_logs(folder, path.parent / "logs"), *write_card(name, records)]


def shippable() -> list[str]:
    """The zoo's entries that corrbench itself ships."""
    return [name for name in zoo.names() if zoo.entry(name).shipped]


def folder_of(stage: str) -> Path:
    """The folder of a finished stage, by itself, by its weights file or by the beginning of its digest."""
    given = Path(stage).expanduser()
    if given.name == "weights.safetensors":
        given = given.parent
    if (given / "stage.json").is_file():
        return given
    fits = (
        [f.parent for f in cache.folder_of_stages().glob(f"{stage}*/stage.json")] if stage.isalnum() else []
    )
    if len(fits) != 1:
        raise ValueError(
            f"{stage!r} is the folder of no finished stage, and {len(fits)} in {cache.folder_of_stages()} begin with it"
        )
    return fits[0]


def chain(folder: Path) -> list[dict[str, Any]]:
    """What is known of a stage and of those before it, first to last; no folder of this machine is in it.

    Those of the other seeds that taught it come after its own.
    """
    about = placeless(cache.finished(folder))
    before = [about["parent"]] if about["parent"] else []
    known: dict[str, dict[str, Any]] = {}
    for digest in [*before, *about.get("teachers", [])]:
        known |= {one["digest"]: one for one in chain(folder.parent / digest) if one["digest"] not in known}
    return [*known.values(), about]


def write_logs(folder: Path, into: Path) -> list[Path]:
    """The thinned training logs of a stage and of those before it, by digest, as the cards link them; the paths written."""
    written: list[Path] = []
    for about in chain(folder):
        log = folder.parent / about["digest"] / "log.csv"
        if log.is_file():
            into.mkdir(exist_ok=True)
            written.append(into / model_card.log_name(about))
            record.write_atomic(written[-1], thinned(log.read_text(encoding="utf-8")).encode())
    return written


def method_of(name: str) -> config.PluginFile:
    """The method file that checkpoint `name` belongs to, as the zoo says."""
    plugins.load_all()
    return config.load(ROOT / "methods" / zoo.entry(name).method)


def identify(
    stages: Sequence[Mapping[str, Any]], name: str, method: config.PluginFile, schedule: str | None
) -> dict[str, str | None]:
    """Which schedule and ablation of the method file give stages of these settings; `ValueError` where none does."""
    if schedule is not None:
        return {"schedule": schedule, "ablation": None}
    seed = stages[-1]["seed"]  # other seeds that taught it have the same settings
    wanted = [_bare(stage["settings"]) for stage in stages if stage["seed"] == seed]
    for one in method.data.get("schedules", {}):
        for variant in (FULL, *method.data.get("ablations", {})):
            changes = changes_of(method.data, variant)
            settings = [s for _, s in cache.chain(cache.variant(method.data, one, changes))]
            own = settings[cache.beginning(settings) :]
            if [_bare(config.canonical(s)) for s in own] == wanted:
                if any(key.startswith("method.") for key in changes):
                    raise ValueError(
                        f"these are the weights of {variant!r}, which is evaluated otherwise than {method.path.name}"
                    )
                return {"schedule": one, "ablation": None if variant == FULL else variant}
    raise ValueError(
        f"no schedule of {method.path.name} has the settings that {name} was trained with; if the file has changed "
        "since, name the schedule with --schedule"
    )


def pack(
    whole: Mapping[str, torch.Tensor], backbone: Mapping[str, Any], store: torch.dtype, folder: Path
) -> dict[str, torch.Tensor]:
    """The tensors that `backbone` has, kernels as `store`, the rest as float32, without counters of batches."""
    wanted = [
        key for key in build(BACKBONES, backbone).state_dict() if not key.endswith("num_batches_tracked")
    ]
    missing = [key for key in wanted if key not in whole]
    if missing:
        raise ValueError(
            f"{folder} has no {missing[0]} and {len(missing) - 1} more: it is of another network"
        )
    tensors = {
        key: whole[key].to(store if whole[key].dim() > 1 else torch.float32).contiguous() for key in wanted
    }
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(
                f"{folder}: {key} has values that {str(tensor.dtype).removeprefix('torch.')} cannot hold; "
                "use --store float32"
            )
    return tensors


def feature_difference(
    backbone: Mapping[str, Any],
    colour: str,
    whole: Mapping[str, torch.Tensor],
    stored: Mapping[str, torch.Tensor],
) -> float:
    """The largest difference of a cell's features from the float32 weights', as a share of their length."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 8, 12, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(128, 192), mode="bicubic", align_corners=False)
    frames = (255 * smooth.clamp(0, 1)).byte().permute(0, 2, 3, 1).contiguous()
    maps = []
    for tensors in (whole, stored):
        network = build(BACKBONES, backbone)
        network.load_state_dict({k: tensors[k].float() for k in stored}, strict=False)
        images = to_input(frames, colour)
        with torch.inference_mode(), to_video(network.eval(), lambda images=images: images):
            maps.append(over_video(network, network(images)))
    apart = (maps[1] - maps[0]).norm(dim=1) / maps[0].norm(dim=1).clamp_min(1e-12)
    return float(apart.max())


def with_sha256(text: str, name: str, sha256: str) -> str:
    """zoo.toml's text with the sha256 of entry `name` replaced; nothing else changes."""
    pattern = re.compile(rf'(^\[{re.escape(name)}\]\n(?:(?!\[).*\n)*?sha256 = )"[0-9a-f]*"', re.MULTILINE)
    changed, count = pattern.subn(rf'\g<1>"{sha256}"', text)
    if count != 1:
        raise ValueError(f'{zoo.PATH}: [{name}] should have one line `sha256 = "..."`, found {count}')
    return changed


def write_card(name: str, paths: Sequence[Path]) -> list[Path]:
    """Write the model card of shipped weights, with the scores of their records under `paths`."""
    if name not in shippable():
        raise ValueError(f"{name!r} is not shipped by corrbench; there are {', '.join(shippable())}")
    found = zoo.locate(name)
    about = shipped.header(found.path)
    runs: list[tuple[record.Record, str]] = []
    if paths:
        kept = model_card.fitting(record.find(*paths), found.sha256, about["stages"][-1]["sha256"])
        runs = [(run, model_card.address(run, ROOT, shipped.FOLDER)) for run in kept]
    method = method_of(name)
    text = model_card.card(
        name, zoo.entry(name).title, about, found.sha256, found.path.stat().st_size, method.name, runs,
        found.path.parent / "logs", default=method.data["method"]["checkpoint"] == name,
    )  # fmt: skip
    path = found.path.with_suffix(".md")
    record.write_atomic(path, text.encode())
    return [path]


def _bare(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without where the data lie."""
    kept = {key: value for key, value in settings.items() if key not in ("dataset", "root")}
    return {key: _bare(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


if __name__ == "__main__":
    sys.exit(main())
