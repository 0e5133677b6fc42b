#!/bin/sh
# Writes descriptions of all queries of src/store to .sqlx, which builds read instead of a live
# database. Run it after a change to a query or to db/migrations, and commit .sqlx with the change.
# Arguments are passed to cargo, such as --no-default-features.
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/sqlx"

# Python's sqlite3 has FTS5 and strict tables if it is newer than 2021. The program sqlite3 may not
# be installed.
python3 - "$scratch/schema.db" db/migrations/*.sql <<'PYTHON'
import sqlite3, sys

database = sqlite3.connect(sys.argv[1])
for migration in sys.argv[2:]:
    with open(migration, encoding="utf-8") as text:
        database.executescript(text.read())
PYTHON

# The macros save the description of a query if they have both a database and a directory.
touch src/lib.rs
DATABASE_URL="sqlite://$scratch/schema.db" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$scratch/sqlx" \
    cargo check --lib "$@"

# The old set is replaced as a whole, so that descriptions of removed queries go too.
rm -rf .sqlx
mv "$scratch/sqlx" .sqlx
# The next build must expand the macros again, from .sqlx.
touch src/lib.rs
echo "$(ls .sqlx | wc -l) queries described in .sqlx"
