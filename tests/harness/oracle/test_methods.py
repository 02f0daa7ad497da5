"""Which training is judged as which method."""

from dataclasses import replace

import pytest

from grader import assignment
from grader.model import Method
from grader.oracle.methods import Traits, attribute, count_rank, find_source_of_head, fits_its_step, infer_rank, place
from grader.protocol.records import Entry, Exit, Training

F, H = Traits(wrapped=False, encoder_frozen=False), Traits(wrapped=False, encoder_frozen=True)
L, M = Traits(wrapped=True, encoder_frozen=False), Traits(wrapped=True, encoder_frozen=True)
f, h, m = (Traits(s.wrapped, s.encoder_frozen, finished=False, exported=False) for s in (F, H, L))
E, C, X = (replace(s, fits=False) for s in (F, H, L))  # as with frozen embeddings, the last layer only, other layers
G, K, Y = (replace(s, exported=False) for s in (F, H, L))  # too many trainings before it
Z = replace(X, exported=False)
S = replace(L, whole=False)  # with few reviews or steps
FULL, HEAD, LORA = Method


@pytest.mark.parametrize(
    ("trainings", "placed"),
    [
        pytest.param([], {}, id="none"),
        pytest.param([F], {FULL: 0}, id="step 1 only"),
        pytest.param([H], {HEAD: 0}, id="step 2 only"),
        pytest.param([L], {LORA: 0}, id="step 3 only"),
        pytest.param([F, H], {FULL: 0, HEAD: 1}, id="no LoRA"),
        pytest.param([F, H, L], {FULL: 0, HEAD: 1, LORA: 2}, id="as asked"),
        pytest.param([F, H, M], {FULL: 0, HEAD: 1, LORA: 2}, id="wrapped with frozen adapters"),
        pytest.param([L, H, F], {FULL: 2, HEAD: 1, LORA: 0}, id="in reverse"),
        pytest.param([F, F, H, L], {FULL: 1, HEAD: 2, LORA: 3}, id="step 1 twice"),
        pytest.param([F, H, H, L], {FULL: 0, HEAD: 2, LORA: 3}, id="step 2 twice"),
        pytest.param([F, H, L, L], {FULL: 0, HEAD: 1, LORA: 3}, id="step 3 twice"),
        pytest.param([F, H, L, m], {FULL: 0, HEAD: 1, LORA: 2}, id="step 3 again, broken off"),
        pytest.param([f, F, H, L], {FULL: 1, HEAD: 2, LORA: 3}, id="step 1 broken off, then whole"),
        pytest.param([F, h, L], {FULL: 0, HEAD: 1, LORA: 2}, id="step 2 broken off"),
        pytest.param([F, F, L], {FULL: 0, HEAD: 1, LORA: 2}, id="nothing frozen in step 2"),
        pytest.param([F, F], {FULL: 0, HEAD: 1}, id="nothing frozen in step 2, no LoRA"),
        pytest.param([H, H, L], {FULL: 0, HEAD: 1, LORA: 2}, id="all frozen in step 1"),
        pytest.param([F, F, F], {FULL: 0, HEAD: 1, LORA: 2}, id="nothing ever frozen or wrapped"),
        pytest.param([F, H, H], {FULL: 0, HEAD: 1, LORA: 2}, id="adapters never put in, encoder frozen"),
        pytest.param([F, H, L, X], {FULL: 0, HEAD: 1, LORA: 2}, id="other layers after step 3"),
        pytest.param([F, H, X, L], {FULL: 0, HEAD: 1, LORA: 3}, id="step 3 fixed"),
        pytest.param([F, H, L, L, X], {FULL: 0, HEAD: 1, LORA: 3}, id="the last that fits"),
        pytest.param([F, H, X, X], {FULL: 0, HEAD: 1, LORA: 3}, id="step 3 wrong twice"),
        pytest.param([F, H, X, m], {FULL: 0, HEAD: 1, LORA: 2}, id="step 3 wrong, then broken off"),
        pytest.param([F, E, H, L], {FULL: 0, HEAD: 2, LORA: 3}, id="frozen embeddings after step 1"),
        pytest.param([F, H, L, E], {FULL: 0, HEAD: 1, LORA: 2}, id="frozen embeddings at the end"),
        pytest.param([F, H, L, C], {FULL: 0, HEAD: 1, LORA: 2}, id="the last layer only, at the end"),
        pytest.param([E, C, X], {FULL: 0, HEAD: 1, LORA: 2}, id="nothing fits"),
        pytest.param([F, H, L, Y], {FULL: 0, HEAD: 1, LORA: 2}, id="a search after step 3"),
        pytest.param([F, H, X, Y], {FULL: 0, HEAD: 1, LORA: 2}, id="weights before a better count"),
        pytest.param([F, H, K, K, Y, Y], {FULL: 0, HEAD: 1, LORA: 5}, id="a search before step 3"),
        pytest.param([G, K, Y, X], {FULL: 0, HEAD: 1, LORA: 3}, id="weights of one only"),
        pytest.param([F, H, Y, Z], {FULL: 0, HEAD: 1, LORA: 2}, id="no weights, as in a notebook"),
        pytest.param([F, H, L, S, S], {FULL: 0, HEAD: 1, LORA: 2}, id="with few reviews after step 3"),
        pytest.param([F, H, S, L], {FULL: 0, HEAD: 1, LORA: 3}, id="with few reviews first"),
        pytest.param([F, H, X, S], {FULL: 0, HEAD: 1, LORA: 3}, id="what fits before what is whole"),
    ],
)
def test_placement(trainings: list[Traits], placed: dict[Method, int]) -> None:
    assert place(trainings) == placed


@pytest.mark.parametrize("trainings", [[F, H, F], [F, H, F, F], [L, F, H, F]], ids=["last", "two last", "after LoRA"])
def test_no_training_is_placed_twice(trainings: list[Traits]) -> None:
    placed = place(trainings)
    assert len(set(placed.values())) == len(placed)


QV = assignment.QV_LAYER_NAMES
KEYS = tuple(path.replace("q_lin", "k_lin") for path in QV)
ADAPTER = ((6, 768), (768, 6))  # of rank 6: 702,722 parameters with the head


def entry(
    trainable: int, names: tuple[str, ...] = (), layers: tuple[str, ...] = (), changed: tuple[str, ...] = ()
) -> Entry:
    wrapped, adapters = dict.fromkeys(layers, "LoRALayer"), dict.fromkeys(layers, ADAPTER)
    facts = {"trainable_names": names, "wrapped": wrapped, "adapters": adapters, "changed": changed}
    return Entry(model_class="M", trainable=trainable, total=trainable, **facts)


ENCODER, HEADS = ("distilbert.transformer.layer.0.ffn.lin1.bias",), ("classifier.bias",)


@pytest.mark.parametrize(
    ("shapes", "rank"),
    [
        pytest.param(ADAPTER, 6, id="two matrices"),
        pytest.param(((768, 6), (6, 768)), 6, id="turned"),
        pytest.param(((768,),) * 10, 5, id="vectors, one outer product beside the other"),
        pytest.param(((9216,),), 6, id="one long vector"),
        pytest.param(((8, 768, 1), (768, 8, 1)), 8, id="convolutions"),
        pytest.param(((2, 8, 768),), 8, id="A and B in one tensor"),
        pytest.param(((768, 768),) * 2, assignment.DEFAULT_RANK, id="square: no rank is told"),
        pytest.param(((500,),), assignment.DEFAULT_RANK, id="nothing that fits"),
        pytest.param((), assignment.DEFAULT_RANK, id="nothing that is trained"),
        pytest.param(((768, 768),), assignment.DEFAULT_RANK, id="one square matrix"),
    ],
)
def test_rank_of_adapters(shapes: tuple[tuple[int, ...], ...], rank: int) -> None:
    assert infer_rank(replace(entry(702_722, HEADS, QV), adapters=dict.fromkeys(QV, shapes))) == rank


@pytest.mark.parametrize(
    ("seen", "fits"),
    [
        pytest.param(entry(66_955_010, ENCODER), True, id="full"),
        pytest.param(entry(43_120_130, ENCODER), False, id="embeddings frozen"),
        pytest.param(entry(592_130, HEADS), True, id="head"),
        pytest.param(entry(592_130, HEADS, changed=ENCODER), False, id="head of a tuned model"),
        pytest.param(entry(66_955_010, ENCODER, changed=ENCODER), True, id="full, going on"),
        pytest.param(entry(1_538, HEADS), False, id="the last layer only"),
        pytest.param(entry(592_130, ENCODER), False, id="the head's number, and something else"),
        pytest.param(entry(702_722, HEADS, QV), True, id="LoRA of another rank"),
        pytest.param(entry(813_314, HEADS, QV), False, id="LoRA, a number that is another rank's"),
        pytest.param(entry(702_722, HEADS, QV, changed=ENCODER), False, id="LoRA on a tuned model"),
        pytest.param(entry(702_722, HEADS, KEYS), False, id="LoRA in other layers"),
        pytest.param(entry(702_722, HEADS, QV[:-1]), False, id="LoRA in eleven layers"),
        pytest.param(entry(702_722, HEADS, (*QV, KEYS[0])), False, id="LoRA in one layer more"),
    ],
)
def test_what_fits(seen: Entry, fits: bool) -> None:
    assert fits_its_step(seen) is fits


def test_trainings_are_placed_by_their_traits() -> None:
    full, head, lora = entry(66_955_010, ENCODER), entry(592_130, HEADS), entry(702_722, HEADS, QV)
    left = Exit(file="training-0.safetensors")
    trainings = [Training(i, "Trainer", True, seen, exit=left) for i, seen in enumerate((lora, head, full))]
    assert [Traits.of(training, trainings) for training in trainings] == [M, H, F]
    assert attribute(trainings) == {FULL: 2, HEAD: 1, LORA: 0}
    kept_nothing = replace(trainings[2], exit=Exit(), finished=False)
    assert Traits.of(kept_nothing, trainings) == f


def test_lora_on_a_trained_head_fits_only_where_no_other_does() -> None:
    """A notebook may go on with what it has: the step asks for a fresh head."""
    head, lora = entry(592_130, HEADS), entry(702_722, HEADS, QV)
    fresh, left = {"classifier.weight": "0"}, {"classifier.weight": "1"}
    starts = [(replace(head, head=fresh), left), (replace(lora, head=fresh), left), (replace(lora, head=left), left)]
    trainings = [
        Training(i, "Trainer", True, seen, exit=Exit(file="f", head=end)) for i, (seen, end) in enumerate(starts)
    ]
    assert [Traits.of(training, trainings).fits for training in trainings] == [True, True, False]
    assert attribute(trainings) == {HEAD: 0, LORA: 1}


@pytest.mark.parametrize(
    ("shapes", "trainable", "rank"),
    [
        pytest.param(ADAPTER, 702_722, 6, id="two matrices"),
        pytest.param(((768,),) * 10, 702_722, 5, id="vectors"),
        pytest.param(((9216,), (9216,)), 702_722, 12, id="two long vectors"),
        pytest.param(((768, 6), (6, 768), (1,)), 702_722, 6, id="and a factor"),
        pytest.param((), 592_130, 0, id="frozen"),
        pytest.param((), 1_538, 0, id="frozen, and most of the head"),
        pytest.param((), 813_314, 12, id="held elsewhere in the model"),
    ],
)
def test_rank_that_the_numbers_suffice_for(shapes: tuple[tuple[int, ...], ...], trainable: int, rank: int) -> None:
    assert count_rank(replace(entry(trainable, HEADS, QV), adapters=dict.fromkeys(QV, shapes))) == rank


def test_a_training_without_work_is_none() -> None:
    seen = [Training(i, "Trainer", True, entry(592_130, HEADS)) for i in range(2)]
    assert attribute(seen, idle={1}) == {HEAD: 0}
    assert attribute(seen, idle={0, 1}) == {}


FRESH, LEFT, OTHER = ({"classifier.weight": digest, "classifier.bias": "0"} for digest in "abc")
FULL_ENTRY, HEAD_ENTRY = entry(66_955_010, ENCODER), entry(592_130, HEADS)


@pytest.mark.parametrize(
    ("earlier", "later", "found"),
    [
        pytest.param((FULL_ENTRY, FRESH, LEFT), (HEAD_ENTRY, LEFT), True, id="the head of another step"),
        pytest.param((FULL_ENTRY, FRESH, LEFT), (HEAD_ENTRY, OTHER), False, id="a new head"),
        pytest.param((HEAD_ENTRY, FRESH, LEFT), (HEAD_ENTRY, LEFT), False, id="trained on in the same step"),
        pytest.param((FULL_ENTRY, FRESH, FRESH), (HEAD_ENTRY, FRESH), False, id="never trained, and the same seed"),
        pytest.param((FULL_ENTRY, {}, {}), (HEAD_ENTRY, {}), False, id="evidence of earlier runs"),
    ],
)
def test_source_of_a_head(
    earlier: tuple[Entry, dict[str, str], dict[str, str]], later: tuple[Entry, dict[str, str]], found: bool
) -> None:
    first = Training(0, "Trainer", True, replace(earlier[0], head=earlier[1]), exit=Exit(head=earlier[2]))
    second = Training(1, "Trainer", True, replace(later[0], head=later[1]))
    assert (find_source_of_head([first, second], second) is first) == found
