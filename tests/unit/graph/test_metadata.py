"""Reading workflows back: files of every kind, written as ComfyUI's nodes write them, whole, broken and hostile.

Videos and sounds are built by hand after what FFmpeg (by which ComfyUI writes them) does; the conformance tests read
what a real server wrote.
"""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyone.errors import ValidationError
from comfyone.graph.files import GraphFileError, GraphFileNotFoundError
from comfyone.graph.media.source import MAX_TEXT
from comfyone.graph.metadata import NoWorkflowError, UnknownFileError, read_metadata, read_workflow
from tests.graphs import node, text_to_image, tiny
from tests.support.pictures import picture

PROMPT = text_to_image("une chouette élégante 🦉")
WORKFLOW = {"nodes": [{"id": 1, "type": "KSampler"}], "links": [], "version": 0.4}
TEXTS = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}


def stored(kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture().save(buffer, kind, **options)
    return buffer.getvalue()


def png(texts: dict[str, str] = TEXTS, **options: Any) -> bytes:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text, **options)
    return stored("PNG", pnginfo=info, compress_level=4)


def international_png(compressed: bool) -> bytes:
    info = PngInfo()
    for name, text in TEXTS.items():
        info.add_itxt(name, text, zip=compressed)
    return stored("PNG", pnginfo=info)


def animated_png() -> bytes:
    info = PngInfo()
    for name, text in TEXTS.items():
        info.add(b"comf", name.encode("latin-1") + b"\0" + text.encode("latin-1"), after_idat=True)
    return stored("PNG", pnginfo=info, save_all=True, duration=166, append_images=[picture((1, 2, 3))])


def exif() -> Image.Exif:
    held = picture().getexif()
    held[0x0110] = "prompt:" + TEXTS["prompt"]
    held[0x010F] = "workflow:" + TEXTS["workflow"]
    return held


def webp(animated: bool) -> bytes:
    more = {"save_all": True, "duration": 100, "append_images": [picture((1, 2, 3))]} if animated else {}
    return stored("WEBP", exif=exif(), lossless=True, **more)


def box(kind: bytes, *inside: bytes, wide: bool = False) -> bytes:
    body = b"".join(inside)
    if wide:
        return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    return struct.pack(">I4s", len(body) + 8, kind) + body


def moov(texts: dict[str, str] = TEXTS, old_meta: bool = False, in_udta: bool = True) -> bytes:
    hdlr = box(b"hdlr", bytes(8), b"mdta", bytes(13))
    keys = box(b"keys", struct.pack(">II", 0, len(texts)), *(box(b"mdta", name.encode()) for name in texts))
    items = [
        box(struct.pack(">I", number), box(b"data", struct.pack(">II", 1, 0), text.encode()))
        for number, text in enumerate(texts.values(), start=1)
    ]
    meta = box(b"meta", b"" if old_meta else bytes(4), hdlr, keys, box(b"ilst", *items))
    return box(b"moov", box(b"mvhd", bytes(100)), box(b"udta", meta) if in_udta else meta)


FTYP = box(b"ftyp", b"isom", bytes(4), b"isomiso2avc1mp41")


def commented_mp4() -> bytes:
    together = json.dumps({"prompt": TEXTS["prompt"], "workflow": WORKFLOW, "CreationTime": "now"})
    item = box(b"\xa9cmt", box(b"data", struct.pack(">II", 1, 0), together.encode()))
    meta = box(b"meta", bytes(4), box(b"hdlr", bytes(8), b"mdir", bytes(13)), box(b"ilst", item))
    return FTYP + box(b"moov", box(b"udta", meta))


def element(kind: int, *inside: bytes, unknown: bool = False) -> bytes:
    body = b"".join(inside)
    mark = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    return mark + (b"\x01" + b"\xff" * 7 if unknown else (len(body) | 1 << 56).to_bytes(8, "big")) + body


def matroska(texts: dict[str, str] = TEXTS, live: bool = False, swapped: bool = False) -> bytes:
    simple = []
    for name, text in texts.items():
        parts = [element(0x45A3, name.upper().encode()), element(0x4487, text.encode())]
        simple.append(element(0x67C8, *(reversed(parts) if swapped else parts)))
    tags = element(0x1254C367, element(0x7373, element(0x63C0), *simple))
    cluster = element(0x1F43B675, element(0xE7, b"\0"), element(0xA3, bytes(500)), unknown=live)
    return element(0x1A45DFA3, element(0x4282, b"webm")) + element(0x18538067, cluster, tags, unknown=live)


def comments(texts: dict[str, str] = TEXTS) -> bytes:
    lines = [f"{name}={text}".encode() for name, text in texts.items()]
    held = b"".join(struct.pack("<I", len(line)) + line for line in lines)
    return struct.pack("<I", 4) + b"Lavf" + struct.pack("<I", len(lines)) + held


def flac() -> bytes:
    held = comments()
    info = struct.pack(">I", 34) + bytes(34)
    return b"fLaC" + info + struct.pack(">I", 4 << 24 | len(held)) + held + struct.pack(">I", 1 << 31 | 1 << 24 | 0)


def ogg(mark: bytes = b"OpusTags", first: bytes = b"OpusHead") -> bytes:
    packet, pages = mark + comments(), []
    lengths = [255] * (len(packet) // 255) + [len(packet) % 255]
    for serial, body, table in [(7, first, [len(first)]), (8, b"other", [5])] + [
        (7, packet[255 * place : 255 * (place + 10)], lengths[place : place + 10])
        for place in range(0, len(lengths), 10)
    ]:
        pages.append(struct.pack("<4sBBqIIIB", b"OggS", 0, 0, 0, serial, 0, 0, len(table)) + bytes(table) + body)
    return b"".join(pages)


def syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def mp3(version: int = 4, encoding: int = 3, extended: bool = False) -> bytes:
    name = {0: "latin-1", 1: "utf-16", 3: "utf-8"}[encoding]
    frames = b""
    for key, text in TEXTS.items():
        nul = "\0" if encoding != 1 else ""
        parts = [f"{key}{nul}".encode(name), b"\0\0" if encoding == 1 else b"", text.encode(name)]
        body = bytes([encoding]) + b"".join(parts)
        size = syncsafe(len(body)) if version == 4 else struct.pack(">I", len(body))
        frames += b"TXXX" + size + bytes(2) + body
    frames = b"TIT2" + syncsafe(4) + bytes(2) + b"\x03owl" + frames + bytes(20)
    if extended:
        frames = (syncsafe(6) + b"\x01\0" if version == 4 else struct.pack(">I", 6) + bytes(6)) + frames
    head = b"ID3" + bytes([version, 0, 0x40 if extended else 0]) + syncsafe(len(frames))
    return head + frames + b"\xff\xfb\x90\x00" + bytes(400)


def safetensors() -> bytes:
    header = json.dumps({"__metadata__": TEXTS, "samples": {"dtype": "F32"}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(64)


def glb() -> bytes:
    scene = json.dumps({"asset": {"version": "2.0", "extras": TEXTS}}).encode()
    return b"glTF" + struct.pack("<II", 2, 20 + len(scene)) + struct.pack("<I4s", len(scene), b"JSON") + scene


def svg() -> bytes:
    held = json.dumps({"prompt": PROMPT, "workflow": WORKFLOW}, indent=2)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg">\n  <metadata>\n  <![CDATA[\n'
        f"{held}\n  ]]>\n  </metadata>\n<path/></svg>"
    ).encode()


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png": ("png", png),
    "png, compressed texts": ("png", lambda: png(zip=True)),
    "png, international texts": ("png", lambda: international_png(False)),
    "png, international compressed texts": ("png", lambda: international_png(True)),
    "animated png": ("png", animated_png),
    "webp": ("webp", lambda: webp(False)),
    "animated webp": ("webp", lambda: webp(True)),
    "jpeg": ("jpeg", lambda: stored("JPEG", exif=exif())),
    "mp4": ("mp4", lambda: FTYP + box(b"mdat", bytes(999)) + moov()),
    "mp4, quick start": ("mp4", lambda: FTYP + moov() + box(b"mdat", bytes(999))),
    "mp4, wide boxes": ("mp4", lambda: FTYP + box(b"mdat", bytes(999), wide=True) + moov()),
    "mp4, last box as far as it goes": ("mp4", lambda: FTYP + moov() + struct.pack(">I4s", 0, b"mdat") + bytes(99)),
    "mov": ("mp4", lambda: box(b"ftyp", b"qt  ") + moov(old_meta=True, in_udta=False)),
    "mp4, both in a comment": ("mp4", commented_mp4),
    "mp4, written twice": ("mp4", lambda: FTYP + moov({name: json.dumps(text) for name, text in TEXTS.items()})),
    "webm": ("matroska", matroska),
    "webm, live": ("matroska", lambda: matroska(live=True)),
    "mkv, text before name": ("matroska", lambda: matroska(swapped=True)),
    "mkv, both in a comment": (
        "matroska",
        lambda: matroska({"comment": json.dumps({"prompt": PROMPT, "workflow": TEXTS["workflow"]})}),
    ),
    "flac": ("flac", flac),
    "opus": ("ogg", ogg),
    "vorbis": ("ogg", lambda: ogg(b"\x03vorbis", b"\x01vorbis")),
    "mp3": ("mp3", mp3),
    "mp3, older": ("mp3", lambda: mp3(3, 0, extended=True)),
    "mp3, wide letters": ("mp3", lambda: mp3(4, 1, extended=True)),
    "latent": ("safetensors", safetensors),
    "glb": ("glb", glb),
    "svg": ("svg", svg),
    "json of both": ("json", lambda: json.dumps({"prompt": PROMPT, "workflow": WORKFLOW}).encode()),
}
each_kind = pytest.mark.parametrize("name", FILES)


@each_kind
def test_both_workflows_come_back_from_every_kind_of_file(name: str, tmp_path: Path) -> None:
    kind, make = FILES[name]
    path = tmp_path / "file"
    path.write_bytes(make())
    found = read_metadata(path)
    assert (found.kind, found.prompt, found.workflow) == (kind, PROMPT, WORKFLOW)
    assert read_workflow(str(path)) == PROMPT
    assert read_workflow(make()) == PROMPT
    with path.open("rb") as file:
        assert read_workflow(file) == PROMPT


@pytest.mark.parametrize(
    ("content", "expected"),
    [(PROMPT, (PROMPT, None)), (WORKFLOW, (None, WORKFLOW)), ({"prompt": PROMPT}, (PROMPT, None))],
)
def test_a_workflow_file_is_read_as_what_it_is(content: Any, expected: tuple[Any, Any]) -> None:
    found = read_metadata(b"\xef\xbb\xbf " + json.dumps(content).encode())
    assert (found.prompt, found.workflow) == expected


def test_other_texts_of_a_file_are_there_as_well() -> None:
    assert read_metadata(png({**TEXTS, "Artist": "Ärmel"})).texts["artist"] == "Ärmel"
    assert set(read_metadata(png()).texts) == {"prompt", "workflow"}


def test_a_graph_under_the_wrong_name_is_found() -> None:
    found = read_metadata(png({"workflow": TEXTS["prompt"]}))
    assert (found.prompt, found.workflow) == (PROMPT, None)


def test_what_the_server_noted_while_it_ran_is_left_out() -> None:
    graph = {"1": {**node("LoadImage", image="a.png"), "is_changed": ["abc", float("nan")]}}
    assert read_workflow(png({"prompt": json.dumps(graph)})) == {"1": node("LoadImage", image="a.png")}


def test_a_file_with_the_editors_workflow_alone_leads_to_the_conversion() -> None:
    with pytest.raises(NoWorkflowError, match="comfyone convert"):
        read_workflow(png({"workflow": TEXTS["workflow"]}))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (png({}), "disable-metadata"),
        (png({"parameters": "an owl, Steps: 20"}), "another program"),
        (png({"prompt": "an owl"}), "what it has under that name is none"),
        (png({"prompt": '{"a": 1}', "workflow": "[]"}), "what it has under that name is none"),
        (png()[:60], "ends too early, or is damaged"),
        (FTYP + box(b"moov"), "disable-metadata"),
        (b"\xff\xfb\x90\x00" + bytes(99), "disable-metadata"),
        (b'{"a": 1}', "what it has under that name is none"),
    ],
)
def test_a_file_without_a_workflow_says_why(content: bytes, expected: str) -> None:
    with pytest.raises(NoWorkflowError, match=expected) as caught:
        read_metadata(content)
    assert isinstance(caught.value, ValidationError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"plain text", b"RIFF\0\0\0\0WAVE", bytes(100), b"\x89PNG"])
def test_a_file_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(UnknownFileError):
        read_metadata(content)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphFileNotFoundError, match=r"owl\.png"):
        read_metadata(tmp_path / "owl.png")
    with pytest.raises(GraphFileError, match="can't be read"):
        read_metadata(tmp_path)
    with pytest.raises(GraphFileError, match="line 1, column 8"):
        read_metadata(b'{"1": [')


def test_a_giant_video_is_read_in_no_time_and_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "giant.mp4"
    size = 6 * 2**30
    with path.open("wb") as file:
        file.write(FTYP + struct.pack(">I4sQ", 1, b"mdat", size))
        file.seek(len(FTYP) + size)
        file.write(moov())
    tracemalloc.start()
    try:
        assert read_workflow(path) == PROMPT
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def test_a_text_that_swells_is_passed_over() -> None:
    swollen = b"prompt\0\0" + zlib.compress(bytes(MAX_TEXT + 1), 9)
    chunk = struct.pack(">I4s", len(swollen), b"zTXt") + swollen + bytes(4)
    plain = png({"workflow": TEXTS["workflow"]})
    found = read_metadata(plain[:8] + chunk + plain[8:])
    assert (found.prompt, found.workflow) == (None, WORKFLOW)


def test_a_length_beyond_the_end_is_not_believed() -> None:
    whole = FTYP + moov()
    liar = whole[: len(FTYP)] + struct.pack(">I", 2**31) + whole[len(FTYP) + 4 :]
    with pytest.raises(NoWorkflowError, match="damaged"):
        read_metadata(liar)


@pytest.mark.parametrize("version", [3, 4])
def test_an_extended_header_that_is_cut_off_is_damage(version: int) -> None:
    with pytest.raises(NoWorkflowError, match="damaged"):
        read_metadata(b"ID3" + bytes([version, 0, 0x40]) + syncsafe(2) + bytes(2))


def test_long_names_fill_memory_no_more_than_long_texts() -> None:
    size = 2**24 - 100
    held = struct.pack("<III", 0, 1, size - 12) + b"x" * (size - 12)
    long = struct.pack(">I", 4 << 24 | size) + held
    whole = flac()
    assert read_workflow(whole[:4] + long * (MAX_TEXT // 2**24 - 1) + whole[4:]) == PROMPT
    with pytest.raises(NoWorkflowError):
        read_metadata(whole[:4] + long * (MAX_TEXT // 2**24 + 1) + whole[4:])


def test_entries_that_lie_over_each_other_are_damage() -> None:
    size, count = 100_000, 3000
    entry = struct.pack("<HHII", 0x0110, 2, size, 0)
    block = b"II*\0" + struct.pack("<IH", 8, count) + entry * count
    chunk = b"EXIF" + struct.pack("<I", size) + block.ljust(size, b"\1")
    begun = time.process_time()
    with pytest.raises(NoWorkflowError, match="damaged"):
        read_metadata(b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("unit", [b"<metadata", b"<metadata>  ", b"<metadata><![CDATA[", b"<metadata><![CDATA[]]>"])
def test_a_drawing_that_never_ends_what_it_begins_is_read_in_no_time(unit: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(NoWorkflowError):
        read_metadata(b"<svg>" + unit * 100_000)
    assert time.process_time() - begun < 2


def test_a_drawing_with_other_metadata_before_and_an_end_within_is_read() -> None:
    graph = {"1": node("A", text="[[0]]> and <metadata>")}
    held = json.dumps({"prompt": graph}).encode()
    drawing = b"<svg><metadata id='x'><rdf/></metadata><metadata a='b'> <![CDATA[" + held + b"]]>\n</metadata></svg>"
    assert read_workflow(drawing) == graph


@each_kind
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_a_workflow_or_a_typed_error(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name][1]())
    if data.draw(st.booleans(), label="cut"):
        del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 5), label="changes")):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_metadata(bytes(content))
    except (UnknownFileError, NoWorkflowError, GraphFileError):
        return
    assert found.prompt is not None or found.workflow is not None


def test_small_graphs_come_back_too() -> None:
    assert read_workflow(png({"prompt": json.dumps(tiny())})) == tiny()
