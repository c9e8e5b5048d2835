//! One attempt: send a request over a connection and wait for the head of the response.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use hyper::body::Incoming;

use super::endpoint::Loss;
use super::error::AttemptError;
use super::pool::Connection;
use crate::request::body::RequestBody;

/// What ends the wait for a response before it comes.
pub(crate) enum Interrupt {
    /// The time limit for the head passed.
    Late,
    /// The target's deregistration delay ended.
    Expired,
}

/// Why there is no response, and the request if none of it was sent.
pub(crate) struct Failed {
    pub(crate) error: AttemptError,
    pub(crate) unsent: Option<Request<RequestBody>>,
}

/// Sends the request and waits for the head. `interrupt` is asked at each wake-up.
pub(crate) async fn forward(
    connection: &mut Connection,
    request: Request<RequestBody>,
    mut interrupt: impl FnMut(&mut Context<'_>) -> Poll<Interrupt>,
) -> Result<Response<Incoming>, Failed> {
    connection.served += 1;
    let reused = connection.served > 1;
    // Without tokio's budget: a poll that is refused for want of it would wake nobody here.
    let answer = connection.sender.try_send_request(request);
    let mut answer = pin!(tokio::task::coop::unconstrained(answer));
    poll_fn(|cx| {
        // What the driver has to say about the request it says here: with a response, with an
        // error, or by its end, which drops it.
        let ended = connection.poll(cx);
        // So this needs no wake-up of its own.
        match answer
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(Ok(response)) => return Poll::Ready(Ok(response)),
            Poll::Ready(Err(mut failure)) => {
                let unsent = failure.take_message();
                let cause = failure.into_error();
                if !cause.is_user() {
                    connection.lost(Loss::Sudden);
                }
                return Poll::Ready(Err(Failed {
                    error: classify(cause, reused, unsent.is_none()),
                    unsent,
                }));
            }
            Poll::Pending => debug_assert!(ended.is_pending(), "an ended driver has answered"),
        }
        let error = match std::task::ready!(interrupt(cx)) {
            Interrupt::Late => AttemptError::ResponseTimeout,
            Interrupt::Expired => AttemptError::Expired,
        };
        Poll::Ready(Err(Failed {
            error,
            unsent: None,
        }))
    })
    .await
}

fn classify(cause: hyper::Error, reused: bool, sent: bool) -> AttemptError {
    if cause.is_parse() {
        AttemptError::Malformed("it is no HTTP/1.1 response")
    } else if cause.is_user() {
        AttemptError::Client
    } else {
        AttemptError::Closed {
            reused,
            sent,
            cause,
        }
    }
}
