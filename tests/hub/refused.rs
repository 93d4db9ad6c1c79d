//! Models that are not to be had: one line that says what, one that says what to do.

use diapason::hub::{Hub, HubSettings};

use crate::fetched::{CONFIG, TOKENIZER, fetch, server};
use crate::server::{COMMIT, Fault, ID, Server};

#[track_caller]
fn check(hub: &Hub, spec: &str, words: &[&str]) {
    let error = fetch(hub, spec).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.lines().nth(1).unwrap().starts_with("  hint: "), "{error}");
    for words in words {
        assert!(error.contains(words), "no `{words}` in: {error}");
    }
}

#[test]
fn a_gated_model_says_where_its_licence_is_accepted() {
    let page = |server: &Server| format!("accept its licence at {}/{ID}", server.endpoint());
    let server = server();
    server.fault("/api/", 1, Fault::Status(403, "GatedRepo"));
    check(&server.hub(), ID, &["gated", &page(&server), "set HF_TOKEN"]);
    // As the real hub does it: everyone sees what files there are, but not the files.
    server.fault("/resolve/", 1, Fault::Status(401, "GatedRepo"));
    let hub = Hub::new(HubSettings { token: Some("hf_x".to_owned()), ..server.settings() });
    check(&hub, ID, &["gated", &page(&server), "make sure that HF_TOKEN"]);
}

#[test]
fn a_model_that_does_not_exist_may_be_private() {
    let server = server();
    check(
        &server.hub(),
        "ada/none",
        &["ada/none", "no such model", "private", "no local folder", "HF_TOKEN"],
    );
    server.fault("/api/", 1, Fault::Status(401, "RepoNotFound"));
    check(&server.hub(), ID, &[ID, "no such model"]);
}

#[test]
fn access_that_is_refused_names_the_token() {
    let server = server();
    server.fault("/api/", 1, Fault::Status(403, ""));
    check(&server.hub(), ID, &["refuses access (status 403)", "HF_TOKEN"]);
}

#[test]
fn a_missing_revision_is_named() {
    let server = server();
    check(&server.hub(), &format!("{ID}@v9"), &["no revision `v9`", "commits lists them"]);
}

#[test]
fn a_file_that_vanished_is_named() {
    let server = server();
    server.fault("tokenizer.json", 1, Fault::Status(404, "EntryNotFound"));
    check(&server.hub(), ID, &[COMMIT, "no file `tokenizer.json`"]);
}

#[test]
fn a_repository_with_other_weights_only_says_what_it_has() {
    for (file, words) in
        [("model-q4.gguf", "GGUF files (model-q4.gguf)"), ("pytorch_model.bin", "PyTorch files")]
    {
        let server = Server::new(&[CONFIG, TOKENIZER, (file, b"weights")]);
        check(&server.hub(), ID, &["lacks model.safetensors", words, "config.json, tokenizer.json and"]);
        assert_eq!(server.requests().len(), 1, "nothing is fetched");
    }
}

#[test]
fn a_hub_that_is_not_there_is_named_with_the_settings_that_lead_to_it() {
    let settings = server().settings();
    let hub = Hub::new(HubSettings { endpoint: "http://127.0.0.1:1".to_owned(), ..settings });
    check(&hub, ID, &["http://127.0.0.1:1 can't be reached", "HF_ENDPOINT"]);
}

#[test]
fn an_endpoint_that_is_no_address_is_named() {
    let settings = server().settings();
    for endpoint in ["no address", "huggingface", ""] {
        let hub = Hub::new(HubSettings { endpoint: endpoint.to_owned(), ..settings.clone() });
        check(&hub, ID, &[&format!("{endpoint} can't be reached"), "HF_ENDPOINT"]);
    }
}

/// Reaching TLS at all shows that it is built in and has a provider of ciphers.
#[test]
fn a_hub_that_does_not_speak_tls_is_told() {
    let server = server();
    let endpoint = server.endpoint().replace("http:", "https:");
    let hub = Hub::new(HubSettings { endpoint: endpoint.clone(), ..server.settings() });
    check(&hub, ID, &[&format!("{endpoint} can't be reached"), "HF_ENDPOINT"]);
    assert_eq!(server.requests(), [""; 0], "no plain request");
}

#[test]
fn an_answer_that_is_no_hubs_is_refused() {
    let server = server();
    server.fault("/api/", 1, Fault::Status(200, ""));
    check(&server.hub(), ID, &["no listing of a repository", "HF_ENDPOINT must name a hub"]);
    server.fault("/api/", 1, Fault::Status(418, ""));
    check(&server.hub(), ID, &["status 418"]);
}
