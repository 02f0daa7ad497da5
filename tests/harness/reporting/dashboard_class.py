"""A class to look at: invented students, deterministic results with the difficulties that real classes have."""

import random
from datetime import datetime, timedelta

from grader.grades.grade import Grade
from grader.grades.overrides import Override, OverrideKind, Overrides
from grader.grades.policy import Deadline, GradingPolicy, LatePenalty
from grader.grades.settlement import settle
from grader.intake.uploads import Intake, Refusal, Student, Upload
from grader.judging.scoring import score
from grader.model import CheckResult, Claim, FailedCell, Method, MethodSummary, Result, RunStatus, Verdict
from grader.similarity import Paper, Similarity, compare
from tests.harness import results

from .examples import METHODS, full_marks

DUE = datetime.fromisoformat("2026-12-01T23:59:00+01:00")
POLICY = GradingPolicy(deadline=Deadline(due=DUE, grace_min=15), late=LatePenalty(per_day=10, cap=50))
FIRST = "Ada Bo Çelik Dilara Elias Fatima Gösta Hedda Ines Jonas Kerstin Lovisa Māris Nour Oskar Pia Quim Rut Siri Tove"
LAST = "Andersson Berg Çelebi Dahl Ek Fors Grönlund Håkansson Ivarsson Jönsson Karlsson Lind Möller Nyström Öberg Ruiz"
HARDEST = {"step3.lora_forward": 0.9, "step3.lora_fresh": 0.6, "step2.encoder_untouched": 0.3, "run.completes": -0.9}


def student(number: int) -> Student:
    first, last = FIRST.split(), LAST.split()
    name = f"{last[number * 7 % len(last)]}, {first[number * 3 % len(first)]}"
    section = f"Group {number % 4}" if number % 4 else None  # not everybody is in one
    return Student(key=f"s{number:04}", name=f"{name} {number}", canvas_id=40_000 + number, section=section)


def _check(check: CheckResult, verdict: Verdict) -> CheckResult:
    points = {Verdict.PASSED: check.possible, Verdict.FAILED: 0.0, Verdict.BLOCKED: 0.0}.get(verdict)
    rationale = "" if verdict is Verdict.PASSED else "Expected no difference, observed 0.31."
    return check.model_copy(update={"verdict": verdict, "points": points, "rationale": rationale})


def _verdict(check: CheckResult, skill: float, chance: random.Random) -> Verdict:
    if skill - HARDEST.get(check.id, 0.0) + chance.gauss(0, 0.7) > -0.35:
        return Verdict.PASSED
    return Verdict.BLOCKED if check.id.startswith("step3") and chance.random() < 0.5 else Verdict.FAILED


def _methods(chance: random.Random, skill: float) -> dict[Method, MethodSummary]:
    typical = {Method.FULL: (0.825, 151), Method.HEAD: (0.66, 42), Method.LORA: (0.81, 110)}
    found = {}
    for method, (accuracy, seconds) in typical.items():
        if method is Method.LORA and skill < -1.2:
            continue
        lost = 0.12 * (chance.random() < 0.08)
        found[method] = MethodSummary(
            trainable_parameters=METHODS[method].trainable_parameters,
            accuracy=round(min(0.95, chance.gauss(accuracy, 0.012) - lost), 4),
            threshold=METHODS[method].threshold,
            train_s=round(seconds * chance.lognormvariate(0, 0.18), 1),
            steps=64,
        )
    return found


def result(number: int) -> Result:
    chance = random.Random(number)
    skill = chance.gauss(0.6, 1.0)
    model = full_marks()
    checks = tuple(_check(check, _verdict(check, skill, chance)) for check in model.checks)
    run = results.run(wall_s=round(chance.gauss(330, 40), 1), peak_memory_mib=3_400.0)
    if number % 23 == 5:
        cell = FailedCell(index=12, error="TimeLimit", message="stopped after 1,800 s")
        run = results.run(RunStatus.TIMEOUT, wall_s=1_802.0, peak_memory_mib=3_400.0, failed_cells=(cell,))
    if number % 41 == 7:
        checks = (*checks[:-1], _check(checks[-1], Verdict.ERROR))
    methods = _methods(chance, skill)
    measured = methods[Method.FULL].accuracy
    claim = Claim(method=Method.FULL, quantity="accuracy", claimed=0.931, measured=measured, cell=11, agrees=False)
    update = {
        "submission": model.submission.model_copy(update={"name": f"assignment-{number}", "sha256": f"{number:064x}"}),
        "run": run,
        "checks": checks,
        "score": score(checks, run.status),
        "methods": methods,
        "claims": (claim,) if number % 19 == 3 else (),
    }
    return model.model_copy(update=update)


CODE = """class LoRALayer(nn.Module):
    def __init__(self, W, rank=12, alpha=24):
        super().__init__()
        self.W, self.scale = W, alpha / rank
        self.A = nn.Linear(W.in_features, rank, bias=False)
        self.B = nn.Linear(rank, W.out_features, bias=False)
        nn.init.zeros_(self.B.weight)
        for parameter in W.parameters():
            parameter.requires_grad = False

    def forward(self, x):
        return self.W(x) + self.scale * self.B(self.A(x))

for name, layer in extract_qv_layers(model).items():
    print(name, layer.weight.shape, sum(p.numel() for p in layer.parameters() if p.requires_grad))
"""


def similar(found: Intake) -> Similarity:
    """Two pairs with much in common, and two students with the very same file."""
    ids = [upload.id for upload in found.uploads[:30]]
    own = "\n".join(f"print([{', '.join('x*-+'[n % 4] for n in range(k))}])" for k in range(3, 30))
    codes = {ids[2]: f"{CODE}\n{own}", ids[9]: CODE.replace("self.A", "self.down").replace("self.B", "self.up")}
    papers = [Paper(id_, id_, id_, code, ((0, 14), (13, 16))) for id_, code in codes.items()]
    papers += [Paper(id_, id_, "same", CODE[:300]) for id_ in (ids[4], ids[12])]
    return compare(papers, "")


def upload(number: int) -> Upload:
    late = number % 9 == 2
    after = timedelta(hours=7 * (number % 8) + 1) if late else -timedelta(hours=number % 50)
    return Upload(
        id=f"s{number:04}_{number}",
        student=student(number),
        entry=f"s{number}_{40_000 + number}_{number}_assignment.ipynb",
        display_name="assignment.ipynb",
        sha256=f"{number:064x}",
        late=late,
        submitted_at=DUE + after,
    )


def refusal(number: int) -> Refusal:
    reason = "'assignment.pdf' is a PDF; hand in the notebook itself, the .ipynb file that Jupyter saves."
    entry = f"s{number}_{40_000 + number}_{number}_assignment.pdf"
    return Refusal(entry=entry, reason=reason, student=student(number))


def intake(size: int) -> Intake:
    """Everybody handed in but one in forty; two files are no notebooks."""
    gone, refused = ([n for n in range(size) if n % each == first] for each, first in ((40, 11), (60, 17)))
    nobodys = Refusal(entry="__unknown.exe", reason="The file belongs to nobody.")
    return Intake(
        source="submissions.zip",
        uploads=tuple(upload(n) for n in range(size) if n not in (*gone, *refused)),
        refusals=(*map(refusal, refused), nobodys),
        missing=tuple(map(student, gone)),
    )


def overrides(found: Intake) -> Overrides:
    changed, excused = ({"student": found.uploads[n].student.key, "author": "M. Example"} for n in (1, 3))
    appeal, ill = "Trained on the right data: see the appeal of 4 December.", "Ill, with a certificate."
    check = Override(kind=OverrideKind.CHECK, target="step3.lora_forward", points=5.0, reason=appeal, **changed)
    return Overrides(entries=(check, Override(kind=OverrideKind.EXCUSED, reason=ill, **excused)), possible=100.0)


def settled(size: int) -> tuple[Intake, tuple[Grade, ...]]:
    """A class of `size` students and where each of them stands."""
    found = intake(size)
    results = {upload.id: result(int(upload.id.partition("_")[2])) for upload in found.uploads}
    return found, settle(found, results, POLICY, overrides(found))
