//! What decides that a machine is ready, and whether it is well: what was asked, and where a probe has to go.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::text::kept_as_text;
use super::words::words;
use super::{Exit, Manager, Protocol, Reason, RestartPolicy, Spec};
use crate::error::{Error, Result};

/// The longest that a machine may take until it is ready, where nobody else says so.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// The longest path that is asked for.
const LONGEST_PATH: usize = 1024;
/// A signal's exit code, that of `abort()`: the guest did not answer any more.
const ABORTED: u8 = 134;

/// Something that is tried from the host: `tcp:PORT` or `http:PORT[/PATH]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Probe {
    /// Somebody listens at this port of the guest's.
    Tcp(u16),
    /// A GET at this port of the guest's is answered with success, or leads elsewhere.
    Http {
        /// The guest's port.
        port: u16,
        /// What is asked for; begins with a slash.
        path: String,
    },
}

impl Probe {
    /// The guest's port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(port) | Self::Http { port, .. } => *port,
        }
    }

    /// As messages name it: `tcp :80`, `http :80/health`.
    pub fn name(&self) -> String {
        match self {
            Self::Tcp(port) => format!("tcp :{port}"),
            Self::Http { port, path } => format!("http :{port}{path}"),
        }
    }
}

impl FromStr for Probe {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| Error::new(format!("bad probe '{}': {why}", text.escape_debug()));
        let number = |text: &str| match text.parse::<u16>() {
            Ok(port) if port > 0 && !text.starts_with('+') => Ok(port),
            _ => Err(bad(format!("'{}' is not a port (1 to 65535)", text.escape_debug()))),
        };
        match text.split_once(':') {
            Some(("tcp", port)) => Ok(Self::Tcp(number(port)?)),
            Some(("http", rest)) => {
                let (port, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                if path.len() > LONGEST_PATH {
                    return Err(bad(format!("its path has more than {LONGEST_PATH} characters")));
                }
                if let Some(c) = path.chars().find(|&c| !c.is_ascii_graphic() || c == '#') {
                    return Err(bad(format!("'{}' cannot stand in its path", c.escape_debug())));
                }
                let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
                Ok(Self::Http { port: number(port)?, path })
            }
            _ => Err(bad("it is neither tcp:PORT nor http:PORT/PATH".into())),
        }
    }
}

kept_as_text!(Probe);

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(port) => write!(f, "tcp:{port}"),
            Self::Http { port, path } => write!(f, "http:{port}{path}"),
        }
    }
}

/// What decides that a machine is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Ready {
    /// Its guest runs.
    #[default]
    Guest,
    /// A line of its console matches this regular expression.
    Console(String),
    /// It answers.
    Probe(Probe),
}

impl Ready {
    /// The guest has to do nothing for it.
    pub fn is_guest(&self) -> bool {
        *self == Self::Guest
    }

    /// As messages name it.
    pub fn name(&self) -> String {
        match self {
            Self::Guest => "the guest to run".into(),
            Self::Console(pattern) => format!("a line of the console that matches '{pattern}'"),
            Self::Probe(probe) => probe.name(),
        }
    }
}

impl FromStr for Ready {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "guest" {
            return Ok(Self::Guest);
        }
        if let Some(pattern) = text.strip_prefix("console:") {
            let bad = |why: String| Error::new(format!("bad pattern '{}': {why}", pattern.escape_debug()));
            if pattern.is_empty() || pattern.contains(['\n', '\0']) {
                return Err(bad("it matches no line, or every one".into()));
            }
            return match regex_lite::Regex::new(pattern) {
                Ok(_) => Ok(Self::Console(pattern.to_owned())),
                Err(error) => Err(bad(error.to_string())),
            };
        }
        match text.split_once(':') {
            Some(("tcp" | "http", _)) => text.parse().map(Self::Probe),
            _ => Err(Error::new(format!(
                "unknown readiness '{}': known are guest, console:REGEX, tcp:PORT, http:PORT/PATH",
                text.escape_debug()
            ))),
        }
    }
}

kept_as_text!(Ready);

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest => f.write_str("guest"),
            Self::Console(pattern) => write!(f, "console:{pattern}"),
            Self::Probe(probe) => write!(f, "{probe}"),
        }
    }
}

words! {
    /// What becomes of a machine that is not well.
    HealthAction, "action" {
        /// Nothing: it is told.
        None = "none",
        /// It is ended, and started again whatever its restart policy.
        Restart = "restart",
        /// It is ended, and stays down.
        Stop = "stop",
    }
}

words! {
    /// How a machine is, as its probe says.
    HealthState, "health" {
        /// It has not been well yet, and is given time.
        Starting = "starting",
        /// The last probe was answered, or not enough in a row were not.
        Healthy = "healthy",
        /// So many probes in a row were not answered.
        Unhealthy = "unhealthy",
    }
}

/// A probe that is repeated as long as a machine runs. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is tried.
    pub probe: Probe,
    /// From the end of one probe to the beginning of the next.
    pub interval_ms: u64,
    /// The longest that one may take.
    pub timeout_ms: u64,
    /// So many failures in a row are one too many.
    pub retries: u32,
    /// From when it is ready, failures do not count for this long, or until the first success.
    pub start_period_ms: u64,
    /// What follows.
    pub on_failure: HealthAction,
}

impl Health {
    /// The usual times for a probe of which nothing else is said.
    pub fn new(probe: Probe) -> Self {
        let on_failure = HealthAction::None;
        Self { probe, interval_ms: 30_000, timeout_ms: 30_000, retries: 3, start_period_ms: 0, on_failure }
    }

    fn validate(&self) -> Result<()> {
        for (value, what) in [
            (self.interval_ms, "the time between two health probes"),
            (self.timeout_ms, "the time that a health probe has"),
            (self.retries.into(), "the number of health probes that may fail"),
        ] {
            if value == 0 {
                return Err(Error::new(format!("bad health probe: {what} is zero")));
            }
        }
        Ok(())
    }
}

/// How to get from the host to a port of the guest's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the guest's own address.
    Network(SocketAddr),
    /// To a port of the host's that the VMM itself listens at, whether or not anybody does in the guest.
    Forward(SocketAddr),
}

impl Way {
    /// Where to connect to.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Network(address) | Self::Forward(address) => address,
        }
    }
}

impl Spec {
    /// The longest that it may take from when its guest runs until it is ready; `None` if its manager sees to that.
    pub fn ready_limit(&self, manager: Manager) -> Option<Duration> {
        let usual = match manager {
            Manager::Local => Some(READY_WITHIN),
            Manager::Systemd => None,
        };
        self.ready_timeout_ms.map(Duration::from_millis).or(usual).filter(|_| !self.ready.is_guest())
    }

    /// Its runner connects to the guest, by the host's network.
    pub fn probes_network(&self) -> bool {
        self.probes().next().is_some()
    }

    /// The ways by which its guest is tried.
    fn probes(&self) -> impl Iterator<Item = &Probe> {
        let ready = match &self.ready {
            Ready::Probe(probe) => Some(probe),
            Ready::Guest | Ready::Console(_) => None,
        };
        ready.into_iter().chain(self.health.as_ref().map(|health| &health.probe))
    }

    /// How to get to a port of the guest's: by its address on a network, IPv4 first, else by a published port.
    pub fn way_to(&self, port: u16) -> Option<Way> {
        let addresses = || self.networks.iter().flat_map(|on| on.ip.addresses());
        if let Some(ip) = addresses().find(IpAddr::is_ipv4).or_else(|| addresses().next()) {
            return Some(Way::Network(SocketAddr::new(ip, port)));
        }
        if !self.networks.is_empty() {
            return None;
        }
        let published = self.ports.iter().find(|p| p.guest == port && p.protocol == Protocol::Tcp)?;
        let ip = published.host_ip.filter(|ip| !ip.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Some(Way::Forward(SocketAddr::new(ip, published.host)))
    }

    /// Checks what is asked of probes. Addresses on networks of ours may still be open.
    pub(super) fn validate_probes(&self) -> Result<()> {
        if let Some(health) = &self.health {
            health.validate()?;
        }
        if self.ready_timeout_ms == Some(0) {
            return Err(Error::new("bad ready timeout: a machine that has no time is never ready"));
        }
        let will_have_address = self.networks.iter().any(|on| !on.foreign);
        match self.probes().find(|probe| !will_have_address && self.way_to(probe.port()).is_none()) {
            None => Ok(()),
            Some(probe) => {
                let (port, error) = (probe.port(), Error::new(format!("the host cannot reach {}", probe.name())));
                Err(if self.networks.is_empty() {
                    error.with_hint(format!("`-p HOST-PORT:{port}` publishes it, `--network NAME` gives it an address"))
                } else {
                    error.with_hint("`--network NAME:IP` says what address the guest has there")
                })
            }
        }
    }

    /// Whether it is started again after it ended like this, after `restarts` restarts in a row.
    pub fn wants_restart(&self, exit: &Exit, restarts: u32) -> bool {
        let action = self.health.as_ref().map(|health| health.on_failure);
        match (exit.reason, action) {
            (Reason::Unhealthy, Some(HealthAction::Stop | HealthAction::None) | None) => false,
            (Reason::Unhealthy, Some(HealthAction::Restart)) => self.unit_restart().wants(exit, restarts),
            // What a restart for its health led to, its policy judges.
            _ => self.restart.wants(exit, restarts),
        }
    }

    /// The policy that its manager needs, so that it is started again whenever that may be wanted.
    pub fn unit_restart(&self) -> RestartPolicy {
        let for_health = self.health.as_ref().is_some_and(|health| health.on_failure == HealthAction::Restart);
        match self.restart {
            RestartPolicy::No if for_health => RestartPolicy::OnFailure(None),
            policy => policy,
        }
    }
}

impl Exit {
    /// The end of a guest that was ended because it was not well, whatever its VMM made of it.
    #[must_use]
    pub fn for_health(self, why: &str) -> Self {
        Self { reason: Reason::Unhealthy, code: ABORTED, detail: why.to_owned(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Attachment, IpConfig};

    #[test]
    fn texts() {
        for text in ["guest", "console:^up [0-9]+$", "tcp:80", "http:8080/health?deep=1", "http:80/"] {
            assert_eq!(text.parse::<Ready>().unwrap().to_string(), text);
        }
        assert_eq!("http:80".parse::<Probe>().unwrap().name(), "http :80/");
        for (text, why) in [
            ("up", "unknown readiness 'up': known are guest, console:REGEX, tcp:PORT, http:PORT/PATH"),
            ("tcp:0", "bad probe 'tcp:0': '0' is not a port (1 to 65535)"),
            ("http:/x", "bad probe 'http:/x': '' is not a port (1 to 65535)"),
            ("http:80/a b", "bad probe 'http:80/a b': ' ' cannot stand in its path"),
            ("http:80/a\r\nX: y", "bad probe 'http:80/a\\r\\nX: y': '\\r' cannot stand in its path"),
            ("console:", "bad pattern '': it matches no line, or every one"),
        ] {
            assert_eq!(text.parse::<Ready>().unwrap_err().to_string(), why);
        }
        assert!("console:(".parse::<Ready>().unwrap_err().to_string().starts_with("bad pattern '(': "));
        assert!("udp:53".parse::<Probe>().is_err());
    }

    #[test]
    fn ways_to_the_guest() {
        let mut spec = Spec { ready: "tcp:80".parse().unwrap(), ..Spec::example("web") };
        let error = spec.validate().unwrap_err();
        assert_eq!(error.to_string(), "the host cannot reach tcp :80");
        assert!(error.hint().unwrap().contains("-p HOST-PORT:80"));
        spec.ports = vec!["8080:80/udp".parse().unwrap(), "0.0.0.0:8081:80".parse().unwrap()];
        spec.validate().unwrap();
        assert_eq!(spec.way_to(80), Some(Way::Forward("127.0.0.1:8081".parse().unwrap())));
        let on = Attachment { network: "lan".into(), foreign: true, mac: None, ip: IpConfig::default() };
        spec.networks = vec![on.clone()];
        assert!(spec.validate().unwrap_err().hint().unwrap().contains("--network NAME:IP"));
        spec.networks[0].foreign = false;
        spec.validate().unwrap();
        let ip = IpConfig {
            ipv4: Some("10.0.0.2/24".parse().unwrap()),
            ipv6: Some("fd00::2/64".parse().unwrap()),
            ..IpConfig::default()
        };
        spec.networks[0].ip = ip;
        assert_eq!(spec.way_to(80), Some(Way::Network("10.0.0.2:80".parse().unwrap())));
        assert!(spec.probes_network() && !Spec::example("web").probes_network());
    }

    #[test]
    fn what_is_not_well_is_restarted_where_that_is_asked_for() {
        let exit = Exit { at: jiff::Timestamp::UNIX_EPOCH, reason: Reason::Error, code: 3, detail: String::new() };
        let ill = exit.clone().for_health("it does not answer");
        assert_eq!((ill.reason, ill.code), (Reason::Unhealthy, 134));
        let health = |on_failure| Some(Health { on_failure, ..Health::new(Probe::Tcp(80)) });
        let with = |policy: &str, on_failure| Spec {
            restart: policy.parse().unwrap(),
            health: health(on_failure),
            ..Spec::example("web")
        };
        assert!(with("no", HealthAction::Restart).wants_restart(&ill, 100));
        assert!(!with("no", HealthAction::Restart).wants_restart(&exit, 0));
        assert!(!with("always", HealthAction::Stop).wants_restart(&ill, 0));
        assert!(with("on-failure:2", HealthAction::Restart).wants_restart(&ill, 1));
        assert!(!with("on-failure:2", HealthAction::Restart).wants_restart(&ill, 2));
        assert_eq!(with("no", HealthAction::Restart).unit_restart(), RestartPolicy::OnFailure(None));
        assert_eq!(with("no", HealthAction::Stop).unit_restart(), RestartPolicy::No);
    }
}
