# The model's weights in an image: nothing is downloaded, copied or mounted when a pod starts.
#
#   docker build -f deploy/examples/model/baked.Dockerfile -t clipstream:0.1.0-clip FOLDER
#
# FOLDER is the checkpoint as transformers saves it: config.json, model.safetensors, the tokenizer,
# the preprocessor. Settings: model: {directory: /models/clip}
ARG IMAGE=clipstream:0.1.0
FROM ${IMAGE}
COPY --chown=0:0 --chmod=0755 . /models/clip
# Fails here, and not in a cluster, if a file is missing. The last line says the revision.
RUN ["python3", "-c", "from pathlib import Path; from pipeline.adapters.clip.checkpoint import from_directory; print(from_directory('clip', Path('/models/clip')))"]
ENV CLIPSTREAM_MODEL__DIRECTORY=/models/clip
