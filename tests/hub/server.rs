//! A hub on loopback: the requests the real one answers, its headers, its redirects, its faults.
//!
//! Large files are redirected to a "CDN", which goes by another name of the same machine, so that a
//! token that is sent on to it is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use diapason::fingerprint::sha256;
use diapason::hub::{Hub, HubSettings};
use serde_json::json;

/// What the id of every test is.
pub(crate) const ID: &str = "ada/tiny";
/// The commit that `main` stands for.
pub(crate) const COMMIT: &str = "1111111111111111111111111111111111111111";
/// Another commit.
pub(crate) const OTHER: &str = "2222222222222222222222222222222222222222";

type Files = BTreeMap<String, Vec<u8>>;

/// What goes wrong.
#[derive(Clone)]
pub(crate) enum Fault {
    /// An answer without a body, with this status and `x-error-code`.
    Status(u16, &'static str),
    /// The connection ends after so many bytes of the body.
    Cut(usize),
    /// The second half of the body comes so much later.
    Late(Duration),
    /// The last byte is another.
    Flip,
    /// All of the file comes, whatever range was asked for.
    WholeFile,
}

#[derive(Default)]
struct State {
    port: u16,
    revisions: BTreeMap<String, String>,
    commits: BTreeMap<String, Files>,
    /// Which requests go wrong, how often, and how.
    faults: Vec<(&'static str, usize, Fault)>,
    token: Option<&'static str>,
    /// How long the second half of the body now being answered takes.
    late: Duration,
    log: Vec<String>,
}

pub(crate) struct Server {
    state: Arc<Mutex<State>>,
    cache: tempfile::TempDir,
    port: u16,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
}

impl Server {
    /// A hub with one model, whose `main` has these files.
    pub(crate) fn new(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { port, ..State::default() }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that hangs up early is what some tests are about.
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        let server = Self { state, cache: tempfile::tempdir().unwrap(), port };
        server.commit("main", COMMIT, files);
        server
    }

    /// A hub that has the files of a folder.
    pub(crate) fn of_folder(folder: &Path) -> Self {
        let server = Self::new(&[]);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let bytes = fs::read(path).unwrap();
            server.state.lock().unwrap().commits.get_mut(COMMIT).unwrap().insert(name, bytes);
        }
        server
    }

    /// Lets a revision stand for a new commit.
    pub(crate) fn commit(&self, revision: &str, commit: &str, files: &[(&str, &[u8])]) {
        let mut state = self.state.lock().unwrap();
        state.revisions.insert(revision.to_owned(), commit.to_owned());
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        state.commits.insert(commit.to_owned(), files);
    }

    /// The next `times` requests whose first line has `on` in it go wrong.
    pub(crate) fn fault(&self, on: &'static str, times: usize, fault: Fault) {
        self.state.lock().unwrap().faults.push((on, times, fault));
    }

    /// From now on nothing is told to whoever has not this token.
    pub(crate) fn only_for(&self, token: &'static str) {
        self.state.lock().unwrap().token = Some(token);
    }

    /// The requests since the last call of this, each with its range.
    pub(crate) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `HF_HOME` of a test's own.
    pub(crate) fn home(&self) -> &Path {
        self.cache.path()
    }

    pub(crate) fn settings(&self) -> HubSettings {
        HubSettings {
            endpoint: self.endpoint(),
            cache: self.home().join("hub"),
            token: None,
            offline: false,
            back_off: Duration::from_millis(1),
        }
    }

    pub(crate) fn hub(&self) -> Hub {
        Hub::new(self.settings())
    }

    /// The folder of the one model in the cache.
    pub(crate) fn cached(&self) -> std::path::PathBuf {
        self.home().join("hub/models--ada--tiny")
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some((first, headers)) = lines.split_first() else { return Ok(()) };
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers = headers.iter().filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let request = Request { method, path, headers };
    let (head, body, late) = {
        let mut state = state.lock().unwrap();
        let (head, body) = answer(&request, &mut state);
        (head, body, std::mem::take(&mut state.late))
    };
    let (first, second) = body.split_at(body.len() / 2);
    stream.write_all(head.as_bytes())?;
    stream.write_all(first)?;
    thread::sleep(late);
    stream.write_all(second)
}

/// Head and body of the answer; a body that is cut is shorter than its head says.
fn answer(request: &Request, state: &mut State) -> (String, Vec<u8>) {
    let range = request.headers.get("range").map(|range| format!(" {range}")).unwrap_or_default();
    state.log.push(format!("{} {}{range}", request.method, request.path));
    let line = format!("{} {}", request.method, request.path);
    let fault = state.faults.iter_mut().find(|(on, times, _)| *times > 0 && line.contains(on));
    let fault = fault.map(|(_, times, fault)| {
        *times -= 1;
        fault.clone()
    });
    if let Some(Fault::Status(status, code)) = fault {
        return refuse(status, code);
    }
    if let Some(Fault::Late(late)) = fault {
        state.late = late;
    }
    let path = request.path.split('?').next().unwrap();
    let authorized = request.headers.get("authorization").map(String::as_str);
    if path.starts_with("/cdn/") && authorized.is_some() {
        return refuse(400, "TheTokenWasSentOn");
    }
    let wanted = state.token.map(|token| format!("Bearer {token}"));
    if !path.starts_with("/cdn/") && wanted.is_some() && wanted.as_deref() != authorized {
        return refuse(401, "RepoNotFound");
    }
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api", "whoami-v2"] => body("application/json", "", b"{}"),
        ["api", "models", owner, name, "revision", revision] if format!("{owner}/{name}") == ID => {
            listing(state, &revision.replace("%2F", "/"))
        }
        [owner, name, "resolve", revision, file] if format!("{owner}/{name}") == ID => {
            resolve(state, request, revision, file, fault.as_ref())
        }
        ["cdn", hash] => {
            let file = state.commits.values().flat_map(BTreeMap::values).find(|bytes| digest(bytes) == *hash);
            file.map_or_else(|| refuse(404, ""), |bytes| content(request, bytes, "", fault.as_ref()))
        }
        _ => refuse(404, "RepoNotFound"),
    }
}

fn commit_of(state: &State, revision: &str) -> Option<String> {
    let known = state.commits.contains_key(revision).then(|| revision.to_owned());
    known.or_else(|| state.revisions.get(revision).cloned())
}

fn listing(state: &State, revision: &str) -> (String, Vec<u8>) {
    let Some(commit) = commit_of(state, revision) else {
        return refuse(404, "RevisionNotFound");
    };
    let siblings: Vec<_> = state.commits[&commit]
        .iter()
        .map(|(name, bytes)| {
            let (hash, size) = (digest(bytes), bytes.len());
            // Git's own hash is SHA-1; any name of that length does.
            let mut file = json!({ "rfilename": name, "size": size, "blobId": hash[..40] });
            if is_large(name) {
                file["lfs"] = json!({ "sha256": hash, "size": size, "pointerSize": 134 });
            }
            file
        })
        .collect();
    let text = json!({ "id": ID, "sha": commit, "gated": false, "siblings": siblings }).to_string();
    body("application/json", "", text.as_bytes())
}

fn resolve(
    state: &State,
    request: &Request,
    revision: &str,
    file: &str,
    fault: Option<&Fault>,
) -> (String, Vec<u8>) {
    let Some(commit) = commit_of(state, revision) else {
        return refuse(404, "RevisionNotFound");
    };
    let Some(bytes) = state.commits[&commit].get(file) else {
        return refuse(404, "EntryNotFound");
    };
    let hash = digest(bytes);
    if is_large(file) {
        let head = format!(
            "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: http://localhost:{}/cdn/{hash}\r\n\
             x-repo-commit: {commit}\r\nx-linked-size: {}\r\nx-linked-etag: \"{hash}\"\r\n\
             content-length: 0\r\n\r\n",
            state.port,
            bytes.len()
        );
        return (head, Vec::new());
    }
    content(request, bytes, &format!("x-repo-commit: {commit}\r\netag: \"{}\"\r\n", &hash[..40]), fault)
}

fn content(request: &Request, bytes: &[u8], headers: &str, fault: Option<&Fault>) -> (String, Vec<u8>) {
    let mut bytes = bytes.to_vec();
    if matches!(fault, Some(Fault::Flip)) {
        *bytes.last_mut().unwrap() ^= 1;
    }
    let range = request.headers.get("range").filter(|_| !matches!(fault, Some(Fault::WholeFile)));
    let start = range.map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap());
    let (mut head, mut sent) = match start {
        Some(start) if start >= bytes.len() => return refuse(416, ""),
        Some(start) => {
            let (end, size) = (bytes.len() - 1, bytes.len());
            let range = format!("content-range: bytes {start}-{end}/{size}\r\n{headers}");
            let (head, body) = body("application/octet-stream", &range, &bytes[start..]);
            (head.replacen("200 OK", "206 Partial Content", 1), body)
        }
        None => body("application/octet-stream", headers, &bytes),
    };
    if let Some(Fault::Cut(length)) = fault {
        sent.truncate(*length);
    }
    if request.method == "HEAD" {
        sent.clear();
    }
    head.insert_str(head.len() - 2, "accept-ranges: bytes\r\n");
    (head, sent)
}

fn body(kind: &str, headers: &str, bytes: &[u8]) -> (String, Vec<u8>) {
    let length = bytes.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    (head, bytes.to_vec())
}

fn refuse(status: u16, code: &str) -> (String, Vec<u8>) {
    let code = if code.is_empty() { String::new() } else { format!("x-error-code: {code}\r\n") };
    let head = format!("HTTP/1.1 {status} No\r\nconnection: close\r\n{code}content-length: 0\r\n\r\n");
    (head, Vec::new())
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors")
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    sha256(file.path()).unwrap()
}
