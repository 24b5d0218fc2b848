"""Checks of what a worker needs on its node: files, credentials, packages, the decoders' sandbox,
devices. No check loads the model."""

from __future__ import annotations

import asyncio
import itertools
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pipeline.adapters.clip.checkpoint import from_directory, from_hub
from pipeline.adapters.https.store import trusted
from pipeline.adapters.known_files import kinds
from pipeline.adapters.label_files import load_label_sets
from pipeline.adapters.opentelemetry.policy import require_tracing
from pipeline.adapters.prometheus import PrometheusMeter
from pipeline.adapters.s3.connection import certificate_authorities, open_session
from pipeline.errors import Halt, PipelineError
from pipeline.metrics import IMAGE_METRICS
from pipeline.ports import Check, CheckResult
from pipeline.records.known import KnownKind
from workers.decoding import decoding
from workers.known import load_lists
from workers.settings.loading import Settings
from workers.settings.sent import SentSettings

DEV = Path("/dev")


@dataclass(frozen=True, slots=True)
class Finding:
    """``content`` must be the same on every node; empty if nodes may differ."""

    check: Check
    content: str = ""


def require_node(settings: Settings, *, must_read: bool = True) -> None:
    """The cheap checks, made before a model is loaded for a minute: the files and credentials of a
    worker's node. ``must_read``: the worker reads objects, so it needs a store.

    Raises:
        Halt: something is missing; the message names it.
    """
    if must_read:
        settings.require_stores()
    load_label_sets(settings.label_sets.paths)
    _require_files(settings)
    if settings.model.directory is not None and not settings.model.directory.is_dir():
        from_directory(settings.model.name, settings.model.directory)
    for store in settings.s3_stores:
        open_session(store)


def examine_node(sent: SentSettings, gpus: float) -> list[Finding]:
    """Make all checks. ``gpus`` is what Ray may reserve on the node. Never raises for what is
    found. Blocks for seconds; a large model directory is read once."""
    looks: dict[str, Callable[[Settings], Finding]] = {
        "versions": _versions,
        "label sets": _label_sets,
        "model": _model,
        "certificates": _certificates,
        "credentials": _credentials,
        "decoders": _decoders,
        "devices": lambda settings: _devices(gpus),
    }
    settings = sent.settings
    if settings.tracing.enabled:
        looks["tracing"] = _tracing
    if settings.known.lists:
        looks["known lists"] = _known_lists
    try:
        settings = sent.resolved()
    except Halt as halt:
        secrets = [Finding(check) for check in failed("secrets", halt)]
        # A key file without its password would ask a terminal for the password.
        del looks["certificates"]
    else:
        names = ", ".join(sent.secrets)
        secrets = [_passed("secrets", f"{names} can be had here" if names else "none needed")]
    found = (_guarded(subject, look, settings) for subject, look in looks.items())
    return [*secrets, *itertools.chain.from_iterable(found)]


def failed(subject: str, error: PipelineError) -> Iterator[Check]:
    """A failed check for each line of the error's message."""
    for line in error.message.splitlines():
        yield Check(subject, CheckResult.FAILED, line)


def try_decoder(settings: Settings) -> None:
    """Start a decoder, which decodes a sample of each format in its sandbox before it is ready.

    Raises:
        Halt: ``decode.unavailable``.
    """

    async def start_and_close() -> None:
        one = settings.decode.model_copy(update={"processes": 1})
        pdq = KnownKind.PDQ in kinds(settings.known.lists)
        async with decoding(one, PrometheusMeter(IMAGE_METRICS), pdq=pdq):
            pass

    asyncio.run(start_and_close())


def _guarded(
    subject: str, look: Callable[[Settings], Finding], settings: Settings
) -> Iterator[Finding]:
    try:
        yield look(settings)
    except PipelineError as error:
        yield from map(Finding, failed(subject, error))
    except Exception as error:  # noqa: BLE001 - any failure of a node is a finding
        message = f"{type(error).__name__}: {error}; look at this node"
        yield Finding(Check(subject, CheckResult.FAILED, message))


def _passed(subject: str, message: str, content: str = "") -> Finding:
    return Finding(Check(subject, CheckResult.PASSED, message), content)


def _versions(_: Settings) -> Finding:
    text = (
        f"Clipstream {version('clipstream')}, Python {platform.python_version()}, "
        f"Ray {version('ray')}"
    )
    return _passed("versions", text, text)


def _label_sets(settings: Settings) -> Finding:
    label_sets = load_label_sets(settings.label_sets.paths)
    names = ", ".join(f"{each.name} {_short(each.version)}" for each in label_sets)
    return _passed("label sets", names, names)


def _known_lists(settings: Settings) -> Finding:
    versions = load_lists(settings).versions
    names = ", ".join(f"{name} {_short(version)}" for name, version in versions.items())
    return _passed("known lists", names, names)


def _model(settings: Settings) -> Finding:
    policy = settings.model
    if policy.directory is not None:
        checkpoint = from_directory(policy.name, policy.directory)
        return _passed(
            "model", f"{policy.directory}, {_short(checkpoint.revision)}", checkpoint.revision
        )
    try:
        from_hub(policy.name, policy.revision, cache_directory=policy.cache_directory, offline=True)
    except Halt as halt:
        if policy.offline:
            raise
        message = (
            f"{halt.message.partition(';')[0]}: each worker that starts here downloads it; fill "
            "the cache beforehand, or share it between nodes"
        )
        return Finding(Check("model", CheckResult.WARNING, message))
    return _passed("model", f"{policy.name}@{policy.revision[:12]} is in the hub's cache")


def _certificates(settings: Settings) -> Finding:
    _require_files(settings)
    named = [
        str(file)
        for file in (
            settings.kafka.security.ca_file,
            settings.kafka.security.certificate_file,
            *(store.ca_file for store in settings.s3_stores),
            settings.https.ca_file,
        )
        if file is not None
    ]
    return _passed("certificates", f"{', '.join(named) or 'none'} of the settings' own")


def _require_files(settings: Settings) -> None:
    """Raises Halt if a file that connections need cannot be read."""
    settings.kafka.security.client_options()
    for store in settings.s3_stores:
        certificate_authorities(store)
    trusted(settings.https)


def _credentials(settings: Settings) -> Finding:
    sources = []
    for store in settings.s3_stores:
        credentials = open_session(store).get_credentials()
        source = credentials.method if credentials else "of the role"
        sources.append(f"{store.section}'s are there ({source})")
    return _passed("credentials", ", ".join(sources) or "none needed")


def _decoders(settings: Settings) -> Finding:
    try_decoder(settings)
    return _passed("decoders", f"decode {', '.join(settings.decode.formats)} in their sandbox")


def _tracing(settings: Settings) -> Finding:
    require_tracing(settings.tracing)
    return _passed("tracing", "its packages are there")


def _devices(gpus: float) -> Finding:
    found = len([each for each in DEV.glob("nvidia*") if each.name[len("nvidia") :].isdigit()])
    message = f"{found} GPUs, of which Ray reserves {gpus:g}"
    if found == gpus:
        return _passed("devices", message if found else "no GPU")
    advice = f"{message}; start this node's Ray with --num-gpus={found} if that is all it has"
    return Finding(Check("devices", CheckResult.WARNING, advice))


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]
