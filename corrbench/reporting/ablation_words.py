"""What an ablation says, in sentences whose branches the numbers decide; what the paper says is kept beside it."""

from __future__ import annotations

from collections.abc import Sequence

from corrbench import published as pub
from corrbench.ablation_questions import QUESTIONS, Claim, Question
from corrbench.ablation_study import Stage, Study
from corrbench.ablation_table import Row
from corrbench.published import Published


def answers(study: Study) -> list[tuple[Question, list[tuple[Claim, Row | None]]]]:
    """The questions that are known for the study's method, each with the rows that answer it."""
    return [
        (q, [(claim, study.row(claim.variant)) for claim in q.claims])
        for q in QUESTIONS.get(study.method, ())
    ]


def settled(row: Row | None) -> str:
    """`yes`, `no` or `open`: is the full method higher, shown over videos and, where that is known, over seeds?"""
    if (
        row is None
        or row.difference is None
        or not row.over_videos
        or row.over_seeds is False
        or row.difference == 0
    ):
        return "open"
    return "yes" if row.difference < 0 else "no"


def summary(question: Question, asked: Sequence[tuple[str, Sequence[tuple[Claim, Row | None]]]]) -> str:
    """A question and its answer in every study, given as (what was measured on, the rows that answer it)."""
    return " ".join([question.text, *(_answer(where, found) for where, found in asked)])


def _answer(where: str, found: Sequence[tuple[Claim, Row | None]]) -> str:
    run = [(claim, row) for claim, row in found if row is not None]
    if not run:
        return f"Not asked on {where}: none of these variants was run."
    yes, no, unsettled = (
        [claim.against for claim, row in run if settled(row) == word] for word in ("yes", "no", "open")
    )
    if len(yes) == len(run):
        return f"Yes, on {where}: the full method is ahead of {_listed(yes)}."
    if len(unsettled) == len(run):
        return f"Not shown on {where}: no difference to {_listed(unsettled, 'or')} is shown."
    parts = []
    if yes:
        parts.append(f"the full method is ahead of {_listed(yes)}")
    if no:
        parts.append(f"the full method is BEHIND {_listed(no)}, against the paper")
    if unsettled:
        parts.append(f"no difference to {_listed(unsettled, 'or')} is shown")
    return f"{'Partly' if yes else 'No'}, on {where}: {'; '.join(parts)}."


def sentence(claim: Claim, row: Row | None, metric: str) -> str:
    """One comparison: the difference, how sure it is over videos and over seeds, and how it stands to the paper."""
    name = f"Against {claim.against}"
    if row is None or row.difference is None or row.value is None:
        return f"{name}: not run."
    gain = -row.difference
    place = (
        "level"
        if round(gain, 1) == 0
        else f"{abs(gain):.1f} points of {metric} {'ahead' if gain > 0 else 'behind'}"
    )
    seeds = f"{len(row.seeds)} seed{'s' if len(row.seeds) > 1 else ''}"
    interval = ""
    if row.low is not None and row.high is not None:
        interval = f"; 95 % over {row.sequences} sequences {points(-row.high)} to {points(-row.low)}"
    head = f"{name}: the full method is {place} ({row.value + gain:.1f} against {row.value:.1f}, {seeds}{interval})."
    return f"{head} {_reading(row)} {_paper(claim, row, gain)}"


def scale(stages: Sequence[Stage]) -> str:
    """What 'at this scale' means: updates and data of the stages, said of the training as it was."""
    parts = []
    for kind in dict.fromkeys(stage.about["type"] for stage in stages):
        own = [stage.about for stage in stages if stage.about["type"] == kind]
        updates = sorted({int(about["updates"]) for about in own})
        named = [part for about in own for part in str(about["data"]["name"]).split(" and ")]
        data = ", ".join(dict.fromkeys(named))
        batches = sorted({int(about["settings"]["batch"]) for about in own})
        parts.append(f"{kind}: {_numbers(updates)} updates of {_numbers(batches)} samples on {data}")
    return (
        f"All of it is at this scale ({'; '.join(parts)}). The paper trains its first step for 200 epochs on ImageNet and "
        "its second on 3,471 videos for 800: what is shown here need not hold there, nor the other way round."
    )


def published_pair(rows: Sequence[Published] | None = None) -> list[tuple[str, str, Published, Published]]:
    """The authors' two released models, by data set and number: (data, metric, temporal step alone, both steps)."""
    rows = pub.read() if rows is None else rows
    own = [r for r in rows if (r.method, r.backbone, r.stride, r.seen) == ("STT", "ResNet-18", "8", "direct")]
    alone = {(r.dataset, r.metric): r for r in own if r.variant == "temporal step only (ablation)"}
    both = {(r.dataset, r.metric): r for r in own if r.variant == "two-step"}
    return [(*place, alone[place], both[place]) for place in alone if place in both]


def points(value: float) -> str:
    """A signed number of points, one digit, with a real minus."""
    return "0.0" if round(value, 1) == 0 else f"{value:+.1f}".replace("-", "−")


def _reading(row: Row) -> str:
    margin = f"a change of seeds makes ({row.seed_margin:.1f})" if row.seed_margin is not None else ""
    p = f"p = {row.p_holm:.3f} after Holm" if row.p_holm is not None else ""
    few = f"; {row.sequences} sequences cannot show it in any case" if not row.could_show else ""
    if row.over_videos is None:
        seeds = f"It is more than {margin}, but one" if row.over_seeds else "One"
        return f"{seeds} sequence says nothing about other videos."
    if row.over_videos and row.over_seeds:
        return f"This is shown over videos ({p}) and is more than {margin}."
    if row.over_videos and row.over_seeds is None:
        return f"This is shown over videos ({p}); what a change of seed makes is not known, each was trained once."
    if row.over_videos:
        return f"On these videos it is consistent ({p}), but no more than {margin}."
    if row.over_seeds:
        return f"It is more than {margin}, but not shown to hold on other videos ({p}){few}."
    return f"It is not shown over videos ({p}){f', and no more than {margin}' if margin else ''}{few}."


def _paper(claim: Claim, row: Row, gain: float) -> str:
    word = settled(row)
    if word == "yes":
        return f"That is as expected: {claim.paper}."
    if word == "no":
        return f"That CONTRADICTS the paper at this scale: {claim.paper}."
    if gain < 0 and round(gain, 1) != 0:
        return f"The sign is against what is expected ({claim.paper}), without being shown."
    return f"What is expected ({claim.paper}) is neither supported nor contradicted."


def _listed(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _numbers(values: Sequence[int]) -> str:
    return (
        _listed([f"{value:,}" for value in values]) if len(values) < 4 else f"{values[0]:,} to {values[-1]:,}"
    )
