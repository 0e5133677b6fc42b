//! View `dataset`: the rows that training reads and `export` writes.

use futures::{Stream, StreamExt};
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use super::fields::{Field, Values, values::parsed};
use super::rows::rows_of;
use super::{Error, Filter, Result, Store};
use crate::store::query::query_plan::{BY_ID, Goal};
use crate::store::query::sql::Sql;
use crate::task::{ExportField, ExportRow, FieldColumn, OptionalFields, Origin, Review};

/// One example: an instance with its task's instruction.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DatasetRow {
    /// The task's id.
    pub task_id: i64,
    /// The instance's id.
    pub instance_id: i64,
    /// What to do.
    pub instruction: String,
    /// The input; may be empty.
    pub input: String,
    /// The output.
    pub output: String,
    /// Whether the output is one of a few labels.
    pub is_classification: bool,
    /// Where the task came from.
    pub origin: Origin,
    /// Pending or accepted; rejected tasks are not in the dataset.
    pub review: Review,
    /// The run that added the task.
    pub run_id: Option<i64>,
    /// When the task was stored, in UTC.
    pub created_at: String,
    /// The system message.
    pub system: Option<String>,
    /// Other fields of the imported row, as a JSON object.
    pub extra: Option<String>,
    /// The messages after the first answer, as a JSON list.
    pub turns: Option<String>,
}

impl FromRow<'_, SqliteRow> for ExportRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<ExportRow> {
        Ok(ExportRow {
            task_id: row.try_get("task_id")?,
            source_id: row.try_get("source_id")?,
            name: row.try_get("name")?,
            instruction: row.try_get("instruction")?,
            input: row.try_get("input")?,
            output: row.try_get("output")?,
            is_classification: row.try_get("is_classification")?,
            system: row.try_get("system")?,
            extra: row.try_get("extra")?,
            turns: row.try_get("turns")?,
            fields: Vec::new(),
        })
    }
}

/// The fields that have a value for a task, or of which somebody took it away: each with its
/// values, numbers with all digits, and with the JSON text that the task's first row has of it.
const FIELDS: &str = r#",
    (
        SELECT nullif(json_group_array(json_array(id, json(list), said)), '[]')
        FROM (
            SELECT
                field.id AS id,
                (
                    SELECT '[' || coalesce(group_concat(iif(
                        typeof(value) = 'real', printf('%!.17g', value), json_quote(value)
                    )), '') || ']'
                    FROM (
                        SELECT value FROM field_value WHERE field_id = field.id AND task_id = task.id ORDER BY value
                    )
                ) AS list,
                (
                    SELECT coalesce(
                        first.extra -> ('$."' || replace(field.name, '\', '\\') || '"'),
                        first.extra -> ('$."' || replace(field.column_name, '\', '\\') || '"')
                    ) || ''
                    FROM instance AS first
                    WHERE first.task_id = task.id
                    ORDER BY first.ordinal
                    LIMIT 1
                ) AS said
            FROM field
            WHERE field.hidden_at IS NULL
                AND (
                    EXISTS (SELECT 1 FROM field_value WHERE field_id = field.id AND task_id = task.id)
                    OR EXISTS (SELECT 1 FROM revision WHERE task_id = task.id AND field_id = field.id)
                )
            ORDER BY field.id
        )
    ) AS fields"#;

/// Returns the fields of a row.
fn fields_of(row: &SqliteRow, known: &[Field]) -> Result<Vec<ExportField>> {
    let Some(list) = row.try_get::<Option<String>, _>("fields")? else {
        return Ok(Vec::new());
    };
    let mut fields = Vec::new();
    for (id, values, said) in rows_of::<(i64, Values, Option<String>)>(&list)? {
        let Some(field) = known.iter().find(|field| field.id == id) else {
            continue;
        };
        let was = said.and_then(|said| field.of_json(&parsed(&said)).ok());
        fields.push(ExportField {
            name: field.name.clone(),
            column: field.column_name.clone(),
            value: (!values.is_empty()).then(|| field.to_json(&values).to_string()),
            is_edited: !was.is_some_and(|was| was.are_kept_as(&values)),
        });
    }
    Ok(fields)
}

impl Store {
    /// Returns the fields that an export needs.
    pub async fn export_needs(&self) -> Result<OptionalFields> {
        let (groups, systems, turns) = sqlx::query_as(
            "SELECT
                EXISTS (SELECT 1 FROM instance WHERE ordinal > 0),
                EXISTS (SELECT 1 FROM task WHERE system IS NOT NULL),
                EXISTS (SELECT 1 FROM instance WHERE turns IS NOT NULL)",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(OptionalFields {
            groups,
            systems,
            turns,
            fields: self.field_columns().await?,
        })
    }

    /// Returns the fields that some task has a value of.
    async fn field_columns(&self) -> Result<Vec<FieldColumn>> {
        let mut columns = Vec::new();
        for field in self.fields().await? {
            let used = sqlx::query!(
                r#"
                SELECT
                    EXISTS (SELECT 1 FROM field_value WHERE field_id = ?1) AS "is_used!: bool",
                    EXISTS (SELECT 1 FROM field_value WHERE field_id = ?1 AND typeof(value) = 'real')
                        AS "has_fractions!: bool"
                "#,
                field.id
            )
            .fetch_one(&self.pool)
            .await?;
            if used.is_used {
                columns.push(FieldColumn {
                    name: field.name,
                    kind: field.kind,
                    has_fractions: used.has_fractions,
                });
            }
        }
        Ok(columns)
    }

    /// Streams the rows of the dataset that pass `filter`, in order of task and instance, all of
    /// one moment. With `min_score`, only rows that were judged and themselves score at least that
    /// much. Rejected tasks are left out, whatever the filter says.
    pub async fn export_rows(
        &self,
        filter: &Filter,
        min_score: Option<f64>,
    ) -> Result<impl Stream<Item = Result<ExportRow>> + Unpin + '_> {
        let filter = Filter {
            in_dataset: true,
            ..filter.clone()
        };
        let plan = self.query_plan(&filter, Goal::All).await?;
        let known = self.fields().await?;
        let mut sql = Sql::default();
        sql.push(
            "SELECT
                task.id AS task_id, task.source_id, task.name, task.instruction, instance.input, instance.output,
                task.is_classification, task.system, instance.extra, instance.turns",
        );
        if !known.is_empty() {
            sql.push(FIELDS);
        }
        plan.push(
            &mut sql,
            BY_ID,
            " CROSS JOIN instance ON instance.task_id = task.id",
        );
        if let Some(min_score) = min_score {
            sql.push(
                " AND (SELECT avg(judged.score) FROM judged WHERE judged.instance_id = instance.id) >= ?",
            )
            .values(&[min_score.into()]);
        }
        sql.push(" ORDER BY task.id, instance.id");
        let (text, values) = sql.finish();
        let rows = sqlx::query_with(text, values).fetch(&self.pool);
        Ok(rows.map(move |row| {
            let row = row.map_err(Error::from)?;
            let fields = match known.is_empty() {
                true => Vec::new(),
                false => fields_of(&row, &known)?,
            };
            Ok(ExportRow {
                fields,
                ..ExportRow::from_row(&row)?
            })
        }))
    }

    /// Returns the dataset in order of task and instance; with `review`, only rows of that review.
    pub async fn dataset(&self, review: Option<Review>) -> Result<Vec<DatasetRow>> {
        let rows = sqlx::query_as!(
            DatasetRow,
            r#"
            SELECT
                dataset.task_id AS "task_id!", instance_id AS "instance_id!", instruction AS "instruction!",
                dataset.input AS "input!", dataset.output AS "output!",
                is_classification AS "is_classification!: bool", origin AS "origin!: Origin",
                review AS "review!: Review", run_id, created_at AS "created_at!", system, dataset.extra,
                instance.turns AS "turns?"
            FROM dataset
            JOIN instance ON instance.id = dataset.instance_id
            WHERE ?1 IS NULL OR review = ?1
            ORDER BY dataset.task_id, instance_id
            "#,
            review
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }
}
