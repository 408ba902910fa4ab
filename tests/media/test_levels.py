"""Levels: what has more than eight bits keeps its brightness, and a note says what was assumed."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from wordsight._utils.notes import listen_to_notes
from wordsight.errors import MediaError, MediaNote
from wordsight.media.images import load_picture

SHARES = np.linspace(0.2, 0.8, 12).reshape(3, 4)  # of white, in a picture of gray


def heard(picture):
    """The grays of a picture as shares of white, and the notes about it."""
    notes = []
    with listen_to_notes(notes.append):
        read = load_picture(picture)
    return np.asarray(read, float)[..., 0] / 255, notes


def file(values, kind):
    out = io.BytesIO()
    Image.fromarray(values).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_gray_of_fewer_bits_in_sixteen_is_as_bright_as_it_was(bits, kind):
    white = 2**bits - 1
    shares, notes = heard(file((SHARES * white).astype(np.uint16), kind))
    assert shares == pytest.approx(SHARES, abs=0.01)
    assert [f"{white:g} is taken as white" in note for note in notes] == ([] if bits == 16 else [True])


@pytest.mark.parametrize("kind", ["TIFF", "PPM"])  # of floats, PPM is PFM
@pytest.mark.parametrize(("white", "is_told"), [(1, False), (255, True), (65535, True)])
def test_floats_are_as_bright_as_they_were(white, is_told, kind):
    shares, notes = heard(file((SHARES * white).astype(np.float32), kind))
    assert shares == pytest.approx(SHARES, abs=0.01)
    assert [f"{white:g} is taken as white" in note for note in notes] == [True] * is_told


def test_floats_that_overshoot_a_little_are_cut():
    shares, _ = heard(np.array([[-0.002, 0.5, 1.003]], np.float32))
    assert shares == pytest.approx(np.array([[0, 0.5, 1]]), abs=0.01)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, np.uint16, np.uint32])
def test_whole_numbers_up_to_255_are_what_they_say(dtype):
    assert heard((SHARES * 255).astype(dtype))[0] == pytest.approx(SHARES, abs=0.01)


def test_a_portable_graymap_says_itself_what_white_is():
    dark = (SHARES * 4095).astype(">u2")
    shares, notes = heard(b"P5 4 3 65535\n" + dark.tobytes())
    assert shares == pytest.approx(SHARES / 16, abs=0.01)
    assert not notes


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.full((3, 4), np.nan, np.float32), "holds NaN or infinity"),
        (np.full((3, 4), np.inf, np.float32), "holds NaN or infinity"),
        (np.array([[0.0, 3.0]], np.float32), "from 0 to 3, of which it cannot be told"),
        (np.array([[-1.0, 1.0]], np.float32), "from -1 to 1, of which it cannot be told"),
        (np.array([[0.0, 1e6]], np.float32), "of which it cannot be told"),
        (np.array([[2_590_000, 13_650_000]], np.int32), "of which it cannot be told"),
    ],
)
def test_values_of_which_white_cannot_be_told_are_refused(values, sentence):
    for given in (values, file(values, "TIFF")):
        with pytest.raises(MediaError, match=sentence):
            load_picture(given)


def test_what_is_assumed_is_a_warning_where_nobody_listens():
    with pytest.warns(MediaNote, match="the array: its values reach 4000 .uint16.: 4095 is taken as white"):
        load_picture(np.array([[4000]], np.uint16))


def png_of_colors(values):
    """A PNG of 16 bits a color, which Pillow does not write."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_colors_of_sixteen_bits_keep_theirs():
    colors = np.stack([SHARES, SHARES[::-1], SHARES * 0], -1)
    read = np.asarray(load_picture(png_of_colors(colors * 65535)), float) / 255
    assert read == pytest.approx(colors, abs=0.01)


def test_colors_of_twelve_bits_in_sixteen_are_refused_since_they_would_be_black():
    with pytest.raises(MediaError, match="16 bits of which the brightest is at most"):
        load_picture(png_of_colors(np.full((2, 2, 3), 4000)))


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_turned_as_eight_are(turn, kind):
    exif, turned = Image.Exif(), []
    exif[0x0112] = turn
    for values in ((SHARES * 255).astype(np.uint8), (SHARES * 65535).astype(np.uint16)):
        out = io.BytesIO()
        Image.fromarray(values).save(out, kind, exif=exif)
        turned.append(np.asarray(load_picture(out.getvalue()), float))
    assert turned[0].shape[:2] == ((4, 3) if turn in (6, 8) else (3, 4))
    assert np.abs(turned[0] - turned[1]).max() <= 1


COLORS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "given",
    [
        COLORS,
        COLORS.tolist,
        COLORS.transpose(2, 0, 1),
        COLORS / np.float32(255),
        torch.tensor(COLORS),
        torch.tensor(COLORS).permute(2, 0, 1).div(255).requires_grad_(),
        torch.tensor(COLORS).permute(2, 0, 1).div(255).bfloat16(),
        np.dstack([COLORS, np.full((5, 7), 255, np.uint8)]),
    ],
    ids=[
        "array",
        "no array",
        "channels first",
        "floats",
        "tensor",
        "tensor that learns",
        "bfloat16",
        "alpha",
    ],
)
def test_arrays_and_tensors_are_pictures(given):
    if callable(given):
        with pytest.raises(MediaError, match="expected a picture: a path"):
            load_picture(given())
        return
    read = np.asarray(load_picture(given), int)
    assert np.abs(read - COLORS).max() <= 2


def test_one_channel_and_one_bit_are_gray():
    assert heard(SHARES.astype(np.float32)[..., None])[0] == pytest.approx(SHARES, abs=0.01)
    assert heard(SHARES > 0.5)[0].tolist() == (SHARES > 0.5).astype(float).tolist()


@pytest.mark.parametrize(
    "shape", [(), (5,), (0, 4), (5, 7, 2), (5, 7, 5), (2, 5, 7, 3), (1, 1, 5, 7)], ids=str
)
def test_an_array_that_is_no_picture_is_refused(shape):
    with pytest.raises(MediaError, match=r"the array has shape .*expected \(height, width\)"):
        load_picture(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("values", [np.array([["a"]]), np.array([[1j]]), np.array([[None]])])
def test_an_array_of_no_numbers_is_refused(values):
    with pytest.raises(MediaError, match="expected whole numbers or floats"):
        load_picture(values)
