"""The embedded model, its codebook, its scorer and sample pictures: data of the package, and where it is."""

from pathlib import Path

FOLDER = Path(__file__).parent
MODEL = FOLDER / "model"
CODEBOOK = FOLDER / "codebook"
SCORER = FOLDER / "scorer"
PICTURES = FOLDER / "pictures"
QUESTIONS = {  # pictures of the test split, beyond those that the tasks ask about, and what is true of them
    "garden.png": {"where is the pig?": "bottom left", "what color is the triangle?": "green"},
    "harbor.png": {"what is at the top left of the image?": "boat", "is there a banana in the image?": "yes"},
    "night.png": {"how many cats are in the image?": "two", "is there a panda in the image?": "yes"},
}
