//! What is fetched, and what is not.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use diapason::hub::{Access, Fetched, Hub, HubError, HubEvent, HubSettings, HubSpec};

use crate::server::{COMMIT, Fault, ID, OTHER, Server};

pub(crate) const CONFIG: (&str, &[u8]) = ("config.json", b"{\"a\": 1}");
pub(crate) const TOKENIZER: (&str, &[u8]) = ("tokenizer.json", b"{}");

/// 600 kB in which no place looks like another.
pub(crate) fn weights() -> Vec<u8> {
    (0_u32..150_000).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect()
}

pub(crate) fn server() -> Server {
    Server::new(&[CONFIG, TOKENIZER, ("model.safetensors", &weights())])
}

pub(crate) fn fetch(hub: &Hub, spec: &str) -> Result<Fetched, HubError> {
    hub.fetch(&HubSpec::parse(spec).unwrap(), &mut |_| ControlFlow::Continue(()))
}

/// The names in a folder, in order.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn only_the_files_of_a_model_are_fetched_into_pythons_layout() {
    let weights = weights();
    let server = Server::new(&[
        CONFIG,
        TOKENIZER,
        ("generation_config.json", b"{}"),
        ("README.md", b"text"),
        ("pytorch_model.bin", b"pickle"),
        ("model.onnx", b"onnx"),
        ("model.safetensors", &weights),
    ]);
    let fetched = fetch(&server.hub(), ID).unwrap();
    assert_eq!(fetched.spec.to_string(), format!("{ID}@{COMMIT}"));
    assert_eq!(fetched.folder, server.cached().join("snapshots").join(COMMIT));
    let right = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
    assert_eq!(names(&fetched.folder), right);
    assert_eq!(fs::read(fetched.folder.join("model.safetensors")).unwrap(), weights);
    assert_eq!(fs::read_to_string(server.cached().join("refs/main")).unwrap(), COMMIT);
    let blob = PathBuf::from("../../blobs").join(crate::server::digest(&weights));
    assert_eq!(fs::read_link(fetched.folder.join("model.safetensors")).unwrap(), blob);
    // generation_config.json and tokenizer.json are the same bytes, so they share a blob.
    assert_eq!(names(&server.cached().join("blobs")).len(), 3);
}

#[test]
fn shards_are_fetched_as_the_index_lists_them() {
    let index = br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let server = Server::new(&[
        CONFIG,
        TOKENIZER,
        ("model.safetensors.index.json", index),
        ("model-00001-of-00002.safetensors", b"one"),
        ("model-00002-of-00002.safetensors", b"two"),
        ("model-00001-of-00001.safetensors", b"of another kind"),
    ]);
    let folder = fetch(&server.hub(), ID).unwrap().folder;
    let shards =
        |names: Vec<String>| names.into_iter().filter(|name| name.contains("-of-0000")).collect::<Vec<_>>();
    assert_eq!(
        shards(names(&folder)),
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    );
}

#[test]
fn a_shard_that_is_missing_or_leads_out_of_the_cache_is_refused() {
    for (shard, words) in
        [("gone.safetensors", "has no file `gone.safetensors`"), ("../../x", "no plain file name")]
    {
        let index = format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#);
        let server = Server::new(&[CONFIG, TOKENIZER, ("model.safetensors.index.json", index.as_bytes())]);
        let error = fetch(&server.hub(), ID).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn branch_tag_and_commit_are_revisions() {
    let server = server();
    server.commit("refs/pr/1", OTHER, &[CONFIG, TOKENIZER, ("model.safetensors", b"other")]);
    for (revision, commit) in [("main", COMMIT), ("refs/pr/1", OTHER), (COMMIT, COMMIT), (OTHER, OTHER)] {
        let fetched = fetch(&server.hub(), &format!("{ID}@{revision}")).unwrap();
        assert_eq!(fetched.spec.revision(), commit, "{revision}");
    }
    assert_eq!(fs::read_to_string(server.cached().join("refs/refs/pr/1")).unwrap(), OTHER);
}

#[test]
fn progress_adds_up_to_the_size_of_what_was_missing() {
    let server = server();
    let (mut log, mut last) = (Vec::new(), (0, 0));
    let mut listener = |event: HubEvent<'_>| {
        match event {
            HubEvent::Progress { file, file_done, file_bytes, done, bytes } => {
                assert!(file_done <= file_bytes && done <= bytes && done.0 >= last.0, "{file}");
                last = (done.0, bytes.0);
            }
            HubEvent::Began { model, files, bytes } => log.push(format!("{model} {files} {}", bytes.0)),
            HubEvent::FileReady { file, .. } => log.push(file.to_owned()),
            HubEvent::Ready { .. } => log.push("ready".to_owned()),
            other => panic!("{other:?}"),
        }
        ControlFlow::Continue(())
    };
    server.hub().fetch(&HubSpec::parse(ID).unwrap(), &mut listener).unwrap();
    let bytes = weights().len() as u64 + 8 + 2;
    assert_eq!(last, (bytes, bytes));
    let began = format!("{ID}@{COMMIT} 3 {bytes}");
    assert_eq!(log, [&*began, "config.json", "tokenizer.json", "model.safetensors", "ready"]);
}

#[test]
fn a_private_model_is_fetched_with_the_token_which_no_other_machine_gets() {
    let server = server();
    server.only_for("hf_secret");
    assert!(matches!(fetch(&server.hub(), ID), Err(HubError::NoModel { token: false, .. })));
    let settings = HubSettings { token: Some("hf_secret".to_owned()), ..server.settings() };
    assert!(fetch(&Hub::new(settings), ID).is_ok());
}

#[test]
fn a_glance_tells_whether_the_hub_can_be_asked() {
    let server = server();
    assert_eq!(server.hub().access(), Access::Open);
    server.only_for("hf_secret");
    let with = |change: &dyn Fn(&mut HubSettings)| {
        let mut settings = server.settings();
        change(&mut settings);
        Hub::new(settings).access()
    };
    assert_eq!(with(&|settings| settings.token = Some("hf_secret".to_owned())), Access::Open);
    assert_eq!(with(&|settings| settings.token = Some("hf_other".to_owned())), Access::TokenRefused);
    assert_eq!(with(&|settings| settings.offline = true), Access::Offline);
    assert!(matches!(
        with(&|settings| settings.endpoint = "http://127.0.0.1:1".to_owned()),
        Access::Unreachable(_)
    ));
    assert!(server.requests().iter().all(|line| line == "GET /api/whoami-v2"));
    server.fault("whoami", 1, Fault::Status(500, ""));
    assert_eq!(server.hub().access(), Access::Open);
}
