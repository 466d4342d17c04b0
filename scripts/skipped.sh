#!/usr/bin/env bash
# Says which tests of the last run could not run here, and why; they print SKIPPED lines.
# Use: skipped.sh JUNIT
set -euo pipefail
[ -e "$1" ] || exit 0
lines=$(grep -o 'SKIPPED: .*' "$1" | sed -e 's/&apos;/'"'"'/g; s/&quot;/"/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g' | sort -u || true)
if [ -z "$lines" ]; then
    echo "no test was skipped"
else
    printf '%s\n%s tests were skipped on this host\n' "$lines" "$(printf '%s\n' "$lines" | wc -l)"
fi
