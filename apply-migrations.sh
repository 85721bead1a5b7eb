#!/bin/sh
# The specification's command (its sections 3 and 9). Migrations are applied by `callmeback migrate apply`, to
# DATABASE_URL or to the running `callmeback up`.
set -eu
cd -- "$(dirname -- "$0")"
exec .venv/bin/callmeback migrate apply "$@"
