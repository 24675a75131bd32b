"""`corrbench check FILE`: is a plugin file sound? Needs no data and no weights."""

from __future__ import annotations

from pathlib import Path

from corrbench import config, plugins
from corrbench.registry import BACKBONES, METHODS, STAGES, TASKS, build


def check(file: str | Path) -> list[str]:
    """What was found sound, a line each; `ValueError` for the first thing that is not.

    A method's backbone is built with its own initial weights and run on two noise frames: the feature map must be
    finite and of the stride and channels that it declares. A task is built; missing data is said, not an error.
    """
    plugins.load_all()
    path = plugins.find("methods", str(file))
    if not path.is_file():
        path = plugins.find("tasks", str(file))
    plugin = config.load(path)
    lines = [f"{path}: data only; {plugin.title}"]
    config.resolve_file(plugin.data)
    for name in ("ablations", "schedules"):
        for variant, changes in plugin.data.get(name, {}).items():
            try:
                config.override(plugin.data, changes)
            except ValueError as error:
                raise ValueError(f"{path}: {name}[{variant!r}]: {error}") from None
        if name in plugin.data:
            lines.append(f"{name}: {len(plugin.data[name])}, every key known")
    if "method" in plugin.data:
        lines += _check_method(path, plugin)
    if "task" in plugin.data:
        lines.append(_check_task(path, plugin))
    for stage in plugin.data.get("training", []):
        lines.append(f"stage {config.resolve(STAGES, stage)['type']}: every setting known")
    if "method" not in plugin.data and "task" not in plugin.data:
        raise ValueError(f"{path}: holds neither `method = dict(...)` nor `task = dict(...)`")
    return lines


def _check_method(path: Path, plugin: config.PluginFile) -> list[str]:
    import torch

    from corrbench.plan import settle_protocol

    method = build(METHODS, plugin.data["method"])
    lines = []
    for kind in ("vos", "pose", "parts"):
        settle_protocol(method.protocol, kind)
    lines.append("protocol: known for vos, pose and parts")
    if "backbone" in plugin.data["method"]:
        from corrbench.backbones.colour import to_input

        backbone = build(BACKBONES, plugin.data["method"]["backbone"]).eval()
        side = backbone.stride * 8
        noise = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
        with torch.inference_mode():
            maps = backbone(to_input(noise, method.colour))
        expected = (2, backbone.channels, 8, 8)
        if tuple(maps.shape) != expected or not bool(torch.isfinite(maps).all()):
            raise ValueError(
                f"{path}: two {side}x{side} frames should give finite features of shape {expected} (stride "
                f"{backbone.stride}, {backbone.channels} channels), got {tuple(maps.shape)}"
            )
        lines.append(f"backbone: stride {backbone.stride}, {backbone.channels} channels, finite features")
    if method.needs_checkpoint:
        from corrbench import zoo

        where = zoo.available().get(method.needs_checkpoint)
        lines.append(f"checkpoint {method.needs_checkpoint}: {where or 'not on this machine'}")
    return lines


def _check_task(path: Path, plugin: config.PluginFile) -> str:
    from corrbench.datasets import DataMissing

    try:
        task = build(TASKS, plugin.data["task"])
    except DataMissing as error:
        return f"data: {error}"
    return f"data: {task.dataset.name}, {len(task.dataset.names())} of {task.dataset.official} sequences"
