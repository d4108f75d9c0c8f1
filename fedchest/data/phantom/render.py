"""From a patient and findings to one image: the only entry to the renderer that others need."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from fedchest.data.cohort import LATERAL
from fedchest.data.phantom.anatomy import Anatomy, draw_anatomy, draw_pose
from fedchest.data.phantom.canvas import Map
from fedchest.data.phantom.frontal import frontal_scene
from fedchest.data.phantom.frontal_findings import FRONTAL_FINDINGS
from fedchest.data.phantom.lateral import lateral_scene
from fedchest.data.phantom.lateral_findings import LATERAL_FINDINGS
from fedchest.data.phantom.look import SiteLook, photograph
from fedchest.data.phantom.streams import stream

_FAINTEST = 0.02
_SHARE_OF_PEAK = 0.25


@dataclass(frozen=True)
class Shot:
    """All that one image follows from. `findings` maps observations to severities in (0, 1]."""

    seed: int
    patient: int
    study: int
    view: str  # "frontal-AP", "frontal-PA" or "lateral"
    male: bool
    age: int
    look: SiteLook
    size: int
    findings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Rendering:
    """The image and its exact parts in log attenuation: `healthy` plus the sum of `deltas` is what was exposed."""

    pixels: npt.NDArray[np.uint8]  # [N, N]
    healthy: Map
    deltas: Mapping[str, Map]

    def masks(self) -> dict[str, npt.NDArray[np.bool_]]:
        """Where each finding is: bool[N, N], true above a quarter of its peak and never below 0.02."""
        return {name: _mask(delta) for name, delta in self.deltas.items()}


def render(shot: Shot) -> Rendering:
    """Render one image: the same shot is the same bytes on the same machine.

    The patient without a finding is the same shot with the finding left out: every stream of random numbers
    belongs to one purpose, so nothing else moves.

    Held by tests/data/test_phantom.py::test_a_finding_changes_the_image_only_where_it_is.
    """
    is_lateral = shot.view == LATERAL
    here = f"study {shot.study} {shot.view}"
    anatomy = _anatomy(shot.seed, shot.patient, shot.male, shot.age)
    pose = draw_pose(stream(shot.seed, shot.patient, f"{here} pose"), shot.view)
    compose = lateral_scene if is_lateral else frontal_scene
    scene = compose(anatomy, pose, shot.size, stream(shot.seed, shot.patient, "texture"))
    drawers = LATERAL_FINDINGS if is_lateral else FRONTAL_FINDINGS
    deltas = {
        name: drawers[name](scene, severity, stream(shot.seed, shot.patient, name))
        for name, severity in shot.findings.items()
    }
    exposed = scene.base + sum(deltas.values())
    pixels = photograph(exposed, scene.base, shot.look, stream(shot.seed, shot.patient, f"{here} exposure"))
    return Rendering(pixels=pixels, healthy=scene.base, deltas=deltas)


@lru_cache(maxsize=4)
def _anatomy(seed: int, patient: int, male: bool, age: int) -> Anatomy:
    return draw_anatomy(stream(seed, patient, "anatomy"), male=male, age=age)


def _mask(delta: Map) -> npt.NDArray[np.bool_]:
    strength = np.abs(delta)
    return strength > max(_FAINTEST, _SHARE_OF_PEAK * float(strength.max()))
