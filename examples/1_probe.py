"""What does each visual token say when the model sees it alone?"""

from wordsight import VLM, probe_tokens
from wordsight.redundancy.probe import QUESTION
from wordsight.synthetic.scenes import SPLITS, render

vlm = VLM.from_pretrained()
prompt = vlm.encode(render(SPLITS["test"]).image, QUESTION)
for cell, words in list(zip(prompt.visual.cell.tolist(), probe_tokens(vlm, prompt).words, strict=True))[:12]:
    word, chance = words[0]
    print(f"row {cell[2]:2d} column {cell[3]:2d}: {word} {chance:.2f}")
