"""Prompts differentiate: a projector is trained through pruned prompts, by the caller's own loop."""

import copy

import torch

from wordsight import DivPrune, collate
from wordsight.models.vlm import VLM


def test_a_projector_learns_through_pruned_prompts(tiny, picture):
    vlm = VLM(copy.deepcopy(tiny.model), tiny.processor, "trained")
    model, pruner = vlm.model, DivPrune(keep=0.2)
    projector = model.model.multi_modal_projector
    model.requires_grad_(False)
    projector.requires_grad_(True)
    texts = [f"{tiny.processor.image_token} what is it? {word}" for word in ("cat", "dog")]
    pictures = [[picture], [picture.rotate(90)]]
    inputs = tiny.processor(text=texts, images=pictures, padding=True, return_tensors="pt")
    answers = inputs["input_ids"].clone()
    answers[:, :-1] = -100  # only the last word is learned
    inputs["labels"] = answers
    stepper = torch.optim.Adam(projector.parameters(), lr=0.01)
    losses = []
    for _ in range(10):
        batch = collate([pruner(prompt) for prompt in vlm.read(inputs)])
        loss = model(**batch).loss
        loss.backward()
        stepper.step()
        stepper.zero_grad()
        losses.append(float(loss.detach()))
    assert batch["input_ids"].shape[1] < inputs["input_ids"].shape[1] // 2
    assert losses[-1] < 0.5 * losses[0]
    assert all(weight.grad is None for weight in model.model.language_model.parameters())
