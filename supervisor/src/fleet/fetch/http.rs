//! The client of the child: one request, with everything limited that a server could make long.

use super::address;
use super::retry;
use super::wire::{Broken, Head, Reason, Request};
use std::io::Read;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};
use ureq::config::{AutoHeaderValue, Config};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

/// More than any honest server needs.
const REDIRECTS: usize = 3;
/// Bytes of all headers of an answer.
const HEADERS: usize = 32 << 10;

/// A client, whose connections are kept for the next request.
pub(super) struct Client(Agent);

/// An answer whose body is to be read.
pub(super) struct Reply {
    pub(super) head: Head,
    pub(super) body: Box<dyn Read>,
}

impl Client {
    /// A client that trusts the certificates of `pem` in place of those built in.
    ///
    /// # Errors
    /// In words.
    pub(super) fn new(pem: Option<&[u8]>) -> Result<Self, String> {
        let roots = match pem {
            None => RootCerts::WebPki,
            Some(pem) => {
                let mut roots = Vec::new();
                for item in ureq::tls::parse_pem(pem) {
                    if let PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
                        roots.push(certificate);
                    }
                }
                if roots.is_empty() {
                    return Err("there is no certificate in it".to_owned());
                }
                RootCerts::from(roots)
            }
        };
        let config = Config::builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            // Whoever can set a variable of skiffd's does not choose whom its children talk to.
            .proxy(None)
            .http_status_as_error(false)
            // Followed here, where each one is looked at.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEADERS)
            .user_agent(concat!("skiffd/", env!("CARGO_PKG_VERSION")))
            // Compressed answers would have to be limited twice; archives are compressed already.
            .accept_encoding(AutoHeaderValue::None)
            .max_idle_connections_per_host(1)
            .build();
        Ok(Self(Agent::with_parts(config, DefaultConnector::default(), Careful(DefaultResolver::default()))))
    }

    /// Asks, and follows redirects of a GET.
    pub(super) fn ask(&self, request: &Request) -> Result<Reply, Broken> {
        let end = Instant::now() + Duration::from_millis(request.total);
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            let response = self.ask_once(request, &url, end).map_err(|error| broken(&error))?;
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            match (response.status().as_u16(), location) {
                (301 | 302 | 303 | 307 | 308, Some(location)) if request.put.is_none() => {
                    url =
                        address::redirect(&url, location).map_err(|text| Broken { reason: Reason::Redirect, text })?;
                }
                _ => return Ok(reply(response)),
            }
        }
        let text = format!("the server sends elsewhere more than {REDIRECTS} times");
        Err(Broken { reason: Reason::Redirect, text })
    }

    fn ask_once(&self, request: &Request, url: &str, end: Instant) -> Result<Response<Body>, ureq::Error> {
        if address::split(url).is_none() {
            return Err(ureq::Error::BadUri(url.to_owned()));
        }
        let left = Some(end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
        let connect = Some(Duration::from_millis(request.connect));
        if let Some(body) = &request.put {
            let put = self.0.put(url).config().timeout_global(left).timeout_connect(connect).build();
            return put.content_type("application/json").send(body.as_str());
        }
        let mut get = self.0.get(url).config().timeout_global(left).timeout_connect(connect).build();
        if let Some(etag) = &request.etag {
            get = get.header("if-none-match", etag.as_str());
        }
        get.call()
    }
}

fn reply(response: Response<Body>) -> Reply {
    let (parts, body) = response.into_parts();
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let retry_after =
        text(&parts.headers, "retry-after").and_then(|value| retry::after(value, text(&parts.headers, "date"), clock));
    // A name that is not short would be sent back with each request and kept on disk.
    let etag = text(&parts.headers, "etag").filter(|etag| !etag.is_empty() && etag.len() <= 256).map(str::to_owned);
    Reply { head: Head { status: parts.status.as_u16(), etag, retry_after }, body: Box::new(body.into_reader()) }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// What a failure of the client is called.
pub(super) fn broken(error: &ureq::Error) -> Broken {
    use ureq::Error;
    let reason = match error {
        Error::Timeout(_) => Reason::Timeout,
        Error::HostNotFound => Reason::Dns,
        Error::BadUri(_) | Error::Http(_) => Reason::Url,
        Error::Tls(_) | Error::Rustls(_) | Error::Pem(_) | Error::TlsRequired => Reason::Tls,
        Error::Io(error) => io_reason(error),
        Error::ConnectionFailed => Reason::Connection,
        _ => Reason::Protocol,
    };
    Broken { reason, text: first_line(&error.to_string()) }
}

/// What a failure while reading is called: the client wraps its own errors there.
pub(super) fn broken_body(error: &std::io::Error) -> Broken {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        Some(inner) => broken(inner),
        None => Broken { reason: io_reason(error), text: first_line(&error.to_string()) },
    }
}

fn io_reason(error: &std::io::Error) -> Reason {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Reason::Timeout,
        ErrorKind::UnexpectedEof => Reason::CutOff,
        // rustls reports what a peer did wrong in this way.
        ErrorKind::InvalidData => Reason::Tls,
        _ if error.to_string().contains("lookup address") => Reason::Dns,
        _ => Reason::Connection,
    }
}

/// What a server made of it may have many lines.
pub(super) fn first_line(text: &str) -> String {
    let line: String = text.lines().next().unwrap_or_default().chars().take(200).collect();
    line.chars().filter(|character| !character.is_control()).collect()
}

/// The system's names, without link-local addresses unless the address itself is one: a name server does not get to send
/// a device there.
#[derive(Debug)]
struct Careful(DefaultResolver);

impl Resolver for Careful {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.0.resolve(uri, config, timeout)?;
        let told = uri.authority().is_some_and(|authority| address::link_local_host(authority.as_str()));
        let mut careful = self.empty();
        for socket in found.iter().filter(|socket| told || !address::link_local(IpAddr::clone(&socket.ip()))) {
            careful.push(*socket);
        }
        if careful.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(careful) }
    }
}
