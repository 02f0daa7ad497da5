"""What is read as a claim from notebooks' outputs, and how claims are set beside measurements."""

import nbformat
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from transformers.utils.notebook import NotebookTrainingTracker, text_to_html_table

from grader.judging.claims import MAX_NOTEBOOK_CHARS, MAX_OUTPUT_CHARS, RawClaim, match_claims, read_claims
from grader.model import Claim, Method, MethodSummary

FULL, HEAD, LORA = Method.FULL, Method.HEAD, Method.LORA


def printed(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def result(text: str, page: str | None = None) -> NotebookNode:
    return new_output("execute_result", data={"text/plain": text} | ({"text/html": page} if page else {}))


def displayed(page: str) -> NotebookNode:
    return new_output("display_data", data={"text/plain": "<IPython.core.display.HTML object>", "text/html": page})


def notebook(*outputs: NotebookNode) -> NotebookNode:
    """A notebook with one code cell for each output."""
    return new_notebook(cells=[new_code_cell("...", outputs=[output]) for output in outputs])


def figures(output: NotebookNode) -> list[tuple[str, float, Method | None]]:
    claims = read_claims(notebook(output))
    return [(claim.quantity, pytest.approx(claim.value), claim.method) for claim in claims]


def accuracy(value: float, method: Method | None = None) -> tuple[str, float, Method | None]:
    return "accuracy", value, method


def count(value: int, method: Method | None = None) -> tuple[str, float, Method | None]:
    return "trainable_parameters", value, method


COMPARISON = pd.DataFrame(
    {
        "method": ["full fine-tuning", "head only", "LoRA, r = 12"],
        "accuracy": [0.892, 0.818, 0.876],
        "seconds": [26.1, 12.4, 21.9],
        "trainable parameters": [66_955_010, 592_130, 813_314],
    }
)
COMPARED = [accuracy(0.892, FULL), count(66_955_010, FULL), accuracy(0.818, HEAD), count(592_130, HEAD)]
COMPARED += [accuracy(0.876, LORA), count(813_314, LORA)]
ALL_METHODS = [accuracy(0.892, FULL), accuracy(0.818, HEAD), accuracy(0.876, LORA)]
OF_LORA = [count(813_314, LORA), accuracy(0.876, LORA)]
OF_FULL = [accuracy(0.892, FULL), count(66_955_010, FULL)]
EVALUATED = "{'eval_loss': 0.3512, 'eval_accuracy': 0.874, 'eval_runtime': 2.14, 'epoch': 2.0}"
TRAINER_5 = "{'eval_loss': '0.3512', 'eval_accuracy': '0.874', 'epoch': '2'}"
PEFT = "trainable params: 813,314 || all params: 67,176,194 || trainable%: 1.2107"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(EVALUATED, [accuracy(0.874)], id="trainer.evaluate()"),
        pytest.param(TRAINER_5, [accuracy(0.874)], id="Trainer 5's log"),
        pytest.param("{'accuracy': 0.87}", [accuracy(0.87)], id="evaluate"),
        pytest.param("{'accuracy': np.float64(0.87)}", [accuracy(0.87)], id="numpy number"),
        pytest.param("accuracy tensor(0.8740)", [accuracy(0.874)], id="tensor"),
        pytest.param("[{'eval_accuracy': 0.81}, {'eval_accuracy': 0.86}]", [accuracy(0.81), accuracy(0.86)], id="log"),
        pytest.param("Accuracy: 87.4%", [accuracy(0.874)], id="percent"),
        pytest.param("87.4 % accuracy", [accuracy(0.874)], id="percent before the word"),
        pytest.param("Accuracy: 87.4", [accuracy(0.874)], id="percent without its sign"),
        pytest.param("Eval accuracy = 87 %", [accuracy(0.87)], id="whole percent"),
        pytest.param("It reaches an accuracy of 0.874.", [accuracy(0.874)], id="prose"),
        pytest.param("0.874 evaluation accuracy", [accuracy(0.874)], id="number first"),
        pytest.param("val_acc=0.874, val_loss=0.31", [accuracy(0.874)], id="abbreviated"),
        pytest.param("Loss: 0.31  Accuracy: 0.874", [accuracy(0.874)], id="after a loss"),
        pytest.param("Accuracy: 0.874, loss 0.31", [accuracy(0.874)], id="before a loss"),
        pytest.param("Accuracy after epoch 3: 0.874", [accuracy(0.874)], id="after an epoch"),
        pytest.param("\x1b[1mAccuracy\x1b[0m: \x1b[32m0.874\x1b[0m", [accuracy(0.874)], id="colours"),
        pytest.param("100%|####| 32/32 [00:02]\rAccuracy: 0.874", [accuracy(0.874)], id="after a progress bar"),
        pytest.param("Accuracy: 1.0", [accuracy(1.0)], id="perfect"),
        pytest.param("Full fine-tuning accuracy: 0.892", [accuracy(0.892, FULL)], id="full named"),
        pytest.param("Accuracy (head only): 0.818", [accuracy(0.818, HEAD)], id="head named"),
        pytest.param("full: accuracy 0.892, head: accuracy 0.818, LoRA: accuracy 0.876", ALL_METHODS, id="methods"),
        pytest.param("LoRA: 813,314 trainable parameters, accuracy 0.876", OF_LORA, id="both quantities"),
        pytest.param("full: accuracy 0.892 after 26 s, 66,955,010 trainable", OF_FULL, id="one number first"),
        pytest.param("Accuracy on the full evaluation set: 0.876", [accuracy(0.876)], id="full what?"),
        pytest.param("Trainable parameters: 592130", [count(592_130)], id="count"),
        pytest.param("66955010 trainable", [count(66_955_010)], id="count first"),
        pytest.param("592_130 parameters are trainable", [count(592_130)], id="count in a sentence"),
        pytest.param("Total number of trainable parameters: 66,955,010", [count(66_955_010)], id="total trainable"),
        pytest.param("66,955,010", [count(66_955_010)], id="bare count"),
        pytest.param("Trainable: 592,130 / 66,955,010 (0.88%)", [count(592_130)], id="trainable of all"),
        pytest.param(PEFT, [count(813_314)], id="peft"),
        pytest.param("count_parameters(model) = 592130", [count(592_130)], id="name of a function"),
    ],
)
def test_reads_a_line(line: str, expected: list[object]) -> None:
    assert figures(printed(line + "\n")) == expected
    assert figures(result(line)) == expected


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("Accuracy is computed after epoch 3", id="whole number"),
        pytest.param("Training accuracy: 0.99", id="training accuracy"),
        pytest.param("{'train_accuracy': 0.99}", id="training accuracy in a log"),
        pytest.param("LoRA improves accuracy by 0.021", id="improvement"),
        pytest.param("accuracy difference: 2.3 %", id="difference"),
        pytest.param("Random baseline accuracy: 0.5", id="baseline"),
        pytest.param("accuracy: 874.0", id="impossible"),
        pytest.param("accuracy: nan", id="no number"),
        pytest.param("accuracy: 1.2.3.4", id="version"),
        pytest.param("loss 0.35, accuracy not computed", id="number in another clause"),
        pytest.param("0.35 loss and accuracy", id="another quantity's number"),
        pytest.param("accuracy  0.892  0.818  0.876", id="several numbers"),
        pytest.param("accuracy: " + "9" * 10_000 + ".0", id="10,000 digits"),
        pytest.param("Total parameters: 66,955,010", id="all parameters"),
        pytest.param("Non-trainable params: 66,362,880", id="frozen parameters"),
        pytest.param("592,130 of 66,955,010 parameters", id="share"),
        pytest.param("trainable parameters: 12", id="toy model"),
        pytest.param("2000", id="rows"),
        pytest.param("0.874", id="bare fraction"),
        pytest.param("{'eval_runtime': 2.14, 'eval_samples_per_second': 233.6}", id="speed"),
    ],
)
def test_claims_nothing_when_in_doubt(line: str) -> None:
    assert figures(printed(line + "\n")) == []


def test_reads_the_trainer_progress_table() -> None:
    tracker = NotebookTrainingTracker(250, ["Epoch", "Training Loss", "Validation Loss"])
    tracker.value, tracker.label = 250, "[250/250 01:33, Epoch 2/2]"
    tracker.display = lambda: None  # nothing to display on
    for epoch, loss, share in ((1, 0.41, 0.838), (2, 0.36, 0.874)):
        row = {"Training Loss": "No log", "Validation Loss": loss, "Epoch": epoch, "Accuracy": share}
        tracker.write_line(row)
    page = f"<div>[250/250 01:33, Epoch 2/2]</div>{text_to_html_table(tracker.inner_table)}"
    assert figures(displayed(page)) == [accuracy(0.838), accuracy(0.874)]


INDEXED = COMPARISON.set_index("method")
STYLED = INDEXED.style.format({"trainable parameters": "{:,.0f}"})
OF_TRAINING = COMPARISON[["method", "accuracy"]].rename(columns={"accuracy": "train acc"})
MARKDOWN = "| method | accuracy |\n|---|---|\n| full | 0.892 |\n| head | 81.8 % |\n"
PAIRS = "<table><tr><td>eval/accuracy</td><td>0.874</td></tr></table>"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param(displayed(COMPARISON.to_html()), COMPARED, id="HTML"),
        pytest.param(result(COMPARISON.to_string(), COMPARISON.to_html()), COMPARED, id="HTML beside text, once"),
        pytest.param(displayed(COMPARISON.to_html().upper()), COMPARED, id="HTML in capitals"),
        pytest.param(displayed(INDEXED.to_html()), COMPARED, id="HTML, index of methods"),
        pytest.param(displayed(STYLED.to_html()), COMPARED, id="HTML with styles"),
        pytest.param(printed(COMPARISON.to_string()), COMPARED, id="text"),
        pytest.param(printed(COMPARISON.to_string(index=False)), COMPARED, id="text without index"),
        pytest.param(printed(MARKDOWN), ALL_METHODS[:2], id="Markdown"),
        pytest.param(displayed(PAIRS), [accuracy(0.874)], id="pairs"),
        pytest.param(displayed("<b>Accuracy: 0.874</b>"), [accuracy(0.874)], id="HTML without a table"),
        pytest.param(displayed(COMPARISON.T.to_html()), [], id="one column for each method"),
        pytest.param(displayed(OF_TRAINING.to_html()), [], id="training accuracy"),
    ],
)
def test_reads_tables(output: NotebookNode, expected: list[object]) -> None:
    assert figures(output) == expected


def test_says_where_claims_stand() -> None:
    cells = [
        new_markdown_cell("Accuracy: 0.99"),
        new_code_cell("...", outputs=[printed("accuracy 0.81\n"), result("{'accuracy': 0.82}")]),
        new_code_cell("# accuracy: 0.99", outputs=[displayed(COMPARISON[["accuracy"]].head(1).to_html())]),
    ]
    assert read_claims(new_notebook(cells=cells)) == (
        RawClaim(1, "accuracy", 0.81),
        RawClaim(1, "accuracy", 0.82),
        RawClaim(2, "accuracy", 0.892),
    )


def test_reads_the_first_and_the_last_of_a_long_output_and_stops_reading_a_huge_notebook() -> None:
    noise, first, last = "x" * MAX_OUTPUT_CHARS, "accuracy: 0.81\n", "accuracy: 0.82\n"
    assert figures(printed(f"{first}{noise}\naccuracy: 0.5 \n{noise}\n{last}")) == [accuracy(0.81), accuracy(0.82)]
    outputs = [printed(first), *[printed(noise)] * (MAX_NOTEBOOK_CHARS // MAX_OUTPUT_CHARS), printed(last)]
    assert read_claims(notebook(*outputs)) == (RawClaim(0, "accuracy", 0.81),)


WORDS = "accuracy trainable params 0.874 66,955,010 1e999 % full head LoRA of | , ; : / <table> <tr <td> </tr> &lt;"
FRAGMENTS = st.sampled_from([*WORDS.split(), " ", "  ", "\n", "\r", "\x1b[", "\0", "\ud800"])
TEXTS = st.lists(FRAGMENTS | st.text(max_size=4), max_size=30).map("".join)
JUNK = TEXTS | st.none() | st.integers() | st.lists(TEXTS | st.none(), max_size=3)


@settings(deadline=None)
@given(text=JUNK, page=JUNK, kind=st.sampled_from(["stream", "display_data", "execute_result", "error", None]))
def test_any_output_gives_claims_within_bounds(text: object, page: object, kind: object) -> None:
    output = {"output_type": kind, "text": text, "data": {"text/html": page, "text/plain": text}}
    for junk in (output, {"output_type": kind, "data": text}):
        for claim in read_claims(nbformat.from_dict({"cells": [{"outputs": [junk]}]})):
            assert claim.value >= 1_000 if claim.quantity == "trainable_parameters" else 0 <= claim.value <= 1


# Beside measurements. Steps 1, 2 and 3 train in cells 10, 20 and 30.

TRAININGS = ((FULL, 10), (HEAD, 20), (LORA, 30))
MEASURED = {
    FULL: MethodSummary(trainable_parameters=66_955_010, accuracy=0.88),
    HEAD: MethodSummary(trainable_parameters=592_130, accuracy=0.66),
    LORA: MethodSummary(trainable_parameters=813_314, accuracy=0.85),
}


def said(cell: int, value: float, method: Method | None = None) -> RawClaim:
    return RawClaim(cell, "accuracy", value, method)


def counted(cell: int, value: int, method: Method | None = None) -> RawClaim:
    return RawClaim(cell, "trainable_parameters", value, method)


def matched(*raw: RawClaim, trainings: tuple[tuple[Method, int], ...] = TRAININGS) -> list[tuple[object, ...]]:
    claims = match_claims(raw, trainings, MEASURED)
    return [(claim.method, claim.cell, claim.claimed, claim.agrees) for claim in claims]


IN_ORDER = [(FULL, 11, 0.88, True), (HEAD, 21, 0.66, True), (LORA, 31, 0.85, True)]
AROUND_FREEZING = [(FULL, 18, 66_955_010, True), (HEAD, 19, 592_130, True)]
RIGHT, WRONG = [(LORA, 29, 813_314, True)], [(LORA, 29, 592_130, False)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param([said(10, 0.88)], [(FULL, 10, 0.88, True)], id="in the training cell"),
        pytest.param([said(19, 0.88)], [(FULL, 19, 0.88, True)], id="before the next training"),
        pytest.param([said(20, 0.66)], [(HEAD, 20, 0.66, True)], id="in the next training cell"),
        pytest.param([said(9, 0.5)], [], id="before all training"),
        pytest.param([said(10, 0.5), said(11, 0.88)], [(FULL, 11, 0.88, True)], id="the last one counts"),
        pytest.param([said(99, 0.66, HEAD)], [(HEAD, 99, 0.66, True)], id="the named method comes first"),
        pytest.param([said(31, 0.85), said(21, 0.66), said(11, 0.88)], IN_ORDER, id="in the order of the methods"),
        pytest.param([counted(9, 66_955_010)], [(FULL, 9, 66_955_010, True)], id="count before its training"),
        pytest.param([counted(11, 66_955_010)], [(FULL, 11, 66_955_010, True)], id="count after its training"),
        pytest.param([counted(18, 66_955_010), counted(19, 592_130)], AROUND_FREEZING, id="count around freezing"),
        pytest.param([counted(29, 813_315)], [(LORA, 29, 813_315, False)], id="wrong count before its training"),
        pytest.param([counted(31, 813_315)], [(LORA, 31, 813_315, False)], id="wrong count after the last training"),
        pytest.param([counted(29, 813_314), counted(30, 18_432)], RIGHT, id="count of one layer as well"),
        pytest.param([counted(29, 592_130, LORA)], WRONG, id="count of another method, named"),
    ],
)
def test_attributes_claims(raw: list[RawClaim], expected: list[object]) -> None:
    assert matched(*raw) == expected


def test_one_cell_that_trains_all_methods_has_only_named_claims() -> None:
    trainings = ((FULL, 5), (HEAD, 5), (LORA, 5))
    found = matched(said(5, 0.88), said(6, 0.85, LORA), counted(4, 7_000), trainings=trainings)
    assert found == [(LORA, 6, 0.85, True)]


# 3 * sqrt(2 * 0.85 * 0.15 / 500) = 0.068 around a measured 0.85, less far up, where the mean is nearer to 1.
@pytest.mark.parametrize(
    ("claimed", "measured", "agrees"),
    [
        pytest.param(0.85, 0.85, True, id="equal"),
        pytest.param(0.91, 0.85, True, id="60 of 1,000 above"),
        pytest.param(0.79, 0.85, True, id="60 of 1,000 below"),
        pytest.param(0.92, 0.85, False, id="70 of 1,000 above"),
        pytest.param(0.77, 0.85, False, id="80 of 1,000 below"),
        pytest.param(1.0, 0.85, False, id="perfect"),
        pytest.param(1.0, 1.0, True, id="both perfect"),
        pytest.param(0.9, None, None, id="nothing measured is neither agreement nor its opposite"),
    ],
)
def test_accuracies_agree_within_three_sigma(claimed: float, measured: float | None, agrees: bool | None) -> None:
    found = {} if measured is None else {LORA: MethodSummary(accuracy=measured)}
    (claim,) = match_claims([said(30, claimed)], TRAININGS, found)
    assert (claim.method, claim.claimed, claim.measured, claim.agrees) == (LORA, claimed, measured, agrees)


def test_accuracies_after_another_training_budget_are_not_compared_but_counts_are() -> None:
    raw = [said(10, 0.99), counted(10, 1_234_567)]
    accuracies, counts = match_claims(raw, TRAININGS[:1], MEASURED, comparable_rows=None)
    assert accuracies == Claim(method=FULL, quantity="accuracy", claimed=0.99, measured=0.88, cell=10, agrees=None)
    assert counts.agrees is False
    assert [claim.agrees for claim in match_claims(raw, TRAININGS[:1], {})] == [None, None]


# 3 * sqrt(0.85 * 0.15 * (1 / 64 + 1 / 500)) = 0.142: a budget lets a notebook evaluate on 64 reviews, not on 500.
@pytest.mark.parametrize(
    ("line", "contradicts"),
    [
        pytest.param("accuracy: 0.85", [], id="equal"),
        pytest.param("accuracy: 0.95", [], id="chance of 64 reviews"),
        pytest.param("accuracy: 0.65", [(LORA, "accuracy", 0.65)], id="far below"),
        pytest.param("813,314 trainable parameters", [], id="count"),
        pytest.param("592,130 trainable parameters in LoRA", [(LORA, "trainable_parameters", 592_130)], id="typed in"),
        pytest.param("no figure", [], id="nothing printed"),
    ],
)
def test_what_a_run_prints_is_compared_with_what_was_measured_in_it(line: str, contradicts: list[object]) -> None:
    raw = read_claims(notebook(printed(f"{line}\n")))
    found = match_claims(raw, [(LORA, 0)], {LORA: MEASURED[LORA]}, comparable_rows=64)
    assert [(claim.method, claim.quantity, claim.claimed) for claim in found if claim.agrees is False] == contradicts
