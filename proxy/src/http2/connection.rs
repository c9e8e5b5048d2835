//! A client's HTTP/2 connection: its socket, the protocol on it, and the watch over what comes. Its
//! streams read and write through it.

use std::cell::{Cell, RefCell, RefMut};
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use h2::Reason;
use tokio::io::ReadBuf;

use super::engine::{Engine, Event, Lend};
use super::watch::{Abuse, Watch};
use crate::http1::buffer::Buffer;
use crate::http1::stream::Stream;
use crate::serve::worker::Worker;

/// What the connection's task and its streams share.
pub(crate) struct Connection {
    worker: Rc<Worker>,
    stream: RefCell<Stream>,
    input: RefCell<Buffer>,
    engine: RefCell<Engine>,
    watch: RefCell<Watch>,
    abuse: Cell<Option<Abuse>>,
    /// When a byte was last taken by the client (`Timers::now`).
    wrote: Cell<u64>,
}

impl Connection {
    /// `before`: what was read from it already. `streams`: how many the client may have open.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        stream: Stream,
        before: Buffer,
        streams: u32,
    ) -> Rc<Self> {
        let now = worker.timers.now();
        let connection = Rc::new(Self {
            worker: Rc::clone(worker),
            stream: RefCell::new(stream),
            input: RefCell::new(before),
            engine: RefCell::new(Engine::new(streams)),
            watch: RefCell::new(Watch::new(now)),
            abuse: Cell::new(None),
            wrote: Cell::new(now),
        });
        let came = connection.input.borrow().len();
        connection.receive(came);
        connection
    }

    /// The protocol, with storage for what is to be sent.
    pub(super) fn engine(&self) -> RefMut<'_, Engine> {
        let mut engine = self.engine.borrow_mut();
        engine.lend_storage(|| self.worker.buffers.output());
        engine
    }

    /// The protocol, for whoever has nothing to say.
    pub(super) fn streams(&self) -> RefMut<'_, Engine> {
        self.engine.borrow_mut()
    }

    /// Whether the client has begun to speak HTTP/2.
    pub(crate) fn has_begun(&self) -> bool {
        self.engine.borrow().has_begun()
    }

    /// See [`Engine::is_ending`].
    pub(crate) fn is_ending(&self) -> bool {
        self.engine.borrow().is_ending()
    }

    /// Whether there are streams, or something that was not sent.
    pub(crate) fn is_busy(&self) -> bool {
        self.engine.borrow().is_busy()
    }

    /// Whether there is something that was not sent.
    pub(crate) fn is_unsent(&self) -> bool {
        self.engine.borrow().is_unsent()
    }

    /// When a byte was last taken by the client (`Timers::now`).
    pub(crate) fn wrote(&self) -> u64 {
        self.wrote.get()
    }

    /// What the client has sent too many of. Nothing is read any more then.
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        self.abuse.get()
    }

    /// See [`Watch::completed`].
    pub(super) fn completed(&self) {
        self.watch.borrow_mut().completed();
    }

    /// See [`Watch::sending`].
    pub(super) fn sending(&self, length: usize) {
        self.watch.borrow_mut().sending(length);
    }

    /// See [`Engine::announce_end`].
    pub(crate) fn announce_end(&self) {
        self.engine().announce_end();
    }

    /// See [`Engine::rest`].
    pub(crate) fn rest(&self) {
        self.engine.borrow_mut().rest();
    }

    /// See [`Engine::end`].
    pub(crate) fn end(&self, reason: Reason) {
        self.engine().end(reason);
    }

    /// The connection's task runs: nobody has to wake it up to its next [`Self::poll_event`].
    pub(crate) fn awake(&self) {
        self.engine.borrow_mut().forget_watch();
    }

    /// Sends and reads what can be, up to the next of what came. None at the end of the connection.
    pub(crate) fn poll_event(&self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            let event = self.engine.borrow_mut().event();
            if event.is_some() {
                return Poll::Ready(event);
            }
            let sent = self.poll_send(cx);
            if let Poll::Ready(Err(error)) = sent {
                return self.lost(&error);
            }
            {
                let mut engine = self.engine.borrow_mut();
                if sent.is_ready() && engine.is_over() {
                    return Poll::Ready(None);
                }
                engine.wake_waiting();
                engine.watch(cx.waker());
                if self.abuse.get().is_some() || engine.is_behind() {
                    return Poll::Pending;
                }
            }
            match std::task::ready!(self.poll_receive(cx)) {
                Ok(()) => {}
                Err(error) => return self.lost(&error),
            }
        }
    }

    fn lost(&self, error: &io::Error) -> Poll<Option<Event>> {
        tracing::debug!(%error, "an HTTP/2 connection ended");
        self.engine.borrow_mut().gone();
        Poll::Ready(None)
    }

    /// Sends what is to be sent. Ready when all was.
    fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut engine = self.engine.borrow_mut();
        loop {
            let bytes = engine.sending();
            if bytes.is_empty() {
                if let Some(storage) = engine.take_storage() {
                    self.worker.buffers.put_output(storage);
                }
                return Poll::Ready(Ok(()));
            }
            let mut stream = self.stream.borrow_mut();
            let count = std::task::ready!(stream.poll_write(bytes, &[], cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            engine.sent(count);
            self.wrote.set(self.worker.timers.now());
        }
    }

    /// Reads what is there.
    fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let buffers = &self.worker.buffers;
        let mut input = self.input.borrow_mut();
        if !buffers.reserve(&mut input, 1) {
            // It holds the largest frame.
            return Poll::Ready(Err(io::Error::other("a frame that does not fit")));
        }
        let mut room = ReadBuf::new(input.space());
        let read = self.stream.borrow_mut().poll_read(&mut room, cx);
        let count = room.filled().len();
        match read {
            Poll::Pending => {
                buffers.release(&mut input);
                return Poll::Pending;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if count == 0 => {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            Poll::Ready(Ok(())) => input.filled(count),
        }
        drop(input);
        self.receive(count);
        Poll::Ready(Ok(()))
    }

    /// The last so many bytes of the input are new.
    fn receive(&self, count: usize) {
        let mut input = self.input.borrow_mut();
        let new = &input.data()[input.len() - count..];
        let now = self.worker.timers.now();
        let watched = self.watch.borrow_mut().read(new, now);
        if let Err(abuse) = watched {
            // What came is for nobody. The connection's task looks after each poll.
            self.abuse.set(Some(abuse));
            return;
        }
        let mut engine = self.engine();
        let used = engine.receive(input.data(), &*self.worker);
        input.consume(used);
        let mut watch = self.watch.borrow_mut();
        for _ in 0..engine.take_had_enough() {
            watch.completed();
        }
        if let Err(abuse) = watch.refused(engine.take_faults()) {
            self.abuse.set(Some(abuse));
        }
    }

    /// See [`Stream::is_sent`].
    pub(crate) fn is_sent(&self) -> bool {
        self.stream.borrow().is_sent()
    }

    /// Says that no more comes, and drops what the client still sends. How much that was; nothing
    /// when it has read the last words, or has gone.
    pub(crate) fn poll_farewell(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut stream = self.stream.borrow_mut();
        std::task::ready!(stream.poll_shutdown(cx))?;
        let mut space = [0; 4096];
        let mut room = ReadBuf::new(&mut space);
        std::task::ready!(stream.poll_read(&mut room, cx))?;
        Poll::Ready(Ok(room.filled().len()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let buffers = &self.worker.buffers;
        buffers.forget(self.input.get_mut());
    }
}

impl Lend for Worker {
    fn text(&self) -> Vec<u8> {
        self.buffers.output()
    }

    fn key(&self) -> String {
        STANDARD.encode(self.websocket_key())
    }
}
