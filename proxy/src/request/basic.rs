//! HTTP Basic authentication (RFC 7617).
//!
//! A bcrypt hash takes long on purpose, so it is computed on threads of its own, a few at a time.
//! Who was let in once is known again by a keyed digest of the credentials, in a microsecond: a
//! digest, so that no password stays in memory.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use longshore_config as config;
use tokio::sync::Semaphore;

use crate::http1::field::{Field, is};

/// The most hashes that are computed at once, for each list of users. More would take processors
/// from requests that need none.
const AT_ONCE: usize = 2;
/// The most requests that wait for that. A list of wrong passwords must not become a queue.
const WAITING_MAX: usize = 64;
/// The longest password that is looked at, in bytes. bcrypt reads 72.
const PASSWORD_MAX: usize = 1024;

/// Who may come in.
#[derive(Debug)]
pub struct BasicAuth {
    /// The value of `WWW-Authenticate`.
    pub challenge: HeaderValue,
    users: Vec<User>,
    key: hmac::Key,
    permits: Arc<Semaphore>,
    places: Arc<Semaphore>,
    settings: config::BasicAuth,
}

#[derive(Debug)]
struct User {
    name: String,
    hash: config::PasswordHash,
    /// The digest of the credentials that were found right.
    known: OnceLock<hmac::Tag>,
}

/// What credentials are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right.
    Right,
    /// Wrong, or absent.
    Wrong,
    /// Too many wait to be told.
    Busy,
}

/// Credentials that have to be compared with a hash.
#[derive(Debug)]
pub struct Login {
    auth: Arc<BasicAuth>,
    /// The place of the user. None for a name that nobody has.
    user: Option<usize>,
    password: Vec<u8>,
    tag: hmac::Tag,
}

impl BasicAuth {
    /// The users of the file.
    #[must_use]
    pub fn new(settings: &config::BasicAuth) -> Self {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random)
            .expect("the system has random bytes: without them no connection would have a key");
        Self {
            challenge: HeaderValue::try_from(format!(
                "Basic realm=\"{}\", charset=\"UTF-8\"",
                settings.realm
            ))
            .unwrap_or(HeaderValue::from_static("Basic realm=\"Restricted\"")),
            users: settings
                .users
                .iter()
                .map(|(name, hash)| User {
                    name: name.clone(),
                    hash: hash.clone(),
                    known: OnceLock::new(),
                })
                .collect(),
            key,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            settings: settings.clone(),
        }
    }

    /// Whether it is made of these settings.
    #[must_use]
    pub fn is_of(&self, settings: &config::BasicAuth) -> bool {
        self.settings == *settings
    }

    /// What is known of a request's credentials at once.
    ///
    /// # Errors
    /// They have to be compared with a hash.
    pub fn judge(self: &Arc<Self>, fields: &[Field<'_>]) -> Result<Verdict, Login> {
        let mut all = fields
            .iter()
            .filter(|field| is(field.name, "authorization"));
        let (Some(field), None) = (all.next(), all.next()) else {
            return Ok(Verdict::Wrong);
        };
        let Some((name, password)) = credentials(field.value) else {
            return Ok(Verdict::Wrong);
        };
        let user = self
            .users
            .iter()
            .position(|user| user.name.as_bytes() == name);
        let mut context = hmac::Context::with_key(&self.key);
        // A name has no colon, so this means one pair.
        context.update(&name);
        context.update(b":");
        context.update(&password);
        let tag = context.sign();
        let known = user.and_then(|user| self.users[user].known.get());
        if known.is_some_and(|known| verify_slices_are_equal(known.as_ref(), tag.as_ref()).is_ok())
        {
            return Ok(Verdict::Right);
        }
        Err(Login {
            auth: Arc::clone(self),
            user,
            password,
            tag,
        })
    }
}

impl Login {
    /// Compares, on another thread. A name that nobody has takes as long as one that somebody has.
    pub async fn verify(self) -> Verdict {
        let Ok(place) = Arc::clone(&self.auth.places).try_acquire_owned() else {
            return Verdict::Busy;
        };
        let Ok(permit) = Arc::clone(&self.auth.permits).acquire_owned().await else {
            return Verdict::Busy;
        };
        let auth = Arc::clone(&self.auth);
        let (user, password) = (self.user, self.password);
        let compared = tokio::task::spawn_blocking(move || {
            // Nothing ends a hash that is under way, so whoever leaves meanwhile frees no room.
            let _held = (place, permit);
            let hash = auth.users[user.unwrap_or(0)].hash.reveal();
            bcrypt::verify(&password, hash).unwrap_or(false) && user.is_some()
        });
        match compared.await {
            Ok(true) => {
                if let Some(user) = self.user {
                    // Another request may have said the same before.
                    self.auth.users[user].known.get_or_init(|| self.tag);
                }
                Verdict::Right
            }
            Ok(false) => Verdict::Wrong,
            Err(error) => {
                tracing::error!(%error, "a password could not be compared");
                Verdict::Busy
            }
        }
    }
}

/// The name and the password in an Authorization field.
fn credentials(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"basic") {
        return None;
    }
    let pair = STANDARD.decode(rest.trim_ascii()).ok()?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    let (name, password) = (&pair[..colon], &pair[colon + 1..]);
    (password.len() <= PASSWORD_MAX).then(|| (name.to_vec(), password.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Waker};
    use std::time::Duration;

    use super::{AT_ONCE, BasicAuth, Field, WAITING_MAX, credentials};
    use crate::clock;

    #[tokio::test]
    async fn whoever_leaves_before_a_hash_is_done_makes_no_room_for_another() {
        // Of cost 10: some 50 ms and more.
        let settings = r#"
listeners:
  - name: web
    port: 80
    policy: {basic_auth: {users: {ann: "$2b$10$abcdefghijklmnopqrstuug7uV/rfOsuPOAUg70eqWWWMjvHc6jZm"}}}
    default_action: [{type: fixed_response, fixed_response: {content_type: text/plain, status_code: 200}}]
"#;
        let config = longshore_config::parse("test", settings, &|_| None).expect("valid");
        let policy = config.listeners[0].policy.as_ref().expect("there");
        let auth = Arc::new(BasicAuth::new(policy.basic_auth.as_ref().expect("there")));
        let fields = [Field {
            name: "Authorization",
            value: b"Basic YW5uOndyb25n",
        }];
        let mut begun = 0;
        let since = clock::now();
        for _ in 0..4 * AT_ONCE {
            let login = auth.judge(&fields).expect_err("not known");
            let free = auth.permits.available_permits();
            let mut verify = pin!(login.verify());
            assert!(
                verify
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            begun += free - auth.permits.available_permits();
            // And it is dropped here.
        }
        if since.elapsed() < Duration::from_millis(20) {
            assert_eq!(begun, AT_ONCE, "the others wait");
        }
        let deadline = clock::now() + Duration::from_secs(20);
        while auth.permits.available_permits() < AT_ONCE {
            assert!(clock::now() < deadline, "the hashes end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(auth.places.available_permits(), WAITING_MAX);
    }

    #[test]
    fn credentials_are_a_name_and_a_password_that_may_hold_colons() {
        let pair = |name: &str, password: &str| {
            Some((name.as_bytes().to_vec(), password.as_bytes().to_vec()))
        };
        // RFC 7617 §2.
        let got = credentials(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(got, pair("Aladdin", "open sesame"));
        assert_eq!(credentials(b"basic  YTpiOmM="), pair("a", "b:c"));
        assert_eq!(credentials(b"Basic Og=="), pair("", ""));
        for bad in [
            "Basic",
            "Bearer YTpi",
            "Basic YWI=",
            "Basic !",
            "Basic YTpi YTpi",
            "",
        ] {
            assert_eq!(credentials(bad.as_bytes()), None, "{bad}");
        }
    }
}
