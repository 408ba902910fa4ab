"""Picture maps: what is painted into the box of a token changes that token most, and line breaks end rows."""

import facts
import numpy as np
import pytest
import torch
from painting import crops, painted

from wordsight import UsageError, Video, pruners
from wordsight.media.inputs import MediaInput
from wordsight.models.conversation import Conversation
from wordsight.models.families.base import inner_model
from wordsight.models.processing import process
from wordsight.reports import drawing

QUESTION = "what color is the cat?"


def most_changed(before, after, rows):
    moved = (after.embeds - before.embeds).norm(dim=-1)
    return int(rows[moved[rows].argmax()])


@pytest.mark.shows("image")
@pytest.mark.parametrize("size", [(96, 64), (64, 96), (64, 64)])
def test_a_token_is_where_its_box_is(mapped, picture, size):
    assert_tokens_are_where_their_boxes_are(mapped, picture(*size, 3))


def assert_tokens_are_where_their_boxes_are(vlm, media):
    before = vlm.encode(media, QUESTION).visual
    for rows in crops(before, 0):
        where = drawing.boxes(media, before.take(rows))
        for i in range(0, len(rows), max(1, len(rows) // 5)):
            after = vlm.encode(painted(media, where[i]), QUESTION).visual
            assert most_changed(before, after, rows) == rows[i], (before.cell[rows[i]], where[i])


def test_tiles_of_perception_lm_come_after_the_whole_picture_row_by_row(loaded, picture, monkeypatch):
    """As many as a picture needs; of several pictures its processor takes only those that need as many."""
    vlm = loaded("perception_lm")
    monkeypatch.setattr(vlm.processor.image_processor, "max_num_tiles", 4)
    for size, columns, rows in (((96, 64), 2, 2), ((96, 32), 3, 1), ((30, 90), 1, 3)):
        media = picture(*size, 3)
        assert_tokens_are_where_their_boxes_are(vlm, media)
        tokens = vlm.encode(media, QUESTION).visual
        assert len(tokens) == 4 * (1 + rows * columns)
        assert tokens.cell[-1].tolist() == [0, 1, 2 * rows - 1, 2 * columns - 1]
        inputs = process(vlm.processor, Conversation.about(MediaInput.of(media), QUESTION)).inputs
        assert torch.equal(vlm.read(inputs)[0].visual.cell, tokens.cell)
    with pytest.raises(UsageError, match="PerceptionLMProcessor cannot prepare these pictures"):
        vlm.encode([picture(96, 32, 0), picture(64, 64, 1)], QUESTION)


@pytest.mark.shows("image")
def test_a_drawing_shows_the_kept_cells_of_the_picture_and_fades_the_others(mapped, picture):
    """Against the picture's own array, cut by hand into as many rows and columns as there are."""
    media = picture(192, 96, 8)
    tokens = mapped.encode(media, QUESTION).visual
    tokens = tokens.take(drawing.finest(tokens))
    rows, columns = (tokens.cell[:, 2:].max(0).values + 1).tolist()
    kept = set(range(0, len(tokens), 3))
    drawn = np.asarray(drawing.draw_kept(media, drawing.boxes(media, tokens), kept)).astype(int)
    pixels = np.asarray(media).astype(int)
    faded = np.asarray(media.convert("L")).astype(int)[..., None] * 0.25 + 255 * 0.75
    kind = facts.kind(mapped)
    left, top, right, bottom = (48, 0, 144, 96) if kind in facts.CENTER_CROP else (0, 0, 192, 96)
    if kind in facts.PADDED:
        top, bottom = -48, 144
    for i, (row, column) in enumerate(tokens.cell[:, 2:].tolist()):
        ys = [round(top + (row + j) * (bottom - top) / rows) + (3, -3)[j] for j in (0, 1)]
        xs = [round(left + (column + j) * (right - left) / columns) + (3, -3)[j] for j in (0, 1)]
        if ys[1] <= 0 or ys[0] >= 96:
            continue  # padding beside the picture
        ys, xs = slice(*ys), slice(*xs)
        expected = pixels[ys, xs] if i in kept else faded[ys, xs].repeat(3, -1)
        assert np.abs(drawn[ys, xs] - expected).max() <= 1, tokens.cell[i]


def moved_tokens(vlm, media, image, stride=1):
    """For some boxes of one picture or frame: which token painting it moves most, and which it is of."""
    film = isinstance(media, Video)
    pictures = list(media.frames if film else media)
    before = vlm.encode(media, QUESTION).visual
    for rows in crops(before, image):
        where = drawing.boxes(pictures[image * stride], before.take(rows))
        for i in range(0, len(rows), max(1, len(rows) // 4)):
            left, top, right, bottom = where[i]
            if right - left < 2 or bottom - top < 2:
                continue  # padding beside the picture
            changed = list(pictures)
            for j in range(image * stride, image * stride + stride):
                changed[j] = painted(pictures[j], where[i])
            after = vlm.encode(Video.of(changed, fps=2) if film else changed, QUESTION).visual
            yield most_changed(before, after, rows), int(rows[i])


@pytest.mark.shows("images")
def test_a_token_is_where_its_box_is_in_the_second_of_two_pictures(mapped, picture):
    found = list(moved_tokens(mapped, [picture(64, 64, 4), picture(96, 64, 5)], 1))
    assert found
    assert all(moved == own for moved, own in found)


@pytest.mark.parametrize("size", [(90, 40), (40, 90), (20, 10), (300, 100)])
def test_tokens_of_llama4_are_where_their_boxes_are_in_a_picture_that_is_padded(loaded, picture, size):
    """On the right or below, to whole tiles: what lies there is of no token of the picture."""
    vlm = loaded("llama4")
    media = picture(*size, 3)
    found = list(moved_tokens(vlm, [media], 0))
    assert found
    assert all(moved == own for moved, own in found)
    tokens = vlm.encode(media, QUESTION).visual
    right, bottom = tokens.box[tokens.cell[:, 1] == tokens.cell[:, 1].max()].amax(0)[2:].tolist()
    assert max(right, bottom) > 1.1
    inputs = process(vlm.processor, Conversation.about(MediaInput.of(media), QUESTION)).inputs
    assert torch.equal(vlm.read(inputs)[0].visual.cell, tokens.cell)


@pytest.mark.shows("video")
@pytest.mark.parametrize("size", [(96, 64), (64, 96)])
def test_a_token_is_where_its_box_is_in_a_frame(mapped, picture, size):
    film = Video.of([picture(*size, seed) for seed in range(4)], fps=2)
    stride = 4 // (int(mapped.encode(film, QUESTION).visual.cell[:, 0].max()) + 1)
    assert stride == (2 if facts.kind(mapped) in facts.TWO_FRAMES else 1)
    found = list(moved_tokens(mapped, film, 1, stride))
    assert found
    assert all(moved == own for moved, own in found)


@pytest.mark.shows("images")
def test_a_token_is_of_the_picture_of_its_cell(vlm, picture):
    media = [picture(64, 64, 4), picture(64, 64, 5)]
    before = vlm.encode(media, QUESTION).visual
    for image in (0, 1):
        changed = list(media)
        changed[image] = picture(64, 64, 6)
        after = vlm.encode(changed, QUESTION).visual
        moved = (after.embeds != before.embeds).any(-1)
        assert torch.equal(moved, (before.cell[:, 0] == image) & ~before.is_break)


@pytest.mark.shows("video")
def test_a_token_is_of_the_frame_of_its_cell_in_the_second_of_two_videos(vlm, picture):
    films = [Video.of([picture(64, 64, 4 * film + seed) for seed in range(4)]) for film in (0, 1)]
    if vlm.model.config.model_type == "llava_onevision":
        with pytest.raises(UsageError, match="one video a question, got 2"):
            vlm.encode(films, QUESTION)
        return
    before = vlm.encode(films, QUESTION).visual
    last = int(before.cell[:, 0].max())
    assert last in (3, 7)  # Qwen reads two frames as one
    films[1] = Video.of([*films[1].frames[:3], picture(64, 64, 99)])
    after = vlm.encode(films, QUESTION).visual
    moved = (after.embeds != before.embeds).any(-1)
    assert torch.equal(moved, (before.cell[:, 0] == last) & ~before.is_break)


def test_a_picture_of_too_many_tokens_is_scaled_down(loaded, picture):
    """LLaVA-OneVision beyond its limit, here one tile instead of nine."""
    vlm = loaded("llava_onevision")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vlm.model.config, "vision_aspect_ratio", "anyres_max_1")
        patch.setattr(vlm.processor, "vision_aspect_ratio", "anyres_max_1")
        tokens = vlm.encode(picture(64, 64, 0), QUESTION).visual
    assert int(tokens.is_break.sum()) == 4  # 8 rows without
    assert len(tokens) == 16 + 4 * (4 + 1)


@pytest.mark.shows("image")
def test_line_breaks_are_the_vector_that_the_model_learned(vlm, media):
    tokens = vlm.encode(media, QUESTION).visual
    newline = getattr(inner_model(vlm.model), "image_newline", None)
    if newline is None:
        assert facts.kind(vlm) not in facts.LINE_BREAKS
        assert not tokens.is_break.any()
    else:
        assert torch.equal(tokens.is_break, (tokens.embeds == newline).all(-1))


def ended(cell, other):
    """Whether a line break with this cell ends what the other cell is in."""
    return all(mark in (-1, place) for mark, place in zip(cell[:3], other[:3], strict=True))


def test_a_line_break_stays_exactly_if_a_token_of_its_row_does(vlm, media):
    tokens = vlm.encode(media, QUESTION).visual
    for method in ("uniform:keep=0.1", "divprune:keep=0.3", "random:tokens=5"):
        pruner = pruners.make(method)
        kept = pruner.prune(tokens)
        content = [cell for cell in kept.cell.tolist() if cell[3] >= 0]
        wanted = [
            slot
            for slot, cell in zip(tokens.slot.tolist(), tokens.cell.tolist(), strict=True)
            if cell[3] < 0 and any(ended(cell, other) for other in content)
        ]
        assert kept.slot[kept.is_break].tolist() == wanted, method
        assert len(content) == pruner.count(tokens.without_breaks()), method
        assert kept.slot.tolist() == sorted(set(kept.slot.tolist())), method
        assert torch.equal(kept.embeds, tokens.embeds[kept.slot]), method
