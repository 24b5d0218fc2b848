"""Classifies one object end to end."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.adapters.kafka.enqueue import ReferenceProducer
from pipeline.adapters.kafka.outcomes import OutcomeReader, PublishedOutcome
from pipeline.adapters.s3.admin import S3Admin
from pipeline.adapters.s3.policy import S3Policy
from pipeline.errors import CODES, Halt, PipelineError, Reject, Retry
from pipeline.fetch.stores import absent_from
from pipeline.formats import strict_json
from pipeline.formats.native import NATIVE
from pipeline.formats.reference import Reference
from pipeline.ports import Encoder
from pipeline.records import OutputTopic
from workers.commands.serving.sample import sample_png
from workers.commands.signals import signals
from workers.commands.verify.place import Place, settings_of_place
from workers.commands.verify.steps import StepFailed, Steps
from workers.health import Health
from workers.label_sets import load_routes
from workers.settings.loading import Settings
from workers.stages import load_encoder
from workers.stream.wiring import BuiltStreamWorker, build_stream_worker

BUNDLED = "bundled"
POLL_S = 0.2
GRACE_S = 10.0
SKIPPED_S = 5.0
"""Seconds after which a record that is finished without a visible outcome was skipped."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asks for: the object, the image to upload there (a file's name or ``bundled``),
    the prefix of names, and the longest wait for the outcome."""

    uri: str
    upload: str | None
    prefix: str
    timeout_s: float


def run_verify(
    settings: Settings,
    request: Request,
    tell: Callable[[str], object],
    load: Callable[[Settings], Encoder] = load_encoder,
) -> bool:
    """Run all steps, and remove what they created. Returns whether the object was classified.
    ``load`` returns the model.

    Raises:
        Halt: ``verify.invalid``, ``settings.invalid`` or ``label_set.*``, before anything is
            contacted.
    """
    reference, store = _checked(settings, request.uri)
    image = _image(request.upload)
    load_routes(settings)
    stopping = threading.Event()
    place = Place(settings_of_place(settings, request.prefix), stopping)
    steps = Steps(tell)
    with signals(stopping), contextlib.suppress(StepFailed), contextlib.ExitStack() as cleaning:
        if image is not None:
            _upload(steps, store, reference, image, cleaning)
        _go_the_way(steps, place, request, stopping, load, cleaning)
    tell(
        f"passed: {request.uri} was classified in {steps.seconds:.1f} s"
        if steps.failed is None
        else f"failed: {steps.failed}, after {steps.seconds:.1f} s"
    )
    return steps.failed is None


def _go_the_way(
    steps: Steps,
    place: Place,
    request: Request,
    stopping: threading.Event,
    load: Callable[[Settings], Encoder],
    cleaning: contextlib.ExitStack,
) -> None:
    kafka = place.settings.kafka
    cleaning.callback(_remove, steps, place)
    with steps.step("topics") as step:
        place.create()
        step.message = f"{kafka.group}.* and group {kafka.group} were created"
    with steps.step("reference") as step:
        value = strict_json.dump({"uri": request.uri})
        with ReferenceProducer(kafka, kafka.input_topics[0]) as producer:
            producer.send(request.uri.encode(), value)
        step.message = f"{request.uri} was published"
    with steps.step("worker") as step:
        built = build_stream_worker(place.settings, 0, load)
        cleaning.callback(built.close)
        step.message = "the model is loaded, and the decoder started"
    with _running(built) as ended, steps.step("outcome") as step:
        step.message = _told(_outcome(place, built, ended, request.timeout_s, stopping))


def _checked(settings: Settings, uri: str) -> tuple[Reference, S3Policy]:
    """The object, and the store that it is read from."""
    try:
        read = NATIVE.read({"uri": uri}, "")
    except Reject as reject:
        raise Halt("verify.invalid", f"verify: {uri}: {reject.message}") from reject
    if not isinstance(read, Reference) or read.scheme != "s3":
        raise Halt("verify.invalid", f"verify: {uri} is no object; write s3://BUCKET/KEY")
    store = settings.s3_store_of(read.bucket)
    if store is None:
        absent = absent_from([each.allow_list for each in settings.s3_stores])
        raise Halt("verify.invalid", f"verify: bucket {read.bucket} is {absent}; allow it first")
    return read, store


def _image(upload: str | None) -> bytes | None:
    if upload is None:
        return None
    if upload == BUNDLED:
        return sample_png()
    try:
        return Path(upload).read_bytes()
    except OSError as error:
        raise Halt(
            "verify.invalid",
            f"verify: {upload} cannot be read ({error.strerror}); name an image file, or {BUNDLED}",
        ) from error


def _upload(
    steps: Steps,
    store: S3Policy,
    reference: Reference,
    image: bytes,
    cleaning: contextlib.ExitStack,
) -> None:
    bucket, key = reference.bucket, reference.key
    with steps.step("upload") as step:
        admin = S3Admin(store)
        cleaning.callback(admin.close)
        if any(each.key == key for each in admin.list_objects(bucket, key)):
            raise Halt(
                "verify.exists",
                f"verify: s3://{bucket}/{key} exists; leave --upload out, or name another key",
            )
        admin.put(bucket, key, image)
        cleaning.callback(_delete, steps, admin, reference)
        step.message = f"{len(image)} bytes to s3://{bucket}/{key}"


def _delete(steps: Steps, admin: S3Admin, reference: Reference) -> None:
    with contextlib.suppress(StepFailed), steps.step("delete") as step:
        admin.delete(reference.bucket, reference.key)
        step.message = "the uploaded object was deleted"


def _remove(steps: Steps, place: Place) -> None:
    with contextlib.suppress(StepFailed), steps.step("clean-up") as step:
        place.remove()
        step.message = "the topics and the group were removed"


@contextlib.contextmanager
def _running(built: BuiltStreamWorker) -> Iterator[list[BaseException]]:
    """Run the worker in a thread. Yields the error that has ended it, if any."""
    ended: list[BaseException] = []

    def run() -> None:
        try:
            built.worker.run()
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            ended.append(error)

    thread = threading.Thread(target=run, name="worker")
    thread.start()
    try:
        yield ended
    finally:
        built.worker.stop(GRACE_S)
        thread.join()


def _outcome(
    place: Place,
    built: BuiltStreamWorker,
    ended: list[BaseException],
    timeout_s: float,
    stopping: threading.Event,
) -> PublishedOutcome:
    """The classification, once it is visible, and its embedding too.

    Raises:
        Reject: it is a dead letter.
        PipelineError: the worker halted, or no broker answers in time.
        StepFailed: no outcome in time.
    """
    wanted = {OutputTopic.CLASSIFICATIONS}
    wanted |= {OutputTopic.EMBEDDINGS} if place.settings.events.embeddings else set()
    found: dict[OutputTopic, PublishedOutcome] = {}
    until = time.monotonic() + timeout_s
    finished_at: float | None = None
    with contextlib.ExitStack() as reading:
        reader: OutcomeReader | None = None
        while not wanted <= found.keys():
            try:
                reader = reader or reading.enter_context(OutcomeReader(place.settings.kafka))
                for each in reader.poll(POLL_S):
                    found[each.topic] = each
            except Retry:
                # A broker that is away for a moment. The worker waits for it as well.
                if time.monotonic() > until or stopping.wait(POLL_S):
                    raise
                continue
            if OutputTopic.DEAD_LETTERS in found:
                raise _rejected(found[OutputTopic.DEAD_LETTERS])
            if ended:
                raise ended[0]
            now, health = time.monotonic(), built.worker.health()
            if health.passed and finished_at is None:
                finished_at = now
            if finished_at is not None and now - finished_at > SKIPPED_S and not found:
                found.update(_visible(reader))
                if not found:
                    raise StepFailed("the record was skipped: a route has `skip: true`")
                continue
            if stopping.is_set():
                raise StepFailed("asked to stop")
            if now > until:
                raise StepFailed(f"none within {timeout_s:g} s: {_why(health)}")
    return found[OutputTopic.CLASSIFICATIONS]


def _visible(reader: OutcomeReader) -> dict[OutputTopic, PublishedOutcome]:
    """All that is visible by now. On a busy machine, polling may not have come that far.

    Raises:
        StepFailed: it cannot be read.
    """
    try:
        return {each.topic: each for each in reader.rest()}
    except TimeoutError as error:
        raise StepFailed(str(error)) from error


def _why(health: Health) -> str:
    if not health.partitions:
        return "the worker has not been given its partition; look at the brokers and the log above"
    if health.held_up or not health.available:
        return "a store or the brokers do not serve the worker; look at the log above"
    return "the worker is still busy; raise --timeout, or look at the log above"


def _rejected(letter: PublishedOutcome) -> PipelineError:
    code = letter.headers["dlq.code"].decode()
    remedy = CODES[code].remedy if code in CODES else "look the code up in docs/reference/codes.md"
    message = letter.headers.get("dlq.message", b"").decode(errors="replace")
    return PipelineError(code, f"{message}; {remedy}")


def _told(classification: PublishedOutcome) -> str:
    event = json.loads(classification.value)
    model, results = event["model"], []
    for result in event["results"]:
        (best, *_) = sorted(result["scores"], key=lambda score: score["score"], reverse=True)
        results.append(
            f"{result['label_set']}: {result['decision']} ({best['label']} {best['score']:.3f})"
        )
    return f"{'; '.join(results)} by {model['name']} on {model['engine']} in {model['precision']}"
