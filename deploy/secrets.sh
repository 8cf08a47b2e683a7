#!/bin/sh
# usage: deploy/secrets.sh FOLDER [NAMESPACE EDGE_NAMESPACE]: the Secrets that Chancery's own parts need among themselves, on stdout, for `kubectl apply -f -`:
# certificates of the API, the workers and the agents under an authority of their own, and the key that certificates' keys are encrypted with. What it makes
# is kept in FOLDER; run again, it makes what is missing and prints the same. Certificates last 825 days: delete one's files there to have another made.
# Whoever has cert-manager has it make Secrets of these names instead. Needs openssl and kubectl.
set -eu
umask 077
folder=${1:?a folder that nobody else can read}
namespace=${2:-chancery}
edge=${3:-chancery-edge}
mkdir -p "$folder"

key() { [ -s "$1" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$1"; }

authority() {
  key "$folder/ca.key"
  [ -s "$folder/ca.crt" ] || openssl req -x509 -new -key "$folder/ca.key" -days 3650 -subj "/CN=Chancery $namespace" -out "$folder/ca.crt"
}

# certificate NAME USE DNS_NAME...
certificate() {
  name=$1 use=$2
  shift 2
  names=$(for one in "$@"; do printf 'DNS:%s,' "$one"; done)
  key "$folder/$name.key"
  [ -s "$folder/$name.crt" ] && return
  openssl req -new -key "$folder/$name.key" -subj "/CN=$1" -out "$folder/$name.csr"
  printf 'subjectAltName=%s\nextendedKeyUsage=%s\nkeyUsage=digitalSignature\nbasicConstraints=critical,CA:FALSE\n' "${names%,}" "$use" >"$folder/$name.ext"
  openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -days 825 -extfile "$folder/$name.ext" \
    -out "$folder/$name.crt" 2>/dev/null
}

# secret NAMESPACE NAME KEY=FILE...
secret() {
  where=$1 name=$2 type=$3
  shift 3
  printf -- '---\n'
  files=
  for one in "$@"; do files="$files --from-file=$one"; done
  # shellcheck disable=SC2086 # the folder's name has no spaces where this is run as documented
  kubectl create secret generic "$name" --namespace "$where" --type "$type" $files --dry-run=client --output yaml
}

authority
certificate api serverAuth "chancery-api.$namespace.svc" chancery-api "chancery-api.$namespace" localhost
certificate worker serverAuth "chancery-worker.$namespace.svc"
certificate agent clientAuth "agent.$edge.svc"
[ -s "$folder/keys.json" ] ||
  printf '{"writes": "first", "keys": {"first": "%s"}}\n' "$(openssl rand -base64 32)" >"$folder/keys.json"
tls() { secret "$1" "$2" kubernetes.io/tls "tls.crt=$folder/$3.crt" "tls.key=$folder/$3.key" "ca.crt=$folder/ca.crt"; }
tls "$namespace" chancery-api-tls api
tls "$namespace" chancery-worker-tls worker
tls "$edge" chancery-agent-tls agent
secret "$namespace" chancery-keys Opaque "keys.json=$folder/keys.json"
