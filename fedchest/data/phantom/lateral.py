"""A healthy chest from the patient's left side. The image's left is the front."""

import numpy as np

from fedchest.data.phantom.anatomy import Anatomy, Pose
from fedchest.data.phantom.canvas import Map, ball, bump, dome, flat, norm, step, texture
from fedchest.data.phantom.frontal import body_coordinates
from fedchest.data.phantom.scene import Lung, Scene

AIR = 0.62
"""Log attenuation that both lungs together save along their thickest path, per unit of build."""

HILUM = (0.04, -0.02)


def lateral_scene(anatomy: Anatomy, pose: Pose, size: int, random: np.random.Generator) -> Scene:
    """The healthy lateral chest of one patient in one pose; `random` draws its vessels and textures."""
    u, v = body_coordinates(anatomy, pose, size)
    lung = _lungs(anatomy, pose, u, v)
    air = np.float32(AIR * anatomy.build) * lung.thickness
    cover = heart(anatomy, u, v, 1.0)
    coarse, fine = texture(random, size, 10), texture(random, size, 24)
    vessels = lung.thickness * (
        bump(u, v, HILUM, (0.10, 0.13)) + np.maximum(fine, 0) * bump(u, v, HILUM, (0.28, 0.32))
    )
    base = (
        _body(anatomy, u, v)
        - air * (1 - 0.85 * cover)
        + 0.10 * cover
        + 0.12 * vessels
        + _spine(anatomy, u, v)
        + _sternum(u, v)
        + ribs(anatomy, u, v, 0.0) * step(14 * (np.float32(1.1) - lung.rho))
        + _arch(anatomy, u, v)
        - _trachea(u, v)
        + _arms(u, v)
    )
    return Scene(
        size=size,
        anatomy=anatomy,
        pose=pose,
        u=u,
        v=v,
        lungs=(lung,),
        hila=(HILUM,),
        air=air,
        cover=cover,
        base=base,
        vessels=vessels,
        coarse=coarse,
        fine=fine,
    )


def heart(anatomy: Anatomy, u: Map, v: Map, scale: float) -> Map:
    """How much the heart hides, 0 to 1; it lies on the diaphragm behind the sternum and grows backwards."""
    size = scale * anatomy.heart_size
    x, y = u - np.float32(-0.22 + 0.16 * (scale - 1)), v - np.float32(0.20)
    along = (0.85 * x + 0.53 * y) / np.float32(0.30 * size)
    across = (0.85 * y - 0.53 * x) / np.float32(0.22 * size)
    return step(10 * (1 - norm(along, across)))


def ribs(anatomy: Anatomy, u: Map, v: Map, shift: Map | float) -> Map:
    """Both sides' ribs, falling towards the front; displaced downwards by `shift`."""
    position = (v - shift + 0.45 * u) / np.float32(anatomy.rib_spacing) + np.float32(anatomy.rib_phase)
    number = np.floor(position)
    which = number.astype(np.int64) % len(anatomy.rib_shifts)
    bars = dome((position - number - np.float32(0.5) - anatomy.rib_shifts[which]) / np.float32(0.22))
    result: Map = np.float32(0.07 * anatomy.rib_contrast) * bars * anatomy.rib_weights[which]
    return result


def _lungs(anatomy: Anatomy, pose: Pose, u: Map, v: Map) -> Lung:
    """Both lungs one behind the other, deepest behind at the back."""
    half = (0.50 * (0.9 + 0.1 * anatomy.lung_scale / 0.65), 0.58 * pose.inspiration)
    centre = (0.02, -0.08 + anatomy.lung_height)
    du, dv = u - np.float32(centre[0]), v - np.float32(centre[1])
    slanted = dv - 0.30 * du * step(6 * dv) - 0.10 * np.cos(4 * du) * step(6 * dv)
    narrow = du * (1 + 0.35 * np.clip(-dv, 0, 1))
    power = np.float32(2.8)
    wide, high = np.abs(narrow / np.float32(half[0])), np.abs(slanted / np.float32(half[1]))
    rho: Map = (wide**power + high**power + np.float32(1e-6)) ** (1 / power)
    thickness: Map = np.sqrt(np.maximum(1 - rho * rho * rho, np.float32(0)))
    return Lung(rho=rho, thickness=thickness, du=du, dv=slanted, centre=centre, half=half, lateral=1.0)


def _body(anatomy: Anatomy, u: Map, v: Map) -> Map:
    half = np.float32(0.66 + 0.06 * anatomy.fat) - 0.30 * step(12 * (np.float32(-0.82) - v))
    across = np.abs((u - np.float32(0.02)) / half)
    trunk = np.sqrt(np.maximum(1 - across * across * across, np.float32(0)))
    breast = ball(u, v * np.float32(0.8), (-0.62, 0.24), 0.24)
    result: Map = (
        np.float32(anatomy.build * (0.85 + 0.25 * anatomy.fat)) * trunk
        + np.float32(0.2 * anatomy.breast) * breast
    )
    return result


def _spine(anatomy: Anatomy, u: Map, v: Map) -> Map:
    middle = 0.44 - 0.14 * (v + np.float32(0.1)) ** 2
    vertebrae = 0.75 + 0.25 * np.cos(v * np.float32(2 * np.pi / 0.13))
    result: Map = np.float32(0.20 * anatomy.spine) * flat((u - middle) / np.float32(0.075)) * vertebrae
    return result


def _sternum(u: Map, v: Map) -> Map:
    line = u + np.float32(0.52) - 0.10 * (v + np.float32(0.1)) ** 2 + 0.05 * v
    result: Map = (
        0.20
        * np.exp(-((line / np.float32(0.025)) ** 2))
        * step(16 * (v + np.float32(0.6)))
        * step(16 * (0.3 - v))
    )
    return result


def _arch(anatomy: Anatomy, u: Map, v: Map) -> Map:
    return np.float32(0.10 + 0.14 * anatomy.aorta) * bump(u, v, (0.10, -0.28), (0.09, 0.08))


def _trachea(u: Map, v: Map) -> Map:
    column = np.exp(-(((u - 0.02 - 0.12 * (v + np.float32(0.5))) / np.float32(0.035)) ** 2))
    return 0.18 * column * step(25 * (np.float32(-0.15) - v))


def _arms(u: Map, v: Map) -> Map:
    return 0.25 * step(9 * (np.float32(-0.66) - v - 0.2 * u))
