"""Labels that are probably wrong, by confident learning (Northcutt, Jiang, Chuang, J. Artif. Intell. Res. 70, 2021).

From predictions of heads that have not seen an image, the confident joint counts how many images labelled i are of
class j: those whose probability of j is at least what it is on average for images labelled j. Scaled to all images of a
label, it says how many labels are wrong; that many are suspected, those first that are much more probable of class j
than of their label (the paper's "prune by noise rate").

A weak head suspects more labels than are wrong: it takes its own mistakes for theirs. So how many suspects are really
wrong is told from what a person has decided so far: a logistic regression over the decided images says how probably a
label is wrong by its doubt, which is how much more probable the likeliest class is than the label. A few labels that
nobody doubts count as right, since a person begins with the surest suspects, which are nearly all wrong. Corrected
labels make the other way blind: what is left of wrong ones seems to be noise. So whatever is probably wrong by these
decisions is suspected too, and what was suspected once is until it is decided about.
"""

from dataclasses import dataclass

import numpy as np

from cache.layout import Array

LEAST_ROWS = 3  # of a class whose labels are suspected at all
LIKELY = 0.25  # how probably wrong a label is that is suspected by what a person has decided
ENOUGH = 20  # decided images; with fewer, nothing is said
UNDOUBTED = 3  # labels without any doubt that count as decided about, and right
INVERSE_PENALTY = 100.0  # of the regression: a doubt is between 0 and 1


@dataclass(frozen=True)
class Suspects:
    """Rows int [k] whose labels are suspected, the surest first, and the likeliest other class int [k] of each."""

    rows: Array
    classes: Array


@dataclass(frozen=True)
class Reviewed(Suspects):
    """What to look at, and how probably the label of each row is wrong.

    shares: float [k]; None as long as a person has decided about too few. unlisted: how many other rows nobody has
    decided about. unlisted_wrong: how many labels of these are probably wrong; None where shares are.
    """

    shares: Array | None
    unlisted: int
    unlisted_wrong: float | None


@dataclass(frozen=True)
class Decisions:
    """What a person has said of each row.

    former: int [n], labels as they were before. decided: bool [n], whether a row was decided about. still_open: bool
    [n], whether it was listed earlier and was not.
    """

    former: Array
    decided: Array
    still_open: Array


def rows_to_review(probabilities: Array, labels: Array, person: Decisions) -> Reviewed:
    """All suspects, what is probably wrong by a person's decisions, and what was listed before and left open.

    probabilities: float [n, c] of each row by a model that has not seen it. labels: int [n].
    """
    decided = person.decided
    rows = np.arange(len(labels))
    likeliest = probabilities.max(axis=1, initial=0.0)
    doubts = likeliest - probabilities[rows, labels]
    wrong = (person.former != labels)[decided]
    shares = share_wrong(doubts, (likeliest - probabilities[rows, person.former])[decided], wrong)
    listed = np.isin(rows, find_suspects(probabilities, labels).rows) | (person.still_open & ~decided)
    elsewhere = None
    if shares is not None:
        listed |= (shares >= LIKELY) & (doubts > 0) & ~decided
        elsewhere = float(shares[~listed & ~decided & (doubts > 0)].sum())
    others = ~listed & ~decided
    chosen = rows[listed][np.argsort(-doubts[listed], kind="stable")]
    told = None if shares is None else shares[chosen]
    rivals = probabilities[chosen].copy()
    rivals[np.arange(len(chosen)), labels[chosen]] = -1.0
    return Reviewed(chosen, rivals.argmax(axis=1), told, int(others.sum()), elsewhere)


def find_suspects(probabilities: Array, labels: Array) -> Suspects:
    """probabilities: float [n, c] of each row by a model that has not seen it. labels: int [n]."""
    count = probabilities.shape[1]
    sizes = np.bincount(labels, minlength=count)
    joint = confident_joint(probabilities, labels)
    own = probabilities[np.arange(len(labels)), labels]
    suspected: set[int] = set()
    for label, other in zip(*np.nonzero(joint), strict=True):
        if label == other or min(sizes[label], sizes[other]) < LEAST_ROWS:
            continue
        wrong = round(float(sizes[label] * joint[label, other] / joint[label].sum()))
        members = np.flatnonzero(labels == label)
        margins = probabilities[members, other] - own[members]
        surest = np.argsort(-margins, kind="stable")[:wrong]
        suspected.update(members[surest[margins[surest] > 0]].tolist())
    lead = probabilities.max(axis=1) - own  # of the likeliest class
    rows = np.array(sorted(suspected, key=lambda row: (-lead[row], row)), dtype=np.int64)
    return Suspects(rows, probabilities[rows].argmax(axis=1))


def share_wrong(doubts: Array, decided: Array, wrong: Array) -> Array | None:
    """float [k]: how probably each suspect's label is wrong.

    doubts: float [k], of suspects. decided: float [m], of images that a person has decided about, by the labels that
    they had. wrong: bool [m]. None if fewer than ENOUGH are decided.
    """
    if len(decided) < ENOUGH:
        return None
    if not wrong.any() or not len(doubts):
        return np.zeros(len(doubts))
    from sklearn.linear_model import LogisticRegression

    known = np.append(decided, np.zeros(UNDOUBTED))
    is_wrong = np.append(wrong, np.zeros(UNDOUBTED, dtype=bool))
    model = LogisticRegression(C=INVERSE_PENALTY).fit(known[:, None], is_wrong)
    return np.asarray(model.predict_proba(doubts[:, None])[:, 1])


def confident_joint(probabilities: Array, labels: Array) -> Array:
    """int [c, c]: images by their label and by the class that they are confidently of; each counts once at most."""
    count = probabilities.shape[1]
    sizes = np.bincount(labels, minlength=count)
    own = probabilities[np.arange(len(labels)), labels]
    sums = np.bincount(labels, weights=own, minlength=count)
    thresholds = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)  # [c], the mean self-confidence
    confident = np.where(probabilities >= thresholds - 1e-9, probabilities, -1.0)  # [n, c]
    guessed = confident.argmax(axis=1)
    counted = confident[np.arange(len(labels)), guessed] > 0
    joint = np.zeros((count, count), dtype=np.int64)
    np.add.at(joint, (labels[counted], guessed[counted]), 1)
    return joint
