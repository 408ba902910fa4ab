"""What wordsight makes of the tiny model; tests/families has the same of every family."""

import json

from wordsight._utils.notes import listen_to_notes
from wordsight._utils.records import checked
from wordsight.analysis.model_info import ModelInfo, describe_model


def test_a_record_is_plain_json(tiny):
    plain = json.loads(json.dumps(describe_model(tiny), allow_nan=False))
    assert checked(ModelInfo, plain, "here") == plain


def test_nobody_is_told_that_noise_is_unlike_what_the_model_knows(embedded):
    notes = []
    with listen_to_notes(notes.append):
        found = describe_model(embedded)
    assert (notes, found["tried"]["one picture"]) == ([], None)


def test_the_tokens_of_the_tiny_model(tiny):
    info = describe_model(tiny, (300, 200))
    assert (info["visual_tokens"], info["line_breaks"]) == (144, 0)
    assert info["grids"] == [{"crop": 0, "rows": 12, "columns": 12}]
    assert info["picture"] == [300, 200]
    assert info["pruners"]["divprune"] is None
