"""What the three trainings did to the weights, and how well the results classify."""

from grader import assignment
from grader.judging.case import Case
from grader.judging.suite import Blocked, NotJudged, check, expect, fail
from grader.model import Method, Profile
from grader.oracle.certificates import Certificate


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
        raise Blocked("No training of this step ran to its end.")
    if not training.exported and training.unrecorded:
        raise Blocked(
            f"The weights of this training could not be read: the model raised {training.unrecorded.type} when it was "
            "asked for them.",
            "Train the model that from_pretrained returns, and leave its methods as they are.",
        )
    if not training.exported:
        raise Blocked(
            "The notebook trains so often that the weights of this training were not kept.",
            "Train once in every step, and leave searches out of what you hand in.",
        )


def expect_whole(case: Case, certificate: Certificate) -> None:
    """Fail the check where tensors of the pretrained network are nowhere to be found in the model."""
    absent = certificate.find_absent(case.base)
    expect(
        not absent,
        f"The model was to hold the {len(case.base)} tensors of the pretrained network below the head; "
        f"{len(absent)} are missing, such as {(absent or ('',))[0]}.",
        "Train the model that from_pretrained returns, and leave its parts under the names that they have there.",
    )


@check("step1.trained", "Step 1 changes the whole network", requires=("step1.trainable_parameters",))
def test_trained(case: Case) -> None:
    """After the training of step 1, the weights below the head differ from the pretrained ones."""
    certificate = certificate_of(case, Method.FULL)
    expect(
        certificate.any_encoder_change and certificate.head_changed,
        "After full fine-tuning the whole network was to differ from the pretrained one; the encoder is unchanged.",
        "Give the Trainer the model whose parameters are all trainable, and an optimiser that has all of them.",
    )


@check(
    "step2.encoder_untouched",
    "Step 2 leaves the pretrained encoder as it was",
    requires=("step2.trainable_parameters",),
)
def test_encoder_untouched(case: Case) -> None:
    """After the training of step 2, everything below the head is bit for bit the pretrained model."""
    certificate = certificate_of(case, Method.HEAD)
    expect_whole(case, certificate)
    expect(
        not certificate.any_encoder_change and not certificate.unreadable,
        "Below the head, the model of step 2 was to equal the pretrained one; "
        f"{len(certificate.encoder_changed) + len(certificate.qv_ranks)} tensors differ.",
        "Load the pretrained model again for step 2 instead of going on with the one tuned in step 1.",
    )


@check(
    "step3.certificate",
    "Step 3 changes the query and value layers by low-rank updates only",
    requires=("step3.trainable_parameters",),
)
def test_certificate(case: Case) -> None:
    """After step 3, only the head and the 12 query and value layers differ, each of these by a matrix of small rank."""
    certificate = certificate_of(case, Method.LORA)
    training = case.training(Method.LORA)
    assert training is not None
    if training.exit.unsupported:
        path, error = next(iter(training.exit.unsupported.items()))
        fail(
            f"Each wrapped layer was to act as one matrix; {path} raised {error} when asked.",
            "forward(x) has to work in evaluation mode for any batch.",
        )
    expect_whole(case, certificate)
    expect(
        not certificate.unreadable,
        f"Each wrapped layer was to be linear; {(certificate.unreadable or ('',))[0]} is not.",
        "Between A and B there is nothing: no activation, and no dropout that works in evaluation mode.",
    )
    biases = [name for name in certificate.encoder_changed if name.removesuffix(".bias") in training.entry.wrapped]
    expect(
        not biases or len(biases) < len(certificate.encoder_changed),
        f"The wrapped layers were to keep W's bias; {len(biases)} of them add something else than it.",
        "Return W(x) plus the update: the check of a fresh layer says what is added or missing.",
    )
    foreign = [path for path in training.entry.wrapped if path not in assignment.QV_LAYER_NAMES]
    expect(
        not foreign,
        f"Only query and value layers were to be wrapped; {len(foreign)} others are, such as {(foreign or ('',))[0]}.",
        "Wrap what extract_qv_layers returns, and let it return the layers called q_lin and v_lin.",
    )
    expect(
        not certificate.encoder_changed,
        "Only the query and value weights and the head were to change; "
        f"{len(certificate.encoder_changed)} other tensors did, such as {(certificate.encoder_changed or ('',))[0]}.",
        "Load the pretrained model again for step 3, and freeze everything but the adapters and the head.",
    )
    unchanged = [path for path in assignment.QV_LAYER_NAMES if path not in certificate.qv_ranks]
    expect(
        not unchanged,
        f"All 12 query and value layers were to be updated; {'they' if len(unchanged) == 12 else len(unchanged)} "
        "did not change.",
        "See that the layers in the trained model are your LoRALayer objects and that gradients reach A and B.",
    )
    rank = max(min(shape) for shapes in training.entry.adapters.values() for shape in shapes if shape)
    highest = max(certificate.qv_ranks.values())
    expect(
        highest <= rank,
        f"Updates of rank {rank} at most were expected; one has rank {highest}.",
        "Train A and B only, and return W(x) as the pretrained layer computes it plus the update.",
    )


def expect_accuracy(case: Case, method: Method, hint: str) -> None:
    """Compare the accuracy on held-out reviews with the calibrated threshold."""
    threshold = case.threshold(method)
    if threshold is None:  # said first, so that what is possible does not depend on what was trained
        raise NotJudged(
            "Two steps of training say nothing about accuracy; the profiles that train longer judge it."
            if case.profile is Profile.STRUCTURE
            else "No accuracy was calibrated for this profile, model and data."
        )
    expect_weights(case, method)
    accuracy = case.accuracy(method)
    if accuracy is None:
        fail(
            "The trained model was to be measured on held-out reviews; its weights are no DistilBERT classifier's.",
            hint,
        )
    expect(
        accuracy >= threshold,
        f"On held-out reviews, at least {threshold:.1%} were to be classified right after the training that this "
        f"profile allows; the model gets {accuracy:.1%}.",
        hint,
    )


@check("step1.accuracy", "Step 1 reaches the accuracy of full fine-tuning")
def test_full_accuracy(case: Case) -> None:
    """The model of step 1 classifies unseen reviews about as well as the reference does with the same training."""
    expect_accuracy(case, Method.FULL, "Check that labels belong to their reviews and that the loss goes down.")


@check("step2.accuracy", "Step 2 reaches the accuracy of head-only training")
def test_head_accuracy(case: Case) -> None:
    """The model of step 2 classifies unseen reviews about as well as the reference does with the same training."""
    expect_accuracy(case, Method.HEAD, "Check that the head is trainable and starts from the pretrained encoder.")


@check("step3.accuracy", "Step 3 reaches the accuracy of LoRA")
def test_lora_accuracy(case: Case) -> None:
    """The model of step 3 classifies unseen reviews about as well as the reference does with the same training."""
    expect_accuracy(case, Method.LORA, "Check that gradients reach A and B and that the head is trainable.")
