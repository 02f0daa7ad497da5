"""Places of causes: the line of a notebook that a failed check is about."""

import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grader.judging import places
from grader.judging.places.code import Code, parse_cell
from grader.judging.runner import run_suite
from grader.model import CellRecord, FailedCell, Method, Place
from grader.protocol.records import Answers, CountItem, Entry, ExtractItem, LoraItem, Raised, Training
from tests.harness.judging.test_judging import one, suite

CELLS = [
    pytest.param("x = 1", "x = 1", id="python"),
    pytest.param("%matplotlib inline\nx = 1", "pass\nx = 1", id="a line magic"),
    pytest.param("if y:\n    !pip list\nx = 1", "if y:\n    pass\nx = 1", id="a shell command in a block"),
    pytest.param("%time trainer.train()", "trainer.train()", id="a magic before python"),
    pytest.param("%%time\nx = 1", "\nx = 1", id="a cell magic before python"),
    pytest.param("files = !ls\nx = 1", "pass\nx = 1", id="the output of a command"),
    pytest.param("model?\nx = 1", "pass\nx = 1", id="a question"),
    pytest.param("%%bash\necho 1", "", id="another language"),
    pytest.param('print("%d\n%s" % 1', None, id="no python"),
    pytest.param("x = " + "(" * 500 + ")" * 500, None, id="nested too deeply"),
    pytest.param("s = '''\n%time\n'''", "s = '''\n%time\n'''", id="a magic in a text"),
    pytest.param("re = '\\d'", "re = '\\d'", id="a stray backslash"),
]


@pytest.mark.parametrize(("source", "read"), CELLS)
def test_cells_are_read_line_by_line(source: str, read: str | None) -> None:
    tree, expected = parse_cell(source), None if read is None else parse_cell(read)
    found = [(type(n), n.lineno) for n in tree.body] if tree else None
    assert found == ([(type(n), n.lineno) for n in expected.body] if expected else None)


DEFINITIONS = [
    pytest.param(["def f(): 1", "def f(): 2"], {}, (), (1, 1), id="the last one"),
    pytest.param(["def f(): 1", "def f(): 2"], {1: 0}, (), (0, 1), id="not in a cell that failed"),
    pytest.param(["def f(): 1", "def f(): 2\n\n1 / 0"], {1: 3}, (), (1, 1), id="in a cell that failed later on"),
    pytest.param(["def f(): 1"], {0: 0}, (), (0, 1), id="in a cell that failed, where there is no other"),
    pytest.param(["def f(): 1", "def f(): 2"], {}, (0,), (0, 1), id="in a cell that ran again"),
    pytest.param(["class A:\n    def f(self): 1"], {}, (), (0, 2), id="in a class"),
    pytest.param(["if x:\n    def f(): 1"], {}, (), (0, 2), id="in a block"),
    pytest.param(["def f(): 1", "def f(: 2"], {}, (), (0, 1), id="not where Python cannot read it"),
]


@pytest.mark.parametrize(("sources", "failed", "early", "spot"), DEFINITIONS)
def test_the_definition_that_counts(sources: list[str], failed: Any, early: Any, spot: tuple[int, int]) -> None:
    found = Code(dict(enumerate(sources)), failed, early).definitions["f"]
    assert (found.cell, found.line) == spot


def case(*sources: str, trained: tuple[Method, ...] = (), cells: Any = None, **evidence: Any) -> Any:
    """A case with this code, whose trainings were those of these methods."""
    entries = {method: evidence.pop(method.value, Entry("DistilBert", 1, 1)) for method in trained}
    trainings = [Training(i, via="Trainer", finished=True, entry=entry) for i, entry in enumerate(entries.values())]
    placed = dict(zip(trained, trainings, strict=True))
    failed, records = evidence.pop("failed", ()), evidence.pop("records", ())
    run = SimpleNamespace(
        summary=SimpleNamespace(failed_cells=failed), out_of_order=[], cells=records, training_cells=cells or {}
    )
    sources = tuple(textwrap.dedent(source).strip("\n") for source in sources)
    answers: dict[str, Any] = dict.fromkeys(("count", "extract", "replace", "lora")) | evidence
    known = SimpleNamespace(sources=dict(enumerate(sources)), run=run, trainings=trainings, **answers)
    asked = SimpleNamespace(lora=[])
    return SimpleNamespace(evidence=known, placed=placed, training=placed.get, challenges=asked)


def raised(type_: str, message: str = "", stage: str = "construct") -> Any:
    return Answers(found="LoRALayer", items=(LoraItem("c0", stage, error=Raised(type_, message)),))


LAYER = """
class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24):
        super().__init__()
        self.W = W
        self.A = nn.Parameter(torch.randn(rank, W.in_features))
        self.B = nn.Parameter(torch.zeros(W.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x):
        return self.W(x) + self.scale * (x @ self.A.T @ self.B.T)
"""


def layer(old: str = "", new: str = "") -> str:
    assert old in LAYER
    return LAYER.replace(old, new) if old else LAYER


BIASED = "self.B = nn.Linear(rank, W.out_features)"
LORA = [
    pytest.param(places.find_scale, layer("alpha / rank", "alpha"), "self.scale = alpha", id="scale without rank"),
    pytest.param(places.find_scale, layer("alpha / rank", "2.0"), "self.scale = 2.0", id="constant scale"),
    pytest.param(places.find_scale, layer("self.scale * "), "return self.W(x)", id="scale that is never used"),
    pytest.param(
        places.find_scale,
        layer("self.scale = alpha / rank", "self.alpha = alpha").replace("self.scale *", "self.alpha *"),
        "return self.W(x) + self.alpha",
        id="alpha kept and never divided",
    ),
    pytest.param(places.find_fresh_output, layer("self.W(x) + "), "return self.scale", id="no W(x)"),
    pytest.param(
        places.find_fresh_output,
        layer("torch.zeros(", "torch.randn("),
        "self.B = nn.Param",
        id="nothing starts at zero",
    ),
    pytest.param(
        places.find_fresh_output,
        layer("nn.Parameter(torch.zeros(W.out_features, rank))", BIASED[9:]),
        BIASED,
        id="bias",
    ),
    pytest.param(
        places.find_fresh_output,
        layer("self.W = W", "self.W = nn.Linear(W.in_features, W.out_features)"),
        "self.W = nn.Linear(",
        id="another layer in place of W",
    ),
    pytest.param(
        places.find_matrices, layer("torch.randn(rank,", "torch.randn(12,"), "self.A = nn.", id="a rank of its own"
    ),
    pytest.param(
        places.find_matrices,
        layer("nn.Parameter(torch.zeros(W.out_features, rank))", "torch.zeros(1, rank)"),
        "self.B = torch.zeros",
        id="a plain tensor",
    ),
    pytest.param(
        places.find_matrices,
        layer("features))\n        self.B", "features)).to(d)\n        self.B"),
        "self.A = nn.Par",
        id="a parameter that is moved",
    ),
    pytest.param(
        places.find_matrices,
        layer("alpha / rank", "alpha / rank\n        self.requires_grad_(False)"),
        "self.requires_grad_(False)",
        id="everything frozen",
    ),
    pytest.param(
        places.find_base,
        layer("alpha / rank", "alpha / rank\n        W.requires_grad_()"),
        "W.requires_grad_()",
        id="W made trainable",
    ),
    pytest.param(
        places.find_base,
        layer("return", "self.W.weight.data += 1\n        return"),
        "self.W.weight.data += 1",
        id="W written to",
    ),
    pytest.param(places.find_gradient_cut, layer("@ self.B.T", "@ self.B.T.detach()"), "return self.W", id="detached"),
    pytest.param(
        places.find_gradient_cut,
        layer("return", "with torch.no_grad():\n            y = self.A\n        return"),
        "with torch.no_grad():",
        id="no gradients",
    ),
    pytest.param(
        places.find_update, layer("return", "x = torch.relu(x)\n        return"), "x = torch.relu(x)", id="activation"
    ),
    pytest.param(places.find_update, LAYER, "return self.W(x)", id="nothing that shows"),
    pytest.param(places.find_update, layer("return ", "y = "), "y = self.W(x)", id="nothing is returned"),
    pytest.param(
        places.find_update,
        layer("return", "nn.init.zeros_(self.B)\n        return"),
        "nn.init.zeros_(self.B)",
        id="emptied each time",
    ),
    pytest.param(
        places.find_start, layer("torch.zeros(W", "torch.empty(W"), "self.B = nn.Parameter(torch.empty", id="no values"
    ),
    pytest.param(
        places.find_gradient_cut,
        layer("return", "if self.training:\n            return self.W(x)\n        return"),
        "return self.W(x)",
        id="in evaluation mode only",
    ),
    pytest.param(
        places.find_base,
        LAYER + "\n    def train(self, mode=True):\n        self.W.weight.data -= self.B @ self.A\n",
        "self.W.weight.data -= ",
        id="merged",
    ),
    pytest.param(
        places.find_dropout, layer("return", "x = nn.functional.dropout(x)\n        return"), "x = nn.", id="dropout"
    ),
    pytest.param(
        places.find_dropout,
        layer("self.scale = alpha / rank", "self.drop = nn.Dropout(0.1)")
        + "        # and again\n".replace("# and again", "return self.drop(x)"),
        "return self.drop(x)",
        id="dropout by a name of its own",
    ),
    pytest.param(places.find_class, layer("LoRALayer", "Adapter"), "class Adapter", id="another name"),
]


def locate(judged: Any, find: places.Finder) -> str:
    """The line that is found, with the number of its cell where it is not the first."""
    found = places.locate(judged, find)
    if found is None:
        return ""
    lines = judged.evidence.sources[found.cell].splitlines()
    assert lines[found.line - 1].strip().startswith(found.source.removesuffix("…"))
    return f"{found.cell}: {found.source}" if found.cell else found.source


@pytest.mark.parametrize(("find", "source", "line"), LORA)
def test_lines_of_a_layer(find: places.Finder, source: str, line: str) -> None:
    assert locate(case(source), find).startswith(line)


ERRORS = [
    pytest.param(
        "AttributeError", "'NoneType' object has no attribute 'shape'", "self.n = W.bias.shape", id="attribute"
    ),
    pytest.param("RuntimeError", "Boolean value of Tensor is ambiguous", "if W.bias:", id="truth of a tensor"),
    pytest.param("TypeError", "LoRALayer.__init__() takes 2 positional arguments", "def __init__", id="parameters"),
    pytest.param(
        "AttributeError", "cannot assign before Module.__init__() call", "self.n = ", id="no super().__init__"
    ),
    pytest.param("NotImplementedError", "Step 3.3", "raise NotImpl", id="unwritten"),
    pytest.param("NameError", "name 'devcie' is not defined", "self.to(devcie)", id="a name"),
    pytest.param("ValueError", "rank must be even", "raise ValueError", id="an exception of its own"),
    pytest.param("OSError", "no words that say anything", "return self.W(x)", id="unknown"),
]
RAISING = """
class LoRALayer(nn.Module):
    def __init__(self, W):
        self.n = W.bias.shape
        if W.bias:
            raise ValueError("rank")
        self.to(devcie)
        raise NotImplementedError("Step 3.3")

    def forward(self, x):
        return self.W(x)
"""


@pytest.mark.parametrize(("type_", "message", "line"), ERRORS)
def test_the_line_that_raised(type_: str, message: str, line: str) -> None:
    assert locate(case(RAISING, lora=raised(type_, message)), places.find_class).startswith(line)


SIZES = "mat1 and mat2 shapes cannot be multiplied (7x24 and 768x2)"
FIXED = [
    pytest.param(layer("(rank, W.in_features)", "(rank, 768)"), "self.A = nn.", id="a size as a number"),
    pytest.param(layer(), "return self.W(x)", id="sizes of W"),
    pytest.param(layer("torch.randn(rank,", "torch.randn(12,"), "return self.W(x)", id="a rank as a number"),
]


@pytest.mark.parametrize(("source", "line"), FIXED)
def test_the_matrix_of_another_size(source: str, line: str) -> None:
    judged = case(source, lora=raised("RuntimeError", SIZES, "fresh"))
    assert locate(judged, places.find_fresh_output).startswith(line)


def test_a_forward_of_another_name() -> None:
    judged = case(
        layer("forward", "call"), lora=raised("NotImplementedError", 'missing the required "forward"', "fresh")
    )
    assert locate(judged, places.find_fresh_output) == "def call(self, x):"


FUNCTIONS = [
    pytest.param(
        "def count_parameters(m):\n    n = 1\n    return n", "count_parameters", "return n", id="what it returns"
    ),
    pytest.param("def count_parameters(m):\n    print(1)", "count_parameters", "print(1)", id="what it prints"),
    pytest.param(
        "def count_parameters(m):\n    n = 0\n    for p in m:\n        n += p.numel()\n    return n",
        "count_parameters",
        "n += p.numel()",
        id="what it adds up",
    ),
    pytest.param(
        "def count_parameters(m):\n    for p in m:\n        n = p.numel()\n        return n",
        "count_parameters",
        "return n",
        id="a loop that ends too early",
    ),
    pytest.param("count_parameters = lambda m: 1", "count_parameters", "count_parameters = ", id="a lambda"),
    pytest.param("def how_many(m): return sum(p.numel() for p in m)", None, "def how_many", id="another name"),
    pytest.param("x = 1", None, "", id="nothing"),
]


@pytest.mark.parametrize(("source", "found", "line"), FUNCTIONS)
def test_lines_of_a_function(source: str, found: str | None, line: str) -> None:
    judged = case(source, count=Answers(found=found, items=(CountItem(value=1),)))
    assert locate(judged, places.find_count)[: len(line) or None] == line


CHOOSING = """
def extract_qv_layers(model):
    '''The q_lin and v_lin of a model.'''
    found = {}
    for name, layer in model.named_modules():
        if name[-5:] in ("q_lin", "k_lin"):
            found[name] = layer
    return found
"""


@pytest.mark.parametrize(
    ("mapping", "line"),
    [
        pytest.param(True, 'if name[-5:] in ("q_lin", "k_lin"):', id="a dict with other names"),
        pytest.param(False, "return found", id="no dict"),
    ],
)
def test_the_line_that_chooses_layers(mapping: bool, line: str) -> None:
    answers = Answers(found="extract_qv_layers", items=(ExtractItem(mapping=mapping),))
    assert locate(case(CHOOSING, extract=answers), places.find_names) == line


HELPERS = """
def load():
    return AutoModel.from_pretrained(NAME, num_labels=2)

def freeze(model):
    for p in model.parameters():
        p.requires_grad = False

def fit(model, lr):
    args = TrainingArguments(num_train_epochs=2)
    trainer = Trainer(
        model=model,
        train_dataset=data["train"],
        eval_dataset=data["eval"],
    )
    trainer.train()
    return trainer
"""
STEPS = {Method.FULL: "fit(load(), 1)", Method.HEAD: "m = load()\nfreeze(m)\nt = fit(m, 2)"}
TOO_MANY, TOO_FEW = Entry("D", 66_000_000, 66_000_000), Entry("D", 10, 66_000_000)


def steps(head: str, entry: Entry = TOO_MANY, *more: str) -> Any:
    trained = (Method.FULL, Method.HEAD)
    return case(HELPERS, STEPS[Method.FULL], head, *more, trained=trained, cells={0: 1, 1: 2}, head=entry)


MODELS = [
    pytest.param(steps(STEPS[Method.HEAD]), "p.requires_grad = False", id="in a helper"),
    pytest.param(
        steps("m = load()\nm.d.requires_grad = False\nfit(m, 1)"), "2: m.d.requires_grad = False", id="a module"
    ),
    pytest.param(
        steps("m = load()\nfreeze(m)\nm.last.requires_grad_(True)\nfit(m, 1)"),
        "2: m.last.requires_grad_(True)",
        id="the line that unfreezes",
    ),
    pytest.param(
        steps("m = load()\nm.requires_grad_(False)\nm.c.requires_grad_(True)\nfit(m, 1)", TOO_FEW),
        "2: m.requires_grad_(False)",
        id="the line that freezes",
    ),
    pytest.param(steps("m = load()\nfreeze(load())\nfit(m, 1)"), "2: freeze(load())", id="another model is frozen"),
    pytest.param(steps("m = load()\nfit(m, 1)"), "2: m = load()", id="nothing is frozen"),
    pytest.param(
        steps("m = load()\nfor p in m.d.parameters():\n    p.require_grad = False\nfit(m, 1)"),
        "2: p.require_grad = False",
        id="misspelt",
    ),
    pytest.param(
        steps("m = load()\nfor p in m.parameters():\n    p.requires_grad = False\nfit(m, 1)"),
        "2: p.requires_grad = False",
        id="in a loop",
    ),
    pytest.param(steps("m = load()\nm = m.to(d)\nfit(m, 1)"), "2: m = load()", id="a variable that is only changed"),
    pytest.param(steps(STEPS[Method.HEAD], Entry("D", 592_130 + 769, 1)), "return AutoModel", id="a third label"),
]


@pytest.mark.parametrize(("judged", "line"), MODELS)
def test_what_makes_parameters_trainable(judged: Any, line: str) -> None:
    assert locate(judged, places.find_trainable(Method.HEAD)).startswith(line)


@pytest.mark.parametrize("cells", [pytest.param({0: 1, 1: 2}, id="cells known"), pytest.param({}, id="cells unknown")])
def test_a_training_is_found_with_and_without_its_cell(cells: Any) -> None:
    judged = case(HELPERS, *STEPS.values(), trained=(Method.FULL, Method.HEAD), cells=cells)
    found = [locate(judged, places.find_training(method)) for method in STEPS]
    assert found == ["1: fit(load(), 1)", "2: t = fit(m, 2)"]
    assert locate(judged, places.find_origin(Method.HEAD)) == "2: m = load()"


DATA = [
    pytest.param(HELPERS, "train_dataset", 'train_dataset=data["train"],', id="keyword"),
    pytest.param('d = {"train": "train.csv", "eval": "x/train.csv"}', "eval_dataset", 'd = {"train', id="wrong file"),
    pytest.param("eval_rows = read_csv('train.csv')", "eval_dataset", "eval_rows = ", id="wrong file for a variable"),
]


@pytest.mark.parametrize(("source", "argument", "line"), DATA)
def test_the_reviews_of_a_training(source: str, argument: str, line: str) -> None:
    judged = case(source, HELPERS, STEPS[Method.FULL], trained=(Method.FULL,))
    assert locate(judged, places.find_data(Method.FULL, argument)).removeprefix("1: ").startswith(line)


def test_reviews_that_are_changed_afterwards() -> None:
    own = "m = load()\nt = Trainer(model=m, train_dataset=a)\nt.train_dataset = b\nt.train()"
    judged = case(HELPERS, own, trained=(Method.FULL,))
    assert locate(judged, places.find_data(Method.FULL, "train_dataset")) == "1: t.train_dataset = b"


def test_a_trainer_that_trains_nothing() -> None:
    judged = case("a = Trainer(model=m)\na.train()", "b = Trainer(model=n)", trained=(Method.FULL,))
    judged.placed[Method.LORA] = judged.placed[Method.FULL]
    assert locate(judged, places.find_trainable(Method.HEAD)) == "1: b = Trainer(model=n)"


TRACEBACKS = [
    pytest.param("Cell In[5], line 2\nText", (1, 2), id="in the cell"),
    pytest.param("Cell In[5], line 2\nCell In[4], line 1, in f()\nText", (0, 1), id="in a function of another cell"),
    pytest.param("Cell In[5], line 2\nCell In[4], line 1, in f()\nFile /x/torch.py:3, in g", (1, 2), id="in a library"),
    pytest.param("\x1b[31mCell In[5], line 2\x1b[0m", (1, 2), id="in colour"),
    pytest.param("Cell In[5], line 99", None, id="beyond the cell"),
    pytest.param("Cell In[5], line 2\nCell In[400], line 1", (1, 2), id="in no cell"),
    pytest.param("nothing", None, id="unknown"),
]


@pytest.mark.parametrize(("traceback", "spot"), TRACEBACKS)
def test_the_line_that_failed(traceback: str, spot: tuple[int, int] | None) -> None:
    failed = (FailedCell(index=1, error="KeyError", message="x"),)
    records = tuple(
        CellRecord(index=i, source="", duration_s=0, status="error", traceback=traceback if i else "") for i in (0, 1)
    )
    found = places.locate(case("def f(): 1 / 0", "x = 1\nf()", failed=failed, records=records), places.find_failure)
    assert (found and (found.cell, found.line)) == spot


def test_an_error_that_a_probe_met_too_is_found_in_the_class() -> None:
    shapes = "mat1 and mat2 shapes cannot be multiplied ({}x768 and 12x768)"
    failed = (FailedCell(index=1, error="RuntimeError", message=shapes.format(48)),)
    judged = case(LAYER, "fit()", failed=failed, lora=raised("RuntimeError", shapes.format(7), "fresh"))
    assert locate(judged, places.find_failure).startswith("return self.W(x)")


TOKENS = 'rows = data.map(tokenize, remove_columns=["label"])'
BEHIND = [
    pytest.param(
        "rows = data.map(tokenize)",
        "x = 1",
        ("ValueError", "You should supply an encoding to this method that includes input_ids, but you provided []"),
        "rows = data.map",
        id="not tokenised",
    ),
    pytest.param(
        TOKENS, "x = 1", ("ValueError", "The model did not return a loss from the inputs"), "rows = ", id="columns"
    ),
    pytest.param(
        layer("return ", "y = "),
        "fit()",
        ("AttributeError", "'NoneType' object has no attribute 'view'"),
        "y = self.W(x)",
        id="a forward that returns nothing",
    ),
    pytest.param(
        layer("(nn.Module)"),
        "setattr(m, 'q_lin', LoRALayer(W))",
        ("TypeError", "cannot assign '__main__.LoRALayer' as child module 'q_lin' (torch.nn.Module or None expected)"),
        "class LoRALayer",
        id="no module",
    ),
    pytest.param(LAYER, "x = 1", ("ValueError", "no"), "1: x = 1", id="what raised"),
]


@pytest.mark.parametrize(("source", "failing", "error", "line"), BEHIND)
def test_the_line_behind_an_error(source: str, failing: str, error: tuple[str, str], line: str) -> None:
    failed = (FailedCell(index=1, error=error[0], message=error[1]),)
    judged = case(source, failing, failed=failed, records=(record(0), record(1, "Cell In[2], line 1")))
    assert locate(judged, places.find_failure).startswith(line)


def record(index: int, traceback: str = "") -> CellRecord:
    return CellRecord(index=index, source="", duration_s=0, status="error", traceback=traceback)


STOPPED = [
    pytest.param("NameError", "name 'LoRALayer' is not defined", 0, id="the cell that was to define what it lacks"),
    pytest.param("NameError", "name 'layers' is not defined", 2, id="the cell itself, where no cell defines it"),
    pytest.param("ValueError", "no", 2, id="the cell itself"),
]


@pytest.mark.parametrize(("type_", "message", "cell"), STOPPED)
def test_the_cell_that_kept_a_model_from_its_adapters(type_: str, message: str, cell: int) -> None:
    failed = (
        FailedCell(index=0, error="AttributeError", message="nn.Modul"),
        FailedCell(index=2, error=type_, message=message),
    )
    records = tuple(record(i, f"Cell In[{i + 1}], line 1") for i in range(4))
    judged = case(LAYER.strip(), MAKE, WRAP, TRAIN, trained=(Method.LORA,), failed=failed, records=records)
    assert places.find_cell_before(judged, Method.LORA) == cell


FOUND = [
    pytest.param("x = 1", "trainer = Trainer(model=lora_model)\ntrainer.train()", 2, None, id="the training itself"),
    pytest.param("assert n(lora_model) == 1\nprint(lora_model)", "lora_model.train()", 1, None, id="an assertion"),
    pytest.param("assert n(lora_model) == 1\nfreeze(lora_model)", "x = 1", 1, 1, id="what comes after an assertion"),
]


@pytest.mark.parametrize(("middle", "last", "line", "cell"), FOUND)
def test_what_keeps_no_statement_about_a_model_from_running(
    middle: str, last: str, line: int, cell: int | None
) -> None:
    stopped = 2 if line == 2 else 1
    failed = (FailedCell(index=stopped, error="AssertionError", message=""),)
    records = tuple(record(i, f"Cell In[{i + 1}], line {line}") for i in range(4))
    cells = (MAKE, middle, last) if line == 2 else (MAKE, middle, last, TRAIN)
    judged = case(*cells, trained=(Method.LORA,), failed=failed, records=records)
    assert places.find_cell_before(judged, Method.LORA) == cell


FULL = "full_model = load_model()\nTrainer(model=full_model).train()"
HEADS = [
    pytest.param("lora_model = copy.deepcopy(full_model)", "1: lora_model = copy", id="a copy of the model"),
    pytest.param(
        "lora_model = load_model()\nlora_model.classifier = full_model.classifier",
        "1: lora_model.classifier = full",
        id="a layer of the other model",
    ),
    pytest.param("lora_model = load_model()", "1: lora_model = load", id="nothing that shows"),
]


@pytest.mark.parametrize(("make", "line"), HEADS)
def test_where_a_head_comes_from(make: str, line: str) -> None:
    judged = case(FULL, make, TRAIN, trained=(Method.FULL, Method.LORA), cells={0: 0, 1: 2})
    assert locate(judged, places.find_head(Method.LORA)).startswith(line)


EVALUATED = [
    pytest.param('read("train.csv")', "0: read", id="a file that is never read"),
    pytest.param('read("train.csv", "eval.csv")', "3: measure(m, ", id="a loop of its own"),
    pytest.param("read()", "3: measure(m, ", id="files that are not named"),
]


@pytest.mark.parametrize(("reading", "line"), EVALUATED)
def test_where_training_reviews_are_evaluated(reading: str, line: str) -> None:
    cells = (
        reading,
        "def measure(m, rows): m(rows)",
        "m = load()",
        'Trainer(model=m).train()\nmeasure(m, data["train"])',
    )
    judged = case(*cells, trained=(Method.FULL,), cells={0: 3})
    found = locate(judged, places.find_evaluated(Method.FULL))
    assert (found if found[:1].isdigit() else f"0: {found}").startswith(line)


def test_names_that_a_cell_below_chooses_otherwise() -> None:
    extract = "def extract_qv_layers(m):\n    return {{n: l for n, l in m.named_modules() if n.endswith({})}}"
    wrap = "lora_model = load_model()\nreplace_layers(lora_model, extract_qv_layers(lora_model))"
    entry = Entry("D", 1, 2, ("pre_classifier.w", "classifier.w"), wrapped={"a": "L"}, adapters={"a": ()})
    cells = (extract.format('"q_lin"'), wrap, TRAIN, extract.format('("q_lin", "v_lin")'))
    judged = case(*cells, trained=(Method.LORA,), cells={0: 2}, lora=entry)
    assert locate(judged, places.find_adapted).startswith("return {n: l")


def test_a_place_shows_one_harmless_line_of_bounded_length() -> None:
    found = places.locate(
        case("class LoRA:\n    def __init__(self, rank): '\x1b[31m" + "x" * 500 + "'"), places.find_class
    )
    assert found is not None
    assert "\x1b" not in places.locate(case("def f(): return 1, '\x1b', x.numel()"), places.find_count).source  # type: ignore[union-attr]
    assert len(found.source) <= 121


IMPORTS = "from grader.judging.places.code import make_spot\n"
PLACED = [
    pytest.param("fail('why')", Place(cell=0, line=1, source="first"), id="of the check"),
    pytest.param(
        "fail('why', at=lambda n: make_spot(0, 2))", Place(cell=0, line=2, source="second"), id="of the failure"
    ),
    pytest.param("fail('why', at=lambda n: 1 / 0)", None, id="a fault while it is sought"),
    pytest.param("fail('why', at=lambda n: None)", None, id="not found"),
    pytest.param("pass", None, id="passed"),
    pytest.param("raise Blocked('first')", None, id="blocked"),
]


@pytest.mark.parametrize(("body", "place"), PLACED)
def test_a_failed_check_has_a_place(body: str, place: Place | None, tmp_path: Path) -> None:
    text = IMPORTS + one(body, "(), about=lambda n: make_spot(0, 1)")
    judgement = run_suite(case("first\nsecond"), suite(tmp_path, public_a=text))[0]
    assert (judgement.place, judgement.result(1).place) == (place, place)
    assert not judgement.fault


WRAP = "adapters = {n: LoRALayer(w) for n, w in extract(lora_model).items()}\nreplace_layers(lora_model, adapters)"
MAKE = "lora_model = load_model()"
TRAIN = "trainer = Trainer(model=lora_model)\ntrainer.train()"
LATE = [
    pytest.param((layer(), MAKE, WRAP, TRAIN), None, id="defined once"),
    pytest.param((layer(), layer("alpha / rank", "2"), MAKE, WRAP, TRAIN), None, id="again, before it is used"),
    pytest.param((layer(), MAKE, WRAP, TRAIN, layer()), None, id="the same again"),
    pytest.param(
        (layer(), MAKE, WRAP, TRAIN, layer("alpha / rank", "2")),
        "Cell 5 defines `LoRALayer` again, too late: cell 3 had used the definition in cell 1.",
        id="otherwise, after the training",
    ),
    pytest.param(
        (layer(), MAKE, WRAP, layer("alpha / rank", "2"), TRAIN),
        "Cell 4 defines `LoRALayer` again, too late: cell 3 had used the definition in cell 1.",
        id="otherwise, when the model is made and not yet trained",
    ),
    pytest.param(
        (
            *(layer(), f"def wrap(lora_model):\n{textwrap.indent(WRAP, '    ')}", MAKE, "wrap(lora_model)", TRAIN),
            layer("alpha / rank", "2"),
        ),
        "Cell 6 defines `LoRALayer` again, too late: cell 4 had used the definition in cell 1.",
        id="used in a function",
    ),
    pytest.param((MAKE, WRAP, TRAIN, layer()), None, id="defined only below: those cells stop, and run again"),
    pytest.param((layer(), MAKE, WRAP, TRAIN, "def plot(): 1"), None, id="something else"),
    pytest.param(
        ("def train(m): m.a", layer(), MAKE, WRAP, TRAIN, "def train(m): m.b"),
        None,
        id="named like a method",
    ),
]


@pytest.mark.parametrize(("cells", "told"), LATE)
def test_a_definition_that_came_too_late_is_named(cells: tuple[str, ...], told: str | None) -> None:
    judged = case(*cells, trained=(Method.LORA,))
    found = places.find_redefinition(places.Notebook(judged), Method.LORA)
    assert (str(found) if found else None) == told


FREEZE = "def freeze(m):\n    for p in m.parameters():\n        p.requires_grad = {}"


def test_what_is_defined_after_a_training_is_not_its_place() -> None:
    cells = (FREEZE.format("True"), "head_model = load_model()\nfreeze(head_model)", TRAIN.replace("lora", "head"))
    judged = case(*cells, FREEZE.format("False"), trained=(Method.HEAD,))
    place = places.locate(judged, places.find_trainable(Method.HEAD))
    assert place is not None
    assert (place.cell, place.source) == (0, "p.requires_grad = True")


HELPER = "def start(m):\n    trainer = Trainer(model=m, args=TrainingArguments('{}'))\n    return trainer"
FIRST = ("full_model = load_model()", "trainer = start(full_model)\ntrainer.train()")
NEXT = ("head_model = load_model()", "trainer = start(head_model)\ntrainer.train()")


@pytest.mark.parametrize(
    ("below", "told"),
    [
        pytest.param(NEXT, None, id="used for the next step"),
        pytest.param(
            (), "Cell 4 defines `start` again, too late: cell 3 had used the definition in cell 1.", id="used by none"
        ),
    ],
)
def test_a_helper_that_is_written_anew_for_the_next_step_is_not_late(below: tuple[str, ...], told: str | None) -> None:
    cells = (HELPER.format("a"), *FIRST, HELPER.format("b"), *below)
    judged = case(*cells, trained=(Method.FULL, Method.HEAD)[: 1 + bool(below)], cells={0: 2, 1: 5})
    found = places.find_redefinition(places.Notebook(judged), Method.FULL)
    assert (str(found) if found else None) == told
