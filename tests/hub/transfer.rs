//! Transfers that break, and go on.

use std::fs;
use std::ops::ControlFlow;

use diapason::hub::{HubError, HubEvent, HubSpec};

use crate::fetched::{fetch, server, weights};
use crate::server::{Fault, ID, Server, digest};

fn check_whole(server: &Server) {
    let folder = fetch(&server.hub(), ID).unwrap().folder;
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    assert!(!incomplete(server).exists());
}

fn incomplete(server: &Server) -> std::path::PathBuf {
    server.cached().join("blobs").join(format!("{}.incomplete", digest(&weights())))
}

fn ranges(server: &Server) -> Vec<String> {
    server
        .requests()
        .into_iter()
        .filter(|line| line.contains("/cdn/"))
        .map(|line| line.split(' ').nth(2).unwrap_or("all").to_owned())
        .collect()
}

#[test]
fn a_transfer_that_is_cut_goes_on_where_it_stopped() {
    let server = server();
    server.fault("/cdn/", 1, Fault::Cut(250_000));
    check_whole(&server);
    assert_eq!(ranges(&server), ["all", "bytes=250000-"]);
}

#[test]
fn a_transfer_that_is_always_cut_is_told_and_the_next_command_goes_on() {
    let server = server();
    server.fault("/cdn/", 4, Fault::Cut(100_000));
    let error = fetch(&server.hub(), ID).unwrap_err();
    assert!(matches!(error, HubError::Cut { .. }), "{error}");
    for words in ["model.safetensors", "cut after 391 KiB of 586 KiB", "hint: "] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(fs::metadata(incomplete(&server)).unwrap().len(), 400_000);
    assert!(!server.cached().join("refs").exists(), "no revision stands for a half model");
    server.requests();
    check_whole(&server);
    assert_eq!(ranges(&server), ["bytes=400000-"]);
}

#[test]
fn a_hub_that_ignores_the_range_is_read_from_the_start() {
    let server = server();
    server.fault("/cdn/", 1, Fault::Cut(250_000));
    server.fault("/cdn/", 1, Fault::WholeFile);
    check_whole(&server);
}

#[test]
fn errors_of_the_server_are_waited_out() {
    let server = server();
    server.fault("/api/", 2, Fault::Status(500, ""));
    server.fault("/resolve/", 2, Fault::Status(429, ""));
    server.fault("/cdn/", 2, Fault::Status(503, ""));
    check_whole(&server);
    let server = self::server();
    server.fault("/cdn/", 4, Fault::Status(500, ""));
    let error = fetch(&server.hub(), ID).unwrap_err().to_string();
    assert!(error.contains("status 500") && error.contains("goes on from here"), "{error}");
}

#[test]
fn bytes_that_are_not_the_hubs_never_reach_the_cache() {
    let server = server();
    server.fault("/cdn/", 1, Fault::Flip);
    let error = fetch(&server.hub(), ID).unwrap_err();
    assert!(matches!(error, HubError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains(&digest(&weights())), "{error}");
    assert!(!incomplete(&server).exists());
    check_whole(&server);
}

#[test]
fn what_an_earlier_program_left_is_gone_on_with_unless_it_does_not_belong() {
    let right = weights();
    for (left, first) in [
        (right[..1000].to_vec(), "bytes=1000-"),
        (vec![7; 1000], "bytes=1000-"),
        (vec![7; right.len() + 1], "all"),
    ] {
        let server = server();
        fs::create_dir_all(server.cached().join("blobs")).unwrap();
        fs::write(incomplete(&server), left).unwrap();
        check_whole(&server);
        assert_eq!(ranges(&server)[0], first);
    }
    // Whole, but killed before it was renamed: nothing is fetched again.
    let server = server();
    fs::create_dir_all(server.cached().join("blobs")).unwrap();
    fs::write(incomplete(&server), right).unwrap();
    check_whole(&server);
    assert_eq!(ranges(&server), [""; 0]);
}

#[test]
fn whoever_asks_to_stop_keeps_what_has_arrived() {
    let server = server();
    let mut stop = |event: HubEvent<'_>| match event {
        HubEvent::Progress { file: "model.safetensors", .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let spec = HubSpec::parse(ID).unwrap();
    assert!(matches!(server.hub().fetch(&spec, &mut stop), Err(HubError::Interrupted)));
    let arrived = fs::metadata(incomplete(&server)).unwrap().len();
    assert!(arrived > 0);
    server.requests();
    check_whole(&server);
    let first = ranges(&server).into_iter().next();
    assert!(first.is_none() || first == Some(format!("bytes={arrived}-")), "{first:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told() {
    let server = server();
    fs::create_dir_all(server.cached().join("blobs")).unwrap();
    std::os::unix::fs::symlink("/dev/full", incomplete(&server)).unwrap();
    let error = fetch(&server.hub(), ID).unwrap_err();
    assert!(matches!(error, HubError::Disk { .. }), "{error}");
    assert!(error.to_string().contains("free some space"), "{error}");
}

#[test]
fn two_programs_that_fetch_the_same_model_share_the_work() {
    let server = server();
    let fetched: Vec<_> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| fetch(&server.hub(), ID).unwrap())).collect();
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(fetched[0], fetched[1]);
    check_whole(&server);
    assert_eq!(ranges(&server).len(), 1);
}
