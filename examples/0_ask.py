"""Ask a question about a picture, with all visual tokens and with a fifth of them."""

from wordsight import VLM, CodebookPruner
from wordsight.synthetic.scenes import SPLITS, render

vlm = VLM.from_pretrained()  # the small embedded model; a Hugging Face name or folder loads yours
picture = render(SPLITS["test"]).image
for keep in (1.0, 0.2, 0.1):
    answer = vlm.answer(picture, "describe the image.", pruner=CodebookPruner(keep=keep))
    print(f"{answer.tokens_kept:3d} of {answer.tokens_total} tokens: {answer}")
