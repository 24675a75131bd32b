"""Only registered names are built."""

from __future__ import annotations

import pytest
from mmengine.registry import Registry

from corrbench.registry import BACKBONES, REGISTRIES, build, lookup

THINGS = Registry("thing")


@THINGS.register_module()
def pair(first: int, second: int = 2, *, third: int = 3) -> tuple[int, int, int]:
    return first, second, third


def test_build_calls_the_registered_function() -> None:
    assert build(THINGS, {"type": "pair", "first": 1}) == (1, 2, 3)
    assert build(THINGS, {"type": "pair", "first": 1, "third": 5}, first=7) == (7, 2, 5)


@pytest.mark.parametrize("name", ["os.system", "subprocess.run", "builtins.eval", "torch.nn.Linear", 5, None])
def test_what_is_not_registered_is_never_imported_nor_called(name: object) -> None:
    with pytest.raises(ValueError, match="is not a registered thing"):
        build(THINGS, {"type": name, "command": "true"})


def test_typos_are_answered() -> None:
    with pytest.raises(ValueError, match=r"Did you mean 'pair'\? Known: pair"):
        lookup(THINGS, "piar")
    with pytest.raises(ValueError, match=r"pair has no setting 'frist'.*Did you mean 'first'"):
        build(THINGS, {"type": "pair", "frist": 1})
    with pytest.raises(ValueError, match=r"pair needs 'first'"):
        build(THINGS, {"type": "pair"})
    with pytest.raises(ValueError, match="needs the key 'type'"):
        build(THINGS, {"first": 1})
    with pytest.raises(ValueError, match=r"'ResNt' is not a registered backbone.*Did you mean 'ResNet'"):
        lookup(BACKBONES, "ResNt")


def test_every_registry_fills_itself() -> None:
    for registry in REGISTRIES.values():
        registry.import_from_location()
        assert registry.module_dict, f"{registry.name} registers nothing"
