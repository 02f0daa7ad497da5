"""The table of scenes: a typical mistake each, which check is called, and what it has to say."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

COUNTED: Final = "return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)"
FREEZING: Final = """    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith(("pre_classifier.", "classifier."))"""
ADAPTERS: Final = """        self.A = nn.Linear(W.in_features, rank, bias=False, **placement)  # random by default
        self.B = nn.Linear(rank, W.out_features, bias=False, **placement)
        nn.init.zeros_(self.B.weight)
"""
PLAIN: Final = """        self.A = torch.randn(W.in_features, rank)
        self.B = torch.zeros(rank, W.out_features)
"""
FORWARD: Final = "return self.W(x) + self.scale * self.B(self.A(x))"
BEGIN: Final = ("imports", "import-check")
DATA: Final = ("read-reviews", "tokenize-reviews")
MODEL: Final = ("load-model", "compute-metrics", "train-and-record")
ALL: Final = (
    *(*BEGIN, *DATA, *MODEL, "train-full", "freeze-encoder", "train-head"),
    *("extract-qv-layers", "replace-layers", "lora-layer", "wrap-layers", "train-lora"),
)


class Event(StrEnum):
    """What happens between the mistake and the check, or during it."""

    NONE = "none"
    RESTART = "restart"  # of the kernel; the student runs the imports again
    INTERRUPT = "interrupt"  # of the check, when it has taken some seconds
    SAVE = "save"  # only when the mistake is put right


@dataclass(frozen=True)
class Scene:
    """One mistake. Cells are named by their ids.

    `edits` make the wrong source of `cell` from the right one; without any it is run as the template has it. `before`:
    cells that are right and run before it; `after`: between the mistake and the check, and again once it is put right.
    `check`: the cell of the check; `calls`: what stands in it, where the template's line is not meant. `says`: words of
    the output that do not depend on case; `never`: words that would mislead. `place`: code of the line that has to be
    named, with its cell and number.
    """

    id: str
    mistake: str
    check: str
    says: tuple[str, ...]
    cell: str = ""
    edits: tuple[tuple[str, str], ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    place: str = ""
    calls: str = ""
    event: Event = Event.NONE
    mends: tuple[str, ...] = ()  # cells that run when the mistake is put right, beside `cell`
    ends: str = "passed"  # the mark of the last line, when all is right
    picture: str = ""  # name of the pictures to take of the output; "x-right" of what it says then


START: Final = (
    Scene(
        "nothing_defined",
        "Checks exercise 3.3 before anything is written",
        "check-3-3",
        ("not yet", "`LoRALayer` is not defined in this kernel yet"),
        before=BEGIN,
        never=("failed", "restarted"),
        ends="not yet",
    ),
    Scene(
        "stub_left",
        "Leaves `raise NotImplementedError` where the layer belongs",
        "check-3-3",
        ("not yet", "not written yet"),
        cell="lora-layer",
        never=("failed",),
    ),
)

STEP_1: Final = (
    Scene(
        "one_section",
        "Reads `train.csv` only, without a dictionary",
        "check-1-1",
        ("`eval` is missing", "a dictionary with the keys"),
        cell="read-reviews",
        edits=(('data_files={"train": "train.csv", "eval": "eval.csv"}', 'data_files="train.csv"'),),
    ),
    Scene(
        "no_truncation",
        "Tokenises without truncation",
        "check-1-2",
        ("`truncation=True`",),
        cell="tokenize-reviews",
        edits=((", truncation=True", ""),),
    ),
    Scene(
        "counts_all",
        "Counts all parameters, frozen ones too",
        "check-1-3",
        ("requires_grad", "frozen"),
        cell="load-model",
        edits=((" if parameter.requires_grad", ""),),
        place="return sum(",
    ),
    Scene(
        "counts_tensors",
        "Counts tensors in place of numbers",
        "check-1-3",
        ("tensors", "numel"),
        cell="load-model",
        edits=(("parameter.numel() for", "1 for"),),
        place="return sum(",
    ),
    Scene(
        "prints",
        "Prints the number and does not return it",
        "check-1-3",
        ("None", "print"),
        cell="load-model",
        edits=(("return sum(", "print(sum("), ("requires_grad)", "requires_grad))")),
        never=("raises",),
    ),
    Scene(
        "endless",
        "Writes a loop that does not end, and waits",
        "check-1-3",
        ("does not finish",),
        cell="load-model",
        edits=((COUNTED, "while True:\n        pass"), ("assert count_", "# assert count_")),
    ),
    Scene(
        "interrupted",
        "The same, and stops the check",
        "check-1-3",
        ("Stopped", "nothing was changed"),
        cell="load-model",
        edits=((COUNTED, "while True:\n        pass"), ("assert count_", "# assert count_")),
        event=Event.INTERRUPT,
        never=("Traceback", "KeyboardInterrupt"),
    ),
    Scene(
        "crash",
        "Trains on reviews without labels, and the training ends with an error",
        "check-step1",
        ("trained to its end", "ended with `ValueError`", "load the model again"),
        before=("compute-metrics", "train-and-record"),
        cell="train-full",
        edits=(('train_dataset=tokenized["train"]', 'train_dataset=tokenized["train"].remove_columns("label")'),),
        never=("everything passed",),
    ),
)

STEP_2: Final = (
    Scene(
        "attribute",
        "Sets `requires_grad` on the module, not on its parameters",
        "check-2-1",
        ("no effect", "requires_grad_(False)", "592,130", "66,955,010"),
        cell="freeze-encoder",
        edits=((FREEZING, "    model.distilbert.requires_grad = False"),),
        picture="module-attribute",
    ),
    Scene(
        "one_layer",
        "Freezes `pre_classifier`, too",
        "check-2-1",
        ("592,130", "1,538", "`pre_classifier`"),
        cell="freeze-encoder",
        edits=(('("pre_classifier.", "classifier.")', '"classifier."'),),
        place="parameter.requires_grad =",
    ),
    Scene(
        "trains_full_again",
        "Gives the model of step 1 to the trainer of step 2",
        "check-step2",
        (
            "592,130",
            "66,955,010",
            "your last training",
            "`head_model` would train the right ones",
            "Train `head_model`",
        ),
        cell="train-head",
        edits=(("make_trainer(head_model", "make_trainer(full_model"),),
    ),
    Scene(
        "not_fresh",
        "Freezes the model of step 1, which is trained already",
        "check-2-1",
        ("step 1 has trained this one already", "from_pretrained"),
        cell="freeze-encoder",
        edits=(("head_model = load_model()", "head_model = full_model"),),
    ),
)

STEP_3: Final = (
    Scene(
        "query_only",
        "Finds the query layers only",
        "check-3-1",
        ("12 keys", "6 missing", "v_lin"),
        before=("freeze-encoder", "train-head"),
        cell="extract-qv-layers",
        edits=(('(".q_lin", ".v_lin")', '".q_lin"'),),
        place="name.endswith(",
    ),
    Scene(
        "names_only",
        "Returns a list of names",
        "check-3-1",
        ("dict", "list"),
        cell="extract-qv-layers",
        edits=(("{name: layer for", "[name for"), ('".v_lin"))}', '".v_lin"))]')),
        place="return [",
    ),
    Scene(
        "weights",
        "Returns weights in place of layers",
        "check-3-1",
        ("nn.Linear", "Parameter"),
        cell="extract-qv-layers",
        edits=(("name: layer for", "name: layer.weight for"),),
        place="layer.weight",
    ),
    Scene(
        "top_level",
        "Replaces at the top of the model only",
        "check-3-1",  # the notebook has no cell for 3.2, since its function is given
        ("replace_layers",),
        cell="replace-layers",
        edits=(("setattr(model.get_submodule(parent_name), child_name, layer)", "setattr(model, child_name, layer)"),),
        place="setattr(",
        calls='check("3.2")',
    ),
)

LAYER: Final = (
    Scene(
        "no_super",
        "Forgets `super().__init__()`",
        "check-3-3",
        ("super().__init__()",),
        cell="lora-layer",
        edits=(("        super().__init__()\n", ""),),
    ),
    Scene(
        "scale_alpha",
        "Scales with alpha in place of alpha / rank",
        "check-3-3",
        ("alpha / rank",),
        cell="lora-layer",
        edits=(("self.scale = alpha / rank", "self.scale = alpha"),),
        place="self.scale = alpha",
        picture="scale",
    ),
    Scene(
        "both_zero",
        "Begins with both A and B at zero",
        "check-3-3",
        ("zero", "random"),
        cell="lora-layer",
        edits=(("(self.B.weight)\n", "(self.B.weight)\n        nn.init.zeros_(self.A.weight)\n"),),
    ),
    Scene(
        "both_random",
        "Begins with both A and B random",
        "check-3-3",
        ("zero", "fresh"),
        cell="lora-layer",
        edits=(("        nn.init.zeros_(self.B.weight)\n", ""),),
    ),
    Scene(
        "order",
        "Applies B before A",
        "check-3-3",
        ("shape",),
        cell="lora-layer",
        edits=(("self.B(self.A(x))", "self.A(self.B(x))"),),
        place="self.A(self.B(x))",
    ),
    Scene(
        "w_forgotten",
        "Forgets W(x) in the sum",
        "check-3-3",
        ("W(x)",),
        cell="lora-layer",
        edits=(("self.W(x) + self.scale", "self.scale"),),
        place="return self.scale",
    ),
    Scene(
        "not_returned",
        "Does not return the result",
        "check-3-3",
        ("it returns None", "End `forward` with `return`"),
        cell="lora-layer",
        edits=(("return self.W(x)", "y = self.W(x)"),),
        never=("raises",),
        place="def forward(",
    ),
    Scene(
        "plain_tensors",
        "Keeps A and B as plain tensors",
        "check-3-3",
        ("nn.Parameter",),
        cell="lora-layer",
        edits=(
            (
                ADAPTERS,
                PLAIN,
            ),
            ("self.B(self.A(x))", "(x @ self.A @ self.B)"),
        ),
    ),
    Scene(
        "no_grad",
        "Computes W(x) under `torch.no_grad()`",
        "check-3-3",
        ("gradient", "no_grad"),
        cell="lora-layer",
        edits=(
            (
                FORWARD,
                "with torch.no_grad():\n            y = self.W(x)\n        return y + self.scale * self.B(self.A(x))",
            ),
        ),
        picture="no-grad",
    ),
)

LORA: Final = (
    Scene(
        "head_model_again",
        "Takes the trained model of step 2 for step 3",
        "check-3-4",
        ("step 2 has trained this one already", "from_pretrained"),
        cell="extract-qv-layers",
        edits=(("lora_model = load_model()", "lora_model = head_model"),),
        after=("wrap-layers",),
    ),
    Scene(
        "nothing_frozen",
        "Wraps the layers and freezes nothing",
        "check-3-4",
        ("813,314",),
        before=("extract-qv-layers",),
        cell="wrap-layers",
        edits=(("freeze_encoder(lora_model)\n", ""),),
        mends=("extract-qv-layers", "wrap-layers"),
    ),
    Scene(
        "frozen_last",
        "Wraps first and freezes afterwards, A and B too",
        "check-3-4",
        ("A and B are frozen", "Freeze the encoder first, then wrap"),
        before=("extract-qv-layers",),
        cell="wrap-layers",
        edits=(
            ("freeze_encoder(lora_model)\n", ""),
            (
                "replace_layers(lora_model, adapters)\n",
                "replace_layers(lora_model, adapters)\nfreeze_encoder(lora_model)\n",
            ),
        ),
        mends=("extract-qv-layers", "wrap-layers"),
    ),
    Scene(
        "not_replaced",
        "Makes the layers and forgets `replace_layers`",
        "check-3-4",
        ("not yet", "`replace_layers`"),
        before=("extract-qv-layers",),
        cell="wrap-layers",
        edits=(("replace_layers(lora_model, adapters)\n", ""),),
        mends=("extract-qv-layers", "wrap-layers"),
        picture="not-yet",
    ),
    Scene(
        "all_at_once",
        "Asks for everything, with one layer wrong",
        "check-step3",
        ("checks passed", "alpha / rank", "not yet"),
        cell="lora-layer",
        edits=(("self.scale = alpha / rank", "self.scale = alpha"),),
        calls="check()",
        picture="everything",
    ),
)

END: Final = (
    Scene(
        "restart",
        "Restarts the kernel after the training and checks at once",
        "check-step3",
        ("not yet", "before the kernel was restarted", "train this step again", "save_model"),
        before=("extract-qv-layers", "wrap-layers", "train-lora"),
        event=Event.RESTART,
        never=("failed", "blocked"),
        mends=ALL,
        picture="restart",
    ),
    Scene(
        "unsaved",
        "Checks the file with a change that is not saved",
        "check-file",
        ("since the file was saved", "Save the notebook"),
        cell="lora-layer",
        edits=(("self.scale = alpha / rank", "self.scale = alpha * (1 / rank)"),),
        event=Event.SAVE,
        never=("Traceback",),
    ),
)

SCENES: Final = (*START, *STEP_1, *STEP_2, *STEP_3, *LAYER, *LORA, *END)
