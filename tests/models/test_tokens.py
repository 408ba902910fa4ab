"""VisualTokens: line breaks by hand."""

import torch

from wordsight.models.tokens import VisualTokens

CELLS = [
    *[(0, 0, 0, 0), (0, 0, 0, 1)],  # a whole picture
    *[
        (0, 1, 0, 0),
        (0, 1, 0, 1),
        (0, 1, 0, -1),
        (0, 1, 1, 0),
        (0, 1, 1, 1),
        (0, 1, 1, -1),
    ],  # enlarged, two rows
    *[(1, 0, 0, 0), (1, 0, -1, -1)],  # another, with one break at its end
    (-1, -1, -1, -1),  # the end of everything
]


def made():
    count = len(CELLS)
    embeds = torch.arange(count).float()[:, None]
    return VisualTokens(
        embeds, torch.arange(count), torch.tensor(CELLS), (embeds + 100,), {"s": torch.arange(count)}
    )


def with_breaks(kept):
    tokens = made()
    breaks = tokens.take(tokens.is_break.nonzero()[:, 0])
    return tokens.take(torch.tensor(kept, dtype=torch.long)).with_breaks(breaks)


def test_line_breaks_have_no_column():
    assert made().is_break.nonzero()[:, 0].tolist() == [4, 7, 9, 10]


def test_a_break_stays_with_a_token_of_its_row():
    assert with_breaks([2]).slot.tolist() == [2, 4, 10]
    assert with_breaks([6, 2]).slot.tolist() == [2, 4, 6, 7, 10]


def test_a_token_of_the_whole_picture_keeps_no_row_of_the_enlarged_one():
    assert with_breaks([1]).slot.tolist() == [1, 10]


def test_a_break_at_the_end_of_a_picture_stays_with_any_of_its_tokens():
    assert with_breaks([8]).slot.tolist() == [8, 9, 10]


def test_no_token_keeps_no_break():
    assert with_breaks([]).slot.tolist() == []


def test_everything_of_a_token_moves_with_it():
    kept = with_breaks([8, 0])
    assert kept.slot.tolist() == [0, 8, 9, 10]
    assert kept.embeds[:, 0].tolist() == [0, 8, 9, 10]
    assert kept.deep[0][:, 0].tolist() == [100, 108, 109, 110]
    assert kept.signals["s"].tolist() == [0, 8, 9, 10]
    assert kept.cell.tolist() == [list(CELLS[i]) for i in (0, 8, 9, 10)]
