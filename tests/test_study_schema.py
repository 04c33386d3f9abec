"""A study's file is checked completely before the first run, and says what its author meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protege.errors import ConfigError
from protege.study.question.arms import cells, teacher_config
from protege.study.question.load import load, study_of
from protege.study.question.schema import Seeds, Study

BASE = {"data": "cifar10-mini", "teacher": "resnet14", "student": "resnet8", "optim": {"epochs": 2}}
ARMS = {"alone": {"method": "supervised"}, "kd": {"method": {"name": "kd", "temperature": 2.0}}}


def described(**changes: Any) -> dict[str, Any]:
    return {"question": "does it help?", "base": BASE, "arms": ARMS} | changes


def made(**changes: Any) -> Study:
    return study_of("made", described(**changes))


def reduced(**changes: Any) -> Study:
    return study_of("made", described(**changes), "reduced")


def refused(said: str, **changes: Any) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**changes)


def configurations(study: Study, key: str) -> list[Any]:
    return [one.config for cell in cells(study) if cell.key == key for one in cell.configurations]


def test_all_mistakes_are_told_at_once_with_suggestions() -> None:
    wrong = described(
        base=BASE | {"optim": {"epohcs": 3}, "teacher": "resnet15"},
        arms={"alone": {"method": "supervised"}, "kd": {"method": "kd", "vary": {"method.temprature": [1, 2]}}},
        compare=[{"treatment": "kdd"}],
    )
    with pytest.raises(ConfigError) as caught:
        study_of("made", wrong, origin="my.yaml")
    message = str(caught.value)
    assert "my.yaml has 4 mistakes" in message
    assert "base: optim.epohcs: there is no such field. Did you mean 'optim.epochs'?" in message
    assert message.count("epohcs") == 1  # once, though every run has it
    assert "Did you mean 'method.temperature'?" in message
    assert "compare 1: treatment: there is no 'kdd'. Did you mean 'kd'?" in message
    assert "'resnet15' is no teacher of this study" in message


def test_a_field_that_is_no_field_gets_a_suggestion_wherever_it_stands() -> None:
    refused("base: there is no field 'studnet'. Did you mean 'student'", base={"studnet": "resnet8"})
    refused("arms.kd: there is no field 'vray'. Did you mean 'vary'", arms={"kd": {"vray": {}}})
    refused("questoin: there is no such field. Did you mean 'question'", questoin="?")


def test_a_number_of_reporting_seeds_counts_from_zero() -> None:
    assert Seeds.model_validate({"report": 8}).report == tuple(range(8))
    assert Seeds.model_validate({"select": 2}).select == (100, 101)
    assert made().select_seeds == (100, 101)


def test_a_seed_that_selects_and_reports_is_refused() -> None:
    refused("seed 1 both selects and reports", seeds={"select": [1, 100], "report": 3})
    refused("names a seed twice", seeds={"report": [0, 0]})


def test_a_seed_is_not_a_field_of_an_arm() -> None:
    refused("seeds", arms={"kd": {"method": "kd", "seed": 3}})
    refused("nothing to choose by", arms={"kd": {"method": "kd", "vary": {"seed": [1, 2]}}})


def test_student_and_model_are_one_field() -> None:
    assert configurations(made(), "kd")[0].model.name == "resnet8"
    refused("same field", base={"student": "resnet8", "model": "resnet8"})


def test_a_bare_network_as_teacher_is_trained_alone_with_the_settings_of_the_base() -> None:
    study = made(
        base=BASE | {"method": {"name": "kd", "temperature": 8.0}}, arms={"alone": {"teacher": None}, "kd": {}}
    )
    trained = teacher_config(study, "resnet14")
    assert (trained.model.name, trained.method.name, trained.teacher, trained.optim.epochs) == (
        "resnet14",
        "supervised",
        (),
        2,
    )


def test_arms_without_a_teacher_drop_the_one_of_the_base() -> None:
    arms = {"by method": {"method": "supervised"}, "by teacher": {"teacher": None}, "kd": {}}
    study = made(base=BASE | {"method": {"name": "kd", "temperature": 8.0}}, arms=arms)
    alone, other, kd = cells(study)
    assert alone.alone and other.alone and not kd.alone
    assert configurations(study, "by teacher")[0].method.name == "supervised"
    assert alone.reference == ("resnet14",)  # agreement with it is measured all the same


def test_a_section_with_a_name_replaces_and_one_without_refines() -> None:
    base = BASE | {"method": {"name": "kd", "temperature": 8.0, "kd_weight": 0.5}}
    arms = {
        "refined": {"method": {"temperature": 2.0}},
        "replaced": {"method": {"name": "kd", "temperature": 2.0}},
        "dotted": {"optim.lr": 0.05},
    }
    study = made(base=base, arms=arms)
    assert configurations(study, "refined")[0].method.kd_weight == 0.5
    assert configurations(study, "replaced")[0].method.kd_weight == 0.9  # the method's own default
    assert configurations(study, "dotted")[0].optim.lr == 0.05
    assert configurations(study, "dotted")[0].optim.epochs == 2


def test_a_grid_is_crossed_and_a_list_of_points_is_not() -> None:
    grid = {"method": "kd", "vary": {"method.temperature": [1, 2, 4], "method.kd_weight": [0.5, 0.9]}}
    points = {
        "method": "kd",
        "vary": [
            {"method.ce_weight": 0.1, "method.kd_weight": 0.9},
            {"method.ce_weight": 0.5, "method.kd_weight": 0.5},
        ],
    }
    study = made(arms={"grid": grid, "points": points})
    assert len(configurations(study, "grid")) == 6
    assert [(one.method.ce_weight, one.method.kd_weight) for one in configurations(study, "points")] == [
        (0.1, 0.9),
        (0.5, 0.5),
    ]
    refused("is not a list of values", arms={"kd": {"method": "kd", "vary": {"method.temperature": 3}}})
    refused(
        "same configuration stands in it twice", arms={"kd": {"method": "kd", "vary": {"method.temperature": [3, 3]}}}
    )


def test_pairs_are_crossed_with_arms_and_may_differ_in_settings_of_their_own() -> None:
    pairs = [
        {"teacher": "resnet14", "student": "resnet8"},
        {"teacher": "resnet20", "student": "mobilenet_v2", "optim.lr": 0.01, "arms": {"kd": {"method.temperature": 7}}},
    ]
    study = made(base={"data": "cifar10-mini"}, pairs=pairs)
    keys = [cell.key for cell in cells(study)]
    assert keys == [
        "alone: resnet14 -> resnet8",
        "kd: resnet14 -> resnet8",
        "alone: resnet20 -> mobilenet_v2",
        "kd: resnet20 -> mobilenet_v2",
    ]
    (second,) = configurations(study, "kd: resnet20 -> mobilenet_v2")
    assert (second.optim.lr, second.method.temperature, second.model.name) == (0.01, 7, "mobilenet_v2")
    assert configurations(study, "kd: resnet14 -> resnet8")[0].optim.lr == 0.1
    refused("two are called", pairs=[pairs[0], pairs[0]])
    refused("names a student", pairs=pairs, arms={"kd": {"method": "kd", "student": "resnet20"}})


def test_teachers_may_be_given_and_taught_by_each_other_but_not_in_a_circle() -> None:
    teachers = {
        "big": "resnet20",
        "assistant": {"model": "resnet14", "teacher": "big", "method": "kd"},
        "mine": {"from": "runs/somewhere"},
    }
    study = made(teachers=teachers, arms={"kd": {"teacher": ["assistant", "mine"]}})
    assert teacher_config(study, "assistant").teacher[0].source == "big"
    assert [one.source for one in configurations(study, "kd")[0].teacher] == ["assistant", "mine"]
    refused("taught by itself", teachers=teachers | {"big": {"model": "resnet20", "teacher": "assistant"}})
    refused("is not trained, so optim", teachers={"mine": {"from": "x", "optim": {"epochs": 3}}})
    refused("under `teachers`", base=BASE | {"teacher": {"model": "resnet20"}})


# ---- protocols ----


def test_the_literature_protocol_trains_on_everything_and_reports_every_configuration() -> None:
    arms = ARMS | {"kd": {"method": "kd", "vary": {"method.temperature": [1, 4]}}}
    study = made(protocol="literature", arms=arms)
    assert [cell.key for cell in cells(study)] == ["alone", "kd (temperature 1)", "kd (temperature 4)"]
    assert {one.config.data.heldout for cell in cells(study) for one in cell.configurations} == {0}
    assert teacher_config(study, "resnet14").data.heldout == 0
    assert study.select_seeds == ()


def test_the_literature_protocol_can_neither_select_nor_take_the_best_epoch() -> None:
    refused("chooses nothing", protocol="literature", seeds={"select": [100], "report": 2})
    refused("no best epoch", protocol="literature", report="best")
    refused(
        "trains on everything", protocol="literature", base=BASE | {"data": {"name": "cifar10-mini", "heldout": 100}}
    )


def test_choosing_needs_held_out_images() -> None:
    refused("nothing to choose on", base=BASE | {"data": {"name": "cifar10-mini", "heldout": 0}})


def test_only_what_held_out_images_judge_may_choose() -> None:
    made(choose_by="nll")
    for measure in ("scaled_ece", "agreement", "bytes"):
        refused(f"'{measure}' cannot choose: held-out images do not judge it", choose_by=measure)
    refused("'nil' is not measured. Did you mean 'nll'", choose_by="nil")
    refused("choose_by: the literature protocol chooses nothing", choose_by="nll", protocol="literature")


def test_arms_are_judged_by_the_same_images() -> None:
    refused("data.heldout_seed differs", arms=ARMS | {"other": {"method": "supervised", "data.heldout_seed": 7}})
    made(arms=ARMS | {"fewer": {"method": "supervised", "data.limit": 100}})


def test_hypotheses_and_published_figures_name_what_there_is() -> None:
    refused("compared with itself", compare=[{"treatment": "kd", "control": "kd"}])
    refused("'acuracy' is not measured. Did you mean 'accuracy'", compare=[{"treatment": "kd", "measure": "acuracy"}])
    refused("of an arm or of a teacher", published=[{"value": 93.0}])
    grid = ARMS | {"kd": {"method": "kd", "vary": {"method.temperature": [1, 4]}}}
    refused("stands for 2 cells", protocol="literature", arms=grid, published=[{"arm": "kd", "value": 93.0}])
    made(protocol="literature", arms=grid, published=[{"arm": "kd", "at": {"method.temperature": 4}, "value": 93.0}])


def test_a_hypothesis_is_asked_once() -> None:
    """Else one of two would be dropped with its margin and with being primary."""
    kd = {"treatment": "kd"}
    refused("compare 2: asks the same as compare 1", compare=[kd, kd | {"primary": True, "margin": 5}])
    pairs = [{"name": "P1", "teacher": "resnet14", "student": "resnet8"}]
    refused(
        "compare 2: compare 1 asks the same",
        pairs=pairs,
        compare=[kd, kd | {"pair": "P1", "primary": True, "margin": 5}],
    )
    made(compare=[kd | {"primary": True}, kd | {"measure": "nll", "primary": True}])


def test_what_a_question_asks_beyond_single_comparisons_is_checked() -> None:
    refused("one of the two", compare=[{"treatment": "kd", "among": "kd"}])
    refused("compare 1: kd is one cell", compare=[{"among": "kd"}])
    refused("there is no 'P9'", compare=[{"treatment": "kd", "than": {"pair": "P9"}}])
    refused("no margin", compare=[{"treatment": "kd", "than": {"treatment": "alone"}, "margin": 1}])
    refused("kd has no configuration", compare=[{"treatment": "kd", "at": {"method.temperature": 3}}])
    made(compare=[{"among": ["alone", "kd"], "primary": True}])


# ---- the reduced form ----


def test_what_the_reduced_form_says_of_a_teacher_itself_is_not_overruled() -> None:
    teacher = {"model": "resnet14", "optim": {"epochs": 100}}
    short = {"every_run": {"optim.epochs": 1}}
    own = reduced(teachers={"resnet14": teacher}, reduced=short | {"teachers": {"resnet14": {"optim.epochs": 3}}})
    assert teacher_config(own, "resnet14").optim.epochs == 3
    assert teacher_config(reduced(teachers={"resnet14": teacher}, reduced=short), "resnet14").optim.epochs == 1
    arms = {"kd": {"optim.epochs": 3}}
    refused(
        "reduced.arms.kd: every_run sets optim.epochs too",
        teachers={"resnet14": teacher},
        reduced=short | {"arms": arms},
    )


def test_a_reduced_form_says_all_that_differs() -> None:
    found = reduced(
        teachers={"resnet14": {"model": "resnet14", "seeds": 3}},
        seeds={"select": [100, 101], "report": 5},
        reduced={
            "every_run": {"optim.batch_size": 32},
            "teachers": {"resnet14": {"seeds": 1, "optim.lr": 0.01}},
            "seeds": {"report": 2},
        },
    )
    assert set(found.changes) == {
        "optim.batch_size 32 instead of 128 (every run)",
        "optim.lr 0.01 instead of 0.1 (every teacher)",
        "2 seeds to report instead of 5",
        "1 seed of teacher resnet14 instead of 3",
    }


def test_the_reduced_form_changes_what_it_names_and_every_run() -> None:
    raw = described(
        teachers={"resnet14": {"model": "resnet14", "optim": {"epochs": 100}}},
        arms=ARMS | {"kd": {"method": "kd", "vary": {"method.temperature": [1, 2, 4]}}, "dkd": {"method": "dkd"}},
        compare=[{"treatment": "kd"}, {"treatment": "dkd"}],
        reduced={
            "every_run": {"data.limit": 200, "optim.epochs": 1},
            "arms": {"kd": {"vary": {"method.temperature": [4]}}, "dkd": None},
            "seeds": {"report": 2},
        },
    )
    full, small = study_of("made", raw, "full"), study_of("made", raw, "reduced")
    assert teacher_config(full, "resnet14").optim.epochs == 100
    assert (teacher_config(small, "resnet14").optim.epochs, teacher_config(small, "resnet14").data.limit) == (1, 200)
    assert [cell.key for cell in cells(small)] == ["alone", "kd"]
    assert len(configurations(full, "kd")) == 3 and len(configurations(small, "kd")) == 1
    assert (len(full.seeds.report), len(small.seeds.report)) == (5, 2)
    assert [one.treatment for one in small.compare] == ["kd"]


def test_a_reduced_form_has_pairs_of_its_own_and_leaves_out_what_is_published_of_others() -> None:
    raw = described(
        teachers={"large": {"model": "resnet20"}},
        pairs=[{"teacher": "large", "student": "resnet8"}, {"teacher": "large", "student": "resnet14"}],
        arms=ARMS | {"dkd": {"method": "dkd"}},
        compare=[{"treatment": "kd"}],
        published=[
            {"teacher": "large", "value": 95.0},
            {"pair": "large -> resnet8", "arm": "kd", "value": 93.0},
            {"pair": "large -> resnet14", "arm": "kd", "value": 94.0},
            {"pair": "large -> resnet8", "arm": "kd", "against": "dkd", "value": -0.2},
        ],
        reduced={
            "arms": {"dkd": None},
            "pairs": ["large -> resnet8", {"name": "tiny", "teacher": "large", "student": "resnet8"}],
        },
    )
    small = study_of("made", raw, "reduced")
    assert [(pair.name, pair.fields["model"]) for pair in small.pairs] == [
        ("large -> resnet8", "resnet8"),
        ("tiny", "resnet8"),
    ]
    assert [one.value for one in small.published] == [95.0, 93.0]
    wrong = {"pairs": [{"name": "tiny", "teacher": "large", "student": "resnet9"}]}
    refused("resnet9", pairs=raw["pairs"], teachers=raw["teachers"], reduced=wrong)
    refused("studnet", pairs=raw["pairs"], teachers=raw["teachers"], reduced={"pairs": [{"studnet": "resnet8"}]})


def test_a_mistake_in_the_reduced_form_is_told_even_when_the_full_one_is_run() -> None:
    refused("reduced.arms.kdd: the study has no such name. Did you mean 'kd'", reduced={"arms": {"kdd": None}})
    refused("reduced.sedes", reduced={"sedes": {"report": 2}})
    refused("optim.epochs", reduced={"every_run": {"optim.epochs": 0}})


def test_a_reduced_form_says_how_it_differs_and_the_full_one_does_not() -> None:
    raw = described(reduced={"differs": "two\n seeds instead of five.", "seeds": {"report": 2}})
    assert study_of("made", raw, "reduced").differs == "two seeds instead of five"
    assert study_of("made", raw).differs == ""
    refused("reduced.differs: 2 is no text", reduced={"differs": 2})
    refused("reduced.differs: ' ' is no text", reduced={"differs": " "})
    refused("say it in the section `reduced`", differs="two seeds")


def test_the_reduced_form_knows_what_the_full_one_costs() -> None:
    cost = {"hours": 3, "hardware": "one H200"}
    small = study_of("made", described(cost=cost, reduced={"seeds": {"report": 2}}), "reduced")
    assert small.cost and small.cost.sentence() == "3 hours on one H200"


def test_a_file_without_a_reduced_form_says_so(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("question: is it so?\narms: {alone: {method: supervised}}\n")
    assert load(file).name == "mine"
    with pytest.raises(ConfigError, match="no reduced form"):
        load(file, "reduced")
