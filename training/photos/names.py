"""What things are called: a word that the language model can begin with, and what training never shows."""

from __future__ import annotations

# Folders of Caltech-101 that are called otherwise. A name begins with a whole word of SmolLM2's vocabulary
# where a plain synonym does ("record player" for " gram|ophone"); two folders of one thing get one name.
NAMES = {
    "Faces": "face",
    "Faces_easy": "face",
    "Leopards": "leopard",
    "Motorbikes": "motorcycle",
    "airplanes": "airplane",
    "binocular": "binoculars",
    "brontosaurus": "dinosaur",
    "buddha": "statue",
    "car_side": "car",
    "cellphone": "phone",
    "cougar_body": "mountain lion",
    "cougar_face": "mountain lion",
    "crocodile_head": "crocodile",
    "dalmatian": "spotted dog",
    "ewer": "pitcher",
    "flamingo_head": "flamingo",
    "garfield": "cartoon cat",
    "gramophone": "record player",
    "hawksbill": "turtle",
    "headphone": "headphones",
    "ketch": "sailboat",
    "mandolin": "lute",
    "menorah": "candle holder",
    "minaret": "tower",
    "nautilus": "shell",
    "pagoda": "temple",
    "revolver": "gun",
    "rooster": "chicken",
    "schooner": "sailboat",
    "snoopy": "cartoon dog",
    "stegosaurus": "dinosaur",
    "trilobite": "fossil",
    "water_lilly": "water lily",
    "windsor_chair": "wooden chair",
}
CLUTTER = "BACKGROUND_Google"  # pictures of no class
# Asked about, and in none of the pictures: a model must learn that a word in a question is no evidence.
ABSENT = (
    "banana",
    "bicycle",
    "bus",
    "castle",
    "clock",
    "cow",
    "horse",
    "house",
    "key",
    "knife",
    "mushroom",
    "penguin",
)
PLURAL = ("binoculars", "headphones", "scissors")
UNSURE = "I do not know"
COLORS = ("black", "blue", "brown", "gray", "green", "orange", "pink", "purple", "red", "white", "yellow")
PLACES = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = ("zero", "one", "two", "three", "four")


def name_of(folder: str) -> str:
    """What the pictures of a class folder are called."""
    return NAMES.get(folder, folder.replace("_", " ").lower())


def with_article(name: str) -> str:
    """The name as a question has it: "an airplane"."""
    if name in PLURAL:
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
