"""Which known mistakes a text names: what students read is looked at, not what the tables meant."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from grader.challenges import list_wrong_scales
from grader.judging import lora_answers, lora_causes
from grader.oracle.mistakes import adapters, backward, counting, extraction, freezing, raised, special, table
from grader.oracle.mistakes.causes import Cause

# Words with numbers or names in them.
PATTERNS: Final[Mapping[str, str]] = {
    "rank_hard_coded": r"that is rank \d+, whatever",
    "size_hard_coded": r"whatever W's size is|is written as a number",
    "attribute_missing": r"which `__init__` does not set",
    "name_missing": r"is not defined where the layer uses it",
    "W_as_tensor": r"it is an `nn.Linear`, not a tensor",
    "extract_other_kinds": r"taken in place of",
    "extract_more_kinds": r"lin\d?` (is|are) taken as well",
    "extract_fewer_kinds": r"lin` (is|are) left out",
    "extract_fewer_blocks": r"blocks? [\d, and]+ (is|are) left out",
    "extract_all_linears": r"all linear layers of the blocks are taken",
    "extract_head": r"of the head (is|are) taken as well",
    "some_blocks_left": r"blocks? .* (is|are) left trainable",
    "encoder_frozen": r"the whole encoder is frozen",
    "encoder_partly_frozen": r"(the embeddings|block \d)[\w ,]* (is|are) frozen",
    "pre_classifier_frozen": r"`pre_classifier` is frozen",
    "classifier_frozen": r"(?<!and )`classifier` is frozen",
    "head_frozen": r"`pre_classifier` and `classifier` are frozen",
    "labels": r"A model with num_labels=\d+ has this number",
    "not_replaced": r"no `LoRALayer` in the model",
    "not_registered": r"A and B are not parameters of every wrapped layer",
    "adapter_frozen": r"A and B are frozen\.",
    "W_trainable": r"W is trainable inside the wrapped layers",
    "square_adapter": r"The adapters hold matrices as large as W's weight",
    "shared_adapter": r"all wrapped layers share one adapter",
    "shared_or_missing": r"Several layers share one adapter, or A or B is not registered",
    "wrong_value": r"the value of '[\w.]+' (has type|is a copy, or a layer of another model)",
    "replaced_partly": r"\d+ of the 12 layers are not wrapped, for example `[\w.]+`\.$",
    "scale_constant": r"multiplied by [^;]*(/ \d+|\d+ / rank|constant [\d.]+|· \([^;]*\)) instead of",
}
SCALE: Final = re.compile(r"found the factor (.+?)\. For ")


@cache
def list_phrases() -> tuple[tuple[str, str], ...]:
    """Return the ids and words of all causes; longer words first."""
    modules = (adapters, backward, counting, extraction, freezing, raised, special, lora_answers, lora_causes)
    constants = [value for module in modules for value in vars(module).values() if isinstance(value, Cause)]
    counted = [Cause(id, words) for id, words, _ in counting.TABLE]
    either = table.list_either([m for m in table.list_mistakes() if m.part is table.Part.BASE])
    listed = [*either, *constants, *counted, *backward.CUTS.values(), *(m.cause for m in table.list_mistakes())]
    return tuple(sorted({(c.id, c.words) for c in listed}, key=lambda pair: -len(pair[1])))


def list_named(text: str) -> Iterator[str]:
    """Yield the ids of the causes that a text names, each part of it once."""
    if scale := SCALE.search(text):
        known = {name: table.make_scale_mistake(name).cause.id for name in list_wrong_scales(2, 3)}
        if not re.fullmatch(r"-?[\d.e+-]+", scale[1]) or scale[1] in known:  # else a number, and no cause
            yield known.get(scale[1], "scale_constant")
    lower = text.lower()
    for id, words in list_phrases():
        if words.lower() in lower:
            yield id
            lower = lower.replace(words.lower(), "")
    for id, pattern in PATTERNS.items():
        if re.search(pattern, lower, re.IGNORECASE):
            yield id
