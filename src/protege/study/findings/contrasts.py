"""What a question asks that no single comparison answers: a difference of differences, or whether several differ at all."""

from __future__ import annotations

from collections.abc import Sequence

from protege.stats import families
from protege.stats.claims import figure
from protege.study.findings.effects import Given, said
from protege.study.findings.family import Member
from protege.study.findings.judging import Judge, Judged, as_claim
from protege.study.findings.record import Contrast
from protege.study.question.measures import MEASURES


def contrasts(members: Sequence[Member], judge: Judge, given: Given) -> list[Contrast]:
    """Members of the same family as the effects."""
    judged = judge.judge([member for member in members if member.than])
    return [
        _among(member, judge, given) if member.among else _of_differences(member, judged.get(member.key), judge, given)
        for member in members
        if member.among or member.than
    ]


def _of_differences(member: Member, found: Judged | None, judge: Judge, given: Given) -> Contrast:
    one = found.headline if found else None
    outcome, sentence = said(member, found, judge.size, given)
    return Contrast(
        key=member.key,
        kind="difference of differences",
        label=member.named,
        cells=tuple(cell.key for cell in member.cells),
        pair=member.pair,
        measure=member.hypothesis.measure,
        score=judge.score,
        primary=member.primary,
        family=judge.size,
        difference=float(one.difference) if one else None,
        claims=tuple(as_claim(*claim) for claim in found.claims) if found else (),
        p=float(one.p) if one else None,
        adjusted_p=float(one.adjusted_p) if one else None,
        outcome="undecided" if outcome == "equivalent" else outcome,
        sentence=sentence,
    )


def _among(member: Member, judge: Judge, given: Given) -> Contrast:
    """Given these teachers and images: with one error for all, the F test; and how far the best of equals would lead."""
    measure = MEASURES[member.hypothesis.measure]
    values = {cell.key: list(judge.values(cell, measure.name).values()) for cell in member.among}
    begun = all(values.values())
    arms, nodes = judge.arms_among(member), [judge.node(cell) for cell in member.among]
    found = families.among(arms, nodes) if begun else None
    means = {key: sum(one) / len(one) for key, one in values.items() if one}
    best = (min if measure.higher_is_better is False else max)(means, key=lambda key: means[key]) if begun else None
    lead = abs(means[best] - sum(means.values()) / len(means)) if best else None
    error = families.error_of(arms, arms[nodes[0]].kind) if found else None
    usual, rare = (
        families.lead_by_chance([arms[node].n for node in dict.fromkeys(nodes)], *error) if error else (None, None)
    )
    p = float(families.p_of_f(*found)) if found else None
    adjusted = None if p is None else families.adjusted(p, judge.size)
    outcome = (
        "pending"
        if not begun
        else "untested"
        if adjusted is None
        else "differ"
        if adjusted < families.LEVEL
        else "undecided"
    )
    contrast = Contrast(
        key=member.key,
        kind="among",
        label=member.named,
        cells=tuple(cell.key for cell in member.among),
        pair=member.pair,
        measure=measure.name,
        score=judge.score,
        primary=member.primary,
        family=judge.size,
        difference=None,
        claims=(),
        f=float(found[0]) if found else None,
        degrees=(float(found[1]), float(found[2])) if found else None,
        p=p,
        adjusted_p=adjusted,
        best=best,
        lead=lead,
        lead_by_chance=usual,
        lead_in_twenty=rare,
        outcome=outcome,
        sentence="",
    )
    return contrast.model_copy(update={"sentence": _sentence(member, contrast, given)})


def _sentence(member: Member, found: Contrast, given: Given) -> str:
    measure, names = MEASURES[found.measure], dict(zip(found.cells, member.labels, strict=True))
    where = f" (with {member.pair})" if member.pair else ""
    those = f"the {len(found.cells)} of {_arms(member)}{where}"
    if found.outcome == "pending":
        return f"{those[0].upper()}{those[1:]}: not measured yet."
    if found.f is None or found.degrees is None or found.best is None or found.adjusted_p is None:
        return f"{those[0].upper()}{those[1:]}: untested, as there is no spread over seeds to tell a difference from chance."
    p = "p < 0.001" if found.adjusted_p < 0.001 else f"p = {found.adjusted_p:.3f}"
    corrected = f", corrected for {found.family} comparisons" if found.family > 1 else ""
    verb = "differ" if found.outcome == "differ" else "are not shown to differ"
    test = f"F({found.degrees[0]:g}, {found.degrees[1]:g}) = {found.f:.1f}, {p}{corrected}"
    unit = measure.difference_unit

    def points(value: float | None) -> str:
        return "-" if value is None else figure(value, measure.decimals, signed=False)

    lead = f"the best, {names[found.best]}, leads their mean by {points(found.lead)} {unit}"
    usual, rare = points(found.lead_by_chance), points(found.lead_in_twenty)
    chance = f"of as many equals the best would by {usual}, and in one study of twenty by {rare}"
    return f"{given.of(member.among, 'pooled')}, {those} {verb} in {measure.label} ({test}); {lead}, {chance}."


def _arms(member: Member) -> str:
    return " and ".join(dict.fromkeys(cell.arm for cell in member.among))
