"""What mistakes in the extraction would have found: the style of the keys, the kinds of layers, and the blocks."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from grader import assignment
from grader.oracle.mistakes.causes import Cause

BLOCK: Final = "distilbert.transformer.layer.{}."
WANTED: Final = ("q_lin", "v_lin")
PLACES: Final[Mapping[str, str]] = {
    **{kind: f"attention.{kind}" for kind in ("q_lin", "k_lin", "v_lin", "out_lin")},
    **{kind: f"ffn.{kind}" for kind in ("lin1", "lin2")},
}
NO_PREFIX: Final = Cause(
    "extract_without_prefix",
    "the keys found lack the leading 'distilbert.'",
    "Loop over `named_modules()` of the whole model, not of `model.distilbert`.",
)
NO_ATTENTION: Final = Cause(
    "extract_without_attention",
    "the keys found lack 'attention.' before the last part",
    "Use the full name from `model.named_modules()` as the key: these layers are parts of `attention`.",
)
SHORT: Final = Cause(
    "extract_short_names",
    "the keys are only the last part of each name, so that one layer overwrites the other",
    "Use the full name from `model.named_modules()` as the key; short names overwrite each other.",
)
PARAMETERS: Final = Cause(
    "extract_parameter_names",
    "the keys are names of parameters, which end in '.weight' or '.bias'",
    "Loop over `named_modules()`, not over `named_parameters()`.",
)
NUMBERS: Final = Cause(
    "extract_numbers_as_keys", "the keys are numbers", "Use the full name from `model.named_modules()` as the key."
)
ATTENTION: Final = Cause(
    "extract_whole_attention",
    "the attention blocks are there in place of the layers in them",
    "Keep the names that end in `q_lin` or `v_lin`.",
)
BOTH: Final = "Keep exactly the names that end in `q_lin` or `v_lin`, in all six blocks."


def explain(observed: Sequence[str]) -> tuple[Cause, ...]:
    """Return the mistakes that give exactly these keys; none where nothing does."""
    keys = set(observed)
    if not keys:
        return ()
    if all(key.isdigit() for key in keys):
        return (NUMBERS,)
    if keys <= set(PLACES) and len(keys) > 0:
        return (SHORT, *_explain_kinds(keys))
    styles: list[tuple[tuple[Cause, ...], set[str]]] = [
        ((), keys),
        ((NO_PREFIX,), {f"distilbert.{key}" for key in keys}),
        ((NO_ATTENTION,), {re.sub(r"(layer\.\d)\.([qkv]_lin|out_lin)$", r"\1.attention.\2", key) for key in keys}),
        ((PARAMETERS,), {re.sub(r"\.(weight|bias)$", "", key) for key in keys}),
    ]
    for style, full in styles:
        if (found := _explain_full(full)) is not None:
            return (*style, *found)
    return ()


def _explain_full(keys: set[str]) -> tuple[Cause, ...] | None:
    """Explain full names: a set of kinds in a set of blocks, and perhaps the head."""
    if keys == {f"{BLOCK.format(i)}attention" for i in range(assignment.LAYERS)}:
        return (ATTENTION,)
    head = keys & set(assignment.HEAD_MODULES)
    parsed = [
        re.fullmatch(r"distilbert\.transformer\.layer\.(\d)\.(?:attention|ffn)\.(\w+)", key) for key in keys - head
    ]
    found = [(int(m[1]), m[2]) for m in parsed if m]
    blocks, kinds = {block for block, _ in found}, {kind for _, kind in found}
    if not found or not kinds <= set(PLACES) or blocks - set(range(assignment.LAYERS)):
        return None
    if {f"{BLOCK.format(block)}{PLACES[kind]}" for block in blocks for kind in kinds} != keys - head:
        return None
    return (*_explain_kinds(kinds), *_explain_blocks(blocks), *_explain_head(head))


def _explain_kinds(kinds: set[str]) -> tuple[Cause, ...]:
    extra = [f"`{kind}`" for kind in PLACES if kind in kinds and kind not in WANTED]
    missing = [f"`{kind}`" for kind in WANTED if kind not in kinds]
    if extra and missing:
        words = f"{join_things(extra)} {choose_verb(extra)} taken in place of {join_things(missing)}"
        return (Cause("extract_other_kinds", words, BOTH),)
    if len(extra) == len(PLACES) - len(WANTED):
        return (Cause("extract_all_linears", "all linear layers of the blocks are taken", BOTH),)
    if extra:
        return (Cause("extract_more_kinds", f"{join_things(extra)} {choose_verb(extra)} taken as well", BOTH),)
    if missing:
        return (Cause("extract_fewer_kinds", f"{join_things(missing)} {choose_verb(missing)} left out", BOTH),)
    return ()


def _explain_blocks(blocks: set[int]) -> tuple[Cause, ...]:
    missing = [str(i) for i in range(assignment.LAYERS) if i not in blocks]
    if not missing:
        return ()
    named = f"block{'s' if len(missing) > 1 else ''} {join_things(missing)}"
    words = f"{named} {choose_verb(missing)} left out (the first is 0)"
    return (Cause("extract_fewer_blocks", words, "Take all six blocks: 0 to 5."),)


def _explain_head(head: set[str]) -> tuple[Cause, ...]:
    if not head:
        return ()
    named = [f"`{name}`" for name in assignment.HEAD_MODULES if name in head]
    return (Cause("extract_head", f"{join_things(named)} of the head {choose_verb(named)} taken as well", BOTH),)


def join_things(things: Sequence[str]) -> str:
    """Join words as in a sentence: "a", "a and b", "a, b and c"."""
    *most, last = things
    return f"{', '.join(most)} and {last}" if most else last


def choose_verb(things: Sequence[str]) -> str:
    """Return "is" for one thing, "are" for several."""
    return "is" if len(things) == 1 else "are"
