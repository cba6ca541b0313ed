//! A record of every save of a read model: its order, its lease token and its owner.

use std::collections::BTreeMap;

use sqlx::Executor;
use sqlx::postgres::PgConnection;

/// Records each save: its token, its process, its position, and if it was accepted.
const NOTE: &str = r#"
CREATE SCHEMA noted;
CREATE TABLE noted.saves (n bigint GENERATED ALWAYS AS IDENTITY, name text, token bigint, by text,
                    "position" bigint, is_owner boolean);
ALTER FUNCTION actum.save_documents SET SCHEMA noted;
CREATE FUNCTION actum.save_documents(
    model text, partition integer, token bigint, step bigint, from_position bigint,
    log_id uuid, "position" bigint, event_id uuid, changes text, keys text[], bodies text[],
    deleted text[],
    OUT is_owner boolean, OUT is_taken boolean, OUT stored_token bigint, OUT stored_step bigint,
    OUT stored_log_id uuid, OUT stored_position bigint, OUT stored_event_id uuid
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT * INTO is_owner, is_taken, stored_token, stored_step, stored_log_id, stored_position,
                  stored_event_id
    FROM noted.save_documents($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);
    INSERT INTO noted.saves (name, token, by, "position", is_owner)
    VALUES ($1 || '/' || $2, $3, current_setting('application_name'), $7, is_owner);
END $$;"#;

/// Records all saves from now on. The name of its session identifies the saving process.
pub async fn note(connection: &mut PgConnection) {
    connection.execute(NOTE).await.unwrap();
}

/// Counts from the recorded saves.
#[derive(Debug, Default)]
pub struct Noted {
    /// The partitions that were saved, and how often.
    pub saved: BTreeMap<String, usize>,
    /// Number of times that a partition changed its owner.
    pub moves: usize,
    /// Number of saves that were refused because their lease was lost.
    pub refused: usize,
}

/// Checks each partition: every token belongs to one process, no save with an older token follows
/// one with a newer token, and no checkpoint goes back.
pub async fn check(connection: &mut PgConnection) -> Noted {
    let saves: Vec<(String, i64, String, i64, bool)> =
        sqlx::query_as("SELECT name, token, by, position, is_owner FROM noted.saves ORDER BY n")
            .fetch_all(connection)
            .await
            .unwrap();
    let mut noted = Noted::default();
    let mut last = BTreeMap::new();
    for save in &saves {
        let (name, token, by, position, is_owner) = save;
        if !is_owner {
            noted.refused += 1;
            continue;
        }
        *noted.saved.entry(name.clone()).or_default() += 1;
        if let Some(before) = last.insert(name, save) {
            let (_, held, whose, from, _) = before;
            assert!(held < token || held == token && whose == by, "late: {before:?} {save:?}");
            assert!(from <= position, "a checkpoint went back: {before:?} {save:?}");
            noted.moves += usize::from(whose != by);
        }
    }
    noted
}
