# ruff: noqa: C408 (settings read as they do in a method file)
"""Distillation of an ensemble: the loss, whose weights teach, and what training leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from corrbench import config, zoo
from corrbench.registry import BACKBONES, STAGES, build
from corrbench.run_weights import network_of
from corrbench.training import cache, loop
from corrbench.training.checkpoint import load_weights
from corrbench.training.losses import ensemble_distillation

PLAIN = dict(type="ResNet", width=8, stem_pool=None, strides=(1, 2, 2, 1), layer=3)
WHITENED = dict(type="Whitened", backbone=PLAIN, layers=[2, 3], means=[3], directions=24)
STT = Path(__file__).parents[2] / "methods" / "stt.py"
SHIPPED = config.load(STT, "method").data["training"][3]["backbone"]  # of the checkpoint stt-r18-small


@pytest.fixture
def stage(data_root: Path) -> dict[str, Any]:
    return dict(
        type="EnsembleDistillation",
        backbone=WHITENED,
        dataset=dict(type="Videos", folders=["clips"], root=str(data_root)),
        updates=3,
        batch=2,
        lr=1e-3,
        others=1,
        gap=1,
        crop=48,
        area=(0.3, 0.8),
    )


def weights(seed: int) -> dict[str, torch.Tensor]:
    network = build(BACKBONES, WHITENED | dict(backbone=PLAIN | dict(seed=seed)))
    draw = torch.Generator().manual_seed(seed)
    network.set(torch.zeros(80), torch.randn(24, 80, generator=draw))
    return {key: value.clone() for key, value in network.state_dict().items()}


def maps(seed: int, channels: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, 3, 4, generator=draw, dtype=torch.float64)


def test_the_loss_is_the_divergence_of_the_softmax_of_mean_cosines_both_ways() -> None:
    query, key = maps(0, 5), maps(1, 5)
    teachers = [(maps(2, 4), maps(3, 4)), (maps(4, 7), maps(5, 7))]

    def cosines(a: torch.Tensor, b: torch.Tensor) -> np.ndarray:
        a, b = (x / x.norm(dim=0) for x in (a.flatten(1), b.flatten(1)))
        return (a.T @ b).numpy()

    terms = []
    for sample in range(2):
        learnt = np.exp(cosines(query[sample], key[sample]) / 0.2)
        taught = np.exp(np.mean([cosines(q[sample], k[sample]) for q, k in teachers], axis=0) / 0.2)
        for p, q in ((taught, learnt), (taught.T, learnt.T)):
            p, q = p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)
            terms += (p * np.log(p / q)).sum(1).tolist()
    assert float(ensemble_distillation(query, key, teachers, 0.2)) == pytest.approx(np.mean(terms), rel=1e-10)


def test_a_network_that_agrees_with_its_only_teacher_has_no_loss_and_no_gradient() -> None:
    query = maps(0, 5).requires_grad_()
    loss = ensemble_distillation(query, maps(1, 5), [(3 * query.detach(), maps(1, 5))])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    assert float(query.grad.abs().max()) < 1e-10  # type: ignore[union-attr]


def test_training_moves_a_network_to_the_ensemble_and_keeps_its_running_statistics(
    stage: dict[str, Any], tmp_path: Path
) -> None:
    losses: list[float] = []
    built = build(STAGES, stage | dict(updates=40))

    class Kept(loop.Journal):
        def write(self, update: int, values: dict[str, float], rate: float) -> None:
            losses.append(values["ensemble"])

    loop.train(built, tmp_path, parent=weights(0), teachers=[weights(1)], journal=Kept(None))
    assert losses[-1] < 0.8 * losses[0]
    after = load_weights(tmp_path / "weights.safetensors")
    build(BACKBONES, WHITENED).load_state_dict(after)
    for name, tensor in weights(0).items():
        same = torch.equal(after[name], tensor)
        assert same == ("running" in name or "num_batches" in name), name


def test_a_joint_ensemble_is_its_networks_unit_features_whitened_together(
    stage: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = build(STAGES, stage | dict(updates=3, joint=2)).network(weights(0), 0)
    network.learn_from([weights(1)])
    batches = [torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    assert [float(network({"frames": frames})["ensemble"]) for frames in batches[:2]] == [0, 0]

    def joined(frames: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            maps = [one(frames).transpose(0, 1).flatten(1).double().numpy() for one in network.ensemble]
        return np.concatenate([m / np.linalg.norm(m, axis=0) for m in maps])

    cells = np.concatenate([joined(frames) for frames in batches[:2]], 1)
    variances, axes = np.linalg.eigh(np.cov(cells, bias=True))
    largest = variances[::-1][:24].clip(variances[-1] * 1e-4)
    whitened = (axes[:, ::-1][:, :24].T @ (joined(batches[2]) - cells.mean(1, keepdims=True))).reshape(
        24, 4, -1
    )
    whitened *= largest[:, None, None] ** -0.375
    unit = whitened / np.linalg.norm(whitened, axis=0)
    taught: list[torch.Tensor] = []

    def loss(query: Any, key: Any, teachers: Any, temperature: float) -> torch.Tensor:
        (pair,) = teachers
        taught.extend(torch.nn.functional.normalize(m.flatten(2), dim=1) for m in pair)
        return ensemble_distillation(query, key, teachers, temperature)

    monkeypatch.setattr("corrbench.training.ensemble.ensemble_distillation", loss)
    assert float(network({"frames": batches[2]})["ensemble"].detach()) > 0
    for pair in range(2):  # reference first
        wanted = unit[:, 2 * pair + 1].T @ unit[:, 2 * pair]
        np.testing.assert_allclose(taught[0][pair].T @ taught[1][pair], wanted, atol=2e-4)


@pytest.mark.parametrize("joint", [0, 1])
def test_a_stopped_stage_goes_on_to_the_same_weights(
    stage: dict[str, Any], tmp_path: Path, joint: int
) -> None:
    stage |= dict(joint=joint)

    def stop(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    given: dict[str, Any] = dict(parent=weights(0), teachers=[weights(1)])
    loop.train(build(STAGES, stage), tmp_path / "whole", **given)
    with pytest.raises(KeyboardInterrupt):
        loop.train(build(STAGES, stage), tmp_path / "cut", save_updates=1, after=stop, **given)
    loop.train(build(STAGES, stage), tmp_path / "cut", **given)
    whole, cut = (load_weights(tmp_path / name / "weights.safetensors") for name in ("whole", "cut"))
    for name, tensor in whole.items():
        torch.testing.assert_close(cut[name], tensor, rtol=0, atol=0)


def test_what_cannot_be_an_ensemble_says_so(
    stage: dict[str, Any], temporal: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="nothing to start from; it needs a preceding stage"):
        loop.train(build(STAGES, stage), tmp_path)
    with pytest.raises(ValueError, match="others 0 must be 1 or more"):
        build(STAGES, stage | dict(others=0))
    with pytest.raises(ValueError, match="joint 3 must be from 0 to below updates, 3"):
        build(STAGES, stage | dict(joint=3))
    with pytest.raises(ValueError, match="pairs of frames are no video"):
        build(STAGES, stage | dict(backbone=stage["backbone"] | {"centred": True}))
    alone = build(STAGES, temporal | dict(global_weight=0.0))
    with pytest.raises(NotImplementedError, match="TemporalNetwork has no use for other trainings' weights"):
        loop.train(alone, tmp_path, teachers=[weights(1)])


@pytest.fixture
def method(stage: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Temporal, whitening, and an ensemble of three seeds; a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    videos = dict(type="Videos", folders=["clips"])
    first = dict(
        type="Temporal", backbone=PLAIN, dataset=videos, updates=1, batch=2, crop=32, radii=(2, 1),
        local_weight=0.0, global_weight=0.0,
    )  # fmt: skip
    second = dict(type="Whitening", backbone=PLAIN, dataset=videos, updates=1, batch=2, resize="native")
    second |= {key: WHITENED[key] for key in ("layers", "means", "directions")}
    return dict(
        method=dict(type="LabelPropagation", backbone=PLAIN, colour="lab"),
        training=[first, second, stage | dict(dataset=videos, others=2)],
    )


def test_the_ensemble_is_the_stages_before_with_the_next_seeds(
    method: dict[str, Any], data_root: Path
) -> None:
    def of(seed: int, **changes: Any) -> tuple[cache.StagePlan, ...]:
        return cache.plan(method, root=data_root, estimate=False, seed=seed, changes=changes)

    stages = of(3)
    assert sorted((s.type, s.seed) for s in stages) == [
        ("EnsembleDistillation", 3),
        *(("Temporal", seed) for seed in (3, 4, 5)),
        *(("Whitening", seed) for seed in (3, 4, 5)),
    ]
    last = stages[-1]
    whitenings = {s.seed: s.digest for s in stages if s.type == "Whitening"}
    assert (last.type, last.parent, last.teachers) == (
        "EnsembleDistillation", whitenings[3], (whitenings[4], whitenings[5]),
    )  # fmt: skip
    before = {"training.2.updates": 0}
    assert [of(seed, **before)[-1].digest for seed in (3, 4, 5)] == list(whitenings.values())
    seen: set[str] = set()
    for planned in stages:  # each after what it starts from
        assert {planned.parent, *planned.teachers} - {None} <= seen
        seen.add(planned.digest)
    assert of(3, **{"training.2.others": 1})[-1].digest != last.digest
    shared = cache.unique([of(3), of(4)])
    assert len(shared) == 2 * 4 + 2


def test_a_checkpoint_of_the_zoo_takes_the_place_of_the_first_seed(
    method: dict[str, Any], data_root: Path
) -> None:
    changes = {
        "training.1.backbone": SHIPPED["backbone"],
        **{f"training.1.{key}": SHIPPED[key] for key in ("layers", "means", "directions")},
        "training.0.backbone": SHIPPED["backbone"],
        "training.2.backbone": SHIPPED,
        "training.2.others": 1,
        "training.2.weights": "stt-r18-small",
        "training.2.updates": 1,
    }
    stages = cache.plan(method, root=data_root, estimate=False, seed=3, changes=changes)
    assert [(s.type, s.seed) for s in stages] == [
        ("Temporal", 4),
        ("Whitening", 4),
        ("EnsembleDistillation", 3),
    ]
    assert (stages[-1].parent, stages[-1].teachers) == (None, (stages[1].digest,))
    unlike = cache.plan(
        method, root=data_root, estimate=False, seed=3, changes=changes | {"training.2.weights": None}
    )
    assert len(unlike) == 5
    assert unlike[-1].digest != stages[-1].digest

    stage = build(STAGES, stages[-1].settings)
    first, second = stage.network(None, 3), stage.network(weights(0), 3)
    shipped = build(BACKBONES, SHIPPED)
    zoo.load("stt-r18-small", shipped)
    for network in (first, second):  # whatever the preceding stage's weights are
        for one in (network.backbone, network.ensemble[0]):
            for name, tensor in shipped.state_dict().items():
                assert torch.equal(one.state_dict()[name], tensor), name


def test_all_of_it_is_trained_and_a_run_takes_the_network_with_its_map(
    method: dict[str, Any], data_root: Path
) -> None:
    trained = cache.train_missing(method, root=data_root, progress=False, say=lambda text: None)
    stages = trained.info["stages"]
    assert [len(s.get("teachers", [])) for s in stages] == [0] * 6 + [2]
    network = network_of(stages, PLAIN)
    assert network == WHITENED
    build(BACKBONES, network).load_state_dict(load_weights(trained.path))
    again = cache.plan(method, root=data_root, estimate=False)
    assert all(s.cached for s in again)
