"""Which papers share passages that neither the template nor half of the class has.

Fingerprints are those of copydetect (winnowing, Schleimer, Wilkerson and Aiken, SIGMOD 2003): hashes of k tokens in a
row, of which every window keeps the smallest, so that a shared run of `K + WINDOW - 1` tokens is always found. Its own
tokeniser, removal of boilerplate and report are not used: hashes of text differ from one process to the next,
repeated passages are dropped with the boilerplate, and a report would show student text as it is.

The share of a paper's fingerprints that another one has, template and common passages left out, is its similarity.
All students fill in the same stub, so honest solutions share idioms. Measured on the corpus: among 18 notebooks in
different hands the most similar pair has 0.45, two more have 0.26, all others less; notebooks with a layer of their own
and the rest taken from one source have 0.8 and more, renamed, reformatted and reordered copies 0.9 and more. Only cells
of two or three lines, all of them shuffled, hide a copy. `THRESHOLD` lies between. Larger classes have more pairs and
luckier ones: the list is ranked, and a pair is a question to look into, not an answer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from scipy.sparse import csr_matrix

from grader.similarity.paper import Paper

K: Final = 25  # tokens in a row: about two lines
WINDOW: Final = 8
THRESHOLD: Final = 0.5
SHARED_MIN: Final = 10  # fingerprints: less is a few lines, whatever share that is
COMMON_MIN: Final = 10  # papers, or a tenth of the class: what so many have is common knowledge
PAIRS_MAX: Final = 200
PLACES_MAX: Final = 20  # of one fingerprint in one paper: a line repeated a thousand times
GAP_MAX: Final = 2 * (K + WINDOW)  # tokens between two fingerprints of one passage


@dataclass(frozen=True)
class Passage:
    """Lines that two papers share, counted from 0, both ends included."""

    left: tuple[int, int]
    right: tuple[int, int]


@dataclass(frozen=True)
class Pair:
    """Two papers. The similarities say how much of each is in the other, in 0 to 1."""

    left: Paper
    right: Paper
    left_similarity: float
    right_similarity: float
    passages: tuple[Passage, ...]

    @property
    def similarity(self) -> float:
        """The larger one: a copy does not become less of one by what is added to it."""
        return max(self.left_similarity, self.right_similarity)


@dataclass(frozen=True)
class Similarity:
    """Groups of papers of different authors with the very same content, and pairs above the threshold, most similar
    first. Of equal papers the pairs name the first. `left_out` counts pairs beyond `PAIRS_MAX`."""

    equal: tuple[tuple[Paper, ...], ...] = ()
    pairs: tuple[Pair, ...] = ()
    compared: int = 0
    threshold: float = THRESHOLD
    left_out: int = 0


@dataclass(frozen=True)
class _Prints:
    """The fingerprints of one paper: hash -> places, in tokens."""

    paper: Paper
    places: Mapping[int, Sequence[int]]


def compare(papers: Iterable[Paper], template: str, threshold: float = THRESHOLD) -> Similarity:
    """Compare all papers with each other; `template` is code that everybody was given."""
    groups = _group_by_content(papers)
    prints = [_prints(group[0]) for group in groups]
    given = _hashes(Paper("", "", "", template))
    prints = _drop_ignored(prints, _find_common(prints) | frozenset(given.tolist()))
    found = sorted(_find_above(prints, threshold), key=lambda found: (-found[0], found[1], found[2]))
    pairs = tuple(_pair(prints[left], prints[right]) for _, left, right in found[:PAIRS_MAX])
    equal = tuple(tuple(group) for group in groups if len({paper.author for paper in group}) > 1)
    return Similarity(equal, pairs, sum(map(len, groups)), threshold, max(0, len(found) - PAIRS_MAX))


def _group_by_content(papers: Iterable[Paper]) -> list[list[Paper]]:
    groups: dict[str, list[Paper]] = {}
    for paper in sorted(papers, key=lambda paper: paper.id):
        groups.setdefault(paper.sha256, []).append(paper)
    return list(groups.values())


def _hashes(paper: Paper) -> np.ndarray:
    """A hash for each run of K tokens. Hashes of numbers are the same in every process."""
    from copydetect.utils import hashed_kgrams  # type: ignore[import-untyped]  # brings matplotlib: only when needed

    return hashed_kgrams(tuple(token for token, _ in paper.tokens), K).astype(np.int64)


def _prints(paper: Paper) -> _Prints:
    from copydetect.utils import winnow

    hashes = _hashes(paper)
    places: dict[int, list[int]] = defaultdict(list)
    if len(hashes) == 0:
        return _Prints(paper, places)
    # A window that the paper cannot fill would select nothing.
    for hash_, place in zip(*winnow(hashes, min(WINDOW, len(hashes)), remove_duplicates=False), strict=True):
        if len(places[int(hash_)]) < PLACES_MAX:
            places[int(hash_)].append(int(place))
    return _Prints(paper, places)


def _find_common(prints: Sequence[_Prints]) -> frozenset[int]:
    had_by = Counter(hash_ for one in prints for hash_ in one.places)
    limit = max(COMMON_MIN, len(prints) // 10)
    return frozenset(hash_ for hash_, number in had_by.items() if number > limit)


def _drop_ignored(prints: Sequence[_Prints], ignored: frozenset[int]) -> list[_Prints]:
    return [_Prints(p.paper, {h: places for h, places in p.places.items() if h not in ignored}) for p in prints]


def _find_above(prints: Sequence[_Prints], threshold: float) -> list[tuple[float, int, int]]:
    """Similarity and places of all pairs of different authors that are similar enough."""
    columns = {hash_: column for column, hash_ in enumerate(dict.fromkeys(h for one in prints for h in one.places))}
    rows = [row for row, one in enumerate(prints) for _ in one.places]
    cells = [columns[hash_] for one in prints for hash_ in one.places]
    ones = np.ones(len(rows), dtype=np.int32)
    had = csr_matrix((ones, (rows, cells)), shape=(len(prints), max(1, len(columns))))
    shared = (had @ had.T).tocoo()
    return [
        (share, left, right)
        for left, right, number in zip(shared.row.tolist(), shared.col.tolist(), shared.data.tolist(), strict=True)
        if left < right
        and number >= SHARED_MIN
        and (share := number / min(len(prints[left].places), len(prints[right].places))) >= threshold
        and prints[left].paper.author != prints[right].paper.author
    ]


def _pair(left: _Prints, right: _Prints) -> Pair:
    number = len(left.places.keys() & right.places.keys())
    return Pair(left.paper, right.paper, number / len(left.places), number / len(right.places), _passages(left, right))


def _passages(left: _Prints, right: _Prints) -> tuple[Passage, ...]:
    """Shared fingerprints that follow each other in both papers, as lines; the longest first."""
    runs: list[list[tuple[int, int]]] = []
    shared = left.places.keys() & right.places.keys()
    for here, hash_ in sorted((place, common) for common in shared for place in left.places[common]):
        there = _find_continuation(runs[-1] if runs else [], here, right.places[hash_])
        if there is None:
            runs.append([(here, right.places[hash_][0])])
        else:
            runs[-1].append((here, there))
    found = {Passage(_lines(left.paper, [a for a, _ in run]), _lines(right.paper, [b for _, b in run])) for run in runs}
    return tuple(sorted(_merge(sorted(found, key=_get_sort_key)), key=lambda p: (p.left[0] - p.left[1], p.left)))


def _get_sort_key(passage: Passage) -> tuple[int, int, int, int]:
    """From the left paper's start on, of those that start together the longest first."""
    return passage.left[0], -passage.left[1], passage.right[0], -passage.right[1]


def _find_continuation(run: Sequence[tuple[int, int]], here: int, places: Sequence[int]) -> int | None:
    """Where the other paper goes on as this one does, if it does."""
    if not run or here - run[-1][0] > GAP_MAX:
        return None
    last = run[-1][1]
    return min((place for place in places if 0 < place - last <= GAP_MAX), default=None)


def _lines(paper: Paper, places: Sequence[int]) -> tuple[int, int]:
    return paper.tokens[places[0]][1], paper.tokens[places[-1] + K - 1][1]


def _merge(passages: Sequence[Passage]) -> list[Passage]:
    """Without those that lie within their neighbour on both sides."""
    inside = {
        two for one, two in pairwise(passages) if _is_within(two.left, one.left) and _is_within(two.right, one.right)
    }
    return [passage for passage in passages if passage not in inside]


def _is_within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
