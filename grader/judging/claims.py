"""What a notebook's own outputs claim: accuracies, and numbers of trainable parameters.

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
Where = Literal["stream", "html", "result"]

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
    where: Where
    method: Method | None = None


@dataclass(frozen=True)
class _Figure:
    """A claim before it is known where it stands."""

    quantity: Quantity
    value: float
    method: Method | None


def read_claims(notebook: NotebookNode) -> tuple[RawClaim, ...]:
    """The claims in the outputs of a notebook (nbformat 4), in their order."""
    return tuple(
        RawClaim(cell, figure.quantity, figure.value, where, figure.method)
        for cell, where, text in _texts(notebook)
        for figure in (_html_figures(text) if where == "html" else _figures(_text_rows(text)))
    )


def match_claims(
    raw: Sequence[RawClaim],
    trainings: Sequence[tuple[Method, int]],
    measured: Mapping[Method, MethodSummary],
    *,
    accuracy_comparable: bool,
    rows: int = EVAL_ROWS,
) -> tuple[Claim, ...]:
    """At most one accuracy and one count per method, in the order of the methods, beside what was measured.

    `trainings` has the method and the cell of each training. An accuracy belongs to the method that its line or row
    names, otherwise to the training nearest at or before its cell; the last one of a method counts. Counts are printed
    on either side of a training and of other models as well, so a count belongs to the method that it fits; one that
    fits none counts only for a method with no fitting one.

    `accuracy_comparable` is False where the grader's budget of training differs from that of the claims: `agrees` of
    accuracies is None then. Otherwise claimed a, a share of `rows` reviews, and measured b, one of 500, agree where
    |a - b| <= 3 * sqrt(p * (1 - p) * (1 / rows + 1 / 500)) with p = (a + b) / 2. Counts agree only where equal.
    """
    comparable_rows = rows if accuracy_comparable else None
    accuracies = {method: claim for claim in raw if (method := _accuracy_method(claim, trainings))}
    counts = _counts_by_method(raw, trainings, measured)
    claims = [
        _claim(method, claim, measured.get(method, MethodSummary()), comparable_rows)
        for method in Method
        for claim in (accuracies.get(method), counts.get(method))
        if claim
    ]
    return tuple(claims)


def find_contradictions(
    executed: NotebookNode,
    trainings: Sequence[tuple[Method, int]],
    measured: Mapping[Method, MethodSummary],
    rows: int,
) -> tuple[Claim, ...]:
    """Figures that a notebook printed in the very run that was measured, and that differ from what was measured.

    Its own training is the measured one, whatever its budget; `rows` is how many reviews it could evaluate on at least.
    """
    claims = match_claims(read_claims(executed), trainings, measured, accuracy_comparable=True, rows=rows)
    return tuple(claim for claim in claims if claim.agrees is False)


def find_repetitions(submitted: NotebookNode, executed: NotebookNode) -> tuple[RawClaim, ...]:
    """Accuracies that a cell prints after another amount of training just as it did before: typed in, or chance.

    Compares the notebook as handed in with the same notebook executed under a budget of training. Figures that few
    reviews often give (halves, quarters, eighths) are left out.
    """
    before = {(claim.cell, claim.value): claim for claim in read_claims(submitted) if claim.quantity == "accuracy"}
    after = {(claim.cell, claim.value) for claim in read_claims(executed) if claim.quantity == "accuracy"}
    return tuple(claim for key, claim in before.items() if key in after and claim.value * 8 % 1)


# Matching.


def _accuracy_method(claim: RawClaim, trainings: Sequence[tuple[Method, int]]) -> Method | None:
    if claim.quantity != "accuracy":
        return None
    nearest = max((cell for _, cell in trainings if cell <= claim.cell), default=None)
    return claim.method or _get_only({method for method, cell in trainings if cell == nearest})


def _counts_by_method(
    raw: Sequence[RawClaim], trainings: Sequence[tuple[Method, int]], measured: Mapping[Method, MethodSummary]
) -> dict[Method, RawClaim]:
    fitting: dict[Method, RawClaim] = {}
    other: dict[Method, RawClaim] = {}
    for claim in raw:
        if claim.quantity != "trainable_parameters":
            continue
        place = claim.method or _count_method(claim, trainings)
        if fits := _find_fitting(claim, place, measured):
            fitting[fits] = claim
        elif place:
            other[place] = claim
    return other | fitting


def _find_fitting(claim: RawClaim, place: Method | None, measured: Mapping[Method, MethodSummary]) -> Method | None:
    """The method that has this count: the one where it stands if several have it, as when nothing was ever frozen."""
    fits = {method for method, summary in measured.items() if summary.trainable_parameters == claim.value}
    if claim.method:
        return claim.method if claim.method in fits else None
    return place if place in fits else _get_only(fits)


def _count_method(claim: RawClaim, trainings: Sequence[tuple[Method, int]]) -> Method | None:
    """The training that follows, as counts are printed after freezing and before training; otherwise the last."""
    following = min((cell for _, cell in trainings if cell >= claim.cell), default=None)
    nearest = max((cell for _, cell in trainings), default=None) if following is None else following
    return _get_only({method for method, cell in trainings if cell == nearest})


def _claim(method: Method, claim: RawClaim, measured: MethodSummary, comparable_rows: int | None) -> Claim:
    is_accuracy = claim.quantity == "accuracy"
    value = measured.accuracy if is_accuracy else measured.trainable_parameters
    agrees = None
    if value is not None and not is_accuracy:
        agrees = claim.value == value
    elif value is not None and comparable_rows is not None:
        agrees = abs(claim.value - value) <= _tolerance(claim.value, value, comparable_rows)
    return Claim(
        method=method, quantity=claim.quantity, claimed=claim.value, measured=value, cell=claim.cell, agrees=agrees
    )


def _tolerance(claimed: float, measured: float, rows: int) -> float:
    """Three standard errors of the difference of two binomial shares, of `rows` and of 500 reviews, at their mean."""
    share = (claimed + measured) / 2
    return STANDARD_ERRORS * math.sqrt(share * (1 - share) * (1 / rows + 1 / EVAL_ROWS))


def _get_only(methods: set[Method]) -> Method | None:
    return next(iter(methods)) if len(methods) == 1 else None


# Outputs.


def _texts(notebook: NotebookNode) -> Iterator[tuple[int, Where, str]]:
    """Index of the cell, kind and text of every output that has text, within the limits."""
    left = MAX_NOTEBOOK_CHARS
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            where, text = _output_text(output)
            left -= len(text)
            if left < 0:
                return
            yield index, where, text


def _output_text(output: NotebookNode) -> tuple[Where, str]:
    """The text of an output, or of a table that comes both as HTML and as plain text, the HTML."""
    if output.get("output_type") == "stream":
        return "stream", _join(output.get("text"))
    data = output.get("data")
    texts = {mime: _join(data.get(mime)) for mime in ("text/html", "text/plain")} if isinstance(data, dict) else {}
    if page := texts.get("text/html"):
        return "html", page
    return "result", texts.get("text/plain", "")


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


def _html_figures(page: str) -> Iterator[_Figure]:
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


def _figures(rows: Iterable[list[str]]) -> Iterator[_Figure]:
    """The figures in the columns that a header names, and in all other rows, those beside a name."""
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
    """The quantity of each column that holds one, counted from the right."""
    if len(cells) < 2 or any(STANDS_ALONE.search(cell) for cell in cells):
        return {}
    return {
        column - len(cells): quantity
        for column, cell in enumerate(cells)
        for quantity, name in NAMES.items()
        if name.search(cell) and not OTHER_ACCURACY.search(cell)
    }


def _row_figures(cells: list[str], columns: dict[int, Quantity]) -> Iterator[_Figure]:
    method = _method(" ".join(cell for cell in cells if not NUMBER.match(cell)))
    for column, quantity in columns.items():
        number = NUMBER.match(cells[column])
        value = _value(number, quantity) if number else None
        if value is not None:
            yield _Figure(quantity, value, method)


def _line_figures(line: str) -> Iterator[_Figure]:
    if (bare := NUMBER.fullmatch(line)) and (count := _value(bare, "trainable_parameters")) is not None:
        if count >= MIN_BARE_COUNT:
            yield _Figure("trainable_parameters", count, None)
        return
    by_start = {named[0]: named for named in _find_named_numbers(line)}  # "trainable parameters" names its number twice
    line_method, done = _method(line), 0
    for _, end, quantity, value in sorted(by_start.values()):
        yield _Figure(quantity, value, _method(line[done:end]) or line_method)
        done = end


def _find_named_numbers(line: str) -> Iterator[tuple[int, int, Quantity, float]]:
    """(start, end, quantity, value) of the number after each name of a quantity, or else before it."""
    for quantity, pattern in NAMES.items():
        for name in pattern.finditer(line):
            clause_start, clause_end = _clause(line, name)
            after = _number_after(line, name.end(), clause_end, quantity)
            number = after or _number_before(line, clause_start, name.start(), quantity)
            value = _value(number, quantity) if number else None
            if number is None or value is None:
                continue
            context = line[clause_start : max(number.end(), name.end())]
            if quantity != "accuracy" or not OTHER_ACCURACY.search(context):
                yield number.start(), number.end(), quantity, value


def _clause(line: str, name: re.Match[str]) -> tuple[int, int]:
    """Where the words around a name begin and end: at a comma or semicolon, or after so many characters."""
    first, last = max(0, name.start() - CLAUSE_CHARS), name.end() + CLAUSE_CHARS
    start = max((stop.end() for stop in CLAUSE_END.finditer(line, first, name.start())), default=first)
    if stop := CLAUSE_END.search(line, name.end(), last):
        return start, stop.start()
    return start, len(line) if len(line) <= last else max(
        name.end(), line.rfind(" ", name.end(), last)
    )  # cuts no number


def _number_after(line: str, start: int, end: int, quantity: Quantity) -> re.Match[str] | None:
    numbers = (number for number in NUMBER.finditer(line, start, end) if _value(number, quantity) is not None)
    first = next(numbers, None)
    return first if first and not ANOTHER_NUMBER.match(line, first.end()) else None


def _number_before(line: str, start: int, end: int, quantity: Quantity) -> re.Match[str] | None:
    numbers = [number for number in NUMBER.finditer(line, start, end) if _value(number, quantity) is not None]
    if not numbers or PART_OF.search(line, start, numbers[-1].start()):
        return None
    return numbers[-1] if LINKING_WORDS.fullmatch(line, numbers[-1].end(), end) else None


def _value(number: re.Match[str], quantity: Quantity) -> float | None:
    """A number as an accuracy in 0..1 or a count; None where it cannot be one."""
    digits = number["number"]
    if len(digits) > MAX_NUMBER_CHARS:
        return None
    value = float(digits.replace(",", "").replace("_", ""))
    if quantity == "trainable_parameters":
        return value if digits.replace(",", "").replace("_", "").isdigit() and value >= MIN_COUNT else None
    if "." not in digits and not number["percent"]:  # a whole number is an epoch or a step
        return None
    share = value if value <= 1 else value / 100
    return share if share <= 1 else None


def _method(text: str) -> Method | None:
    """The method that a text names: LoRA where it does, as the others are often mentioned beside it."""
    named = {method for method, pattern in METHODS.items() if pattern.search(text)}
    return Method.LORA if Method.LORA in named else _get_only(named)
