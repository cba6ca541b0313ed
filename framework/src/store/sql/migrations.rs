//! Why a schema could not be brought up to date, for who has to do something about it.

use sqlx::migrate::MigrateError;

pub(crate) fn explain(error: &MigrateError) -> String {
    match error {
        // Released migrations never change.
        MigrateError::VersionMismatch(version) => format!(
            "step {version} of its schema is not this program's: a build that was never released made it; \
             start that one, or name another place"
        ),
        error => format!("the schema cannot be migrated: {error}"),
    }
}
