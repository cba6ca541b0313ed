//! Reads of documents: one document by key, and pages of documents in the order of their keys.
//!
//! A read is built and then awaited:
//! `app.read::<Balance>("42").after(position).within(timeout).await`. It never returns a document
//! from before the start of the application.

use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use super::Application;
use crate::error::ReadError;
use crate::event::GlobalPosition;
use crate::read_model::{Document, DocumentPage, ReadModel};
use crate::store::contract::DocumentRange;

type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, ReadError>> + Send + 'a>>;

impl Application {
    /// Reads the document of the read model `M` with this key. Pass the position of a command to
    /// `after` to read your own write.
    ///
    /// ```no_run
    /// # use actum::{Aggregate, Application, ReadModel};
    /// # async fn f<Account: Aggregate<Command = i64>, Balance: ReadModel>(app: Application)
    /// # -> Result<(), Box<dyn std::error::Error>> where Account::Error: Sync {
    /// let committed = app.execute::<Account>("42", 1250).await?;
    /// let balance = app.read::<Balance>("42").after(committed.position).await?;
    /// assert!(balance.position >= committed.position);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ReadError`]; `NotYet` if the wait ends first, and without a wait if the log does not have
    /// the position.
    pub fn read<'a, M: ReadModel>(&'a self, key: &'a str) -> Read<'a, M> {
        let within = self.inner.settings.read_within;
        Read { app: self, key, after: GlobalPosition::ZERO, within, model: PhantomData }
    }

    /// Reads a page of the documents of the read model `M`, in the order of their keys.
    ///
    /// ```no_run
    /// # use actum::{Application, DocumentRange, ReadError, ReadModel};
    /// # async fn all<M: ReadModel>(app: &Application) -> Result<(), ReadError> {
    /// let mut range = DocumentRange { prefix: "2026-".into(), ..DocumentRange::default() };
    /// loop {
    ///     let page = app.list::<M>(&range).await?;
    ///     for (key, document) in page.documents { /* … */ }
    ///     range.after = Some(match page.next { Some(next) => next, None => break });
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// Each page is read separately, so documents may change between pages.
    ///
    /// # Errors
    /// Those of [`Application::read`].
    pub fn list<'a, M: ReadModel>(&'a self, range: &'a DocumentRange) -> List<'a, M> {
        let within = self.inner.settings.read_within;
        List { app: self, range, after: GlobalPosition::ZERO, within, model: PhantomData }
    }
}

/// A read of one document of the read model `M`. Await it to run it.
#[must_use = "a read does nothing until it is awaited"]
pub struct Read<'a, M> {
    app: &'a Application,
    key: &'a str,
    after: GlobalPosition,
    within: Duration,
    model: PhantomData<fn() -> M>,
}

impl<M> Read<'_, M> {
    /// Waits until the read model has applied this position.
    pub fn after(self, position: GlobalPosition) -> Self {
        Self { after: position, ..self }
    }

    /// Sets the timeout of the wait. The default and maximum is `Settings::read_within`.
    pub fn within(self, timeout: Duration) -> Self {
        Self { within: self.within.min(timeout), ..self }
    }
}

impl<'a, M: ReadModel> IntoFuture for Read<'a, M> {
    type Output = Result<Document<M>, ReadError>;
    type IntoFuture = Reading<'a, Document<M>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { app, key, after, within, .. } = self;
        Box::pin(async move {
            let served = app.read_model::<M>()?;
            app.check_position(M::NAME, after).await?;
            served.read(key, after, within).await
        })
    }
}

/// A read of one page of documents of the read model `M`. Await it to run it.
#[must_use = "a read does nothing until it is awaited"]
pub struct List<'a, M> {
    app: &'a Application,
    range: &'a DocumentRange,
    after: GlobalPosition,
    within: Duration,
    model: PhantomData<fn() -> M>,
}

impl<M> List<'_, M> {
    /// Waits until the read model has applied this position. The owner then saves at once, so this
    /// may cost a transaction.
    pub fn after(self, position: GlobalPosition) -> Self {
        Self { after: position, ..self }
    }

    /// Sets the timeout of the wait. The default and maximum is `Settings::read_within`.
    pub fn within(self, timeout: Duration) -> Self {
        Self { within: self.within.min(timeout), ..self }
    }
}

impl<'a, M: ReadModel> IntoFuture for List<'a, M> {
    type Output = Result<DocumentPage<M>, ReadError>;
    type IntoFuture = Reading<'a, DocumentPage<M>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { app, range, after, within, .. } = self;
        Box::pin(async move {
            let served = app.read_model::<M>()?;
            app.check_position(M::NAME, after).await?;
            served.list(&*app.inner.store, range, after, within).await
        })
    }
}
