//! Transfers over HTTP, as clients see them.
