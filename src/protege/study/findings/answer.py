"""What is said of a study as a whole: its answer, how far it is, and that it is a reduced form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from protege.stats.claims import figure
from protege.study.findings.record import Contrast, Effect, Findings
from protege.study.question.measures import MEASURES

MOST = 3  # questions with a sentence each; of more the answer counts the outcomes


def answer(
    found: Sequence[Effect],
    labels: Mapping[str, str] | None = None,
    contrasts: Sequence[Contrast] = (),
    over: str = "",
    pairs: Mapping[str, str | None] | None = None,
) -> str:
    """What is said of the primary hypotheses. `labels`: what cells are called where their pair is said already, by key; `pairs` are theirs.

    `over`: whom outcomes speak of, where sentences that say it themselves are only counted.
    """
    primary = [effect for effect in found if effect.primary]
    asked = [contrast for contrast in contrasts if contrast.primary]
    if not primary and not asked:
        return "Nothing was compared: there is no arm to compare with."
    if all(one.outcome == "pending" for one in (*primary, *asked)):
        return "Not answered yet: the test set is still sealed."
    said = [one.sentence for one in asked] if len(asked) <= MOST else [_tally_of_contrasts(asked, over)]
    if len(primary) > 1:
        return " ".join([*said, _tally(primary, labels or {}, pairs or {}, over)])
    return " ".join([*said, *(one.sentence for one in primary)])


def _tally_of_contrasts(asked: Sequence[Contrast], over: str) -> str:
    """Of many: how many were found, and which."""
    found = [one for one in asked if one.outcome in ("higher", "lower", "differ")]
    parts = [f"{one.label}{_shown(one)}" for one in found]
    shown = f"{len(found)} of them ({'; '.join(parts)})" if found else "none of them"
    opening = f"{over[0].upper()}{over[1:]}: of" if over else "Of"
    size = asked[0].family
    return f"{opening} {len(asked)} questions about several differences at once, {shown} can be said to differ (corrected for {size})."


def _tally(primary: Sequence[Effect], labels: Mapping[str, str], pairs: Mapping[str, str | None], over: str) -> str:
    lead, names = _names(primary, labels, pairs)
    parts = [_counted(primary, names, outcome, words) for outcome, words in OUTCOMES.items()]
    counted = ", ".join(part for part in parts if part)
    opening = f"{over[0].upper()}{over[1:]}: of" if over else "Of"
    return f"{opening} {len(primary)} comparisons of {_how(primary)}, {lead}: {counted}."


def _how(primary: Sequence[Effect]) -> str:
    """`accuracy (points, 5 seeds each, p-values corrected for 4)`."""
    measures = {MEASURES[one.measure].label: MEASURES[one.measure].difference_unit for one in primary}
    counts = sorted({len(one.seeds) for one in primary if one.seeds})
    each = f"{counts[0]} seed{'' if counts[0] == 1 else 's'} each" if len(counts) == 1 else ""
    seeds = each if len(counts) < 2 else f"{counts[0]} to {counts[-1]} seeds"
    parts = [" and ".join(dict.fromkeys(measures.values())), seeds, f"p-values corrected for {primary[0].family}"]
    return f"{' and '.join(measures)} ({', '.join(part for part in parts if part)})"


OUTCOMES = {
    "higher": "higher in",
    "lower": "lower in",
    "equivalent": "equivalent in",
    "undecided": "not shown to differ in",
    "untested": "untested in",
    "pending": "not measured in",
}


def _names(
    primary: Sequence[Effect], labels: Mapping[str, str], pair_of: Mapping[str, str | None]
) -> tuple[str, dict[str, str]]:
    """What all of them have in common, said once, and by key what tells each from the others. Across pairs each end says its own."""
    ends = {one.key: (one.treatment, one.control) for one in primary}
    across = {key for key, both in ends.items() if pair_of.get(both[0]) != pair_of.get(both[1])}
    called = {
        key: both if key in across else (labels.get(both[0], both[0]), labels.get(both[1], both[1]))
        for key, both in ends.items()
    }
    treatments, controls = ({both[place] for both in called.values()} for place in (0, 1))
    pairs = {one.pair for one in primary}
    if len(treatments) == len(controls) == 1 and len(pairs) == len(primary):
        return f"{min(treatments)} against {min(controls)}", {one.key: str(one.pair) for one in primary}
    alike = len(controls) == 1
    names = {}
    for one in primary:
        said = one.pair if len(pairs) > 1 and one.key not in across else None
        names[one.key] = (called[one.key][0] if alike else " - ".join(called[one.key])) + (f", {said}" if said else "")
    return f"{'each arm' if alike else 'treatment'} against {min(controls) if alike else 'control'}", names


def _counted(primary: Sequence[Effect], names: Mapping[str, str], outcome: str, words: str) -> str:
    those = [effect for effect in primary if effect.outcome == outcome]
    if not those:
        return ""
    which = "; ".join(f"{names[effect.key]}{_shown(effect)}" for effect in those[:4])
    return f"{words} {len(those)} ({which}{'; ...' if len(those) > 4 else ''})"


def _shown(one: Effect | Contrast) -> str:
    return "" if one.difference is None else f": {figure(one.difference, MEASURES[one.measure].decimals)}"


# ---- what stands above everything ----


def of_reduced_form(differs: str, differences: Sequence[str] = ()) -> str:
    """What everybody who reads figures of a reduced form is told first: in words, and all that was computed from both forms."""
    everything = f" All that differs: {'; '.join(differences)}." if differences else ""
    return (
        f"This is a reduced-scale run of the study{f': {differs}' if differs else ''}. "
        f"It shows that everything works, not what the full study would find.{everything}"
    )


def how_far(findings: Findings) -> str:
    """Of a study that is under way, was stopped, or has runs that failed."""
    costs = findings.costs
    if costs.finished < costs.runs:
        return f"{costs.finished} of {costs.runs} runs are finished, and the test set stays sealed until all are"
    return f"all {costs.runs} runs are finished, and some test scores are still to be read"
