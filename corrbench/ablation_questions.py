"""What is asked of a method's ablations before they are run: the comparisons that its paper is about. Data only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What the paper holds about one ablation: the full method should come out ahead of `variant`."""

    variant: str
    against: str  # what the full method is compared with, in words
    paper: str


@dataclass(frozen=True)
class Question:
    """A question that several ablations answer together."""

    text: str
    claims: tuple[Claim, ...]


QUESTIONS = {
    "stt": (
        Question(
            "Are two steps better than either step alone?",
            (
                Claim("temporal step only", "the temporal step alone", "the authors' released pair says so"),
                Claim("spatial step only", "the spatial step alone", "the paper is built on it"),
                Claim("joint training", "both trained at once", "the paper is built on it"),
            ),
        ),
        Question(
            "Does each distillation help?",
            (
                Claim(
                    "no global distillation",
                    "training without the global distillation",
                    "the paper proposes it for that",
                ),
                Claim(
                    "no local distillation",
                    "training without the local distillation",
                    "the paper proposes it for that",
                ),
                Claim("no distillation", "training without either", "the paper proposes them for that"),
            ),
        ),
    )
}


def asked(method: str) -> frozenset[str]:
    """The ablations of a method that a question is about: tests of them are corrected for each other, not for the rest."""
    return frozenset(claim.variant for question in QUESTIONS.get(method, ()) for claim in question.claims)
