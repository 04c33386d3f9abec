"""What every method of the catalogue promises to the training loop, whatever its formula."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from method_cases import FINER_STAGES, LAST, PHASES, Case, case_for, copied, example, make_case, make_twins
from pydantic import ValidationError
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from protege.errors import ShapeMismatch
from protege.methods import METHODS, Batch, Method, parse_method
from protege.methods.catalogue import card

REMEMBERS = {"crd"}  # methods with a memory bank: what they say of a batch depends on the batches before
every_method = pytest.mark.parametrize("name", METHODS)


def finite(case: Case, method: Method) -> None:
    """Value and every gradient that arrives are numbers, in the first epoch as in the last."""
    adapters = case.adapters(method)
    wanted = [tensor for tensor in [*case.leaves(), *adapters.parameters()] if tensor.requires_grad]
    for progress in PHASES:
        terms = case.terms(method, adapters, progress)
        for term, value in terms.items():
            assert value.shape == (), term
            assert torch.isfinite(value), f"{term} is {value}"
        for gradient in torch.autograd.grad(total(terms), wanted, allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack(list(terms.values())).sum()


def numbers(terms: dict[str, Tensor]) -> dict[str, float]:
    return {term: value.item() for term, value in terms.items()}


@every_method
def test_it_says_where_it_comes_from(name: str) -> None:
    kind = METHODS[name]
    assert card(name)["paper"] and kind.formula and kind.source and kind.family and kind.adds
    assert kind.model_fields["name"].default == name
    assert kind.__doc__ and kind.__doc__ != Method.__doc__
    undescribed = [field for field, info in kind.model_fields.items() if field != "name" and not info.description]
    assert not undescribed
    assert "`" not in kind.formula  # the page shows it as code, which a backtick would end


@every_method
def test_its_presets_are_settings_that_it_accepts(name: str) -> None:
    kind = METHODS[name]
    for presets in (kind.presets, *kind.variants.values()):
        for pair, preset in presets.items():
            assert " -> " in pair
            assert parse_method({"name": name, **preset}).model_dump().items() >= preset.items()


@every_method
def test_it_survives_json_and_hashes_as_itself(name: str) -> None:
    method = example(name)
    again = parse_method(json.loads(method.model_dump_json()))
    assert again == method
    assert hash(again) == hash(method)
    with pytest.raises(ValidationError):
        method.label_smoothing = 0.5
    with pytest.raises(ValueError, match="no_such_setting"):
        parse_method({**method.model_dump(), "no_such_setting": 1})


@every_method
def test_it_names_only_outputs_that_exist(name: str) -> None:
    assert set(example(name).wants()) <= {"logits", "pooled", "stages", "preactivations", "classifier"}


@every_method
def test_it_looks_only_at_what_it_says_it_reads(name: str) -> None:
    """Outputs that it did not ask for are not there, and it works all the same."""
    method = example(name)
    case, wants = case_for(method), method.wants()

    def kept(feature: str) -> bool:
        kind = "pooled" if feature == "pooled" else "preactivations" if feature.endswith("_pre") else "stages"
        return kind in wants

    for said in (case.student, case.teacher, *case.student.members):
        said.features = {feature: tensor for feature, tensor in said.features.items() if kept(feature)}
        if "classifier" not in wants:
            said.classifier = None
    assert all(torch.isfinite(value) for value in case.terms(method).values())


@every_method
@pytest.mark.parametrize(("batch", "classes"), [(6, 5), (1, 5), (6, 2), (1, 2)])
def test_it_is_finite_for_small_batches_and_two_classes(name: str, batch: int, classes: int) -> None:
    method = example(name)
    finite(case_for(method, batch, classes), method)


@every_method
def test_it_is_finite_where_student_and_teacher_agree(name: str) -> None:
    method = example(name)
    case = make_twins()
    if method.cohort > 1:
        twins = tuple(copied(case.student) for _ in range(method.cohort))
        case = replace(case, student=replace(twins[0], members=twins))
    finite(case, method)


@every_method
@pytest.mark.parametrize("scale", [1e4, 1e-6, 0.0])
def test_it_is_finite_at_extreme_logits(name: str, scale: float) -> None:
    method = example(name)
    finite(case_for(method, scale=scale), method)


@every_method
def test_it_is_finite_where_a_network_has_died(name: str) -> None:
    """All features zero, as after a dead activation."""
    method = example(name)
    case = case_for(method)
    for said in (case.student, case.teacher, *case.student.members):
        said.features = {feature: torch.zeros_like(map_, requires_grad=True) for feature, map_ in said.features.items()}
    finite(case, method)


@every_method
def test_bfloat16_says_nearly_the_same(name: str) -> None:
    """Autocast and half-precision outputs, as the training loop gives them, change a term by their rounding only."""
    method = example(name)
    case = case_for(method)
    adapters = case.adapters(method)
    half = replace(case, student=copied(case.student, torch.bfloat16), teacher=copied(case.teacher, torch.bfloat16))
    for progress in PHASES:
        full = case.terms(method, copy.deepcopy(adapters), progress)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = half.terms(method, copy.deepcopy(adapters), progress)
        for term, value in full.items():
            assert rounded[term].dtype == torch.float32, term
            assert rounded[term].item() == pytest.approx(value.item(), rel=0.06, abs=0.02), term


@every_method
def test_its_gradient_reaches_the_student_and_never_the_teacher(name: str) -> None:
    """Without the labels: over the run, the rest reaches the student and every adapter that is to be trained."""
    method = example(name)
    case = case_for(method)
    adapters = case.adapters(method)
    for progress in PHASES:
        terms = case.terms(method, adapters, progress)
        taught = {term: value for term, value in terms.items() if term != "labels"}
        if taught or name == "supervised":
            total(taught or terms).backward()
    assert any(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in case.leaves())
    assert all(tensor.grad is None for tensor in case.teacher_leaves())
    for place, parameter in adapters.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"{place} is never trained"
            assert parameter.grad.abs().sum() > 0, f"{place} is never trained"


@every_method
def test_its_adapters_come_back_from_a_checkpoint(name: str) -> None:
    method = example(name)
    case = case_for(method)
    trained, fresh = case.adapters(method, seed=0), case.adapters(method, seed=7)
    fresh.load_state_dict(copy.deepcopy(trained.state_dict()))
    for progress in PHASES:
        expected, restored = case.terms(method, trained, progress), case.terms(method, fresh, progress)
        assert numbers(restored) == numbers(expected)


@every_method
def test_nothing_gathers_from_step_to_step(name: str) -> None:
    """The same batch twice says the same twice, in training as after an evaluation between."""
    method = example(name)
    case = case_for(method)
    adapters = case.adapters(method)
    first = case.terms(method, adapters)
    adapters.eval()
    adapters.train()
    case_for(method, batch=3, seed=9).terms(method, adapters)
    second = case.terms(method, adapters)
    if name in REMEMBERS:
        assert first.keys() == second.keys()
    else:
        assert numbers(first) == numbers(second)


@every_method
def test_unequal_strides_work_or_say_what_to_choose(name: str) -> None:
    method = example(name)
    case = make_case(teacher_stages=FINER_STAGES, peers=method.cohort)
    try:
        finite(case, method)
    except ShapeMismatch as error:
        assert len(str(error)) > 40
        assert "hoose" in str(error) or "use " in str(error).lower()


@every_method
def test_it_says_labels_and_weighs_mixed_images_by_their_shares(name: str) -> None:
    """A share of 1 is the image's own label alone; halves of two equal labels are that label."""
    method = example(name)
    case = case_for(method)
    adapters = case.adapters(method)
    plain = case.terms(method, copy.deepcopy(adapters))
    if "labels" not in plain:
        assert not hasattr(method, "ce_weight")
    ones, other = torch.ones(len(case.batch.labels)), case.batch.labels.roll(1)
    batches = [
        Batch(case.batch.labels, case.batch.indices, other, ones),
        Batch(other, case.batch.indices, case.batch.labels, 0 * ones),
        Batch(case.batch.labels, case.batch.indices, case.batch.labels, 0.5 * ones),
    ]
    if name in REMEMBERS:
        batches = batches[:1]  # whose negatives are drawn from other classes than the image's own
    for batch in batches:
        mixed = replace(case, batch=batch).terms(method, copy.deepcopy(adapters))
        for term, value in plain.items():
            assert mixed[term].item() == pytest.approx(value.item(), rel=1e-4, abs=1e-5), term


@every_method
def test_it_predicts_the_students_own_logits_unless_it_says_what_it_adds(name: str) -> None:
    method = example(name)
    case = case_for(method)
    predicted = method.predict(case.student, case.adapters(method))
    if method.added() == "nothing":
        assert predicted is case.student.logits
    else:
        assert predicted.shape == case.student.logits.shape


@every_method
def test_it_never_waits_for_the_device(name: str) -> None:
    """With tensors that have no values, nothing can be read back and no branch taken on one."""
    method = example(name)
    case = case_for(method)
    for progress in PHASES:
        adapters = case.adapters(method)
        with FakeTensorMode(allow_non_fake_inputs=True):
            terms = case.terms(method, adapters, progress)
        assert all(isinstance(value, FakeTensor) for value in terms.values())


@pytest.mark.parametrize("name", ["kd", "dkd", "ctkd", "mlkd", "sum", "byot", "reviewkd", "rkd"])
def test_it_compiles_to_one_graph(name: str) -> None:
    """Lazy torch, frozen hyper-parameters and adapters are no obstacle; one of each kind is tried."""
    method = example(name)
    case = case_for(method, batch=4)
    adapters = case.adapters(method)
    expected = case.terms(method, copy.deepcopy(adapters))

    def traced(logits: Tensor) -> dict[str, Tensor]:
        return method.terms(replace(case.student, logits=logits), case.teacher, case.batch, adapters, LAST)

    torch.compiler.reset()
    torch.manual_seed(1)
    terms = torch.compile(traced, backend="eager", fullgraph=True)(case.student.logits)
    assert terms.keys() == expected.keys()
    for term, value in terms.items():
        assert value.item() == pytest.approx(expected[term].item(), rel=1e-4, abs=1e-5), term
