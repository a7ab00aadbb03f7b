//! The one seam around zbus: a connection that is used without being async.
//!
//! Several calls go out in one write and are answered in order; whatever else arrives meanwhile is kept as signals.
//! Between calls nothing is read, so a connection that is idle costs nothing. Every wait has a deadline and a name.
//!
//! The manager is addressed by its well-known name only: a re-execution changes its unique name. Signals are believed
//! when they come from whoever answered our calls or from who the bus says took over that name.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_core::Stream as _;
use serde::Serialize;
use zbus::message::{Flags, Type};
use zbus::{Connection, DynamicType, Message, MessageStream, connection};

use super::failure::{Cause, Failure, translate};
use crate::error::{Error, Kind, Result};
use crate::paths::{self, Scope};

/// The well-known name of the service manager.
pub(super) const MANAGER: &str = "org.freedesktop.systemd1";
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// The longest wait for an answer; PID 1 may be busy reloading thousands of units.
pub(super) const ANSWER: Duration = Duration::from_secs(30);
/// The longest wait for a manager that nobody has seen: this may be a bus without one.
const APPEARANCE: Duration = Duration::from_secs(5);

/// A method call that is ready to be sent, with the words for what it does.
#[derive(Debug)]
pub(super) struct Call {
    message: zbus::Result<Message>,
    what: String,
}

impl Call {
    /// A call of the manager. `what` completes "cannot ...".
    pub(super) fn new<B>(path: &str, interface: &str, member: &str, body: &B, what: impl Into<String>) -> Self
    where
        B: Serialize + DynamicType,
    {
        let message = Message::method_call(path, member).destination(MANAGER).interface(interface).build(body);
        Self { message, what: what.into() }
    }

    /// A call of the manager whose answer nobody waits for.
    pub(super) fn one_way(path: &str, interface: &str, member: &str, what: impl Into<String>) -> Self {
        let message = Message::method_call(path, member)
            .destination(MANAGER)
            .interface(interface)
            .with_flags(Flags::NO_REPLY_EXPECTED)
            .build(&());
        Self { message, what: what.into() }
    }

    /// A call of the bus itself: who has the manager's name.
    fn owner_of_manager() -> Self {
        let message = Message::method_call(BUS_PATH, "GetNameOwner").destination(BUS).interface(BUS).build(&MANAGER);
        Self { message, what: "ask for the service manager".into() }
    }

    /// A call of the bus itself whose answer nobody waits for: a match rule.
    fn add_match(rule: &str) -> Self {
        let message = Message::method_call(BUS_PATH, "AddMatch")
            .destination(BUS)
            .interface(BUS)
            .with_flags(Flags::NO_REPLY_EXPECTED)
            .build(&rule);
        Self { message, what: "subscribe to signals".into() }
    }
}

/// A call that was sent and not yet answered.
#[derive(Debug)]
pub(super) struct Ticket {
    serial: NonZeroU32,
    what: String,
}

/// What the manager says without being asked.
#[derive(Debug)]
pub(super) enum Signal {
    /// One of the signals that were [matched](Bus::match_signals).
    Said(Message),
    /// Another process has the manager's name now: it re-executed itself.
    ManagerChanged,
}

/// A connection to the system's or the user's bus.
pub(super) struct Bus {
    stream: MessageStream,
    connection: Connection,
    runtime: tokio::runtime::Runtime,
    expected: HashMap<NonZeroU32, Option<Message>>,
    signals: VecDeque<Signal>,
    /// Who has the manager's name, as far as we have heard.
    owner: Option<String>,
    /// Somebody had it since we are connected.
    was_there: bool,
}

impl Bus {
    /// Connects to the bus of a scope.
    ///
    /// # Errors
    /// When there is none, or it does not let us in.
    pub(super) fn connect(scope: Scope) -> Result<Self> {
        let cannot = || format!("cannot reach the {scope} service manager");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Error::new(e.to_string()).context(cannot()))?;
        let builder = match scope {
            Scope::System => connection::Builder::system(),
            Scope::User => connection::Builder::address(user_bus().map_err(|e| e.context(cannot()))?.as_str()),
        };
        let connection = runtime
            .block_on(async { tokio::time::timeout(ANSWER, builder.build()).await })
            .map_err(|_| timed_out("the bus to let us in", ANSWER).context(cannot()))?
            .map_err(|e| no_bus(scope, &e).context(cannot()))?;
        let stream = MessageStream::from(&connection);
        let mut bus = Self {
            stream,
            connection,
            runtime,
            expected: HashMap::new(),
            signals: VecDeque::new(),
            owner: None,
            was_there: false,
        };
        // News of a re-execution, under which calls may get lost.
        bus.match_signals(&[format!(
            "type='signal',sender='{BUS}',path='{BUS_PATH}',interface='{BUS}',member='NameOwnerChanged',arg0='{MANAGER}'"
        )])
        .map_err(|failure| failure.error.context(cannot()))?;
        Ok(bus)
    }

    /// The other end is gone; only a new connection helps.
    pub(super) fn is_closed(&self) -> bool {
        self.connection.is_closed()
    }

    /// Sends calls in one write. They are carried out in this order.
    pub(super) fn send(&mut self, calls: Vec<Call>) -> Result<Vec<Ticket>, Failure> {
        let mut messages = Vec::with_capacity(calls.len());
        let mut tickets = Vec::with_capacity(calls.len());
        for call in calls {
            let message =
                call.message.map_err(|e| Error::new(e.to_string()).context(format!("cannot {}", call.what)))?;
            if !message.primary_header().flags().contains(Flags::NO_REPLY_EXPECTED) {
                let serial = message.primary_header().serial_num();
                self.expected.insert(serial, None);
                tickets.push(Ticket { serial, what: call.what });
            }
            messages.push(message);
        }
        let connection = &self.connection;
        self.runtime.block_on(connection.send_all(&messages)).map_err(|e| Failure::gone(&e.to_string()))?;
        Ok(tickets)
    }

    /// Waits for the answer to a call.
    pub(super) fn answer(&mut self, ticket: Ticket) -> Result<Message, Failure> {
        self.peek(&ticket)?;
        match self.expected.remove(&ticket.serial) {
            Some(Some(message)) => Ok(message),
            Some(None) | None => Err(Failure::gone("its answer is lost").context(format!("cannot {}", ticket.what))),
        }
    }

    /// Waits for the answer to a call and looks only at whether it is a refusal. One that is has been given then.
    pub(super) fn peek(&mut self, ticket: &Ticket) -> Result<(), Failure> {
        let deadline = Instant::now() + ANSWER;
        let cannot = || format!("cannot {}", ticket.what);
        let message = loop {
            match self.expected.get(&ticket.serial) {
                Some(Some(message)) => break message.clone(),
                Some(None) => {}
                None => return Err(Failure::gone("its answer cannot come any more").context(cannot())),
            }
            if let Err(failure) = self.read(deadline, "an answer of the service manager") {
                self.expected.remove(&ticket.serial);
                return Err(failure.context(cannot()));
            }
        };
        let Some(name) = message.header().error_name().map(|name| name.as_str().to_owned()) else { return Ok(()) };
        self.expected.remove(&ticket.serial);
        let text: String = message.body().deserialize().unwrap_or_default();
        Err(translate(&name, &text).context(cannot()))
    }

    /// Sends one call and waits for its answer.
    pub(super) fn call(&mut self, call: Call) -> Result<Message, Failure> {
        let tickets = self.send(vec![call])?;
        match tickets.into_iter().next() {
            Some(ticket) => self.answer(ticket),
            None => Err(Error::new("a call without an answer").into()),
        }
    }

    /// Sends one call that may be made twice, and makes it again if the manager re-executed itself under it.
    pub(super) fn call_again(&mut self, call: impl Fn() -> Call) -> Result<Message, Failure> {
        match self.call(call()) {
            Err(failure) if matches!(failure.cause, Cause::NoReply) && !self.is_closed() => {
                self.await_manager()?;
                self.call(call())
            }
            result => result,
        }
    }

    /// Asks for signals by match rules. Costs no round trip: the rules count for whatever is called afterwards.
    pub(super) fn match_signals(&mut self, rules: &[String]) -> Result<(), Failure> {
        self.send(rules.iter().map(|rule| Call::add_match(rule)).collect()).map(drop)
    }

    /// Waits until the manager has its name on the bus again. Not for long, if it never had it.
    pub(super) fn await_manager(&mut self) -> Result<(), Failure> {
        let (limit, what) = if self.was_there {
            (ANSWER, "the service manager to come back")
        } else {
            (APPEARANCE, "a service manager to appear on the bus")
        };
        let deadline = Instant::now() + limit;
        match self.call(Call::owner_of_manager()) {
            Ok(answer) => self.set_owner(answer.body().deserialize().ok()),
            Err(failure) if failure.cause == Cause::NoReply && !self.is_closed() => self.set_owner(None),
            Err(failure) => return Err(failure),
        }
        while self.owner.is_none() {
            self.read(deadline, what)?;
        }
        Ok(())
    }

    fn set_owner(&mut self, owner: Option<String>) {
        self.was_there |= owner.is_some();
        self.owner = owner;
    }

    /// Forgets the signals that came so far.
    pub(super) fn clear_signals(&mut self) {
        self.signals.clear();
    }

    /// The next signal that has come already.
    pub(super) fn queued_signal(&mut self) -> Option<Signal> {
        self.signals.pop_front()
    }

    /// Waits for the next signal. `what` names the wait.
    pub(super) fn next_signal(&mut self, deadline: Instant, what: &str) -> Result<Signal, Failure> {
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(signal);
            }
            self.read(deadline, what)?;
        }
    }

    /// Waits without end for a signal or for something else, whichever is first.
    pub(super) fn next_signal_or<T>(&mut self, other: impl Future<Output = T>) -> Result<Either<T>, Failure> {
        let mut other = std::pin::pin!(other);
        loop {
            if let Some(signal) = self.signals.pop_front() {
                return Ok(Either::Signal(signal));
            }
            let stream = &mut self.stream;
            let woken = self.runtime.block_on(async {
                tokio::select! {
                    value = other.as_mut() => Woken::Other(value),
                    message = poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)) => Woken::Message(message),
                }
            });
            match woken {
                Woken::Other(value) => return Ok(Either::Other(value)),
                Woken::Message(message) => self.file(received(message)?),
            }
        }
    }

    /// Runs what needs the runtime that this connection lives in, such as watching a descriptor.
    pub(super) fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        let _guard = self.runtime.enter();
        f()
    }

    fn read(&mut self, deadline: Instant, what: &str) -> Result<(), Failure> {
        let stream = &mut self.stream;
        let started = Instant::now();
        let message = self.runtime.block_on(async {
            let next = poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx));
            tokio::time::timeout_at(deadline.into(), next).await
        });
        let Ok(message) = message else {
            let waited = deadline.saturating_duration_since(started);
            return Err(Failure { cause: Cause::Timeout, error: timed_out(what, waited) });
        };
        self.file(received(message)?);
        Ok(())
    }

    fn file(&mut self, message: Message) {
        let header = message.header();
        let sender = header.sender().map(|sender| sender.as_str());
        match message.message_type() {
            Type::MethodReturn | Type::Error => {
                let Some(place) = header.reply_serial().and_then(|serial| self.expected.get_mut(&serial)) else {
                    return;
                };
                *place = Some(message.clone());
                // The bus answers in place of a manager that is not there.
                let owner = sender.filter(|&sender| sender != BUS).map(str::to_owned);
                self.set_owner(owner);
            }
            Type::Signal if sender == Some(BUS) => {
                let member = header.member().map(|member| member.as_str().to_owned());
                if member.as_deref() == Some("NameOwnerChanged")
                    && let Ok((name, _, new)) = message.body().deserialize::<(String, String, String)>()
                    && name == MANAGER
                {
                    self.set_owner((!new.is_empty()).then_some(new));
                    if self.owner.is_some() {
                        self.signals.push_back(Signal::ManagerChanged);
                    }
                }
            }
            Type::Signal if sender.is_some() && sender == self.owner.as_deref() => {
                self.signals.push_back(Signal::Said(message.clone()));
            }
            Type::Signal | Type::MethodCall => {}
        }
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Which of two things came first.
#[derive(Debug)]
pub(super) enum Either<T> {
    /// A signal.
    Signal(Signal),
    /// The other.
    Other(T),
}

enum Woken<T> {
    Other(T),
    Message(Option<zbus::Result<Message>>),
}

fn received(message: Option<zbus::Result<Message>>) -> Result<Message, Failure> {
    match message {
        Some(Ok(message)) => Ok(message),
        Some(Err(e)) => Err(Failure::gone(&e.to_string())),
        None => Err(Failure::gone("the connection is closed")),
    }
}

fn timed_out(what: &str, waited: Duration) -> Error {
    Error::of(Kind::Timeout, format!("waited {} s for {what}", waited.as_secs_f64().round()))
}

/// The address of the user's bus: as the environment says, else where a user manager has it.
fn user_bus() -> Result<String> {
    if let Some(address) = paths::environment_variable("DBUS_SESSION_BUS_ADDRESS")
        && let Some(address) = address.to_str()
        && !address.is_empty()
    {
        return Ok(address.to_owned());
    }
    let socket = paths::user_runtime_dir()?.join("bus");
    Ok(format!("unix:path={}", socket.display()))
}

fn no_bus(scope: Scope, error: &zbus::Error) -> Error {
    let why = match error {
        zbus::Error::InputOutput(e) => e.to_string(),
        zbus::Error::Connection(e, _) => e.to_string(),
        other => other.to_string(),
    };
    let why = why.split(" (os error").next().unwrap_or(&why).to_owned();
    Error::new(why).with_hint(match scope {
        Scope::System => "is systemd running here? `systemctl status` tells; without it, machines run by `kraft run`",
        Scope::User => {
            "`loginctl enable-linger` starts a service manager for this account; `systemctl --user` tells whether it runs"
        }
    })
}
