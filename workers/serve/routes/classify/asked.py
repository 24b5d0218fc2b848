"""What a request to classify images may ask."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from pipeline.labels.scoring import CompiledLabelSet
from pipeline.records import JsonValue
from workers.serve.caller import Caller
from workers.serve.errors import ApiError
from workers.serve.label_sets import named_label_sets, own_label_set
from workers.serve.services import Services

TEXT, OBJECT = "text", "object"
"""Marks of the two forms of an image and of a label in the path of a problem."""

_forms = Discriminator(lambda value: TEXT if isinstance(value, str) else OBJECT)

Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=500)]


class _Asked(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )


class AskedImage(_Asked):
    """An image with a name of the caller's."""

    image: str = Field(min_length=1, validation_alias=AliasChoices("image", "url", "uri"))
    """A data URI, bare base64, or an `s3://` or `https://` address. Also accepted as `url` or
    `uri`."""
    id: Annotated[str, Field(max_length=256)] | None = None
    """The caller's name of the image, repeated in the answer."""


class AskedLabel(_Asked):
    """A label, as in a label set's file. Without `prompts` and `phrases`, its name is put into the
    templates."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """Name of the label in the answer."""
    phrases: Annotated[list[Text], Field(min_length=1)] | None = None
    """Each is put into each template."""
    prompts: Annotated[list[Text], Field(min_length=1)] | None = None
    """Texts that are taken as they are."""
    contrast: Annotated[list[Text], Field(min_length=1)] | None = None
    """With `decision: independent`: what the label is told from."""
    neutral: bool | None = None
    """With `decision: exclusive`: a label for everything else, which never matches."""
    act_threshold: Threshold | None = None
    """The label matches and calls for `act` at this score."""
    review_threshold: Threshold | None = None
    """The label matches and calls for `review` at this score."""


ImageGiven = Annotated[
    Annotated[str, Field(min_length=1), Tag(TEXT)] | Annotated[AskedImage, Tag(OBJECT)], _forms
]
LabelGiven = Annotated[
    Annotated[str, Field(min_length=1, max_length=100), Tag(TEXT)]
    | Annotated[AskedLabel, Tag(OBJECT)],
    _forms,
]


_QUESTIONS = ("label_set", "label_sets", "labels")
_FOR_LABELS = ("templates", "contrast", "decision", "act_threshold", "review_threshold")


class Options(_Asked):
    """What is asked of the images: the names of label sets, or labels of the request's own. A
    request with neither gets the server's default label set."""

    label_set: str | None = None
    """Name of a label set of the server."""
    label_sets: Annotated[list[str], Field(min_length=1, max_length=100)] | None = None
    """Names of several label sets of the server."""
    labels: Annotated[list[LabelGiven], Field(min_length=1, max_length=1000)] | None = None
    """Labels of the request's own: their names, or objects with prompts."""
    templates: Annotated[list[Text], Field(min_length=1)] | None = None
    """Sentences with `{}` where a label's name or phrase goes. Default: `a photo of a {}`."""
    contrast: Annotated[list[Text], Field(min_length=1)] | None = None
    """With `decision: independent`: what all labels without a contrast of their own are told
    from."""
    decision: Literal["exclusive", "independent"] | None = None
    """`exclusive` (default): exactly one label is right, and the scores add up to 1.
    `independent`: each label is right or wrong by itself, against its contrast."""
    act_threshold: Threshold | None = None
    """For all labels without a threshold of their own."""
    review_threshold: Threshold | None = None
    """For all labels without a threshold of their own."""
    embedding: bool | Literal["float", "base64"] = False
    """Add the embedding: `true` or `float` as numbers, `base64` as little-endian bytes of the
    element type that the answer's `model` names."""

    async def label_sets_of(
        self, services: Services, caller: Caller
    ) -> tuple[CompiledLabelSet, ...]:
        """The label sets that score the images, all of one version of the files.

        Raises:
            ApiError: 400: the options do not go together; as ``named_label_sets`` and
                ``Prompts.compiled``.
        """
        self._require_one_question()
        if self.labels is not None:
            return (await services.prompts.compiled(self._own(self.labels)),)
        param = "label_sets"
        names: tuple[str, ...] = tuple(self.label_sets or ())
        if self.label_set is not None:
            names, param = (self.label_set,), "label_set"
        default = services.settings.serve.default_label_set
        return named_label_sets(names, services.rules(), caller, default, param)

    def _require_one_question(self) -> None:
        given = [name for name in _QUESTIONS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ApiError(
                400, "invalid_request", f"send {' or '.join(given)}, not both", param=given[0]
            )
        for name in _FOR_LABELS:
            if self.labels is None and getattr(self, name) is not None:
                raise ApiError(
                    400, "invalid_request", f"{name} is for labels; send labels too", param=name
                )

    def _own(self, labels: list[LabelGiven]) -> dict[str, JsonValue]:
        given = self.model_dump(include={"templates", "contrast", "decision"}, exclude_none=True)
        return own_label_set([self._written(label) for label in labels], given)

    def _written(self, label: str | AskedLabel) -> JsonValue:
        if isinstance(label, str):
            written: dict[str, JsonValue] = {"name": label}
        else:
            written = label.model_dump(exclude_none=True)
        if not written.get("neutral"):
            for key in ("act_threshold", "review_threshold"):
                if (shared := getattr(self, key)) is not None:
                    written.setdefault(key, shared)
        return written


class Asked(Options):
    """A request to classify one image, or several."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["image"]}, {"required": ["images"]}]}
    )

    image: ImageGiven | None = None
    """One image."""
    images: Annotated[list[ImageGiven], Field(min_length=1)] | None = None
    """Several images. The answer has them in the same order."""

    @model_validator(mode="after")
    def _has_images(self) -> Self:
        if (self.image is None) == (self.images is None):
            raise ValueError("send image or images: one of the two")
        return self

    def named_images(self) -> list[tuple[str, str | AskedImage]]:
        """Each image, and what the request calls it."""
        if self.image is not None:
            return [("image", self.image)]
        return [(f"images[{index}]", each) for index, each in enumerate(self.images or ())]
