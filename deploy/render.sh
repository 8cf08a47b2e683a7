#!/bin/sh
# usage: deploy/render.sh [FOLDER]: the manifests of deploy/kubernetes/base, as the Helm chart with its default values makes them. Needs helm 3.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
to=${1:-$here/kubernetes/base}
mkdir -p "$to"
rm -f "$to"/*.yaml
# A hook is one of Helm's: kustomize and kubectl apply it like all else.
helm template chancery "$here/helm/chancery" --namespace chancery --kube-version 1.35.0 --set namespaces.control=true | grep -v -e '^    helm.sh/hook' -e '^  annotations:$' |
  awk -v to="$to" '
    /^---$/ { next }
    /^# Source: / { n = split($3, part, "/"); file = to "/" part[n]; print (seen[file]++ ? "---" : "# Made by deploy/render.sh from the Helm chart. DO NOT EDIT.") >file; next }
    file { print >file }'
{
  echo '# Made by deploy/render.sh from the Helm chart. DO NOT EDIT.'
  echo 'apiVersion: kustomize.config.k8s.io/v1beta1'
  echo 'kind: Kustomization'
  echo 'resources:'
  for file in namespaces rights network migrations api projector worker edge edge-http edge-https; do echo "  - $file.yaml"; done
} >"$to/kustomization.yaml"
