"""What only the editor knows: nodes that no server has, older names of classes, and texts that it fills in.

These are facts about ComfyUI's frontend (1.32 to 1.58) and the widespread packs of nodes that add such nodes to it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from datetime import datetime

__all__ = [
    "CONTROLS",
    "GROUP_PREFIXES",
    "MADE_IN_BROWSER",
    "NOTES",
    "PASSED_ON",
    "PATCHES_PROMPT",
    "PRIMITIVE",
    "RENAMED",
    "SAVES_FILES",
    "WIDGETS",
    "NestedTooDeeply",
    "choose_alternatives",
    "fill_in",
]

PRIMITIVE = "PrimitiveNode"

NOTES = frozenset(
    {"Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)", "Node Collector (rgthree)"}
    | {"Fast Muter (rgthree)", "Fast Bypasser (rgthree)", "Fast Groups Muter (rgthree)"}
    | {"Fast Groups Bypasser (rgthree)", "Fast Actions Button (rgthree)", "Mute / Bypass Relay (rgthree)"}
    | {"Mute / Bypass Repeater (rgthree)", "Random Unmuter (rgthree)", "Note Plus (mtb)"}
)
"""Nodes that are there to be read, or to switch others in the editor; they leave nothing behind in a graph."""

PASSED_ON = frozenset({"Reroute", "Reroute (rgthree)"})
"""Nodes that hand on what comes in."""

PATCHES_PROMPT = ("Anything Everywhere", "Prompts Everywhere", "Seed Everywhere")
"""How the names of nodes begin that draw links of their own when the editor queues."""

GROUP_PREFIXES = ("workflow>", "workflow/")
"""How the types of group nodes begin, which subgraphs have replaced."""

RENAMED = {
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
    "Load3DAnimation": "Load3D",
    "Preview3DAnimation": "Preview3D",
}
"""Classes that a server has under another name than an older file."""

WIDGETS = frozenset(
    {"INT", "FLOAT", "BOOLEAN", "STRING", "MARKDOWN", "COMBO", "IMAGEUPLOAD", "COLOR", "IMAGECOMPARE", "CHART"}
    | {"GALLERIA", "TEXTAREA", "BOUNDING_BOX", "PAINTER", "COMPOSITOR", "CURVE", "RANGE", "VIDEO_EDIT"}
    | {"RESOLUTION_PREVIEW", "BOUNDING_BOXES", "LIGHT_INFO_PREVIEW", "COLORS"}
    | {"WEBCAM", "LOAD_3D", "LOAD_3D_ANIMATION", "PREVIEW_3D", "AUDIO_RECORD", "AUDIO_UI", "AUDIOUPLOAD"}
)
"""Types of inputs that the editor draws a widget for."""

MADE_IN_BROWSER = {
    "WEBCAM": "a picture of the webcam",
    "LOAD_3D": "a picture of the model as it is turned",
    "LOAD_3D_ANIMATION": "a picture of the model as it is turned",
    "AUDIO_RECORD": "a recording of the microphone",
}
"""Types of inputs whose value the editor makes and uploads when it queues; no file holds it."""

CONTROLS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
"""Values of the widget that says how another one changes after each run."""

SAVES_FILES = frozenset(
    {"SaveImage", "SaveImageAdvanced", "SaveSVGNode", "SaveVideo", "SaveAnimatedWEBP", "SaveWEBM", "SaveAudio"}
    | {"SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced", "SaveGLB", "Save3DAdvanced", "SaveGaussianSplat"}
    | {"SavePointCloud", "SaveAnimatedPNG", "CLIPSave", "VAESave", "ModelSave", "LoraSave", "SaveLatent"}
)
"""Classes in whose ``filename_prefix`` the editor fills in dates and values of other nodes."""

MAX_NESTED = 200
"""Braces within braces in a prompt; nobody writes more, and each level is read anew."""

_COMMENT = re.compile(r"/\*|//.*")
_PLACEHOLDER = re.compile(r"%([^%]+)%")
_DATE_PART = re.compile(r"dd?|MM?|hh?|mm?|ss?|yyy?y?")
_NO_FILE_NAME = re.compile(r"[/?<>\\:*|\"\x00-\x1f\x7f]")


class NestedTooDeeply(ValueError):
    """Alternatives stand within alternatives without end."""


def choose_alternatives(text: str, rng: random.Random | None) -> str:
    """A prompt as the editor sends it: without comments, and with one of the alternatives of each ``{a|b}``.

    Args:
        rng: What chooses; None takes the first alternative.

    Raises:
        NestedTooDeeply: There are more than `MAX_NESTED` pairs of braces within each other.
    """
    return _Prompt(_without_comments(text), rng).outside()


def _without_comments(text: str) -> str:
    """The text without ``/* … */`` and ``// …``; what isn't closed is none. Each place is looked at once."""
    last, parts, begin, at = text.rfind("*/"), [], 0, 0
    while found := _COMMENT.search(text, at):
        at = found.end()
        if found[0] == "/*":
            if last < at:
                continue
            at = text.index("*/", at) + 2
        parts.append(text[begin : found.start()])
        begin = at
    return "".join([*parts, text[begin:]])


class _Prompt:
    """Reads a prompt once, from its beginning to its end."""

    def __init__(self, text: str, rng: random.Random | None, depth: int = 0) -> None:
        if depth > MAX_NESTED:
            raise NestedTooDeeply(f"stand within each other more than {MAX_NESTED} times")
        self._text = text
        self._rng = rng
        self._depth = depth
        self._at = 0

    def outside(self) -> str:
        """The text up to its end, with what was chosen in each pair of braces."""
        parts = []
        while (char := self._next()) is not None:
            parts.append(char if len(char) > 1 or char != "{" else self._choice())
        return re.sub(r"\\([{}|])", r"\1", "".join(parts))

    def _choice(self) -> str:
        options: list[list[str]] = [[]]
        depth = 0
        while (char := self._next()) is not None:
            if char == "}" and depth == 0:
                break
            if char == "|" and depth == 0:
                options.append([])
                continue
            depth += {"{": 1, "}": -1}.get(char, 0)
            options[-1].append(char)
        chosen = self._rng.choice(options) if self._rng else options[0]
        return _Prompt("".join(chosen), self._rng, self._depth + 1).outside()

    def _next(self) -> str | None:
        """The next character, or one that is escaped together with its backslash."""
        length = 2 if self._text[self._at : self._at + 1] == "\\" else 1
        char = self._text[self._at : self._at + length]
        self._at += length
        return char or None


def fill_in(text: str, value_of: Callable[[str, str], str | None], now: datetime | None) -> tuple[str, list[str]]:
    """Fill in ``%date:yyyy-MM-dd%`` and ``%Node.input%``.

    Returns:
        The text, and the placeholders that stay in it although they have the form of one.
    """
    left: list[str] = []

    def replaced(match: re.Match[str]) -> str:
        name, *rest = match[1].split(".")
        if len(rest) == 1:
            found = value_of(name, rest[0])
        elif name.startswith("date:"):
            found = None if now is None else _date(name[5:], now)  # up to a dot, as the editor does
        else:
            return match[0]  # %width% and the like are for the server
        if found is None:
            left.append(match[0])
            return match[0]
        return _NO_FILE_NAME.sub("_", found) if rest else found

    return _PLACEHOLDER.sub(replaced, text), left


def _date(pattern: str, now: datetime) -> str:
    parts = {"d": now.day, "M": now.month, "h": now.hour, "m": now.minute, "s": now.second}

    def replaced(match: re.Match[str]) -> str:
        part = match[0]
        if part[0] == "y":
            return {2: f"{now.year % 100:02d}", 4: str(now.year)}.get(len(part), part)
        return str(parts[part[0]]).rjust(len(part), "0")

    return _DATE_PART.sub(replaced, pattern)
