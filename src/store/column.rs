//! Enums as words in text columns. `task.rs` knows nothing of databases, so their conversion is
//! here.

use sqlx::{
    Decode, Encode, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    sqlite::{SqliteArgumentsBuffer, SqliteTypeInfo, SqliteValueRef},
};

use super::RunStatus;
use crate::task::{FieldType, Origin, Review, Stance};

macro_rules! text_column {
    ($($kind:ty),+) => {$(
        impl Type<Sqlite> for $kind {
            fn type_info() -> SqliteTypeInfo {
                <str as Type<Sqlite>>::type_info()
            }
        }

        impl Encode<'_, Sqlite> for $kind {
            fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
                <&str as Encode<Sqlite>>::encode(self.as_str(), buffer)
            }
        }

        impl<'r> Decode<'r, Sqlite> for $kind {
            fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
                Ok(<&str as Decode<Sqlite>>::decode(value)?.parse::<$kind>()?)
            }
        }
    )+};
}

text_column!(Origin, Review, RunStatus, FieldType, Stance);
