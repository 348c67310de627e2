//! A stand-in for Terraform's provider `hashicorp/external`, which not every machine that runs the tests can get. It has
//! the data source of that name, over Terraform's plugin protocol 5
//! (<https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol>), in the few messages that a plan needs.
//! It treats the program as the provider's page says.
//! <https://registry.terraform.io/providers/hashicorp/external/latest/docs/data-sources/external>

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, server};
use http::{HeaderMap, Request, Response};
use serde_json::{Map, Value, json};
use tokio::net::{UnixListener, UnixStream};

/// The variable that tells a newly started test binary to be the provider.
const ROLE: &str = "MUSTER_TEST_STANDS_IN_FOR_EXTERNAL";
/// The test that is the provider then. Without the variable it does nothing.
const TEST: &str = "support::external::serve";

/// Puts the stand-in into a mirror of providers.
pub fn install(mirror: &Path) {
    let system = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let folder = mirror.join("registry.terraform.io/hashicorp/external/2.3.5").join(format!("{system}_{processor}"));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("terraform-provider-external_v2.3.5");
    let own = std::env::current_exe().expect("the test's own path");
    // Terraform reads the first line of standard output, and the test harness would write there, too.
    let script = format!("#!/bin/sh\nexec 3>&1 >/dev/null\nexec env {ROLE}=yes '{}' --exact {TEST} --nocapture\n", own.display());
    fs::write(&file, script).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it can be executed");
}

/// If this process was started as the provider, it serves until Terraform ends it.
#[tokio::test]
async fn serve() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("socket");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let mut terraform = fs::File::options().write(true).open("/dev/fd/3").expect("the way to Terraform");
    writeln!(terraform, "1|5|unix|{}|grpc", socket.display()).expect("Terraform reads");
    drop(terraform);
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(connection(socket));
    }
}

async fn connection(socket: UnixStream) {
    let Ok(mut http) = server::handshake(socket).await else { return };
    while let Some(Ok((request, respond))) = http.accept().await {
        tokio::spawn(async { drop(answer(request, respond).await) });
    }
}

/// Answers by gRPC: each message has five bytes in front, and the status comes last.
async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    let response = Response::builder().header("content-type", "application/grpc");
    let method = head.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    if !["GetSchema", "PrepareProviderConfig", "ValidateDataSourceConfig", "Configure", "ReadDataSource", "Stop", "Shutdown"]
        .contains(&method.as_str())
    {
        let unimplemented = response.header("grpc-status", "12").body(()).expect("a response");
        return respond.send_response(unimplemented, true).map(drop);
    }
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let said = match method.as_str() {
        "GetSchema" => schemas(),
        "ReadDataSource" => read(message.get(5..).unwrap_or_default()),
        "Shutdown" => std::process::exit(0),
        _ => Vec::new(),
    };
    let mut frame = vec![0];
    frame.extend(u32::try_from(said.len()).expect("a short answer").to_be_bytes());
    frame.extend(said);
    let mut stream = respond.send_response(response.body(()).expect("a response"), false)?;
    stream.send_data(frame.into(), false)?;
    stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().expect("a name"), "0".parse().expect("a value"))]))
}

fn schemas() -> Vec<u8> {
    let attribute = |name: &str, kind: Value, is: u8| {
        [bytes(1, name.as_bytes()), bytes(2, kind.to_string().as_bytes()), vec![is << 3, 1]].concat()
    };
    const REQUIRED: u8 = 4;
    const OPTIONAL: u8 = 5;
    const COMPUTED: u8 = 6;
    let attributes = [
        attribute("id", json!("string"), COMPUTED),
        attribute("program", json!(["list", "string"]), REQUIRED),
        attribute("query", json!(["map", "string"]), OPTIONAL),
        attribute("result", json!(["map", "string"]), COMPUTED),
        attribute("working_dir", json!("string"), OPTIONAL),
    ];
    let block: Vec<u8> = attributes.iter().flat_map(|attribute| bytes(2, attribute)).collect();
    let source = [bytes(1, b"external"), bytes(2, &bytes(2, &block))].concat();
    [bytes(1, &bytes(2, &[])), bytes(3, &source)].concat()
}

/// Runs the program. The query is its input, and the result is its output. If it fails, what it said is the error.
fn read(request: &[u8]) -> Vec<u8> {
    let config = field(request, 2).and_then(|value| field(value, 1)).expect("a configuration");
    let mut state = unpacked(&mut &*config);
    let words: Vec<&str> = state["program"].as_array().expect("a program").iter().filter_map(Value::as_str).collect();
    let mut command = Command::new(words[0]);
    let started = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let failed = |detail: String| {
        bytes(2, &[vec![1 << 3, 1], bytes(2, b"External Program Execution Failed"), bytes(3, detail.as_bytes())].concat())
    };
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return failed(format!("Program: {}\nError: {error}", words[0])),
    };
    let query = if state["query"].is_null() { json!({}) } else { state["query"].clone() };
    child.stdin.take().expect("stdin is piped").write_all(query.to_string().as_bytes()).ok();
    let output = child.wait_with_output().expect("the program ends");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return failed(format!("Program: {}\nError Message: {said}\nState: {}", words[0], output.status));
    }
    match serde_json::from_slice::<Map<String, Value>>(&output.stdout) {
        Ok(result) if result.values().all(Value::is_string) => {
            (state["id"], state["result"]) = (json!("-"), result.into());
            bytes(1, &bytes(2, state.to_string().as_bytes()))
        }
        _ => failed(format!("the program's output is no JSON object of texts: {}", String::from_utf8_lossy(&output.stdout))),
    }
}

// ------------------------------------------------------------------------------------------- protocol buffers, MessagePack

/// Encodes a field of bytes.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let (mut field, mut length) = (vec![number << 3 | 2], value.len());
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).expect("seven bits"));
    field.extend_from_slice(value);
    field
}

/// The first field with this number. Up to it, the message must have only fields of bytes.
fn field(mut message: &[u8], number: u8) -> Option<&[u8]> {
    while let [tag, rest @ ..] = message {
        let (mut length, mut used) = (0, 0);
        for byte in rest {
            length |= usize::from(byte & 0x7f) << (7 * used);
            used += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let value = rest.get(used..used + length)?;
        if *tag == number << 3 | 2 {
            return Some(value);
        }
        message = &rest[used + length..];
    }
    None
}

fn unpacked(from: &mut &[u8]) -> Value {
    fn size(from: &mut &[u8], bytes: usize) -> usize {
        let (number, rest) = from.split_at(bytes);
        *from = rest;
        number.iter().fold(0, |all, byte| all << 8 | usize::from(*byte))
    }
    fn text(from: &mut &[u8], length: usize) -> Value {
        let (text, rest) = from.split_at(length);
        *from = rest;
        String::from_utf8_lossy(text).into()
    }
    fn list(from: &mut &[u8], length: usize) -> Value {
        (0..length).map(|_| unpacked(from)).collect()
    }
    fn map(from: &mut &[u8], length: usize) -> Value {
        let entry = |_| (unpacked(from).as_str().expect("a key").to_owned(), unpacked(from));
        Value::Object((0..length).map(entry).collect())
    }
    let kind = size(from, 1);
    match kind {
        0x80..=0x8f => map(from, kind & 0x0f),
        0x90..=0x9f => list(from, kind & 0x0f),
        0xa0..=0xbf => text(from, kind & 0x1f),
        0xc0 => Value::Null,
        0xd9..=0xdb => {
            let length = size(from, 1 << (kind - 0xd9));
            text(from, length)
        }
        0xdc | 0xdd => {
            let length = size(from, 2 << (kind - 0xdc));
            list(from, length)
        }
        0xde | 0xdf => {
            let length = size(from, 2 << (kind - 0xde));
            map(from, length)
        }
        _ => panic!("{kind:#x} is in no configuration of this data source"),
    }
}
