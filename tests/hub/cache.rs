//! What is in the cache already, whoever put it there.

use std::fs;
use std::ops::ControlFlow;

use diapason::hub::{Hub, HubError, HubEvent, HubSettings, HubSpec};

use crate::fetched::{CONFIG, TOKENIZER, fetch, server};
use crate::server::{COMMIT, Fault, ID, OTHER};

#[test]
fn what_is_there_is_not_fetched_again() {
    let server = server();
    let first = fetch(&server.hub(), ID).unwrap();
    server.requests();
    assert_eq!(fetch(&server.hub(), ID).unwrap(), first);
    assert_eq!(server.requests().len(), 1, "the branch may have moved");
    assert_eq!(fetch(&server.hub(), &format!("{ID}@{COMMIT}")).unwrap(), first);
    assert_eq!(server.requests().len(), 0, "a commit can't");
}

#[test]
fn a_branch_that_moved_shares_what_has_not_changed() {
    let server = server();
    fetch(&server.hub(), ID).unwrap();
    server.commit("main", OTHER, &[CONFIG, TOKENIZER, ("model.safetensors", b"new")]);
    server.requests();
    let fetched = fetch(&server.hub(), ID).unwrap();
    assert_eq!(fetched.spec.revision(), OTHER);
    let files: Vec<String> =
        server.requests().into_iter().filter(|line| line.contains("/resolve/")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(fs::read(fetched.folder.join("config.json")).unwrap(), CONFIG.1);
}

#[test]
fn offline_the_cache_is_used_and_what_it_lacks_is_told() {
    let server = server();
    let offline = Hub::new(HubSettings { offline: true, ..server.settings() });
    let error = fetch(&offline, ID).unwrap_err().to_string();
    for words in [ID, "not in the cache", "HF_HUB_OFFLINE", "hint: "] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(server.requests(), [""; 0]);
    let fetched = fetch(&server.hub(), ID).unwrap();
    server.requests();
    assert_eq!(fetch(&offline, ID).unwrap(), fetched);
    assert_eq!(server.requests(), [""; 0]);
    fs::remove_file(fetched.folder.join("tokenizer.json")).unwrap();
    let error = fetch(&offline, ID).unwrap_err().to_string();
    assert!(error.contains("no tokenizer.json"), "{error}");
}

#[test]
fn a_hub_that_can_not_be_asked_does_not_hinder_what_the_cache_has() {
    let server = server();
    let fetched = fetch(&server.hub(), ID).unwrap();
    let away = Hub::new(HubSettings { endpoint: "http://127.0.0.1:1".to_owned(), ..server.settings() });
    let mut told = String::new();
    let mut listener = |event: HubEvent<'_>| {
        if let HubEvent::FromCache { model, reason } = event {
            told = format!("{model} {reason}");
        }
        ControlFlow::Continue(())
    };
    assert_eq!(away.fetch(&HubSpec::parse(ID).unwrap(), &mut listener).unwrap(), fetched);
    assert!(told.contains(COMMIT) && told.contains("can't be reached") && !told.contains("hint"), "{told}");
    server.fault("/api/", 9, Fault::Status(503, ""));
    assert_eq!(fetch(&server.hub(), ID).unwrap(), fetched);
}

#[test]
fn a_hub_that_refuses_counts_even_where_the_cache_has_the_model() {
    let server = server();
    fetch(&server.hub(), ID).unwrap();
    server.fault("/api/", 1, Fault::Status(403, "GatedRepo"));
    assert!(matches!(fetch(&server.hub(), ID), Err(HubError::Gated { .. })));
}

#[test]
fn a_blob_of_the_wrong_size_is_not_taken_for_a_whole_one() {
    let server = server();
    let folder = fetch(&server.hub(), ID).unwrap().folder;
    let blob = fs::canonicalize(folder.join("model.safetensors")).unwrap();
    let whole = fs::read(&blob).unwrap();
    fs::write(&blob, &whole[..1000]).unwrap();
    assert_eq!(fs::read(fetch(&server.hub(), ID).unwrap().folder.join("model.safetensors")).unwrap(), whole);
    // A link whose blob is gone, as after a careless clean-up.
    fs::remove_file(&blob).unwrap();
    assert_eq!(fs::read(fetch(&server.hub(), ID).unwrap().folder.join("model.safetensors")).unwrap(), whole);
}
