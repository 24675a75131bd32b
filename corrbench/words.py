"""Answers to a mistyped name."""

from __future__ import annotations

import difflib


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean 'x'?` for the nearest of `known`, and the list of them all."""
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return f"{hint} Known: {', '.join(sorted(known)) or 'none'}."
