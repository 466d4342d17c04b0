#!/usr/bin/env bash
# Puts the schedulers that others wrote into a folder: pymesos from PyPI, mesos-framework from npm. README.md tells more.
# Use: install.sh FOLDER      Does nothing when that folder has them already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
into=$(cd "$1" && pwd)
stamp=$(cat "$here/install.sh" "$here"/python/*.txt "$here/js/package-lock.json" | sha256sum)

exec 9>"$into/lock"
flock 9
if [ "$(cat "$into/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
rm -rf "$into/python" "$into/js" "$into/stamp"

install_python() {
    # Where several are there (pyenv, conda), Debian's own is the one whose venv module came by apt.
    local python=/usr/bin/python3
    [ -x "$python" ] && "$python" -c 'import ensurepip' 2>/dev/null || python=python3
    "$python" -m venv "$into/python"
    local pip=("$into/python/bin/pip" --disable-pip-version-check --quiet)
    "${pip[@]}" install --require-hashes --only-binary :all: -r "$here/python/requirements.txt"
    # Old source packages: built with the setuptools of requirements.txt, not with tomorrow's.
    PYTHONPATH=$here/python/compat "${pip[@]}" download --no-deps --no-binary :all: --no-build-isolation \
        --require-hashes -r "$here/python/sources.txt" -d "$into/python/sources"
    "${pip[@]}" install --no-deps --no-build-isolation --no-index "$into"/python/sources/pymesos-*.tar.gz
    # http-parser without its C part, which today's Python refuses.
    tar -xzf "$into"/python/sources/http-parser-*.tar.gz -C "$into/python/sources"
    local site
    site=$("$into/python/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    mkdir "$site/http_parser"
    cp "$into"/python/sources/http-parser-*/http_parser/*.py "$site/http_parser/"
    "$into/python/bin/python" -W ignore -c 'import pymesos'
}

install_js() {
    mkdir -p "$into/js"
    cp "$here/js/package.json" "$here/js/package-lock.json" "$into/js/"
    npm ci --prefix "$into/js" --ignore-scripts --no-audit --no-fund --silent
    node -e "require('$into/js/node_modules/mesos-framework')" >/dev/null
}

install_python
install_js
printf '%s\n' "$stamp" >"$into/stamp"
