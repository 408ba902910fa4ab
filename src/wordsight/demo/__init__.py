"""The embedded model, its codebook, its scorer and sample pictures: data of the package, and where it is."""

from pathlib import Path

FOLDER = Path(__file__).parent
MODEL = FOLDER / "model"
CODEBOOK = FOLDER / "codebook"
SCORER = FOLDER / "scorer"
PICTURES = FOLDER / "pictures"
QUESTIONS = {  # pictures of the test split, beyond those that the tasks ask about
    "garden.png": ("how many flowers are in the image?", "what color is the triangle?"),
    "harbor.png": ("describe the image.", "what is at the top left of the image?"),
    "night.png": ("is there a panda in the image?", "what is the background?"),
}
