"""Plugin files are data; overrides know their keys; digests are of content."""

from __future__ import annotations

from pathlib import Path

import pytest

from corrbench import config
from corrbench.registry import METHODS

METHOD = '''"""A test method.

More words.
"""
method = dict(
    type="LabelPropagation",
    backbone=dict(type="ResNet", depth=18, layer=3),
    colour="lab",
)
'''


@pytest.fixture
def method(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    return path


def test_load_gives_name_title_and_data(method: Path) -> None:
    file = config.load(method, "method")
    assert (file.name, file.title) == ("mine", "A test method.")
    assert file.data["method"]["backbone"]["depth"] == 18


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "x = open('f')",
        "def f(): pass",
        "class C: pass",
        "method = __import__('os').system('true')",
        "x = [i for i in range(3)]",
        "x = dict([('a', 1)])",
        "x = dict(**{'a': 1})",
        "x = 'a'.join([])",
        "x = lambda: 1",
        "with open('f'): pass",
        "x = f'{1}'",
    ],
)
def test_a_plugin_file_that_is_not_data_is_refused_before_it_runs(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(METHOD + line + "\n")
    with pytest.raises(ValueError, match=r"bad\.py, line \d+: a plugin file holds data only"):
        config.load(path)


def test_base_is_inherited_and_a_part_can_be_replaced(tmp_path: Path, method: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        '"""Child."""\n_base_ = "mine.py"\nmethod = dict(backbone=dict(_delete_=True, type="HOG"))\n'
    )
    data = config.load(child, "method").data
    assert data["method"]["backbone"] == {"type": "HOG"}
    assert data["method"]["colour"] == "lab"


def test_a_schedule_builds_on_another_and_its_own_changes_win(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        METHOD
        + """
schedules = {
    "short": {"_base_": "long", "updates": 2},
    "long": {"updates": 9, "batch": 8},
    "shortest": {"_base_": "short", "updates": 1, "lr": 3},
}
"""
    )
    assert config.load(path).data["schedules"] == {
        "short": {"updates": 2, "batch": 8},
        "long": {"updates": 9, "batch": 8},
        "shortest": {"updates": 1, "batch": 8, "lr": 3},
    }


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ({"a": {"_base_": "smal"}, "small": {}}, r"mine\.py: schedule 'a' builds on 'smal'.*mean 'small'"),
        ({"a": {"_base_": "b"}, "b": {"_base_": "a"}}, r"mine\.py: .*in a circle: a -> b -> a"),
        ({"a": {"_base_": "a"}}, r"in a circle: a -> a"),
    ],
)
def test_a_schedule_that_builds_on_nothing_or_on_itself(
    tmp_path: Path, schedules: dict[str, dict[str, str]], said: str
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(METHOD + f"schedules = {schedules!r}\n")
    with pytest.raises(ValueError, match=said):
        config.load(path)


def test_what_a_file_lacks_or_nobody_reads_is_said(tmp_path: Path, method: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a task file"):
        config.load(method, "task")
    path = tmp_path / "typo.py"
    path.write_text(METHOD + "ablation = {}\n")
    with pytest.raises(ValueError, match=r"nothing reads the name 'ablation'.*Did you mean 'ablations'"):
        config.load(path)
    with pytest.raises(ValueError, match=r"there is no such file.*Did you mean .*mine\.py"):
        config.load(tmp_path / "mime.py")
    (tmp_path / "broken.py").write_text("method = dict(\n")
    with pytest.raises(ValueError, match=r"broken\.py: is not valid Python"):
        config.load(tmp_path / "broken.py")


def test_custom_imports_that_fail_name_file_and_module(tmp_path: Path) -> None:
    path = tmp_path / "wants.py"
    path.write_text(METHOD + 'custom_imports = dict(imports=["no_such_module_here"])\n')
    with pytest.raises(ValueError, match=r"wants\.py: custom_imports names 'no_such_module_here'"):
        config.load(path)


def test_resolve_fills_in_defaults_so_that_explicit_and_omitted_have_one_digest(method: Path) -> None:
    given = config.load(method).data["method"]
    short = config.resolve(METHODS, given)
    assert short["protocol"] == "stt"
    assert short["backbone"]["layer"] == 3
    explicit = config.resolve(METHODS, short)
    assert explicit == short
    assert config.digest(explicit) == config.digest(short)


def test_digest_is_of_content() -> None:
    one = {"a": 1, "b": {"c": 2.0, "root": "/here"}, "d": (1, 2)}
    two = {"d": [1, 2], "b": {"root": "/there", "c": 2}, "a": 1.0}
    assert config.digest(one) == config.digest(two)
    assert config.digest(one) != config.digest(one | {"a": 2})
    assert config.digest({"a": True}) != config.digest({"a": 1})
    # Pinned: a key written years ago has to be found again.
    assert config.digest({"a": [1, 2.5, "x", None, True]}).startswith("781726d7")
    with pytest.raises(ValueError, match="numbers, text, lists and dicts only"):
        config.digest({"a": object()})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=5", ("a.b", 5)),
        ("a=0.07", ("a", 0.07)),
        ("a=none", ("a", None)),
        ("a=True", ("a", True)),
        ("a=false", ("a", False)),
        ("a=(1, 2)", ("a", (1, 2))),
        ("a=lab", ("a", "lab")),
        ("a=short 480", ("a", "short 480")),
        ("a=", ("a", "")),
    ],
)
def test_override_text(text: str, expected: tuple[str, object]) -> None:
    assert config.parse_override(text) == expected


@pytest.mark.parametrize("text", ["nothing", "=5", " =5"])
def test_override_text_without_key_or_value(text: str) -> None:
    with pytest.raises(ValueError, match="an override is key=value"):
        config.parse_override(text)


def test_override_sets_known_keys_only(method: Path) -> None:
    data = config.load(method).data
    changed = config.override(data, {"method.backbone.depth": 50, "method.backbone.strides": (1, 1, 1, 1)})
    assert changed["method"]["backbone"]["depth"] == 50
    assert changed["method"]["backbone"]["strides"] == [1, 1, 1, 1]
    assert data["method"]["backbone"]["depth"] == 18  # the file's own data stay
    with pytest.raises(ValueError, match=r"unknown key 'method\.backbone\.dept'.*Did you mean 'depth'"):
        config.override(data, {"method.backbone.dept": 50})
    with pytest.raises(ValueError, match=r"method\.colour is 'lab', which has no parts"):
        config.override(data, {"method.colour.x": 1})
    with pytest.raises(ValueError, match=r"unknown key 'training\.0\.updates'"):
        config.override(data, {"training.0.updates": 1})


def test_a_changed_type_brings_its_own_settings(method: Path) -> None:
    data = config.load(method).data
    del data["method"]["backbone"]["depth"], data["method"]["backbone"]["layer"]
    changed = config.override(data, {"method.backbone.type": "HOG"})
    assert config.resolve(METHODS, changed["method"])["backbone"]["type"] == "HOG"


def test_diff_lists_the_keys_that_differ() -> None:
    assert config.diff({"a": {"b": 1, "c": 2}}, {"a": {"b": 1.0, "c": 3}, "d": 4}) == {
        "a.c": (2, 3),
        "d": (None, 4),
    }
