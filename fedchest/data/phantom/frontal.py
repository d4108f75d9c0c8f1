"""A healthy chest from the front. The image's right is the patient's left."""

import numpy as np
import numpy.typing as npt

from fedchest.data.phantom.anatomy import Anatomy, Pose
from fedchest.data.phantom.canvas import Map, bump, dome, flat, grid, norm, step, texture
from fedchest.data.phantom.scene import Lung, Scene

AIR = 0.54
"""Log attenuation that the thickest lung path saves, per unit of build."""

HILA = ((-0.155, -0.02), (0.165, -0.04))

_ANGLES = 48


def frontal_scene(anatomy: Anatomy, pose: Pose, size: int, random: np.random.Generator) -> Scene:
    """The healthy frontal chest of one patient in one pose; `random` draws its vessels and textures."""
    u, v = body_coordinates(anatomy, pose, size)
    lungs = (_lung(anatomy, pose, u, v, 0), _lung(anatomy, pose, u, v, 1))
    thickness = np.maximum(lungs[0].thickness, lungs[1].thickness)
    air = np.float32(AIR * anatomy.build) * thickness
    cover = np.maximum(mediastinum(u, v, 1.0), heart(anatomy, pose, u, v, 1.0))
    vessels = _vessels(u, v, thickness, random)
    below = _abdomen(pose, anatomy, u, v) * (1 - np.minimum(3 * thickness, 1))
    rho = np.minimum(lungs[0].rho, lungs[1].rho)
    base = (
        _body(anatomy, u, v)
        + np.float32(0.22 * anatomy.build) * below
        - _gastric_gas(anatomy, u, v) * below
        + 0.10 * cover * (1 - below)
        - air * (1 - cover)
        + 0.12 * vessels * (1 - 0.8 * cover)
        + _aortic_knob(anatomy, u, v)
        - _trachea(u, v)
        + ribs(anatomy, u, v, 0.0) * step(14 * (np.float32(1.13) - rho)) * (1 - 0.6 * cover)
        + _spine(anatomy, u, v) * (1 - 0.35 * below)
        + _shoulders(pose, u, v)
    )
    return Scene(
        size=size,
        anatomy=anatomy,
        pose=pose,
        u=u,
        v=v,
        lungs=lungs,
        hila=HILA,
        air=air,
        cover=cover,
        base=base,
        vessels=vessels,
        coarse=texture(random, size, 10),
        fine=texture(random, size, 24),
    )


def body_coordinates(anatomy: Anatomy, pose: Pose, size: int) -> tuple[Map, Map]:
    """The pixel centres in the patient's own coordinates, which turn, shift and scale with pose and build."""
    u, v = grid(size)
    cosine, sine = np.float32(np.cos(pose.rotation)), np.float32(np.sin(pose.rotation))
    x, y = u - np.float32(pose.shift[0]), v - np.float32(pose.shift[1])
    zoom = np.float32(anatomy.zoom)
    return (x * cosine + y * sine) / zoom, (y * cosine - x * sine) / zoom - np.float32(0.06)


def mediastinum(u: Map, v: Map, width: float) -> Map:
    """How much the mediastinum hides, 0 to 1; `width` 1 is normal."""
    half = np.float32(0.12 * width) * (1 + 0.35 * step(6 * (v - np.float32(0.05))))
    result: Map = flat(u / half) * step(8 * (v + np.float32(0.85)))
    return result


def heart(anatomy: Anatomy, pose: Pose, u: Map, v: Map, scale: float) -> Map:
    """How much the heart hides, 0 to 1; `scale` 1 is a heart of normal size."""
    size = scale * pose.magnification * anatomy.heart_size
    x, y = u - np.float32(0.10 + 0.06 * (scale - 1)), v - np.float32(0.22 + 0.02 * (scale - 1))
    cosine, sine = np.float32(np.cos(anatomy.heart_axis)), np.float32(np.sin(anatomy.heart_axis))
    along = np.abs(x * cosine + y * sine) / np.float32(0.30 * size)
    across = np.abs(y * cosine - x * sine) / np.float32(0.23 * size)
    return step(11 * (1 - norm(along, across)))


def ribs(anatomy: Anatomy, u: Map, v: Map, shift: Map | float) -> Map:
    """Posterior and anterior ribs, displaced downwards by `shift`; spacing and weight vary from rib to rib."""
    x = np.abs(u)
    left = u > 0
    posterior = (v - shift - 0.62 * (x - 0.10) ** 2 + 0.10 * x) / np.float32(anatomy.rib_spacing)
    anterior = (v - shift + 0.62 * x - 0.10) / np.float32(1.12 * anatomy.rib_spacing)
    back = _bars(anatomy, posterior + np.float32(anatomy.rib_phase), left, 0.27)
    front = _bars(anatomy, anterior + np.float32(0.7 * anatomy.rib_phase), ~left, 0.24)
    back = back * (x > 0.07) * step(30 * (np.float32(0.66) - x))
    front = front * step(20 * (x - np.float32(0.20))) * step(30 * (np.float32(0.64) - x)) * step(10 * v + 3.5)
    fade = step(7 * (np.float32(0.62) - v)) * step(14 * (v + np.float32(0.78)))
    return np.float32(anatomy.rib_contrast) * (0.12 * back + 0.06 * front) * fade


def _bars(anatomy: Anatomy, position: Map, other_side: npt.NDArray[np.bool_], half: float) -> Map:
    """Bars at the whole numbers of `position`, each with its own offset and weight."""
    number = np.floor(position)
    which = (number.astype(np.int64) * 2 + other_side) % len(anatomy.rib_shifts)
    offset = position - number - np.float32(0.5) - anatomy.rib_shifts[which]
    result: Map = dome(offset / np.float32(half)) * anatomy.rib_weights[which]
    return result


def _lung(anatomy: Anatomy, pose: Pose, u: Map, v: Map, which: int) -> Lung:
    shape = anatomy.lungs[which]
    centre = (
        float(shape[1]) * anatomy.lung_scale,
        float(shape[0]) * anatomy.lung_scale * pose.inspiration + anatomy.lung_height,
    )
    radii = np.maximum(shape[2:], np.float32(0.05)) * np.float32(anatomy.lung_scale)
    du, dv = u - np.float32(centre[0]), (v - np.float32(centre[1])) / np.float32(pose.inspiration)
    edge = _radius(np.arctan2(dv, du), radii)
    rho: Map = norm(du, dv) / edge
    thickness: Map = np.sqrt(np.maximum(1 - rho ** np.float32(2.6), np.float32(0)))
    quarter = _ANGLES // 4
    return Lung(
        rho=rho,
        thickness=thickness,
        du=du,
        dv=dv,
        centre=centre,
        half=(float(radii[0] + radii[2 * quarter]) / 2, float(radii[quarter] + radii[3 * quarter]) / 2),
        lateral=-1.0 if which == 0 else 1.0,
    )


def _radius(angle: Map, radii: Map) -> Map:
    position = (angle + np.float32(np.pi)) * np.float32(_ANGLES / (2 * np.pi))
    low = np.floor(position).astype(np.int64)
    weight = position - low.astype(np.float32)
    result: Map = radii[low % _ANGLES] * (1 - weight) + radii[(low + 1) % _ANGLES] * weight
    return result


def _body(anatomy: Anatomy, u: Map, v: Map) -> Map:
    neck, trunk = 0.30 + 0.04 * anatomy.fat, 0.93 + 0.05 * anatomy.fat
    half = np.float32(neck) + np.float32(trunk - neck) * step(14 * (v + np.float32(0.80)))
    across = np.abs(u / half)
    profile = np.sqrt(np.maximum(1 - across * across * across, np.float32(0)))
    body: Map = np.float32(anatomy.build * (0.70 + 0.25 * anatomy.fat)) * profile
    for side in (-0.45, 0.45):
        shadow = dome(
            norm((u - np.float32(side)) / np.float32(0.34), (v - np.float32(0.38)) / np.float32(0.26))
        )
        body = body + np.float32(0.16 * anatomy.breast) * shadow
    return body


def _vessels(u: Map, v: Map, thickness: Map, random: np.random.Generator) -> Map:
    """Noise that is stretched along the rays from each side's hilum, densest at the hilum."""
    noise = random.standard_normal((2, _ANGLES, 24), dtype=np.float32)
    left = u > 0
    (x0, y0), (x1, y1) = HILA
    du = u - np.where(left, np.float32(x1), np.float32(x0))
    dv = v - np.where(left, np.float32(y1), np.float32(y0))
    radius = norm(du, dv)
    angle = (np.arctan2(dv, du) + np.float32(np.pi)) * np.float32((_ANGLES - 1) / (2 * np.pi))
    depth = np.minimum(7 * np.log(radius * np.float32(20) + 1), np.float32(22.9))
    side, i, j = left.astype(np.int64), angle.astype(np.int64), depth.astype(np.int64)
    a, b = angle - i.astype(np.float32), depth - j.astype(np.float32)
    after = (i + 1) % _ANGLES
    near = noise[side, i, j] * (1 - b) + noise[side, i, j + 1] * b
    far = noise[side, after, j] * (1 - b) + noise[side, after, j + 1] * b
    branches = np.clip(near * (1 - a) + far * a, 0, 2) * np.exp(-radius / np.float32(0.30))
    result: Map = (branches + 0.5 * bump(du, dv, (0, 0), (0.055, 0.10))) * thickness
    return result


def _abdomen(pose: Pose, anatomy: Anatomy, u: Map, v: Map) -> Map:
    dome = 0.40 * pose.inspiration + 0.5 * anatomy.lung_height
    return step(10 * (v - np.float32(dome + 0.08)))


def _gastric_gas(anatomy: Anatomy, u: Map, v: Map) -> Map | float:
    return 0.26 * bump(u, v, (0.33, 0.64), (0.13, 0.075)) if anatomy.gastric_gas else 0.0


def _aortic_knob(anatomy: Anatomy, u: Map, v: Map) -> Map:
    return np.float32(0.28 * anatomy.aorta) * bump(u, v, (0.12, -0.24), (0.06, 0.07))


def _trachea(u: Map, v: Map) -> Map:
    column = np.exp(-(((u - np.float32(0.005)) / np.float32(0.035)) ** 2))
    result: Map = 0.20 * column * step(25 * (np.float32(-0.22) - v)) * step(20 * (v + np.float32(0.98)))
    return result


def _spine(anatomy: Anatomy, u: Map, v: Map) -> Map:
    vertebrae = 0.85 + 0.15 * np.cos(v * np.float32(2 * np.pi / 0.115))
    result: Map = np.float32(0.11 * anatomy.spine) * flat(u / np.float32(0.075)) * vertebrae
    return result


def _shoulders(pose: Pose, u: Map, v: Map) -> Map:
    x = np.abs(u)
    distance = (v + 0.60 + 0.10 * x - 0.28 * (x - 0.3) ** 2) / np.float32(0.034)
    clavicle = 0.16 * dome(distance)
    bones: Map = clavicle * step(40 * (x - np.float32(0.06))) * step(25 * (np.float32(0.78) - x))
    if pose.magnification > 1:  # in bed the scapulae stay in front of the lungs
        edge = x - np.float32(0.52) - 0.10 * np.sin(3 * (v + np.float32(0.6)))
        outer = step(40 * edge) * step(30 * (np.float32(0.80) - x))
        bones = bones + 0.11 * outer * step(18 * (v + np.float32(0.62))) * step(
            12 * (np.float32(0.12) - v) * 1.5
        )
    return bones
