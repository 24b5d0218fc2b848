"""What is done to each kind of image, by Pillow in this process."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest
from PIL import AvifImagePlugin, Image, ImageChops, PngImagePlugin, TiffImagePlugin

from pipeline.adapters.decode import eight_bits, resampler
from pipeline.adapters.decode.image_files import gif, tiff
from pipeline.adapters.decode.image_files.gif import count_gif_frames
from pipeline.adapters.decode.pillow import Decoded, PillowDecoder
from pipeline.adapters.decode.resampler import Resampler
from pipeline.adapters.decode.wire import Refused, Verdict
from pipeline.decode.crop import Crop
from pipeline.decode.good_images import GOOD_IMAGES
from pipeline.decode.policy import ImageFormat
from tests.rigs.stages.decoding import noise

EDGE = 32
ALL_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF")


@pytest.fixture(autouse=True)
def _restored_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder sets Pillow up process-wide: undone after each test."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    monkeypatch.setattr(TiffImagePlugin, "READ_LIBTIFF", False)
    monkeypatch.setattr(AvifImagePlugin, "DEFAULT_MAX_THREADS", 0)


def decoder(
    *, formats: tuple[str, ...] = ALL_FORMATS, max_pixels: int = 1_000_000, reject: bool = False
) -> PillowDecoder:
    return PillowDecoder(formats=formats, max_pixels=max_pixels, reject_animations=reject)


def decode(body: bytes, *, reject: bool = False) -> Decoded:
    return decoder(reject=reject).decode(body, EDGE, EDGE)


def pixels(body: bytes) -> npt.NDArray[np.uint8]:
    return np.frombuffer(decode(body).pixels, np.uint8).reshape(EDGE, EDGE, 3)


def refusal(body: bytes, *, reject: bool = False) -> Refused:
    with pytest.raises(Refused) as caught:
        decode(body, reject=reject)
    return caught.value


def as_file(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def animation(file_format: str, frames: int = 4) -> bytes:
    shades = [Image.new("RGB", (EDGE, EDGE), (40 * n, 0, 0)) for n in range(frames)]
    return as_file(shades[0], file_format, save_all=True, append_images=shades[1:])


@pytest.mark.parametrize("file_format", ALL_FORMATS)
def test_every_format_is_named_as_configured(file_format: str) -> None:
    image = decode(as_file(Image.new("RGB", (EDGE, 2 * EDGE), (200, 100, 50)), file_format))
    assert (image.format, image.width, image.height, image.frames) == (
        file_format,
        EDGE,
        2 * EDGE,
        1,
    )


def test_a_format_outside_the_list_is_refused_though_pillow_knows_it() -> None:
    gif = as_file(Image.new("L", (4, 4)), "GIF")
    with pytest.raises(Refused) as caught:
        decoder(formats=("JPEG", "PNG")).decode(gif, EDGE, EDGE)
    assert caught.value.verdict is Verdict.UNSUPPORTED_FORMAT
    assert "JPEG, PNG" in caught.value.detail


@pytest.mark.parametrize("body", [b"", b"\0", b"<svg/>", b"%!PS-Adobe-3.0", b"SIMPLE  =   T"])
def test_what_is_no_image_is_of_an_unsupported_format(body: bytes) -> None:
    assert refusal(body).verdict is Verdict.UNSUPPORTED_FORMAT


def test_a_broken_header_of_a_known_format_is_corrupt_rather_than_unsupported() -> None:
    assert refusal(b"\x89PNG\r\n\x1a\n" + bytes(20)).verdict is Verdict.CORRUPT


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_file_cut_in_half_is_truncated(file_format: str) -> None:
    body = as_file(noise(EDGE, EDGE), file_format)
    assert refusal(body[: len(body) // 2]).verdict is Verdict.TRUNCATED


def test_a_jpeg_cut_anywhere_is_truncated() -> None:
    """Also between the segments of its header, where Pillow does not say why it refuses."""
    body = as_file(noise(EDGE, EDGE), "JPEG")
    ends = body.rindex(b"\xff\xd9")
    one = decoder()  # making one takes ten times as long as a refusal
    for length in range(3, ends):
        with pytest.raises(Refused) as caught:
            one.decode(body[:length], EDGE, EDGE)
        assert caught.value.verdict is Verdict.TRUNCATED, length


def test_a_jpeg_with_a_broken_segment_is_corrupt() -> None:
    body = as_file(noise(EDGE, EDGE), "JPEG")
    assert refusal(body[:20] + bytes(40)).verdict is Verdict.CORRUPT


TAILS = {
    "a ZIP": b"PK\x03\x04" + bytes(99),
    "HTML": b"<html><script>alert(1)</script></html>",
    "PHP": b"<?php system($_GET['c']); ?>",
    "another image": as_file(Image.new("RGB", (EDGE, EDGE), (255, 0, 0))),
}


@pytest.mark.parametrize("file_format", ALL_FORMATS)
@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_bytes_behind_the_image_are_ignored(file_format: str, tail: bytes) -> None:
    body = as_file(Image.new("RGB", (EDGE, EDGE), (9, 8, 7)), file_format)
    assert np.array_equal(pixels(body + tail), pixels(body))


@pytest.mark.parametrize("comment", [b"<html><script>alert(1)</script>", b"<?php phpinfo(); ?>"])
def test_a_jpeg_that_is_a_script_as_well_is_an_image(comment: bytes) -> None:
    plain = as_file(Image.new("RGB", (EDGE, EDGE), (9, 8, 7)), "JPEG")
    segment = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    assert np.array_equal(pixels(plain[:2] + segment + plain[2:]), pixels(plain))


def test_a_gif_that_is_a_script_as_well_is_an_image() -> None:
    """Its width, of 10,799 pixels, spells the beginning of a comment that ends behind the image:
    ``GIF89a/*…*/=1``."""
    plain = as_file(Image.new("P", (EDGE, EDGE), 3), "GIF")
    script = plain[:6] + b"/*" + plain[8:] + b"*/=1;alert(1)"
    image = decode(script)
    assert (image.format, image.width) == ("GIF", int.from_bytes(b"/*", "little"))


@pytest.mark.parametrize("file_format", ALL_FORMATS)
@pytest.mark.parametrize("head", [b"%PDF-1.7\n", b"<html>", b"PK\x03\x04", b"#!/bin/sh\n"])
def test_an_image_behind_the_head_of_something_else_is_none(file_format: str, head: bytes) -> None:
    body = as_file(Image.new("RGB", (EDGE, EDGE), (9, 8, 7)), file_format)
    assert refusal(head + body).verdict is Verdict.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("file_format", ALL_FORMATS)
def test_the_pixel_cap_holds_to_the_pixel_in_every_format(file_format: str) -> None:
    small = decoder(max_pixels=64 * 64)
    small.decode(as_file(Image.new("RGB", (64, 64)), file_format), EDGE, EDGE)
    with pytest.raises(Refused) as caught:
        small.decode(as_file(Image.new("RGB", (66, 64)), file_format), EDGE, EDGE)
    assert caught.value.verdict is Verdict.TOO_LARGE
    assert "decode.max_megapixels" in caught.value.detail


def png(width: int, height: int, depth: int, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG put together chunk by chunk (PNG specification, section 11)."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        body += struct.pack(">I", len(data)) + name + data + checksum
    return body


def test_a_header_announcing_4_gigapixels_is_refused_before_it_is_decoded() -> None:
    bomb = png(65_500, 65_500, 8, 2, (b"IDAT", zlib.compress(bytes(9))))
    found = refusal(bomb)
    assert found.verdict is Verdict.TOO_LARGE
    assert "4290.2 megapixels" in found.detail


def test_transparency_lies_over_white() -> None:
    image = Image.new("RGBA", (EDGE, EDGE), (200, 100, 0, 0))
    image.paste((200, 100, 0, 51), (0, 0, EDGE, EDGE // 2))
    seen = pixels(as_file(image))
    assert seen[-1, 0].tolist() == [255, 255, 255]
    assert seen[0, 0].tolist() == [244, 224, 204]  # a fifth of it, four fifths of white


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBa", "La"])
def test_every_mode_with_alpha_lies_over_white(mode: str) -> None:
    image = Image.new("RGBA", (EDGE, EDGE), (0, 0, 0, 0))
    premultiplied = {"RGBa": image.convert("RGBa"), "La": image.convert("LA").convert("La")}
    clear = premultiplied.get(mode) or image.convert(mode)
    assert np.asarray(eight_bits.flatten(clear)).min() == 255


def test_a_transparent_palette_entry_lies_over_white() -> None:
    image = Image.new("P", (EDGE, EDGE), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.paste(1, (0, 0, EDGE, EDGE // 2))
    for file_format in ("PNG", "GIF"):
        seen = pixels(as_file(image, file_format, transparency=0))
        assert seen[0, 0].tolist() == [40, 50, 60]
        assert seen[-1, 0].tolist() == [255, 255, 255]


def test_a_transparent_colour_lies_over_white() -> None:
    image = Image.new("RGB", (EDGE, EDGE), (10, 20, 30))
    assert pixels(as_file(image, transparency=(10, 20, 30))).min() == 255
    grey = Image.new("L", (EDGE, EDGE), 10)
    assert pixels(as_file(grey, transparency=10)).min() == 255


def test_a_transparent_colour_in_16_bits_is_ignored() -> None:
    row = b"\0" + struct.pack(">HHH", 40_000, 20_000, 10_000) * EDGE
    image = png(
        EDGE,
        EDGE,
        16,
        2,
        (b"tRNS", struct.pack(">HHH", 40_000, 20_000, 10_000)),
        (b"IDAT", zlib.compress(row * EDGE)),
    )
    assert pixels(image)[0, 0].tolist() == [156, 78, 39]


@pytest.mark.parametrize(("shade", "seen"), [(0, 0), (257, 1), (32_896, 128), (65_535, 255)])
def test_16_bit_grey_is_scaled_down_and_not_clipped(shade: int, seen: int) -> None:
    grey = Image.fromarray(np.full((EDGE, EDGE), shade, np.uint16))
    assert grey.mode == "I;16"
    assert np.unique(pixels(as_file(grey))).tolist() == [seen]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_shades_are_stretched_over_their_own_range(dtype: npt.DTypeLike) -> None:
    ramp = np.linspace(-1_000, 9_000, EDGE).astype(dtype)
    image = Image.fromarray(np.broadcast_to(ramp, (EDGE, EDGE)).copy())
    row = pixels(as_file(image, "TIFF"))[0, :, 0]
    assert (int(row[0]), int(row[-1])) == (0, 255)
    assert (np.diff(row.astype(int)) > 0).all()


def test_a_32_bit_image_of_one_shade_is_decoded() -> None:
    image = Image.fromarray(np.full((EDGE, EDGE), 7, np.float32))
    assert np.unique(pixels(as_file(image, "TIFF"))).size == 1


def test_shades_that_are_no_numbers_are_corrupt() -> None:
    shades = np.full((EDGE, EDGE), np.inf, np.float32)
    shades[0, 0] = 1
    assert refusal(as_file(Image.fromarray(shades), "TIFF")).verdict is Verdict.CORRUPT


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "LAB", "HSV"])
def test_other_modes_become_rgb(mode: str) -> None:
    white = Image.new("RGB", (EDGE, EDGE), (255, 255, 255))
    assert np.asarray(eight_bits.flatten(white.convert(mode))).min() >= 254


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright(orientation: int) -> None:
    upright = Image.new("L", (EDGE, 2 * EDGE))
    upright.paste(255, (0, 0, EDGE // 2, EDGE))  # bright at the top left
    undo = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = eight_bits.turn(upright, undo)
    image = decode(as_file(stored, "PNG", exif=exif))
    assert (image.width, image.height) == (EDGE, 2 * EDGE)
    seen = np.frombuffer(image.pixels, np.uint8).reshape(EDGE, EDGE, 3)
    assert seen[0, 0, 0] == 255
    assert seen[0, -1, 0] == seen[-1, 0, 0] == seen[-1, -1, 0] == 0


@pytest.mark.parametrize("exif", [b"Exif\0\0MM", b"Exif\0\0" + b"\xff" * 60, b"Exif\0\0II*\0\xff"])
def test_a_broken_exif_block_is_ignored(exif: bytes) -> None:
    body = as_file(Image.new("RGB", (EDGE, 2 * EDGE), (9, 9, 9)), "JPEG", exif=exif)
    assert decode(body).height == 2 * EDGE


@pytest.mark.parametrize("profile", [b"\0", b"no profile", b"\xff" * 5_000])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_broken_colour_profile_is_ignored(file_format: str, profile: bytes) -> None:
    image = Image.new("RGB", (EDGE, EDGE), (200, 100, 50))
    plain = pixels(as_file(image, file_format))
    assert np.array_equal(pixels(as_file(image, file_format, icc_profile=profile)), plain)


@pytest.mark.parametrize("file_format", ALL_FORMATS)
def test_an_image_of_one_pixel_fills_the_square(file_format: str) -> None:
    seen = pixels(as_file(Image.new("RGB", (1, 1), (200, 100, 50)), file_format))
    assert np.abs(seen.astype(int) - (200, 100, 50)).max() <= 3


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_the_first_of_several_frames_is_seen_and_all_are_counted(file_format: str) -> None:
    body = animation(file_format)
    assert decode(body).frames == 4
    assert pixels(body).max() <= 2  # the first is black


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_animations_are_refused_where_the_policy_says_so(file_format: str) -> None:
    assert refusal(animation(file_format), reject=True).verdict is Verdict.ANIMATION
    assert decode(as_file(Image.new("RGB", (4, 4)), file_format), reject=True).frames == 1


def test_a_jpeg_with_a_second_picture_is_a_still() -> None:
    # Phones store gain maps and depth maps like this; Pillow calls the file an MPO.
    body = animation("MPO", frames=2)
    with Image.open(io.BytesIO(body)) as opened:
        assert opened.format == "MPO"
    image = decode(body, reject=True)
    assert (image.format, image.frames) == ("JPEG", 1)


def test_a_gif_of_endless_tiny_blocks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gif, "MAX_GIF_BLOCKS", 1_000)
    body = animation("GIF")
    hostile = body[:-1] + b"!\xfe" + b"\x01\x20" * 1_000 + b"\0;"
    assert count_gif_frames(body) == 4
    assert refusal(hostile).verdict is Verdict.CORRUPT


def test_pages_of_a_tiff_are_counted_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "MAX_PAGES_COUNTED", 3)
    assert decode(animation("TIFF", frames=6)).frames == 3


def test_a_large_compressed_text_chunk_is_no_reason_to_refuse() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_itxt("workflow", "x" * 2_000_000, zip=True)
    assert decode(as_file(Image.new("RGB", (EDGE, EDGE)), "PNG", pnginfo=text)).width == EDGE


def test_every_format_passes_the_self_test() -> None:
    decoder().self_test()


def test_a_format_that_cannot_be_decoded_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = decoder(formats=("PNG",))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    with pytest.raises(RuntimeError, match="PNG cannot be decoded"):
        broken.self_test()


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_the_bundled_images_are_good_ones_of_their_formats(name: ImageFormat) -> None:
    decoded = decoder(formats=(name,)).decode(GOOD_IMAGES[name], EDGE, EDGE)
    assert decoded.format == name
    assert len(set(decoded.pixels)) > 2


def test_a_resizer_that_does_not_go_with_pillow_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def blank(_: Resampler, image: Image.Image, crop: Crop) -> Image.Image:
        return Image.new(image.mode, (crop.edge, crop.edge))

    monkeypatch.setattr(Resampler, "quickly", blank)
    with pytest.raises(RuntimeError, match=r"cykooz-resizer .* constraints\.txt"):
        decoder().self_test()


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("size", [(400, 300), (300, 700)])
def test_without_the_resizer_pillow_does_its_work(
    size: tuple[int, int], fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = as_file(Image.linear_gradient("L").resize(size).convert("RGB"), "JPEG")

    def decoded() -> npt.NDArray[np.int64]:
        each = PillowDecoder(
            formats=("JPEG",), max_pixels=1_000_000, reject_animations=False, fast=fast
        )
        each.self_test()
        return np.frombuffer(each.decode(body, EDGE, EDGE).pixels, np.uint8).astype(np.int64)

    with_it = decoded()
    monkeypatch.setattr(resampler, "cykooz_resizer", None)
    assert np.abs(decoded() - with_it).max() <= 1


def test_without_the_resizer_a_tall_picture_is_resized_in_pillows_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Edges as sharp as a screenshot's text: the other order of the axes would show.
    picture = noise(150, 400).convert("L").point(lambda shade: 255 * (shade > 127))
    crop = Crop.of(*picture.size, EDGE, EDGE)
    monkeypatch.setattr(resampler, "cykooz_resizer", None)
    ours = Resampler()
    apart = ImageChops.difference(
        ours.quickly(picture, crop), ours.like_the_reference(picture, crop)[0]
    )
    assert max(apart.tobytes()) <= 1
