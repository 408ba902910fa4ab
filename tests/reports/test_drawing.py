"""What is drawn of tokens that say nothing."""

from PIL import Image, ImageChops

from wordsight.reports.drawing import draw_words, labels

WORDS = [[("face", 0.08), ("chair", 0.05)], [("barrel", 0.96)]]


def test_a_token_that_says_nothing_is_a_dot_without_confidence():
    assert labels(WORDS, [True, False]) == [("·", 0.0), ("barrel", 0.96)]
    assert labels(WORDS, [False, False]) == [("face", 0.08), ("barrel", 0.96)]


def test_a_dot_covers_less_of_the_picture_than_a_word():
    picture, boxes = Image.new("RGB", (144, 72), "gray"), [(0, 0, 72, 72), (72, 0, 144, 72)]
    plain = draw_words(picture, boxes, [("", 0.0), ("", 0.0)])

    def covered(silent):
        drawn = draw_words(picture, boxes, labels(WORDS, silent))
        changed = ImageChops.difference(plain, drawn).convert("L").point(lambda value: value > 0)
        return changed.crop(boxes[0]).histogram()[1], changed.crop(boxes[1]).histogram()[1]

    assert 0 < covered([True, False])[0] < covered([False, False])[0] / 4
    assert covered([True, False])[1] == covered([False, False])[1] > 0
