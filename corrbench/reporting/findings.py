"""Method or protocol? The answer in sentences, every number of which is computed from the records.

Sentences branch on what the numbers say, so that a page written anew never keeps a conclusion its numbers lost.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from corrbench import statistics as st
from corrbench.effects import FACTORS, Grid, Source, Stability, decompose, subset
from corrbench.switches import Effect

NAMED = 6  # at most so many names in a sentence
RESAMPLES = 2000


def of_grid(
    found: Grid, pairs: Sequence[Stability], single: Sequence[Source], table: Sequence[Source]
) -> tuple[str, ...]:
    """What a grid of methods and protocols says: the answer in short; how far each moves a score, what explains it, what
    keeps its order.

    `pairs`, `single` and `table` are `effects.stability` and `effects.explain` of the same grid.
    """
    sentences = (
        short(found, table),
        spread(found),
        explained(found, single, table),
        order(found, pairs),
        choice(found),
        resolved(found),
    )
    return sentences


def short(found: Grid, table: Sequence[Source]) -> str:
    """The answer in one sentence: what explains more of the table, and whether the order of methods holds."""
    method, protocol, both = table
    other = protocol.share + both.share
    first = "the method, far more than the protocol" if method.share > 3 * other else (
        "the method more than the protocol" if method.share > other else
        "the protocol, far more than the method" if other > 3 * method.share else "the protocol more than the method"
    )  # fmt: skip
    changing = len(_changing(found.values()[0]))
    total = len(found.methods) * (len(found.methods) - 1) // 2
    ranking = (
        f"{changing} of {total} pairs of methods change{'s' * (changing == 1)} order with the protocol"
        if changing
        else f"no pair of methods of {total} changes order with the protocol"
    )
    return (
        f"In short: {first} (of the variance of the table below the method explains {100 * method.share:.0f} %, the "
        f"protocol and how it favours some methods {100 * other:.0f} %); {ranking}."
    )


def spread(found: Grid) -> str:
    """How far the protocol moves a method, how far methods lie apart, and what one step in the ranking is worth."""
    values = found.values()[0]
    moved, apart = np.ptp(values, axis=1), np.ptp(values, axis=0)
    least, most = (found.methods[int(pick(moved))] for pick in (np.argmin, np.argmax))
    steps = np.diff(np.sort(values, axis=0), axis=0).ravel()
    step, typical = float(np.median(steps)), float(np.median(moved))
    verdict = (
        "so the choice of protocol is worth more than that step"
        if typical > step
        else "so that step is worth more than the choice of protocol"
    )
    kind, harsh = (
        _leaders([found.protocols[int(pick(row))] for row in values], len(values))
        for pick in (np.argmax, np.argmin)
    )
    return (
        f"The protocol alone moves a method by {moved.min():.1f} (`{least}`) to {moved.max():.1f} points (`{most}`), "
        f"{typical:.1f} in the median. Under one protocol the methods span {apart.min():.1f} to {apart.max():.1f} points; "
        f"from one method to the next in a ranking it is {step:.1f} in the median, {verdict}. "
        f"Kindest protocol: {kind}; harshest: {harsh}."
    )


def explained(found: Grid, single: Sequence[Source], table: Sequence[Source]) -> str:
    """The two decompositions in words, and how the shares change when only the better half of the methods is looked at."""
    parts = []
    if single:
        first = max(single, key=lambda s: s.share)
        with_protocol = sum(s.share for s in single if "protocol" in s.name)
        ranked = sorted(single, key=lambda s: -s.share)
        shares = ", ".join(f"{_name(s)} {100 * s.share:.1f} %" for s in ranked if s.share >= 0.001)
        parts.append(
            f"Of the variance of single sequences' numbers, the largest part belongs to the {_name(first)}: {shares}. "
            f"Everything with a protocol in it adds up to {100 * with_protocol:.1f} %."
        )
    method, protocol, both = table
    alike = (
        "the protocol moves all methods alike more than it favours some"
        if protocol.share > both.share
        else "the protocol favours some methods more than it moves all alike"
    )
    parts.append(
        f"Of the variance of the table (all sequences summed up), the method explains {_share(method)}, the protocol "
        f"{_share(protocol)}, their interaction {_share(both)}: {alike}."
    )
    means = found.values()[0].mean(axis=1)
    best = sorted(np.argsort(-means)[: max(3, len(means) // 2)].tolist())
    if 3 <= len(best) < len(means):
        few = subset(found, best)
        m, p, i = decompose(few.values()[0], FACTORS[:2])
        parts.append(
            f"Shares depend on which methods stand beside each other: among the {len(best)} best "
            f"({_names(few.methods)}) it is {100 * m.share:.1f} % method, {100 * p.share:.1f} % protocol, "
            f"{100 * i.share:.1f} % interaction."
        )
    return " ".join(parts)


def order(found: Grid, pairs: Sequence[Stability]) -> str:
    """Kendall's tau between the protocols, and which methods change places between any two of them."""
    values = found.values()[0]
    low, high = min(pairs, key=lambda p: p.tau), max(pairs, key=lambda p: p.tau)
    mean = float(np.mean([p.tau for p in pairs]))
    changing = _changing(values)
    total = len(found.methods) * (len(found.methods) - 1) // 2
    if len(pairs) == 1:
        words = f"Kendall's tau between `{low.a}` and `{low.b}` is {low.tau:.2f}."
    elif low.tau == high.tau:
        words = f"Kendall's tau between any two protocols is {low.tau:.2f}."
    else:
        words = (
            f"Kendall's tau between two protocols is {mean:.2f} on average, from {low.tau:.2f} (`{low.a}` and `{low.b}`) "
            f"to {high.tau:.2f}."
        )
    if not changing:
        return f"{words} No pair of methods changes order between any two protocols."
    names = [f"`{found.methods[a]}` and `{found.methods[b]}`" for a, b in changing]
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"{words} {len(changing)} of {total} pairs of methods change{'s' * (len(changing) == 1)} order between at least two "
        "protocols: "
        f"{'; '.join(names[:NAMED])}{more}."
    )


def choice(found: Grid) -> str:
    """In how many pairs the lower method overtakes the higher when each is given the protocol that suits the claim."""
    values = found.values()[0]
    means = values.mean(axis=1)
    turned = []
    for a, b in itertools.combinations(np.argsort(-means).tolist(), 2):
        if values[b].max() > values[a].min():
            turned.append((float(means[a] - means[b]), a, b))
    total = len(means) * (len(means) - 1) // 2
    if not turned:
        return (
            f"Even a comparison across protocols cannot turn any of the {total} pairs: the lower method under its "
            "kindest protocol stays below the higher one under its harshest."
        )
    gap, a, b = max(turned)
    return (
        f"A comparison across protocols can turn {len(turned)} of {total} pairs: the lower method under its kindest "
        f"protocol passes the higher one under its harshest. The widest such gap is {gap:.1f} points of the mean over "
        f"protocols (`{found.methods[a]}` above `{found.methods[b]}`)."
    )


def resolved(found: Grid, *, count: int = RESAMPLES, seed: int = 0) -> str:
    """How many of the differences have an interval over sequences that excludes zero: between protocols, between methods."""
    sequences = len(found.scores[0][0].names)
    values = found.values(st.resamples(sequences, count, seed))

    def shown(series: Callable[[int], np.ndarray], size: int) -> tuple[int, int]:
        ends = [np.nanquantile(series(a) - series(b), [0.025, 0.975], axis=0)
                for a, b in itertools.combinations(range(size), 2)]  # fmt: skip
        clear = [(low > 0) | (high < 0) for low, high in ends]
        return int(np.sum(clear)), int(np.size(clear))

    protocols = shown(lambda j: values[:, :, j], len(found.protocols))
    methods = shown(lambda i: values[:, i, :], len(found.methods))
    return (
        f"On these {sequences} sequences the 95 % interval excludes zero for {protocols[0]} of {protocols[1]} differences "
        f"between two protocols of one method, and for {methods[0]} of {methods[1]} between two methods under one "
        "protocol (each by itself, not corrected for their number)."
    )


def of_switches(found: Sequence[Effect], metric: str) -> tuple[str, ...]:
    """What single switches do, the one that moves most first, and which of them show nothing."""
    if not found:
        return ()
    most = {switch: max((e for e in found if e.switch == switch), key=lambda e: abs(e.difference))
            for switch in dict.fromkeys(e.switch for e in found)}  # fmt: skip
    ranked = sorted(most.values(), key=lambda e: -abs(e.difference))
    lines = "; ".join(
        f"{e.level} instead of {e.against} {_signed(e.difference)} "
        f"[{_signed(e.interval[0])}, {_signed(e.interval[1])}]"
        for e in ranked
    )
    several = len(ranked) > 1
    words = [
        f"The largest difference in {metric} of {'each switch' if several else 'the switch'}, all else as it stands, "
        f"with its 95 % interval over sequences: {lines}."
    ]
    clear = [e for e in found if _excludes_zero(e)]
    gains = [e for e in clear if e.difference > 0]
    silent = [s for s in most if not any(_excludes_zero(e) for e in found if e.switch == s)]
    words.append(
        f"{len(clear)} of {len(found)} values have an interval that excludes zero; {len(gains)} of them raise the score"
        + (f" ({_levels(gains)})" if gains else "")
        + "."
        + (f" No value shows a difference for: {', '.join(silent)}." if silent else "")
    )
    everyone = max((e.methods for e in found), key=len)
    partly: dict[tuple[str, ...], list[Effect]] = {}
    for e in found:
        if len(e.methods) < len(everyone):
            partly.setdefault(e.methods, []).append(e)
    words.append(f"Means are over {_names(everyone)}" + "".join(
        f"; {_levels(group)} over {_names(methods)} alone" for methods, group in partly.items()
    ) + ".")  # fmt: skip
    return tuple(words)


def _changing(values: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of methods (rows) of which each is above the other under some protocol (column)."""
    return [
        (a, b)
        for a, b in itertools.combinations(range(len(values)), 2)
        if (values[a] > values[b]).any() and (values[a] < values[b]).any()
    ]


def _excludes_zero(effect: Effect) -> bool:
    """Shown, and not a difference that would be printed as 0.0."""
    return (effect.interval[0] > 0 or effect.interval[1] < 0) and abs(effect.difference) >= 0.05


def _levels(found: Sequence[Effect]) -> str:
    return ", ".join(f"{e.level} {_signed(e.difference)}" for e in found)


def _leaders(names: Sequence[str], total: int) -> str:
    ranked = Counter(names).most_common()
    return ", ".join(f"`{name}` for {times} of {total}" for name, times in ranked)


def _names(methods: Sequence[str]) -> str:
    quoted = [f"`{name}`" for name in methods]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _name(source: Source) -> str:
    return source.name.replace(" x ", " × ")


def _share(source: Source) -> str:
    ends = f" [{100 * source.interval[0]:.1f}, {100 * source.interval[1]:.1f}]" if source.interval else ""
    return f"{100 * source.share:.1f} %{ends}"


def _signed(value: float) -> str:
    words = f"{value:+.1f}"
    return "0.0" if float(words) == 0 else words.replace("-", "−")
