"""What the patients have and what their reports say, with CheXpert's published frequencies and co-occurrence.

Each study has a latent normal vector, one component an observation (a Gaussian copula). A component above its
label's threshold is a finding that the report affirms; in the band below, as wide as CheXpert's share of uncertain
labels, the finding is there but faint and the report is uncertain; below that it is absent and the report denies it
or is silent. The component's height is the finding's severity.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from fedchest.data.cohort import FRONTAL_PA
from fedchest.data.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN

DRAWN: tuple[str, ...] = OBSERVATIONS[1:]
"""Every observation that is drawn; No Finding follows from them."""

_FAINT, _CLEAR = (0.08, 0.35), (0.40, 1.0)
_VISIBLE = 0.2
_DEVICES = DRAWN.index("Support Devices")

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """One visit: what is there, and the study's labels, int8[14]."""

    findings: dict[str, float]
    labels: npt.NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class ReportModel:
    """The copula: `positive`, `uncertain`, `negative` are shares of studies, [13] or [2, 13] by (AP, PA)."""

    positive: Vector
    uncertain: Vector
    negative: Vector  # of the studies whose report neither affirms nor doubts
    root: Vector  # [13, 13], a root of the correlation of the latent components
    persistence: Vector  # [13], correlation of a component with itself in the next study
    innovation_root: Vector  # [13, 13]

    def draw_history(self, random: np.random.Generator, views: Sequence[str]) -> list[Study]:
        """One patient's studies in order, the frontal view of each given, as a labeller of reports reads them."""
        return [self._report(random, severity, doubt) for severity, doubt in self._draw(random, views)]

    def draw_reading(self, random: np.random.Generator, view: str) -> Study:
        """One study as radiologists read it who see the image: every label 1 or 0, faint findings included."""
        ((severity, _),) = self._draw(random, [view])
        labels = np.zeros(len(OBSERVATIONS), dtype=np.int8)
        labels[1:] = severity >= _VISIBLE
        labels[0] = not np.delete(labels[1:], _DEVICES).any()
        return Study(_present(severity), labels)

    def _draw(
        self, random: np.random.Generator, views: Sequence[str]
    ) -> list[tuple[Vector, npt.NDArray[np.bool_]]]:
        """Per study the severities [13], 0 where absent, and whether the report doubts each."""
        latent = self.root @ random.standard_normal(len(DRAWN))
        studies = []
        for number, view in enumerate(views):
            if number:
                latent = self.persistence * latent + self.innovation_root @ random.standard_normal(len(DRAWN))
            positive = self.positive[int(view == FRONTAL_PA)]
            from_top = 1 - ndtr(latent)
            doubt = (from_top >= positive) & (from_top < positive + self.uncertain)
            depth = from_top / positive
            severity = np.where(from_top < positive, _CLEAR[1] - (_CLEAR[1] - _CLEAR[0]) * depth, 0.0)
            depth = (from_top - positive) / self.uncertain
            severity = np.where(doubt, _FAINT[1] - (_FAINT[1] - _FAINT[0]) * depth, severity)
            studies.append((severity, doubt))
        return studies

    def _report(self, random: np.random.Generator, severity: Vector, doubt: npt.NDArray[np.bool_]) -> Study:
        denied = random.random(len(DRAWN)) < self.negative
        labels = np.full(len(OBSERVATIONS), BLANK, dtype=np.int8)
        labels[1:][denied] = NEGATIVE
        labels[1:][severity > 0] = POSITIVE
        labels[1:][doubt] = UNCERTAIN
        if not np.delete(severity, _DEVICES).any():
            labels[0] = POSITIVE
        return Study(_present(severity), labels)


@cache
def statistics() -> dict[str, Any]:
    """The published aggregates that the cohort follows; the file says where they are from."""
    text = files("fedchest.data.phantom").joinpath("chexpert_statistics.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


@cache
def report_model() -> ReportModel:
    """The copula that fits the published aggregates."""
    known = statistics()
    studies = known["studies"]
    positive, negative, uncertain = (
        np.array(known[kind][1:]) / studies for kind in ("positive", "negative", "uncertain")
    )
    both = np.array(known["both_positive"])[1:, 1:] / studies
    correlation = _nearest_correlation(tetrachoric(positive[:, None], positive[None, :], both))
    again = np.array(known["positive_next_study_given_positive"][1:]) * positive
    persistence = tetrachoric(positive, positive, again)
    innovation = correlation - persistence[:, None] * correlation * persistence[None, :]
    return ReportModel(
        positive=np.array([known["positive_rate_ap"][1:], known["positive_rate_pa"][1:]]),
        uncertain=uncertain,
        negative=negative / (1 - positive - uncertain),
        root=_root(correlation),
        persistence=persistence,
        innovation_root=_root(innovation),
    )


def tetrachoric(first: Vector, second: Vector, both: Vector) -> Vector:
    """The correlation of two normal variables that exceed their thresholds with the given probabilities.

    `first` and `second` are the shares above each threshold, `both` the share above both; arrays broadcast. Solved
    by bisection on Plackett's identity (Plackett 1954): the derivative of the orthant probability by the
    correlation is the bivariate density at the thresholds.
    """
    a, b = -ndtri(first), -ndtri(second)
    nodes, weights = np.polynomial.legendre.leggauss(32)
    excess = np.broadcast_to(both - first * second, np.broadcast_shapes(a.shape, b.shape))
    low, high = np.full(excess.shape, -0.999), np.full(excess.shape, 0.999)
    for _ in range(40):
        middle = (low + high) / 2
        r = middle[..., None] * (nodes + 1) / 2
        square = 1 - r**2
        exponent = (a[..., None] ** 2 - 2 * r * a[..., None] * b[..., None] + b[..., None] ** 2) / (
            2 * square
        )
        integral = middle / 2 * (np.exp(-exponent) / (2 * np.pi * np.sqrt(square)) @ weights)
        low, high = np.where(integral < excess, middle, low), np.where(integral < excess, high, middle)
    result: Vector = (low + high) / 2
    return result


def _present(severity: Vector) -> dict[str, float]:
    return {name: float(severity[index]) for index, name in enumerate(DRAWN) if severity[index] > 0}


def _nearest_correlation(matrix: Vector) -> Vector:
    """`matrix` with its negative eigenvalues cut off and its diagonal brought back to 1."""
    np.fill_diagonal(matrix, 1.0)
    root = _root(matrix)
    covariance = root @ root.T
    scale = np.sqrt(np.diag(covariance))
    result: Vector = covariance / scale[:, None] / scale[None, :]
    return result


def _root(matrix: Vector) -> Vector:
    values, vectors = np.linalg.eigh(matrix)
    result: Vector = vectors * np.sqrt(np.maximum(values, 0.0))
    return result
