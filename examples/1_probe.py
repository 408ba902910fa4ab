"""What does each visual token say when the model sees it alone?"""

from wordsight import VLM, probe_tokens
from wordsight.redundancy.probe import QUESTION
from wordsight.synthetic.scenes import SPLITS, render

vlm = VLM.from_pretrained()
prompt = vlm.encode(render(SPLITS["test"]).image, QUESTION)
probe = probe_tokens(vlm, prompt)
rows = list(zip(prompt.visual.cell.tolist(), probe.words, probe.says_nothing.tolist(), strict=True))
for cell, words, nothing in rows[:12]:
    word, chance = words[0]
    print(f"row {cell[2]:2d} column {cell[3]:2d}: {'nothing' if nothing else f'{word} {chance:.2f}'}")
