"""What a job produced: files that are fetched when they are wanted, and values that are there at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from comfyone.api import flows
from comfyone.errors import ValidationError
from comfyone.transport.drive import drive
from comfyone.utils.files import name_in_url, safe_name
from comfyone.wire.v1 import JobStatus, OutputRecord

if TYPE_CHECKING:
    from PIL.Image import Image

    from comfyone.api.client import ComfyOneClient

__all__ = ["BaseOutput", "BaseResult", "Output", "Result", "picture", "records_of"]

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")


class BaseOutput:
    """What is known of an output without asking, in either colour."""

    def __init__(self, record: OutputRecord) -> None:
        self.record = record

    def __repr__(self) -> str:
        what = self.name if self.is_file else f"value={self.value!r}"
        return f"{type(self).__name__}(node {self.record.node_id}: {what})"

    @property
    def name(self) -> str:
        """A plain file name, safe to use in any folder."""
        fallback = f"output-{self.record.node_id or 'file'}"
        if self.record.name:
            return safe_name(self.record.name, fallback)
        return name_in_url(self.record.url or "", fallback)

    @property
    def value(self) -> Any:
        """The value of an output that is no file."""
        return self.record.value

    @property
    def is_file(self) -> bool:
        """Whether there are bytes to fetch."""
        return self.record.url is not None

    @property
    def is_image(self) -> bool:
        """Whether the file is a picture."""
        if self.record.mime:
            return self.is_file and self.record.mime.startswith("image/")
        return self.is_file and (self.name.lower().endswith(_IMAGE_SUFFIXES) or self.record.kind == "image")

    def _url(self) -> str:
        if self.record.url is None:
            raise ValidationError(
                f"the output of node {self.record.node_id} is a value, not a file", hint="read .value"
            )
        return self.record.url


def picture(content: bytes) -> Image:
    """The picture in a file's bytes; its pixels are decoded when they are wanted."""
    from PIL import Image  # noqa: PLC0415  only who wants pixels pays for Pillow

    return Image.open(BytesIO(content))


class Output(BaseOutput):
    """One thing that a job produced: a file (`read`, `save`, `image`) or a ``value``."""

    def __init__(self, record: OutputRecord, client: ComfyOneClient) -> None:
        super().__init__(record)
        self._client = client

    def read(self) -> bytes:
        """Fetch the file.

        Raises:
            APIError: It can't be fetched.
            ValidationError: This output is no file.
        """
        return drive(flows.fetched(self._client.calls, self._url()), self._client.transport)

    def image(self) -> Image:
        """Fetch the file and open it as a picture."""
        return picture(self.read())

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Fetch the file into a folder, under its own name or, where that is taken, one like ``owl (1).png``.

        Raises:
            APIError: It can't be fetched.
            OSError: It can't be written.
            ValidationError: This output is no file.
        """
        return drive(flows.saved(self._client.calls, self._url(), folder, self.name), self._client.transport)


AnOutput = TypeVar("AnOutput", bound=BaseOutput)


class BaseResult(Sequence[AnOutput], Generic[AnOutput]):
    """What is known of a result without asking, in either colour."""

    def __init__(self, status: JobStatus, outputs: list[AnOutput]) -> None:
        self.status = status
        self.outputs = outputs

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.status.id!r}, {self.outputs})"

    def __len__(self) -> int:
        return len(self.outputs)

    def __getitem__(self, index: Any) -> Any:
        return self.outputs[index]

    def __iter__(self) -> Iterator[AnOutput]:
        return iter(self.outputs)

    @property
    def files(self) -> list[AnOutput]:
        """The outputs that are files."""
        return [output for output in self.outputs if output.is_file]

    @property
    def values(self) -> list[Any]:
        """The outputs that are no files."""
        return [output.value for output in self.outputs if not output.is_file]


def records_of(status: JobStatus) -> list[OutputRecord]:
    """What a job produced, in declared order; an older server names its pictures only."""
    return status.outputs or [OutputRecord(url=url, kind="image") for url in status.images]


class Result(BaseResult[Output]):
    """The outputs of a job that succeeded, in the order in which the workflow declares them."""

    def __init__(self, status: JobStatus, client: ComfyOneClient) -> None:
        super().__init__(status, [Output(record, client) for record in records_of(status)])

    @property
    def images(self) -> list[Image]:
        """The pictures. They are fetched now, and decoded when their pixels are wanted."""
        return [output.image() for output in self.outputs if output.is_image]

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Fetch all files into a folder, which is made if need be; see `Output.save`."""
        return [output.save(folder) for output in self.files]
