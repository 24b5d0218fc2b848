"""Have the HTTP server classify one image: `helm test` of a release without the stream.

Arguments: the server's address, and by choice s3://BUCKET/KEY of an image that the server reads.
Without the second one the request brings an image along. The environment variable HTTP_KEY is the
key of a client.
"""

import base64
import json
import os
import sys
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from workers.commands.serving.sample import sample_png

address, *objects = sys.argv[1:]
name = objects[0] if objects else "the image that Clipstream brings along"
image = objects[0] if objects else base64.b64encode(sample_png()).decode()
request = Request(  # noqa: S310 - the address of the release's Service
    f"{address}/v1/classify",
    json.dumps({"image": image}).encode(),
    {"authorization": f"Bearer {os.environ['HTTP_KEY']}", "content-type": "application/json"},
)
try:
    with urlopen(request, timeout=120) as response:  # noqa: S310
        (answer,) = json.load(response)["images"]
except HTTPError as refusal:
    sys.exit(f"failed: {request.full_url} answered {refusal.code}: {refusal.read().decode()}")
except (URLError, TimeoutError) as error:
    sys.exit(f"failed: {request.full_url} did not answer: {error}")
for result in answer["results"]:
    best = max(result["scores"], key=lambda score: score["score"])
    print(f"{result['label_set']}: {result['decision']} ({best['label']} {best['score']:.3f})")
print(f"passed: {request.full_url} classified {name}")
