"""Every number, name and snippet in the handout is true: computed from the reference solution, which is executed.

Numbers in code cells need no test of their own: they are assertions and defaults of the reference, which is graded.
"""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from grader.assets.cache import locate_cache
from grader.assets.hub import prepare_standin_checkpoint
from grader.assets.metrics import prepare_metrics
from grader.assets.reviews import resolve_reviews
from grader.assignment import MODEL_NAMES
from grader.authoring.template import read_notebook
from grader.execution.variables import build_variables
from grader.paths import REFERENCE, ROOT, TEMPLATE

SHOWN = {"compare-table", "compare-plot"}  # they show what trainings have found
FULL, HEAD, LORA = (f"count_trainable_parameters({name}_model)" for name in ("full", "head", "lora"))
LAYERS = "len(qv_layers)"
DEFAULTS = "LoRALayer.__init__.__defaults__"
WHOLE_DATASET = "25_000 + 25_000"  # reviews with labels, says the page of the Large Movie Review Dataset
WRAPPED = "sum(p.numel() for layer in extract_qv_layers(full_model).values() for p in layer.parameters())"
UNFROZEN = """(lambda model: replace_layers(model, {name: LoRALayer(W) for name, W in extract_qv_layers(model).items()})
    or count_trainable_parameters(model))(load_model())"""  # only what LoRALayer freezes

# The numbers that each cell states, in order.
STATED: Mapping[str, Sequence[str]] = {
    "step0": [WHOLE_DATASET, "reviews['train'].num_rows", "reviews['eval'].num_rows"],
    "step1-data": ["max(reviews['train']['label'])", "min(reviews['train']['label'])"],
    "step1-tokens": ["full_model.config.max_position_embeddings", "64"],
    "step1-model": ["full_model.config.num_labels", FULL],
    "step1-train": ["TrainingArguments('x').per_device_train_batch_size", "2"],
    "step2-freeze": [HEAD],
    "step3": ["len(lora_model.distilbert.transformer.layer)", LAYERS],
    "step3-extract": [LAYERS] * 3,
    "step3-layer": [f"{DEFAULTS}[0]", f"{DEFAULTS}[1]"],
    "step3-train": [
        *(LAYERS, f"{DEFAULTS}[0]", LORA, f"{DEFAULTS}[0]", f"{LORA} - {HEAD}", HEAD, WRAPPED),
        f"{UNFROZEN} - {LORA}",
    ],
}
WORDS = {"six": 6, "twelve": 12}  # other words count things of the text: two ways, three methods
NUMBER = re.compile(rf"(?<![\w.])(?:\d[\d,]*\d|\d|{'|'.join(WORDS)})(?![\w.]*\w)", re.IGNORECASE)
# Not facts about the model: code (it is run), addresses, headings, rows of the table of steps, years, references.
IGNORED = re.compile(
    r"```.*?```|\(https?:[^)]*\)|^#+ [^\n]*|^\| \d \||^\d\. |et al\., \d{4}"
    r"|\b(?:in|and|or|steps?) (?:\d\.\d|[1-3])(?:(?:,| and) [1-3])*\b",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)

# What is true after each block of code, in order.
SNIPPETS: Mapping[str, Sequence[str]] = {
    "step1-data": ["reviews.num_rows == {'train': 2000, 'eval': 500}"],
    "step1-tokens": [
        "{len(ids) for part in tokenized.values() for ids in part['input_ids']} == {512}"
        " and len(tokenized['eval'][0]['attention_mask']) == 512",
        "os.environ['TOKENIZERS_PARALLELISM'] == 'false'",
    ],
    "step1-train": [f"{FULL} == 66_955_010 and full_model is not trainer.model"],
    "step3-extract": ["first_query.W is qv_layers['distilbert.transformer.layer.0.attention.q_lin']"],
}
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)

# Names in the text: something of the reference's, of what it calls, or of its data.
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)|<code>([^<]+)</code>")
NAMES = """sorted(
    {name for called in (TrainingArguments, Trainer, load_dataset, tokenizer.__call__, reviews['train'].map, LoRALayer)
     for name in __import__('inspect').signature(called).parameters}
    | {name for one in (full_model, full_model.config, trainer, nn.Parameter(), tokenizer, nn, torch, evaluate,
                        AutoModelForSequenceClassification, __import__('builtins'), reviews['train'])
       for name in dir(one)}
    | {*globals(), *tokenized, *tokenized['train'].column_names, *trainers, *dict(full_model.named_modules())}
)"""
QUOTED = re.compile(r'(?<==)"\w+"|"csv"')
OTHER_NAMES = {
    MODEL_NAMES[0],
    *["%pip", "install", "datasets", "Dataset", "train.csv", "eval.csv", "x", "W", "A", "B", "model", "d_in", "d_out"],
}


class Handout:
    """The markdown cells of a notebook, read for what can be checked."""

    def __init__(self, cells: Mapping[str, str]) -> None:
        self.cells = cells

    def read_numbers(self) -> dict[str, list[str]]:
        found = {name: NUMBER.findall(IGNORED.sub(" ", text)) for name, text in self.cells.items()}
        return {name: numbers for name, numbers in found.items() if numbers}

    def read_blocks(self) -> Iterator[tuple[str, str]]:
        for name, text in self.cells.items():
            yield from ((name, block) for block in BLOCK.findall(text))

    def read_names(self) -> set[str]:
        inline = (code or other for text in self.cells.values() for code, other in INLINE.findall(BLOCK.sub("", text)))
        return set(inline)

    def find_wrong(self, values: Mapping[str, Any]) -> list[str]:
        """Every number that the reference does not give, and every one that nothing is known about."""
        found = self.read_numbers()
        wrong = [f"{name}: {len(n)} numbers" for name, n in found.items() if len(n) != len(STATED.get(name, ()))]
        for name, expressions in STATED.items():
            for text, expression in zip(found.get(name, ()), expressions, strict=False):
                number = WORDS.get(text.lower()) or int(text.replace(",", ""))
                if number != values[expression]:
                    wrong.append(f"{name}: {text}, but {expression} is {values[expression]}")
        return wrong + [f"{name}: no numbers" for name in STATED.keys() - found.keys()]


def read_handout() -> Handout:
    return Handout({cell.id: cell.source for cell in read_notebook(TEMPLATE).cells if cell.cell_type == "markdown"})


HANDOUT = read_handout()
BLOCKS = list(HANDOUT.read_blocks())
EXPECTED = [expression for name in dict(BLOCKS) for expression in SNIPPETS.get(name, ())]
# Blocks with a mistake in them: the check of blocks has to notice.
PLANTED = [
    (BLOCKS[0][1].replace("eval.csv", "train.csv"), EXPECTED[0]),
    (BLOCKS[1][1].replace("truncation=True", "truncation=False"), EXPECTED[1]),
    (BLOCKS[-1][1].replace("layer.0", "layer.1"), EXPECTED[-1]),
    (BLOCKS[-1][1].replace("layer.0", "layer.6"), EXPECTED[-1]),
]


LONG = 5_000  # characters: more than 512 tokens


def write_with_long_reviews(source: Path, target: Path) -> None:
    """Copy reviews with some among them that are too long for the model: synthetic ones are all short."""
    with source.open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    for row in rows[::100]:
        row["review"] *= 1 + LONG // len(row["review"])  # no longer than that: padding makes all of them so long
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the reference gives: values of expressions, and of the blocks of code. In a process of its own."""
    folder, cache = tmp_path_factory.mktemp("handout"), locate_cache(ROOT, os.environ)
    reviews = resolve_reviews(ROOT, os.environ)
    for source in (reviews.train, reviews.eval):
        write_with_long_reviews(source, folder / source.name)
    asked = {
        "cells": [c.source for c in read_notebook(REFERENCE).cells if c.cell_type == "code" and c.id not in SHOWN],
        "snippets": [*zip((block for _, block in BLOCKS), EXPECTED, strict=True), *PLANTED],
        "expressions": [*{e for part in STATED.values() for e in part}, NAMES],
    }
    offline = build_variables(prepare_standin_checkpoint(cache).hub_cache, prepare_metrics(cache), folder)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("handout_facts.py")],
        input=json.dumps(asked),
        env=os.environ | dict(offline) | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_number_is_what_the_reference_gives(answers: dict[str, Any]) -> None:
    assert HANDOUT.find_wrong(answers["values"]) == []


def test_a_planted_number_is_noticed(answers: dict[str, Any]) -> None:
    """Each number of each cell in turn becomes another one; then one is added where there is none."""
    missed = [
        (name, start)
        for name, text in HANDOUT.cells.items()
        for start, planted in plant(text)
        if not Handout({**HANDOUT.cells, name: planted}).find_wrong(answers["values"])
    ]
    assert missed == []
    assert Handout({**HANDOUT.cells, "compare": "It takes 17 minutes."}).find_wrong(answers["values"])


def plant(text: str) -> Iterator[tuple[int, str]]:
    """The text with one number changed, for every number that counts."""
    ignored = {i for found in IGNORED.finditer(text) for i in range(*found.span())}
    for found in NUMBER.finditer(text):
        if found.start() not in ignored:
            other = "seventeen" if found[0].lower() in WORDS else f"{found[0][:-1]}{(int(found[0][-1]) + 1) % 10}"
            yield found.start(), text[: found.start()] + other + text[found.end() :]


def test_every_block_of_code_does_what_it_says(answers: dict[str, Any]) -> None:
    assert len(BLOCKS) == len(EXPECTED) >= 5
    assert answers["snippets"][: len(BLOCKS)] == [True] * len(BLOCKS)


def test_a_planted_mistake_in_a_block_is_noticed(answers: dict[str, Any]) -> None:
    assert True not in answers["snippets"][len(BLOCKS) :]


def test_every_name_is_one_that_students_meet(answers: dict[str, Any]) -> None:
    known = set(answers["values"][NAMES]) | OTHER_NAMES
    words = {word for code in HANDOUT.read_names() for word in re.findall(r"%?[A-Za-z_][\w.-]*", QUOTED.sub("", code))}
    assert {word for word in words if word not in known and not set(word.strip(".").split(".")) <= known} == set()


def test_references_lead_to_headings() -> None:
    text = "\n".join(HANDOUT.cells.values())
    headings = set(re.findall(r"^### (\d\.\d) ", text, re.MULTILINE))
    assert headings >= set(re.findall(r"\b\d\.\d\b", re.sub(r"https?:\S+|\d\.\d+\.\d", "", text)))
    for cell in read_notebook(TEMPLATE).cells:
        assert headings >= set(re.findall(r"Step (\d\.\d):", cell.source))
