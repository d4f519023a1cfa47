//! Requests that two servers could read in two ways, and honest ones: what the client is told, and
//! every byte that the backend sees of them, through a Gateway and from a pod.

mod case;
mod chunks;
mod fields;
mod framing;
mod host;
mod request_line;
mod sequences;
mod sizes;
mod target;
mod upgrades;

use std::fmt::Write as _;
use std::time::Duration;

use gateway_tests::message::Message;
use gateway_tests::proxy::{DataPlane, SERVICE, Setup};
use gateway_tests::recorder::{Conversation, Recorder, Reply, Standing, Then};
use gateway_tests::wait::wait_for;
use gateway_userspace::limits::Limits;

use crate::fixture::Site;
use crate::raw_client::RawClient;
use case::{Case, HOST_DIALLED, Seen, Want};

const LONGEST: Duration = Duration::from_secs(10);

/// Set by the gateway itself: from a pod, and on a listener of a Gateway.
const OWN_FIELDS: [&str; 5] =
    ["x-request-id", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-weir-passes"];

/// Agrees to switch where the path asks for it.
fn answer(request: &Message) -> Reply {
    match request.target() {
        "/switch" => Reply {
            bytes: b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n".to_vec(),
            then: Then::Switch,
        },
        _ if request.start.starts_with("HEAD ") => {
            Reply { bytes: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n".to_vec(), then: Then::Keep }
        }
        _ => Reply::ok(),
    }
}

fn cases() -> Vec<Case> {
    let tables: [fn() -> Vec<Case>; 9] = [
        framing::cases,
        chunks::cases,
        fields::cases,
        host::cases,
        request_line::cases,
        sequences::cases,
        sizes::cases,
        target::cases,
        upgrades::cases,
    ];
    tables.iter().flat_map(|cases| cases()).collect()
}

#[test]
fn every_request_has_one_meaning_or_is_refused_and_the_backend_sees_one_clean_request_or_nothing() {
    let recorder = Recorder::start(answer).unwrap();
    let limits = Limits { stream_idle_timeout: LONGEST, ..Limits::default() };
    let setup = Setup { limits, endpoints: vec![recorder.address], ..Setup::default() };
    let data_plane = DataPlane::start(setup).unwrap();
    let cases = cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mut failures = String::new();
    for case in &cases {
        for (ingress, address) in [("gateway", data_plane.gateway), ("pod", data_plane.pod)] {
            let run = Run { recorder: &recorder, address, is_gateway: ingress == "gateway" };
            if let Err(why) = run.check(case) {
                let _ = writeln!(failures, "{} ({ingress}): {why}", case.name);
            }
        }
    }
    let count = failures.lines().count();
    assert!(failures.is_empty(), "{count} of {} fail:\n{failures}", 2 * cases.len());
}

/// One case on one way in.
struct Run<'a> {
    recorder: &'a Recorder,
    address: std::net::SocketAddr,
    is_gateway: bool,
}

impl Run<'_> {
    fn check(&self, case: &Case) -> Result<(), String> {
        self.recorder.clear().unwrap();
        let mut client = RawClient::connect(self.address);
        client.to_head = case.writes.concat().starts_with(b"HEAD ");
        for bytes in &case.writes {
            client.send(bytes);
        }
        if case.finishes {
            client.finish();
        }
        match &case.want {
            Want::Refused(statuses) => self.refused(client, statuses),
            Want::Served(wanted) => self.served(client, wanted),
            Want::ServedOrClosed(wanted) => {
                self.served(client, wanted).or_else(|_| self.served(self.again(case), &wanted[..1]))
            }
            Want::Either(wanted, statuses) => {
                self.served(client, wanted).or_else(|_| self.refused(self.again(case), statuses))
            }
            Want::Broken => self.broken(client, case.finishes),
            Want::Switched(wanted, then) => self.switched(client, wanted, then),
        }
    }

    /// The same bytes on a connection of their own.
    fn again(&self, case: &Case) -> RawClient {
        self.recorder.clear().unwrap();
        let mut client = RawClient::connect(self.address);
        for bytes in &case.writes {
            client.send(bytes);
        }
        client
    }

    /// What the backend has heard, after the worker has served a later request.
    fn heard(&self) -> Result<Vec<Conversation>, String> {
        let mut later = RawClient::connect(self.address);
        later.send(b"GET /later HTTP/1.1\r\nHost: later\r\n\r\n");
        let answer = later.response().ok_or("a later request gets no answer")?;
        if (answer.status(), &answer.body[..]) != (200, b"ok") {
            return Err(format!("a later request gets {answer:?}"));
        }
        let mut heard = self.recorder.heard().unwrap();
        for conversation in &mut heard {
            conversation.requests.retain(|request| request.target() != "/later");
        }
        heard.retain(|conversation| !(conversation.requests.is_empty() && conversation.rest.is_empty()));
        Ok(heard)
    }

    fn refused(&self, mut client: RawClient, statuses: &[u16]) -> Result<(), String> {
        let answer = client.response();
        let status = answer.as_ref().map_or(0, Message::status);
        if !statuses.contains(&status) {
            return Err(format!("answered {status} and not {statuses:?}"));
        }
        if !client.ends() {
            return Err(format!("answered {status} and left open"));
        }
        if !client.bytes.is_empty() {
            let more = String::from_utf8_lossy(&client.bytes).into_owned();
            return Err(format!("answered {status}, and then {more:?}"));
        }
        if answer.is_some_and(|answer| answer.field("connection") != Some("close")) {
            return Err(format!("answered {status} without saying that it closes"));
        }
        let heard = self.heard()?;
        if heard.is_empty() { Ok(()) } else { Err(format!("the backend saw {heard:?}")) }
    }

    fn served(&self, mut client: RawClient, wanted: &[Seen]) -> Result<(), String> {
        for n in 0..wanted.len() {
            match client.response() {
                Some(answer) if answer.status() == 200 => {}
                other => return Err(format!("request {n} is answered {other:?}")),
            }
        }
        client.finish();
        if !client.ends() || !client.bytes.is_empty() {
            return Err(format!("and then {:?}", String::from_utf8_lossy(&client.bytes)));
        }
        let heard = self.heard()?;
        if let Some(odd) = heard.iter().find(|c| !c.rest.is_empty() || c.malformed.is_some() || c.early > 0) {
            return Err(format!("the backend saw {odd:?}"));
        }
        let seen: Vec<&Message> = heard.iter().flat_map(|conversation| &conversation.requests).collect();
        if seen.len() != wanted.len() {
            return Err(format!("the backend saw {seen:?}"));
        }
        seen.iter().zip(wanted).try_for_each(|(seen, wanted)| self.compare(seen, wanted))
    }

    fn compare(&self, seen: &Message, wanted: &Seen) -> Result<(), String> {
        let mut fields: Vec<String> = Vec::new();
        for (name, value) in &seen.fields {
            let is_framing = ["content-length", "transfer-encoding"].contains(&&**name);
            if !(is_framing || self.is_own(name)) {
                fields.push(format!("{name}: {value}"));
            }
        }
        let from = seen.field("x-forwarded-for");
        if self.is_gateway && from != Some("127.0.0.1") {
            return Err(format!("x-forwarded-for is {from:?}"));
        }
        fields.sort_unstable();
        let trailers = &seen.trailers;
        let found = (&*seen.start, fields, &seen.body, trailers);
        let expected = (wanted.start, self.fields(wanted), &wanted.body, &Vec::new());
        if found == expected {
            Ok(())
        } else {
            Err(format!("the backend saw {found:?} and not {expected:?}"))
        }
    }

    /// The fields that the backend should see, sorted.
    fn fields(&self, wanted: &Seen) -> Vec<String> {
        let dialled = if self.is_gateway { self.address } else { SERVICE };
        let is_kept = |field: &&&str| !(self.is_gateway && wanted.not_by_gateway.contains(field));
        let fields = wanted.fields.iter().filter(is_kept);
        let mut fields: Vec<String> = fields
            .map(
                |field| if *field == HOST_DIALLED { format!("host: {dialled}") } else { (*field).to_owned() },
            )
            .collect();
        let own = |field: &String| self.is_own(field.split(':').next().unwrap_or_default());
        fields.retain(|field| !own(field));
        fields.sort_unstable();
        fields
    }

    /// Set by the gateway itself here.
    fn is_own(&self, name: &str) -> bool {
        OWN_FIELDS.iter().take(if self.is_gateway { 5 } else { 1 }).any(|own| *own == name)
    }

    /// The request went wrong when its head may have gone on already: no backend takes it for whole.
    fn broken(&self, mut client: RawClient, has_finished: bool) -> Result<(), String> {
        let status = client.response().map_or(0, |answer| answer.status());
        // Who has closed its sending side in the middle of a body has gone.
        let is_told =
            if has_finished { status == 499 || status == 400 } else { [400, 431].contains(&status) };
        if !is_told {
            return Err(format!("answered {status}"));
        }
        if !client.ends() || !client.bytes.is_empty() {
            let more = String::from_utf8_lossy(&client.bytes).into_owned();
            return Err(format!("answered {status}, and then {more:?} or left open"));
        }
        let heard = self.heard()?;
        if heard
            .iter()
            .any(|conversation| !conversation.requests.is_empty() || conversation.malformed.is_some())
        {
            return Err(format!("the backend saw {heard:?}"));
        }
        let is_over = || {
            self.recorder
                .heard()
                .ok()?
                .iter()
                .all(|c| c.rest.is_empty() || c.standing != Standing::Open)
                .then_some(())
        };
        wait_for("the backend's connection ends", LONGEST, is_over).map_err(|error| error.to_string())
    }

    fn switched(&self, mut client: RawClient, wanted: &Seen, then: &[u8]) -> Result<(), String> {
        match client.response() {
            Some(answer) if answer.status() == 101 => {}
            other => return Err(format!("answered {other:?}")),
        }
        let arrived = || self.recorder.heard().ok()?.iter().any(|c| c.rest == then).then_some(());
        wait_for("the bytes behind the request arrive", LONGEST, arrived)
            .map_err(|error| error.to_string())?;
        let heard = self.recorder.heard().unwrap();
        let [conversation] = &heard[..] else { return Err(format!("the backend saw {heard:?}")) };
        if conversation.early > 0 {
            return Err(format!("{} bytes came before the backend had agreed", conversation.early));
        }
        self.compare(&conversation.requests[0], wanted)
    }
}

#[test]
fn what_is_refused_leaves_no_memory_behind() {
    /// More than pages that come and go.
    const GROWTH_MAX_KIB: u64 = 1024;
    let recorder = Recorder::start(answer).unwrap();
    let site = Site::with_shop(&[]);
    site.endpoint_ports("shop", &[recorder.address.port()]);
    let weir = site.start();
    let cases = cases();
    let refused = cases.iter().filter(|case| matches!(case.want, Want::Refused(_) | Want::Broken));
    let refused: Vec<&Case> = refused.collect();
    let round = || {
        for case in &refused {
            let mut client = RawClient::connect(site.address());
            for bytes in &case.writes {
                client.send(bytes);
            }
            if case.finishes {
                client.finish();
            }
            assert!(client.ends(), "{}", case.name);
        }
        recorder.clear().unwrap();
        weir.resident_own_kib().unwrap()
    };
    // The first rounds fill what is kept on purpose: records, buffers of the log, the allocator's pages.
    let rounds: Vec<u64> = (0..8).map(|_| round()).collect();
    let grown = rounds[7].saturating_sub(rounds[3]);
    assert!(grown <= GROWTH_MAX_KIB, "{rounds:?}");
}
