"""Compares papers: passages that two of them share and that neither the template nor half of the class has.

Fingerprints are those of copydetect (winnowing, Schleimer, Wilkerson and Aiken, SIGMOD 2003): hashes of k tokens in a
row, of which every window keeps the smallest, so that a shared run of `K + WINDOW - 1` tokens is always found. Its own
tokeniser, removal of boilerplate and report are not used: hashes of text differ from one process to the next,
repeated passages are dropped with the boilerplate, and a report would show student text as it is.

The share of a paper's fingerprints that another one has, template and common passages left out, is its similarity.
All students fill in the same stub, so honest solutions share idioms. Measured on the corpus: among 18 notebooks in
different hands the most similar pair has 0.45, two more have 0.26, all others less; notebooks that share everything but
a layer have 0.8 and more, renamed, reformatted and reordered copies 0.9 and more. Only cells of two or three lines, all
of them shuffled, hide a copy. `THRESHOLD` lies between. Larger classes have more pairs and luckier ones: the list is
ranked, and a pair is a question to look into, not an answer.
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

_Prints = Mapping[int, Sequence[int]]  # the fingerprints of one paper: hash -> places, in tokens


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
        """The larger one: what is added to a copy does not make it less of a copy."""
        return max(self.left_similarity, self.right_similarity)


@dataclass(frozen=True)
class Similarity:
    """The result of a comparison.

    `equal`: groups of papers of different authors with the very same content; pairs name the first of such a group.
    `pairs`: those above the threshold, most similar first. `left_out`: number of pairs beyond `PAIRS_MAX`.
    """

    equal: tuple[tuple[Paper, ...], ...] = ()
    pairs: tuple[Pair, ...] = ()
    compared: int = 0
    threshold: float = THRESHOLD
    left_out: int = 0


@dataclass(frozen=True)
class Cluster:
    """Papers that hang together by pairs or equal content. `pairs`: indices into `Similarity.pairs`, closest first."""

    papers: tuple[Paper, ...]
    pairs: tuple[int, ...]


def cluster_papers(similarity: Similarity) -> tuple[Cluster, ...]:
    """Group what is alike: the closest group first, then those with equal content alone."""
    links = [(pair.left, pair.right) for pair in similarity.pairs]
    links += [(group[0], paper) for group in similarity.equal for paper in group[1:]]
    papers = {paper.id: paper for link in links for paper in link}
    of = {name: {name} for name in papers}  # each paper's group, the same set for all of its members
    for left, right in links:
        if of[left.id] is not of[right.id]:
            of[left.id] |= of[right.id]
            of.update(dict.fromkeys(of[right.id], of[left.id]))
    groups = {id(members): members for members in (of[left.id] for left, _ in links)}
    return tuple(
        Cluster(
            papers=tuple(paper for name, paper in papers.items() if name in members),
            pairs=tuple(number for number, pair in enumerate(similarity.pairs) if pair.left.id in members),
        )
        for members in groups.values()
    )


def compare(papers: Iterable[Paper], template: str, threshold: float = THRESHOLD) -> Similarity:
    """Compare all papers with each other; `template` is code that everybody was given."""
    groups = _group_by_content(papers)
    firsts = [group[0] for group in groups]
    prints = _drop_common([_find_prints(paper) for paper in firsts], _hash(Paper("", "", "", template)).tolist())
    found = sorted(_find_above(firsts, prints, threshold), key=lambda found: (-found[0], found[1], found[2]))
    pairs = tuple(_describe_pair(firsts[a], firsts[b], prints[a], prints[b]) for _, a, b in found[:PAIRS_MAX])
    equal = tuple(tuple(group) for group in groups if len({paper.author for paper in group}) > 1)
    return Similarity(equal, pairs, sum(map(len, groups)), threshold, max(0, len(found) - PAIRS_MAX))


def _group_by_content(papers: Iterable[Paper]) -> list[list[Paper]]:
    groups: dict[str, list[Paper]] = {}
    for paper in sorted(papers, key=lambda paper: paper.id):
        groups.setdefault(paper.sha256, []).append(paper)
    return list(groups.values())


def _hash(paper: Paper) -> np.ndarray:
    """Hash each run of K tokens. Hashes of numbers are the same in every process."""
    from copydetect.utils import hashed_kgrams  # type: ignore[import-untyped]  # brings matplotlib: only when needed

    return hashed_kgrams(tuple(token for token, _ in paper.tokens), K).astype(np.int64)


def _find_prints(paper: Paper) -> _Prints:
    from copydetect.utils import winnow

    hashes = _hash(paper)
    window = min(WINDOW, len(hashes))  # a window that the paper cannot fill would select nothing
    places: dict[int, list[int]] = defaultdict(list)
    for hash_, place in zip(*winnow(hashes, window, remove_duplicates=False), strict=True) if window else ():
        if len(places[int(hash_)]) < PLACES_MAX:
            places[int(hash_)].append(int(place))
    return places


def _drop_common(prints: Sequence[_Prints], given: Iterable[int]) -> list[_Prints]:
    """Drop the hashes that everybody was given or that so many papers have that they are common knowledge."""
    had_by = Counter(hash_ for places in prints for hash_ in places)
    limit = max(COMMON_MIN, len(prints) // 10)
    ignored = {hash_ for hash_, number in had_by.items() if number > limit}.union(given)
    return [{hash_: where for hash_, where in places.items() if hash_ not in ignored} for places in prints]


def _find_above(papers: Sequence[Paper], prints: Sequence[_Prints], threshold: float) -> list[tuple[float, int, int]]:
    """Return similarity and places of all pairs of different authors that are similar enough."""
    columns = {hash_: column for column, hash_ in enumerate(dict.fromkeys(h for places in prints for h in places))}
    rows = [row for row, places in enumerate(prints) for _ in places]
    cells = [columns[hash_] for places in prints for hash_ in places]
    ones = np.ones(len(rows), dtype=np.int32)
    had = csr_matrix((ones, (rows, cells)), shape=(len(prints), max(1, len(columns))))
    shared = (had @ had.T).tocoo()
    return [
        (share, left, right)
        for left, right, number in zip(shared.row.tolist(), shared.col.tolist(), shared.data.tolist(), strict=True)
        if left < right
        and number >= SHARED_MIN
        and (share := number / min(len(prints[left]), len(prints[right]))) >= threshold
        and papers[left].author != papers[right].author
    ]


def _describe_pair(left: Paper, right: Paper, left_prints: _Prints, right_prints: _Prints) -> Pair:
    shared = left_prints.keys() & right_prints.keys()
    runs: list[list[tuple[int, int]]] = []  # shared fingerprints that follow each other in both papers
    for here, hash_ in sorted((place, common) for common in shared for place in left_prints[common]):
        there = _find_continuation(runs[-1] if runs else [], here, right_prints[hash_])
        if there is None:
            runs.append([(here, right_prints[hash_][0])])
        else:
            runs[-1].append((here, there))
    found = [
        Passage(_find_lines(left, run[0][0], run[-1][0]), _find_lines(right, run[0][1], run[-1][1])) for run in runs
    ]
    passages = sorted(_drop_contained(found), key=lambda p: (p.left[0] - p.left[1], p.left))  # the longest first
    return Pair(left, right, len(shared) / len(left_prints), len(shared) / len(right_prints), tuple(passages))


def _find_continuation(run: Sequence[tuple[int, int]], here: int, places: Sequence[int]) -> int | None:
    """Return the place at which the other paper continues a run that this one continues `here`, if it does."""
    if not run or here - run[-1][0] > GAP_MAX:
        return None
    last = run[-1][1]
    return min((place for place in places if 0 < place - last <= GAP_MAX), default=None)


def _find_lines(paper: Paper, first: int, last: int) -> tuple[int, int]:
    """Return the lines of the tokens from the first fingerprint to the end of the last one."""
    return paper.tokens[first][1], paper.tokens[last + K - 1][1]


def _drop_contained(passages: Iterable[Passage]) -> list[Passage]:
    """Drop passages that lie within their neighbour on both sides."""
    # From the left paper's start on; of those that start together the longest first.
    ordered = sorted(set(passages), key=lambda p: (p.left[0], -p.left[1], p.right[0], -p.right[1]))
    inside = {b for a, b in pairwise(ordered) if _is_within(b.left, a.left) and _is_within(b.right, a.right)}
    return [passage for passage in ordered if passage not in inside]


def _is_within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
