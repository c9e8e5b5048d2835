//! A browser and Node: headless Chromium over HTTP/2, Node's own WebSocket and HTTP/2 clients, and
//! the library ws. Left out, with a word, where the programs are not installed.

use std::process::{Command, Stdio};
use std::time::Duration;

use longshore_tests::balancer::{fixed, start};
use longshore_tests::certificates::{Folder, Key};
use longshore_tests::origin::{Origin, read, response};
use longshore_tests::python::Peer;
use longshore_tests::{websocket, within};

const LIMIT: Duration = Duration::from_secs(120);

/// What a program prints. None if it is not installed.
async fn output(program: &'static str, arguments: Vec<String>) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    // Long: it may start for the first time, beside tests that leave it little of the machine.
    let run = tokio::time::timeout(LIMIT, run).await;
    let run = run.unwrap_or_else(|_| panic!("{program} does not end within {LIMIT:?}"));
    match run.expect("no panic") {
        Ok(output) => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let (out, err) = (text(&output.stdout), text(&output.stderr));
            assert!(output.status.success(), "{program}: {out}\n{err}");
            Some(out)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("not looked at: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// What a target proves with that it has read a key (RFC 6455 §4.2.2), by OpenSSL.
fn accept(key: &str) -> String {
    let pipe = "printf %s \"$0\" | openssl dgst -sha1 -binary | openssl base64";
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let output = Command::new("sh").args(["-c", pipe, &text]).output();
    let output = output.expect("openssl is needed for this test").stdout;
    String::from_utf8_lossy(&output).trim().to_owned()
}

const PAGE: &str = "<p id=p></p><script>const [page] = performance.getEntriesByType('navigation');\
                    p.textContent = 'came over ' + page.nextHopProtocol;</script>";

#[tokio::test(flavor = "multi_thread")]
async fn chromium_loads_a_page_over_http2() {
    let folder = Folder::default();
    folder.make("site", &["site.test"], Key::Ecdsa, 30);
    let origin = Origin::http(|_| {
        let length = PAGE.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{PAGE}"
        )
        .into()
    })
    .await;
    let (cert, key) = (folder.path("site.pem"), folder.path("site.key"));
    let text = fixed(&[origin.address], "health_check: {enabled: false}", "").replacen(
        "name: web\n",
        &format!(
            "name: web\n    protocol: HTTPS\n    certificates: [{{cert: {cert}, key: {key}}}]\n"
        ),
        1,
    );
    let running = start(&text).await;
    let profile = format!("--user-data-dir={}", folder.path("profile"));
    let url = format!("https://{}/", running.address());
    let arguments = words(&[
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--ignore-certificate-errors",
        &profile,
        "--dump-dom",
        &url,
    ]);
    let Some(dom) = output("chromium", arguments).await else {
        return;
    };
    assert!(dom.contains("came over h2"), "{dom}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_websocket_and_http2_clients_are_served() {
    let origin = Origin::raw(|mut wire| async move {
        while let Some(request) = read(&mut wire).await {
            if request.head.get("upgrade").is_none() {
                wire.send(response(200, "plain")).await;
                continue;
            }
            let asked = request.head.get("sec-websocket-key").unwrap_or_default();
            let agreed = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                accept(asked)
            );
            wire.send(agreed).await;
            while let Ok(came) = websocket::read(&mut wire).await {
                wire.send(websocket::frame(came.first, false, &came.content)).await;
            }
            return;
        }
    })
    .await;
    let running = start(&fixed(
        &[origin.address],
        "health_check: {enabled: false}",
        "",
    ))
    .await;
    let address = running.address();
    let script = format!(
        "const socket = new WebSocket('ws://{address}/');\
         socket.onopen = () => socket.send('hello');\
         socket.onmessage = event => {{ console.log(event.data); socket.close(1000); }};\
         socket.onclose = event => console.log(event.code, event.wasClean);\
         socket.onerror = event => {{ console.log(event.message); process.exit(1); }};"
    );
    let arguments = words(&["--no-warnings", "--experimental-websocket", "-e", &script]);
    let Some(said) = output("node", arguments).await else {
        return;
    };
    assert_eq!(said, "hello\n1000 true\n");
    let script = format!(
        "const client = require('http2').connect('http://{address}');\
         const request = client.request({{':path': '/'}});\
         let body = '';\
         request.on('response', head => console.log(head[':status']));\
         request.on('data', data => body += data);\
         request.on('end', () => {{ console.log(body); client.close(); }});"
    );
    let said = output("node", words(&["-e", &script])).await;
    assert_eq!(said.as_deref(), Some("200\nplain\n"));
}

/// The library `ws`, as a program of ours uses it. None where it is not installed.
fn ws(arguments: &[&str]) -> Option<Peer> {
    // Past the test harness, which swallows what passing tests print.
    if std::env::var_os("LONGSHORE_BROWSER").is_none() {
        eprintln!("left out: LONGSHORE_BROWSER is not set; see tests/README.md");
        return None;
    }
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/websocket.mjs");
    Some(Peer::of(Command::new("node").arg(script).args(arguments)))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_ws_library_talks_through_the_balancer_compressed_and_not() {
    let Some(mut server) = ws(&["server"]) else {
        return;
    };
    let line = server.line();
    let at = line.strip_prefix("listening ");
    let at = at.and_then(|at| at.parse().ok()).expect("an address");
    let running = start(&fixed(&[at], "health_check: {enabled: false}", "")).await;
    let url = format!("ws://{}/", running.address());
    let talked = tokio::task::spawn_blocking(move || {
        let mut client = ws(&["client", &url]).expect("as before");
        let said: Vec<String> = std::iter::from_fn(|| Some(client.line()))
            .take_while(|line| !line.is_empty())
            .collect();
        let ended = client.process.wait().expect("it ends");
        assert!(ended.success(), "{said:?}");
        said
    });
    let said = within("a talk", talked).await.expect("no panic");
    let told = format!(
        "{{\"host\":\"{}\",\"source\":\"127.0.0.1\"}}",
        running.address()
    );
    let once = [told, "closed 4001 as you wish".to_owned()];
    assert_eq!(said, [once.clone(), once].concat());
}
