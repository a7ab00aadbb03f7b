//! `kraft net create`.

use std::collections::BTreeMap;

use clap::Args;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::cli::app::App;
use crate::cli::{Outcome, output};
use crate::error::{Error, Result};
use crate::machine::NetworkName;
use crate::network::{self, Networks, Wanted, resolver};

/// Create a network
#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// The network's name: a-z 0-9 _ . -
    #[arg(value_name = "NAME")]
    name: NetworkName,

    /// The gateway's address and the subnet's prefix; a free subnet if not given
    #[arg(short, long, value_name = "GATEWAY/PREFIX", value_parser = clap::builder::ValueParser::new(subnet::<Ipv4Net>))]
    network: Option<Ipv4Net>,

    /// The same for IPv6, beside IPv4's; none if not given
    #[arg(long, value_name = "GATEWAY/PREFIX", value_parser = clap::builder::ValueParser::new(subnet::<Ipv6Net>))]
    ipv6: Option<Ipv6Net>,

    /// Let nothing leave the network: its machines reach each other and the host only
    #[arg(long)]
    internal: bool,

    /// What the network is made of
    #[arg(short, long, value_name = "bridge", value_enum, default_value_t = Driver::Bridge)]
    driver: Driver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Driver {
    /// A bridge of the kernel's.
    Bridge,
}

pub(super) fn create(app: &App, args: &CreateArgs) -> Outcome {
    match args.driver {
        Driver::Bridge => {}
    }
    let networks = Networks::new(app.store.paths());
    let (name, labels) = (args.name.clone(), BTreeMap::new());
    let wanted = Wanted { name, ipv4: args.network, ipv6: args.ipv6, internal: args.internal, labels };
    if let Err(error) = resolver::check() {
        log::warn!("{error}{}", error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default());
    }
    output::done(network::create(&networks, wanted).and_then(|network| output::line(network.name)))
}

fn subnet<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::new("it is not GATEWAY/PREFIX, as in 10.1.2.1/24 (or fd00:1::1/64 for --ipv6)"))
}
