//! Files on a volume as Kubernetes mounts a ConfigMap or a Secret, and many tools deploy: each name
//! is a link through `..data` into a folder, and another link comes in the place of `..data`.

use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use longshore_tests::certificates::{Folder, Key};
use longshore_tests::origin::Origin;
use longshore_tests::process::{Process, free_port};
use longshore_tests::wire::Wire;
use longshore_tests::{eventually, secure};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A volume, gone with the test.
struct Volume {
    path: PathBuf,
    updates: Cell<u32>,
}

impl Volume {
    fn new(name: &str, files: &[(&str, String)]) -> Self {
        let name = format!("longshore-mounted-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("made");
        let volume = Self {
            path,
            updates: Cell::new(0),
        };
        volume.update(files);
        for (name, _) in files {
            symlink(format!("..data/{name}"), volume.path.join(name)).expect("linked");
        }
        volume
    }

    /// All files become others at one moment, and the old ones are gone.
    fn update(&self, files: &[(&str, String)]) {
        let number = self.updates.replace(self.updates.get() + 1);
        let folder = |number: u32| self.path.join(format!("..{number}"));
        std::fs::create_dir(folder(number)).expect("made");
        for (name, text) in files {
            std::fs::write(folder(number).join(name), text).expect("written");
        }
        let link = self.path.join("..data_tmp");
        symlink(format!("..{number}"), &link).expect("linked");
        std::fs::rename(&link, self.path.join("..data")).expect("renamed");
        if let Some(old) = number.checked_sub(1) {
            std::fs::remove_dir_all(folder(old)).expect("removed");
        }
    }

    fn file(&self, name: &str) -> String {
        self.path.join(name).to_str().expect("text").to_owned()
    }

    fn run(&self) -> (Process, std::net::SocketAddr) {
        let mut process = Process::start(&["run", "-c", &self.file("longshore.yaml")]);
        let line = process.wait_for_line("listening ");
        let address = line.rsplit(' ').next().and_then(|it| it.parse().ok());
        (process, address.expect("an address"))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.path).unwrap_or_default();
    }
}

#[tokio::test]
async fn a_config_map_that_changes_is_read_and_a_broken_one_changes_nothing() {
    let origins = [Origin::ok("old").await, Origin::ok("new").await];
    let port = free_port();
    let text = |target: &Origin| {
        format!(
            "runtime: {{reload_on_change: true}}
listeners: [{{name: web, address: '127.0.0.1:{port}', default_action: [{{type: forward, target_group: app}}]}}]
target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]
",
            target.address.port()
        )
    };
    let files = |text: String| [("longshore.yaml", text)];
    let volume = Volume::new("config", &files(text(&origins[0])));
    let (mut process, address) = volume.run();
    let mut client = Wire::connect(address).await;
    assert_eq!(client.get("/").await.text(), "old");
    volume.update(&files("listeners: 5\n".to_owned()));
    process.wait_for_line("the configuration stays as it was");
    assert_eq!(client.get("/").await.text(), "old");
    for (origin, expected) in [(&origins[1], "new"), (&origins[0], "old")] {
        volume.update(&files(text(origin)));
        process.wait_for_line("reloaded");
        assert_eq!(client.get("/").await.text(), expected, "no connection less");
    }
}

#[tokio::test]
async fn a_certificate_and_its_key_change_together_in_a_secret() {
    let origin = Origin::ok("hello").await;
    let made = Folder::default();
    let pairs = ["a", "b", "c"].map(|name| {
        made.make(name, &["site.test"], Key::Ecdsa, 30);
        ["pem", "key"].map(|end| {
            let path = made.path(&format!("{name}.{end}"));
            std::fs::read_to_string(path).expect("read")
        })
    });
    let config = |volume: &str| {
        format!(
            "listeners:
  - name: web
    address: 127.0.0.1:{}
    protocol: HTTPS
    certificates: [{{cert: '{volume}/tls.crt', key: '{volume}/tls.key'}}]
    default_action: [{{type: forward, target_group: app}}]
target_groups: [{{name: app, targets: [{{address: 127.0.0.1, port: {}}}], health_check: {{enabled: false}}}}]
",
            free_port(),
            origin.address.port()
        )
    };
    let files = |pair: &[String; 2]| {
        let [cert, key] = pair.clone();
        [("tls.crt", cert), ("tls.key", key)]
    };
    let secret = Volume::new("secret", &files(&pairs[0]));
    let text = config(secret.path.to_str().expect("text"));
    let settings = Volume::new("settings", &[("longshore.yaml", text)]);
    let (_process, address) = settings.run();
    let shown = async || {
        let stream = secure::connect(address, "site.test", &["http/1.1"]).await;
        let chain = stream.get_ref().1.peer_certificates().expect("one");
        chain[0].clone().into_owned()
    };
    let of = |pair: &[String; 2]| {
        CertificateDer::from_pem_slice(pair[0].as_bytes()).expect("a certificate")
    };
    assert_eq!(shown().await, of(&pairs[0]));
    let mut open = secure::connect(address, "site.test", &["http/1.1"]).await;
    for pair in [&pairs[1], &pairs[2], &pairs[0]] {
        secret.update(&files(pair));
        eventually("the other certificate is served", async || {
            (shown().await == of(pair)).then_some(())
        })
        .await;
    }
    open.write_all(b"GET / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");
    let mut got = Vec::new();
    open.read_to_end(&mut got).await.expect("read");
    assert!(got.ends_with(b"hello"), "who was connected goes on");
}
