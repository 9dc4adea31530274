//! The reports that devices bring: the newest of each, whole, as `ID.json` in a folder that is not served.

use super::Body;
use super::request::{Refusal, bad};
use crate::store;
use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, StatusCode};
use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a report.
const MOST: u64 = 1 << 20;
/// Until all of a report is there.
const PATIENCE: Duration = Duration::from_secs(30);
/// More files than a trial has devices.
const DEVICES: usize = 10_000;

/// Where reports are kept.
pub(super) struct Reports {
    folder: PathBuf,
}

/// Of a report, what the answer needs. The rest is kept as it came.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    device: String,
    report_seq: Option<u64>,
}

impl Reports {
    /// Makes the folder. It must not lie below the one that is served: what devices send is nobody else's to read.
    pub(super) fn open(folder: &Path, served: &OwnedFd) -> anyhow::Result<Self> {
        store::make_folder(folder, 0o700)?;
        let fail = || format!("cannot open the folder `{}`", folder.display());
        if lies_below(folder, served).with_context(fail)? {
            bail!("`{}` lies in the folder that is served; give `--status` a folder beside it", folder.display());
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// Takes a report.
    pub(super) async fn take(&self, id: &str, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        if request.headers().get(CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the report as it is, not packed"));
        }
        let bytes = collect(request.into_body()).await?;
        let report: Report =
            serde_json::from_slice(&bytes).map_err(|error| bad(&format!("the report is not understood: {error}")))?;
        if report.device != id {
            return Err(bad("the report is another device's than the address says"));
        }
        self.keep(id, &bytes)?;
        let answer = serde_json::json!({ "ackSeq": report.report_seq });
        let mut response = Response::new(Body::Whole(format!("{answer}\n").into()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    fn keep(&self, id: &str, bytes: &[u8]) -> Result<(), Refusal> {
        let full = |text: String| Refusal::new(StatusCode::INSUFFICIENT_STORAGE, text);
        let place = self.folder.join(format!("{id}.json"));
        if place.symlink_metadata().is_err() {
            let count = std::fs::read_dir(&self.folder).map(Iterator::count);
            if count.map_err(|_| full("the report cannot be kept".into()))? >= DEVICES {
                return Err(full(format!("reports of {DEVICES} devices are kept, and no more")));
            }
        }
        store::publish_bytes(&place, bytes).map_err(|error| {
            let _nobody_reads = writeln!(io::stderr(), "skiffctl: {error}");
            full("the report cannot be kept".into())
        })
    }
}

async fn collect(body: Incoming) -> Result<Vec<u8>, Refusal> {
    let too_large = || Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a report has at most {MOST} bytes"));
    if body.size_hint().lower() > MOST {
        return Err(too_large());
    }
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, most).collect()).await;
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the report does not come");
    match collected.map_err(late)? {
        Ok(collected) => Ok(collected.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(bad("the report is cut off")),
    }
}

/// Whether the way up from a folder passes another one.
fn lies_below(folder: &Path, above: &OwnedFd) -> io::Result<bool> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let place = |fd: &OwnedFd| rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
    let wanted = place(above)?;
    let mut at = rustix::fs::open(folder, flags, Mode::empty())?;
    loop {
        let here = place(&at)?;
        if here == wanted {
            return Ok(true);
        }
        at = rustix::fs::openat(&at, "..", flags, Mode::empty())?;
        if place(&at)? == here {
            return Ok(false);
        }
    }
}
