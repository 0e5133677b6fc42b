//! The header of a dataset: two numbers of the SQLite file, which say that it is ewe's, and its
//! schema. A copy restored from `.dump` has lost them and is recognized by its tables.

use std::{collections::HashSet, path::Path};

use sqlx::{AssertSqlSafe, Connection, SqliteConnection, migrate::Migrate};

use crate::store::{Error, MIGRATIONS, Result, SCHEMA};

/// `PRAGMA application_id` of our files: "ewe1".
const APPLICATION_ID: i64 = 1_702_323_505;

/// The table where sqlx records applied migrations.
const MIGRATION_TABLE: &str = "_sqlx_migrations";

/// The header of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Header {
    /// The number of the last migration that was applied.
    pub schema: i64,
    /// Whether the file has lost its header, which has to be written again.
    pub restored: bool,
}

/// Reads the header, and with it the file for the first time.
///
/// # Errors
///
/// [`Error::NotEwe`], [`Error::Newer`], and the errors of opening a file.
pub(in crate::store) async fn look(connection: &mut SqliteConnection, path: &Path) -> Result<Header> {
    // The sums: sqlx asks SQLite for the table of a bare column, and a pragma's has none.
    let header = sqlx::query!(
        r#"
        SELECT
            application_id + 0 AS "application_id!: i64",
            user_version + 0 AS "user_version!: i64"
        FROM pragma_application_id, pragma_user_version
        "#
    )
    .fetch_one(&mut *connection)
    .await
    .map_err(|error| Error::opening(path, error))?;
    let found = match header.application_id {
        APPLICATION_ID => Header {
            schema: header.user_version,
            restored: false,
        },
        0 => Header {
            schema: schema_of(connection)
                .await?
                .ok_or_else(|| Error::NotEwe { path: path.into() })?,
            restored: true,
        },
        _ => return Err(Error::NotEwe { path: path.into() }),
    };
    if found.schema > SCHEMA {
        return Err(Error::Newer {
            path: path.into(),
            found: found.schema,
            known: SCHEMA,
        });
    }
    Ok(found)
}

/// Writes the header of a file of this schema, and the list of its migrations if it is missing.
pub(in crate::store) async fn restore(connection: &mut SqliteConnection, schema: i64) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let set = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {schema};");
    sqlx::raw_sql(AssertSqlSafe(set))
        .execute(&mut *transaction)
        .await?;
    transaction.ensure_migrations_table(MIGRATION_TABLE).await?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version <= schema) {
        sqlx::query(
            "INSERT OR IGNORE INTO _sqlx_migrations (version, description, success, checksum, execution_time)
            VALUES (?, ?, true, ?, 0)",
        )
        .bind(migration.version)
        .bind(migration.description.as_ref())
        .bind(migration.checksum.as_ref())
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Returns the newest schema that the database has completely, judged by the names of tables,
/// columns, views, triggers and indexes. Additional ones make no difference.
async fn schema_of(connection: &mut SqliteConnection) -> Result<Option<i64>> {
    let found = names(connection).await?;
    if !found.contains("table task") {
        return Ok(None);
    }
    let mut plain = SqliteConnection::connect("sqlite::memory:").await?;
    let mut schema = None;
    for migration in MIGRATIONS.iter() {
        sqlx::raw_sql(AssertSqlSafe(migration.sql.as_str().to_owned()))
            .execute(&mut plain)
            .await?;
        if names(&mut plain).await?.is_subset(&found) {
            schema = Some(migration.version);
        }
    }
    plain.close().await?;
    Ok(schema)
}

async fn names(connection: &mut SqliteConnection) -> Result<HashSet<String>> {
    // The columns of a virtual table are unknown where its module is missing.
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT type || ' ' || name FROM sqlite_schema
        UNION ALL
        SELECT 'column ' || entry.name || '.' || field.name
        FROM sqlite_schema AS entry
        JOIN pragma_table_info(entry.name) AS field
        WHERE entry.type = 'table' AND entry.sql NOT LIKE 'CREATE VIRTUAL%'",
    )
    .fetch_all(connection)
    .await?;
    Ok(names
        .into_iter()
        .filter(|name| !name.contains(" sqlite_autoindex"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of each schema is recognized without its header.
    #[tokio::test]
    async fn every_schema_is_known_by_its_tables() {
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        assert_eq!(schema_of(&mut connection).await.unwrap(), None);
        for migration in MIGRATIONS.iter() {
            sqlx::raw_sql(AssertSqlSafe(migration.sql.as_str().to_owned()))
                .execute(&mut connection)
                .await
                .unwrap();
            sqlx::raw_sql("PRAGMA application_id = 0; PRAGMA user_version = 0;")
                .execute(&mut connection)
                .await
                .unwrap();
            let found = look(&mut connection, Path::new("x.db")).await.unwrap();
            assert_eq!(
                found,
                Header {
                    schema: migration.version,
                    restored: true
                }
            );
        }
        restore(&mut connection, SCHEMA).await.unwrap();
        let found = look(&mut connection, Path::new("x.db")).await.unwrap();
        assert_eq!((found.schema, found.restored), (SCHEMA, false));
        // No migration is left to apply.
        MIGRATIONS.run(&mut connection).await.unwrap();
        sqlx::raw_sql("PRAGMA application_id = 7")
            .execute(&mut connection)
            .await
            .unwrap();
        let other = look(&mut connection, Path::new("x.db")).await.unwrap_err();
        assert!(matches!(other, Error::NotEwe { .. }));
    }
}
