#!/usr/bin/env bash
# Publishes the image of the commit that is checked out: build, scan, SBOM, signature, provenance.
#
#   deploy/release/publish.sh REGISTRY/clipstream
#
# Meant for the release job of a CI that gives it an OIDC identity (keyless signing) and a login at
# the registry. Needs docker with buildx and QEMU for foreign platforms, and syft, grype and cosign
# in the versions below or newer. docs/releasing.md says what each step is for, and how users verify
# the result. The whole script has not run yet: its steps were tested with stand-ins for the tools.
set -euo pipefail
cd "$(dirname "$0")/../.."

# Tested together by their makers; a newer one may rename an option.
readonly SYFT=1.57 GRYPE=0.121 COSIGN=3.1
PLATFORMS=${PLATFORMS:-linux/amd64,linux/arm64}
# Findings of this severity or above, for which a fix exists, stop the release.
FAIL_ON=${FAIL_ON:-high}

image=${1:?write REGISTRY/clipstream}
for tool in docker syft grype cosign git; do
  command -v "$tool" > /dev/null || {
    echo "$tool is missing; needs syft $SYFT, grype $GRYPE, cosign $COSIGN, docker and git" >&2
    exit 1
  }
done
if [ -n "$(git status --porcelain)" ]; then
  echo "the checkout has changes; a release is built from a commit" >&2
  exit 1
fi
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD)
created=$(git log -1 --format=%cI)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

publish() { # TARGET: pushes and signs it, under its digest alone
  local target=$1 digest
  echo "== $target"
  # Only the digest is pushed here, no tag: what fails below never gets a name. BuildKit records how
  # it was built (SLSA provenance). No argument is a secret, so all of them may stand there.
  docker buildx build --file deploy/Dockerfile --target "$target" --platform "$PLATFORMS" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" --build-arg "CREATED=$created" \
    --provenance mode=max --sbom false \
    --output "type=image,name=$image,push-by-digest=true,push=true" \
    --metadata-file "$out/$target.json" .
  digest=$(sed -n 's/.*"containerimage.digest": *"\(sha256:[0-9a-f]\{64\}\)".*/\1/p' "$out/$target.json")
  [ -n "$digest" ] || { echo "the build told no digest" >&2; exit 1; }

  # One SBOM for each platform: their packages differ.
  local platform sbom
  for platform in ${PLATFORMS//,/ }; do
    sbom=$out/$target-${platform//\//-}.cdx.json
    syft scan "registry:$image@$digest" --platform "$platform" --output "cyclonedx-json=$sbom"
    grype "sbom:$sbom" --only-fixed --fail-on "$FAIL_ON"
  done

  # Keyless: the signature names the job that ran this, and is in the public log. By digest, so that
  # it is of these very bytes.
  cosign sign --yes --recursive "$image@$digest"
  for platform in ${PLATFORMS//,/ }; do
    sbom=$out/$target-${platform//\//-}.cdx.json
    cosign attest --yes --type cyclonedx --predicate "$sbom" "$image@$digest"
  done
  echo "$digest" > "$out/$target.digest"
}

name() { # TARGET TAG
  local digest
  digest=$(cat "$out/$1.digest")
  docker buildx imagetools create --tag "$image:$2" "$image@$digest"
  echo "$image:$2@$digest"
}

publish runtime
publish compiler
# Only now: a release has both images or none.
name runtime "$version"
name compiler "$version-compiler"
