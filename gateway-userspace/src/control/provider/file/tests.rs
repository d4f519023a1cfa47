use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::sync::watch;

use super::super::Desired;
use super::{FolderError, follow, load};
use crate::control::config::meta::ObjectKey;
use crate::control::diagnostic::{Code, Diagnostic, Severity};
use crate::limits::{FolderLimits, Limits};

fn service(name: &str, port: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  ports:\n  - port: {port}\n"
    )
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn read(folder: &TempDir) -> Desired {
    load(folder.path(), &Limits::default()).unwrap()
}

/// The port of a Service, which tells its versions apart.
fn port(desired: &Desired, name: &str) -> Option<u16> {
    desired.set.services.get(&ObjectKey::new("shop", name)).map(|e| e.object.spec.ports[0].port)
}

fn names(desired: &Desired) -> Vec<&str> {
    desired.set.services.iter().map(|(key, _)| &*key.name).collect()
}

fn only(desired: &Desired) -> &Diagnostic {
    assert_eq!(desired.findings.len(), 1, "{:#?}", desired.findings);
    &desired.findings[0]
}

/// Waits until the published state is as wanted.
fn until(states: &mut watch::Receiver<Desired>, wanted: impl Fn(&Desired) -> bool) -> Desired {
    let deadline = Instant::now() + Duration::from_secs(20);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        loop {
            let now = states.borrow_and_update().clone();
            if wanted(&now) {
                return now;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let change = tokio::time::timeout(left, states.changed()).await;
            change.unwrap_or_else(|_| panic!("it never came; the last state is {now:#?}")).unwrap();
        }
    })
}

fn following(folder: &Path) -> watch::Receiver<Desired> {
    follow(folder, &Limits::default()).unwrap()
}

#[test]
fn a_folder_is_read_with_its_subfolders_and_many_documents_per_file() {
    let two = format!("{}---\n{}", service("a", "1"), service("b", "2"));
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}",
        service("c", "3").trim_end().replace('\n', "\n  ")
    );
    let json = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"d","namespace":"shop"},"spec":{"ports":[{"port":4}]}}"#;
    let folder = folder(&[
        ("two.yaml", &two),
        ("sub/deeper/list.yml", &list),
        ("d.json", json),
        (".hidden.yaml", &service("h", "1")),
        ("notes.txt", "no: [yaml"),
        (
            "deployment.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 1}\n",
        ),
    ]);
    let desired = read(&folder);
    assert_eq!(names(&desired), ["a", "b", "c", "d"]);
    assert!(desired.findings.is_empty(), "{:#?}", desired.findings);
    let b = desired.set.services.get(&ObjectKey::new("shop", "b")).unwrap();
    assert_eq!(b.origin.place(), Some((folder.path().join("two.yaml").to_str().unwrap(), 10)));
}

#[test]
fn a_missing_folder_is_a_clear_error() {
    let error = load(Path::new("/no/such/folder"), &Limits::default()).unwrap_err();
    assert!(matches!(error, FolderError::Unreadable { .. }));
    let text = error.to_string();
    assert!(text.contains("/no/such/folder") && text.contains("--config"), "{text}");
}

#[test]
fn an_unknown_field_is_reported_with_its_line_and_a_guess() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata:\n  name: r\nspec:\n  rules:\n  - backendRef:\n    - name: a\n      port: 80\n";
    let folder = folder(&[("r.yaml", text)]);
    let desired = read(&folder);
    let finding = only(&desired);
    assert_eq!(
        (finding.code, finding.severity, finding.line),
        (Code::UnknownField, Severity::Warning, Some(8))
    );
    assert_eq!(finding.field, "spec.rules[0].backendRef");
    assert_eq!(finding.object.as_deref(), Some("HTTPRoute default/r"));
    assert!(finding.fix.contains("backendRefs"), "{}", finding.fix);
    assert_eq!(desired.set.http_routes.len(), 1);
}

#[test]
fn a_wrong_value_is_reported_with_file_line_column_and_field() {
    let folder = folder(&[("s.yaml", &service("a", "70000"))]);
    let desired = read(&folder);
    let finding = only(&desired);
    assert_eq!((finding.code, finding.line, finding.column), (Code::InvalidObject, Some(8), Some(11)));
    assert_eq!(finding.field, "spec.ports[0].port");
    assert!(finding.message.contains("70000") && finding.message.contains("65535"), "{}", finding.message);
    assert!(finding.message.ends_with("it is not served"), "{}", finding.message);
    assert_eq!(finding.file.as_deref(), folder.path().join("s.yaml").to_str());
}

#[test]
fn what_the_schemas_of_the_api_refuse_is_refused_here_too() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  hostnames: [\"1.2.3.4\"]\n  rules:\n  - matches:\n    - path: {type: Exact, value: nope}\n    backendRefs:\n    - name: a\n";
    let desired = read(&folder(&[("r.yaml", text)]));
    let fields: Vec<&str> = desired.findings.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(
        fields,
        ["spec.hostnames[0]", "spec.rules[0].matches[0].path.value", "spec.rules[0].backendRefs[0].port"]
    );
    assert_eq!(desired.findings[1].line, Some(8));
    assert!(desired.set.http_routes.is_empty());
}

#[test]
fn the_first_file_by_path_has_an_object_that_is_written_twice() {
    let folder = folder(&[("b.yaml", &service("a", "2")), ("a.yaml", &service("a", "1"))]);
    let desired = read(&folder);
    assert_eq!(port(&desired, "a"), Some(1));
    let finding = only(&desired);
    assert_eq!(finding.code, Code::DuplicateObject);
    assert!(finding.file.as_ref().unwrap().ends_with("b.yaml") && finding.message.contains("a.yaml:1"));
}

#[test]
fn a_kind_of_the_gateway_api_that_is_not_supported_is_named() {
    let text = "apiVersion: gateway.networking.k8s.io/v1\nkind: TLSRoute\nmetadata: {name: r}\n";
    let desired = read(&folder(&[("r.yaml", text)]));
    assert_eq!(only(&desired).code, Code::UnsupportedKind);
}

#[test]
fn limits_on_files_and_bytes_are_kept_and_said() {
    let limits = Limits {
        folder: FolderLimits { files_max: 1, file_bytes_max: 150, ..FolderLimits::default() },
        ..Limits::default()
    };
    let long = service("b", "2") + &"#".repeat(200);
    let two = folder(&[("a.yaml", &service("a", "1")), ("b.yaml", &service("b", "1"))]);
    let desired = load(two.path(), &limits).unwrap();
    assert_eq!((desired.set.services.len(), only(&desired).code), (1, Code::TooLarge));
    let desired = load(folder(&[("b.yaml", &long)]).path(), &limits).unwrap();
    assert_eq!((desired.set.services.len(), only(&desired).code), (0, Code::TooLarge));
}

#[test]
fn a_file_that_breaks_keeps_its_last_good_objects_until_it_is_mended() {
    let folder = folder(&[("a.yaml", &service("a", "1"))]);
    let mut states = following(folder.path());
    assert_eq!(port(&states.borrow(), "a"), Some(1));
    let path = folder.path().join("a.yaml");
    fs::write(&path, "apiVersion: v1\nkind: [Service\n").unwrap();
    let broken = until(&mut states, |d| !d.findings.is_empty());
    assert_eq!((only(&broken).code, port(&broken, "a")), (Code::Syntax, Some(1)));
    fs::write(&path, service("a", "eighty")).unwrap();
    let broken = until(&mut states, |d| d.findings.first().is_some_and(|f| f.code == Code::InvalidObject));
    assert!(only(&broken).message.ends_with("its last good version keeps serving"));
    assert_eq!(port(&broken, "a"), Some(1));
    fs::write(&path, service("a", "2")).unwrap();
    let mended = until(&mut states, |d| d.findings.is_empty());
    assert_eq!(port(&mended, "a"), Some(2));
}

#[test]
fn one_broken_document_breaks_no_other_of_its_file() {
    let both = format!("{}---\n{}", service("a", "1"), service("b", "1"));
    let folder = folder(&[("ab.yaml", &both)]);
    let mut states = following(folder.path());
    fs::write(folder.path().join("ab.yaml"), format!("kind: {{\n---\n{}", service("b", "2"))).unwrap();
    let broken = until(&mut states, |d| port(d, "b") == Some(2));
    assert_eq!(port(&broken, "a"), Some(1));
    fs::write(folder.path().join("ab.yaml"), service("b", "2")).unwrap();
    until(&mut states, |d| names(d) == ["b"]);
}

#[test]
fn a_deleted_or_renamed_file_is_followed() {
    let folder = folder(&[("a.yaml", &service("a", "1")), ("b.yaml", &service("b", "1"))]);
    let mut states = following(folder.path());
    fs::remove_file(folder.path().join("a.yaml")).unwrap();
    until(&mut states, |d| names(d) == ["b"]);
    fs::rename(folder.path().join("b.yaml"), folder.path().join("c.yaml")).unwrap();
    let renamed = until(&mut states, |d| {
        d.set.services.iter().any(|(_, e)| e.origin.place().is_some_and(|(file, _)| file.ends_with("c.yaml")))
    });
    assert_eq!(names(&renamed), ["b"]);
    fs::rename(folder.path().join("c.yaml"), folder.path().join("c.off")).unwrap();
    until(&mut states, |d| d.set.is_empty());
}

#[test]
fn a_file_that_is_whole_waits_no_longer_than_a_burst_may_last() {
    let folder = folder(&[("a.yaml", &service("a", "1"))]);
    let hour = Duration::from_secs(3600);
    // It is never quiet for so long, as where something changes all the time.
    let limits = Limits {
        folder: FolderLimits { debounce: hour, poll_interval: hour, ..FolderLimits::default() },
        ..Limits::default()
    };
    let mut states = follow(folder.path(), &limits).unwrap();
    let temporary = folder.path().join(".a.yaml.swp");
    fs::write(&temporary, service("a", "2")).unwrap();
    fs::rename(&temporary, folder.path().join("a.yaml")).unwrap();
    until(&mut states, |d| port(d, "a") == Some(2));
}

#[test]
fn a_file_that_is_being_written_keeps_its_objects_and_holds_back_no_other() {
    use std::io::Write;
    let folder = folder(&[("a.yaml", &service("a", "1")), ("b.yaml", &service("b", "1"))]);
    let hour = Duration::from_secs(3600);
    let limits = Limits {
        folder: FolderLimits { debounce: hour, poll_interval: hour, ..FolderLimits::default() },
        ..Limits::default()
    };
    let mut states = follow(folder.path(), &limits).unwrap();
    let mut open = fs::File::create(folder.path().join("a.yaml")).unwrap();
    open.write_all(b"kind: Ser").unwrap();
    let temporary = folder.path().join(".b.yaml.swp");
    fs::write(&temporary, service("b", "2")).unwrap();
    fs::rename(&temporary, folder.path().join("b.yaml")).unwrap();
    let meanwhile = until(&mut states, |d| port(d, "b") == Some(2));
    assert_eq!((port(&meanwhile, "a"), meanwhile.findings.len()), (Some(1), 0));
    open.set_len(0).unwrap();
    drop(open);
    fs::write(folder.path().join("a.yaml"), service("a", "2")).unwrap();
    until(&mut states, |d| port(d, "a") == Some(2));
}

#[test]
fn an_editor_that_renames_over_a_file_is_followed() {
    let folder = folder(&[("a.yaml", &service("a", "1"))]);
    let mut states = following(folder.path());
    for version in 2..6 {
        let temporary = folder.path().join(".a.yaml.swp");
        fs::write(&temporary, service("a", &version.to_string())).unwrap();
        fs::rename(&temporary, folder.path().join("a.yaml")).unwrap();
        until(&mut states, |d| port(d, "a") == Some(version));
    }
}

#[test]
fn a_mounted_config_map_that_swaps_its_link_is_followed() {
    use std::os::unix::fs::symlink;
    let folder = folder(&[("..1/a.yaml", &service("a", "1")), ("..2/a.yaml", &service("a", "2"))]);
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/a.yaml", folder.path().join("a.yaml")).unwrap();
    let mut states = following(folder.path());
    assert_eq!(port(&states.borrow(), "a"), Some(1));
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    until(&mut states, |d| port(d, "a") == Some(2));
}

#[test]
fn a_file_in_a_new_subfolder_is_followed() {
    let folder = folder(&[]);
    let mut states = following(folder.path());
    fs::create_dir(folder.path().join("sub")).unwrap();
    fs::write(folder.path().join("sub/a.yaml"), service("a", "1")).unwrap();
    until(&mut states, |d| port(d, "a") == Some(1));
    fs::write(folder.path().join("sub/a.yaml"), service("a", "2")).unwrap();
    until(&mut states, |d| port(d, "a") == Some(2));
}

#[test]
fn an_object_that_did_not_change_stays_the_same_one() {
    let text = |port: &str| format!("# a remark\n{}---\n{}", service("a", "1"), service("b", port));
    let folder = folder(&[("ab.yaml", &text("1"))]);
    let mut states = following(folder.path());
    let before = states.borrow().clone();
    fs::write(folder.path().join("ab.yaml"), format!("\n\n{}", text("2"))).unwrap();
    let after = until(&mut states, |d| port(d, "b") == Some(2));
    let changed = after.set.services.changes_since(&before.set.services);
    assert_eq!(changed, [ObjectKey::new("shop", "b")]);
    let a = after.set.services.get(&ObjectKey::new("shop", "a")).unwrap();
    assert_eq!(a.origin.place().map(|p| p.1), Some(4));
}

#[test]
fn check_says_line_and_column_of_the_field_for_what_only_a_compile_can_know() {
    let text = "# a shop\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n  parentRefs:\n  - {name: edge}\n  rules:\n  - backendRefs:\n    - name: missing\n      port: 80\n";
    let folder = folder(&[("r.yaml", text)]);
    let findings = crate::control::check(folder.path(), &Limits::default()).unwrap();
    let place = |code| findings.iter().find(|d| d.code == code).map(|d| (d.line, d.column));
    assert_eq!(place(Code::RefUnresolved), Some((Some(10), Some(7))), "{:#?}", findings);
    assert_eq!(place(Code::RouteRefused), Some((Some(7), Some(5))), "{:#?}", findings);
    let shown = crate::control::render::findings(&findings, Default::default());
    assert!(shown.contains("r.yaml:10:7") && shown.contains("2 errors"), "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&crate::control::render::findings_json(&findings)).unwrap();
    assert_eq!(json[0]["code"], "WEIR0510");
}
