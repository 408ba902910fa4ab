"""The test of names on photos of another source: which photos, and of which names."""

import hashlib
import json
from collections import Counter

from PIL import Image


def test_listed_photos_are_laid_out_by_class_wherever_they_lie(recipe, tmp_path):
    checkout = tmp_path / "checkout" / "deep"
    checkout.mkdir(parents=True)
    for name, color in (("wanted", "red"), ("other", "blue")):
        Image.new("RGB", (8, 8), color).save(checkout / f"{name}.JPEG")
    digest = hashlib.sha256((checkout / "wanted.JPEG").read_bytes()).hexdigest()
    target = tmp_path / "unseen"
    assert recipe.unseen.copy_listed(target, [tmp_path / "checkout"], {digest: "cup", "0" * 64: "crab"}) == 1
    (copied,) = target.rglob("*.jpg")
    assert copied.parent.name == "cup"
    (case,) = recipe.cases.unseen_cases(target, ["cup"])
    assert (case.questions[0].kind, case.questions[0].answer) == ("unseen_names", "cup")


def test_the_list_has_the_photos_that_it_says(recipe):
    listed = json.loads(recipe.unseen.LIST.read_text())
    assert sum(source["photos"] for source in listed["sources"]) == len(listed["photos"]) == 230
    assert len(Counter(listed["photos"].values())) == 40
    assert not {recipe.names.name_of(folder) for folder in listed["photos"].values()} & set(
        recipe.names.ABSENT
    )
