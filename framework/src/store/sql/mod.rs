//! Stores on SQL databases: the only place that names sqlx.
