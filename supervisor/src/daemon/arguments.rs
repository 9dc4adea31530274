//! The command line of skiffd. Its children are the same program under another word.

use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Keeps this machine's containers as the fleet document wants them.
///
/// Exit status: 0 asked to end, 100 bad settings (starting again does not help), 111 everything else that kept it from
/// working, 2 a command line that is not understood.
#[derive(Debug, Parser)]
#[command(name = "skiffd", version)]
pub(super) struct Arguments {
    /// Settings; /etc/skiff/skiffd.toml without it, which may be missing
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Log at this level: error, warn, info, debug
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(super) log_level: tracing::Level,
    #[command(subcommand)]
    pub(super) child: Option<Child>,
}

/// What skiffd executes itself as; not for people.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum Child {
    /// Talks to the network, and to nothing else
    #[command(hide = true)]
    Fetch,
    /// Unpacks one archive into one folder, and reaches nothing else
    #[command(hide = true)]
    Unpack,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_words_fit_one_another() {
        Arguments::command().debug_assert();
        assert!(Arguments::try_parse_from(["skiffd", "--config"]).is_err());
        let parsed = Arguments::try_parse_from(["skiffd", "--config", "/a", "--log-level", "debug"]).unwrap();
        assert_eq!((parsed.config, parsed.log_level), (Some("/a".into()), tracing::Level::DEBUG));
    }
}
