#!/bin/sh
# usage: deploy/pin-bases.sh [DOCKERFILE]: writes behind each base of the image the digest that its tag has now. Needs docker with buildx, and a way to the
# registries. Run it for each release, and commit what it writes.
set -eu
file=${1:-$(dirname "$0")/Dockerfile}
for image in $(sed -n 's/^ARG [A-Z]*_IMAGE=\([^@]*\).*/\1/p' "$file"); do
  digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
  case $digest in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "$image: no digest, but: $digest" >&2 && exit 1 ;;
  esac
  sed "s|^\(ARG [A-Z]*_IMAGE=$image\)\(@.*\)*\$|\1@$digest|" "$file" >"$file.pinned"
  cat "$file.pinned" >"$file"
  rm "$file.pinned"
  echo "$image@$digest"
done
