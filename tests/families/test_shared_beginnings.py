"""Questions about one picture, whose beginning is read once, are answered as if each were asked alone."""

import pytest

from wordsight import FastV, Uniform, UsageError

QUESTIONS = ("what color is the cat?", "is there a cat or a dog in the garden?", "cat?")


@pytest.fixture
def prompts(vlm, media, picture):
    """Three questions about the media, and two about another picture."""
    found = []
    for about, questions in ((media, QUESTIONS), (picture(40, 40, 5), QUESTIONS[:2])):
        visual = None
        for question in questions:
            found.append(vlm.encode(about, question, visual=visual))
            visual = found[-1].visual
    return found


def pruned(prompts, pruner):
    kept = {id(prompt.visual): pruner.prune(prompt.visual) for prompt in prompts}
    return [pruner.apply(prompt, kept[id(prompt.visual)]) for prompt in prompts]


@pytest.mark.parametrize("keep", [1.0, 0.3])
def test_answers_are_those_to_each_question_alone(vlm, prompts, keep):
    given = pruned(prompts, Uniform(keep=keep)) if keep < 1 else prompts
    assert vlm.answers(given, 6) == [vlm.generate([prompt], max_new_tokens=6)[0] for prompt in given]


def test_answers_are_those_to_each_question_alone_where_tokens_leave_between_layers(vlm, prompts):
    pruner = FastV(keep=0.3, layer=max(1, vlm.family.whole_layers(vlm.model)))
    try:
        pruner.check(vlm)
    except UsageError:
        return  # test_methods has the sentence
    given = pruned(prompts, pruner)
    assert vlm.answers(given, 6) == [vlm.generate([prompt], max_new_tokens=6)[0] for prompt in given]
