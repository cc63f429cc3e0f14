//! A proxy in front of PostgreSQL that breaks connections at given messages of the protocol.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The sender of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Client,
    Server,
}

/// A kind of message: its sender, its letter in the protocol, and a prefix of its body (empty for any body).
pub type Kind = (Side, u8, &'static str);

pub const QUERY: Kind = (Side::Client, b'Q', "");
pub const BEGIN: Kind = (Side::Client, b'Q', "BEGIN");
pub const COMMIT: Kind = (Side::Client, b'Q', "COMMIT");
pub const PARSE: Kind = (Side::Client, b'P', "");
pub const BIND: Kind = (Side::Client, b'B', "");
pub const EXECUTE: Kind = (Side::Client, b'E', "");
pub const SYNC: Kind = (Side::Client, b'S', "");
pub const PARSED: Kind = (Side::Server, b'1', "");
pub const BOUND: Kind = (Side::Server, b'2', "");
pub const ROW: Kind = (Side::Server, b'D', "");
pub const COMPLETE: Kind = (Side::Server, b'C', "");
pub const READY: Kind = (Side::Server, b'Z', "");

/// All kinds of messages of a worker and its server.
pub const KINDS: [Kind; 12] = [QUERY, BEGIN, COMMIT, PARSE, BIND, EXECUTE, SYNC, PARSED, BOUND, ROW, COMPLETE, READY];

/// How much of the message at which the connection breaks is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    Nothing,
    Half,
    All,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is closed to both sides.
    Closed,
    /// What this side sends is lost, and what the other side sends is still forwarded. It is closed after the time.
    Lost(Side),
    /// What both sides send is lost. It is closed after the time.
    LostBoth,
    /// Nothing is forwarded during the time, and everything after it.
    Late,
}

/// A cut: which connections break, how, and at which message.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The kind of message at which to cut.
    pub at: Kind,
    /// Which message of this kind, counted from 1 over all connections.
    pub nth: u32,
    pub passed: Passed,
    pub how: How,
    /// How long the break lasts.
    pub time: Duration,
    pub reach: Reach,
}

/// Which connections break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The connection of the message.
    One,
    /// All present connections.
    Present,
    /// All present connections and those that are made during the break.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Flowing,
    Lost(bool, bool),
    Held,
    Closed,
}

impl State {
    fn of(how: How) -> Self {
        match how {
            How::Closed => State::Closed,
            How::Lost(side) => State::Lost(side == Side::Client, side == Side::Server),
            How::LostBoth => State::Lost(true, true),
            How::Late => State::Held,
        }
    }

    /// Whether what this side sends is lost.
    fn loses(self, side: Side) -> bool {
        matches!(self, State::Lost(client, server) if if side == Side::Client { client } else { server })
    }
}

/// A running proxy. Dropping it closes its connections.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Shared {
    /// The host and port of the server.
    server: String,
    inner: Mutex<Inner>,
    /// The number of cuts that were made.
    cuts: watch::Sender<usize>,
}

struct Inner {
    armed: Option<Cut>,
    connections: BTreeMap<usize, watch::Sender<State>>,
    /// The number of connections that were accepted.
    accepted: usize,
    /// The state of new connections.
    new: State,
}

impl Shared {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The armed cut, if it is to be made at this message.
    fn cut_at(&self, side: Side, letter: u8, body: &[u8]) -> Option<Cut> {
        let mut inner = self.inner();
        let armed = inner.armed.as_mut()?;
        let (by, kind, text) = armed.at;
        if (by, kind) != (side, letter) || !body.starts_with(text.as_bytes()) {
            return None;
        }
        armed.nth -= 1;
        if armed.nth > 0 { None } else { inner.armed.take() }
    }

    /// Makes a cut at a message of this connection.
    fn make(self: &Arc<Self>, connection: usize, cut: &Cut) {
        let state = State::of(cut.how);
        let mut broken = Vec::new();
        {
            let mut inner = self.inner();
            for (number, sender) in &inner.connections {
                if cut.reach != Reach::One || *number == connection {
                    sender.send_replace(state);
                    broken.push(sender.clone());
                }
            }
            if cut.reach == Reach::All {
                inner.new = state;
            }
        }
        self.cuts.send_modify(|cuts| *cuts += 1);
        let (shared, cut) = (self.clone(), cut.clone());
        tokio::spawn(async move {
            tokio::time::sleep(cut.time).await;
            let mut inner = shared.inner();
            if cut.reach == Reach::All {
                inner.new = State::Flowing;
                // Include the connections that were made during the break.
                broken = inner.connections.values().cloned().collect();
            }
            let after = if cut.how == How::Late { State::Flowing } else { State::Closed };
            for sender in broken {
                // A connection that has lost bytes must not continue.
                let after = if *sender.borrow() == State::Held { after } else { State::Closed };
                sender.send_replace(after);
            }
        });
    }
}

impl Proxy {
    /// Starts a proxy in front of the server of a URL.
    pub async fn start(url: &str) -> Self {
        let server = authority(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its port").port();
        let inner = Inner { armed: None, connections: BTreeMap::new(), accepted: 0, new: State::Flowing };
        let shared = Arc::new(Shared { server, inner: Mutex::new(inner), cuts: watch::Sender::new(0) });
        let accepting = tokio::spawn({
            let shared = shared.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(connect(shared.clone(), client));
                }
            }
        });
        Proxy { port, shared, accepting }
    }

    /// The URL of the same database through the proxy.
    pub fn url(&self, url: &str) -> String {
        assert_eq!(authority(url), self.shared.server);
        let (with, port) = (if url.contains('?') { '&' } else { '?' }, self.port);
        format!("{}{with}sslmode=disable", url.replacen(&self.shared.server, &format!("127.0.0.1:{port}"), 1))
    }

    /// Makes the cut when its message passes. Replaces a cut that was armed before and not made.
    pub fn arm(&self, cut: Cut) {
        self.shared.inner().armed = Some(cut);
    }

    /// Breaks connections at once.
    pub fn cut(&self, how: How, time: Duration, reach: Reach) {
        let cut = Cut { at: READY, nth: 1, passed: Passed::All, how, time, reach };
        self.shared.make(0, &cut);
    }

    /// The number of cuts that were made.
    pub fn cuts(&self) -> usize {
        *self.shared.cuts.borrow()
    }

    /// Waits until more than this number of cuts were made, or the time is up: whether they were made.
    pub async fn has_cut(&self, cuts: usize, time: Duration) -> bool {
        let mut made = self.shared.cuts.subscribe();
        tokio::time::timeout(time, made.wait_for(|made| *made > cuts)).await.is_ok()
    }

    /// The number of connections that were accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.inner().accepted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        let connections = std::mem::take(&mut self.shared.inner().connections);
        for sender in connections.values() {
            sender.send_replace(State::Closed);
        }
    }
}

/// The host and port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, server)| server)
}

/// Serves a connection.
async fn connect(shared: Arc<Shared>, client: TcpStream) {
    let (number, state) = {
        let mut inner = shared.inner();
        inner.accepted += 1;
        let (number, sender) = (inner.accepted, watch::Sender::new(inner.new));
        let state = sender.subscribe();
        inner.connections.insert(number, sender);
        (number, state)
    };
    if let Ok(server) = TcpStream::connect(&shared.server).await {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let mut pumps = [
            Pump { shared: shared.clone(), number, side: Side::Client, state: state.clone(), begun: false },
            Pump { shared: shared.clone(), number, side: Side::Server, state: state.clone(), begun: true },
        ];
        let [forth, back] = &mut pumps;
        let mut closed = state;
        tokio::select! {
            () = forth.pump(from_client, to_server) => {}
            () = back.pump(from_server, to_client) => {}
            _ = closed.wait_for(|state| *state == State::Closed) => {}
        }
    }
    shared.inner().connections.remove(&number);
}

/// One direction of a connection.
struct Pump {
    shared: Arc<Shared>,
    number: usize,
    side: Side,
    state: watch::Receiver<State>,
    /// Whether the messages have a letter. The first message of a client has none.
    begun: bool,
}

impl Pump {
    async fn pump(&mut self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (mut read, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match from.read(&mut chunk).await {
                // Forward the end of a connection, unless what this side sends is lost.
                Ok(0) | Err(_) if !self.state.borrow().loses(self.side) => return,
                Ok(0) | Err(_) => std::future::pending().await,
                Ok(bytes) => read.extend_from_slice(&chunk[..bytes]),
            }
            let mut done = 0;
            while let Some((length, letter, head)) = message(&read[done..], self.begun) {
                self.begun = true;
                let message = &read[done..done + length];
                done += length;
                let cut = self.shared.cut_at(self.side, letter, &message[head..]);
                let passed = match cut.as_ref().map(|cut| cut.passed) {
                    None | Some(Passed::All) => length,
                    Some(Passed::Half) => length / 2,
                    Some(Passed::Nothing) => 0,
                };
                if !self.send(&mut to, &message[..passed]).await {
                    return;
                }
                if let Some(cut) = cut {
                    self.shared.make(self.number, &cut);
                    if !self.send(&mut to, &message[passed..]).await {
                        return;
                    }
                }
            }
            read.drain(..done);
        }
    }

    /// Forwards, loses or refuses bytes, depending on the state: whether the connection continues.
    async fn send(&mut self, to: &mut OwnedWriteHalf, bytes: &[u8]) -> bool {
        if self.state.wait_for(|state| *state != State::Held).await.is_err() {
            return false;
        }
        let state = *self.state.borrow();
        match state {
            State::Closed => false,
            state if state.loses(self.side) => true,
            _ => to.write_all(bytes).await.is_ok(),
        }
    }
}

/// The length of the first message, its letter and the offset of its body, if the message is complete.
fn message(bytes: &[u8], begun: bool) -> Option<(usize, u8, usize)> {
    let (letter, head) = if begun { (*bytes.first()?, 1) } else { (0, 0) };
    let length = bytes.get(head..head + 4)?;
    let length = head + usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    (bytes.len() >= length).then_some((length, letter, head + 4))
}
