"""What a history entry says about results."""

from __future__ import annotations

from typing import Any

import pytest

from comfyone.utils.outputs import extract_output_images, output_files


@pytest.mark.seed("S2-43", "S2-81")
def test_the_pictures_of_an_entry_are_named_with_their_node_and_place() -> None:
    entry = {
        "outputs": {
            "9": {
                "images": [
                    {"filename": "a.png", "subfolder": "", "type": "output"},
                    {"filename": "b.png", "subfolder": "day", "type": "temp"},
                ]
            },
            "12": {"gifs": [{"filename": "c.gif"}], "text": ["an owl"], "audio": [{"filename": "d.flac"}]},
        }
    }
    assert extract_output_images(entry) == [
        {"node_id": "9", "filename": "a.png", "subfolder": "", "type": "output"},
        {"node_id": "9", "filename": "b.png", "subfolder": "day", "type": "temp"},
    ]
    assert [(file["kind"], file["filename"]) for file in output_files(entry)] == [
        ("images", "a.png"),
        ("images", "b.png"),
        ("gifs", "c.gif"),
        ("audio", "d.flac"),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"outputs": None},
        {"outputs": {"9": None}},
        {"outputs": {"9": {"images": None, "animated": [True]}}},
        {"outputs": {"9": {"images": ["a.png", {"name": "a.png"}, {"filename": ""}, None]}}},
    ],
)
def test_what_names_no_file_is_passed_over(entry: dict[str, Any]) -> None:
    assert extract_output_images(entry) == output_files(entry) == []


def test_a_missing_place_is_the_folder_of_results() -> None:
    entry = {"outputs": {"9": {"images": [{"filename": "a.png"}]}}}
    assert extract_output_images(entry) == [{"node_id": "9", "filename": "a.png", "subfolder": "", "type": "output"}]
