"""A messy class from Canvas's zip to scores in a Canvas that fails: no decision is lost, every score is posted once."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grader.batch.decisions import read_decisions
from grader.grades.decisions import describe_decision, list_in_force

from .messy_class import CASES, COURSE, Desk, Reviewer, open_desk, open_review

pytestmark = [
    pytest.mark.training,  # for its time: five minutes and more
    pytest.mark.skipif(not CASES.is_dir(), reason="needs the class of ../shared/cases, or A4_CASES"),
    pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there"),
]

ILL, OVERRIDDEN, COMMENTED, TOTAL, REFUSED = 50001, 50002, 50003, 50012, 50014
POLICY = """
[deadline]
due = 2026-11-20T08:30:00Z
[late]
per_day = 10
[passing]
checks = ["run.completes", "step3.lora_forward"]
points = 40
[[extension]]
student = "50001"
days = 3
author = "Ada"
reason = "ill"
"""
OVERRIDES = """
[[check]]
student = "50002"
check = "step3.lora_forward"
points = 8
author = "Ada"
reason = "the scale is right here"
"""
LIMIT = "403 Forbidden (Rate Limit Exceeded)"


def fault(user: int | str, status: int | str, times: int = 1, method: str = "PUT", **more: Any) -> dict[str, Any]:
    match = f"/submissions/{user}$" if isinstance(user, int) else user
    return {"match": match, "status": status, "times": times, "method": method, **more}


FAULTS = (
    fault(ILL, 429, headers={"Retry-After": "1"}),
    fault(OVERRIDDEN, 403, body=LIMIT),
    fault(COMMENTED, 500),
    fault(50004, 502, when="after"),
    fault(50005, "drop", when="after"),
    fault(50006, "drop"),
    fault(50009, 500, when="after"),
    fault("comments/files$", 500, method="POST"),
    fault("/upload$", 429, method="POST"),
    fault("/upload$", "drop", method="POST"),
    fault("/assignments/4711$", 502, method="GET"),
    fault("/submissions[?]", "drop", method="GET"),
)


@pytest.fixture
def desk() -> Iterator[Desk]:
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)  # kernels belong to another user, and read the checkout  # noqa: PTH101
        with open_desk(Path(place)) as opened:
            yield opened


def hold(desk: Desk) -> dict[str, str]:
    """The decisions in force, by id."""
    return {one.id: describe_decision(one) for one in list_in_force(read_decisions(desk.folder))}


def review_by_two(desk: Desk) -> None:
    """Ada and Bo save at once, on one student's page and on those of others."""
    with open_review(desk) as address, ThreadPoolExecutor() as threads:
        pair = [Reviewer(address, name, desk.find(COMMENTED)) for name in ("Ada", "Bo")]
        saved = list(threads.map(lambda who: who.save(act="comment", about="", words="Look at step 3."), pair))
        assert sorted(saved) == [303, 409]
        late = pair[saved.index(409)]
        late.look()
        assert late.save(act="points", about="step3.lora_forward", points="4", words="half right") == 303
        ada, bo = (Reviewer(address, *who) for who in (("Ada", desk.find(TOTAL)), ("Bo", desk.find(REFUSED))))
        one = threads.submit(ada.save, act="total", about="", points="50", words="shown in person")
        two = threads.submit(bo.save, act="comment", about="", words="Your file is cut short.")
        assert (one.result(), two.result()) == (303, 303)


def require_posted_once(desk: Desk) -> dict[int, list[str]]:
    """Require that Canvas shows the gradebook's scores, and no comment twice. Returns the comments' references."""
    canvas, scores = desk.read_canvas(), desk.read_scores()
    assert {user: score for user, (score, _) in canvas.items() if score is not None} == scores
    assert all(len(set(references)) == len(references) for _, references in canvas.values())
    return {user: references for user, (_, references) in canvas.items()}


def test_the_whole_job(desk: Desk) -> None:
    desk.break_canvas(fault("submissions", 502, method="GET"), fault("submissions", "drop", method="GET"))
    assert "18 students handed in" in desk.run("times", desk.place / "times.csv", *COURSE)
    policy, overrides = desk.write("policy.toml", POLICY), desk.write("overrides.toml", OVERRIDES)
    files = ("--gradebook", desk.place / "main" / "grades.csv", "--assignment", "4711", "--policy", policy)
    desk.stop(desk.grade(*files, "--overrides", overrides, "--times", desk.place / "times.csv"), signal.SIGTERM, 2)
    desk.stop(desk.grade(), signal.SIGKILL, 2)
    assert "done before" in desk.run(*desk.grade())
    review_by_two(desk)
    decided = hold(desk)
    assert len(decided) == 8  # rules, extension, times, override, and four on the page
    desk.run("hand-out", desk.folder)

    assert "Nothing was sent" in desk.run("upload", desk.folder, *COURSE, "--send", code=2)  # a part was not judged
    desk.break_canvas(*FAULTS, fault(TOTAL, 500, times=99))
    said = desk.run("upload", desk.folder, *COURSE, "--send", "--partial", code=2)
    assert f"make upload CLASS={desk.folder} COURSE=123 ASSIGNMENT=4711 SEND=1 PARTIAL=1" in said
    assert [one["match"] for one in desk.list_faults()] == [f"/submissions/{TOTAL}$"]
    desk.break_canvas()
    assert "Sent to 1 student." in desk.run("upload", desk.folder, *COURSE, "--send", "--partial")
    first = require_posted_once(desk)
    assert {len(references) for references in first.values()} == {0, 1}

    solution = "anderssonlovisa_50001_900001_assignment.ipynb"
    again = {"oneillseán_50003_900103_assignment-1.ipynb": solution, "brokenbea_50014_900114_a-1.ipynb": solution}
    desk.rewrite_zip(("oneillseán", "brokenbea"), again)
    assert "Decisions in force: 8" in desk.run(*desk.grade())
    pages = [page.read_text(encoding="utf-8") for page in desk.folder.glob("submissions/*50003_900103/feedback.html")]
    assert ["Since the attempt before" in page for page in pages] == [True]
    desk.move_points(2, ("step1", "count_function"), ("step3", "lora_registered"))
    assert " lost. To tell" in desk.run("rejudge", desk.folder)

    desk.break_canvas(*FAULTS)
    desk.run("upload", desk.folder, *COURSE, "--send", "--partial")
    assert desk.list_faults() == []
    second = require_posted_once(desk)
    assert "Sent to 0 students." in desk.run("upload", desk.folder, *COURSE, "--send", "--partial")
    assert require_posted_once(desk) == second
    assert all(references[:1] == first[user] for user, references in second.items())
    assert hold(desk) == decided
    scores = desk.read_scores()
    assert (scores[ILL], scores[COMMENTED] > 0, REFUSED in scores) == (20.0, True, True)
