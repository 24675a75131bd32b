"""Where data are looked for, in which order, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from corrbench.datasets import ORIGINS, DataMissing, find_root


def data(folder: Path) -> Path:
    for part in ORIGINS["DAVIS"].required:
        (folder / part).mkdir(parents=True)
    return folder


def test_own_folder_or_its_parent(tmp_path: Path) -> None:
    root = data(tmp_path / "DAVIS")
    assert find_root("DAVIS", root) == find_root("DAVIS", tmp_path) == root
    other = data(tmp_path / "elsewhere" / "davis-2017-copy")
    assert find_root("DAVIS", other) == other


def test_given_before_environment_before_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, environment, config = (data(tmp_path / name / "DAVIS") for name in "abc")
    assert find_root("DAVIS", config=config) == config
    monkeypatch.setenv("CORRBENCH_DATA", str(environment.parent))
    assert find_root("DAVIS", config=config) == environment
    assert find_root("DAVIS", given, config=config) == given


def test_a_place_without_the_data_set_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = data(tmp_path / "full" / "DAVIS")
    (tmp_path / "other").mkdir()
    monkeypatch.setenv("CORRBENCH_DATA", str(root.parent))
    assert find_root("DAVIS", tmp_path / "other") == root


def test_missing_data_name_places_source_and_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORRBENCH_DATA", str(tmp_path))
    with pytest.raises(DataMissing) as error:
        find_root("DAVIS")
    text = str(error.value)
    assert f"$CORRBENCH_DATA ({tmp_path}) holds no DAVIS" in text
    assert "--data is not set" in text
    assert "davischallenge.org" in text
    assert "CC BY-NC 4.0" in text
    assert isinstance(error.value, FileNotFoundError)
    assert isinstance(error.value, ValueError)


def test_a_place_that_does_not_exist_is_a_mistake_not_missing_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: --data names this folder, which does not exist") as error:
        find_root("DAVIS", tmp_path / "nowhere")
    assert not isinstance(error.value, DataMissing)


def test_half_a_data_set_is_a_mistake_not_missing_data(tmp_path: Path) -> None:
    (tmp_path / "DAVIS" / "JPEGImages").mkdir(parents=True)
    for given in (tmp_path, tmp_path / "DAVIS"):
        with pytest.raises(ValueError, match="but it lacks Annotations") as error:
            find_root("DAVIS", given)
        assert not isinstance(error.value, DataMissing)
