"""Training pictures with a label for every patch: rendered scenes and easy-VQA, cached as .npy files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import easy_vqa
import numpy as np
from PIL import Image
from rich.progress import track

from wordsight.demo.scenes import CLASSES, COLORS, GRID, PATCH, SHAPES, SIZE, SPLITS, Array, render

BUILD = Path(__file__).parent / "build"
CHUNK = 500


def cache_scenes(count: int) -> tuple[Array, Array, Array]:
    """Pictures (count, 192, 192, 3), labels and owners (count, 12, 12) of the first training scenes."""
    BUILD.mkdir(exist_ok=True)
    paths = [BUILD / f"scenes_{count}_{part}.npy" for part in ("images", "labels", "owners")]
    if not all(path.exists() for path in paths):
        shapes = [(count, SIZE, SIZE, 3), (count, GRID, GRID), (count, GRID, GRID)]
        kinds = [np.uint8, np.int16, np.int16]
        unfinished = [path.with_suffix(".part.npy") for path in paths]
        arrays = [
            np.lib.format.open_memmap(path, "w+", kind, shape)
            for path, kind, shape in zip(unfinished, kinds, shapes, strict=True)
        ]
        starts = range(0, count, CHUNK)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            for start, chunk in zip(track(starts, "rendering"), pool.map(_chunk, starts), strict=True):
                for array, part in zip(arrays, chunk, strict=True):
                    array[start : start + CHUNK] = part[: count - start]
        for array, path, finished in zip(arrays, unfinished, paths, strict=True):
            array.flush()
            path.rename(finished)
    images, labels, owners = (np.load(path, mmap_mode="r") for path in paths)
    return images, labels, owners


def _chunk(start: int) -> tuple[Array, Array, Array]:
    scenes = [render(SPLITS["train"] + start + i) for i in range(CHUNK)]
    return (
        np.stack([np.asarray(scene.image) for scene in scenes]),
        np.stack([scene.labels for scene in scenes]),
        np.stack([scene.owner for scene in scenes]),
    )


def cache_easy_vqa() -> tuple[Array, Array]:
    """The 4,000 easy-VQA training pictures, enlarged to 192 pixels, and their patch labels (4000, 12, 12)."""
    paths = [BUILD / f"easy_vqa_{part}.npy" for part in ("images", "labels")]
    if not all(path.exists() for path in paths):
        BUILD.mkdir(exist_ok=True)
        shape_of = _shapes()
        pictures, labels = zip(*_easy_vqa(shape_of), strict=True)
        np.save(paths[0], np.stack(pictures))
        np.save(paths[1], np.stack(labels))
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
