"""A class after grading, as its pages see it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from urllib.parse import quote

from grader.grades.grade import Grade
from grader.intake.uploads import Intake, Upload
from grader.similarity import Paper, Similarity

Link = tuple[str, str]  # text, address


@dataclass(frozen=True)
class GradedClass:
    """A class after grading.

    `warnings`: sentences for staff; `intake.concerns` says which of them are about one student. `folders`: upload id ->
    folder of its reports, relative to the page; the id where it is not named. `files`: refused files of a student, by
    the key.
    """

    grades: Sequence[Grade]
    intake: Intake
    similarity: Similarity = field(default_factory=Similarity)
    warnings: Sequence[str] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, Sequence[Link]] = field(default_factory=dict)

    @cached_property
    def alike(self) -> frozenset[str]:
        """Ids of the uploads that share code with another one."""
        papers = chain(*self.similarity.equal, *((pair.left, pair.right) for pair in self.similarity.pairs))
        return frozenset(paper.id for paper in papers)

    @cached_property
    def _uploads(self) -> dict[str, Upload]:
        return {upload.id: upload for upload in self.intake.uploads}

    def name_author(self, paper: Paper) -> str:
        """Return whose paper it is; its id where nobody knows."""
        return self._uploads[paper.id].student.name if paper.id in self._uploads else paper.id

    def name_pair(self, number: int) -> str:
        """Return whose papers a pair compares."""
        pair = self.similarity.pairs[number]
        return f"{self.name_author(pair.left)} and {self.name_author(pair.right)}"

    def locate_reports(self, upload_id: str) -> str:
        """Return the address of the folder of an upload's reports."""
        return "./" + quote(self.folders.get(upload_id, upload_id), errors="replace")

    def list_links(self, grade: Grade) -> tuple[Link, ...]:
        """List the reports of a student; without any, the files that were refused."""
        if grade.upload is None or grade.result is None:
            return tuple((name, "./" + quote(place)) for name, place in self.files.get(grade.student.key, ()))
        folder = self.locate_reports(grade.upload.id)
        pages = {"staff report": "staff.html", "feedback": "feedback.html", "notebook": "executed.ipynb"}
        return tuple((text, f"{folder}/{page}") for text, page in pages.items())
