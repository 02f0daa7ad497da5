"""The made-up class is one that the intake reads, and holds a bit of everything."""

import pytest

from grader.intake.archive import read_class
from grader.intake.roster import read_roster
from grader.intake.uploads import Intake
from tests.proof.demo import classroom

SIZE = 60


@pytest.fixture(scope="module")
def intake(tmp_path_factory: pytest.TempPathFactory) -> Intake:
    folder = tmp_path_factory.mktemp("class")
    submissions, gradebook = classroom.write(SIZE, folder)
    return read_class(submissions, folder / "uploads", read_roster(gradebook.read_bytes()))


def test_nobody_is_lost_and_there_is_a_bit_of_everything(intake: Intake) -> None:
    there = {one.student.canvas_id for one in (*intake.uploads, *intake.refusals) if one.student}
    assert there == set(range(classroom.FIRST_USER, classroom.FIRST_USER + SIZE))
    assert "Absent, Abel" in {student.name for student in intake.missing}
    assert any(upload.late for upload in intake.uploads)
    assert len({upload.sha256 for upload in intake.uploads}) < len(intake.uploads)
    assert any(not upload.display_name.isascii() for upload in intake.uploads)
    assert any(upload.entry.endswith("handin.zip") for upload in intake.uploads)
    assert intake.refusals


def test_two_calls_make_the_same_bytes_and_names_are_all_different() -> None:
    assert classroom.build_archive(classroom.make(10)) == classroom.build_archive(classroom.make(10))
    assert len(set(classroom.generate_people(classroom.load_table(), 500))) == 500
