"""Step 3: LoRA."""

from collections.abc import Callable

from torch import Tensor

from grader import assignment
from grader.challenges import LoraChallenge
from grader.evidence.reader import LoraItem, Training
from grader.judging.case import Case
from grader.judging.definitions import expect_defined
from grader.judging.lora_answers import (
    compute_expected_base,
    expect_stage,
    get_answer,
    list_answers,
    list_castable_answers,
    round_input,
)
from grader.judging.suite import Advice, Blocked, check, expect, fail, name_type, suggest_hint
from grader.model import Method
from grader.oracle import lora


@check("step3.extract_names", "extract_qv_layers finds the query and value layers")
def test_extract_names(case: Case) -> None:
    """`extract_qv_layers(model)` returns a dict whose 12 keys are the full names of the query and value layers.

    Tried on small models that are not the notebook's own.
    """
    answers = case.evidence.extract
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked("The notebook did not get far enough to try the function.")
        fail(
            "extract_qv_layers was to answer for a small model; it did not come back.",
            "One loop over model.named_modules() is enough.",
        )
    expect_defined(
        case,
        answers.found,
        assignment.EXTRACT_NAMES,
        "The notebook was to define extract_qv_layers(model); no such function was found.",
        "Define it under exactly this name.",
    )
    expect(bool(answers.items), "extract_qv_layers was to answer for a small model; it gave no answer.")
    for item in answers.items:
        expect(
            item.error is None,
            f"{answers.found} raised {item.error} on a model other than the notebook's own.",
            suggest_hint(str(item.error), "Use the argument, not a model defined elsewhere."),
        )
        expect(
            item.mapping,
            f"{answers.found} was to return a dict from names to layers; it returned {name_type(item.type)}.",
            "Return {name: layer, ...}.",
        )
        expect_names([entry.name for entry in item.entries])


def expect_names(observed: list[str]) -> None:
    """Compare the keys with the twelve names, saying what kind of difference there is."""
    wanted = set(assignment.QV_LAYER_NAMES)
    if set(observed) == wanted and len(observed) == len(wanted):
        return
    expected = f"12 names such as {assignment.QV_LAYER_NAMES[0]!r} were expected"
    if not observed:
        fail(f"{expected}; none were returned.", "In DistilBERT the layers are called q_lin and v_lin.")
    if {f"distilbert.{name}" for name in observed} == wanted:
        fail(
            f"{expected}; the names returned lack the leading 'distilbert.'.",
            "Loop over model.named_modules() of the whole model.",
        )
    if observed and not any("." in name for name in observed):
        fail(
            f"{expected}; {len(observed)} were returned, without the way to them: {observed[0]!r}.",
            "The key is the full name, as model.named_modules() gives it; shorter ones overwrite each other.",
        )
    extra = sorted(set(observed) - wanted)
    missing = sorted(wanted - set(observed))
    parts = [f"{len(extra)} too many, such as {extra[0]!r}"] if extra else []
    parts += [f"{len(missing)} missing, such as {missing[0]!r}"] if missing else []
    fail(
        f"{expected}; {len(observed)} were returned: {'; '.join(parts)}.",
        "Keep the names that end in q_lin or v_lin, in all six layers.",
    )


@check("step3.replace_layers", "replace_layers puts layers in by name")
def test_replace_layers(case: Case) -> None:
    """`replace_layers(model, named_layers)` puts each layer in the place that its name says, and nothing else."""
    answers = case.evidence.replace
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked("The notebook did not get far enough to try the function.")
        fail("replace_layers was to work on a small model; it did not come back.", "Use it as the handout gives it.")
    expect_defined(
        case,
        answers.found,
        assignment.REPLACE_NAMES,
        "The notebook was to contain replace_layers(model, named_layers); no such function was found.",
        "The handout gives it: keep its cell.",
    )
    expect(bool(answers.items), "replace_layers was to work on a small model; it gave no answer.")
    for item in answers.items:
        expect(
            item.error is None,
            f"On a small model, {answers.found} raised {item.error}.",
            "Use it as the handout gives it.",
        )
        wanted = len(assignment.QV_LAYER_NAMES)
        expect(
            len(item.placed) == wanted,
            f"The {wanted} given layers were to be in place afterwards; {len(item.placed) or 'none'} of them "
            f"{'is' if len(item.placed) < 2 else 'are'}.",
            "Change the model that is passed in, at the full name of each layer, with setattr on its parent.",
        )
        expect(
            item.others_changed == 0,
            f"Only the named layers were to change; other modules did too ({item.others_changed}).",
            "Use it as the handout gives it.",
        )


@check("step3.lora_construct", "LoRALayer can be constructed")
def test_lora_construct(case: Case) -> None:
    """`LoRALayer(W, rank, alpha)` wraps any linear layer: with or without a bias, for several ranks."""
    answers = case.evidence.lora
    if answers is None:
        if case.evidence.interrupted:
            raise Blocked("The notebook did not get far enough to try the class.")
        fail("LoRALayer was to be constructed and called; it did not come back.", "Neither needs a loop.")
    expect_defined(
        case,
        answers.found,
        assignment.LORA_NAMES,
        "The notebook was to define the class LoRALayer; none was found.",
        "Define it under exactly this name.",
    )
    for challenge, item in list_answers(case):
        bias = "with" if challenge.bias else "without"
        expect(
            item.stage != "construct" or item.error is None,
            f"Around a linear layer {bias} bias, {answers.found}(W, rank={challenge.rank}, alpha={challenge.alpha}) "
            f"raised {item.error}.",
            hint_on_construction(str(item.error), challenge.bias),
        )
    expect(sum(1 for _ in list_answers(case)) > 0, "LoRALayer was to be constructed; it gave no answer.")


def hint_on_construction(error: str, bias: bool) -> str:
    """What to try, from the error that the class raised."""
    hints = {
        "NotImplementedError": "Write both methods of the class; until then the template raises this error.",
        "is not an nn.Module": "Write class LoRALayer(nn.Module).",
        "Module.__init__() call": "Call super().__init__() before anything else in __init__.",
        "__init__() ": "It is called as LoRALayer(W, rank, alpha): def __init__(self, W, rank=12, alpha=24).",
        "ambiguous": "Test W.bias with 'is not None': a tensor of several numbers is neither true nor false.",
    }
    otherwise = "Try it alone: LoRALayer(nn.Linear(8, 8), rank=2, alpha=4)."
    if not bias:
        otherwise = "W.bias is None where W has no bias: test it with 'is not None', or call W itself."
    return next((hint for words, hint in hints.items() if words in error), otherwise)


@check("step3.lora_fresh", "A fresh LoRALayer computes what W computes", requires=("step3.lora_construct",))
def test_lora_fresh(case: Case) -> None:
    """Before any training, the output equals W(x), bias included: one of A and B starts at zero."""
    for challenge, item in list_castable_answers(case):
        expect_stage(challenge, item, "fresh", "in its first forward pass")
        base = compute_expected_base(case, challenge)
        observed = get_answer(case, challenge, "fresh", tuple(base.shape))
        allowed = lora.compute_tolerance(challenge, float(base.abs().max()))
        difference = float((observed - base).abs().max())
        expect(
            difference <= allowed,
            f"For {challenge}, a fresh layer was to compute W(x); it is off by up to {difference:.2g}"
            f"{cause_of_fresh(case, challenge, observed)}.",
            "Keep W itself and call it, and start one of A and B (not both) at zero.",
        )


def cause_of_fresh(case: Case, challenge: LoraChallenge, observed: Tensor) -> str:
    """The likely reason, where the numbers show one."""
    x, weight = round_input(case, challenge, "x"), round_input(case, challenge, "weight")
    base = compute_expected_base(case, challenge)
    candidates: list[tuple[str, Callable[[], Tensor]]] = [
        ("W's bias is missing", lambda: x @ weight.T),
        ("W's bias is added twice", lambda: base + (base - x @ weight.T)),
        ("W's weight is used untransposed", lambda: x @ weight + (base - x @ weight.T)),
        ("W's weight is used untransposed and its bias is missing", lambda: x @ weight),
        ("it returns the update alone, without W(x)", lambda: base * 0),
        ("W(x) is multiplied by alpha / rank too", lambda: base * challenge.scale),
        ("x is returned where W(x) should be", lambda: x if x.shape == base.shape else base * 0),
    ]
    for words, compute in candidates:
        if float((observed - compute()).abs().max()) <= 4 * lora.compute_tolerance(challenge, float(base.abs().max())):
            return f": {words}"
    emptied = case.evidence.lora_tensors.get(f"{challenge.key}.emptied")
    if emptied is None or emptied.shape != base.shape:
        return ""
    only_adapter = float((emptied.double() - base).abs().max()) <= lora.compute_tolerance(
        challenge, float(base.abs().max())
    )
    return ": A and B both start at values other than zero" if only_adapter else ""


@check("step3.lora_registered", "The adapter's tensors are registered", requires=("step3.lora_construct",))
def test_lora_registered(case: Case) -> None:
    """An adapter of some rank has exactly rank · (in + out) trainable numbers, visible in `layer.parameters()`."""
    for challenge, item in list_answers(case):
        observed = sum(lora.count_numbers(shape) for shape in item.shapes)
        wanted = challenge.rank * (challenge.in_features + challenge.out_features)
        expect(
            observed == wanted,
            f"For {challenge}, {wanted:,} trainable numbers in A and B were expected; parameters() lists {observed:,}"
            f"{cause_of_registered(observed, item, challenge)}.",
            "Assign nn.Parameter or nn.Linear(..., bias=False) objects to self, with sizes taken from rank.",
        )
    moved = source_moves_parameter(case)
    expect(
        moved is None,
        f"A and B were to be registered on every device; the class says {moved}, which on a GPU makes a plain tensor "
        "that no optimiser sees.",
        "Put the tensor on its device first: nn.Parameter(torch.randn(..., device=device)).",
    )
    advise_on_shapes(case)


def cause_of_registered(observed: int, item: LoraItem, challenge: LoraChallenge) -> str:
    """The likely reason, where the number shows one."""
    if observed == 0:
        own = 2 if challenge.bias else 1
        listed = ": they are registered, but frozen (requires_grad is False)"
        return (
            listed
            if item.registered > own
            else ": a tensor in a list, or one that is no nn.Parameter, is not registered"
        )
    if (challenge.out_features, challenge.in_features) in item.shapes:
        return ": a matrix as large as W's weight is no product of two thin ones"
    both = challenge.in_features + challenge.out_features
    wanted = challenge.rank * both
    biases = {
        challenge.rank: "A has",
        challenge.out_features: "B has",
        challenge.out_features + challenge.rank: "A and B have",
    }
    if observed - wanted in biases:
        return f": {biases[observed - wanted]} a bias"
    if observed % both == 0:
        return f": that is an adapter of rank {observed // both}, whatever rank is asked for"
    return ": one of the two matrices" if observed in (wanted // 2, challenge.rank * challenge.in_features) else ""


def source_moves_parameter(case: Case) -> str | None:
    """`nn.Parameter(...).to(...)` in the source of the class: right on a CPU, wrong on a GPU; only reading shows it."""
    answers = case.evidence.lora
    return (
        lora.find_moved_parameter([*case.evidence.sources.values()], answers.found)
        if answers and answers.found
        else None
    )


def advise_on_shapes(case: Case) -> None:
    """Say, at no cost, that the layer works for square W only."""
    answers = case.evidence.lora
    advisory = {c.key for c in case.challenges.lora if not c.graded}
    if answers and any(item.key in advisory and item.error for item in answers.items):
        raise Advice(
            "The layer works for W with as many outputs as inputs only. Every layer of this assignment is such.",
            "B has W.out_features rows, A has W.in_features columns.",
        )


@check(
    "step3.lora_forward",
    "The update is (alpha / rank) · B A x",
    requires=("step3.lora_construct", "step3.lora_registered"),
)
def test_lora_forward(case: Case) -> None:
    """Filled with values, A and B add (alpha / rank) · B(A(x)) to W(x), for several ranks, alphas and shapes."""
    for challenge, item in list_answers(case):
        expect_stage(challenge, item, "filled", "in its forward pass")
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
        found.unreadable and lora.ones_agree(case.evidence.lora_tensors, round_input(case, challenge, "x"), challenge)
    ):
        return
    if found.observed_scale is not None:
        name = name_of_scale(case) or f"{found.observed_scale:.3g}"
        fail(
            f"The update is multiplied by {name}; it should be alpha / rank. "
            f"For {challenge}, that is {found.observed_scale:.3g} instead of {challenge.scale:.3g}.",
            "Take the factor from the rank and the alpha that the layer is made with.",
        )
    cause = lora.diagnose(*question)
    fail(
        f"For {challenge}, the update was to be (alpha / rank) · B A x, and it is no multiple of B A x"
        f"{f': {cause}' if cause else ''}.",
        "Apply A, then B, and nothing else: no activation between them, and dropout only as nn.Dropout, which "
        "model.eval() turns off.",
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


def observed_scale(case: Case, challenge: LoraChallenge, item: LoraItem) -> float | None:
    """The factor of the update in one challenge."""
    tensors = case.evidence.lora_tensors
    filled, emptied = (tensors.get(f"{challenge.key}.{name}") for name in ("filled", "emptied"))
    x = round_input(case, challenge, "x")
    if filled is None or emptied is None or not filled.shape == emptied.shape == (len(x), challenge.out_features):
        return None
    split = lora.split(round_input(case, challenge, "fill"), item.shapes)
    magnitude = float(max(filled.abs().max(), emptied.abs().max()))
    return lora.fit(filled.double() - emptied.double(), x, split, challenge, magnitude).observed_scale


@check("step3.trainable_parameters", "Step 3 trains the adapters and the head")
def test_trainable_parameters(case: Case) -> None:
    """When the training of step 3 starts, 592,130 + 18,432 · rank parameters are trainable: 813,314 at rank 12."""
    training = case.training(Method.LORA)
    if training is None:
        fail(
            "Step 3 was to train a model with LoRA layers; no such training was seen.",
            "Extract, wrap, replace, and train the changed model with a new Trainer.",
        )
    rank = training.rank
    wanted = assignment.count_lora_parameters(rank)
    expect(
        bool(training.wrapped),
        f"The 12 query and value layers were to be wrapped when training starts, and {wanted:,} parameters trainable. "
        f"No layer of the model was a LoRALayer; {training.entry.trainable:,} parameters were trainable.",
        "Call replace_layers on the model that the Trainer gets, and see with print(model) that it holds your layers.",
    )
    cause = "" if training.entry.trainable == wanted else cause_of_count(training, wanted)
    expect(
        training.entry.trainable == wanted,
        f"With rank {rank}, {wanted:,} parameters were to be trainable when training starts; there were "
        f"{training.entry.trainable:,}.{cause}",
        next((hint for words, hint in HINTS_ON_COUNT.items() if words in cause), FREEZE),
    )


FREEZE = "Freeze the model, wrap the layers, and see that only A, B, pre_classifier and classifier are trainable."
HINTS_ON_COUNT = {
    "no parameters of": "Assign nn.Parameter or nn.Linear objects to self: what is in a list is not found.",
    "num_labels": "Load 'distilbert-base-uncased' with num_labels=2 in every step.",
    "are wrapped that should not be": "Wrap what extract_qv_layers returns: the layers called q_lin and v_lin.",
    "are not wrapped": "Wrap all that extract_qv_layers has to return: q_lin and v_lin in all six layers.",
    "hold more trainable": "A and B have no bias, and W is frozen.",
}


def cause_of_count(training: Training, wanted: int) -> str:
    """What is trainable and should not be, or the other way round."""
    names = training.entry.trainable_names
    missing = [m for m in assignment.HEAD_MODULES if not any(n.startswith(m) for n in names)]
    if missing:
        return f" {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} frozen."
    outside = [
        n
        for n in names
        if n.startswith("distilbert.") and not any(n.startswith(f"{path}.") for path in training.entry.wrapped)
    ]
    if outside:
        return f" Trainable outside of the adapters: {len(outside)} tensors, such as {outside[0]}."
    shapes = [shape for adapter in training.entry.adapters.values() for shape in adapter]
    if training.entry.wrapped and training.entry.total <= assignment.FULL_PARAMETERS:
        return " A and B are no parameters of the wrapped layers."
    if training.entry.wrapped and not shapes:
        return " A and B are frozen: freeze the model before the layers are wrapped."
    if (assignment.WIDTH, assignment.WIDTH) in shapes:
        whole = "W is trainable inside of the wrapped layers."
        return f" {whole}" if (assignment.WIDTH,) in shapes else " The adapters hold matrices as large as W's weight."
    others = [path for path in training.entry.wrapped if path not in assignment.QV_LAYER_NAMES]
    if others:
        return f" {len(others)} layers are wrapped that should not be, such as {others[0]}."
    absent = [path for path in assignment.QV_LAYER_NAMES if path not in training.entry.wrapped]
    if absent:
        return f" {len(absent)} of the 12 layers are not wrapped, such as {absent[0]}."
    if labels := assignment.count_surplus_labels(training.entry.trainable, wanted):
        return f" The head is one with num_labels={2 + labels}."
    if training.entry.trainable > wanted:
        return " The wrapped layers hold more trainable numbers than A and B."
    return " The same adapter stands in several places, or A or B is not registered."
