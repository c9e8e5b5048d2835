//! Traefik.

use super::{Kind, Role, Setup, can_all, each_rule, word_after};
use crate::failure::Result;
use crate::rows::{Feature, Target};

pub(super) const KIND: Kind = Kind {
    name: "traefik",
    role: Role::Peer,
    cannot: can_all,
    program: "traefik",
    version_argument: "version",
    rewrites_loopback: false,
    version: |output| word_after(output, "Version:"),
    arguments,
};

/// It has as many threads as cores that it may use.
fn arguments(setup: &Setup<'_>) -> Result<Vec<String>> {
    let routes = setup.file("traefik-routes.yaml", &routes(setup))?;
    let mut words = vec![
        format!("--entrypoints.web.address=127.0.0.1:{}", setup.listen),
        format!("--providers.file.filename={routes}"),
        "--global.checknewversion=false".to_owned(),
        "--global.sendanonymoususage=false".to_owned(),
        "--log.level=ERROR".to_owned(),
        "--serverstransport.maxidleconnsperhost=512".to_owned(),
    ];
    if setup.feature == Feature::Log {
        let log = setup.directory.join("access.log");
        words.extend([
            format!("--accesslog.filepath={}", log.display()),
            "--accesslog.format=json".to_owned(),
        ]);
    }
    Ok(words)
}

fn routes(setup: &Setup<'_>) -> String {
    let scheme = match setup.target {
        Target::Http1 => "http",
        Target::Grpc => "h2c",
    };
    let servers =
        setup.each_target(|_, port| format!("          - url: '{scheme}://127.0.0.1:{port}'\n"));
    let (tls, certificates) = if setup.frontend.is_secure() {
        let (cert, key) = (&setup.certificate.cert, &setup.certificate.key);
        (
            "\n      tls: {}",
            format!(
                "tls:\n  stores:\n    default:\n      defaultCertificate: {{certFile: '{cert}', keyFile: '{key}'}}\n"
            ),
        )
    } else {
        ("", String::new())
    };
    let rules = each_rule(setup.feature, |index, path| {
        format!(
            "    rule-{index}:\n      rule: 'PathPrefix(`{path}`)'\n      service: app\n      entryPoints: [web]{tls}\n"
        )
    });
    let sticky = match setup.feature {
        Feature::Sticky => "        sticky: {cookie: {name: target}}\n",
        _ => "",
    };
    // Its checks speak HTTP/1.1 to targets with HTTP/2, too, which those of gRPC do not.
    let check = match setup.target {
        Target::Http1 => "        healthCheck: {path: /health, interval: 5s, timeout: 2s}\n",
        Target::Grpc => "",
    };
    format!(
        "http:
  routers:
{rules}    app:
      rule: 'PathPrefix(`/`)'
      service: app
      entryPoints: [web]{tls}
  services:
    app:
      loadBalancer:
        passHostHeader: true
{sticky}{check}        servers:
{servers}{certificates}"
    )
}
