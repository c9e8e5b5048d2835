//! Desks: where requests are worked at.
//!
//! What leads a request through its life takes some 1.5 KB while it is at work. In the task of its
//! connection it would take them while the connection waits as well, and in a box of its own each
//! request would pay for the box. So a worker keeps desks, as many as requests were at work at a
//! time: a connection sits down at one when the first byte of a request has come.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::connection::{Conversation, requests};
use crate::request::Next;

/// The most desks without a request that a worker keeps.
const KEPT: usize = 256;

/// The desks of a worker at which nobody sits.
#[derive(Default)]
pub(super) struct Desks(RefCell<Vec<Desk>>);

/// What works at one connection after the other, and never ends.
struct Desk {
    work: Pin<Box<dyn Future<Output = Infallible>>>,
    tray: Rc<Tray>,
}

/// Where a connection is laid for the work, and where it lies when that is done.
#[derive(Default)]
struct Tray {
    comes: Cell<Option<Box<Conversation>>>,
    goes: Cell<Option<(Box<Conversation>, Next)>>,
}

/// Has a connection's requests worked at for as long as there are any.
pub(super) async fn work(conversation: Box<Conversation>) -> (Box<Conversation>, Next) {
    let free = conversation.desks().0.borrow_mut().pop();
    let mut desk = free.unwrap_or_else(Desk::new);
    desk.tray.comes.set(Some(conversation));
    let (conversation, next) = poll_fn(|cx| desk.poll(cx)).await;
    let desks = &conversation.desks().0;
    if desks.borrow().len() < KEPT {
        desks.borrow_mut().push(desk);
    }
    (conversation, next)
}

impl Desk {
    fn new() -> Self {
        let tray = Rc::<Tray>::default();
        Self {
            work: Box::pin(one_after_the_other(Rc::clone(&tray))),
            tray,
        }
    }

    /// Ready when the connection that lay in the tray has no request.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Box<Conversation>, Next)> {
        match self.work.as_mut().poll(cx) {
            Poll::Ready(never) => match never {},
            Poll::Pending => self.tray.goes.take().map_or(Poll::Pending, Poll::Ready),
        }
    }
}

async fn one_after_the_other(tray: Rc<Tray>) -> Infallible {
    loop {
        // Nobody has to be woken: whoever lays something here polls next.
        let came = poll_fn(|_| tray.comes.take().map_or(Poll::Pending, Poll::Ready));
        let mut conversation = came.await;
        let next = requests(&mut conversation).await;
        tray.goes.set(Some((conversation, next)));
    }
}

/// What a desk takes.
#[cfg(test)]
pub(super) fn size() -> usize {
    size_of_val(&one_after_the_other(Rc::default()))
}
