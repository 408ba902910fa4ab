"""Rows against the chat template, rendered."""

import jinja2


def rendered(recipe, pictures, turns):
    messages = []
    for number, turn in enumerate(turns):
        images = [{"type": "image"}] * pictures if number == 0 else []
        messages.append({"role": "user", "content": [*images, {"type": "text", "text": turn.text}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
    return jinja2.Template(recipe.prompts.TEMPLATE, keep_trailing_newline=True).render(messages=messages)


def turns(recipe):
    asked = recipe.questions.Question
    return [asked("names", "What is this?", "cup"), asked("color", "What color is it?", "dark red")]


def spelled(recipe, row):
    """The text of a row, a run of visual tokens as one placeholder."""
    text = "".join("\0" if i == recipe.prompts.VISUAL else chr(i) for i in row.ids)
    while "\0\0" in text:
        text = text.replace("\0\0", "\0")
    return text.replace("\0", "<image>")


def test_a_row_reads_as_the_template_has_it(recipe, letters):
    for pictures in (1, 2):
        row = recipe.prompts.Layout(letters).row([range(5)] * pictures, 5, turns(recipe))
        assert spelled(recipe, row) == rendered(recipe, pictures, turns(recipe)).removesuffix("\n")


def test_what_is_wanted_is_each_answer_and_its_end(recipe, letters):
    row = recipe.prompts.Layout(letters).row([range(5)], 5, turns(recipe))
    wanted = "".join(chr(i) for i in row.wanted if i != recipe.prompts.IGNORED)
    assert wanted == " cup<|im_end|> dark red<|im_end|>"


def test_what_is_wanted_is_the_next_token(recipe, letters):
    row = recipe.prompts.Layout(letters).row([range(5)], 5, turns(recipe))
    for place, wanted in enumerate(row.wanted):
        assert wanted in (recipe.prompts.IGNORED, *row.ids[place + 1 : place + 2])


def test_tokens_left_out_leave_gaps_in_positions(recipe, letters):
    layout = recipe.prompts.Layout(letters)
    whole, part = (layout.row([slots], 5, turns(recipe)) for slots in (range(5), [1, 4]))
    kept = [i for i in range(len(whole.ids)) if i - len(recipe.prompts.BEGIN) not in (0, 2, 3)]
    assert part.positions == [whole.positions[i] for i in kept]
    assert part.ids == [whole.ids[i] for i in kept]


def test_positions_of_two_pictures_count_on(recipe, letters):
    row = recipe.prompts.Layout(letters).row([range(5), range(5)], 5, turns(recipe))
    assert row.positions == list(range(len(row.ids)))
