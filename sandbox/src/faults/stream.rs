//! A watch whose events come late, twice, or not to the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use futures::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::BoxError;

use super::{Fault, FaultBody, Shared, Target};

type Source = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>;

struct Disturbed {
    source: Option<Source>,
    target: Target,
    shared: Arc<Shared>,
    active: watch::Receiver<bool>,
    /// Received, but not a whole line yet.
    partial: BytesMut,
    /// Lines with the earliest time to pass them on; times never go back.
    lines: VecDeque<(Instant, Bytes)>,
}

/// `body`, a stream of JSON lines, with the faults that the rules draw for each line.
pub(super) fn disturb<B>(body: B, target: Target, shared: Arc<Shared>) -> FaultBody
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let disturbed = Disturbed {
        source: Some(Box::pin(body.map_err(Into::into))),
        target,
        active: shared.active.subscribe(),
        shared,
        partial: BytesMut::new(),
        lines: VecDeque::new(),
    };
    let frames = stream::unfold(disturbed, |mut disturbed| async move {
        let item = disturbed.next().await?;
        Some((item.map(Frame::data), disturbed))
    });
    StreamBody::new(frames).boxed_unsync()
}

impl Disturbed {
    async fn next(&mut self) -> Option<Result<Bytes, BoxError>> {
        loop {
            if let Some((due, _)) = self.lines.front() {
                let due = *due;
                if due <= Instant::now() || !self.shared.is_active() {
                    return self.lines.pop_front().map(|(_, line)| Ok(line));
                }
            } else if self.source.is_none() {
                return None;
            }
            let due = self.lines.front().map(|(due, _)| *due);
            let source = self.source.as_mut();
            // Cancel-safe: a frame leaves the source only when this returns it.
            let frame = tokio::select! {
                biased;
                changed = self.active.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return None,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => continue,
                frame = next_frame(source) => frame,
            };
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.receive(&data);
                    }
                }
                Some(Err(error)) => {
                    self.source = None;
                    return Some(Err(error));
                }
                None => self.source = None,
            }
        }
    }

    fn receive(&mut self, data: &Bytes) {
        self.partial.extend_from_slice(data);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line = self.partial.split_to(end.saturating_add(1)).freeze();
            self.take(line);
            if self.source.is_none() {
                self.partial.clear();
                return;
            }
        }
    }

    fn take(&mut self, line: Bytes) {
        let struck = self.shared.draw(&self.target, true);
        let latest = self.lines.back().map_or_else(Instant::now, |(due, _)| *due);
        match struck {
            Some((Fault::WatchCut, _)) => {
                if self.shared.coin() {
                    let half = line.remaining() / 2;
                    self.lines.push_back((latest, line.slice(..half)));
                }
                self.source = None;
            }
            Some((Fault::WatchExpired, _)) => {
                let event = json!({ "type": "ERROR", "object": {
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                    "message": "injected fault: too old resource version", "reason": "Expired", "code": 410,
                } });
                self.lines.push_back((latest, Bytes::from(format!("{event}\n"))));
                self.source = None;
            }
            Some((Fault::WatchRepeat, _)) => {
                self.lines.push_back((latest, line.clone()));
                self.lines.push_back((latest, line));
            }
            Some((Fault::WatchDelay, delay)) => {
                self.lines.push_back((latest.max(after(delay)), line));
            }
            _ => self.lines.push_back((latest, line)),
        }
    }
}

fn after(delay: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now)
}

/// The next frame; never, if the source has ended.
async fn next_frame(source: Option<&mut Source>) -> Option<Result<Frame<Bytes>, BoxError>> {
    match source {
        Some(source) => source.frame().await,
        None => std::future::pending().await,
    }
}
