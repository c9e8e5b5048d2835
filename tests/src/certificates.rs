//! Certificates for tests, made by the `openssl` command, and what it and `curl` say of a server.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder with certificates, gone with the test.
pub struct Folder(PathBuf);

/// What a certificate's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA of 2048 bits.
    Rsa,
}

impl Default for Folder {
    fn default() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "longshore-certificates-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("made");
        Self(path)
    }
}

impl Folder {
    /// The path of a file in it.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    /// Makes `NAME.pem` and `NAME.key`, which signs itself and is for these names. `days` may be
    /// negative for one that has expired.
    pub fn make(&self, name: &str, hosts: &[&str], key: Key, days: i32) {
        let names: Vec<String> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
        let subject = format!("/CN={}", hosts.first().unwrap_or(&name));
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        let (cert, own, request, extra) = (file("pem"), file("key"), file("csr"), file("ext"));
        let text = format!("subjectAltName={}\n", names.join(","));
        std::fs::write(&extra, text).expect("written");
        let mut arguments = vec!["req", "-new", "-nodes"];
        arguments.extend(new_key(key));
        arguments.extend(["-keyout", &own, "-out", &request, "-subj", &subject]);
        openssl(&arguments);
        let days = days.to_string();
        openssl(&[
            "x509", "-req", "-in", &request, "-signkey", &own, "-out", &cert, "-extfile", &extra,
            "-days", &days,
        ]);
    }

    /// Makes an authority, `NAME.pem` and `NAME.key`.
    pub fn authority(&self, name: &str) {
        let subject = format!("/O=Tests/CN={name}");
        let mut arguments = vec!["req", "-x509", "-nodes"];
        arguments.extend(new_key(Key::Ecdsa));
        let (cert, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        arguments.extend(["-keyout", &key, "-out", &cert, "-subj", &subject]);
        arguments.extend([
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
            "-days",
            "30",
        ]);
        openssl(&arguments);
    }

    /// Makes `NAME.pem` and `NAME.key`, signed by an authority. `usage` is an extended key usage.
    pub fn issue(&self, authority: &str, name: &str, subject: &str, usage: &str, days: i32) {
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        let (cert, key, request, extra) = (file("pem"), file("key"), file("csr"), file("ext"));
        let text = format!("extendedKeyUsage={usage}\nsubjectAltName=DNS:{name}.test\n");
        std::fs::write(&extra, text).expect("written");
        let mut arguments = vec!["req", "-new", "-nodes"];
        arguments.extend(new_key(Key::Ecdsa));
        arguments.extend(["-keyout", &key, "-out", &request, "-subj", subject]);
        openssl(&arguments);
        let ca = self.path(&format!("{authority}.pem"));
        let ca_key = self.path(&format!("{authority}.key"));
        if days > 0 {
            let days = days.to_string();
            openssl(&[
                "x509",
                "-req",
                "-in",
                &request,
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-CAcreateserial",
                "-out",
                &cert,
                "-extfile",
                &extra,
                "-days",
                &days,
            ]);
            return;
        }
        // One that was valid once.
        let (index, serial, settings) = (file("index"), file("serial"), file("conf"));
        std::fs::write(&index, "").expect("written");
        std::fs::write(&serial, "77\n").expect("written");
        let folder = self.path("");
        let text = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={index}\nserial={serial}\nnew_certs_dir={folder}\n\
             default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
        );
        std::fs::write(&settings, text).expect("written");
        openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            &settings,
            "-cert",
            &ca,
            "-keyfile",
            &ca_key,
            "-in",
            &request,
            "-out",
            &cert,
            "-extfile",
            &extra,
            "-startdate",
            "200101000000Z",
            "-enddate",
            "210101000000Z",
        ]);
    }

    /// Makes `NAME`, an authority's list of revoked certificates, with these in it.
    pub fn revoke(&self, authority: &str, name: &str, revoked: &[&str]) {
        let index = self.path(&format!("{name}.index"));
        std::fs::write(&index, "").expect("written");
        let number = self.path(&format!("{name}.number"));
        std::fs::write(&number, "01\n").expect("written");
        let settings = self.path(&format!("{name}.conf"));
        let text = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ncrlnumber={number}\ndefault_md=sha256\n\
             default_crl_days=30\ncrl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid:always\n"
        );
        std::fs::write(&settings, text).expect("written");
        let ca = self.path(&format!("{authority}.pem"));
        let key = self.path(&format!("{authority}.key"));
        let common = ["ca", "-config", &settings, "-cert", &ca, "-keyfile", &key];
        for one in revoked {
            let cert = self.path(&format!("{one}.pem"));
            openssl(&[&common[..], &["-revoke", &cert]].concat());
        }
        let out = self.path(name);
        openssl(&[&common[..], &["-gencrl", "-out", &out]].concat());
    }

    /// Puts a certificate and its key under another name, each at once.
    pub fn put(&self, from: &str, to: &str) {
        for end in ["key", "pem"] {
            let staged = self.path("staged");
            std::fs::copy(self.path(&format!("{from}.{end}")), &staged).expect("copied");
            std::fs::rename(&staged, self.path(&format!("{to}.{end}"))).expect("renamed");
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

fn new_key(key: Key) -> Vec<&'static str> {
    match key {
        Key::Ecdsa => vec!["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        Key::Rsa => vec!["-newkey", "rsa:2048"],
    }
}

/// Runs `openssl`, which must succeed.
fn openssl(arguments: &[&str]) {
    let output = run("openssl", arguments);
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Runs a program without input.
#[must_use]
pub fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"))
}

/// What `openssl s_client` says when it connects and asks for `/` without keeping the connection.
#[must_use]
pub fn s_client(address: SocketAddr, arguments: &[&str]) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-ign_eof", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is needed for this test");
    let mut input = child.stdin.take().expect("piped");
    // A client whose handshake failed may be gone.
    drop(input.write_all(b"GET / HTTP/1.0\r\n\r\n"));
    drop(input);
    let output = child.wait_with_output().expect("ended");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// What `curl` gets of `https://HOST/` at an address: its output, and whether it was satisfied.
/// `-i`, a time limit and `--http1.1` are among its arguments; a later `--http2` counts instead.
#[must_use]
pub fn curl(address: SocketAddr, host: &str, arguments: &[&str]) -> (String, bool) {
    let port = address.port();
    let resolve = format!("{host}:{port}:{}", address.ip());
    let url = format!("https://{host}:{port}/");
    let all = [
        &["-sSi", "-m", "15", "--http1.1", "--resolve", &resolve, &url][..],
        arguments,
    ]
    .concat();
    let output = run("curl", &all);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (text, output.status.success())
}
