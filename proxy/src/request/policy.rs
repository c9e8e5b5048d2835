//! What listeners and rules do to requests and responses besides an action. Absent where nothing is
//! done, so that a request without it pays a look at an `Option`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use super::answer::{Answer, Reason};
use super::basic::{BasicAuth, Login, Verdict};
use super::compress::{Coding, Compression};
use super::cors::{Cors, Meaning};
use super::edits::Edits;
use super::networks::Networks;
use super::rate::RateLimit;
use super::rules::Facts;

/// What holds for all requests of a rule, made with the snapshot.
#[derive(Debug, Default)]
pub struct Policy {
    /// Who gets through.
    pub access: Access,
    /// How many requests.
    pub rate_limit: Option<Arc<RateLimit>>,
    /// Cross-origin requests.
    pub cors: Option<Cors>,
    /// Names and passwords.
    pub basic_auth: Option<Arc<BasicAuth>>,
    /// The largest request body.
    pub body_limit: Option<u64>,
    /// Compression of responses.
    pub compression: Option<Compression>,
    /// Done to each request.
    pub request: Option<Edits>,
    /// Done to each response, of targets and of our own.
    pub response: Option<Edits>,
}

/// Which clients get through, by their address.
#[derive(Debug, Default)]
pub struct Access {
    /// None: all that are not denied.
    pub allow: Option<Networks>,
    /// Denied, also if they are allowed.
    pub deny: Option<Networks>,
}

impl Access {
    fn admits(&self, address: IpAddr) -> bool {
        let denied = self.deny.as_ref().is_some_and(|deny| deny.contain(address));
        !denied
            && self
                .allow
                .as_ref()
                .is_none_or(|allow| allow.contain(address))
    }
}

/// A policy and what it makes of one request.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) policy: Arc<Policy>,
    /// What is done to its response, if that is not the same for all.
    edits: Option<Edits>,
    /// What its client likes best of what may be done to the response.
    coding: Option<Coding>,
    /// Credentials that are still to be compared.
    pub(crate) login: Option<Box<Login>>,
}

impl Terms {
    /// Nothing of the request is known yet.
    pub(crate) fn new(policy: &Arc<Policy>) -> Self {
        Self {
            policy: Arc::clone(policy),
            edits: None,
            coding: None,
            login: None,
        }
    }

    /// What is done to the response.
    pub(crate) fn response_edits(&self) -> Option<&Edits> {
        self.edits.as_ref().or(self.policy.response.as_ref())
    }

    /// How the response is compressed if it may be, and for which client.
    pub(crate) fn compression(&self) -> Option<(&Compression, Option<Coding>)> {
        let compression = self.policy.compression.as_ref()?;
        Some((compression, self.coding))
    }

    /// Looks at a request, in this order: the client's address; cross-origin requests, because
    /// preflight requests have no credentials and are no work; how many requests; credentials, so
    /// that guesses are counted; the length of the body. `now` is in microseconds since the start.
    ///
    /// # Errors
    /// The answer, if its action is not to be taken.
    pub(crate) fn judge(
        &mut self,
        facts: &Facts<'_>,
        length: Option<u64>,
        now: u64,
    ) -> Result<(), Answer> {
        let policy = Arc::clone(&self.policy);
        if !policy.access.admits(facts.source) {
            return Err(Answer::error(Reason::SourceIpDenied));
        }
        if let Some(cors) = &policy.cors {
            let (is_preflight, edits) = match cors.judge(facts) {
                Meaning::Preflight(edits) => (true, edits),
                Meaning::Request(edits) => (false, edits),
            };
            self.edits = Some(match &policy.response {
                Some(response) => edits.after(response),
                None => edits,
            });
            if is_preflight {
                return Err(Answer::preflight());
            }
        }
        if let Some(compression) = &policy.compression {
            self.coding = compression.negotiate(facts.fields);
        }
        if let Some(limit) = &policy.rate_limit {
            limit.take(facts, now).map_err(|wait| {
                let answer = Answer::error(Reason::RateLimited);
                answer.with("retry-after", HeaderValue::from(seconds(wait)))
            })?;
        }
        if let Some(auth) = &policy.basic_auth {
            match auth.judge(facts.fields) {
                Ok(verdict) => self.admit(verdict)?,
                Err(login) => self.login = Some(Box::new(login)),
            }
        }
        match (policy.body_limit, length) {
            (Some(limit), Some(length)) if length > limit => {
                Err(Answer::error(Reason::RequestBodyTooLarge))
            }
            _ => Ok(()),
        }
    }

    /// What comes of credentials.
    ///
    /// # Errors
    /// The answer, unless they are right.
    pub(crate) fn admit(&self, verdict: Verdict) -> Result<(), Answer> {
        match verdict {
            Verdict::Right => Ok(()),
            Verdict::Wrong => {
                let answer = Answer::error(Reason::Unauthorized);
                Err(match &self.policy.basic_auth {
                    Some(auth) => answer.with("www-authenticate", auth.challenge.clone()),
                    None => answer,
                })
            }
            Verdict::Busy => Err(Answer::error(Reason::AuthenticationBusy)
                .with("retry-after", HeaderValue::from_static("1"))),
        }
    }
}

/// Whole seconds, at least as long.
fn seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
