//! The origin behind every proxy of the comparison: one thread, one epoll,
//! answers made before the first request.
//!
//! It has to cost so little that the core it shares with the load generator
//! does not decide the result. `/body/LEN` answers a body of a length named with
//! `--body`, `/health` answers 200, and `/headers` answers the head of the
//! request as it arrived, for checks of what a proxy forwards.
//!
//! Load at a constant rate comes from here too (`/paced/…`, see [`paced`]), out of the same thread
//! and without sleeping: two programs that share a core wait for each other for longer than a
//! proxy takes.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a panic is how a test fails")
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a measurement is about real time"
)]

mod connection;
mod paced;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use longshore_benches::OriginPlan;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Registry, Token};

use connection::{Connection, Fixed, Next, fixed_answers};
use paced::Paced;

fn main() -> ExitCode {
    let done = longshore_benches::origin_arguments(std::env::args().skip(1))
        .and_then(|plan| serve(&plan).map_err(|error| error.to_string()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("origin: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Origin {
    registry: Registry,
    listeners: Vec<TcpListener>,
    answers: Vec<Fixed>,
    connections: Vec<Option<Connection>>,
    /// Places in `connections` without one.
    free: Vec<usize>,
    /// The load that is being made, and the place of who asked for it.
    paced: Option<(usize, Paced)>,
}

/// Accepts and answers until the process is ended.
fn serve(plan: &OriginPlan) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut origin = Origin {
        registry: poll.registry().try_clone()?,
        listeners: Vec::with_capacity(plan.listeners),
        answers: fixed_answers(&plan.sizes),
        connections: Vec::new(),
        free: Vec::new(),
        paced: None,
    };
    for index in 0..plan.listeners {
        let any_port = SocketAddr::from((plan.address(), 0));
        let mut listener = TcpListener::bind(any_port)?;
        poll.registry()
            .register(&mut listener, Token(index), Interest::READABLE)?;
        println!("listening {}", listener.local_addr()?);
        origin.listeners.push(listener);
    }
    let mut events = Events::with_capacity(1024);
    loop {
        let wait = origin.paced.is_some().then_some(Duration::ZERO);
        if let Err(error) = poll.poll(&mut events, wait) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        for event in &events {
            let Token(token) = event.token();
            if let Some(client) = token.checked_sub(paced::FIRST_TOKEN) {
                origin.pace(|paced| paced.receive(client, Instant::now()).map(|()| None));
            } else if let Some(slot) = token.checked_sub(origin.listeners.len()) {
                origin.advance(slot, event.is_read_closed());
            } else {
                origin.accept_all(token)?;
            }
        }
        origin.pace(|paced| paced.send(Instant::now()));
    }
}

impl Origin {
    fn accept_all(&mut self, index: usize) -> io::Result<()> {
        loop {
            let mut stream = match self.listeners[index].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The peer gave up between its SYN and this call.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            // Edge-triggered: asking for both once is free, as the kernel reports
            // room to write only after a write that had none.
            self.registry.register(
                &mut stream,
                Token(self.listeners.len() + slot),
                Interest::READABLE | Interest::WRITABLE,
            )?;
            self.connections[slot] = Some(Connection::new(stream, index));
        }
    }

    /// Does for a connection all that can be done without waiting.
    fn advance(&mut self, slot: usize, read_closed: bool) {
        let Some(connection) = self.connections[slot].as_mut() else {
            return;
        };
        if connection.advance(&self.answers, read_closed) == Next::Close {
            self.connections[slot] = None;
            self.free.push(slot);
            // Who asked for load and went is not waited for, and its place may be another's soon.
            self.paced.take_if(|(asked, _)| *asked == slot);
            return;
        }
        let Some(order) = connection.take_order() else {
            return;
        };
        let begun = match &self.paced {
            Some(_) => Err("load is being made already".into()),
            None => Paced::begin(&order, &self.registry),
        };
        match begun {
            Ok(paced) => self.paced = Some((slot, paced)),
            Err(why) => self.answer(slot, Err(why)),
        }
    }

    /// Goes on with the load that is being made, if any, and says at its end how it was.
    fn pace(&mut self, go_on: impl FnOnce(&mut Paced) -> Result<Option<String>, String>) {
        let Some((slot, paced)) = &mut self.paced else {
            return;
        };
        let slot = *slot;
        let end = match go_on(paced) {
            Ok(None) => return,
            Ok(Some(figures)) => Ok(figures),
            Err(why) => Err(why),
        };
        self.paced = None;
        self.answer(slot, end);
    }

    fn answer(&mut self, slot: usize, with: Result<String, String>) {
        if let Some(connection) = self.connections[slot].as_mut() {
            match with {
                Ok(figures) => connection.answer("200 OK", &figures),
                Err(why) => connection.answer("500 Internal Server Error", &why),
            }
        }
        self.advance(slot, false);
    }
}
