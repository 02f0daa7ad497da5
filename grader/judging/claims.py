"""The claims in a notebook's own outputs: accuracies, and numbers of trainable parameters.

A claim is set beside what the grader measured and is a flag for staff, never a deduction. Where a figure could mean
several things, no claim is read.

The outputs may be hostile. All work is linear in their text, of which the first and last half of `MAX_OUTPUT_CHARS` of
an output and at most `MAX_NOTEBOOK_CHARS` of a notebook are read; what is beyond is not looked at.
"""

import html
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from nbformat import NotebookNode

from grader.assignment import EVAL_ROWS
from grader.model import Claim, Method, MethodSummary
from grader.text import cut_middle

Quantity = Literal["accuracy", "trainable_parameters"]
Figure = tuple[Quantity, float, Method | None]  # the last three fields of a `RawClaim`

MAX_OUTPUT_CHARS: Final = 200_000
MAX_NOTEBOOK_CHARS: Final = 2_000_000
MIN_COUNT: Final = 1_000  # notebooks try their counting function on toy models
MIN_BARE_COUNT: Final = 100_000  # alone on a line: times, steps and rows are smaller
MAX_NUMBER_CHARS: Final = 20
STANDARD_ERRORS: Final = 3.0  # two equally good models disagree in about 1 of 370 cases


@dataclass(frozen=True)
class RawClaim:
    """One figure in an output. Accuracies are in 0..1. `method` is the one that the figure's line or row names."""

    cell: int
    quantity: Quantity
    value: float
    method: Method | None = None


def read_claims(notebook: NotebookNode) -> tuple[RawClaim, ...]:
    """Return the claims in the outputs of a notebook (nbformat 4), in their order."""
    return tuple(
        RawClaim(cell, *figure)
        for cell, text, is_page in _texts(notebook)
        for figure in (_page_figures(text) if is_page else _figures(_text_rows(text)))
    )


def match_claims(
    raw: Sequence[RawClaim],
    trainings: Sequence[tuple[Method, int]],
    measured: Mapping[Method, MethodSummary],
    comparable_rows: int | None = EVAL_ROWS,
) -> tuple[Claim, ...]:
    """Return at most one accuracy and one count per method, in the order of the methods, beside what was measured.

    An accuracy belongs to the method that its line or row names, otherwise to the training nearest at or before its
    cell; the last one of a method counts. Counts are printed on either side of a training and of other models as well,
    so a count belongs to the method that it fits; one that fits none counts only for a method with no fitting one.

    Claimed a, a share of `comparable_rows` reviews, and measured b, one of 500, agree where
    |a - b| <= 3 * sqrt(p * (1 - p) * (1 / comparable_rows + 1 / 500)) with p = (a + b) / 2. Counts agree only where
    equal.

    Args:
        trainings: the method and the cell of each training.
        comparable_rows: how many reviews the claims were measured on at least. None where they were printed after
            another amount of training than the grader's: then `agrees` of accuracies is None.
    """
    accuracies = {
        method: claim for claim in raw if claim.quantity == "accuracy" and (method := _locate(claim, trainings))
    }
    counts = _place_counts(raw, trainings, measured)
    return tuple(
        _compare(method, claim, measured.get(method, MethodSummary()), comparable_rows)
        for method in Method
        for claim in (accuracies.get(method), counts.get(method))
        if claim
    )


def find_repetitions(submitted: NotebookNode, executed: NotebookNode) -> tuple[RawClaim, ...]:
    """Return accuracies that a cell prints after another amount of training just as it did before: typed in, or chance.

    Compares the notebook as handed in with the same notebook executed under a budget of training. Figures that few
    reviews often give (halves, quarters, eighths) are left out.
    """
    before = {(claim.cell, claim.value): claim for claim in read_claims(submitted) if claim.quantity == "accuracy"}
    after = {(claim.cell, claim.value) for claim in read_claims(executed) if claim.quantity == "accuracy"}
    return tuple(claim for key, claim in before.items() if key in after and claim.value * 8 % 1)


# Matching.


def _locate(claim: RawClaim, trainings: Sequence[tuple[Method, int]]) -> Method | None:
    """Return the method that a claim names, otherwise that of the one training nearest to it.

    Accuracies follow their training. Counts are printed after freezing and before training: they belong to the training
    that follows, otherwise to the last.
    """
    before = max((cell for _, cell in trainings if cell <= claim.cell), default=None)
    after = min((cell for _, cell in trainings if cell >= claim.cell), default=before)
    nearest = before if claim.quantity == "accuracy" else after
    return claim.method or _get_only({method for method, cell in trainings if cell == nearest})


def _place_counts(
    raw: Sequence[RawClaim], trainings: Sequence[tuple[Method, int]], measured: Mapping[Method, MethodSummary]
) -> dict[Method, RawClaim]:
    fitting: dict[Method, RawClaim] = {}
    other: dict[Method, RawClaim] = {}
    for claim in (claim for claim in raw if claim.quantity == "trainable_parameters"):
        # Several methods have the same count where nothing was ever frozen: then it is the one where the count stands.
        fits = {method for method, summary in measured.items() if summary.trainable_parameters == claim.value}
        place = _locate(claim, trainings)
        if claim.method is None and place not in fits:
            place = _get_only(fits) or place
        if place:
            (fitting if place in fits else other)[place] = claim
    return other | fitting


def _compare(method: Method, claim: RawClaim, summary: MethodSummary, comparable_rows: int | None) -> Claim:
    is_accuracy = claim.quantity == "accuracy"
    measured = summary.accuracy if is_accuracy else summary.trainable_parameters
    agrees = None
    if measured is not None and not is_accuracy:
        agrees = claim.value == measured
    elif measured is not None and comparable_rows is not None:
        # The standard error of the difference of two binomial shares, at their mean.
        share = (claim.value + measured) / 2
        error = math.sqrt(share * (1 - share) * (1 / comparable_rows + 1 / EVAL_ROWS))
        agrees = abs(claim.value - measured) <= STANDARD_ERRORS * error
    return Claim(
        method=method, quantity=claim.quantity, claimed=claim.value, measured=measured, cell=claim.cell, agrees=agrees
    )


def _get_only(methods: set[Method]) -> Method | None:
    return next(iter(methods)) if len(methods) == 1 else None


# Outputs.


def _texts(notebook: NotebookNode) -> Iterator[tuple[int, str, bool]]:
    """Yield the index of the cell, the text and whether it is HTML, of every output within the limits."""
    left = MAX_NOTEBOOK_CHARS
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            text, is_page = _output_text(output)
            left -= len(text)
            if left < 0:
                return
            yield index, text, is_page


def _output_text(output: NotebookNode) -> tuple[str, bool]:
    """Return the text of an output; of a table that comes both as HTML and as plain text, the HTML."""
    if output.get("output_type") == "stream":
        return _join(output.get("text")), False
    data = output.get("data")
    texts = {mime: _join(data.get(mime)) for mime in ("text/html", "text/plain")} if isinstance(data, dict) else {}
    page = texts.get("text/html")
    return (page, True) if page else (texts.get("text/plain", ""), False)


def _join(text: object) -> str:
    parts = text if isinstance(text, list) else [text]
    return cut_middle("".join(part for part in parts if isinstance(part, str)), MAX_OUTPUT_CHARS)


# Rows of cells: of an HTML table, or of a line of text, whose cells two spaces or a vertical bar separate.

# Possessive (++, *+) or bounded, so that no text makes them slow.
TABLE: Final = re.compile(r"<table\b", re.IGNORECASE)
ROW: Final = re.compile(r"<tr\b[^<>]*+>", re.IGNORECASE)
ROW_END: Final = re.compile(r"</t(?:r|body|able)\b", re.IGNORECASE)
CELL: Final = re.compile(r"<t[hd]\b[^<>]*+>", re.IGNORECASE)
TAG: Final = re.compile(r"<[^<>]*+>")
ANSI: Final = re.compile(r"\x1b\[[0-9;]*+[A-Za-z]")
LINE_END: Final = re.compile(r"[\r\n]")
NUMBER_TYPE: Final = re.compile(r"(?:float|int)(?:16|32|64)\(|tensor\(")  # np.float64(0.87)
BARS: Final = str.maketrans(dict.fromkeys("|│┃\t", "  "))


def _page_figures(page: str) -> Iterator[Figure]:
    before, *tables = TABLE.split(page)
    yield from _figures(_text_rows(html.unescape(TAG.sub("", before))))
    for table in tables:
        yield from _figures(_html_rows(table))


def _html_rows(table: str) -> Iterator[list[str]]:
    for row in ROW.split(table)[1:]:
        cells = CELL.split(ROW_END.split(row, maxsplit=1)[0])[1:]
        yield [html.unescape(TAG.sub("", cell)).strip() for cell in cells]


def _text_rows(text: str) -> Iterator[list[str]]:
    for line in LINE_END.split(NUMBER_TYPE.sub("(", ANSI.sub("", text))):
        yield re.split(r" {2,}", line.translate(BARS).strip())


# Figures in rows.

METHODS: Final = {
    Method.LORA: re.compile(r"lora", re.IGNORECASE),
    Method.HEAD: re.compile(r"(?<![a-z])head(?![a-z])|classifier|frozen", re.IGNORECASE),
    Method.FULL: re.compile(
        r"^\W{0,9}(?:\d\W{1,9})?full(?![a-z])(?! (?:eval|test|valid|data))"  # at the start of a row or line
        r"|full[-_ ]?(?:fine|ft\b|tun|param|model)|tun(?:e|ed|ing) all",
        re.IGNORECASE,
    ),
}
NAMES: Final[Mapping[Quantity, re.Pattern[str]]] = {
    "accuracy": re.compile(r"accurac(?:y|ies)|(?<![a-z])acc(?![a-z])", re.IGNORECASE),
    "trainable_parameters": re.compile(
        r"(?<!non[-_ ])(?<!not )(?<!un)trainable(?! ?%)"
        r"|(?<!trainable[ _])(?<!all )(?<!total )(?<!frozen )(?<!of )(?<![a-z])param(?:eter)?s?(?![a-z])",
        re.IGNORECASE,
    ),
}
# Accuracies of something else than the fine-tuned model on the evaluation reviews, and differences of accuracies.
OTHER_ACCURACY: Final = re.compile(
    r"train(?:ing)?[ _](?:set )?acc|\(train(?:ing)?\)|train(?:ing)? (?:set|data)"
    r"|differ|gain|improv|drop|gap|delta|baseline|chance|random|threshold|target|lost",
    re.IGNORECASE,
)
NUMBER: Final = re.compile(
    r"(?<![\w.-])(?P<number>\d++(?:[,_]\d{3})*+(?:\.\d++)?+(?:e[-+]?\d{1,3})?+)(?!\.?\w)(?: ?(?P<percent>%))?+",
    re.IGNORECASE,
)
ANOTHER_NUMBER: Final = re.compile(r" +\d")  # "accuracy 0.88 0.65 0.86": whose?
LINKING_WORDS: Final = re.compile(r" ?(?:(?!loss|and)\w{1,20} ){0,2}\w{0,20}", re.IGNORECASE)  # 66,955,010 of them are
PART_OF: Final = re.compile(r"(?:\bof|/) ?$", re.IGNORECASE)  # 592,130 of 66,955,010
CLAUSE_END: Final = re.compile(r";|,(?!\d)")
CLAUSE_CHARS: Final = 60
STANDS_ALONE: Final = re.compile(r"(?<![A-Za-z])\d")  # not the 1 of F1


def _figures(rows: Iterable[list[str]]) -> Iterator[Figure]:
    """Yield the figures in the columns that a header names, and in all other rows, those beside a name."""
    columns: dict[int, Quantity] = {}
    width = 0
    for cells in rows:
        if header := _header(cells):
            columns, width = header, len(cells)
        elif columns and len(cells) in (width, width + 1):  # printed data frames have one more, the index
            yield from _row_figures(cells, columns)
        elif any(character.isalnum() for character in "".join(cells)):  # no ruler
            columns = {}
            yield from _line_figures(" ".join(cells))


def _header(cells: list[str]) -> dict[int, Quantity]:
    """Return the quantity of each column that holds one, counted from the right."""
    if len(cells) < 2 or any(STANDS_ALONE.search(cell) for cell in cells):
        return {}
    return {
        column - len(cells): quantity
        for column, cell in enumerate(cells)
        for quantity, name in NAMES.items()
        if name.search(cell) and not OTHER_ACCURACY.search(cell)
    }


def _row_figures(cells: list[str], columns: dict[int, Quantity]) -> Iterator[Figure]:
    method = _name_method(" ".join(cell for cell in cells if not NUMBER.match(cell)))
    for column, quantity in columns.items():
        number = NUMBER.match(cells[column])
        value = _read_value(number, quantity) if number else None
        if value is not None:
            yield quantity, value, method


def _line_figures(line: str) -> Iterator[Figure]:
    if (bare := NUMBER.fullmatch(line)) and (count := _read_value(bare, "trainable_parameters")) is not None:
        if count >= MIN_BARE_COUNT:
            yield "trainable_parameters", count, None
        return
    by_start = {named[0]: named for named in _find_named_numbers(line)}  # "trainable parameters" names its number twice
    line_method, done = _name_method(line), 0
    for _, end, quantity, value in sorted(by_start.values()):
        yield quantity, value, _name_method(line[done:end]) or line_method
        done = end


def _find_named_numbers(line: str) -> Iterator[tuple[int, int, Quantity, float]]:
    """Yield (start, end, quantity, value) of the number after each name of a quantity, or else before it."""
    for quantity, pattern in NAMES.items():
        for name in pattern.finditer(line):
            start, end = _find_clause(line, name)
            if found := _find_number(line, name, (start, end), quantity):
                number, value = found
                context = line[start : max(number.end(), name.end())]
                if quantity != "accuracy" or not OTHER_ACCURACY.search(context):
                    yield number.start(), number.end(), quantity, value


def _find_clause(line: str, name: re.Match[str]) -> tuple[int, int]:
    """Return the span of the words around a name: up to a comma or semicolon, or so many characters."""
    first, last = max(0, name.start() - CLAUSE_CHARS), name.end() + CLAUSE_CHARS
    start = max((stop.end() for stop in CLAUSE_END.finditer(line, first, name.start())), default=first)
    if stop := CLAUSE_END.search(line, name.end(), last):
        return start, stop.start()
    blank = max(name.end(), line.rfind(" ", name.end(), last))  # cuts no number
    return start, len(line) if len(line) <= last else blank


def _find_number(
    line: str, name: re.Match[str], clause: tuple[int, int], quantity: Quantity
) -> tuple[re.Match[str], float] | None:
    """Return the number, with its value, that stands after a name in its clause, or else before it."""
    after, before = (
        [(n, value) for n in NUMBER.finditer(line, *span) if (value := _read_value(n, quantity)) is not None]
        for span in ((name.end(), clause[1]), (clause[0], name.start()))
    )
    if after and not ANOTHER_NUMBER.match(line, after[0][0].end()):
        return after[0]
    if not before or PART_OF.search(line, clause[0], before[-1][0].start()):
        return None
    return before[-1] if LINKING_WORDS.fullmatch(line, before[-1][0].end(), name.start()) else None


def _read_value(number: re.Match[str], quantity: Quantity) -> float | None:
    """Read a number as an accuracy in 0..1 or a count; None where it cannot be one."""
    digits = number["number"].replace(",", "").replace("_", "")
    if len(number["number"]) > MAX_NUMBER_CHARS:
        return None
    value = float(digits)
    if quantity == "trainable_parameters":
        return value if digits.isdigit() and value >= MIN_COUNT else None
    if "." not in digits and not number["percent"]:  # a whole number is an epoch or a step
        return None
    share = value if value <= 1 else value / 100
    return share if share <= 1 else None


def _name_method(text: str) -> Method | None:
    """Return the method that a text names: LoRA where it does, as the others are often mentioned beside it."""
    named = {method for method, pattern in METHODS.items() if pattern.search(text)}
    return Method.LORA if Method.LORA in named else _get_only(named)
