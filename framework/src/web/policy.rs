//! The policy of a route: the condition on which a client may use it.

/// Condition under which a client may use a route.
///
/// The ownership of aggregates is not checked here but by
/// [`Aggregate::authorise`](crate::Aggregate::authorise).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// No condition, and the rate limit does not count the request, because a health check must not
    /// fail on account of other clients behind the same address.
    Probe,
    /// No condition.
    Public,
    /// Any valid credential. The policy of a route that names none.
    Authenticated,
    /// A credential with this scope.
    Scope(&'static str),
    /// A credential with the scope of operators, which [`Access`](super::Access) names.
    Operator,
}

impl Policy {
    /// Returns true if the route needs a credential.
    pub fn needs_credential(self) -> bool {
        !matches!(self, Self::Probe | Self::Public)
    }

    /// Returns the scope that the route itself names.
    pub fn scope(self) -> Option<&'static str> {
        match self {
            Self::Scope(scope) => Some(scope),
            _ => None,
        }
    }
}
