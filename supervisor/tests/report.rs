//! The report over real HTTP, put by the real child, with a loop that answers as skiffd's does. Times are short, but real.
#![allow(clippy::disallowed_methods, reason = "the bans protect the product; this is the server that it talks to")]
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests does not reach their helper functions")]

#[allow(dead_code, reason = "the tests of the fleet ask more of it")]
#[path = "fleet_follow/server.rs"]
mod server;

use serde_json::Value;
use server::{Act, Server};
use skiff_planner::fleet::Poll;
use skiff_planner::select::Device as Identity;
use skiff_supervisor::control::Query;
use skiff_supervisor::fleet;
use skiff_supervisor::report::{self, Settings};
use skiff_supervisor::view::{Device, ReportTo};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const PATH: &str = "/devices/till-0042/status";

/// A server, and a loop that has a device to tell of.
struct Scene {
    server: Server,
    device: Arc<Mutex<Device>>,
    looks: Arc<AtomicUsize>,
    changes: mpsc::Sender<()>,
}

impl Scene {
    fn new() -> Self {
        let server = Server::start();
        let mut device: Device = serde_json::from_str(include_str!("../src/view/specimen.json")).unwrap();
        device.fleet.as_mut().unwrap().report = None;
        let (device, looks) = (Arc::new(Mutex::new(device)), Arc::new(AtomicUsize::new(0)));
        let (queries, mut asked) = mpsc::channel(4);
        let (told, counted) = (Arc::clone(&device), Arc::clone(&looks));
        tokio::spawn(async move {
            while let Some(query) = asked.recv().await {
                let Query::Device(answer) = query else { panic!("a report orders nothing: {query:?}") };
                counted.fetch_add(1, Ordering::SeqCst);
                let device = told.lock().unwrap().clone();
                answer.send(Box::new(device)).unwrap();
            }
        });
        let (changes, changed) = mpsc::channel(1);
        let settings = fleet::Settings {
            // Nothing is asked of the fleet itself.
            url: "file:///nowhere".into(),
            name: None,
            trust: "/nowhere".into(),
            ca_file: None,
            user: "skiff-fetch".into(),
            folder: "/nowhere".into(),
            device: Identity { id: "till-0042".into(), labels: [].into() },
            program: env!("CARGO_BIN_EXE_skiffd").into(),
            poll: Poll::default(),
            spacing: Duration::from_millis(5),
            limits: fleet::Limits::default(),
        };
        report::spawn(Settings { fleet: Some(settings) }, queries, changed);
        Self { server, device, looks, changes }
    }

    fn answer(&self, status: &str, body: &str) {
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        self.server.misbehave(PATH, Act::Raw((head + body).into()));
    }

    /// Changes the device, and says so as the loop does.
    fn change(&self, change: impl FnOnce(&mut Device)) {
        change(&mut self.device.lock().unwrap());
        let _full_says_the_same = self.changes.try_send(());
    }

    fn names_a_server(&self) {
        let url = format!("{}/devices/till-0042", self.server.url());
        let to = ReportTo { url, every_ms: 3_600_000, on_change_ms: 1 };
        self.change(|device| device.fleet.as_mut().unwrap().report = Some(to));
    }

    fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    fn reports(&self) -> Vec<Value> {
        self.server.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    async fn until_looks(&self, count: usize) {
        until("a look", || (self.looks() >= count).then_some(())).await;
    }

    async fn until_reports(&self, count: usize) -> Vec<Value> {
        until("a report", || Some(self.reports()).filter(|reports| reports.len() >= count)).await
    }
}

async fn until<T>(what: &str, question: impl Fn() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(begin.elapsed() < Duration::from_secs(30), "{what} does not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ready(report: &Value) -> u64 {
    report["services"]["web"]["ready"].as_u64().unwrap()
}

#[tokio::test]
async fn what_changed_is_reported_and_nothing_else() {
    let scene = Scene::new();
    scene.answer("200 OK", "{\"ackSeq\": 1}");
    // Nobody to report to.
    scene.change(|_| {});
    scene.until_looks(1).await;
    assert!(scene.server.log().is_empty());
    scene.names_a_server();
    let first = scene.until_reports(1).await.remove(0);
    assert_eq!((&first["kind"], ready(&first)), (&Value::from("DeviceStatus"), 1), "{first:#}");
    assert_eq!(scene.server.log()[0].1, format!("PUT {PATH}"));
    // A word, but no news.
    scene.change(|device| device.time = "2026-11-22T02:15:00Z".into());
    scene.until_looks(3).await;
    // Many changes, and the newest is told.
    for ready in 2..=100 {
        scene.change(|device| device.services.get_mut("web").unwrap().ready = ready);
        tokio::task::yield_now().await;
    }
    let reports = scene.until_reports(2).await;
    assert_eq!(ready(&reports[1]), 100);
    assert!(reports[1]["reportSeq"].as_u64() > first["reportSeq"].as_u64(), "{reports:#?}");
    // Who polls has looked more often by now.
    assert_eq!((scene.looks(), scene.reports().len()), (4, 2));
}

#[tokio::test]
async fn what_was_not_taken_is_replaced_by_what_is_true_then() {
    let scene = Scene::new();
    scene.answer("503 Service Unavailable", "");
    scene.names_a_server();
    scene.until_reports(1).await;
    scene.change(|device| device.services.get_mut("web").unwrap().ready = 2);
    scene.answer("200 OK", "not even JSON");
    let reports = scene.until_reports(2).await;
    assert_eq!((ready(&reports[0]), ready(&reports[1])), (1, 2));
    assert!(reports[1]["reportSeq"].as_u64() > reports[0]["reportSeq"].as_u64());
    let log = scene.server.log();
    assert!(log[1].0 - log[0].0 >= Duration::from_secs(1), "a server that fails is not asked in a hurry");
}

#[tokio::test]
async fn a_device_without_a_fleet_asks_nobody() {
    let (queries, mut asked) = mpsc::channel(1);
    let (changes, changed) = mpsc::channel(1);
    report::spawn(Settings { fleet: None }, queries, changed);
    changes.closed().await;
    assert!(asked.recv().await.is_none());
}
