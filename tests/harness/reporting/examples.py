"""Results to look at: full marks, an untouched template, and one in the middle with every verdict in it."""

from typing import Any, Literal

from grader import model
from grader.model import FailedCell, Method, MethodSummary, Place, Profile, Result, RunStatus, Verdict
from tests.harness import results

# id, what a student reads, points, hidden
_SUITE: tuple[tuple[str, str, float, bool], ...] = (
    ("run.completes", "The notebook runs from the first cell to the last", 4, False),
    ("run.data", "Training uses the training reviews and evaluation the evaluation reviews", 4, True),
    ("step1.count_function", "Your function counts the trainable parameters of any model", 8, False),
    ("step1.trainable_parameters", "All parameters are trainable in step 1", 3, False),
    ("step1.trained", "Step 1 trains the pretrained model", 5, False),
    ("step1.accuracy", "The fully fine-tuned model classifies reviews well", 6, True),
    ("step2.trainable_parameters", "Only the head is trainable in step 2", 5, False),
    ("step2.encoder_untouched", "Training the head leaves the encoder as it was", 5, True),
    ("step2.accuracy", "The model with a trained head classifies reviews well", 5, True),
    ("step3.extract_names", "You find the query and value layers by name", 5, False),
    ("step3.extract_modules", "What you extract are the model's own layers", 5, True),
    ("step3.replace_layers", "Replacing a layer changes the model", 3, False),
    ("step3.lora_construct", "A LoRA layer wraps a linear layer", 4, False),
    ("step3.lora_fresh", "A fresh LoRA layer computes what the layer it wraps computes", 6, False),
    ("step3.lora_forward", "A LoRA layer adds the scaled low-rank update", 8, True),
    ("step3.lora_frozen", "The wrapped layer is kept and not trained", 4, False),
    ("step3.lora_registered", "The adapter's parameters are registered, and only those", 4, False),
    ("step3.lora_gradients", "Gradients reach the adapter", 4, True),
    ("step3.trainable_parameters", "Adapters and head are trainable in step 3, nothing else", 4, False),
    ("step3.certificate", "Training changed the twelve layers by a low-rank update", 4, True),
    ("step3.accuracy", "The model with adapters classifies reviews well", 4, True),
)

_Judged = tuple[Verdict, str, str]
CellStatus = Literal["ok", "error", "timeout", "not_run"]
Quantity = Literal["accuracy", "trainable_parameters"]
_PASSED: _Judged = (Verdict.PASSED, "", "")
_PARTIAL: dict[str, _Judged] = {
    "run.completes": (
        Verdict.FAILED,
        "Two cells raised an error: cell 24 (RuntimeError) and cell 27 (NameError).",
        "Restart the kernel and run all cells from the top; fix the first error first.",
    ),
    "step1.count_function": (
        Verdict.FAILED,
        "count_trainable_parameters gave 30 for a model in which 20 of 30 parameters are trainable.\n"
        "Expected 20, observed 30.",
        "Sum p.numel() over the parameters for which p.requires_grad is true.",
    ),
    "step1.accuracy": (Verdict.NOT_JUDGED, "No calibration fits this model and data set.", ""),
    "step2.encoder_untouched": (
        Verdict.FAILED,
        "Weights outside the head changed while the head was trained.",
        "Freeze every parameter except those of pre_classifier and classifier.",
    ),
    "step2.accuracy": (Verdict.NOT_JUDGED, "No calibration fits this model and data set.", ""),
    "step3.lora_construct": (Verdict.PASSED, "Works only for square layers; every wrapped layer here is square.", ""),
    "step3.lora_fresh": (
        Verdict.FAILED,
        "A fresh LoRALayer around a biased 768-to-768 layer differs from it by up to 0.31.\n"
        "Expected no difference beyond rounding (1e-5), observed 0.31.",
        "Start one of the two matrices at zero, and keep the bias of W.",
    ),
    "step3.lora_forward": (Verdict.BLOCKED, "A fresh LoRA layer has to equal W first.", ""),
    "step3.lora_gradients": (Verdict.ERROR, "The probe did not answer.", ""),
    "step3.trainable_parameters": (Verdict.BLOCKED, "Step 3 was not trained.", ""),
    "step3.certificate": (Verdict.BLOCKED, "Step 3 was not trained.", ""),
    "step3.accuracy": (Verdict.BLOCKED, "Step 3 was not trained.", ""),
}

PLACES = {
    "step2.encoder_untouched": Place(cell=16, line=2, source="head_model = full_model"),
    "step3.lora_fresh": Place(cell=22, line=9, source='return x @ self.W.weight.T + self.B(self.A(x))  # "<W>"'),
}
METHODS = {
    method: MethodSummary(trainable_parameters=count, accuracy=accuracy, threshold=threshold, train_s=time, steps=64)
    for method, count, accuracy, threshold, time in (
        (Method.FULL, 66_955_010, 0.826, 0.74, 151.2),
        (Method.HEAD, 592_130, 0.658, 0.59, 41.7),
        (Method.LORA, 813_314, 0.812, 0.72, 109.4),
    )
}
_ENVIRONMENT = {
    "python": "3.11.2",
    "torch": "2.13.0+cpu",
    "transformers": "5.23.0",
    "checkpoint": "stand-in (all-MiniLM-L6-v2 widened to DistilBERT-base)",
    "reviews": "real (train.csv 2,000, eval.csv 500)",
    "precision": "bf16 autocast",
}
_SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_TIMINGS = {"intake": 0.03, "start": 0.41, "execution": 321.6, "probes": 2.2, "oracle": 14.8, "judging": 1.1}


def full_marks() -> Result:
    claims = _claim(Method.FULL, 0.824, 0.826, True), _claim(Method.HEAD, 0.66, 0.658, True)
    return _result("reference-solution.ipynb", {}, methods=METHODS, claims=claims)


def untouched_template() -> Result:
    """Return the result of a template that nobody worked on: mostly blocked."""
    wanted = {
        "step1.count_function": ("count_trainable_parameters", "Write it in step 1."),
        "step3.extract_names": ("extract_qv_layers", "Write it in step 3."),
        "step3.lora_construct": ("LoRALayer", "Write the class in step 3."),
    }
    missing = "The notebook has no working `{}`: it still raises NotImplementedError."
    verdicts: dict[str, _Judged] = {id_: (Verdict.BLOCKED, "Nothing was trained.", "") for id_, *_ in _SUITE}
    verdicts |= {id_: (Verdict.FAILED, missing.format(name), hint) for id_, (name, hint) in wanted.items()}
    verdicts["run.completes"] = (Verdict.FAILED, "Nine cells raised an error, the first of them cell 7.", "")
    verdicts["step3.replace_layers"] = _PASSED
    cells = (FailedCell(index=6, error="NotImplementedError", message=""),)
    run = results.run(RunStatus.STUDENT_ERROR, wall_s=6.3, peak_memory_mib=912.0, failed_cells=cells)
    methods = {method: MethodSummary() for method in Method}
    return _result("assignment.ipynb", verdicts, run=run, methods=methods, profile=Profile.STRUCTURE, calibration=None)


def middle() -> Result:
    """Return a result with every verdict in it, failed cells and a claim that does not hold."""
    cells = (
        FailedCell(index=23, error="RuntimeError", message="shapes cannot be multiplied (16x768 and 12x768)"),
        FailedCell(index=26, error="NameError", message="name 'lora_trainer' is not defined"),
    )
    run = results.run(RunStatus.STUDENT_ERROR, wall_s=268.4, peak_memory_mib=3_412.7, failed_cells=cells)
    methods = {
        Method.FULL: METHODS[Method.FULL],
        Method.HEAD: MethodSummary(
            trainable_parameters=66_955_010, accuracy=0.794, reviews=256, train_s=148.8, steps=64
        ),
        Method.LORA: MethodSummary(trainable_parameters=7_900_418),
    }
    claims = (
        _claim(Method.FULL, 0.912, 0.826, False),
        _claim(Method.HEAD, 0.79, 0.794, True),
        _claim(Method.HEAD, 592_130, 66_955_010, False, "trainable_parameters"),
        _claim(Method.LORA, 0.884, None, None),
    )
    return _result("andersson_lovisa_48213_late.ipynb", _PARTIAL, run=run, methods=methods, claims=claims)


def details() -> model.StaffDetails:
    losses = {Method.FULL: 0.55, Method.HEAD: 0.05, Method.LORA: 0.4}
    curves = {
        method: tuple(
            model.CurvePoint(step=step, loss=0.69 - fall * (step / 64) ** 0.5 + 0.02 * (step % 3))
            if step % 32
            else model.CurvePoint(step=step, eval_accuracy=0.55 + fall * step / 150)
            for step in range(4, 65, 4)
        )
        for method, fall in losses.items()
    }
    return model.StaffDetails(
        cells=(
            _cell(1, 0.02, "!pip install transformers datasets evaluate", output="skipped by the grader\n"),
            _cell(3, 4.1, "import torch\nfrom transformers import Trainer"),
            _cell(11, 151.2, "# step 1\ntrainer.train()", output="{'eval_accuracy': 0.912, 'epoch': 2.0}\n"),
            _cell(17, 98.8, "head_trainer.train()"),
            _cell(23, 3.7, _LORA_CELL, "error", traceback=_TRACEBACK),
            _cell(26, 0.01, "lora_trainer.train()", "error", traceback="NameError: name 'lora_trainer' is not defined"),
            _cell(28, 0.0, "", "not_run"),
        ),
        curves=curves,
        notes=(
            "extract_qv_layers was found under its older name `extract`.",
            "The notebook defines LoRALayer twice; the last definition counts.",
        ),
    )


_LORA_CELL = (
    "lora_model = replace_layers(model, {n: LoRALayer(m) for n, m in extract(model).items()})\n"
    "lora_trainer = Trainer(lora_model, args)"
)
_TRACEBACK = (
    "\x1b[0;31m--------------------\x1b[0m\n\x1b[0;31mRuntimeError\x1b[0m  Traceback\n"
    "Cell In[12], line 14, in LoRALayer.forward(self, x)\n     13 def forward(self, x):\n"
    "---> 14     return self.W(x) + self.scale * (x @ self.A @ self.B)\n\n"
    "RuntimeError: shapes cannot be multiplied (16x768 and 12x768)"
)


def _cell(index: int, duration_s: float, source: str, status: CellStatus = "ok", **texts: str) -> model.CellRecord:
    return model.CellRecord(index=index, source=source, duration_s=duration_s, status=status, **texts)


def hostile_copies(value: Any, text: str) -> Any:
    """Return `value` (JSON-like) with `text` put at the end of every free string."""
    if isinstance(value, dict):
        return {key: hostile_copies(item, text) if key not in _CLOSED else item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hostile_copies(item, text) for item in value]
    return f"{value}{text}" if isinstance(value, str) else value


# Fields whose values come from an enum: no notebook can put a text there.
_CLOSED = frozenset({"schema", "profile", "status", "verdict", "visibility", "method", "quantity"})


def _result(
    name: str, verdicts: dict[str, _Judged], calibration: str | None = "quick, stand-in, real data", **changes: Any
) -> Result:
    checks = (_check(*stated, *verdicts.get(stated[0], _PASSED)) for stated in _SUITE)
    plain = {"run": results.run(wall_s=321.6, peak_memory_mib=3_380.0), "seed": 20_260_117, "profile": Profile.QUICK}
    told = {"calibration": calibration, "environment": _ENVIRONMENT, "timings": _TIMINGS}
    return results.result(checks, name, _SHA256, **{**plain, **told, **changes})


def _check(
    id_: str, title: str, possible: float, hidden: bool, verdict: Verdict, rationale: str, hint: str
) -> model.CheckResult:
    visibility = model.Visibility.HIDDEN if hidden else model.Visibility.PUBLIC
    place = PLACES.get(id_) if verdict is Verdict.FAILED else None
    told = {"title": title, "visibility": visibility, "rationale": rationale, "hint": hint, "place": place}
    return results.check(id_, verdict, possible, **told)


def _claim(
    method: Method, claimed: float, measured: float | None, agrees: bool | None, quantity: Quantity = "accuracy"
) -> model.Claim:
    cell = {Method.FULL: 11, Method.HEAD: 17, Method.LORA: 23}[method]
    return model.Claim(method=method, quantity=quantity, claimed=claimed, measured=measured, cell=cell, agrees=agrees)
