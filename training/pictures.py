"""Training pictures with a label for every patch: rendered scenes and easy-VQA, cached as .npy files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import easy_vqa
import numpy as np
from PIL import Image
from rich.progress import track

from wordsight._utils.files import replacing
from wordsight.synthetic.clips import Clip, Track, render_clip
from wordsight.synthetic.scenes import (
    CLASSES,
    COLORS,
    GRID,
    PATCH,
    SHAPES,
    SIZE,
    SPLITS,
    Array,
    Scene,
    Thing,
    render,
)

BUILD = Path(__file__).parent / "build"
CHUNK = 500
SCENES, CLIPS = 24_000, 5_000  # that are trained on


def cache_scenes(count: int) -> tuple[Array, Array, Array, Array]:
    """Pictures (count, 192, 192, 3), labels and owners (count, 12, 12) of the first training scenes, and for
    every patch of an object how far its center is, in patches down and right, and its share of the center,
    which falls with the distance and is 1 for all patches of an object together (count, 12, 12, 3).
    """
    BUILD.mkdir(exist_ok=True)
    paths = [BUILD / f"scenes_{count}_{part}.npy" for part in ("images", "labels", "owners", "centers")]
    if not all(path.exists() for path in (*paths, _facts(count))):
        shapes = [(count, SIZE, SIZE, 3), (count, GRID, GRID), (count, GRID, GRID), (count, GRID, GRID, 3)]
        kinds = [np.uint8, np.int16, np.int16, np.float16]
        unfinished = [path.with_suffix(".part.npy") for path in paths]
        arrays = [
            np.lib.format.open_memmap(path, "w+", kind, shape)
            for path, kind, shape in zip(unfinished, kinds, shapes, strict=True)
        ]
        starts, facts = range(0, count, CHUNK), []
        with ProcessPoolExecutor() as pool:
            for start, (chunk, told) in zip(
                track(starts, "rendering"), pool.map(_chunk, starts), strict=True
            ):
                for array, part in zip(arrays, chunk, strict=True):
                    array[start : start + CHUNK] = part[: count - start]
                facts += told
        _write(_facts(count), json.dumps(facts[:count]))
        for array, path, finished in zip(arrays, unfinished, paths, strict=True):
            array.flush()
            path.rename(finished)
    images, labels, owners, centers = (np.load(path, mmap_mode="r") for path in paths)
    return images, labels, owners, centers


def _facts(count: int) -> Path:
    return BUILD / f"scenes_{count}_facts.json"


def _chunk(start: int) -> tuple[tuple[Array, ...], list[Any]]:
    scenes = [render(SPLITS["train"] + start + i) for i in range(CHUNK)]
    grids = (
        np.stack([np.asarray(scene.image) for scene in scenes]),
        np.stack([scene.labels for scene in scenes]),
        np.stack([scene.owner for scene in scenes]),
        np.stack([_centers(scene) for scene in scenes]),
    )
    return grids, [([(t.noun, t.color, t.box) for t in scene.things], scene.backgrounds) for scene in scenes]


def _centers(scene: Scene) -> Array:
    found = np.zeros((GRID, GRID, 3), np.float16)
    middles = np.stack(np.mgrid[0:GRID, 0:GRID], -1) + 0.5  # (12, 12, 2) in patches, down and right
    for number, thing in enumerate(scene.things):
        own = scene.owner == number
        offset = np.array(thing.center[::-1]) / PATCH - middles
        found[own, :2] = offset[own]
        if own.any():
            share = np.prod(np.maximum(0, 1 - np.abs(offset)), -1) * own
            if not share.any():
                distance = np.where(own, np.hypot(*np.moveaxis(offset, -1, 0)), np.inf)
                share = distance == distance.min()
            found[own, 2] = (share / share.sum())[own]
    return found


def scene_facts(count: int) -> list[Scene]:
    """Things and backgrounds of every training scene that is cached, without the pixels."""
    blank, empty = Image.new("RGB", (1, 1)), np.zeros(0)
    return [
        Scene(
            blank,
            tuple(Thing(noun, color, tuple(box)) for noun, color, box in things),
            tuple(names),
            empty,
            empty,
        )
        for things, names in json.loads(_facts(count).read_text())
    ]


def cache_clips(count: int) -> tuple[list[Clip], Array, Array]:
    """The first training clips without their pixels, and all their frames in order: pictures
    (frames, 192, 192, 3) and owners (frames, 12, 12).
    """
    paths = [BUILD / f"clips_{count}{part}" for part in ("_images.npy", "_owners.npy", "_facts.json")]
    if not all(path.exists() for path in paths):
        with ProcessPoolExecutor() as pool:
            seeds = range(SPLITS["train"], SPLITS["train"] + count)
            clips = list(track(pool.map(render_clip, seeds, chunksize=50), "clips", total=count))
        clips = [clip for clip in clips if clip.tracks]
        _write(paths[0], np.stack([np.asarray(frame) for clip in clips for frame in clip.frames]))
        _write(paths[1], np.concatenate([clip.owner for clip in clips]))
        _write(paths[2], json.dumps([[(t.noun, t.act, t.boxes) for t in clip.tracks] for clip in clips]))
    clips = [
        Clip((), tuple(Track(noun, act, tuple(boxes)) for noun, act, boxes in tracks), np.zeros(0))
        for tracks in json.loads(paths[2].read_text())
    ]
    return clips, np.load(paths[0], mmap_mode="r"), np.load(paths[1])


def _write(path: Path, content: Array | str) -> None:
    with replacing(path) as draft, draft.open("wb") as file:
        if isinstance(content, str):
            file.write(content.encode())
        else:
            np.save(file, content)


def cache_easy_vqa() -> tuple[Array, Array]:
    """The 4,000 easy-VQA training pictures, enlarged to 192 pixels, and their patch labels (4000, 12, 12)."""
    paths = [BUILD / f"easy_vqa_{part}.npy" for part in ("images", "labels")]
    if not all(path.exists() for path in paths):
        BUILD.mkdir(exist_ok=True)
        shape_of = _shapes()
        pictures, labels = zip(*_easy_vqa(shape_of), strict=True)
        _write(paths[0], np.stack(pictures))
        _write(paths[1], np.stack(labels))
    images, patches = (np.load(path, mmap_mode="r") for path in paths)
    return images, patches


def _shapes() -> dict[int, str]:
    """The shape in each training picture, as far as its questions tell."""
    known: dict[int, str] = {}
    for text, answer, picture in zip(*easy_vqa.get_train_questions(), strict=True):
        if answer in SHAPES:
            known[picture] = answer
        for shape in SHAPES:
            if answer == "yes" and shape in text and "not" not in text and " no " not in text:
                known[picture] = shape
    return known


def _easy_vqa(shape_of: dict[int, str]) -> Iterator[tuple[Array, Array]]:
    for number, path in sorted(easy_vqa.get_train_image_paths().items()):
        pixels = np.asarray(Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))
        difference = np.abs(pixels.astype(int) - np.median(pixels, (0, 1))).sum(-1)
        color = pixels[difference > 0.9 * difference.max()].mean(0)
        name = min(COLORS, key=lambda name: float(np.abs(color - COLORS[name]).sum()))
        covered = (difference > 60).reshape(GRID, PATCH, GRID, PATCH).mean((1, 3))
        labels = np.full((GRID, GRID), len(CLASSES) - 1, np.int16)
        labels[covered > 0.08] = -1
        if number in shape_of:
            labels[covered > 0.3] = CLASSES.index(f"{name} {shape_of[number]}")
        yield pixels, labels
