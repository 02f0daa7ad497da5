"""Step 3: LoRA."""

from math import prod

from torch import Tensor

from grader import assignment
from grader.challenges import LoraChallenge
from grader.evidence.raised import describe_error
from grader.judging import places
from grader.judging.case import Case
from grader.judging.lora_answers import (
    compute_expected_base,
    expect_stage,
    get_answer,
    hint_on_error,
    list_answers,
    list_castable_answers,
    name_error,
    observed_scale,
    round_input,
)
from grader.judging.lora_causes import explain_registered, list_fresh_causes, list_update_causes
from grader.judging.suite import (
    Advice,
    Blocked,
    check,
    expect,
    expect_defined,
    expect_reached,
    fail,
    name_type,
    suggest_hint,
)
from grader.model import Method
from grader.oracle import lora
from grader.oracle.methods import infer_rank, name_wrong_count
from grader.oracle.mistakes import adapters, extraction, freezing
from grader.oracle.mistakes.adapters import ASSIGN, Registered
from grader.oracle.mistakes.causes import Cause, capitalise, first_hint, join_causes
from grader.protocol.records import Entry, LoraItem, Training


@check("step3.extract_names", "extract_qv_layers finds the query and value layers", about=places.find_names)
def test_extract_names(case: Case) -> None:
    """`extract_qv_layers(model)` returns a dict whose 12 keys are the full names of the query and value layers.

    The check calls it on small models, not on the model of the notebook.
    """
    answers = case.evidence.extract
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked(
                "The notebook stops before `extract_qv_layers` can be called.",
                "Make the notebook run to the end first.",
            )
        fail(
            "Expected `extract_qv_layers` to return a dict for a small DistilBERT; the call does not finish.",
            "Use one loop over `model.named_modules()`; nothing else is needed.",
        )
    expect_defined(
        case,
        answers.found,
        assignment.EXTRACT_NAMES,
        "Expected a function `extract_qv_layers(model)` in the notebook; found none.",
        "Define it with exactly this name, outside any other function.",
    )
    expect(
        bool(answers.items),
        "Expected `extract_qv_layers` to return a dict for a small DistilBERT; found no answer.",
        "Return a dict: `{name: layer, ...}`.",
    )
    for item in answers.items:
        raised = describe_error(item.error)
        expect(
            item.error is None,
            f"Expected `{answers.found}` to work on a DistilBERT of another size; it raises {raised}.",
            suggest_hint(item.error, "Use only the argument `model`: no global variables and no fixed sizes."),
        )
        expect(
            item.mapping,
            f"Expected `{answers.found}` to return a dict from names to layers; it returns {name_type(item.type)}.",
            "Return a dict: `{name: layer, ...}`.",
        )
        expect_names([entry.name for entry in item.entries])


def expect_names(observed: list[str]) -> None:
    """Compare the keys with the twelve names, saying what kind of difference there is."""
    wanted = set(assignment.QV_LAYER_NAMES)
    if set(observed) == wanted and len(observed) == len(wanted):
        return
    expected = f"Expected 12 keys such as {assignment.QV_LAYER_NAMES[0]!r}"
    if not observed:
        fail(f"{expected}; found none.", "Look for the names that DistilBERT uses: `q_lin` and `v_lin`.")
    causes = extraction.explain(observed)
    extra = sorted(set(observed) - wanted)
    missing = sorted(wanted - set(observed))
    parts = [f"{len(extra)} extra, for example {extra[0]!r}"] if extra else []
    parts += [f"{len(missing)} missing, for example {missing[0]!r}"] if missing else []
    named = f" {capitalise(join_causes(causes))}." if causes else ""
    fail(f"{expected}; found {len(observed)}: {'; '.join(parts)}.{named}", first_hint(causes, extraction.BOTH))


THEMSELVES = (
    "Return the `nn.Linear` layers of the model that is passed in: no copies, no other model. Wrap them afterwards."
)


@check("step3.extract_modules", "extract_qv_layers returns the layers themselves", about=places.find_extraction)
def test_extract_modules(case: Case) -> None:
    """The values are the `nn.Linear` objects in the model that is passed in, each under its own name: no copies."""
    answers = case.evidence.extract
    items = answers.items if answers else ()
    if not any(item.entries for item in items):
        raise Blocked(
            "`extract_qv_layers` returns no layers that this check can look at.",
            "Make “extract_qv_layers finds the query and value layers” pass first.",
        )
    for entry in (entry for item in items for entry in item.entries):
        expect(
            entry.linear,
            "Expected each value that `extract_qv_layers` returns to be an `nn.Linear` of the model that is passed in; "
            f"the value of {entry.name!r} has type {entry.type}.",
            THEMSELVES,
        )
        expect(
            entry.place is not None,
            "Expected each value that `extract_qv_layers` returns to be a layer of the model that is passed in; "
            f"the value of {entry.name!r} is a copy, or a layer of another model.",
            THEMSELVES,
        )
        expect(
            entry.place == entry.name or entry.name not in assignment.QV_LAYER_NAMES,
            f"Expected the value of {entry.name!r} to be the layer of that name; it is the one at {entry.place!r}.",
            "Keep each layer together with its name: `{name: layer for name, layer in model.named_modules() if ...}`.",
        )


@check("step3.replace_layers", "replace_layers puts each layer in its place", about=places.find_replacement)
def test_replace_layers(case: Case) -> None:
    """`replace_layers(model, named_layers)` puts each layer where its name says, and changes nothing else."""
    answers = case.evidence.replace
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked(
                "The notebook stops before `replace_layers` can be called.", "Make the notebook run to the end first."
            )
        fail("Expected `replace_layers` to change a small DistilBERT; the call does not finish.", AS_GIVEN)
    expect_defined(
        case,
        answers.found,
        assignment.REPLACE_NAMES,
        "Expected the function `replace_layers(model, named_layers)` in the notebook; found none.",
        "Put back the cell of the assignment that defines it.",
    )
    expect(bool(answers.items), "Expected `replace_layers` to change a small DistilBERT; found no answer.", AS_GIVEN)
    for item in answers.items:
        expect(
            item.error is None,
            f"Expected `{answers.found}` to replace the layers of a small DistilBERT; "
            f"it raises {describe_error(item.error)}.",
            AS_GIVEN,
        )
        wanted = len(assignment.QV_LAYER_NAMES)
        expect(
            len(item.placed) == wanted,
            f"Expected all {wanted} given layers in the model after the call; found {len(item.placed) or 'none'}.",
            "Change the model that is passed in: for each name, call `setattr` on the parent of that layer.",
        )
        expect(
            item.others_changed == 0,
            f"Expected only the named layers to change; found changes in other modules too ({item.others_changed}).",
            AS_GIVEN,
        )


AS_GIVEN = "Use `replace_layers` exactly as the assignment gives it."


@check("step3.lora_construct", "LoRALayer can be created", about=places.find_class)
def test_lora_construct(case: Case) -> None:
    """`LoRALayer(W, rank, alpha)` wraps any linear layer, with or without a bias, at any rank."""
    answers = case.evidence.lora
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked(
                "The notebook stops before a `LoRALayer` can be created.", "Make the notebook run to the end first."
            )
        fail(
            "Expected to create a `LoRALayer` and call it; this does not finish.",
            "Remove loops from `__init__` and `forward`: neither needs one.",
        )
    expect_defined(
        case,
        answers.found,
        assignment.LORA_NAMES,
        "Expected a class `LoRALayer` in the notebook; found none.",
        "Define it with exactly this name, outside any function.",
    )
    for challenge, item in list_answers(case):
        bias = "with" if challenge.bias else "without"
        expect(
            item.stage != "construct" or item.error is None,
            f"Expected `{answers.found}(W, rank={challenge.rank}, alpha={challenge.alpha})` to wrap a linear layer W "
            f"{bias} a bias; it raises {describe_error(item.error)}{name_error(case)}.",
            hint_on_error(case, "Try it alone: `LoRALayer(nn.Linear(8, 8), rank=2, alpha=4)`."),
        )
    expect(
        sum(1 for _ in list_answers(case)) > 0,
        "Expected to create a `LoRALayer` at several ranks; found no answer.",
        "Try it alone: `LoRALayer(nn.Linear(8, 8), rank=2, alpha=4)`.",
    )


@check(
    "step3.lora_fresh",
    "A fresh LoRALayer computes what W computes",
    requires=("step3.lora_construct",),
    about=places.find_fresh_output,
)
def test_lora_fresh(case: Case) -> None:
    """Before training, the output equals W(x), bias included: one of A and B starts at zero."""
    for challenge, item in list_castable_answers(case):
        expect_stage(case, challenge, item, "fresh", "the first forward pass")
        base = compute_expected_base(case, challenge)
        observed = get_answer(case, challenge, "fresh", tuple(base.shape))
        allowed = lora.compute_tolerance(challenge, float(base.abs().max()))
        difference = float((observed - base).abs().max())
        if difference > allowed:
            causes = list_fresh_causes(case)
            fail(
                f"Expected a fresh layer to return W(x); {join_causes(causes) or 'the output is another one'}. "
                f"The output of {challenge} is off by up to {difference:.2g}.",
                first_hint(causes, "Keep the given W, call it as `W(x)`, and start exactly one of A and B at zero."),
            )
        expect_no_dropout_of_w(case, challenge, base)


def expect_no_dropout_of_w(case: Case, challenge: LoraChallenge, base: Tensor) -> None:
    """Fail the check where a fresh layer is right in evaluation mode and not in training mode."""
    if f"{challenge.key}.fresh_training" not in case.evidence.lora_tensors:  # evidence of earlier runs
        return
    observed = get_answer(case, challenge, "fresh_training", tuple(base.shape))
    expect(
        float((observed - base).abs().max()) <= lora.compute_tolerance(challenge, float(base.abs().max())),
        f"Expected a fresh {challenge} to return W(x) in training mode as well; the output differs there, as with "
        "dropout on the way through W.",
        "Apply dropout to the input of A only: `W(x)` gets x as it is.",
        at=places.find_dropout,
    )


@check(
    "step3.lora_registered",
    "A and B are registered as parameters",
    requires=("step3.lora_construct",),
    about=places.find_matrices,
)
def test_lora_registered(case: Case) -> None:
    """The trainable numbers in `layer.parameters()` are those of A and B: rank · (in + out) of them, no more."""
    for challenge, item in list_answers(case):
        observed = sum(map(prod, item.shapes))
        wanted = challenge.rank * (challenge.in_features + challenge.out_features)
        if observed != wanted:
            causes = explain_registered(case)
            cause = f": {join_causes(causes)}" if causes else ""
            fail(
                f"Expected {wanted:,} trainable numbers in A and B of {challenge}; found {observed:,} in `parameters()`"
                f"{cause}.",
                first_hint(causes, ASSIGN),
            )
    moved = source_moves_parameter(case)
    expect(
        moved is None,
        f"Expected A and B to be parameters on every device; on a GPU, `{moved}` {adapters.MOVED.words}.",
        adapters.MOVED.hint,
    )
    advise_on_shapes(case)


def source_moves_parameter(case: Case) -> str | None:
    """`nn.Parameter(...).to(...)` in the source of the class: right on a CPU, wrong on a GPU; only reading shows it."""
    answers = case.evidence.lora
    return (
        lora.find_moved_parameter([*case.evidence.sources.values()], answers.found)
        if answers and answers.found
        else None
    )


def advise_on_shapes(case: Case) -> None:
    """Say, at no cost, that the layer works for square W only: where it works for these, and fails for others."""
    answers = case.evidence.lora
    advisory = {c.key for c in case.challenges.lora if not c.graded}
    works = all(item.error is None for _, item in list_answers(case))
    if works and answers and any(item.key in advisory and item.error for item in answers.items):
        raise Advice(
            "The layer works for W with as many outputs as inputs only. That costs nothing: here every W is square.",
            "Give B `W.out_features` rows and A `W.in_features` columns.",
        )


@check(
    "step3.lora_forward",
    "The update is (alpha / rank) · B A x",
    requires=("step3.lora_construct", "step3.lora_registered"),
    about=places.find_update,
)
def test_lora_forward(case: Case) -> None:
    """With values in A and B, the layer returns W(x) + (alpha / rank) · B(A(x)), at any rank, alpha and shape of x."""
    for challenge, item in list_answers(case):
        expect_stage(case, challenge, item, "filled", "the forward pass")
        for inputs, suffix in (("x", ""), ("x3", "_batched")):
            expect_update(case, challenge, item, inputs, suffix)


def expect_update(case: Case, challenge: LoraChallenge, item: LoraItem, inputs: str, suffix: str) -> None:
    """Compare the difference that filling the adapter makes with what it should make."""
    x = round_input(case, challenge, inputs)
    shape = (*x.shape[:-1], challenge.out_features)
    filled = get_answer(case, challenge, f"filled{suffix}", shape)
    emptied = get_answer(case, challenge, f"emptied{suffix}", shape)
    values = round_input(case, challenge, "fill")
    magnitude = float(max(filled.abs().max(), emptied.abs().max()))
    question = (
        (filled - emptied).flatten(0, -2),
        x.flatten(0, -2),
        lora.split(values, item.shapes),
        challenge,
        magnitude,
    )
    found = lora.fit(*question)
    if found.matches or (
        found.unreadable
        and lora.ones_agree(case.evidence.lora_tensors, round_input(case, challenge, "x"), challenge)
        and lora.has_its_rank(question[0], challenge, magnitude)
    ):
        return
    causes = list_update_causes(case)
    name = name_of_scale(case) if all(cause.id.startswith("scale_") for cause in causes) else None
    if found.observed_scale is not None and (not causes or (name and len(causes) == 1)):
        name = name or f"{found.observed_scale:.3g}"
        fail(
            f"Expected the update B(A(x)) to be multiplied by alpha / rank; found the factor {name}. "
            f"For {challenge}, that is {found.observed_scale:.4g} instead of {challenge.scale:.4g}.",
            "Compute `alpha / rank` in `__init__`, from its arguments, and multiply the update by it once.",
            at=places.find_scale,
        )
    fail(
        "Expected the layer to add (alpha / rank) · B(A(x)) to W(x); "
        f"{join_causes(causes) or 'it adds something else'}. "
        f"The update of {challenge} is another one.",
        first_hint(causes, "Apply A, then B, and nothing in between: `self.B(self.A(x))`."),
        at=places.find_scale if causes and all(cause.id.startswith("scale_") for cause in causes) else None,
    )


def name_of_scale(case: Case) -> str | None:
    """How the student wrote the factor, if one of the usual mistakes explains it for every rank and alpha tried."""
    common: list[str] | None = None
    for challenge, item in list_answers(case):
        observed = observed_scale(case, challenge, item)
        if observed is not None:
            names = lora.name_scale(observed, challenge)
            common = names if common is None else [name for name in common if name in names]
    return common[0] if common else None


@check(
    "step3.trainable_parameters",
    "Step 3 trains only the adapters and the head",
    about=places.find_adapted,
    training=Method.LORA,
)
def test_trainable_parameters(case: Case) -> None:
    """When the training of step 3 starts, 592,130 + 18,432 · rank parameters are trainable: 813,314 at rank 12."""
    training = case.training(Method.LORA)
    if training is None:
        fail(
            f"Expected a training of a model with LoRA layers in step 3; found none.{case.explain_absence()}",
            "Wrap the query and value layers, call `replace_layers`, and train that model with a new `Trainer`.",
        )
    rank = infer_rank(training.entry)
    wanted = assignment.count_lora_parameters(rank)
    rationale = (
        f"Expected {wanted:,} trainable parameters at rank {rank} when the training of step 3 starts; found "
        f"{training.entry.trainable:,}."
    )
    if training.entry.trainable != wanted:
        expect_reached(case, Method.LORA, rationale)
    expect(
        bool(training.entry.wrapped),
        f"Expected 12 wrapped layers and {wanted:,} trainable parameters when the training of step 3 starts; found no "
        f"`LoRALayer` in the model and {training.entry.trainable:,} trainable parameters.",
        "Call `replace_layers` on the model that the `Trainer` gets, and check with `print(model)`.",
    )
    if training.entry.trainable != wanted:
        cause, hint = cause_of_count(case, training, wanted)
        fail(
            f"{rationale} {cause}",
            hint,
            cause=name_wrong_count(training.entry, wanted),
        )


FREEZE = "Freeze the encoder first, then wrap: only A, B, `pre_classifier` and `classifier` stay trainable."


def cause_of_count(case: Case, training: Training, wanted: int) -> tuple[str, str]:
    """What is trainable and should not be, or the other way round, and what to try."""
    entry, names = training.entry, training.entry.trainable_names
    missing = [m for m in assignment.HEAD_MODULES if not any(n.startswith(m) for n in names)]
    wrapped = tuple(f"{path}." for path in entry.wrapped)
    outside = [n for n in names if n.startswith("distilbert.") and not n.startswith(wrapped)]
    if missing:
        encoder = [n for n in case.base if n.startswith("distilbert.") and not n.startswith(wrapped)]
        causes = freezing.explain_both([n for n in names if not n.startswith(wrapped)], encoder)
        return f"{capitalise(join_causes(causes))}.", FREEZE
    if outside:
        encoder = [n for n in case.base if n.startswith("distilbert.") and not n.startswith(wrapped)]
        causes = freezing.explain_encoder(outside, encoder)
        w_frozen = not any((assignment.WIDTH, assignment.WIDTH) in shapes for shapes in entry.adapters.values())
        causes = freezing.explain_spelling(causes, case.evidence.sources.values())
        causes = (freezing.ONLY_W,) if w_frozen and causes == (freezing.NOTHING_FROZEN,) else causes
        named = f"{capitalise(join_causes(causes))}: " if causes else ""
        return (
            f"{named}{len(outside)} encoder tensors outside the adapters are trainable, for example `{outside[0]}`.",
            FREEZE,
        )
    if is_shared(entry):
        return (
            "All wrapped layers share one adapter.",
            "Create one `LoRALayer` for each layer: call the class inside the loop over the layers.",
        )
    if entry.wrapped and entry.total <= assignment.FULL_PARAMETERS:
        return (
            "A and B are not parameters of every wrapped layer.",
            "Create one `LoRALayer` per layer, and assign A and B to attributes of `self`, not to a list.",
        )
    if entry.wrapped and not any(entry.adapters.values()):
        return "A and B are frozen.", FREEZE
    return cause_of_adapters(case, entry, wanted)


def is_shared(entry: Entry) -> bool:
    """Whether the adapters of all wrapped layers are alike, and their numbers are there once."""
    shapes = set(entry.adapters.values())
    size = sum(map(prod, shapes.pop())) if len(shapes) == 1 else 0
    return len(entry.adapters) > 1 and size > 0 and entry.trainable == assignment.HEAD_PARAMETERS + size


def cause_of_adapters(case: Case, entry: Entry, wanted: int) -> tuple[str, str]:
    """What is wrong with adapters that are trainable, and what to try."""
    shapes = {shape for adapter in entry.adapters.values() for shape in adapter}
    others = [path for path in entry.wrapped if path not in assignment.QV_LAYER_NAMES]
    absent = [path for path in assignment.QV_LAYER_NAMES if path not in entry.wrapped]
    labels = assignment.count_surplus_labels(entry.trainable, wanted)
    if {(assignment.WIDTH, assignment.WIDTH), (assignment.WIDTH,)} <= shapes:
        cause = "W is trainable inside the wrapped layers."
        hint = "Freeze the encoder before you wrap its layers, and keep W frozen in `LoRALayer`."
    elif (assignment.WIDTH, assignment.WIDTH) in shapes:
        cause = "The adapters hold matrices as large as W's weight."
        hint = "Make A and B thin: one side of each has the size `rank`."
    elif others:
        cause = f"{len(others)} wrapped layers should not be wrapped, for example `{others[0]}`"
        cause += f": {join_causes(taken)}." if (taken := explain_wrapped(case, entry)) else "."
        hint = "Wrap only what `extract_qv_layers` returns: the layers called `q_lin` and `v_lin`."
    elif absent:
        cause = f"{len(absent)} of the 12 layers are not wrapped, for example `{absent[0]}`"
        cause += f": {join_causes(taken)}." if (taken := explain_wrapped(case, entry)) else "."
        hint = "Wrap all twelve layers: `q_lin` and `v_lin` in all six blocks."
    elif labels:
        cause = f"A model with num_labels={2 + labels} has this number."
        hint = "Load 'distilbert-base-uncased' with `num_labels=2` in every step."
    elif entry.trainable > wanted:
        cause = "The wrapped layers have more trainable numbers than A and B"
        cause += f": {join_causes(extra)}." if (extra := explain_adapters(case, entry)) else "."
        hint = "Give A and B no bias, and keep W frozen."
    else:
        cause = "Several layers share one adapter, or A or B is not registered."
        hint = "Create one `LoRALayer` for each layer, and assign A and B to attributes of `self`."
    return cause, hint


def explain_wrapped(case: Case, entry: Entry) -> tuple[Cause, ...]:
    """Why other layers are wrapped, where `extract_qv_layers` finds just these: else they are lost on the way."""
    items = case.evidence.extract.items if case.evidence.extract else ()
    found = {frozenset(entry.name for entry in item.entries) for item in items}
    return extraction.explain(list(entry.wrapped)) if found == {frozenset(entry.wrapped)} else ()


def explain_adapters(case: Case, entry: Entry) -> tuple[Cause, ...]:
    """What the adapters of the trained model hold besides A and B, where all of them are alike."""
    shapes = set(entry.adapters.values())
    rank, width = infer_rank(entry), assignment.WIDTH
    layer = LoraChallenge(
        "model", rank, 2 * rank, "float32", bias=True, in_features=width, out_features=width, graded=True
    )
    found = adapters.explain([Registered(layer, shapes.pop(), frozen=False, later=False)]) if len(shapes) == 1 else ()
    biased = adapters.B_BIAS in found or adapters.A_BIAS in found
    return (adapters.MAGNITUDE,) if biased and adapters.MAGNITUDE in explain_registered(case) else found
