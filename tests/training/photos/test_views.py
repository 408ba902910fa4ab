"""Crops and collages: where photos are in them."""

import random
from collections import Counter

from PIL import Image


def test_a_collage_shows_its_photos_in_their_corners(recipe):
    red, blue = (Image.new("RGB", (50, 70), color) for color in ("red", "blue"))
    made = recipe.views.collage([None, red, blue, None], random.Random(0))
    assert made.size == (224, 224)
    assert made.getpixel((112, 0)) == made.getpixel((223, 111)) == (255, 0, 0)
    assert made.getpixel((0, 112)) == made.getpixel((111, 223)) == (0, 0, 255)
    assert made.getpixel((0, 0)) == made.getpixel((223, 223))


def test_collages_have_two_to_four_photos_and_often_repeat_a_name(recipe, shown):
    views = recipe.views.draw_collages(shown, "train", 400)
    counts = [Counter(shown[n].name for n in view.photos if n is not None) for view in views]
    assert set(map(Counter.total, counts)) == {2, 3, 4}
    assert 0.4 < sum(max(count.values()) > 1 for count in counts) / 400 < 0.6


def test_only_known_photos_of_the_split_are_used(recipe, shown):
    for view in recipe.views.draw_collages(shown, "train", 50) + recipe.views.draw_crops(shown, "train", 50):
        assert all(shown[n].known for n in view.photos if n is not None)


def test_a_longer_list_begins_with_the_shorter_one(recipe, shown):
    for draw in (recipe.views.draw_collages, recipe.views.draw_crops):
        assert draw(shown, "train", 30)[:10] == draw(shown, "train", 10)


def test_a_crop_shows_most_of_each_side_and_nothing_new(recipe):
    gray = Image.linear_gradient("L").resize((224, 224)).convert("RGB")
    cuts = [recipe.views.crop(gray, random.Random(seed)) for seed in range(20)]
    spans = [cut.getpixel((0, 223))[0] - cut.getpixel((0, 0))[0] for cut in cuts]
    assert all(0.68 * 255 < span <= 255 for span in spans)


def test_half_of_the_crops_are_mirrored(recipe):
    bright = Image.linear_gradient("L").rotate(90).resize((224, 224)).convert("RGB")
    cuts = [recipe.views.crop(bright, random.Random(seed)) for seed in range(200)]
    falling = sum(cut.getpixel((0, 0))[0] > cut.getpixel((223, 0))[0] for cut in cuts)
    assert 70 < falling < 130
