//! The many spellings of one path: the route, the record and the backend go by the same one, or nobody does.

use std::time::Duration;

use gateway_tests::proxy::{DataPlane, Setup};
use gateway_tests::recorder::{Recorder, Reply};
use gateway_tests::wait::wait_for;

use crate::raw_client::RawClient;

const LONGEST: Duration = Duration::from_secs(10);

/// Rules of the set-up below.
const OTHERS: u32 = 1;
const ADMIN: u32 = 2;

/// A spelling, and the rule and the path that it stands for; `None` when it has no single meaning.
const SPELLINGS: [(&str, Option<(u32, &str)>); 27] = [
    ("/admin", Some((ADMIN, "/admin"))),
    ("//admin", Some((ADMIN, "/admin"))),
    ("///admin//", Some((ADMIN, "/admin/"))),
    ("/./admin", Some((ADMIN, "/admin"))),
    ("/x/../admin", Some((ADMIN, "/admin"))),
    ("/x/%2e%2e/admin", Some((ADMIN, "/admin"))),
    ("/x/.%2E/admin", Some((ADMIN, "/admin"))),
    ("/../admin", Some((ADMIN, "/admin"))),
    ("/x//../admin", Some((ADMIN, "/admin"))),
    ("/%61dmin", Some((ADMIN, "/admin"))),
    ("/%61%64%6D%69%6e", Some((ADMIN, "/admin"))),
    ("/admin/.", Some((ADMIN, "/admin/"))),
    ("/admin/x/..", Some((ADMIN, "/admin/"))),
    ("/admin?", Some((ADMIN, "/admin"))),
    ("/admin?x=../..", Some((ADMIN, "/admin"))),
    ("/admin/..", Some((OTHERS, "/"))),
    ("/admin;x", Some((OTHERS, "/admin;x"))),
    ("/ADMIN", Some((OTHERS, "/ADMIN"))),
    ("/%252e%252e/admin", Some((OTHERS, "/%252e%252e/admin"))),
    ("/%2e%2e;/admin", None),
    ("/user/..;a=b/admin", None),
    ("/admin%2F", None),
    ("/x%2f..%2fadmin", None),
    ("/x\\..\\admin", None),
    ("/x/..%5cadmin", None),
    ("/admin%00", None),
    ("/admin%", None),
];

#[test]
fn route_record_and_backend_see_one_spelling_of_a_path_and_what_could_be_two_is_refused() {
    let recorder = Recorder::start(|_| Reply::ok()).unwrap();
    let setup = Setup { paths: vec!["/admin"], endpoints: vec![recorder.address], ..Setup::default() };
    let data_plane = DataPlane::start(setup).unwrap();
    for (spelling, wanted) in SPELLINGS {
        for address in [data_plane.gateway, data_plane.pod] {
            recorder.clear().unwrap();
            data_plane.records();
            let mut client = RawClient::connect(address);
            client.send(format!("GET {spelling} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            let status = client.response().map_or(0, |answer| answer.status());
            let heard = recorder.heard().unwrap();
            let Some((rule, path)) = wanted else {
                assert_eq!((status, heard), (400, vec![]), "{spelling}");
                assert!(client.ends(), "{spelling}");
                continue;
            };
            assert_eq!(status, 200, "{spelling}");
            client.finish();
            assert!(client.ends(), "{spelling}");
            let seen = heard[0].requests[0].target();
            assert_eq!(seen.split('?').next(), Some(path), "{spelling}");
            let record = wait_for("the record", LONGEST, || data_plane.records().pop()).unwrap();
            let matched = record.rule.map(|rule| rule.0);
            assert_eq!((matched, record.text.path()), (Some(rule), path.as_bytes()), "{spelling}");
        }
    }
}
