"""Outlines that people drew, on photos that were made smaller since."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def annotations(tmp_path, monkeypatch):
    """An outline of the right half of a photo of 400 x 300 pixels, read without scipy."""
    folder = tmp_path / "Annotations" / "Airplanes_Side_2"
    folder.mkdir(parents=True)
    (folder / "annotation_0007.mat").touch()
    drawn = {
        "box_coord": np.array([[0, 300, 200, 400]], np.uint16),  # top, bottom, left, right
        "obj_contour": np.array([[0, 200, 200, 0], [0, 0, 300, 300]], float),  # from the box's corner
    }
    monkeypatch.setitem(sys.modules, "scipy", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "scipy.io", SimpleNamespace(loadmat=lambda _: drawn))
    return tmp_path / "Annotations"


def test_an_outline_is_read_in_pixels_of_the_photo_that_was_drawn_on(recipe, annotations, tmp_path):
    original = tmp_path / "101_ObjectCategories" / "airplanes" / "image_0007.jpg"
    original.parent.mkdir(parents=True)
    Image.new("RGB", (400, 300)).save(original)
    photo = tmp_path / "smaller" / "airplanes" / "image_0007.jpg"
    cells = recipe.outlines.read_outline(photo, annotations, (299, 224)).reshape(8, 8)
    assert (cells[:, 5:] == 1).all()
    assert (cells[:, :3] == 0).all()


def test_a_small_photo_tells_its_own_size(recipe, annotations, tmp_path):
    photo = tmp_path / "airplanes" / "image_0007.jpg"
    assert recipe.outlines.size_drawn_on(photo, annotations, (400, 200)) == (400, 200)


def test_a_photo_that_may_have_been_made_smaller_has_no_outline(recipe, annotations, tmp_path):
    photo = tmp_path / "airplanes" / "image_0007.jpg"
    assert recipe.outlines.read_outline(photo, annotations, (299, 224)) is None


def test_a_photo_without_an_annotation_has_no_outline(recipe, annotations, tmp_path):
    photo = tmp_path / "airplanes" / "image_0008.jpg"
    assert recipe.outlines.read_outline(photo, annotations, (100, 100)) is None


def test_a_square_outline_covers_its_cells(recipe):
    contour = np.array([[0, 50, 50, 0], [0, 0, 100, 100]], float)  # the left half
    cells = recipe.outlines.inside(contour, (100, 100)).reshape(8, 8)
    assert (cells[:, :4] == 1).all()
    assert (cells[:, 5:] == 0).all()
