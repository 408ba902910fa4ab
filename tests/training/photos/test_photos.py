"""Splits: fixed, without copies of one photo in two of them, and some classes never trained on."""

from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def folders():
    return {f"thing{n:02}": [Path(f"thing{n:02}/{i:03}.jpg") for i in range(40)] for n in range(30)}


@pytest.fixture
def alike(folders):
    """Every photo is its own, but the first three of a class are one."""
    return {
        file: f"{name}{max(2, i)}".encode() for name, files in folders.items() for i, file in enumerate(files)
    }


def test_a_second_reading_draws_the_same_splits(recipe, folders, alike):
    backwards = dict(reversed(folders.items()))
    assert recipe.photos.split_photos(folders, alike) == recipe.photos.split_photos(backwards, alike)


def test_copies_share_a_split(recipe, folders, alike):
    photos = recipe.photos.split_photos(folders, alike)
    where = {Path(photo.path): photo.split for photo in photos}
    assert all(len({where.get(file) for file in files[:3]}) == 1 for files in folders.values())


def test_of_a_known_class_some_photos_are_held_out(recipe, folders, alike):
    photos = recipe.photos.split_photos(folders, alike)
    name = next(photo.name for photo in photos if photo.known)
    counts = dict.fromkeys(recipe.photos.SPLITS, 0)
    for photo in photos:
        counts[photo.split] += photo.name == name
    assert 10 <= counts["test"] <= 12
    assert 5 <= counts["validation"] <= 7
    assert sum(counts.values()) == 40


def test_photos_of_an_unknown_class_are_in_one_split(recipe, folders, alike):
    photos = recipe.photos.split_photos(folders, alike)
    splits = {}
    for photo in photos:
        if not photo.known:
            splits.setdefault(photo.name, set()).add(photo.split)
    assert sorted(map(tuple, splits.values())) == sorted(
        (split,) for split in recipe.photos.SPLITS for _ in range(recipe.photos.UNKNOWN)
    )


def test_pictures_of_no_class_have_no_name(recipe, folders, alike):
    clutter = [Path(f"BACKGROUND_Google/{i}.jpg") for i in range(20)]
    more = alike | {file: str(file).encode() for file in clutter}
    photos = recipe.photos.split_photos(folders | {"BACKGROUND_Google": clutter}, more)
    assert {(p.name, p.known) for p in photos if "BACKGROUND" in p.path} == {(None, False)}


def test_copies_in_another_size_have_one_fingerprint(recipe, tmp_path):
    image = Image.linear_gradient("L").rotate(90)
    image.resize((100, 100)).save(tmp_path / "small.png")
    image.resize((210, 190)).convert("RGB").save(tmp_path / "large.png")
    prints = [recipe.photos.fingerprint(tmp_path / name) for name in ("small.png", "large.png")]
    assert prints[0] == prints[1]


def test_a_folder_of_too_few_classes_is_refused(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(recipe.photos, "BUILD", tmp_path / "build")
    (tmp_path / "photos" / "cup").mkdir(parents=True)
    with pytest.raises(SystemExit, match="has 1 class folders; expected at least 20"):
        recipe.photos.read_photos(tmp_path / "photos")
