//! What an answer of the API server, or the lack of one, means for a write.

use std::future::Future;
use std::time::Duration;

use crate::sink::Retry;
use crate::wire;

/// Deadline of a single request, writes and fresh reads alike (STY-74). Shorter than what is left of a lease
/// when its renewal fails, see [`crate::lease::Config`].
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(5);

/// Pause before a key that met a conflict starts again: time for the watch to deliver the other write.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// Runs a request with a deadline; when it passes, the outcome is unknown ([`is_outcome_unknown`]).
///
/// # Errors
/// The request's own error, or [`kube::Error::Service`] when the deadline passed.
pub async fn within<T>(
    deadline: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match tokio::time::timeout(deadline, request).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(kube::Error::Service(elapsed.into())),
    }
}

/// 409 because of a stale resourceVersion or a failed precondition (RS-4, RS-5).
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

/// 404.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found())
}

/// 409 because the name is taken (DEP-19).
#[must_use]
pub fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// 422: the object, or a uid inside a patch, was refused (RS-3, RS-16).
#[must_use]
pub fn is_invalid(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_invalid())
}

/// 403 without a cause that passes by itself.
#[must_use]
pub fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_forbidden()) && !is_namespace_terminating(error)
}

/// Refused because the namespace is on its way out (RS-8, RS-38, DEP-20).
#[must_use]
pub fn is_namespace_terminating(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let causes = status
        .details
        .as_ref()
        .map(|details| details.causes.as_slice())
        .unwrap_or_default();
    causes
        .iter()
        .any(|cause| cause.reason == wire::CAUSE_NAMESPACE_TERMINATING)
}

/// How long the server asks to wait before the next attempt (429, 503).
#[must_use]
pub fn retry_after(error: &kube::Error) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    let seconds = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}

/// Whether the write may have taken effect although it failed: no answer, or one from a server that gave up
/// half-way. Such writes are recorded as [`crate::writes::Written::Unknown`].
#[must_use]
pub fn is_outcome_unknown(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 500 | 502 | 504),
        kube::Error::HyperError(_)
        | kube::Error::Service(_)
        | kube::Error::FromUtf8(_)
        | kube::Error::ReadEvents(_)
        | kube::Error::HttpError(_)
        | kube::Error::SerdeError(_) => true,
        // The rest fails before anything is sent.
        _ => false,
    }
}

/// What the queue does with a key after such an error, unless the spec says otherwise: a conflict starts again soon
/// (RS-4), a server that names a time is heard, the rest backs off.
#[must_use]
pub fn retry(error: &kube::Error) -> Retry {
    match retry_after(error) {
        _ if is_conflict(error) => Retry::Soon(CONFLICT_PAUSE),
        Some(asked) => Retry::Soon(asked),
        None => Retry::Backoff,
    }
}

/// The server's own words, or the client's error with its causes: the text that events and conditions show.
#[must_use]
pub fn message(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(deeper) = cause {
        // The client library already prints some of the causes.
        let said = deeper.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn refused(code: u16, reason: &str) -> kube::Error {
        kube::Error::Api(Status::failure("no", reason).with_code(code).boxed())
    }

    #[test]
    fn rs_16_answers_are_told_apart() {
        assert!(is_conflict(&refused(409, "Conflict")));
        assert!(
            is_already_exists(&refused(409, "AlreadyExists")) && !is_conflict(&refused(409, "AlreadyExists"))
        );
        assert!(is_not_found(&refused(404, "NotFound")));
        assert!(is_invalid(&refused(422, "Invalid")));
        assert!(is_forbidden(&refused(403, "Forbidden")));
        assert!(
            is_outcome_unknown(&refused(504, "Timeout")) && !is_outcome_unknown(&refused(409, "Conflict"))
        );
        assert_eq!(message(&refused(409, "Conflict")), "no");
        assert_eq!(retry(&refused(409, "Conflict")), Retry::Soon(CONFLICT_PAUSE));
        assert_eq!(retry(&refused(500, "InternalError")), Retry::Backoff);
    }

    #[test]
    fn rs_38_a_terminating_namespace_is_found_among_the_causes() {
        let details = StatusDetails {
            causes: vec![StatusCause {
                reason: "NamespaceTerminating".into(),
                message: String::new(),
                field: String::new(),
            }],
            retry_after_seconds: 7,
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
        };
        let status = Status::failure("terminating", "Forbidden")
            .with_code(403)
            .with_details(details);
        let error = kube::Error::Api(status.boxed());
        assert!(is_namespace_terminating(&error) && !is_forbidden(&error));
        assert_eq!(retry_after(&error), Some(Duration::from_secs(7)));
        assert_eq!(retry(&error), Retry::Soon(Duration::from_secs(7)));
    }

    #[derive(Debug, thiserror::Error)]
    #[error("client error (Connect)")]
    struct Connect(#[source] std::io::Error);

    #[test]
    fn issue_2_an_unreachable_server_is_described_down_to_the_cause() {
        let cause = std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "connection refused");
        let error = kube::Error::Service(Connect(cause).into());
        assert_eq!(
            message(&error),
            "ServiceError: client error (Connect): connection refused"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn sty_74_a_request_without_answer_ends_with_unknown_outcome() {
        let answer: Result<(), _> = within(REQUEST_DEADLINE, std::future::pending()).await;
        assert!(is_outcome_unknown(&answer.unwrap_err()));
    }
}
