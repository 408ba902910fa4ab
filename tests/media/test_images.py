"""Opening pictures: the right colors come out the right way up; what cannot be read is explained."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from wordsight.errors import MediaNote, UsageError
from wordsight.media import images as pictures
from wordsight.media.images import find_pictures, load_picture, read_picture

UPRIGHT = [["red", "blue"], ["white", "black"]]  # two by two blocks
# The EXIF orientation of a camera, and how the pixels lie in a file that has it.
STORED = {
    1: [["red", "blue"], ["white", "black"]],
    2: [["blue", "red"], ["black", "white"]],
    3: [["black", "white"], ["blue", "red"]],
    4: [["white", "black"], ["red", "blue"]],
    5: [["red", "white"], ["blue", "black"]],
    6: [["blue", "black"], ["red", "white"]],
    7: [["black", "blue"], ["white", "red"]],
    8: [["white", "red"], ["black", "blue"]],
}


def blocks(rows, size=16):
    """Colored squares of `size` pixels."""
    picture = Image.new("RGB", (size * len(rows[0]), size * len(rows)))
    for y, row in enumerate(rows):
        for x, color in enumerate(row):
            picture.paste(color, (x * size, y * size, (x + 1) * size, (y + 1) * size))
    return picture


def noise(height=64, width=48):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def ramp(dtype):
    """One row of gray from black to white, in 16 bits."""
    return np.array([[0, 0x4000, 0x8000, 0xC000, 0xFFFF]], dtype=dtype)


def grays(picture):
    return np.asarray(picture)[0].tolist()


RAMP = [[0] * 3, [64] * 3, [128] * 3, [192] * 3, [255] * 3]


def test_an_rgb_file_is_read_as_it_is(tmp_path):
    noise().save(tmp_path / "noise.png")
    assert np.array_equal(load_picture(tmp_path / "noise.png"), noise())


def test_an_image_in_memory_is_read_like_a_file():
    assert np.array_equal(load_picture(noise()), noise())


def test_a_path_may_be_text(tmp_path):
    noise().save(tmp_path / "noise.png")
    assert load_picture(str(tmp_path / "noise.png")).size == (48, 64)


def test_the_picture_stays_open_when_its_file_is_gone(tmp_path):
    noise().save(tmp_path / "noise.png")
    picture = load_picture(tmp_path / "noise.png")
    (tmp_path / "noise.png").unlink()
    assert picture.getpixel((0, 0)) == noise().getpixel((0, 0))


def test_a_file_is_known_by_its_content_not_its_name(tmp_path):
    noise().save(tmp_path / "noise.txt", "PNG")
    assert np.array_equal(load_picture(tmp_path / "noise.txt"), noise())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"no such picture: .*gone\.png"):
        load_picture(tmp_path / "gone.png")


def test_a_folder_is_no_picture(tmp_path):
    with pytest.raises(UsageError, match="is a folder; expected the path of a picture"):
        load_picture(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 5000, b"%PDF-1.7 hello"], ids=lambda c: str(c[:8])
)
def test_a_file_that_is_no_image_is_refused(tmp_path, content):
    (tmp_path / "text.png").write_bytes(content)
    with pytest.raises(UsageError, match=r"text\.png is no picture that can be read"):
        load_picture(tmp_path / "text.png")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_a_file_cut_short_is_refused(tmp_path, kind, share):
    whole = io.BytesIO()
    noise().save(whole, kind)
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[: int(share * len(whole.getvalue()))])
    with pytest.raises(UsageError, match=r"cut.png is (damaged or cut short|no picture)"):
        load_picture(tmp_path / "cut.png")


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path):
    whole = io.BytesIO()
    noise().save(whole, "PNG")
    damaged = bytearray(whole.getvalue())
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "damaged.png").write_bytes(damaged)
    with pytest.raises(UsageError, match=r"damaged\.png is damaged or cut short"):
        load_picture(tmp_path / "damaged.png")


def test_a_png_with_a_broken_chunk_is_refused(tmp_path):
    whole = io.BytesIO()
    noise(300, 300).save(whole, "PNG")
    first, *others = whole.getvalue().split(b"IDAT")
    assert len(others) > 1
    (tmp_path / "broken.png").write_bytes(first + b"IDAT" + b"\0\1\2\3".join(others))
    with pytest.raises(UsageError, match=r"broken\.png is damaged or cut short"):
        load_picture(tmp_path / "broken.png")


def test_a_picture_too_large_to_be_one_is_refused(tmp_path, monkeypatch):
    noise().save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UsageError, match=r"large.png .*exceeds limit"):
        load_picture(tmp_path / "large.png")


def test_a_picture_of_a_hundred_million_pixels_is_read(tmp_path):
    """More than Pillow likes, as large cameras make them."""
    Image.new("1", (11_648, 8_736)).save(tmp_path / "large.png")
    assert load_picture(tmp_path / "large.png").size == (11_648, 8_736)


def test_a_file_that_does_not_say_that_it_can_seek_is_read_from_its_beginning():
    """As a SpooledTemporaryFile before Python 3.11, which is what uploads are."""

    class Spooled:
        def __init__(self, data):
            file = io.BytesIO(data)
            self.read, self.seek, self.tell = file.read, file.seek, file.tell

    data = io.BytesIO()
    noise().save(data, "PNG")
    spooled = Spooled(data.getvalue())
    spooled.seek(5)
    assert load_picture(spooled).tobytes() == noise().tobytes()


def test_an_open_file_is_read_as_its_path_is_and_errors_name_it(tmp_path):
    noise().save(tmp_path / "good.png")
    with (tmp_path / "good.png").open("rb") as file:
        assert read_picture(file, "any").tobytes() == load_picture(tmp_path / "good.png").tobytes()
    with pytest.raises(UsageError, match=r"^holiday\.png is no picture"):
        read_picture(io.BytesIO(b"text"), "holiday.png")


@pytest.mark.parametrize("error", [struct.error, IndexError, KeyError, TypeError, OverflowError, EOFError])
def test_whatever_a_decoder_raises_is_damage(tmp_path, monkeypatch, error):
    """All of these were raised for files in which a few bytes had been changed."""
    noise().save(tmp_path / "bad.jpg")

    def stumble(image, name):
        raise error("a number that is none")

    monkeypatch.setattr(pictures, "upright_rgb", stumble)
    with pytest.raises(UsageError, match=r"bad\.jpg is damaged .*a number that is none"):
        load_picture(tmp_path / "bad.jpg")


def test_more_pixels_than_there_is_room_for_are_not_decoded(tmp_path, monkeypatch):
    Image.new("1", (1000, 500)).save(tmp_path / "flat.png")
    assert read_picture(tmp_path / "flat.png", "flat", pixels=500_000).size == (1000, 500)
    monkeypatch.setattr(pictures, "upright_rgb", lambda image, name: pytest.fail("it was decoded"))
    with pytest.raises(UsageError, match=r"^flat has 0\.5 million pixels, there is room for 0\.4 million"):
        read_picture(tmp_path / "flat.png", "flat", pixels=400_000)


def test_a_program_for_a_printer_is_not_run():
    """What Pillow has for EPS starts Ghostscript."""
    file = io.BytesIO()
    noise().save(file, "EPS")
    with pytest.raises(UsageError, match="is no picture that can be read"):
        read_picture(file, "any.png")


@pytest.mark.parametrize("kind", ["AVIF", "GIF", "PNG", "WEBP"])
def test_an_animation_is_refused(tmp_path, kind):
    noise().save(tmp_path / "moving", kind, save_all=True, append_images=[noise().rotate(180)])
    with pytest.raises(UsageError, match="moving is an animation of 2 frames; expected a single picture"):
        load_picture(tmp_path / "moving")


def test_pages_are_refused(tmp_path):
    noise().save(tmp_path / "pages", "TIFF", save_all=True, append_images=[noise().rotate(180)])
    with pytest.raises(UsageError, match="pages has 2 pages; expected a single picture"):
        load_picture(tmp_path / "pages")


def test_a_page_that_is_a_smaller_copy_is_none(tmp_path):
    small = noise().resize((12, 16))
    small.encoderinfo = {"tiffinfo": {254: 1}}
    noise().save(tmp_path / "scan", "TIFF", save_all=True, append_images=[small])
    assert np.array_equal(load_picture(tmp_path / "scan"), noise())


def test_of_a_picture_with_others_beside_it_the_first_is_read(tmp_path):
    noise().save(tmp_path / "pages", "MPO", save_all=True, append_images=[noise().rotate(180)])
    read = np.asarray(load_picture(tmp_path / "pages"), int)
    first, second = (np.abs(read - np.asarray(page, int)).mean() for page in (noise(), noise().rotate(180)))
    assert first < 0.7 * second


@pytest.mark.parametrize("size", [(0, 0), (0, 5), (5, 0)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(UsageError, match=f"no pixels: its size is {size[0]}x{size[1]}"):
        load_picture(Image.new("RGB", size))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_one_pixel_is_enough_for_a_side(size):
    assert load_picture(Image.new("RGB", size)).size == size


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_gray_keep_their_brightness(tmp_path, kind):
    Image.fromarray(ramp("<u2")).save(tmp_path / "gray", kind)
    assert grays(load_picture(tmp_path / "gray")) == pytest.approx(np.array(RAMP), abs=1)


def test_sixteen_bits_of_gray_in_memory_keep_their_brightness():
    assert grays(load_picture(Image.fromarray(ramp("<u2")))) == pytest.approx(np.array(RAMP), abs=1)


def test_sixteen_bits_in_big_endian_order_keep_their_brightness(tmp_path):
    Image.fromarray(ramp(">u2")).save(tmp_path / "gray.tiff")
    assert grays(load_picture(tmp_path / "gray.tiff")) == pytest.approx(np.array(RAMP), abs=1)


def test_sixteen_bits_in_a_portable_graymap_keep_their_brightness(tmp_path):
    (tmp_path / "gray.pgm").write_bytes(b"P5 5 1 65535\n" + ramp(">u2").tobytes())
    assert grays(load_picture(tmp_path / "gray.pgm")) == pytest.approx(np.array(RAMP), abs=1)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV"])
def test_other_color_modes_become_the_same_colors(mode):
    picture = blocks([["white", "black"]]) if mode in ("1", "L") else blocks(UPRIGHT)
    read = np.asarray(load_picture(picture.convert(mode)), dtype=int)
    assert np.abs(read - np.asarray(picture, dtype=int)).max() <= 3


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_palette_file_becomes_its_colors(tmp_path, kind):
    blocks(UPRIGHT).convert("P").save(tmp_path / "palette", kind)
    assert np.array_equal(load_picture(tmp_path / "palette"), blocks(UPRIGHT))


def test_a_cmyk_jpeg_becomes_its_colors(tmp_path):
    blocks(UPRIGHT).convert("CMYK").save(tmp_path / "print.jpg", quality=100)
    read = np.asarray(load_picture(tmp_path / "print.jpg"), dtype=int)
    assert np.abs(read - np.asarray(blocks(UPRIGHT), dtype=int)).max() <= 8


@pytest.mark.parametrize(
    ("alpha", "color"), [(0, (255, 255, 255)), (255, (255, 0, 0)), (128, (255, 127, 127))]
)
def test_transparent_parts_are_laid_on_white(alpha, color):
    assert load_picture(Image.new("RGBA", (2, 2), (255, 0, 0, alpha))).getpixel((0, 0)) == pytest.approx(
        color
    )


@pytest.mark.parametrize(("alpha", "gray"), [(0, 255), (255, 0), (128, 127)])
def test_transparent_gray_is_laid_on_white(alpha, gray):
    assert load_picture(Image.new("LA", (2, 2), (0, alpha))).getpixel((1, 1)) == (gray, gray, gray)


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_the_one_color_that_a_png_calls_transparent_becomes_white(tmp_path, mode):
    picture = blocks([["black", "#999999"]]).convert(mode)
    picture.save(tmp_path / "keyed.png", transparency=picture.getpixel((0, 0)))
    read = load_picture(tmp_path / "keyed.png")
    assert (read.getpixel((0, 0)), read.getpixel((31, 0))) == ((255, 255, 255), (0x99, 0x99, 0x99))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("orientation", "stored"), STORED.items())
def test_a_picture_from_a_turned_camera_is_upright(tmp_path, kind, orientation, stored):
    exif = Image.Exif()
    exif[0x0112] = orientation
    blocks(stored).save(tmp_path / "camera", kind, exif=exif, quality=100)
    read = load_picture(tmp_path / "camera").resize((2, 2), Image.Resampling.BOX)
    assert np.abs(np.asarray(read, dtype=int) - np.asarray(blocks(UPRIGHT, 1), dtype=int)).max() < 40


def test_a_long_side_turns_with_the_camera(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "camera.jpg", exif=exif)
    assert load_picture(tmp_path / "camera.jpg").size == (20, 30)


def test_the_picture_given_is_left_as_it_was():
    picture = Image.new("RGBA", (2, 2), (255, 0, 0, 0))
    load_picture(picture)
    assert picture.getpixel((0, 0)) == (255, 0, 0, 0)


@pytest.fixture
def folder(tmp_path):
    for name in (
        "z.png",
        "b.png",
        "a.JPG",
        "inner/deep/c.webp",
        "notes.txt",
        "inner/d.tiff",
        "model.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    return tmp_path


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_the_pictures_of_a_folder_are_found_by_name(folder, kind):
    with pytest.warns(
        MediaNote, match=r"left out 2 that are no pictures by their suffix, such as .*model\.safe"
    ):
        found = [path.relative_to(folder).as_posix() for path in find_pictures(kind(folder))]
    assert found == ["a.JPG", "b.png", "inner/d.tiff", "inner/deep/c.webp", "z.png"]


@pytest.mark.parametrize(
    ("name", "message"), [("gone", "no such folder: .*gone"), ("notes.txt", "is a file")]
)
def test_a_folder_that_is_none_is_refused(folder, name, message):
    with pytest.raises(UsageError, match=f"{message}; expected a folder of pictures"):
        find_pictures(folder / name)


def test_a_folder_without_pictures_is_refused(folder):
    with pytest.raises(UsageError, match=r"no pictures in .*folder.png: expected files ending in .*\.png"):
        find_pictures(folder / "folder.png")
