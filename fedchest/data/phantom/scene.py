"""The picture of a healthy patient in one pose, with all that findings need to know to be drawn into it."""

from dataclasses import dataclass

from fedchest.data.phantom.anatomy import Anatomy, Pose
from fedchest.data.phantom.canvas import Map, Point


@dataclass(frozen=True, eq=False)
class Lung:
    """One lung's shadow. `rho` is 0 at its centre and 1 at its edge; `thickness` is the part of the full air path."""

    rho: Map
    thickness: Map
    du: Map  # from the centre, to the right
    dv: Map  # from the centre, downwards
    centre: Point
    half: Point  # half width and half height
    lateral: float  # the direction of its outer side: -1 image left, 1 image right


@dataclass(frozen=True, eq=False)
class Scene:
    """Maps are float32[size, size]; `base` and `air` are log attenuation, `air` what the lungs save of it."""

    size: int
    anatomy: Anatomy
    pose: Pose
    u: Map
    v: Map
    lungs: tuple[Lung, ...]
    hila: tuple[Point, ...]
    air: Map  # with the heart and mediastinum in front of the lungs not yet taken off
    cover: Map  # how much heart and mediastinum hide of the air: 0 to 1
    base: Map
    vessels: Map
    coarse: Map  # smooth noise, about 10 lumps a side
    fine: Map  # smooth noise, about 24 lumps a side

    @property
    def open_air(self) -> Map:
        """The air that is seen: what a finding can fill."""
        return self.air * (1 - self.cover)
