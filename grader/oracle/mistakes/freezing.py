"""What is trainable and should not be, or the other way round, told from names of parameters or from their number."""

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import Final

from grader import assignment
from grader.oracle.mistakes.causes import Cause
from grader.oracle.mistakes.extraction import choose_verb, join_things

EMBEDDINGS: Final = 23_835_648  # numbers in word and position embeddings and their norm
BLOCK: Final = 7_087_872  # in one block
PARTS: Final[dict[str, int]] = {"pre_classifier": 590_592, "classifier": 1_538}
ON_PARAMETERS: Final = (
    "Freeze every parameter except those of `pre_classifier` and `classifier`: set `requires_grad` on each parameter; "
    "on a module it does nothing."
)
NOTHING_FROZEN: Final = Cause("nothing_frozen", "nothing is frozen", ON_PARAMETERS)
MISSPELT: Final = re.compile(r"^[^#\n]*\.(?!requires_grad\b)(require[sd]?_?grad\w{0,9})[ \t]*=(?!=)", re.M | re.I)
INVERTED: Final = Cause(
    "freezing_inverted",
    "the freezing is the wrong way round: the encoder is trainable, and the head is frozen",
    "Set `requires_grad = False` for the parameters of the encoder, and leave those of the head trainable.",
)
ONLY_W: Final = Cause("only_W_frozen", "only the wrapped layers are frozen", ON_PARAMETERS)
EMBEDDINGS_LEFT: Final = Cause("embeddings_left", "the embeddings are left trainable", ON_PARAMETERS)
BLOCKS_ALL: Final = Cause(
    "blocks_left", "all six blocks are left trainable, and only the embeddings are frozen", ON_PARAMETERS
)
BIASES: Final = Cause("biases_left", "the biases of the encoder are left trainable", ON_PARAMETERS)
WEIGHTS: Final = Cause(
    "weights_left", "the weights of the encoder are left trainable, and only its biases are frozen", ON_PARAMETERS
)
NORMS: Final = Cause("norms_left", "the layer norms of the encoder are left trainable", ON_PARAMETERS)
LABELS: Final = "Load 'distilbert-base-uncased' with `num_labels=2` in every step."


def explain_encoder(trainable: Collection[str], encoder: Collection[str]) -> tuple[Cause, ...]:
    """Return why these tensors are trainable, of all tensors of the encoder that should be frozen; none if unclear."""
    left, everything = {name for name in trainable if name in encoder}, set(encoder)
    if not left:
        return ()
    if left == everything:
        return (NOTHING_FROZEN,)
    for cause, chosen in _list_kinds(everything):
        if left == chosen:
            return (cause,)
    return _explain_regions(left, everything)


def _list_kinds(encoder: Collection[str]) -> Iterator[tuple[Cause, set[str]]]:
    yield BIASES, {name for name in encoder if name.endswith(".bias")}
    yield WEIGHTS, {name for name in encoder if name.endswith(".weight")}
    yield NORMS, {name for name in encoder if re.search(r"[nN]orm\.", name)}


def _explain_regions(left: set[str], encoder: set[str]) -> tuple[Cause, ...]:
    """Explain whole regions, embeddings and blocks, that are left trainable."""
    regions = {_find_region(name) for name in left}
    if {name for name in encoder if _find_region(name) in regions} != left:
        return ()
    blocks = sorted(region for region in regions if region != "embeddings")
    return (*((EMBEDDINGS_LEFT,) if "embeddings" in regions else ()), *_explain_blocks(blocks))


def _find_region(name: str) -> str:
    found = re.match(r"distilbert\.transformer\.layer\.(\d+)\.", name)
    return found[1] if found else "embeddings"


def _explain_blocks(blocks: Sequence[str]) -> tuple[Cause, ...]:
    if len(blocks) == assignment.LAYERS:
        return (BLOCKS_ALL,)
    if not blocks:
        return ()
    named = f"block{'s' if len(blocks) > 1 else ''} {join_things(blocks)} of the encoder (the first is 0)"
    words = f"{named} {choose_verb(blocks)} left trainable"
    return (Cause("some_blocks_left", words, ON_PARAMETERS),)


def explain_spelling(causes: tuple[Cause, ...], sources: Collection[str]) -> tuple[Cause, ...]:
    """Return these causes; where nothing is frozen and the code sets a misspelt `requires_grad`, with that."""
    found = next((match[1] for source in sources if (match := MISSPELT.search(source))), None)
    if found is None:
        return causes
    words = f"nothing is frozen: `{found}` is another attribute than `requires_grad`, and has no effect"
    misspelt = Cause("requires_grad_misspelt", words, "Write `parameter.requires_grad = False`, with this spelling.")
    return tuple(misspelt if cause == NOTHING_FROZEN else cause for cause in causes)


def explain_head(trainable: Collection[str]) -> tuple[Cause, ...]:
    """Return which part of the head is frozen."""
    absent = [m for m in assignment.HEAD_MODULES if not any(name.startswith(f"{m}.") for name in trainable)]
    if absent:
        words = f"{join_things([f'`{name}`' for name in absent])} {choose_verb(absent)} frozen"
        name = "head_frozen" if len(absent) == len(assignment.HEAD_MODULES) else f"{absent[0]}_frozen"
        return (Cause(name, words, "Leave `pre_classifier` and `classifier` trainable."),)
    return ()


def explain_both(trainable: Collection[str], encoder: Collection[str]) -> tuple[Cause, ...]:
    """Return which part of the head is frozen, and why tensors of the encoder are trainable."""
    head, below = explain_head(trainable), explain_encoder(trainable, encoder)
    if below == (NOTHING_FROZEN,) and head and head[0].id == "head_frozen":
        return (INVERTED,)
    return (*head, *below)


def explain_number(found: int, adapters: int = 0) -> tuple[Cause, ...]:
    """Return what a number of trainable parameters stands for, where names say nothing; none if it is ambiguous.

    `adapters`: how many numbers of it are those of A and B.
    """
    possible = [
        (embeddings, blocks, head)
        for embeddings, blocks, head in product(
            (False, True), range(assignment.LAYERS + 1), product((False, True), repeat=2)
        )
        if embeddings * EMBEDDINGS
        + blocks * BLOCK
        + sum(size for kept, size in zip(head, PARTS.values(), strict=True) if kept)
        == found - adapters
    ]
    return tuple(_name_number(*possible[0])) if len(possible) == 1 else ()


def _name_number(embeddings: bool, blocks: int, head: tuple[bool, ...]) -> Iterator[Cause]:
    absent = [name for name, kept in zip(PARTS, head, strict=True) if not kept]
    if embeddings and blocks == assignment.LAYERS and len(absent) == len(PARTS):
        yield INVERTED
        return
    if absent:
        yield from explain_head([f"{name}." for name in PARTS if name not in absent])
    if embeddings and blocks == assignment.LAYERS:
        yield NOTHING_FROZEN
    elif blocks == assignment.LAYERS:
        yield BLOCKS_ALL
    elif embeddings:
        yield EMBEDDINGS_LEFT
    if 0 < blocks < assignment.LAYERS:
        words = (
            f"{blocks} block{'s' if blocks > 1 else ''} of the encoder {'are' if blocks > 1 else 'is'} left trainable"
        )
        yield Cause("some_blocks_left", words, ON_PARAMETERS)


def explain_frozen(frozen: Collection[str], encoder: Collection[str]) -> tuple[Cause, ...]:
    """Return why these tensors of the encoder are frozen, in a step that trains all of them; none if unclear."""
    kept = {name for name in frozen if name in encoder}
    if not kept:
        return ()
    if kept == set(encoder):
        return (Cause("encoder_frozen", "the whole encoder is frozen", TRAIN_ALL),)
    regions = {_find_region(name) for name in kept}
    if {name for name in encoder if _find_region(name) in regions} != kept:
        return ()
    blocks = sorted(region for region in regions if region != "embeddings")
    named = [*(["the embeddings"] if "embeddings" in regions else ()), *(f"block {block}" for block in blocks)]
    verb = "are" if len(named) > 1 or "embeddings" in regions else "is"
    return (Cause("encoder_partly_frozen", f"{join_things(named)} {verb} frozen", TRAIN_ALL),)


TRAIN_ALL: Final = "Freeze nothing in step 1: load the model and train it as it is."
