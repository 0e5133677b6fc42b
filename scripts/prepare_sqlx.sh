#!/bin/sh
# Describes every query of src/store anew in .sqlx, which builds read instead of a live database. Run it after a
# change to a query or to db/migrations, and commit .sqlx with the change. Arguments go to cargo
# (say, --no-default-features).
set -eu
cd "$(dirname "$0")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/sqlx"

# Python's sqlite3 has FTS5 and strict tables wherever it is newer than 2021; the sqlite3 program may not be installed.
python3 - "$scratch/schema.db" db/migrations/*.sql <<'PYTHON'
import sqlite3, sys

database = sqlite3.connect(sys.argv[1])
for migration in sys.argv[2:]:
    with open(migration, encoding="utf-8") as text:
        database.executescript(text.read())
PYTHON

# The macros save what the database says about a query when they have both a database and a directory.
touch src/lib.rs
DATABASE_URL="sqlite://$scratch/schema.db" SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$scratch/sqlx" \
    cargo check --lib "$@"

# Only whole sets replace the old one: descriptions of queries that are gone must go too.
rm -rf .sqlx
mv "$scratch/sqlx" .sqlx
# A build that follows must expand the macros again, from .sqlx.
touch src/lib.rs
echo "$(ls .sqlx | wc -l) queries described in .sqlx"
