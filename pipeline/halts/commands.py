"""Codes of commands, and of what they are given."""

from __future__ import annotations

from pipeline.halts.code import HaltCode, command, node

COMMANDS: dict[str, HaltCode] = {
    # -- Serving over HTTP
    "serve.no_keys": command(
        "the server would listen where others can reach it, and no keys are configured",
        "write a key with `clipstream keys create` and set `serve.keys`, or listen on 127.0.0.1",
        of_input=True,
    ),
    "keys.invalid": node(
        "a file of keys cannot be read, or one of its lines is not valid",
        "fix what the message names; `clipstream keys list` checks the file",
        of_input=True,
    ),
    "keys.unwritable": command(
        "the file of keys cannot be written", "fix the permissions of its folder", of_input=True
    ),
    "keys.no_file": command(
        "neither the command nor the settings name a file of keys",
        "name it with --file, or set `serve.keys`",
        of_input=True,
    ),
    "keys.too_many_live": command(
        "two keys of the name are live already", "revoke one of them first", of_input=True
    ),
    "keys.unknown": command(
        "no key has the id", "look the id up with `clipstream keys list`", of_input=True
    ),
    # -- Commands
    "enqueue.invalid": command(
        "the input of `enqueue` is not valid", "fix what the message names", of_input=True
    ),
    "enqueue.unreadable": command(
        "the list cannot be read", "fix the path or the encoding", of_input=True
    ),
    "verify.invalid": command(
        "the object, the image or the prefix given to `verify` is not valid",
        "fix what the message names",
        of_input=True,
    ),
    "verify.exists": command(
        "`verify --upload` would overwrite an object",
        "leave `--upload` out, or name a key that is free",
    ),
    "replay.invalid": command(
        "the input of `replay` is not valid", "fix what the message names", of_input=True
    ),
    "replay.fenced": command(
        "another replay of the same group has begun meanwhile", "run one replay at a time"
    ),
    "event.unreadable": command(
        "what was given as an event or as its embedding is none",
        "give the event and the embedding as they were published",
        of_input=True,
    ),
    "label_set.unknown": command(
        "no label set of this name or version is at hand",
        "give its file, or name the topic in `kafka.output_topics.label_sets`",
        of_input=True,
    ),
    "label_set.no_images": command(
        "no image of the folder can be decoded",
        "name a folder with images",
        of_input=True,
    ),
    "label_set.no_embeddings": command(
        "there are no recorded embeddings to score, or no events with results to compare",
        "follow the message: name another place, or other images",
        of_input=True,
    ),
    "label_set.another_model": command(
        "the settings load another model than the one that embedded the images",
        "name in `model` the model that the events or the job name",
        of_input=True,
    ),
    "label_set.unproven": command(
        "a recorded label set does not have the version that it is recorded under",
        "give the file of the label set",
        of_input=True,
    ),
    "drift.invalid": command(
        "a file is no reference, or is of another version of the label set or another model",
        "write it anew with `clipstream drift reference`",
        of_input=True,
    ),
    "calibrate.no_images": command(
        "there are no images to calibrate with",
        "name a file or a folder that contains images",
        of_input=True,
    ),
    "calibrate.too_few": command(
        "too few images can be decoded", "name more images", of_input=True
    ),
    "calibrate.failed": command(
        "the calibration did not succeed", "follow the message", of_input=True
    ),
    "sample.invalid": command(
        "the labelled images of `labels test`, `labels tune` or `evaluate` cannot be used",
        "fix what the message names",
        of_input=True,
    ),
    "evaluate.lacks_package": command(
        "a package that reads Parquet files, writes reports or learns is not installed",
        "install `clipstream[evaluate]`",
        of_input=True,
    ),
    "tune.exists": command(
        "`labels tune` or `labels train-head` would overwrite a file",
        "name a new file with `--output`",
        of_input=True,
    ),
    "tune.unwritable": command(
        "the new label set cannot be written", "follow the message", of_input=True
    ),
    "tune.candidates": command(
        "the file of wordings that `labels tune --prompts` names is not valid",
        "fix what the message names",
        of_input=True,
    ),
    "evaluate.invalid": command(
        "the classes, templates or benchmark of `evaluate` are not valid",
        "fix what the message names",
        of_input=True,
    ),
}
