"""Paint the style images of the project: ``python -m src.assets.styles.paint [brushwork tesserae ...]``.

Every picture is made of nothing but seeded random numbers and a little geometry, so the script and the
pictures it writes are wholly our own work. They are dedicated to the public domain under CC0 1.0.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.spatial import cKDTree

Array = NDArray[np.float64]
Random = np.random.Generator
WIDTH, HEIGHT, SCALE, QUALITY = 640, 480, 2, 86
W, H = WIDTH * SCALE, HEIGHT * SCALE  # the canvas is painted larger, then reduced


def palette(text: str) -> Array:
    """Turn ``"ff8800 0011aa"`` into an ``(n, 3)`` array of colours in 0..1."""
    return np.array([list(bytes.fromhex(word)) for word in text.split()]) / 255.0


def table(text: str) -> Array:
    """Turn ``"1 2, 3 4"`` into the array ``[[1, 2], [3, 4]]``."""
    return np.array([[float(word) for word in row.split()] for row in text.split(",")])


def ramp(value: Array, colours: Array) -> Array:
    """Look ``value`` in 0..1 up in a smooth gradient through evenly spaced ``colours``."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(value, stops, colours[:, i]) for i in range(3)], axis=-1)


def blend(under: Array, over: Array, alpha: Array) -> Array:
    """Lay ``over`` on ``under`` where ``alpha`` is one."""
    return under + (over - under) * np.clip(alpha, 0, 1)[..., None]


def noise(rng: Random, cell_x: float, cell_y: float | None = None) -> Array:
    """Smooth noise in about -1..1 over the canvas, with features of about ``cell`` pixels."""
    shape = (int(H / (cell_y or cell_x)) + 3, int(W / cell_x) + 3)
    grid = Image.fromarray(rng.uniform(-1, 1, shape).astype(np.float32))
    return np.asarray(grid.resize((W, H), Image.Resampling.BICUBIC), dtype=np.float64)


def coordinates() -> tuple[Array, Array]:
    """Positions of the pixels in units of the canvas height, x to the right and y down."""
    y, x = np.mgrid[0:H, 0:W] / H
    return x, y


def pick(field: Array, spots: Array) -> Array:
    """Values of ``field`` at the pixels nearest to ``spots``, an ``(n, 2)`` array of x and y."""
    col, row = np.clip(spots, 0, (W - 1, H - 1)).astype(int).T
    return field[row, col]


def lit(colour: Array, height: Array, strength: float) -> Array:
    """Light the relief ``height`` from the upper left, as thick paint or glass under a lamp."""
    dy, dx = np.gradient(height)
    slope = np.tanh((dx + 0.8 * dy) * strength)[..., None]
    return np.where(slope > 0, colour + (1 - colour) * 0.45 * slope, colour * (1 + 0.55 * slope))


def rgb(colour: Array) -> tuple[int, int, int]:
    """Convert one colour from 0..1 to what Pillow draws with."""
    r, g, b = (np.clip(colour, 0, 1) * 255).astype(int)
    return int(r), int(g), int(b)


def box(x: float, y: float, rx: float, ry: float) -> tuple[float, float, float, float]:
    """Bounding box of an ellipse, as Pillow wants it."""
    return x - rx, y - ry, x + rx, y + ry


def to_image(colour: Array) -> Image.Image:
    """Convert an array of colours in 0..1 to an image."""
    return Image.fromarray((np.clip(colour, 0, 1) * 255).astype(np.uint8))


def spline(points: Array, samples: int = 60) -> Array:
    """Run a smooth curve (Catmull-Rom) through ``points``, evenly in its parameter."""
    p = np.concatenate([points[:1], points, points[-1:]])
    t = np.linspace(0, len(points) - 1 - 1e-9, samples)
    i, u = t.astype(int), (t % 1)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    bend = (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3
    return b + 0.5 * ((c - a) * u + bend)


def strokes(rng: Random, under: Array, angle: Array, layers: Array) -> tuple[Array, Array]:
    """Cover ``under`` with tapered bristle strokes that follow ``angle``; the colours and their relief."""
    canvas, relief, steps = to_image(under * 0.5), Image.new("L", (W, H), 60), 14
    paint, carve = ImageDraw.Draw(canvas), ImageDraw.Draw(relief)
    t = np.linspace(0, 1, steps)[:, None]
    taper = np.minimum(1, 5 * t + 0.25) * np.sqrt(1 - 0.92 * t**3)
    for count, length, width in layers:
        n, hairs = int(count), max(3, round(width / 2))
        spot, bend = rng.uniform(-0.08, 1.04, (n, 2)) * (W, H), rng.normal(0, 0.1, n)
        path: Array = np.empty((steps, n, 2))
        for i in range(steps):
            path[i], turn = spot, pick(angle, spot) + bend
            spot = spot + np.stack([np.cos(turn), np.sin(turn)], -1) * (length / steps)
        tint = pick(under, path[steps // 2] + rng.normal(0, 5, (n, 2)))
        tint = tint * rng.uniform(0.78, 1.25, (n, 1)) + rng.normal(0, 0.06, (n, 3))
        along: Array = np.asarray(np.gradient(path, axis=0))
        across = np.stack([-along[..., 1], along[..., 0]], -1) / np.linalg.norm(along, axis=-1, keepdims=True)
        for k in range(n):
            offsets = np.linspace(-1, 1, hairs + 1) * width * rng.uniform(0.7, 1.15)
            for left, right in pairwise(offsets):
                part = slice(int(rng.integers(0, 2)), steps - int(rng.integers(0, 4)))
                middle, side = path[part, k], across[part, k] * taper[part]
                hair = np.concatenate([middle + side * left, (middle + side * right)[::-1]]).ravel().tolist()
                paint.polygon(hair, rgb(tint[k] * rng.normal(1, 0.13)))
                rim = 1 - abs((left + right) / 2 / offsets[-1]) ** 3
                carve.polygon(hair, int(70 + 110 * rim + rng.normal(0, 28)))
    height = np.asarray(relief.filter(ImageFilter.GaussianBlur(1.2)), dtype=np.float64)
    return np.asarray(canvas) / 255.0, height


def brushwork(rng: Random) -> Array:
    """A night of whirling lights over rolling fields, in thick strokes along a vector field."""
    x, y = coordinates()
    hill = 0.74 + 0.07 * np.sin(3.1 * x + 0.4) + 0.03 * np.sin(7.3 * x) + 0.03 * noise(rng, 180)
    stream = 1.1 * y + 0.12 * np.sin(3.6 * x + 2.2 * y) + 0.04 * noise(rng, 260)
    glow, whirl_x, whirl_y = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    lights = "1.02 .24 .25 -1, .42 .36 .27 1, .12 .12 .11 -.6, .72 .09 .09 .6, .7 .55 .1 -.5, 1.27 .52 .1 .5"
    for cx, cy, radius, turn in table(lights + ", .08 .56 .09 .5"):
        dx, dy, far = x - cx, y - cy, np.hypot(x - cx, y - cy) / radius
        stream += turn * 1.9 * radius * np.exp(-(far**2))
        pull = np.sign(turn) * np.exp(-((far / 1.15) ** 4)) * 12 / (far + 0.2)
        whirl_x, whirl_y = whirl_x - pull * (dy + 0.3 * turn * dx), whirl_y + pull * (dx - 0.3 * turn * dy)
        shrink, bright = 1.25 if radius > 0.2 else 0.95, 0.8 if turn == 1 else 1.0
        glow = np.maximum(glow, bright * np.exp(-((far * shrink) ** 2)))
    night = palette("0b1145 142a80 1d50b8 1b86c9 35bdc4 a8e3cf 2a6fc4 12246e")
    fire = palette("f04e12 ff9a0a ffc91f fff0a0 f7e04a 7fcf9d 2a93c0")
    sky = ramp((stream * 2.9 + 0.25 * noise(rng, 60)) % 1.0, night)
    sky = blend(sky, ramp(1 - glow + 0.12 * np.sin(60 * stream), fire), (glow - 0.26) * 5)
    depth = y - hill
    fields = palette("0e3b3a 1b7a4c 8fc23a f6d230 f08a1d c8381c 5a1a4e 14427a 1f9a86 d8d643 e8631a")
    ground = ramp(np.abs(depth * 3.6 + 0.10 * noise(rng, 90)) % 1.0, fields)
    (sky_y, sky_x), (rise, run) = np.gradient(stream), np.gradient(depth + 0.03 * np.sin(9 * x + 14 * depth))
    sky_angle = np.arctan2(whirl_y - sky_x * H, whirl_x + sky_y * H)
    angle = np.where(depth > 0, np.arctan2(-run, rise), sky_angle)
    layers = table("2600 130 17, 4200 96 11.5, 3800 72 8.5, 1800 40 5.5")
    colour, height = strokes(rng, np.where((depth > 0)[..., None], ground, sky), angle, layers)
    return lit(colour, height, 0.035)


def tesserae(rng: Random) -> Array:
    """A mosaic of blossoms on streaming bands: square-cornered tiles that turn with the outlines."""
    x, y = coordinates()
    level = 9.5 * (1.3 * y + 0.16 * np.sin(3.4 * x + 0.6) + 0.07 * np.sin(6.1 * x - 2.5 * y) + 0.30 * x)
    sea = palette("1c3ad0 2a86f0 18c4e0 a8f4e0 ffc83a 2ad08a 0f9a6a 1a4ac8 8a3ad8 d05ae8 3a2aa0 1ab0b0 8ae8d0")
    colour = sea[np.floor(level).astype(int) % len(sea)]
    warm = palette("fff08a ffb020 5a0f4a ff5a20 ffc42e e0183a ff7a30 a8104a fff0b0")
    cool = palette("fff8d0 f02a7a 6a1a7a ff6ab0 ffd0c0 c828b0 ff5a8a 6a1a9a fff0c0")
    blossoms = table(".86 .44 .4 9 .2, .26 .26 .24 7 .5, .32 .82 .2 6 .1, 1.3 .95 .17 6 .9")
    for (cx, cy, radius, lobes, spin), tones in zip(blossoms, (warm, cool, warm, cool), strict=True):
        far, around = np.hypot(x - cx, y - cy) / radius, np.arctan2(y - cy, x - cx)
        petal = 2 * np.abs(np.cos(lobes / 2 * around + spin + 0.9 * far)) - 1
        ring = 9 * far / (1 + 0.14 * np.clip(far * 1.5 - 0.4, 0, 1) * petal)
        colour[ring < 9] = tones[ring[ring < 9].astype(int)]
        level = np.where(ring < 9, ring, level)
    angle = np.arctan2(*np.gradient(level))
    count, size = 3300, np.sqrt(W * H / 3300)
    seeds = rng.uniform(0, 1, (count, 2)) * (W, H)

    def nearest(points: Array) -> tuple[NDArray[np.intp], Array, Array]:
        """The tile each point lies in, and its distances to that and the next, in squares along ``angle``."""
        near = cKDTree(seeds).query(points, k=9)[1]
        off, turn = points[:, None] - seeds[near], pick(angle, seeds)
        c, s, dx, dy = np.cos(turn)[near], np.sin(turn)[near], off[..., 0], off[..., 1]
        reach = np.maximum(np.abs(dx * c + dy * s), np.abs(dy * c - dx * s))
        order = np.argsort(reach, axis=1)[:, :2]
        first, second = np.take_along_axis(reach, order, 1).T
        return np.take_along_axis(near, order, 1)[:, 0], first, second

    coarse = np.stack(np.meshgrid(np.arange(2.0, W, 5), np.arange(2.0, H, 5)), -1).reshape(-1, 2)
    for _ in range(14):  # Lloyd's relaxation
        owner = nearest(coarse)[0]
        weight = np.bincount(owner, minlength=count)[:, None]
        total = np.stack([np.bincount(owner, coarse[:, i], count) for i in range(2)], -1)
        seeds = np.where(weight > 0, total / np.maximum(weight, 1), seeds)
    pixels = np.stack(np.meshgrid(np.arange(0.0, W), np.arange(0.0, H)), -1).reshape(-1, 2)
    owner, first, second = nearest(pixels)
    tile = pick(colour, seeds) * rng.normal(1, 0.14, (count, 1)) + rng.normal(0, 0.035, (count, 3))
    tile *= 1 + rng.normal(0, 0.09, (count, 1))
    gap = np.minimum((second - first) / 2, size * 0.66 - first).reshape(H, W)
    glass = tile[owner].reshape(H, W, 3) * (1.06 + 0.07 * noise(rng, 20))[..., None]
    return lit(blend(palette("1c1622"), glass, (gap - 0.9) / 1.8), np.clip(gap / 6, 0, 1), 1.7)


def claw(start: Array, heading: float, size: float, turn: float) -> Array:
    """Finger of foam that curls in on itself: rows of x, y and radius."""
    t = np.linspace(0, 1, 26)
    bearing = heading + turn * (0.9 * t + 4.6 * t**2)
    where = start + np.cumsum(np.stack([np.cos(bearing), np.sin(bearing)], -1), 0) * size / 26
    return np.column_stack([where, size * (0.13 * (1 - t) ** 0.8 + 0.03)])


def swell(rng: Random) -> Array:
    """Breaking waves under a vermilion sun, as a woodblock print on fibrous paper."""
    x, y = coordinates()
    inks = palette("121c44 1b3f86 2f78b4 8fc3cc f7ecd0 dc3a1e f2a24a")
    ink, prussian, blue, pale, cream, red, gold = inks
    arch = y + 0.05 * np.sin(5 * x) + 0.02 * noise(rng, 200)
    canvas = to_image(ramp(arch * 1.5, palette("e2482a f08a4a f6c98a f7e4b8 f3e6c4 c6d8c4 8fc3cc")))
    draw = ImageDraw.Draw(canvas)

    def disc(px: float, py: float, r: float, colour: Array) -> None:
        draw.ellipse(box(px, py, r, r), rgb(colour))

    def fill(points: Array, colour: Array) -> None:
        draw.polygon(points.ravel().tolist(), rgb(colour))

    def line(points: Array, width: float, colour: Array) -> None:
        draw.line(points.ravel().tolist(), rgb(colour), max(1, round(width)), joint="curve")

    def cloud(cx: float, cy: float, r: float) -> None:
        """A heap of ringed discs and a trail of bars."""
        for n in range(-4, 5):
            px, py = cx * W + n * r * 0.225 * W, (cy + 0.035 * np.cos(2.4 * n) + 0.006 * abs(n) ** 1.5) * H
            size = r * H * (0.62 - 0.085 * abs(n)) * rng.uniform(0.85, 1.1)
            rings = inks[[0, 4, 3, 4, 2, 4, 3] if n % 2 else [0, 4, 6, 4, 5, 4, 3]]
            for grow, tone in zip((1.06, 1.0, 0.84, 0.68, 0.54, 0.38, 0.22), rings, strict=True):
                disc(px, py, size * grow + 1, tone)
        for n, tone in enumerate((cream, pale, gold, cream, blue)):
            px, py = (cx + rng.normal(0, 0.06)) * W, (cy + r * (0.32 + 0.13 * n)) * H
            long = r * W * rng.uniform(0.5, 1.2)
            draw.rounded_rectangle(box(px, py, long + 2, 9), 9, rgb(ink))
            draw.rounded_rectangle(box(px, py, long, 7), 7, rgb(tone))

    def breaker(px: float, py: float, size: float, flip: float) -> None:
        """A hooked body in stripes that run together at the tip, with spray and foam."""
        back = table("-1.9 -.3, -1.2 .1, -.62 .5, -.15 .88, .28 1.02, .66 .88, .84 .6")
        face = table("1.5 -.3, .85 -.02, .36 .18, .13 .42, .16 .64, .42 .74, .84 .6")
        back, face = (spline(side * (flip * size, -size) + (px, py)) for side in (back, face))
        foam, stripes = [], inks[[1, 3, 2, 0, 1, 4, 2, 1, 3, 2, 0, 6, 4, 2]]
        for tone, (lo, hi) in zip(stripes, pairwise(np.linspace(0, 1, 15) ** 1.15), strict=True):
            a, b = back + (face - back) * lo, back + (face - back) * hi
            fill(np.concatenate([a, b[::-1]]), tone)
            line(b[:-3], size * 0.010, ink)
        line(back, size * 0.022, ink)
        line(face, size * 0.022, ink)
        for _ in range(30):
            sx, sy = back[45] + rng.normal(0, size * 0.30, 2) * (1.3, 0.8) - (0, size * 0.2)
            r = abs(rng.normal(0, min(size * 0.010, 2.2))) + 1.2
            disc(sx, sy, r + 1.3, ink)
            disc(sx, sy, r, cream)
        for curve, begin, out in ((back, 24, -flip), (face, 40, flip)):
            along = np.gradient(curve, axis=0)
            for i in range(begin, 60, 2):
                grow = size * (0.35 + 0.65 * (i - begin) / (60 - begin))
                heading = np.arctan2(along[i, 1], along[i, 0]) + out * rng.uniform(0.2, 0.9)
                turn = out * rng.choice([-0.6, 1.0, 1.2])
                foam.append(claw(curve[i], heading, grow * rng.uniform(0.22, 0.36), turn))
                bubble = [*(curve[i] + rng.normal(0, size * 0.02, 2)), grow * rng.uniform(0.04, 0.085)]
                foam.append(np.array([bubble]))
        for sx, sy, r in np.concatenate(foam):
            disc(sx, sy, r + size * 0.014 + 0.8, ink)
        for sx, sy, r in np.concatenate(foam):
            disc(sx, sy, r, cream)
        for finger, ((sx, sy, r),) in zip(foam[::2], foam[1::2], strict=True):
            line(finger[3:20, :2], size * 0.014, blue)
            draw.arc(box(sx, sy, r * 0.6, r * 0.6), 20, 230, rgb(blue), max(1, int(size * 0.012)))

    disc(0.34 * W, 0.24 * H, 0.185 * H, red)
    for place in table(".02 .2 .13, .66 .07 .11, .93 .22 .15, .2 .01 .08, .56 .3 .07"):
        cloud(*place)
    rows = table(".4 .13 7 1, .54 .2 5 -1, .72 .3 4 1, .9 .46 3 1, 1.08 .34 4 -1, 1.1 .22 6 1")
    across, floor = np.linspace(-20, W + 20, 160), np.array([[W + 20, H + 20], [-20, H + 20]])
    for row, (base, size, count, flip) in enumerate(rows):
        for k in range(24):
            u = across / (size * H)
            dip = np.sin(u * 1.7 + row * 2 + 0.10 * k) + 0.4 * np.sin(u * 3.9 + row)
            strip = np.column_stack([across, (base + size * (0.075 * (dip + k) - 0.12)) * H])
            fill(np.concatenate([strip, floor]), (prussian, blue, ink, pale, prussian, blue, cream)[k % 7])
            line(strip, 2 + size * 4, ink)
        for k in rng.permutation(int(count)):
            px, py = (k + 0.5 + rng.uniform(-0.22, 0.22)) / count * W, (base + rng.uniform(-0.02, 0.04)) * H
            breaker(px, py, size * H * rng.uniform(0.85, 1.2), flip)
    wood = np.sin(260 * arch + 8 * noise(rng, 300, 60))
    grain = 0.04 * wood + 0.05 * noise(rng, 160, 2.5) + 0.05 * noise(rng, 3)
    worn = 0.08 + 0.25 * np.clip(noise(rng, 5, 3) - 0.35, 0, 1)
    return blend(np.asarray(canvas) / 255.0, cream, worn) * (1 + grain)[..., None]


def lagoon(rng: Random) -> Array:
    """The scene under the dots: sunset behind hills and sails, seen from a meadow beneath a pine."""
    x, y = coordinates()
    sun_x, sun_y, shore = 0.90, 0.33, 0.54
    far = np.hypot(x - sun_x, (y - sun_y) * 1.15)
    heaven = palette("ffe23a ffcc2a ffa81e ff7a2a f5487a c840b0 7a48d0 3a58d8 2a48c0 2a3ab0 3a2a90")
    halo = far * 0.98 + 0.035 * np.sin(44 * far + 2 * noise(rng, 150)) + 0.07 * noise(rng, 130, 40)
    scene = blend(ramp(halo, heaven), ramp(far * 11, palette("fffdf0 fffbe0 fff6b0")), (0.085 - far) * H / 3)
    hills = (0.47, 0.10, 90, "b06ae0 ff8ab0 c07ae0"), (0.515, 0.07, 60, "5a50c8 9a5ad0 4a6ad0")
    for base, swing, cell, tones in hills:
        ridge = base - swing * (0.5 + 0.5 * noise(rng, cell * 3, 1e6)) - 0.03 * noise(rng, cell, 1e6)
        scene = blend(scene, ramp((y - ridge) * 6 + 0.3 * noise(rng, 30), palette(tones)), (y - ridge) * H)
    mirror = np.clip((2 * shore - y + 0.01 * noise(rng, 70, 6)) * H, 0, H - 1).astype(int)
    ripple, sea = noise(rng, 110, 9), palette("1440a8 1e96e0 40d0d0 b0f0e0")
    water = blend(scene[mirror, np.arange(W)] * 0.85, ramp(0.5 + 0.5 * ripple, sea), 0.6 + 0.6 * ripple)
    trail = np.exp(-(((x - sun_x) / (0.05 + 0.25 * np.abs(y - shore))) ** 2))
    embers = ramp((y - shore) * 2, palette("fff0a0 ffc030 ff7a20"))
    water = blend(water, embers, trail * (0.7 + 0.8 * noise(rng, 60, 7)))
    scene = np.where((y > shore)[..., None], water, scene)
    bank = 0.80 + 0.10 * np.sin(2.2 * x + 2.4) + 0.02 * noise(rng, 60)
    grass = 0.5 + 0.6 * noise(rng, 130, 44) + 0.2 * noise(rng, 40) + 0.3 * (y - bank)
    meadow, bloom = ramp(grass, palette("0c5a4a 1f9a4a 8ac83a f0d83a 20a070")), noise(rng, 16)
    meadow = blend(meadow, palette("f0281e"), (bloom - 0.30) * 9 * (noise(rng, 150) > 0))
    meadow = blend(meadow, palette("c050d0"), (-bloom - 0.50) * 9)
    scene = np.where((y > bank)[..., None], meadow, scene)
    t = np.clip((y - 0.12) / 0.8, 0, 1)
    for lean, thick in ((0.16, 0.020), (-0.10, 0.013)):
        off = 0.12 + lean * (1 - t) ** 1.6 + 0.012 * np.sin(14 * y) - x
        bark = ramp(0.5 - off / thick / 2, palette("2a1a70 7a2a80 e0603a ffb040"))
        scene = blend(scene, bark, (thick * (0.6 + t) - np.abs(off)) * H / 2 * (y > 0.14) * (y < 0.93))
    leaves = palette("142a7a 0a5a6a 0f8a4a 5ac03a d8d83a ffb030")
    crowns = "0 .34 .16 .055, .36 .27 .14 .045, .05 .15 .22 .09, .27 .13 .24 .085, .46 .16 .1 .04"
    for cx, cy, rx, ry in table(crowns + ", .16 .03 .24 .07"):
        dx, dy = (x - cx) / rx, (y - cy) / ry
        facing = 0.5 + 0.30 * dx - 0.32 * dy + 0.22 * noise(rng, 18)
        scene = blend(scene, ramp(facing, leaves), (1 - np.hypot(dx, dy) - 0.30 * noise(rng, 26)) * 14)
    sketch = to_image(scene)
    draw = ImageDraw.Draw(sketch)
    sails = "0 -1, .42 -.15, 0 -.12", "-.03 -.85, -.03 -.12, -.32 -.15"
    hull = "-.36 -.08, .4 -.08, .28 .05, -.26 .05"
    for bx, by, tall in table(".6 .63 .15, 1.13 .6 .09, .72 .565 .05"):
        for outline, tone in zip((*sails, hull), palette("fff0c0 ff8a4a 3a1a6a"), strict=True):
            draw.polygon(((table(outline) * tall + (bx, by)) * H).ravel().tolist(), rgb(tone))
    return np.asarray(sketch) / 255.0


def dots(rng: Random) -> Array:
    """The lagoon in tens of thousands of touches of pure colour, flecked with their complements."""
    pure = palette(
        "fffbe0 fff06a ffd21e ffae14 ff7e1a f5481e d81e2a f0487a f58ab0 c840b0 8a3ac0 5a3ac8 2a3ac0 1a2080 "
        "1e6ae0 2aa0f0 5ad0f0 18c0c0 0a8a7a 0a5a48 1f9a3a 6ac83a c0e040 ffc8a0 a0b0f0"
    )
    scene = lagoon(rng)
    canvas, relief = to_image(scene * 0.55 + palette("502040") * 0.3), Image.new("L", (W, H), 40)
    paint, carve = ImageDraw.Draw(canvas), ImageDraw.Draw(relief)
    for space, radius, stray in table("12 9.5 .1, 9 6.2 .14, 7 3.7 .16"):
        grid = np.stack(np.meshgrid(np.arange(0, W, space), np.arange(0, H, space)), -1).reshape(-1, 2)
        spots = rng.permutation(grid + rng.uniform(-0.6, 0.6, grid.shape) * space)[: int(len(grid) * 0.92)]
        wanted, n = pick(scene, spots), len(spots)
        complement = 2 * wanted.mean(1, keepdims=True) - wanted
        wanted = np.where(rng.random((n, 1)) < stray, complement, wanted)
        cost = ((wanted[:, None] - pure) ** 2).sum(-1) - 0.035 * rng.gumbel(size=(n, len(pure)))
        tint, sizes = pure[cost.argmin(1)] * rng.normal(1, 0.05, (n, 1)), rng.normal(radius, radius * 0.14, n)
        for (px, py), colour, size in zip(spots, tint, sizes, strict=True):
            paint.ellipse(box(px, py, size, size * 0.9), rgb(colour))
            for ring, bright in ((1.0, 90), (0.78, 150), (0.5, 190)):
                carve.ellipse(box(px, py, size * ring, size * ring * 0.9), bright)
    height = np.asarray(relief.filter(ImageFilter.GaussianBlur(1.0)), dtype=np.float64)
    return lit(np.asarray(canvas) / 255.0, height, 0.008)


PAINTERS: dict[str, tuple[int, Callable[[Random], Array]]] = {
    "brushwork": (1889, brushwork),
    "tesserae": (547, tesserae),
    "swell": (1831, swell),
    "dots": (1886, dots),
}


def main(names: Sequence[str]) -> None:
    """Paint the pictures called ``names``, or all of them, beside this file."""
    for name in names or PAINTERS:
        seed, painter = PAINTERS[name]
        picture = to_image(painter(np.random.default_rng(seed)))
        picture = picture.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        picture.save(Path(__file__).with_name(f"{name}.jpg"), quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
