//! The Arrow schema of JSON rows. The same rows always give the same columns, in the order in which
//! the fields appear.

use arrow_schema::{DataType, Field, Fields, Schema};
use serde_json::Value;

/// Infers the columns of these rows.
///
/// # Errors
///
/// Names a field whose values are of several types.
pub(super) fn of_rows(rows: &[Value]) -> Result<Schema, String> {
    Ok(Schema::new(of_objects(rows.iter(), "")?))
}

/// Returns columns of strings.
pub(super) fn of_texts(names: &[&str]) -> Schema {
    let field = |name: &&str| Field::new(*name, DataType::Utf8, true);
    Schema::new(names.iter().map(field).collect::<Vec<_>>())
}

fn of_objects<'a>(objects: impl Iterator<Item = &'a Value> + Clone, path: &str) -> Result<Fields, String> {
    let mut names: Vec<&str> = Vec::new();
    for name in objects
        .clone()
        .filter_map(Value::as_object)
        .flat_map(|object| object.keys())
    {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let field = |name: &str| {
        let path = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        let values: Vec<_> = objects.clone().filter_map(|object| object.get(name)).collect();
        Ok(Field::new(name, of_values(&values, &path)?, true))
    };
    names.into_iter().map(field).collect()
}

fn of_values(values: &[&Value], path: &str) -> Result<DataType, String> {
    let values: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| is(value));
    // A column without any value is most likely one of strings.
    if all(Value::is_string) {
        Ok(DataType::Utf8)
    } else if all(Value::is_boolean) {
        Ok(DataType::Boolean)
    } else if all(Value::is_i64) {
        Ok(DataType::Int64)
    } else if all(Value::is_u64) {
        Ok(DataType::UInt64)
    } else if all(Value::is_number) {
        Ok(DataType::Float64)
    } else if all(Value::is_array) {
        let elements: Vec<_> = values
            .iter()
            .filter_map(|value| value.as_array())
            .flatten()
            .collect();
        let element = of_values(&elements, path)?;
        Ok(DataType::List(Field::new_list_field(element, true).into()))
    } else if all(Value::is_object) {
        let fields = of_objects(values.into_iter(), path)?;
        if fields.is_empty() {
            return Err(format!(
                "`{path}` is an object without fields, which no column can hold"
            ));
        }
        Ok(DataType::Struct(fields))
    } else {
        Err(format!(
            "`{path}` is not the same kind of value in all rows, as a column must be"
        ))
    }
}
