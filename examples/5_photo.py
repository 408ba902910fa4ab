"""What do the tokens of a photo say? Without the extra `photos`, of a rendered scene."""

from wordsight import VLM, probe_tokens
from wordsight.demo import PICTURES
from wordsight.models import photos
from wordsight.redundancy.probe import QUESTION

if photos.is_installed():  # the first time, the model is put together in the user's cache
    vlm, picture = VLM.from_pretrained("demo-photos"), photos.pictures() / "coffee.png"
else:
    vlm, picture = VLM.from_pretrained(), PICTURES / "garden.png"
print(picture.name, "shows:", vlm.answer(picture, QUESTION))
prompt = vlm.encode(picture, QUESTION)
read = probe_tokens(vlm, prompt)
for place in read.confidence.argsort(descending=True)[:8].tolist():
    _, _, row, column = prompt.visual.cell[place].tolist()
    print(f"row {row:2d} column {column:2d}: {read.words[place][0][0]} {read.confidence[place]:.2f}")
