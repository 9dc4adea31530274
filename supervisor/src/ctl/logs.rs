//! `skiffctl logs`: what instances wrote, to the stream that they wrote it to, byte for byte. It is the container's own text
//! and may hold anything, as with `docker logs`; `| cat -v` makes it harmless.

use super::client::{Client, Error};
use super::print::Both;
use super::{instances, words};
use crate::clock::rfc3339;
use crate::control::Line;
use crate::percent;
use clap::Args;
use std::process::ExitCode;
use std::time::SystemTime;

/// What was typed.
#[derive(Args)]
pub(super) struct Arguments {
    /// And what is to be written
    #[arg(short, long)]
    follow: bool,
    /// So many of the last lines; `all` for all
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = tail, default_value = "all")]
    tail: Tail,
    /// Nothing older: a length of time (10m) or a time in UTC (2026-11-24T08:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<SystemTime>,
    /// Begin each line with its time
    #[arg(short, long)]
    timestamps: bool,
    /// A service or an instance
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    All,
    Last(u64),
}

fn tail(text: &str) -> Result<Tail, String> {
    match text {
        "all" => Ok(Tail::All),
        number => number.parse().map(Tail::Last).map_err(|_| "give a number of lines, or `all`".into()),
    }
}

fn since(text: &str) -> Result<SystemTime, String> {
    let ago = humantime::parse_duration(text).ok().and_then(|length| SystemTime::now().checked_sub(length));
    // People write a space, and leave the `Z` out.
    let full = text.replacen(' ', "T", 1);
    let time = || rfc3339::parse(&full).or_else(|| rfc3339::parse(&format!("{full}Z")));
    ago.or_else(time)
        .ok_or_else(|| "give a length of time such as `10m`, or a time such as `2026-11-24T08:00:00Z`".into())
}

/// Shows.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let several = match instances::named(client, &arguments.name).await {
        Ok(instances) => instances.len() > 1,
        // There may be a log of what is not there any more; whether there is, the next question answers.
        Err(Error::Refused { status: 404, .. }) => false,
        Err(error) => return Err(error.into()),
    };
    let mut lines = client.lines(&path(arguments), arguments.follow).await?;
    let mut layout = Layout { timestamps: arguments.timestamps, several, ..Layout::default() };
    let mut out = Both::new();
    while let Some(line) = lines.next(|| out.flush()).await? {
        let line: Line = client.parse(&line)?;
        out.write(line.stream, &layout.lay(&line))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn path(arguments: &Arguments) -> String {
    let mut query = Vec::new();
    if let Tail::Last(number) = arguments.tail {
        query.push(format!("tail={number}"));
    }
    query.extend(arguments.since.map(|time| format!("since={}", humantime::format_rfc3339_nanos(time))));
    query.extend(arguments.follow.then(|| "follow=true".to_owned()));
    let mark = if query.is_empty() { "" } else { "?" };
    format!("/v1/logs/{}{mark}{}", percent::encode(&arguments.name), query.join("&"))
}

/// What stands before lines, and which line is not at its end yet.
#[derive(Default)]
struct Layout {
    timestamps: bool,
    /// Instances are told apart by their names.
    several: bool,
    first: Option<String>,
    /// Whose line is open on standard output and on standard error.
    open: [Option<String>; 2],
}

impl Layout {
    fn lay(&mut self, line: &Line) -> String {
        let first = self.first.get_or_insert_with(|| line.instance.clone());
        self.several |= *first != line.instance;
        let open = &mut self.open[line.stream as usize];
        let mut text = String::new();
        if open.as_ref() != Some(&line.instance) {
            if open.is_some() {
                text.push('\n');
            }
            if self.several {
                text += &format!("{} | ", words::plain(&line.instance));
            }
            if self.timestamps {
                text += &format!("{} ", words::plain(&line.time));
            }
        }
        text += &line.text;
        *open = line.partial.then(|| line.instance.clone());
        if !line.partial {
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Stream;

    fn lay(layout: &mut Layout, lines: &[(&str, Stream, &str, bool)]) -> String {
        let line = |(instance, stream, text, partial): &(&str, Stream, &str, bool)| Line {
            time: "T".into(),
            stream: *stream,
            partial: *partial,
            text: (*text).into(),
            instance: (*instance).into(),
        };
        lines.iter().map(|it| layout.lay(&line(it))).collect()
    }

    #[test]
    fn one_instance_is_told_as_it_wrote() {
        let lines = [
            ("a-0", Stream::Stdout, "one, ", true),
            ("a-0", Stream::Stderr, "oops", false),
            ("a-0", Stream::Stdout, "\u{1b}[1mtwo", false),
        ];
        assert_eq!(lay(&mut Layout::default(), &lines), "one, oops\n\u{1b}[1mtwo\n");
        let mut layout = Layout { timestamps: true, ..Layout::default() };
        assert_eq!(lay(&mut layout, &lines), "T one, T oops\n\u{1b}[1mtwo\n");
    }

    #[test]
    fn several_are_told_apart() {
        let lines = [
            ("a-0", Stream::Stdout, "one", false),
            ("a-1", Stream::Stdout, "two, ", true),
            ("a-0", Stream::Stdout, "three", false),
            ("a-1", Stream::Stdout, "four", false),
        ];
        let told = "a-1 | two, \na-0 | three\na-1 | four\n";
        assert_eq!(lay(&mut Layout::default(), &lines), format!("one\n{told}"));
        assert_eq!(lay(&mut Layout { several: true, ..Layout::default() }, &lines), format!("a-0 | one\n{told}"));
    }

    #[test]
    fn what_is_asked_for() {
        let arguments = |tail, since, follow| Arguments { follow, tail, since, timestamps: false, name: "a/b".into() };
        assert_eq!(path(&arguments(Tail::All, None, false)), "/v1/logs/a%2Fb");
        assert_eq!(
            path(&arguments(Tail::Last(3), Some(SystemTime::UNIX_EPOCH), true)),
            "/v1/logs/a%2Fb?tail=3&since=1970-01-01T00:00:00.000000000Z&follow=true"
        );
        assert_eq!((tail("7"), tail("all")), (Ok(Tail::Last(7)), Ok(Tail::All)));
        for wrong in ["", "-1", "some"] {
            assert!(tail(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn since_is_a_length_or_a_time() {
        assert_eq!(since("1970-01-01T00:00:05Z").unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 5);
        assert_eq!(since("2026-11-24 08:00:00"), since("2026-11-24T08:00:00Z"));
        let ago = SystemTime::now().duration_since(since("10m").unwrap()).unwrap().as_secs();
        assert!((540..=600).contains(&ago), "{ago}");
        for wrong in ["", "yesterday", "99999999999999y", "2026-13-01T00:00:00Z"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
