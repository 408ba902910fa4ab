"""What paper_detailcaps.yaml makes of a document; lmms-eval's code for NoCaps scores it."""

import io
from hashlib import sha256

from lmms_eval.tasks.nocaps.utils import nocaps_process_result
from PIL import Image

CAPTIONS = ("GT_Caption_GPT4O", "GT_Caption_GPT4V", "GT_Caption_Gemini15Pro")


def doc_to_visual(doc):
    return [Image.open(io.BytesIO(doc["binary"])).convert("RGB")]


def doc_to_target(doc):
    return [doc[name] for name in CAPTIONS]


def process_results(doc, results):
    number = int(sha256(doc["image"].encode()).hexdigest()[:12], 16)  # pictures of NoCaps have numbers
    return nocaps_process_result({"annotations_captions": doc_to_target(doc), "image_id": number}, results)
