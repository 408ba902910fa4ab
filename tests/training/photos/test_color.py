"""Colors of salient pixels."""

import numpy as np
import pytest
from PIL import Image

PLAIN = {
    "black": (10, 10, 10),
    "white": (250, 250, 250),
    "gray": (128, 128, 128),
    "red": (220, 20, 20),
    "orange": (250, 140, 10),
    "yellow": (240, 230, 20),
    "green": (20, 160, 40),
    "blue": (30, 60, 220),
    "purple": (130, 30, 200),
    "pink": (250, 160, 190),
    "brown": (120, 70, 30),
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_pictures_are_called_by_their_color(recipe, name):
    salient = np.ones((8, 8), np.float32)
    assert recipe.color.color_of(Image.new("RGB", (16, 16), PLAIN[name]), salient) == name


def test_only_salient_pixels_count(recipe):
    image = Image.new("RGB", (16, 16), PLAIN["green"])
    image.paste(PLAIN["red"], (0, 0, 8, 16))
    salient = np.zeros((16, 16), np.float32)
    salient[:, :8] = 1
    assert recipe.color.color_of(image, salient) == "red"


def test_three_colors_alike_often_are_no_color(recipe):
    image = Image.new("RGB", (15, 15), PLAIN["green"])
    image.paste(PLAIN["red"], (0, 0, 5, 15))
    image.paste(PLAIN["blue"], (5, 0, 10, 15))
    assert recipe.color.color_of(image, np.ones((15, 15), np.float32)) is None


def test_without_anything_salient_there_is_no_color(recipe):
    assert recipe.color.color_of(Image.new("RGB", (16, 16)), np.zeros((16, 16), np.float32)) is None
