"""Pictures to train on: sixty scenes and twenty clips, with zeros for features."""

import numpy as np
import pytest
import torch

from wordsight.synthetic.clips import render_clip
from wordsight.synthetic.questions import Question
from wordsight.synthetic.scenes import render


@pytest.fixture(scope="module")
def pictures(training):
    facts = [render(i) for i in range(60)]
    clips = [clip for clip in map(render_clip, range(20)) if clip.tracks]
    grids = [
        np.stack(made)
        for made in (
            [s.labels for s in facts],
            [s.owner for s in facts],
            [training.pictures._centers(s) for s in facts],
        )
    ]
    flat = [grid.reshape(60, 144, *grid.shape[3:]) for grid in grids]
    made = object.__new__(training.batches.Pictures)
    made.scenes = training.batches.Pool(torch.zeros(60, 144, 192), *flat, facts)
    made.small = []
    for span in training.small.SPANS:
        squares = training.small.Squares(training.small.corners_of(facts, span), grids[0], span)
        features = torch.zeros(len(squares), span * span, 192)
        made.small.append(training.batches.small_pool(features, squares, grids, facts))
    made.clips, made.frame_owners = clips, np.concatenate([clip.owner for clip in clips]).reshape(-1, 144)
    made.clip_features, made.easy_features = (
        torch.zeros(len(made.frame_owners), 144, 192),
        torch.zeros(20, 144, 192),
    )
    made.easy_questions = [[Question("easy", "is there a circle?", "yes")]] * 20
    made.index()
    return made
