"""What the three trainings did to the weights, and how well the results classify."""

from grader import assignment
from grader.judging import places
from grader.judging.case import Case
from grader.judging.lora_causes import list_fresh_causes, list_update_causes
from grader.judging.suite import Blocked, NotJudged, check, expect, fail
from grader.model import Method, Profile
from grader.oracle.certificates import Certificate
from grader.oracle.methods import count_rank, find_source_of_head, starts_elsewhere
from grader.oracle.work import is_replaced_at_end
from grader.protocol.records import Training


def certificate_of(case: Case, method: Method) -> Certificate:
    """The certificate of a method's training, or blocked."""
    expect_weights(case, method)
    certificate = case.certificate(method)
    assert certificate is not None
    return certificate


def expect_weights(case: Case, method: Method) -> None:
    """Block the check where a method's training left no weights."""
    training = case.training(method)
    if training is None or not training.finished:
        raise Blocked(
            f"This step has no finished training, so there is no trained model to check.{case.explain_absence()}",
            "Make “The notebook runs from top to bottom” pass first.",
        )
    if training.exit.file is None and training.unrecorded:
        raise Blocked(
            f"The weights of the trained model cannot be read: the model raises {training.unrecorded.type}.",
            "Train the model that `from_pretrained` returns, and do not change its methods.",
        )
    if training.exit.file is None:
        raise Blocked(
            "The notebook trains more models than the grader keeps; the weights of this one are missing.",
            "Train once in every step, and remove searches over settings before you hand in.",
        )


STEPS = {Method.FULL: "step 1", Method.HEAD: "step 2", Method.LORA: "step 3"}


def expect_new_head(case: Case, method: Method) -> None:
    """Fail the check where a training goes on with the head that another step trained."""
    training = case.training(method)
    source = find_source_of_head(case.evidence.trainings, training) if training else None
    if source is None:
        return
    step = next((STEPS[m] for m, t in case.placed.items() if t is source), "an earlier step")
    fail(
        f"Expected {STEPS[method]} to start with a new head on the pretrained model; its head is the one that {step} "
        "trained, so the two cannot be compared.",
        "Load the model again with `from_pretrained` before each training, and copy nothing from a trained one.",
        at=places.find_head(method),
    )


NOT_PRETRAINED = "not pretrained"  # a cause: random weights, or those of another model, in every step


def expect_pretrained(case: Case, training: Training) -> None:
    """Fail the check where the first training of a notebook starts from other weights than the pretrained ones."""
    expect(
        training.index > 0 or not starts_elsewhere(training.entry),
        "Expected the model of step 1 to start from the pretrained weights; "
        f"{len(training.entry.changed)} of the {len(case.base)} tensors of its encoder are others.",
        f"Load it with `from_pretrained('{assignment.MODEL_NAMES[0]}', num_labels=2)`: a model that is made from a "
        "configuration has random weights.",
        at=places.find_pretrained(Method.FULL),
        cause=NOT_PRETRAINED,
    )


def name_origin(case: Case, method: Method) -> str:
    """Name the cause where a step starts from other weights than the pretrained ones, as the first training does."""
    training = case.training(method)
    both = (training.entry, case.evidence.trainings[0].entry) if training else ()
    return NOT_PRETRAINED if both and all(map(starts_elsewhere, both)) else ""


def expect_whole(case: Case, certificate: Certificate) -> None:
    """Fail the check where tensors of the pretrained network are nowhere to be found in the model."""
    absent = certificate.find_absent(case.base)
    expect(
        not absent,
        f"Expected the {len(case.base)} tensors of the pretrained encoder in the trained model; "
        f"{len(absent)} are missing, for example `{(absent or ('',))[0]}`.",
        "Train the model that `from_pretrained` returns, and keep the names of its parts.",
    )


@check(
    "step1.trained",
    "Step 1 changes the whole network",
    requires=("step1.trainable_parameters",),
    about=places.find_learning(Method.FULL),
    training=Method.FULL,
)
def test_trained(case: Case) -> None:
    """After the training of step 1, the encoder and the head differ from the pretrained model."""
    certificate = certificate_of(case, Method.FULL)
    expect_new_head(case, Method.FULL)
    if (training := case.training(Method.FULL)) is not None:
        expect_pretrained(case, training)
    expect(
        certificate.any_encoder_change and certificate.head_changed,
        "Expected the training of step 1 to change the whole network; "
        f"the {'head' if certificate.any_encoder_change else 'encoder'} is unchanged.",
        "Give the `Trainer` a model with nothing frozen, and an optimiser that has all of its parameters.",
    )


@check(
    "step2.encoder_untouched",
    "Step 2 leaves the pretrained encoder unchanged",
    requires=("step2.trainable_parameters",),
    about=places.find_origin(Method.HEAD),
    training=Method.HEAD,
)
def test_encoder_untouched(case: Case) -> None:
    """After the training of step 2, the encoder is bit for bit the pretrained one, and the head is another one."""
    certificate = certificate_of(case, Method.HEAD)
    expect_whole(case, certificate)
    expect(
        not certificate.any_encoder_change and not certificate.unreadable,
        "Expected the encoder of step 2 to equal the pretrained one; "
        f"{len(certificate.encoder_changed) + len(certificate.qv_ranks)} of its tensors differ.",
        "Load the pretrained model again for step 2: do not continue with the model of step 1.",
        at=places.find_pretrained(Method.HEAD) if name_origin(case, Method.HEAD) else None,
        cause=name_origin(case, Method.HEAD),
    )
    training = case.training(Method.HEAD)
    expect(
        training is None or not training.exit.head or training.exit.head != training.entry.head,
        "Expected the training of step 2 to change the head; it is as it was before the training.",
        "Give the `Trainer` an optimiser that has the parameters of the head, and a learning rate above zero.",
        at=places.find_learning(Method.HEAD),
    )
    expect_new_head(case, Method.HEAD)


@check(
    "step3.certificate",
    "Step 3 changes the encoder only by low-rank updates",
    requires=("step3.trainable_parameters",),
    about=places.find_certified,
    training=Method.LORA,
)
def test_certificate(case: Case) -> None:
    """After step 3, only the head and the 12 query and value layers differ, each of the 12 by a matrix of low rank."""
    certificate = certificate_of(case, Method.LORA)
    training = case.training(Method.LORA)
    assert training is not None
    expect_readable(case, training, certificate)
    expect(
        not case.adapts_layers_of_step_1,
        "Expected adapters on the pretrained query and value layers; found them on those that step 1 trained.",
        "Take the layers from the model that step 3 trains: call `extract_qv_layers` with it, and use no other model "
        "inside.",
        at=places.find_wrapped_layers,
    )
    expect_only_adapters(case, training, certificate)
    expect_low_rank(case, training, certificate)
    expect_new_head(case, Method.LORA)


def expect_readable(case: Case, training: Training, certificate: Certificate) -> None:
    """Fail the check where wrapped layers cannot be read as matrices, or pretrained tensors are missing."""
    if training.exit.unsupported:
        path, error = next(iter(training.exit.unsupported.items()))
        fail(
            f"Expected each wrapped layer to work in evaluation mode; `{path}` raises {error}.",
            "Make `forward(x)` work after `model.eval()` and for any shape (…, in) of x.",
        )
    expect_whole(case, certificate)
    expect(
        not certificate.unreadable,
        f"Expected each wrapped layer to be linear in x; `{(certificate.unreadable or ('',))[0]}` is not.",
        INITIALISE if starts_without_numbers(case) else NOTHING_BETWEEN,
    )


NOTHING_BETWEEN = "Put nothing between A and B: no activation, and no dropout that stays on in evaluation mode."
INITIALISE = "Initialise all numbers of A and B: “A fresh LoRALayer computes what W computes” names NaN or infinity."


def starts_without_numbers(case: Case) -> bool:
    """Whether a fresh layer returns NaN or infinity, as with matrices that are never initialised."""
    fresh = (tensor for name, tensor in case.evidence.lora_tensors.items() if name.endswith(".fresh"))
    return not all(bool(tensor.isfinite().all()) for tensor in fresh)


def expect_only_adapters(case: Case, training: Training, certificate: Certificate) -> None:
    """Fail the check where anything differs but the head and the weights of the query and value layers."""
    biases = [name for name in certificate.encoder_changed if name.removesuffix(".bias") in training.entry.wrapped]
    expect(
        not biases or len(biases) < len(certificate.encoder_changed),
        f"Expected the wrapped layers to keep W's bias; {len(biases)} of them change it.",
        MISPLACED if holds_misplaced_layers(case) else ADD_UPDATE if adds_another_update(case) else RETURN_W,
        at=places.find_extraction if holds_misplaced_layers(case) else None,
    )
    foreign = [path for path in training.entry.wrapped if path not in assignment.QV_LAYER_NAMES]
    expect(
        not foreign,
        f"Expected only query and value layers to be wrapped; {len(foreign)} other layers are wrapped, "
        f"for example `{(foreign or ('',))[0]}`.",
        "Wrap only what `extract_qv_layers` returns: the layers called `q_lin` and `v_lin`.",
    )
    expect(
        not certificate.encoder_changed,
        "Expected only the query and value weights and the head to change in step 3; "
        f"{len(certificate.encoder_changed)} other tensors differ from the pretrained model, "
        f"for example `{(certificate.encoder_changed or ('',))[0]}`.",
        "Load the pretrained model again for step 3, and freeze everything except the adapters and the head.",
        at=places.find_pretrained(Method.LORA) if name_origin(case, Method.LORA) else None,
        cause=name_origin(case, Method.LORA),
    )


RETURN_W = "Return `W(x)` plus the update: “A fresh LoRALayer computes what W computes” shows the difference."
ADD_UPDATE = "Keep `W(x)`, and add only A and B of x: “The update is (alpha / rank) · B A x” shows the difference."
USE_BOTH = (
    "Give the `Trainer` the model that holds your `LoRALayer` objects, and an optimiser that has A and B; `forward` "
    "uses both in training mode, too."
)
MISPLACED = "Wrap for each name the layer of that name: “extract_qv_layers returns the layers themselves” names one."


def adds_another_update(case: Case) -> bool:
    """Whether a layer computes W(x) as it should, and adds something else than B(A(x)), which has a constant part."""
    return bool(list_update_causes(case)) and not list_fresh_causes(case)


def holds_misplaced_layers(case: Case) -> bool:
    """Whether `extract_qv_layers` returns layers under other names than theirs."""
    items = case.evidence.extract.items if case.evidence.extract else ()
    return any(entry.place not in (None, entry.name) for item in items for entry in item.entries)


def expect_low_rank(case: Case, training: Training, certificate: Certificate) -> None:
    """Fail the check unless each of the 12 layers differs by a matrix of the adapters' rank or less."""
    unchanged = [path for path in assignment.QV_LAYER_NAMES if path not in certificate.qv_ranks]
    expect(
        not unchanged,
        f"Expected the training of step 3 to change all 12 query and value layers; found {len(unchanged)} unchanged.",
        ADD_UPDATE if adds_another_update(case) else USE_BOTH,
        at=places.find_learning(Method.LORA),
    )
    rank = count_rank(training.entry)
    highest = max(certificate.qv_ranks.values())
    expect(
        highest <= rank,
        f"Expected every update to have rank {rank} or less; found rank {highest}.",
        "Train only A and B, and return `W(x)` of the pretrained W plus the update.",
    )


def expect_own_labels(case: Case, method: Method) -> None:
    """Fail the check where a training learns from labels that are not those of its reviews, whatever comes of it."""
    share = case.measure_foreign_labels(method)
    expect(
        share is None,
        f"Expected {STEPS[method]} to learn from the labels of train.csv; {share or 0:.0%} of its training reviews "
        "have another label there.",
        "Keep each review together with its label when you shuffle, select or map the rows.",
        at=places.find_data(method, "train_dataset"),
    )


def expect_learned_weights(case: Case, method: Method) -> None:
    """Fail the check where the weights at the end of a training are others than its steps led to."""
    training = case.training(method)
    assert training is not None
    expect(
        not is_replaced_at_end(training.work),
        f"Expected the weights that the optimiser steps of {STEPS[method]} lead to; after the last step they change "
        "by more than in all steps together.",
        "Leave the model as the training leaves it: reset, scale or fill none of its layers at the end.",
    )


def expect_accuracy(case: Case, method: Method, hint: str) -> None:
    """Compare the accuracy on held-out reviews with the calibrated threshold."""
    threshold = case.threshold(method)
    if threshold is None:  # said first, so that what is possible does not depend on what was trained
        raise NotJudged(
            "This run trains for two steps only, which is too short to judge accuracy. A longer run judges it."
            if case.profile is Profile.STRUCTURE
            else "This profile, model and data have no calibrated accuracy that tells learning from guessing."
        )
    expect_weights(case, method)
    expect_own_labels(case, method)
    expect_learned_weights(case, method)
    accuracy = case.accuracy(method)
    if accuracy is None:
        fail(
            "Expected the trained model to have the weights of a DistilBERT classifier; it has others, so its accuracy "
            "cannot be measured.",
            hint,
        )
    expect(
        accuracy.share >= threshold,
        f"Expected an accuracy of at least {threshold:.1%} on held-out reviews after the training in this run; "
        f"found {accuracy.share:.1%}, on {accuracy.reviews:,} of them.",
        hint,
    )


@check(
    "step1.accuracy",
    "Step 1 reaches the accuracy of full fine-tuning",
    about=places.find_training(Method.FULL),
    training=Method.FULL,
)
def test_full_accuracy(case: Case) -> None:
    """The model of step 1 classifies held-out reviews about as well as the reference does with the same training."""
    expect_accuracy(case, Method.FULL, "Check that each review has the right label and that the loss goes down.")


@check(
    "step2.accuracy",
    "Step 2 reaches the accuracy of head-only training",
    about=places.find_training(Method.HEAD),
    training=Method.HEAD,
)
def test_head_accuracy(case: Case) -> None:
    """The model of step 2 classifies held-out reviews about as well as the reference does with the same training."""
    expect_accuracy(case, Method.HEAD, "Check that the head is trainable and that the encoder is the pretrained one.")


@check(
    "step3.accuracy",
    "Step 3 reaches the accuracy of LoRA",
    about=places.find_training(Method.LORA),
    training=Method.LORA,
)
def test_lora_accuracy(case: Case) -> None:
    """The model of step 3 classifies held-out reviews about as well as the reference does with the same training."""
    expect_accuracy(case, Method.LORA, "Check that gradients reach A and B and that the head is trainable.")
